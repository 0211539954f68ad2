"""Telling people: takes what is due on one channel out of the outbox, message by message.

Each channel has a teller of its own, so that one that is down holds up no other, nor the bus.

Several workers may tell at once, and people know no ids: so whoever tells a copy claims it first,
by a conditional write, then reads whether it is still to be told, tells it, settles it, and drops
the claim. A worker that is killed in between leaves a claim that expires, and then the copy is told
again; nothing else ever repeats one, except a channel that took it and could not say so.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from worker.announcer.copies import original_key
from worker.announcer.figures import Announced, remember
from worker.core.enforcement_names import telling_partition
from worker.core.errors import ConfigurationError, RefusedMessageError, TransientError
from worker.core.events import BUDGET_GRACE_STARTED
from worker.core.people import message_of
from worker.pipeline.chunks import taken
from worker.ports import Channel, Clock, Notice, Outbox, Record, Records

LOOK_SECONDS: Final = 5.0
"""After this time a look begins no other message, so that a worker that is to end can end."""
REFUSED_TRIES_MAX: Final = 6
"""How often a message is tried that the channel refuses for what it is."""
REFUSED_FIRST_MS: Final = 60_000
"""How long it waits for its second try; each time twice as long, half an hour in all."""
DAY_MS: Final = 86_400_000
UNTOLD_AGE_MS_MAX: Final = 3 * DAY_MS
"""A message as old as this that cannot be told lapses: it is no news any more."""
RETRY_AFTER_MS_MAX: Final = 3_600_000
"""Longer than this no channel is waited for, whatever it asks for."""
CLAIM_MS: Final = 60_000
"""How long a claim holds: longer than any channel takes to take a message or to fail."""


class Claim(msgspec.Struct, frozen=True):
    """Who tells a copy: nobody else before `until_ms`. `tries` counts how often it was refused."""

    until_ms: int
    tries: int = 0


class _Claimed(msgspec.Struct, frozen=True):
    """A claim that this teller holds, and its record."""

    record: Record
    tries: int


class Teller:
    """Tells people what is due on one channel, at least once.

    Args:
        outbox: What waits to be told.
        channel: How people are told.
        records: Keeps the claims.
        clock: Ledger time.
        monotonic: Seconds that never go back, for ending a look.
    """

    def __init__(
        self,
        outbox: Outbox,
        channel: Channel,
        records: Records,
        clock: Clock,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Tell nothing yet."""
        self._outbox = outbox
        self._channel = channel
        self._records = records
        self._clock = clock
        self._monotonic = monotonic
        self._busy: set[str] = set()
        # Told: if settling failed, or an index is behind, they only need settling.
        self._told: OrderedDict[str, tuple[int, Record]] = OrderedDict()
        self._not_before_ms: OrderedDict[str, int] = OrderedDict()
        self._closed_until_ms = 0
        self._closed_for = ""

    @property
    def name(self) -> str:
        """The channel's name, as notices have it."""
        return self._channel.name

    async def announce_due(self) -> Announced:
        """Tell everything that is due on this channel; what fails stays, for the next look.

        Raises:
            ConfigurationError: There is no such topic or table, or no permission.
        """
        figures = Announced()
        if self._is_closed(figures):
            return figures
        until = self._monotonic() + LOOK_SECONDS
        try:
            async with taken(self._outbox.due(self._clock.now_ms(), self.name)) as chunks:
                async for notices in chunks:
                    if not await self._tell(notices, figures, until):
                        break
        except TransientError as error:
            figures.add_fault(str(error))
        return figures

    async def announce(self, notices: Sequence[Notice]) -> Announced:
        """Tell what was just written down, those that are due, without reading them.

        Raises:
            ConfigurationError: There is no such topic or table, or no permission.
        """
        figures = Announced()
        if self._is_closed(figures):
            return figures
        try:
            await self._tell(notices, figures, self._monotonic() + LOOK_SECONDS)
        except TransientError as error:
            figures.add_fault(str(error))
        return figures

    def _is_closed(self, figures: Announced) -> bool:
        """Whether the channel asked to be left alone for now; say so if it did."""
        if self._clock.now_ms() >= self._closed_until_ms:
            return False
        figures.add_fault(self._closed_for)
        return True

    async def _tell(self, notices: Sequence[Notice], figures: Announced, until: float) -> bool:
        """Tell some notices by due time; say whether to go on with others."""
        for notice in sorted(notices, key=lambda one: (one.due_at_ms, one.id)):
            now_ms = self._clock.now_ms()
            is_due = notice.state == "pending" and notice.due_at_ms <= now_ms
            if notice.channel != self.name or not is_due or notice.id in self._busy:
                continue
            if self._not_before_ms.get(notice.id, 0) > now_ms:
                figures.waiting += 1
                continue
            if self._monotonic() >= until:
                figures.is_cut = True
                return False
            self._busy.add(notice.id)
            try:
                if not await self._tell_one(notice, figures, now_ms):
                    return False
            finally:
                self._busy.discard(notice.id)
        return True

    async def _tell_one(self, notice: Notice, figures: Announced, now_ms: int) -> bool:
        """Claim, tell and settle one notice; say whether the channel can be reached."""
        if notice.id in self._told:
            await self._settle(notice, figures)
            return True
        claimed = await self._claim(notice, now_ms)
        if claimed is None:
            figures.waiting += 1
            return True
        detail = await self._detail(notice)
        if detail is None:
            figures.waiting += 1
            await self._release(claimed, Claim(0, claimed.tries))
            return True
        if not detail:
            await self._records.remove(claimed.record)
            return True
        try:
            await self._channel.tell(message_of(notice.detail_type, detail))
        except TransientError as error:
            await self._unreachable(notice, claimed, error, figures)
            return False
        except ConfigurationError:
            await self._release(claimed, Claim(0, claimed.tries))
            raise
        except RefusedMessageError as error:
            await self._refused(notice, claimed, str(error), figures)
            return True
        except Exception as error:  # noqa: BLE001 - one message must not end the worker
            await self._refused(notice, claimed, type(error).__name__, figures)
            return True
        remember(self._told, notice.id, (self._clock.now_ms(), claimed.record))
        figures.announced += 1
        await self._settle(notice, figures)
        return True

    async def _detail(self, notice: Notice) -> bytes | None:
        """Return what is told; None if it cannot be known yet, nothing if somebody told it.

        A grace period counts from its announcement: only what was settled says until when, for an
        announcer that was killed before it settled announces again, and the deadline moves.
        """
        kept = await self._outbox.find(notice.subject, notice.id)
        if kept is not None and kept.state != "pending":
            return b""
        if notice.detail_type != BUDGET_GRACE_STARTED:
            return bytes(notice.detail)
        original = await self._outbox.find(*original_key(notice))
        if original is None:
            return bytes(notice.detail)
        return None if original.state == "pending" else bytes(original.detail)

    async def _settle(self, notice: Notice, figures: Announced) -> None:
        told_at_ms, record = self._told[notice.id]
        try:
            await self._outbox.settle(notice, "announced", told_at_ms)
            await self._records.remove(record)
        except TransientError as error:
            figures.add_fault(str(error))  # told it is; the next look settles it

    # --- Claims -------------------------------------------------------------------------------

    async def _claim(self, notice: Notice, now_ms: int) -> _Claimed | None:
        """Claim a copy; None if somebody else has it, or it must not be tried again yet."""
        partition = telling_partition(self.name)
        body = msgspec.json.encode(Claim(now_ms + CLAIM_MS))
        record = Record(partition, notice.id, body, version=1)
        if await self._records.write([record]):
            return _Claimed(record, 0)
        found = await self._records.get(partition, notice.id)
        if found is None:
            return None  # dropped just now: the next look knows more
        claim = msgspec.json.decode(found.body, type=Claim)
        if claim.until_ms > now_ms:
            remember(self._not_before_ms, notice.id, claim.until_ms)
            return None
        body = msgspec.json.encode(Claim(now_ms + CLAIM_MS, claim.tries))
        record = msgspec.structs.replace(found, body=body, version=found.version + 1)
        return _Claimed(record, claim.tries) if await self._records.write([record]) else None

    async def _release(self, claimed: _Claimed, claim: Claim) -> None:
        """Let go of a claim, keeping until when to wait and how often it was tried."""
        record = claimed.record
        body = msgspec.json.encode(claim)
        await self._records.write(
            [msgspec.structs.replace(record, body=body, version=record.version + 1)]
        )

    # --- What cannot be told ------------------------------------------------------------------

    async def _unreachable(
        self, notice: Notice, claimed: _Claimed, error: TransientError, figures: Announced
    ) -> None:
        """Leave the rest for later, as long as the channel asks for; forget what is too old."""
        now_ms = self._clock.now_ms()
        if error.retry_after_seconds is not None:
            asked_ms = max(0, int(error.retry_after_seconds * 1000))
            self._closed_until_ms = now_ms + min(asked_ms, RETRY_AFTER_MS_MAX)
            self._closed_for = str(error)
        figures.add_fault(str(error))
        if now_ms - notice.recorded_at_ms >= UNTOLD_AGE_MS_MAX:
            await self._give_up(notice, claimed, figures)
            return
        _count_failed(notice, figures, now_ms)
        await self._release(claimed, Claim(0, claimed.tries))

    async def _refused(
        self, notice: Notice, claimed: _Claimed, reason: str, figures: Announced
    ) -> None:
        """Try a message again later that the channel refuses for what it is, some times."""
        now_ms = self._clock.now_ms()
        tries = claimed.tries + 1
        figures.add_fault(f"{self.name}: {notice.id}: {reason}")
        if tries >= REFUSED_TRIES_MAX:
            await self._give_up(notice, claimed, figures)
            return
        _count_failed(notice, figures, now_ms)
        await self._release(claimed, Claim(now_ms + REFUSED_FIRST_MS * 2 ** (tries - 1), tries))

    async def _give_up(self, notice: Notice, claimed: _Claimed, figures: Announced) -> None:
        await self._outbox.settle(notice, "lapsed", self._clock.now_ms())
        await self._records.remove(claimed.record)
        figures.add_fault(f"{notice.id}: given up; nobody was told through {self.name}")
        figures.lapsed += 1


def _count_failed(notice: Notice, figures: Announced, now_ms: int) -> None:
    figures.failed += 1
    figures.oldest_wait_ms = max(figures.oldest_wait_ms, now_ms - notice.due_at_ms)
