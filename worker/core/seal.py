"""Sealing: days whose calls are settled for good, so that their entries may be let go. Pure.

A *seal* is a watermark, a UTC midnight. Calls that happened before it are sealed: their entries
never change again, and what is heard of them later is ignored. What they add up to is stored beside
the balances, so that balances can be proven once the entries are gone.

A leaf is of one UTC day, and a watermark is a midnight: a leaf is sealed as a whole or not at all.
Only the wide sums of scopes with calendars of their own are cut in two, and these are sums of
leaves.

What names no time (a batch job's manifest) is of day 0 until a record says when: such calls belong
to no period and are never sealed. What a batch job adds up to is heard of without a time, too, so
that entries of jobs are never let go.

**One call, two days.** Records of one call may disagree on its time, across the watermark. Each
record is judged by its own: what is before the watermark is ignored, the rest is merged as ever. So
it does not matter in which batches records come. A record from after the watermark of a call whose
entry is sealed is ignored as well. For that to be recognised, entries of the last
`KEPT_DAYS` before the watermark are kept, however soon entries may go.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any, Final

import msgspec

from worker.core.batch import Batch, Part
from worker.core.codec import INT64_MAX, NAMESPACES, Bodies, encode_body, owner_offset
from worker.core.errors import ConfigurationError
from worker.core.evidence import merge
from worker.core.ledger import AMOUNT_FIELDS, MS_PER_DAY, Amounts, Leaf
from worker.core.posting import Poster

NOTE: Final = "seal"
"""Under which name an embedded ledger keeps its seal, as one of its notes."""

LATE_DAYS: Final = 7
"""How long ago a period must have ended before it is sealed: late deliveries still come."""

GUARDED_DAYS: Final = 2
"""Calls of days older than this may be sealed by somebody else at any moment.

