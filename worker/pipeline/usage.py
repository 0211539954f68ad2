"""Noticing usage that is not (yet) charged: unpriced, unmetered, quarantined."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from worker.core.events import (
    USAGE_QUARANTINED,
    USAGE_UNMETERED,
    USAGE_UNPRICED,
    Event,
    bounded,
)
from worker.core.ledger import MS_PER_DAY, Amounts, Leaf
from worker.core.results import Malformed, Position
from worker.core.usage_events import (
    Counted,
    UsageDetail,
    usage_counted,
    usage_day,
    usage_event_id,
    usage_quarantined,
    usage_subject,
)
from worker.pipeline.notices import notice_of
from worker.ports import Clock, Ledger, Notice, Outbox

SUBJECTS_MAX: Final = 200
"""Different events of one detail type and day. Callers can make up model ids; what is beyond
this is told of in one event together."""
DAYS_MAX: Final = 64
"""Days that are remembered at a time; a replay may go through years."""
SETTLING_MS: Final = 60_000
"""Counts grow for a while before anybody is told."""
OTHER_CAUSES: Final = "different causes"
UNMETERED_AFTER_MS: Final = 3_600_000
"""The log of a call that CloudTrail told of may be this late."""

_INDEX: Final = re.compile(r"\[\d+\]", re.ASCII)
_DETAIL_TYPES: Final[dict[Counted, str]] = {
    "unpriced": USAGE_UNPRICED,
    "unmetered": USAGE_UNMETERED,
}


class _Day:
    """What is written down already for a UTC day: counts of quarantined records by event id."""

    def __init__(self, notices: Sequence[Notice]) -> None:
        self.ids: dict[str, dict[str, int]] = {
            USAGE_UNPRICED: {},
            USAGE_UNMETERED: {},
            USAGE_QUARANTINED: {},
        }
        for notice in notices:
            self.ids.setdefault(notice.detail_type, {})[notice.id] = 0


class _Found(NamedTuple):
    """A new event, when it is due, and the ids of its day that it will belong to."""

    event: Event
    due_at_ms: int
    known: dict[str, int]


class UsageWatch:
    """Writes down, once per subject, cause and day, that usage is not charged.

    Args:
        outbox: Keeps the notices.
        clock: Ledger time.
    """

    def __init__(self, *, outbox: Outbox, clock: Clock) -> None:
        """Remember nothing yet."""
        self._outbox = outbox
        self._clock = clock
        self._days: OrderedDict[int, _Day] = OrderedDict()

    async def look(
        self, postings: Sequence[tuple[Leaf, Amounts]], malformed: Sequence[Malformed]
    ) -> list[Notice]:
        """Write down what one commit brought; return notices that are new.

        What is written down already costs no request.

        Raises:
            TransientError: Nothing may be acknowledged; looking again is safe.
        """
        now_ms = self._clock.now_ms()
        found = await self._uncharged(postings, now_ms)
        records = await self._quarantined(malformed, now_ms, found) if malformed else {}
        if not found and not records:
            return []
        notices = [notice_of(one.event, now_ms, due_at_ms=one.due_at_ms) for one in found]
        new = await self._outbox.put(notices) if notices else []
        # Only now, so that a put that failed is made again.
        for one in found:
            one.known.setdefault(one.event.id, 0)
        if records:
            counts = (await self._day(now_ms // MS_PER_DAY)).ids[USAGE_QUARANTINED]
            for event_id, count in records.items():
                counts[event_id] = counts.get(event_id, 0) + count
        return new

    def quarantined_records(self, event_id: str) -> int:
        """Return how many quarantined records this process has seen of an event; 0 for none."""
        return max(
            (day.ids[USAGE_QUARANTINED].get(event_id, 0) for day in self._days.values()), default=0
        )

    async def _uncharged(
        self, postings: Sequence[tuple[Leaf, Amounts]], now_ms: int
    ) -> list[_Found]:
        """Return an event for each new model, cause and day; the last may stand for many."""
        found: list[_Found] = []
        by_kind: dict[tuple[Counted, int], dict[str, int]] = {}
        for (cause, model, day), calls in _net(postings).items():
            by_kind.setdefault((cause, day), {})[model] = calls
        for (cause, day), models in by_kind.items():
            detail_type = _DETAIL_TYPES[cause]
            known = (await self._day(day)).ids[detail_type]
            due_at_ms = _due_at_ms(cause, day, now_ms)
            new = {
                model: calls
                for model, calls in models.items()
                if usage_event_id(detail_type, day, model, cause) not in known
            }
            own = sorted(new)[: max(0, SUBJECTS_MAX - len(known))]
            subjects: list[tuple[str | None, int]] = [(model, new.pop(model)) for model in own]
            if new and usage_event_id(detail_type, day, None, cause) not in known:
                subjects.append((None, sum(new.values())))
            for subject, calls in subjects:
                event = usage_counted(cause, subject, day, calls, now_ms)
                found.append(_Found(event, due_at_ms, known))
        return found

    async def _quarantined(
        self, malformed: Sequence[Malformed], now_ms: int, found: list[_Found]
    ) -> dict[str, int]:
        """Add an event for each new source and cause; return the records of each event."""
        day = now_ms // MS_PER_DAY
        known = (await self._day(day)).ids[USAGE_QUARANTINED]
        records: dict[str, int] = {}
        firsts: dict[str, tuple[str | None, str, Malformed]] = {}
        for one in malformed:
            source: str | None = source_of(one.position)
            cause = cause_of(one)
            event_id = usage_event_id(USAGE_QUARANTINED, day, source, cause)
            if event_id not in known and event_id not in firsts:
                if len(known) + len(firsts) >= SUBJECTS_MAX:
                    source, cause = None, OTHER_CAUSES
                    event_id = usage_event_id(USAGE_QUARANTINED, day, source, cause)
                if event_id not in known:
                    firsts.setdefault(event_id, (source, cause, one))
            records[event_id] = records.get(event_id, 0) + 1
        for event_id, (source, cause, one) in firsts.items():
            event = usage_quarantined(
                source,
                cause,
                records[event_id],
                reason=one.reason,
                position=_place(one.position),
                recorded_at_ms=now_ms,
            )
            found.append(_Found(event, now_ms + SETTLING_MS, known))
        return records

    async def _day(self, day: int) -> _Day:
        """Return what is written down for a day, by other processes as well."""
        known = self._days.get(day)
        if known is None:
            known = _Day(await self._outbox.about(usage_subject(day)))
            known = self._days.setdefault(day, known)
            while len(self._days) > DAYS_MAX:
                self._days.popitem(last=False)
        else:
            self._days.move_to_end(day)
        return known


Verdict = Literal["announce", "wait", "lapse"]


class UsageCounts:
    """What the ledger says by now of calls that are not charged; asked once for each day.

    Args:
        ledger: Keeps the balances.
        now_ms: Ledger time, epoch milliseconds UTC.
    """

    def __init__(self, ledger: Ledger, now_ms: int) -> None:
        """Ask nothing yet."""
        self._ledger = ledger
        self._now_ms = now_ms
        self._days: dict[int, dict[str, Amounts]] = {}

    async def verdict(self, detail: UsageDetail) -> tuple[Verdict, int]:
        """Return what is to be done about a notice that is due, and the calls that are left.

        A notice waits rather than lapses while its day may still bring such calls: there is no
        second one. An unmetered call is told of once its log must have come: when none of the
        model's calls of the day is metered, or when all of them are old enough.
        """
        day = usage_day(detail)
        amounts = await self._amounts(
            day, None if detail.scope.kind == "other" else detail.scope.id
        )
        is_over = is_day_over(day, self._now_ms)
        if detail.cause == "unpriced":
            calls, is_certain = amounts.unpriced_calls, True
        else:
            calls = amounts.unmetered_calls
            is_certain = is_over or calls >= amounts.calls - amounts.failed_calls
        if calls > 0 and is_certain:
            return "announce", calls
        return ("lapse" if is_over else "wait"), calls

    async def _amounts(self, day: int, model: str | None) -> Amounts:
        sums = self._days.get(day)
        if sums is None:
            sums = {}
            for leaf, amounts in await self._ledger.balances(day, day):
                sums.setdefault(bounded(leaf.model), Amounts()).add(amounts)
            self._days[day] = sums
        if model is not None:
            return sums.get(model, Amounts())
        total = Amounts()
        for amounts in sums.values():
            total.add(amounts)
        return total


def is_day_over(day: int, now_ms: int) -> bool:
    """Whether every call of a UTC day is old enough for its log to have come.

    A day that is far ahead is none of ours: somebody's clock is wrong, and nobody waits for it.
    Day 0 is that of batch jobs whose time is not known yet; it is never over.
    """
    if day == 0:
        return False
    over_at_ms = (day + 1) * MS_PER_DAY + UNMETERED_AFTER_MS
    return now_ms >= over_at_ms or day > now_ms // MS_PER_DAY + 1


def source_of(position: Position) -> str:
    """Return what records that stood near each other have in common: bucket, queue, folder."""
    source = position.source
    if source.startswith("s3://"):
        return "/".join(source.split("/", 3)[:3])
    return source.rpartition("/")[0] or source


def cause_of(malformed: Malformed) -> str:
    """Return what was the matter with a record, the same wherever in a list it stood."""
    return f"{_INDEX.sub('[*]', malformed.path)}: expected {malformed.expected}"


def _net(
    postings: Sequence[tuple[Leaf, Amounts]],
) -> dict[tuple[Counted, str, int], int]:
    """Sum net unpriced and unmetered calls by model and day; those that grew."""
    sums: dict[tuple[Counted, str, int], int] = {}
    for leaf, amounts in postings:
        if amounts.unpriced_calls or amounts.unmetered_calls:
            counts: tuple[tuple[Counted, int], ...] = (
                ("unpriced", amounts.unpriced_calls),
                ("unmetered", amounts.unmetered_calls),
            )
            for cause, calls in counts:
                key = cause, leaf.model, leaf.day
                sums[key] = sums.get(key, 0) + calls
    return {key: calls for key, calls in sums.items() if calls > 0}


def _due_at_ms(cause: Counted, day: int, now_ms: int) -> int:
    settled_ms = now_ms + SETTLING_MS
    if cause == "unpriced" or is_day_over(day, settled_ms):
        return settled_ms
    return now_ms + UNMETERED_AFTER_MS


def _place(position: Position) -> str:
    line = f" line {position.line}" if position.line else ""
    path = "" if position.path == "$" else f" {position.path}"
    return f"{position.source}{line}{path}"
