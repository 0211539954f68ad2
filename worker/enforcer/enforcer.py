"""Carries out what is due: claims a suspension, acts, reads back, and only then records it.

However many do so at once, one acts: whoever writes its claim first. A claim runs out by itself, so
that a worker that is killed holds up nothing for long; and it ends its own work before it does. If
what is wanted changes meanwhile, recording fails, and the same worker goes on in the new direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Final, Literal

import msgspec

from worker.core.enforcement import Suspension
from worker.core.errors import (
    EnforcementError,
    LedgerCorruptError,
    LedgerockError,
    NeedsPersonError,
    ProtectedPrincipalError,
    TransientError,
)
from worker.core.suspension import (
    CLAIM_MS,
    Claimed,
    Failed,
    Gone,
    Input,
    Released,
    Verified,
    action_of,
    backoff_ms,
    is_settled,
)
from worker.enforcer.figures import Enforced
from worker.enforcer.hands import GoneError, Hands, UnverifiedError
from worker.enforcer.reminders import remind
from worker.pipeline.chunks import taken
from worker.pipeline.suspensions import Suspensions, suspension_in
from worker.ports import Clock, Record

Acts = Literal["off", "worker", "workflows"]

AT_ONCE: Final = 8
"""Principals that are worked on at the same time."""
PER_LOOK_MAX: Final = 400
LOOK_SECONDS: Final = 20.0
"""Principals of one look, and after what time it begins with no other: a worker that is to end can
end, and budgets are looked at meanwhile."""
DIRECTIONS_MAX: Final = 5
"""How often a worker follows a change of direction before it lets others do so."""
VERIFY_PAUSES: Final = (0.0, 0.5, 1.0, 2.0, 4.0)
"""Seconds before each reading back: IAM shows changes after a moment (AWS documentation: "Changes
that I make are not always immediately visible")."""
ACT_SECONDS: Final = CLAIM_MS / 1000 - 15
"""An attempt ends itself by then, while nobody else can have claimed the same suspension."""

Pause = Callable[[float], Awaitable[None]]


class Enforcer:
    """Suspends and restores whoever is due.

    Args:
        suspensions: Who is held, and how far that was carried out.
        hands: Act on one principal.
        clock: Ledger time.
        acts: Who acts: nobody (`off`), this one (`worker`), or `workflows`, which are reminded of
            what they left undone.
        pause: Waits some seconds before reading back.

    Attributes:
        hands: As given.
        acts: As given.
    """

    def __init__(
        self,
        *,
        suspensions: Suspensions,
        hands: Hands,
        clock: Clock,
        acts: Acts = "worker",
        pause: Pause = asyncio.sleep,
    ) -> None:
        """Do nothing yet."""
        self._suspensions = suspensions
        self.hands: Final = hands
        self._clock = clock
        self.acts: Final = acts
        self._pause = pause

    async def run_due(self) -> Enforced:
        """Carry out everything that is due; what fails is recorded, told, and due again later.

        Costs what is due, whatever else there is. Safe to run at the same time as others.

        Raises:
            TransientError: What is due cannot be read now.
            ConfigurationError: There is no such table, or no permission.
        """
        figures = Enforced()
        if self.acts == "off":
            return figures
        one = self._remind if self.acts == "workflows" else self._carry_out
        seen, until = 0, monotonic() + LOOK_SECONDS
        async with taken(self._suspensions.due()) as chunks:
            async for chunk in chunks:
                for start in range(0, len(chunk), AT_ONCE):
                    records = chunk[start : start + AT_ONCE]
                    await self._each(one, records, figures)
                    seen += len(records)
                    if seen >= PER_LOOK_MAX or monotonic() >= until:
                        figures.is_cut = True
                        return figures
        return figures

    async def act_now(self, principal: str) -> Enforced:
        """Carry out one principal's suspension or restoration, whoever acts otherwise.

        Raises:
            TransientError: It cannot be claimed or recorded now; doing it again is safe.
        """
        figures = Enforced()
        await self._act(principal, figures)
        return figures

    # --- What is due --------------------------------------------------------------------------

    async def _each(
        self,
        work: Callable[[Suspension, Enforced], Awaitable[None]],
        records: Sequence[Record],
        figures: Enforced,
    ) -> None:
        """Work on some at once; what fails for one holds up no other."""

        async def safely(record: Record) -> None:
            try:
                await work(suspension_in(record), figures)
            except (TransientError, LedgerCorruptError) as error:
                figures.add_fault(str(error))

        async with asyncio.TaskGroup() as group:
            for record in records:
                group.create_task(safely(record))

    async def _remind(self, suspension: Suspension, figures: Enforced) -> None:
        if await remind(self._suspensions, suspension, self._clock.now_ms()):
            figures.left += 1

    async def _carry_out(self, suspension: Suspension, figures: Enforced) -> None:
        await self._act(suspension.principal, figures)

    async def _act(self, principal: str, figures: Enforced) -> None:
        claim = uuid.uuid4().hex
        claimed = await self.claim(principal, claim)
        if claimed is None:
            figures.left += 1
            return
        suspension, end = claimed, monotonic() + ACT_SECONDS
        for _ in range(DIRECTIONS_MAX):
            given = await self.attempt(suspension, claim, end - monotonic())
            done = await self._suspensions.turn(principal, given)
            if done is not None:
                figures.count(done.before, done.after, given)
                return
            suspension = await self._suspensions.get(principal)
            if suspension.claim != claim:
                return
            if monotonic() >= end:
                break
        await self._suspensions.turn(principal, Released(claim))

    async def claim(self, principal: str, claim: str) -> Suspension | None:
        """Claim a suspension; return it as it is then, or None if somebody else is at it."""
        until_ms = self._clock.now_ms() + CLAIM_MS
        turned = await self._suspensions.turn(principal, Claimed(claim, until_ms))
        return None if turned is None else turned.after

    # --- One attempt --------------------------------------------------------------------------

    async def attempt(
        self, suspension: Suspension, claim: str, seconds: float = ACT_SECONDS
    ) -> Input:
        """Act as a suspension's phase wants it, and read back; return what came of it.

        Args:
            suspension: As it was claimed.
            claim: Whose it is.
            seconds: What is left of the claim, and some time to write down what came of it.
        """
        try:
            async with asyncio.timeout(seconds):
                if await self.apply(suspension):
                    await self.verify(suspension)
                await self.hands.record(suspension)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is recorded and told
            given = self.failure(suspension, claim, error)
            if isinstance(given, Failed | Gone):
                await self.hands.record_failure(suspension, given)
            return given
        return Verified(claim, action_of(suspension))

    async def apply(self, suspension: Suspension) -> bool:
        """Act as a suspension's phase wants it; in a re-check only if something is missing.

        Returns:
            Whether anything was to be done.

        Raises:
            TransientError: Try again.
            EnforcementError: It cannot be done.
            GoneError: There is nobody to do it to.
        """
        if is_settled(suspension) and not await self.hands.missing(suspension):
            return False
        await self.hands.apply(suspension)
        if suspension.left_id:
            await self._take_away_left(suspension)
        return True

    async def _take_away_left(self, suspension: Suspension) -> None:
        """Take away a deny that a slow worker may have left of the suspension before.

        No more than the deny: that suspension's snapshots are too old to put anything back from.
        """
        left = msgspec.structs.replace(
            suspension, suspension_id=suspension.left_id, mode="deny", phase="restoring"
        )
        # Most likely there is nothing; whoever is missing or gone has nothing of it either.
        with contextlib.suppress(EnforcementError, GoneError):
            await self.hands.apply(left)

    async def verify(self, suspension: Suspension) -> None:
        """Read back from IAM until it is complete, for some seconds.

        Raises:
            UnverifiedError: It is not; says what is missing.
        """
        missing: list[str] = []
        for seconds in VERIFY_PAUSES:
            if seconds:
                await self._pause(seconds)
            missing = await self.hands.missing(suspension)
            if not missing:
                return
        raise UnverifiedError(f"not complete yet: {'; '.join(missing)}")

    def failure(self, suspension: Suspension, claim: str, error: Exception) -> Input:
        """Return what an error means for a suspension."""
        action = action_of(suspension)
        text = str(error) if isinstance(error, LedgerockError) else f"{type(error).__name__}"
        if isinstance(error, TimeoutError):
            text = f"it took longer than {ACT_SECONDS:.0f} seconds"
        if isinstance(error, GoneError):
            return Gone(claim, action, text)
        is_passing = isinstance(error, TransientError | TimeoutError)
        if is_passing and is_settled(suspension):
            # Nothing is known to be wrong: the re-check has to wait, that is all.
            return Released(claim, self._clock.now_ms() + backoff_ms(suspension.attempts + 1))
        needs_person = isinstance(error, NeedsPersonError | ProtectedPrincipalError)
        return Failed(claim, action, text, needs_person, is_passing)
