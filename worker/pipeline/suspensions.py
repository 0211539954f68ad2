"""Suspensions as they are kept: one record for each principal, changed by conditional writes.

What has to be announced is written down before the record is: a crash in between leaves a notice
under the id that the next attempt gives it, and no change that nobody hears of. Whoever acts on
such a notice reads the record, and stands down if there is nothing to do.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import msgspec

from worker.core.enforcement import Hold, Mode, Suspension
from worker.core.enforcement_names import QUEUE_ENFORCE, SUSPENSION, suspension_partition
from worker.core.errors import LedgerCorruptError, TransientError
from worker.core.suspension import HoldLifted, HoldPut, Input, LookAgain, turned
from worker.core.suspension_events import events_of, principal_subject, required
from worker.pipeline.notices import notice_of
from worker.ports import Clock, Notice, Outbox, Record, Records

ATTEMPTS: Final = 30
"""How often a change is made anew because somebody else was first."""
KNOWN_MS: Final = 15_000
"""By then every worker has asked what others learned of agents (every five seconds)."""
FOREVER_MS: Final = 2**53
"""Later than whatever is due."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Suspension).decode


class Turned(msgspec.Struct, frozen=True):
    """A change that was made: what it was before and after, and what is announced of it."""

    before: Suspension
    after: Suspension
    notices: tuple[Notice, ...] = ()


class Suspensions:
    """Who is held and why, and how far that was carried out: the port `worker.ports.Holds`.

    Args:
        records: Where it is kept.
        outbox: Takes what has to be announced.
        clock: Ledger time.
        mode: How principals are suspended from now on; what has begun goes on as it began.
    """

    def __init__(
        self, *, records: Records, outbox: Outbox, clock: Clock, mode: Mode = "deny"
    ) -> None:
        """Read nothing yet."""
        self._records = records
        self._outbox = outbox
        self._clock = clock
        self._mode: Mode = mode

    async def hold(self, principal: str, hold: Hold) -> bool:
        """Put a hold on a principal; return whether it was new; see the port.

        One that a person waived for this revision and period is not put, and not new.
        """
        return await self.turn(principal, HoldPut(hold, self._mode)) is not None

    async def lift(
        self,
        principal: str,
        budget: str,
        first_day: int,
        *,
        why: str = "",
        by: str = "ledgerock",
        waive: bool = False,
    ) -> bool:
        """Lift one hold; return whether it was there; see the port.

        Args:
            principal: Whose.
            budget: Name of the budget, or `MANUAL`.
            first_day: First local day of its period; 0 for `MANUAL`.
            why: One line for people and the audit log.
            by: Who lifts it.
            waive: This revision of the budget must not hold the principal again in this period.
        """
        given = HoldLifted(budget, first_day, why, by, waive)
        return await self.turn(principal, given) is not None

    async def look_again(self, principal: str) -> bool:
        """Have a suspended principal verified anew soon: its roles have changed.

        Not at once: until `KNOWN_MS` have passed, some worker may not know its new roles.

        Returns:
            Whether it is suspended, and would have been looked at later otherwise.
        """
        due_at_ms = self._clock.now_ms() + KNOWN_MS
        return await self.turn(principal, LookAgain(due_at_ms)) is not None

    async def get(self, principal: str) -> Suspension:
        """Return a principal's suspension, strongly read; a clear one if there never was any."""
        record = await self._records.get(suspension_partition(principal), SUSPENSION)
        return Suspension(principal) if record is None else suspension_in(record)

    async def listed(self) -> list[Suspension]:
        """Return all suspensions in which anything is held or to be done, by principal.

        Found through the index of what waits, at a cost that depends on their number alone.
        """
        found = [one async for one in self.waiting(FOREVER_MS)]
        return sorted(found, key=lambda one: one.principal)

    async def waiting(self, until_ms: int | None = None) -> AsyncIterator[Suspension]:
        """Yield the suspensions that somebody must look at, the longest due first.

        Args:
            until_ms: Those that are due by then; None for now.
        """
        async for chunk in self.due(until_ms):
            for record in chunk:
                yield suspension_in(record)

    def due(self, until_ms: int | None = None) -> AsyncIterator[Sequence[Record]]:
        """Yield the records of what `waiting` yields, in chunks, readable or not."""
        until_ms = self._clock.now_ms() if until_ms is None else until_ms
        return self._records.due(QUEUE_ENFORCE, until_ms)

    async def pending(self, principal: str) -> list[Notice]:
        """Return what waits to be announced of a principal on the bus, by time."""
        notices = await self._outbox.about(principal_subject(principal))
        return [one for one in notices if one.state == "pending" and not one.channel]

    async def announce_again(self, suspension: Suspension) -> None:
        """Announce once more that a principal is to be suspended, restored, or looked at.

        Raises:
            TransientError: It may be announced or not; doing it again is safe.
        """
        now_ms = self._clock.now_ms()
        again = str(suspension.due_at_ms)
        event = required(suspension, now_ms, lifted=suspension.holds, again=again)
        await self._outbox.put([notice_of(event, now_ms)])

    async def turn(self, principal: str, given: Input) -> Turned | None:
        """Change a suspension by an input of its machine, and write down what is announced of it.

        Returns:
            What was changed; None if the input changes nothing.

        Raises:
            TransientError: It may have been changed or not, or others are changing it.
        """
        partition = suspension_partition(principal)
        for _ in range(ATTEMPTS):
            record = await self._records.get(partition, SUSPENSION)
            before = Suspension(principal) if record is None else suspension_in(record)
            now_ms = self._clock.now_ms()
            after = turned(before, given, now_ms)
            if after is None:
                return None
            events = events_of(before, after, given, now_ms)
            notices = tuple(notice_of(event, now_ms) for event in events)
            if notices:
                await self._outbox.put(notices)
            version = before.version + 1
            after = msgspec.structs.replace(after, version=version)
            if await self._records.write([_record(after)]):
                return Turned(before, after, notices)
        message = f"{principal}: others are changing its suspension at the same time; try again"
        raise TransientError(message)


def suspension_in(record: Record) -> Suspension:
    """Return the suspension that a record holds.

    Raises:
        LedgerCorruptError: It holds none.
    """
    try:
        return msgspec.structs.replace(_decode(record.body), version=record.version)
    except msgspec.MsgspecError as error:
        where = f"{record.partition}/{record.name}"
        raise LedgerCorruptError(f"{where}: this is no suspension: {error}") from error


def _record(suspension: Suspension) -> Record:
    due_at_ms = suspension.due_at_ms
    return Record(
        partition=suspension_partition(suspension.principal),
        name=SUSPENSION,
        body=_encode(suspension),
        version=suspension.version,
        queue=QUEUE_ENFORCE if due_at_ms else "",
        due_at_ms=due_at_ms,
    )
