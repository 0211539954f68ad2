"""The announcer: takes what is due out of the outbox and onto the bus (promise 9).

It is a retry loop over what is pending. A notice is settled after the bus took it, and after the
copies for people were written down, so a crash in between announces it again, under the same id,
and the copies, whose ids follow from it, are there once. Several announcers may run at once.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import msgspec

from worker.announcer.copies import Hears, copies_of
from worker.announcer.entries import Prepared, batches, fitting
from worker.announcer.figures import Announced, remember
from worker.core.budget_events import regraced
from worker.core.errors import LedgerockError, TransientError
from worker.core.events import (
    BUDGET_GRACE_STARTED,
    USAGE_QUARANTINED,
    USAGE_UNMETERED,
    USAGE_UNPRICED,
    occurred_at_ms,
)
from worker.core.people import is_told
from worker.core.usage_events import quarantined_recounted, recounted, usage_detail
from worker.pipeline.chunks import taken
from worker.pipeline.usage import UsageCounts, UsageWatch
from worker.ports import BusEvent, Clock, EventBus, Ledger, Notice, Outbox

ATTEMPTS_MAX: Final = 3
BACKOFF_FIRST_SECONDS: Final = 0.1
LOOK_AGAIN_MS: Final = 600_000
"""Usage that waits for its day to end is counted again this often."""

_RETIMED: Final[Mapping[str, Callable[[bytes, int], bytes]]] = {BUDGET_GRACE_STARTED: regraced}
"""Details that count from their announcement: each is told the instant of it."""


class _Taken(msgspec.Struct, frozen=True):
    """What the bus took of a notice, and when."""

    detail: bytes
    at_ms: int


class Announcer:
    """Announces what is due, at least once, each under one id.

    Args:
        outbox: What waits to be announced.
        bus: Where it is announced.
        clock: Ledger time.
        ledger: Counts again what usage is not charged; None announces it as it was noticed.
        usage: Counts what this process quarantined; None announces what was counted first.
        channels: Names of the channels through which people are told; each gets a copy.
        hears: Says of which events people are told.
        in_grace: Says whether a grace period is still to be announced; None announces all.
        pause: Waits some seconds between attempts.
    """

    def __init__(  # noqa: PLR0913 - the ports that it needs
        self,
        outbox: Outbox,
        bus: EventBus,
        clock: Clock,
        ledger: Ledger | None = None,
        *,
        usage: UsageWatch | None = None,
        channels: Sequence[str] = (),
        hears: Hears = is_told,
        in_grace: Callable[[Notice], Awaitable[bool]] | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Announce nothing yet."""
        self._outbox = outbox
        self._bus = bus
        self._clock = clock
        self._ledger = ledger
        self._usage = usage
        self._channels = tuple(channels)
        self._hears = hears
        self._in_grace = in_grace
        self._pause = pause
        self._busy: set[str] = set()
        # Taken by the bus: if copying or settling failed, or an index is behind, only that is left.
        self._taken: OrderedDict[str, _Taken] = OrderedDict()
        self._not_before_ms: OrderedDict[str, int] = OrderedDict()

    async def announce_due(self) -> Announced:
        """Announce everything that is due; what fails stays pending, for the next look.

        Raises:
            ConfigurationError: There is no such bus or table, or no permission.
        """
        figures = Announced()
        try:
            async with taken(self._outbox.due(self._clock.now_ms())) as chunks:
                async for notices in chunks:
                    if not await self._announce(notices, figures):
                        break
        except TransientError as error:
            figures.add_fault(str(error))
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
            if notice.channel or notice.state != "pending" or notice.due_at_ms > now_ms:
                continue
            if notice.id in self._busy:
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
    ) -> list[Prepared]:
        """Return what can be announced; settle what cannot, or was already."""
        counts = None if self._ledger is None else UsageCounts(self._ledger, now_ms)
        prepared: list[Prepared] = []
        for notice in notices:
            if notice.id in self._taken:
                await self._finish(notice, self._taken[notice.id])
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
            prepared.append(Prepared(notice, BusEvent(notice.detail_type, fitted, at_ms)))
        return prepared

    async def _detail(
        self, notice: Notice, counts: UsageCounts | None, now_ms: int, figures: Announced
    ) -> bytes | None:
        """Return the detail with counts as they are by now; None if there is nothing to say."""
        written = bytes(notice.detail)
        retime = _RETIMED.get(notice.detail_type)
        if retime is not None:
            if self._in_grace is not None and not await self._in_grace(notice):
                await self._lapse(notice, now_ms, figures)
                return None
            return retime(written, now_ms)
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
            remember(self._not_before_ms, notice.id, now_ms + LOOK_AGAIN_MS)
        return None

    async def _lapse(self, notice: Notice, now_ms: int, figures: Announced) -> None:
        await self._outbox.settle(notice, "lapsed", now_ms)
        figures.lapsed += 1

    # --- Saying it ----------------------------------------------------------------------------

    async def _publish(self, prepared: list[Prepared], now_ms: int, figures: Announced) -> bool:
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

    async def _put(self, batch: list[Prepared], figures: Announced) -> list[str]:
        """Publish a batch; copy and settle what the bus took of it."""
        at_ms = self._clock.now_ms()
        batch = [_retimed(one, at_ms) for one in batch]
        problems = await self._bus.publish([one.event for one in batch])
        taken = [one for one, problem in zip(batch, problems, strict=True) if not problem]
        figures.announced += len(taken)
        for one in taken:
            remember(self._taken, one.notice.id, _Taken(one.event.detail, at_ms))
        finishing = (self._finish(one.notice, self._taken[one.notice.id]) for one in taken)
        for failure in await asyncio.gather(*finishing, return_exceptions=True):
            if isinstance(failure, TransientError):
                # Announced it is; the next look does the rest.
                figures.add_fault(str(failure))
            elif isinstance(failure, BaseException):
                raise failure
        return problems

    async def _finish(self, notice: Notice, taken: _Taken) -> None:
        """Write down the copies for people, then settle: a crash in between does both again."""
        if self._channels and self._hears(notice.detail_type, taken.detail):
            await self._outbox.put(copies_of(notice, taken.detail, taken.at_ms, self._channels))
        changed = taken.detail if taken.detail != bytes(notice.detail) else None
        await self._outbox.settle(notice, "announced", taken.at_ms, changed)

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


def _retimed(prepared: Prepared, at_ms: int) -> Prepared:
    """Return an event that says that it is announced now, if it says so at all."""
    retime = _RETIMED.get(prepared.event.detail_type)
    if retime is None:
        return prepared
    event = msgspec.structs.replace(prepared.event, detail=retime(prepared.event.detail, at_ms))
    return Prepared(prepared.notice, event)
