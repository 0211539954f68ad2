"""The announcer: takes what is due out of the outbox and onto the bus (promise 9).

It is a retry loop over what is pending. A notice is settled after the bus took it, so a crash in
between announces it again, under the same id. Several announcers may run at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from worker.core.errors import LedgerockError, TransientError
from worker.core.events import (
    SOURCE,
    TEXT_LENGTH_MAX,
    USAGE_QUARANTINED,
    USAGE_UNMETERED,
    USAGE_UNPRICED,
    bounded,
    occurred_at_ms,
)
from worker.core.usage_events import quarantined_recounted, recounted, usage_detail
from worker.pipeline.usage import UsageCounts, UsageWatch
from worker.ports import BusEvent, Clock, EventBus, Ledger, Notice, Outbox

BATCH_ENTRIES_MAX: Final = 10
"""Events of one request (AWS documentation: "Amazon EventBridge quotas")."""
BATCH_BYTES_MAX: Final = 256_000
"""Bytes of one request's events together, and so of each: the entry size must be less than
256 KB (AWS documentation: "Calculating PutEvents event entry size"). Buses take more by now,
what they deliver to may not."""
TIME_BYTES: Final = 14
"""What the event time counts for, as AWS documents."""

ATTEMPTS_MAX: Final = 3
BACKOFF_FIRST_SECONDS: Final = 0.1
LOOK_AGAIN_MS: Final = 600_000
"""Usage that waits for its day to end is counted again this often."""
REMEMBERED_MAX: Final = 10_000


class Announced(msgspec.Struct):
    """What one look at the outbox did.

    Attributes:
        announced: Notices that the bus took.
        failed: Notices that were looked at, were due and are still pending.
        lapsed: Notices that had become untrue, or can never be announced.
        waiting: Usage notices that were due, but wait for their day to end.
        oldest_wait_ms: For how long the oldest of the failed ones has been due.
        faults: Why something failed or can never be announced; each reason once.
    """

    announced: int = 0
    failed: int = 0
    lapsed: int = 0
    waiting: int = 0
    oldest_wait_ms: int = 0
    faults: list[str] = []

    def add_fault(self, reason: str) -> None:
        """Keep a reason, unless it is there."""
        if reason not in self.faults:
            self.faults.append(reason)


class _Prepared(msgspec.Struct):
    """A notice with the detail that is announced of it."""

    notice: Notice
    event: BusEvent


class Announcer:
    """Announces what is due, at least once, each under one id.

    Args:
        outbox: What waits to be announced.
        bus: Where it is announced.
        clock: Ledger time.
        ledger: Counts again what usage is not charged; None announces it as it was noticed.
        usage: Counts what this process quarantined; None announces what was counted first.
        pause: Waits some seconds between attempts.
    """

    def __init__(
        self,
        outbox: Outbox,
        bus: EventBus,
        clock: Clock,
        ledger: Ledger | None = None,
        *,
        usage: UsageWatch | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Announce nothing yet."""
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._ledger = ledger
        self._usage = usage
        self._pause = pause
        self._busy: set[str] = set()
        # Taken by the bus: if settling failed, or an index is behind, they only need settling.
        self._taken: OrderedDict[str, bytes] = OrderedDict()
        self._not_before_ms: OrderedDict[str, int] = OrderedDict()

    async def announce_due(self) -> Announced:
        """Announce everything that is due; what fails stays pending, for the next look.

        Raises:
            ConfigurationError: There is no such bus or table, or no permission.
        """
        figures = Announced()
        chunks = self._outbox.due(self._clock.now_ms())
        try:
            async for notices in chunks:
                if not await self._announce(notices, figures):
                    break
        except TransientError as error:
            figures.add_fault(str(error))
        finally:
            close = getattr(chunks, "aclose", None)
            if close is not None:
                await close()
        return figures

    async def announce(self, notices: Sequence[Notice]) -> Announced:
        """Announce notices that were just written, those that are due, without reading them.

        Raises:
            ConfigurationError: There is no such bus or table, or no permission.
        """
        figures = Announced()
        try:
            await self._announce(notices, figures)
        except TransientError as error:
            figures.add_fault(str(error))
        return figures

    async def _announce(self, notices: Sequence[Notice], figures: Announced) -> bool:
        """Announce some notices by due time; say whether the bus can be reached."""
        now_ms = self._clock.now_ms()
        ready: list[Notice] = []
        for notice in sorted(notices, key=lambda one: (_due_since_ms(one), one.id)):
            if notice.state != "pending" or notice.due_at_ms > now_ms or notice.id in self._busy:
                continue
            if self._not_before_ms.get(notice.id, 0) > now_ms:
                figures.waiting += 1
                continue
            self._busy.add(notice.id)
            ready.append(notice)
        try:
            prepared = await self._prepare(ready, now_ms, figures)
            return await self._publish(prepared, now_ms, figures)
        finally:
            self._busy.difference_update(notice.id for notice in ready)

    # --- What is said -------------------------------------------------------------------------

    async def _prepare(
        self, notices: Sequence[Notice], now_ms: int, figures: Announced
    ) -> list[_Prepared]:
        """Return what can be announced; settle what cannot, or was already."""
        counts = None if self._ledger is None else UsageCounts(self._ledger, now_ms)
        prepared: list[_Prepared] = []
        for notice in notices:
            if notice.id in self._taken:
                await self._settle(notice, self._taken[notice.id])
                continue
            try:
                detail = await self._detail(notice, counts, now_ms, figures)
            except (LedgerockError, msgspec.DecodeError) as error:
                self._failed([notice], str(error), now_ms, figures)
                continue
            if detail is None:
                continue
            fitted = fitting(notice.detail_type, detail)
            if fitted is None:
                figures.add_fault(f"{notice.id}: too large to be announced, whatever is cut")
                await self._lapse(notice, now_ms, figures)
                continue
            at_ms = occurred_at_ms(fitted)
            at_ms = notice.recorded_at_ms if at_ms is None else at_ms
            prepared.append(_Prepared(notice, BusEvent(notice.detail_type, fitted, at_ms)))
        return prepared

    async def _detail(
        self, notice: Notice, counts: UsageCounts | None, now_ms: int, figures: Announced
    ) -> bytes | None:
        """Return the detail with counts as they are by now; None if there is nothing to say."""
        written = bytes(notice.detail)
        if notice.detail_type == USAGE_QUARANTINED and self._usage is not None:
            records = self._usage.quarantined_records(notice.id)
            return quarantined_recounted(written, records, now_ms) if records else written
        if counts is None or notice.detail_type not in {USAGE_UNPRICED, USAGE_UNMETERED}:
            return written
        detail = usage_detail(written)
        verdict, calls = await counts.verdict(detail)
        if verdict == "announce":
            return recounted(detail, calls, now_ms)
        if verdict == "lapse":
            await self._lapse(notice, now_ms, figures)
        else:
            figures.waiting += 1
            _remember(self._not_before_ms, notice.id, now_ms + LOOK_AGAIN_MS)
        return None

    async def _lapse(self, notice: Notice, now_ms: int, figures: Announced) -> None:
        await self._outbox.settle(notice, "lapsed", now_ms)
        figures.lapsed += 1

    # --- Saying it ----------------------------------------------------------------------------

    async def _publish(self, prepared: list[_Prepared], now_ms: int, figures: Announced) -> bool:
        left = {one.notice.id: one for one in prepared}
        try:
            for attempt in range(ATTEMPTS_MAX):
                if attempt:
                    bound = BACKOFF_FIRST_SECONDS * 2**attempt
                    await self._pause(random.uniform(0, bound))  # noqa: S311 - jitter
                for batch in batches(list(left.values())):
                    for one, problem in zip(batch, await self._put(batch, figures), strict=True):
                        if not problem:
                            del left[one.notice.id]
                        elif attempt + 1 == ATTEMPTS_MAX:
                            figures.add_fault(problem)
                if not left:
                    return True
        except TransientError as error:
            self._failed([one.notice for one in left.values()], str(error), now_ms, figures)
            return False
        self._failed([one.notice for one in left.values()], "", now_ms, figures)
        return True

    async def _put(self, batch: list[_Prepared], figures: Announced) -> list[str]:
        """Publish a batch, and settle what the bus took of it."""
        problems = await self._bus.publish([one.event for one in batch])
        taken = [one for one, problem in zip(batch, problems, strict=True) if not problem]
        figures.announced += len(taken)
        for one in taken:
            _remember(self._taken, one.notice.id, one.event.detail)
        settling = (self._settle(one.notice, one.event.detail) for one in taken)
        for failure in await asyncio.gather(*settling, return_exceptions=True):
            if isinstance(failure, TransientError):
                # Announced it is; the next look settles it.
                figures.add_fault(str(failure))
            elif isinstance(failure, BaseException):
                raise failure
        return problems

    async def _settle(self, notice: Notice, detail: bytes) -> None:
        changed = detail if detail != bytes(notice.detail) else None
        await self._outbox.settle(notice, "announced", self._clock.now_ms(), changed)

    def _failed(
        self, notices: Sequence[Notice], reason: str, now_ms: int, figures: Announced
    ) -> None:
        if reason:
            figures.add_fault(reason)
        figures.failed += len(notices)
        waits = [now_ms - _due_since_ms(one) for one in notices]
        figures.oldest_wait_ms = max(figures.oldest_wait_ms, *waits, 0)