Far below `LATE_DAYS`, so that clocks may differ by days and no call slips by unguarded.
"""

KEPT_DAYS: Final = 7
"""Entries of so many days before a watermark are kept. Far longer than any call takes, so that a
record from after the watermark always finds the entry of a call from before it."""

CLOCKS_MS: Final = 3_600_000
"""How far clocks may differ where it is worked out what a table has let go by now."""

REASON: Final = "sealed: it happened before the watermark of the ledger's seal"
"""Why a record is ignored."""

_EPOCH: Final = date(1970, 1, 1)
_LAST_DAY: Final = (date.max - _EPOCH).days
_PERIOD: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_MONTHS: Final = 12
_BATCH: Final = NAMESPACES.index("batch")


class Seal(msgspec.Struct, frozen=True):
    """How far a ledger is sealed. Days are UTC, counted from 1970-01-01.

    Attributes:
        day: The watermark: calls of earlier days are sealed; 0 if nothing is.
        complete_day: What was sealed before this day is summed up and stored. Less than `day` while
            a seal is being made.
        expired_day: Entries of earlier days may be gone, or go at any moment; 0 if none are.
        changes: How often entries were let go, or moved by forgetting while the seal was being
            made: whoever finds another number than before doubts what it believes to be stored.
        told_day: Entries of earlier days were told to go at an age, by a ledger that lets them go
            by and by; 0 if none were.
        told_after_days: That age, the lowest of all that were given.
    """

    day: int = 0
    complete_day: int = 0
    expired_day: int = 0
    changes: int = 0
    told_day: int = 0
    told_after_days: int = 0

    @property
    def watermark_ms(self) -> int:
        """Calls before this instant are sealed, epoch milliseconds UTC."""
        return self.day * MS_PER_DAY

    @property
    def is_complete(self) -> bool:
        """Whether all that is sealed is summed up and stored."""
        return self.complete_day == self.day

    def holds(self, day: int) -> bool:
        """Whether calls of a day are sealed."""
        return 0 < day < self.day

    def sums_hold(self, day: int) -> bool:
        """Whether calls of a day are sealed, summed up and stored."""
        return 0 < day < self.complete_day

    def may_be_gone(self, day: int) -> bool:
        """Whether entries of a day may have been let go."""
        return day < self.expired_day

    def as_of(self, now_ms: int) -> Seal:
        """Return the seal with an `expired_day` that counts what has become old enough since."""
        if not self.told_day:
            return self
        today = (now_ms + CLOCKS_MS) // MS_PER_DAY
        old_enough = min(self.told_day, today - self.told_after_days + 1)
        return msgspec.structs.replace(self, expired_day=max(self.expired_day, old_enough))

    def told(self, after_days: int, now_ms: int) -> Seal:
        """Return the seal once all entries that may go are told to, so many days after the call.

        Of several ages the lowest counts: who tells entries of another one may be interrupted.
        """
        gone = self.as_of(now_ms)
        lowest = min(self.told_after_days, after_days) if self.told_day else after_days
        told_day = max(self.told_day, self.may_go_before_day)
        told = msgspec.structs.replace(gone, told_day=told_day, told_after_days=lowest)
        return told.as_of(now_ms)

    @property
    def may_go_before_day(self) -> int:
        """The day before which entries may be let go."""
        return max(0, self.complete_day - KEPT_DAYS)

    def says(self) -> str:
        """Return the watermark as a date, for people."""
        return day_text(self.day)


NOTHING_SEALED: Final = Seal()

_encode_seal: Final = msgspec.json.Encoder(order="sorted").encode
_decode_seal: Final = msgspec.json.Decoder(Seal).decode


def seal_in(note: str | None) -> Seal:
    """Read a note."""
    return NOTHING_SEALED if note is None else _decode_seal(note)


def seal_note(seal: Seal) -> str:
    """Write a seal down."""
    return _encode_seal(seal).decode()


class SealedSum(msgspec.Struct, frozen=True, gc=False):
    """What the sealed calls of a leaf add up to, as a seal stored it.

    Attributes:
        amounts: Their sum; `calls` is how many they are.
        day: The watermark of the seal that stored it.
    """

    amounts: Amounts
    day: int


# --- Periods ---------------------------------------------------------------------------------


def day_text(day: int) -> str:
    """Write a day as a date: `2026-10-01`."""
    return (_EPOCH + timedelta(days=day)).isoformat()


def day_after(period: str) -> int:
    """Return the first UTC day after a year, month or day: `2026`, `2026-09` or `2026-09-30`.

    Raises:
        ConfigurationError: It is none of these.
    """
    found = _PERIOD.fullmatch(period)
    try:
        after = None if found is None else _day_after(*found.groups())
    except (ValueError, OverflowError):
        after = None
    if after is None:
        message = (
            f"{period!r} is no period; give a year, a month or a day in UTC, such as 2026, "
            "2026-09 or 2026-09-30"
        )
        raise ConfigurationError(message)
    number = (after - _EPOCH).days
    if number <= 1:
        message = f"{period} is before there were any calls; give a later period"
        raise ConfigurationError(message)
    return number


def _day_after(year: str, month: str | None, day: str | None) -> date:
    if month is None:
        return date(int(year) + 1, 1, 1)
    if day is None:
        first = date(int(year), int(month), 1)
        return date(first.year + first.month // _MONTHS, first.month % _MONTHS + 1, 1)
    return date(int(year), int(month), int(day)) + timedelta(days=1)


def check_closed(period: str, now_ms: int) -> int:
    """Return the watermark of a period, a UTC day, if the period may be sealed by now.

    Raises:
        ConfigurationError: It is no period, or ended too short a while ago.
    """
    day = day_after(period)
    check_past(day, now_ms, period)
    return day


def check_past(day: int, now_ms: int, period: str = "") -> None:
    """Refuse a watermark that is so recent that deliveries from before it may still come.

    Args:
        day: The watermark, a UTC day.
        now_ms: Time of now, epoch milliseconds UTC.
        period: How to name what it is the end of.

    Raises:
        ConfigurationError: Says from when on it may be.
    """
    if now_ms < (day + LATE_DAYS) * MS_PER_DAY:
        when = day_text(min(day + LATE_DAYS, _LAST_DAY))
        what, ends = period or "a period", day_text(min(day, _LAST_DAY))
        message = (
            f"{what} cannot be sealed before {when}: it ends on {ends} at 00:00 UTC, "
            f"and deliveries may come {LATE_DAYS} days late; seal an earlier period"
        )
        raise ConfigurationError(message)


# --- Batches ---------------------------------------------------------------------------------


def unsealed(batch: Batch, seal: Seal, poster: Poster) -> tuple[Batch, int]:
    """Return a batch without what happened before the watermark, and how many records that were.

    Args:
        batch: It is left as it was.
        seal: The seal in force.
        poster: Prices what is left of calls whose records disagree on the day.
    """
    if not seal.day or (batch.first_at_ms >= seal.watermark_ms and not batch.apart):
        return batch, 0
    bodies = Bodies(batch.interned.get)
    kept: dict[bytes, bytes] = {}
    repeats = dict(batch.repeats)
    interned = dict(batch.interned)
    sealed = 0
    for key, body in batch.bodies.items():
        records, improved = repeats.get(key, (0, 0))
        parts = batch.apart.get(key) or {}
        left = [part for day, part in parts.items() if not seal.holds(day)]
        if not seal.holds(bodies.day(body)) and len(left) == len(parts):
            kept[key] = body
        elif not left:
            sealed += 1 + records
            repeats.pop(key, None)
        else:
            kept[key] = _body_of(left, poster, interned)
            others = sum(part.records for part in left) - 1
            sealed += records - others
            repeats[key] = (others, min(improved, others))
    if not sealed:
        return batch, 0
    return _refolded(batch, kept, interned, repeats, sealed), sealed


def without(batch: Batch, keys: Collection[bytes]) -> tuple[Batch, int]:
    """Return a batch without some of its calls, and how many records these were."""
    if not keys:
        return batch, 0
    kept = {key: body for key, body in batch.bodies.items() if key not in keys}
    left_out = sum(1 + batch.repeats.get(key, (0, 0))[0] for key in keys)
    return _refolded(batch, kept, batch.interned, batch.repeats, left_out), left_out


def _body_of(parts: list[Part], poster: Poster, interned: dict[int, bytes]) -> bytes:
    """Return the stored body of what some parts say together; takes in what it names."""
    evidence = parts[0].evidence
    for part in parts[1:]:
        evidence = merge(evidence, part.evidence)
    rated = poster.rate(evidence)
    for value in (rated.route.facts, rated.route.leaf, rated.route.basis):
        interned[value.id] = value.encoded
    return encode_body(evidence, rated)


def _refolded(
    batch: Batch,
    kept: dict[bytes, bytes],
    interned: Mapping[int, bytes],
    repeats: dict[bytes, tuple[int, int]],
    left_out: int,
) -> Batch:
    """Fold the kept calls of a batch anew: nothing that only others named is left."""
    bodies = Bodies(interned.get)
    named: dict[int, bytes] = {}
    leaves: dict[int, Amounts] = {}
    for body in kept.values():
        names, amounts = bodies.names_and_amounts(body)
        named.update((value_id, interned[value_id]) for value_id in names)
        leaves.setdefault(names[1], Amounts()).add(amounts)
    return msgspec.structs.replace(
        batch,
        bodies=kept,
        interned=named,
        leaves=leaves,
        repeats=repeats,
        records=batch.records - left_out,
        apart={key: parts for key, parts in batch.apart.items() if key in kept},
    )


# --- Sums ------------------------------------------------------------------------------------

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(list[Any]).decode


def encode_amounts(amounts: Amounts) -> bytes:
    """Return amounts as they are stored; integers beyond 64 bits as text."""
    values = (getattr(amounts, name) for name in AMOUNT_FIELDS)
    return _pack([value if abs(value) <= INT64_MAX else str(value) for value in values])


def decode_amounts(encoded: bytes) -> Amounts:
    """Undo `encode_amounts`."""
    return Amounts(*map(int, _unpack(encoded)))


def is_proven(entries: Amounts, sealed: Amounts, *, may_be_gone: bool) -> bool:
    """Whether the entries that are left contradict a seal's sum in nothing.

    Args:
        entries: What the entries that are left add up to.
        sealed: What the seal says.
        may_be_gone: Whether entries of that day may have been let go. If so there may be fewer,
            which add up to no more in anything; if all of them are left, or have to be, their sum
            must be the same.
    """
    if entries == sealed:
        return True
    return (
        may_be_gone
        and entries.calls < sealed.calls
        and all(getattr(entries, name) <= getattr(sealed, name) for name in AMOUNT_FIELDS)
    )


def may_go(key: bytes, day: int) -> bool:
    """Whether the entry of a stored key may ever be let go: it says when, and is no batch job."""
    return day > 0 and key[owner_offset(key)] != _BATCH


def leaf_text(leaf: Leaf) -> str:
    """Name a leaf for people."""
    return f"{leaf.principal} on {day_text(leaf.day)}, {leaf.model}"
