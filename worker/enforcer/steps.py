"""The steps of suspension and restoration one by one, for workflows that drive them from outside.

Each is a plain function of `StepTask`, safe to do again after any failure, at any point, and
reads afresh what is to be done: nothing that a workflow carries along is believed.

step        what it does                                         decision
check       reads how the suspension stands; writes nothing      act, wait, stand_down,
                                                                 needs_person
            act: it is to be carried out; or a reminder asks
            to read back once more what was
apply       claims the suspension for `claim`; writes snapshots  applied
            once; suspends or restores, whichever is wanted
verify      reads back from IAM                                  verified, or raises
record      verifies once more, then writes down the phase, the  recorded
            audit entry, and the notice that people are told of
announce    announces what waits of this principal               announced
fail        writes down why a step failed, and tells people;     wait, needs_person, stand_down
            gives the claim back
stand_down  gives the claim back, if it is ours                  stood_down

What they raise, by class name: `TransientError` (try again at once, with backoff; also while
somebody else's claim holds); `MissingPrincipalError`, `NeedsPersonError`,
`ProtectedPrincipalError`, `UnverifiedError`, any other `EnforcementError`, and `GoneError` (who was
to be acted on was deleted): go to `fail` with the error's name and message, which is recorded and
told; `ChangedError` (what is wanted changed meanwhile, or the claim was lost): go to `fail` too,
which records nothing then. What `fail` does not know by name it records as `StepTask.cause` says.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Literal

import msgspec

from worker.core.enforcement import Suspension
from worker.core.errors import LedgerockError, TransientError
from worker.core.events import iso
from worker.core.suspension import (
    BACKOFF_FIRST_MS,
    Action,
    Failed,
    Gone,
    Input,
    Released,
    Verified,
    action_of,
    has_recheck,
    is_claimed,
    is_settled,
)
from worker.enforcer.enforcer import ACT_SECONDS, Enforcer
from worker.enforcer.figures import Enforced
from worker.enforcer.reminders import REMIND_MS
from worker.pipeline.suspensions import Suspensions
from worker.ports import Clock, Notice

Workflow = Literal["suspension", "restoration"]
Decision = Literal[
    "act",
    "wait",
    "stand_down",
    "needs_person",
    "applied",
    "verified",
    "recorded",
    "announced",
    "stood_down",
]


class StepTask(msgspec.Struct, frozen=True):
    """What a step is asked to do.

    Attributes:
        workflow: Which one asks. A suspension never restores, nor the other way round: it
            stands down where the opposite is wanted by now.
        principal: Whose suspension.
        claim: Names the execution; the same in all its steps, so that one execution acts.
        error: For `fail`: class name of the error that a step raised.
        cause: For `fail`: its message.
        is_reminder: The event that it began with is a reminder: what was carried out already is
            read back once more, and mended.
    """

    workflow: Workflow
    principal: str
    claim: str
    error: str = ""
    cause: str = ""
    is_reminder: bool = False


class StepAnswer(msgspec.Struct, frozen=True):
    """What came of a step.

    Attributes:
        decision: See the table.
        deadline_ms: For `wait`: until when, epoch milliseconds UTC; 0 otherwise.
        deadline: The same, as `2026-11-22T05:03:12.000Z`; empty for none.
        reason: Why, one line for people.
        suspension_id: Which suspension; empty if there is none.
        phase: How far it was carried out.
    """

    decision: Decision
    deadline_ms: int = 0
    deadline: str = ""
    reason: str = ""
    suspension_id: str = ""
    phase: str = "clear"


class ChangedError(LedgerockError):
    """What is wanted changed meanwhile, or somebody else is at it: this one has to stop."""


Announce = Callable[[Sequence[Notice]], Awaitable[object]]
"""Announces notices that were written down, as `worker.announcer.Announcer.announce` does."""

_ACTIONS: Final[dict[Workflow, Action]] = {"suspension": "suspend", "restoration": "restore"}
_PERSON_ERRORS: Final = frozenset({"NeedsPersonError", "ProtectedPrincipalError"})
_PASSING_ERRORS: Final = frozenset({"TransientError", "TimeoutError", "States.Timeout"})


class Steps:
    """The steps, see the module's introduction.

    Args:
        suspensions: Who is held, and how far that was carried out.
        enforcer: Claims, acts and reads back; unless workflows act, `check` says to stand down.
        clock: Ledger time.
        announce: Announces at once; None leaves it to whoever announces anyway.
    """

    def __init__(
        self,
        *,
        suspensions: Suspensions,
        enforcer: Enforcer,
        clock: Clock,
        announce: Announce | None = None,
    ) -> None:
        """Do nothing yet."""
        self._suspensions = suspensions
        self._enforcer = enforcer
        self._clock = clock
        self._announce = announce
        self._figures = Enforced()

    def take_figures(self) -> Enforced:
        """Return what was recorded since the last time."""
        figures, self._figures = self._figures, Enforced()
        return figures

    async def check(self, task: StepTask) -> StepAnswer:
        """Say what is to be done now; change nothing."""
        return self._decided(await self._suspensions.get(task.principal), task)

    async def apply(self, task: StepTask) -> StepAnswer:
        """Claim the suspension, and make IAM agree with it.

        Raises:
            TransientError: Somebody else's claim holds, or a passing fault.
            ChangedError: The opposite is wanted by now, or nothing.
            EnforcementError: It cannot be done.
            GoneError: There is nobody to do it to.
        """
        before = await self._suspensions.get(task.principal)
        self._wanted(before, task)
        claimed = await self._enforcer.claim(task.principal, task.claim)
        if claimed is None:
            raise TransientError(f"{task.principal}: somebody else is at it")
        self._wanted(claimed, task)
        async with asyncio.timeout(ACT_SECONDS):
            await self._enforcer.apply(claimed)
        return _answer(claimed, "applied")

    async def verify(self, task: StepTask) -> StepAnswer:
        """Read back from IAM, for some seconds.

        Raises:
            UnverifiedError: It is not complete; says what is missing.
            ChangedError: The claim is not ours any more, or the opposite is wanted.
        """
        suspension = await self._claimed(task)
        await self._enforcer.verify(suspension)
        return _answer(suspension, "verified")

    async def record(self, task: StepTask) -> StepAnswer:
        """Verify once more, and write down what was done: audit entry, notice, phase.

        Raises:
            UnverifiedError: It is not complete; nothing is recorded.
            ChangedError: The claim is not ours any more, or the opposite is wanted.
        """
        before = await self._suspensions.get(task.principal)
        is_wanted = action_of(before) == _ACTIONS[task.workflow]
        if is_settled(before) and is_wanted and before.claim != task.claim:
            return _answer(before, "recorded", "it was recorded before")
        suspension = await self._claimed(task)
        await self._enforcer.verify(suspension)
        await self._enforcer.hands.record(suspension)
        given = Verified(task.claim, _ACTIONS[task.workflow])
        done = await self._suspensions.turn(task.principal, given)
        if done is None:
            raise ChangedError(f"{task.principal}: what is wanted changed while it was done")
        self._figures.count(done.before, done.after, given)
        return _answer(done.after, "recorded")

    async def announce(self, task: StepTask) -> StepAnswer:
        """Announce what waits of this principal, if anybody here announces."""
        suspension = await self._suspensions.get(task.principal)
        if self._announce is not None:
            pending = await self._suspensions.pending(task.principal)
            if pending:
                await self._announce(pending)
        return _answer(suspension, "announced")

    async def fail(self, task: StepTask) -> StepAnswer:
        """Write down why a step failed, and give the claim back; say what follows."""
        before = await self._suspensions.get(task.principal)
        if before.claim == task.claim:
            given = self._failure(before, task)
            if isinstance(given, Failed | Gone):
                await self._enforcer.hands.record_failure(before, given)
            done = await self._suspensions.turn(task.principal, given)
            if done is not None:
                self._figures.count(done.before, done.after, given)
            else:
                released = Released(task.claim)
                done = await self._suspensions.turn(task.principal, released)
            before = await self._suspensions.get(task.principal) if done is None else done.after
        decided = self._decided(before, task)
        if decided.decision != "act":
            return decided
        later = self._clock.now_ms() + BACKOFF_FIRST_MS
        return _answer(before, "wait", task.cause or task.error, deadline_ms=later)

    async def stand_down(self, task: StepTask) -> StepAnswer:
        """Give the claim back, if it is ours."""
        await self._suspensions.turn(task.principal, Released(task.claim))
        return _answer(await self._suspensions.get(task.principal), "stood_down")

    # --- What is wanted -----------------------------------------------------------------------

    def _decided(self, suspension: Suspension, task: StepTask) -> StepAnswer:
        now_ms = self._clock.now_ms()
        if self._enforcer.acts != "workflows":
            reason = f"LEDGEROCK_ENFORCEMENT is {self._enforcer.acts}: workflows do not act"
            return _answer(suspension, "stand_down", reason)
        is_ours = suspension.claim == task.claim
        if action_of(suspension) != _ACTIONS[task.workflow]:
            return _answer(suspension, "stand_down", f"the principal is {suspension.phase}")
        if is_settled(suspension):
            is_free = task.is_reminder and not is_claimed(suspension, now_ms)
            if is_ours or (is_free and has_recheck(suspension)):
                return _answer(suspension, "act", "it is to be read back once more")
            return _answer(suspension, "stand_down", f"the principal is {suspension.phase}")
        if is_claimed(suspension, now_ms) and not is_ours:
            until_ms = suspension.claimed_until_ms
            return _answer(suspension, "wait", "somebody else is at it", deadline_ms=until_ms)
        if suspension.failure and suspension.due_at_ms > now_ms and not suspension.claim:
            decision: Decision = "needs_person" if suspension.needs_person else "wait"
            until_ms = 0 if suspension.needs_person else suspension.due_at_ms
            return _answer(suspension, decision, suspension.failure, deadline_ms=until_ms)
        return _answer(suspension, "act", suspension.why)

    def _wanted(self, suspension: Suspension, task: StepTask) -> None:
        """Raise if a workflow is not to act on a suspension as it is now."""
        decided = self._decided(suspension, task)
        if decided.decision == "stand_down":
            raise ChangedError(f"{task.principal}: {decided.reason}")

    async def _claimed(self, task: StepTask) -> Suspension:
        suspension = await self._suspensions.get(task.principal)
        self._wanted(suspension, task)
        if suspension.claim != task.claim:
            raise ChangedError(f"{task.principal}: somebody else claimed it meanwhile")
        return suspension

    def _failure(self, suspension: Suspension, task: StepTask) -> Input:
        action = _ACTIONS[task.workflow]
        cause = task.cause or task.error or "what was read back from IAM was not complete"
        if task.error == "ChangedError":
            return Released(task.claim)
        if task.error == "GoneError":
            return Gone(task.claim, action, cause)
        is_passing = task.error in _PASSING_ERRORS or task.error.startswith("Lambda.")
        if is_passing and is_settled(suspension):
            # Nothing is known to be wrong: the re-check has to wait, that is all. This execution
            # tries again; another is reminded of it only if this one ends.
            return Released(task.claim, self._clock.now_ms() + REMIND_MS)
        needs_person = task.error in _PERSON_ERRORS
        return Failed(task.claim, action, cause, needs_person, is_passing)


def _answer(
    suspension: Suspension, decision: Decision, reason: str = "", *, deadline_ms: int = 0
) -> StepAnswer:
    return StepAnswer(
        decision=decision,
        deadline_ms=deadline_ms,
        deadline=iso(deadline_ms) if deadline_ms else "",
        reason=reason,
        suspension_id=suspension.suspension_id,
        phase=suspension.phase,
    )