def _due_since_ms(notice: Notice) -> int:
    return notice.due_at_ms or notice.recorded_at_ms


def entry_bytes(detail_type: str, detail: bytes) -> int:
    """Return the size of an event as AWS counts it ("Calculating PutEvents event entry size")."""
    return TIME_BYTES + len(SOURCE.encode()) + len(detail_type.encode()) + len(detail)


def batches(prepared: Sequence[_Prepared]) -> Iterator[list[_Prepared]]:
    """Yield events in requests that the bus takes, in order."""
    batch: list[_Prepared] = []
    size = 0
    for one in prepared:
        more = entry_bytes(one.event.detail_type, one.event.detail)
        if batch and (len(batch) == BATCH_ENTRIES_MAX or size + more > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += more
    if batch:
        yield batch


def fitting(detail_type: str, detail: bytes) -> bytes | None:
    """Return a detail that an event can hold, its texts cut if need be; None if nothing helps."""
    if entry_bytes(detail_type, detail) <= BATCH_BYTES_MAX:
        return detail
    cut = msgspec.json.encode(_cut(msgspec.json.decode(detail)))
    return cut if entry_bytes(detail_type, cut) <= BATCH_BYTES_MAX else None


def _cut(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        return bounded(value, TEXT_LENGTH_MAX)
    if isinstance(value, list):
        return [_cut(one) for one in value]
    if isinstance(value, dict):
        return {name: _cut(one) for name, one in value.items()}
    return value


def _remember(kept: OrderedDict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > REMEMBERED_MAX:
        kept.popitem(last=False)
