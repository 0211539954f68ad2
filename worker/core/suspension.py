"""The suspension of one principal as a pure machine: what follows from what, in which phase.

Phases: `clear` → `required` → `suspended` → `restoring` → `clear`. Only what was verified is
`suspended` or `clear`; as long as there is any hold, nothing leads to `restoring` or `clear`.

input            clear            required         suspended        restoring
---------------  ---------------  ---------------  ---------------  ---------------
HoldPut          required (1)     required         suspended        required (2)
HoldLifted       -                required (3)     suspended (3)    -
  the last one   -                restoring        restoring        -
Claimed          clear (4)        required         suspended        restoring
Released         clear            required         suspended        restoring
Verified
  suspended      -                suspended        suspended (5)    -
  restored       clear (6)        -                -                clear (6)
Failed           restoring        required         required         restoring
  needs a person restoring        required         required         restoring
Gone             clear            required (7)     required (7)     clear
LookAgain        -                -                suspended        -
Postponed        clear            required         suspended        restoring

`-`: nothing changes, and the answer is None. Besides, the answer is None for a hold that is there
already or was waived, for one lifted that is not there, for a claim while somebody else's holds,
and for whatever a worker reports without holding the claim, or of the opposite of what is wanted.

(1) `number` grows, and names a new suspension; unless a claim ran out under the last one and its
    re-check is still to come: then that one goes on, and so do its snapshots, because its slow
    worker may have left something of it. If nobody came to look for `RECHECK_MS`, the snapshots
    are too old to be believed, and it is a new one all the same: with it, a deny that may have
    been left is taken away (`left_id`).
(2) `number` grows, but the suspension goes on: its snapshots say what was found before it, and
    what was half restored is taken away again. A snapshot taken now would be of ruins.
(3) Other holds remain. A waiver may be kept of the one that was lifted.
(4) A re-check: something of a slow worker may be left. Where none is to come, there is nothing to
    claim.
(5) Re-checked once a day: somebody may have taken away what was put there.
(6) Looked at once more `RECHECK_MS` after a claim ran out under this suspension; else never. So
    it is with `suspended`.
(7) There is nobody to suspend, though there are reasons to; looked at again once a day.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from worker.core.enforcement import Hold, Mode, Phase, Suspension, Waiver
from worker.core.events import event_id_of

BACKOFF_FIRST_MS: Final = 15_000
BACKOFF_LAST_MS: Final = 600_000
"""Pauses between attempts that fail: the first, and the longest."""
RECHECK_MS: Final = 300_000
"""After that a slow worker whose claim ran out has ended, one way or the other."""
DAILY_MS: Final = 86_400_000
CLAIM_MS: Final = 120_000
"""How long a claim holds unless it is given back."""

Action = Literal["suspend", "restore"]

_ACTIONS: Final[dict[Phase, Action]] = {
    "required": "suspend",
    "suspended": "suspend",
    "restoring": "restore",
    "clear": "restore",
}


class HoldPut(msgspec.Struct, frozen=True):
    """A hold is put on the principal; `mode` is that of a suspension that begins with it."""

    hold: Hold
    mode: Mode = "deny"


class HoldLifted(msgspec.Struct, frozen=True):
    """A hold is lifted.

    Attributes:
        budget: Whose hold.
        first_day: Of which period.
        why: One line for people; empty for a usual one.
        by: Who lifts it.
        waive: The same revision must not put it again in this period.
    """

    budget: str
    first_day: int
    why: str = ""
    by: str = "ledgerock"
    waive: bool = False


class Claimed(msgspec.Struct, frozen=True):
    """A worker wants to act, alone, until `until_ms`; it may claim anew what it holds."""

    claim: str
    until_ms: int


class Released(msgspec.Struct, frozen=True):
    """A worker gives back its claim with nothing decided; looked at again at `due_at_ms`."""

    claim: str
    due_at_ms: int = 0


class Verified(msgspec.Struct, frozen=True):
    """A worker read back that the principal is suspended, or restored, completely."""

    claim: str
    action: Action


class Failed(msgspec.Struct, frozen=True):
    """A worker could not do what is wanted, or not see that it is done.

    Attributes:
        claim: The worker's.
        action: What it tried.
        reason: Why it failed, one line for people.
        needs_person: A person has to act; trying again soon is of no use.
        is_passing: A throttle, a lost connection: its text may be another one each time.
    """

    claim: str
    action: Action
    reason: str
    needs_person: bool = False
    is_passing: bool = False


class Gone(msgspec.Struct, frozen=True):
    """The principal does not exist any more, so that there is nothing to do."""

    claim: str
    action: Action
    reason: str


class LookAgain(msgspec.Struct, frozen=True):
    """Whom a suspended principal acts through has changed: look at it at `due_at_ms` or before."""

    due_at_ms: int


class Postponed(msgspec.Struct, frozen=True):
    """What was due at `due_at_ms` is due at `until_ms` instead, 0 for never; nobody acted."""

    due_at_ms: int
    until_ms: int


Input = HoldPut | HoldLifted | Claimed | Released | Verified | Failed | Gone | LookAgain | Postponed


def turned(suspension: Suspension, given: Input, now_ms: int) -> Suspension | None:
    """Return the suspension after an input, see the table; None if the input changes nothing.

    Its `version` stays as it is; storing makes the next one.
    """
    match given:
        case HoldPut():
            return _hold_put(suspension, given, now_ms)
        case HoldLifted():
            return _hold_lifted(suspension, given, now_ms)
        case Claimed():
            return _claimed(suspension, given, now_ms)
        case LookAgain():
            is_sooner = given.due_at_ms < suspension.due_at_ms
            if suspension.phase != "suspended" or not is_sooner:
                return None
            return _due(suspension, given.due_at_ms, now_ms)
        case Postponed():
            is_as_found = suspension.due_at_ms == given.due_at_ms
            return _due(suspension, given.until_ms, now_ms) if is_as_found else None
        case _:
            if not given.claim or given.claim != suspension.claim:
                return None
            return _reported(suspension, given, now_ms)


def action_of(suspension: Suspension) -> Action:
    """Return what makes IAM agree with the suspension."""
    return _ACTIONS[suspension.phase]


def is_settled(suspension: Suspension) -> bool:
    """Whether what is wanted was verified already."""
    return suspension.phase in {"clear", "suspended"}


def has_recheck(suspension: Suspension) -> bool:
    """Whether what was verified is to be looked at once more, now or later."""
    is_contended = bool(suspension.contended_until_ms)
    return suspension.phase == "suspended" or (suspension.phase == "clear" and is_contended)


def is_claimed(suspension: Suspension, now_ms: int) -> bool:
    """Whether somebody's claim holds."""
    return bool(suspension.claim) and now_ms < suspension.claimed_until_ms


def hold_of(suspension: Suspension, budget: str, first_day: int) -> Hold | None:
    """Return a hold; None if there is none."""
    found = (one for one in suspension.holds if (one.budget, one.first_day) == (budget, first_day))
    return next(found, None)


def backoff_ms(attempts: int) -> int:
    """Return how long to wait after so many failures in succession."""
    return min(BACKOFF_FIRST_MS << min(max(attempts, 1) - 1, 20), BACKOFF_LAST_MS)


def suspension_id_of(principal: str, number: int) -> str:
    """Name a suspension: 35 letters, digits and `-`."""
    return event_id_of("suspension", principal, str(number))


# --- Holds ------------------------------------------------------------------------------------


def _hold_put(before: Suspension, given: HoldPut, now_ms: int) -> Suspension | None:
    hold = given.hold
    waived = _waivers(before, now_ms)
    if hold_of(before, hold.budget, hold.first_day) is not None or any(
        (one.budget, one.first_day, one.revision) == (hold.budget, hold.first_day, hold.revision)
        for one in waived
    ):
        return None
    holds = (*before.holds, hold)
    if before.phase in {"required", "suspended"}:
        return msgspec.structs.replace(before, holds=holds, waived=waived)
    after = _in_phase(before, "required", now_ms, why=hold.reason, by=hold.by)
    number = before.number + 1
    if before.phase == "clear" and not _may_be_contended(before, now_ms):
        after = msgspec.structs.replace(
            after,
            suspension_id=suspension_id_of(before.principal, number),
            mode=given.mode,
            was_suspended=False,
            contended_until_ms=0,
            left_id=before.suspension_id if before.contended_until_ms else before.left_id,
        )
    return msgspec.structs.replace(after, holds=holds, waived=waived, number=number)


def _may_be_contended(suspension: Suspension, now_ms: int) -> bool:
    """Whether a slow worker may be at it, or was lately, and nobody looked once more."""
    until_ms = suspension.contended_until_ms
    return bool(until_ms) and now_ms < until_ms + RECHECK_MS


def _hold_lifted(before: Suspension, given: HoldLifted, now_ms: int) -> Suspension | None:
    hold = hold_of(before, given.budget, given.first_day)
    if hold is None:
        return None
    waived = _waivers(before, now_ms)
    if given.waive:
        waived = (*waived, Waiver(hold.budget, hold.first_day, hold.revision, hold.end_ms))
    holds = tuple(one for one in before.holds if one is not hold)
    after = msgspec.structs.replace(before, holds=holds, waived=waived)
    if holds:
        return after
    why = given.why or _why_lifted(hold, now_ms)
    return _in_phase(after, "restoring", now_ms, why=why, by=given.by)


def _why_lifted(hold: Hold, now_ms: int) -> str:
    if hold.end_ms and now_ms >= hold.end_ms:
        return f"the period of budget {hold.budget} is over"
    return f"budget {hold.budget} has room again, or is no more"


def _waivers(suspension: Suspension, now_ms: int) -> tuple[Waiver, ...]:
    """Return the waivers whose periods are not over."""
    return tuple(one for one in suspension.waived if not one.end_ms or now_ms < one.end_ms)


def _in_phase(
    before: Suspension, phase: Phase, now_ms: int, *, why: str, by: str = "ledgerock"
) -> Suspension:
    """Return a suspension that begins a phase in which something has to be done."""
    return msgspec.structs.replace(
        before,
        phase=phase,
        phase_at_ms=now_ms,
        attempts=0,
        failure="",
        needs_person=False,
        # Whoever is at it notices that the wind has changed, and goes on; nobody else can.
        due_at_ms=before.claimed_until_ms if is_claimed(before, now_ms) else now_ms,
        why=why,
        by=by,
    )


# --- Work -------------------------------------------------------------------------------------


def _claimed(before: Suspension, given: Claimed, now_ms: int) -> Suspension | None:
    is_others = is_claimed(before, now_ms) and before.claim != given.claim
    has_work = not is_settled(before) or has_recheck(before)
    if not given.claim or is_others or not has_work:
        return None
    return msgspec.structs.replace(
        before,
        claim=given.claim,
        claimed_until_ms=given.until_ms,
        due_at_ms=given.until_ms,
        # Nobody gave back the claim that was there: its worker was killed, or is slow.
        contended_until_ms=now_ms + RECHECK_MS if before.claim else before.contended_until_ms,
    )


def _reported(
    before: Suspension, given: Released | Verified | Failed | Gone, now_ms: int
) -> Suspension | None:
    match given:
        case Released():
            return _unclaimed(before, due_at_ms=given.due_at_ms or now_ms)
        case _ if given.action != action_of(before):
            return None
        case Verified():
            return _verified(before, given, now_ms)
        case Failed():
            return _failed(before, given, now_ms)
        case Gone():
            return _gone(before, given, now_ms)


def _verified(before: Suspension, given: Verified, now_ms: int) -> Suspension:
    phase: Phase = "suspended" if given.action == "suspend" else "clear"
    until_ms = before.contended_until_ms
    recheck_ms = until_ms if now_ms < until_ms else 0
    daily_ms = now_ms + DAILY_MS if phase == "suspended" else 0
    after = msgspec.structs.replace(
        before,
        phase=phase,
        phase_at_ms=before.phase_at_ms if is_settled(before) else now_ms,
        attempts=0,
        failure="",
        needs_person=False,
        contended_until_ms=recheck_ms,
        left_id="",
        was_suspended=before.was_suspended or phase == "suspended",
    )
    return _unclaimed(after, due_at_ms=recheck_ms or daily_ms)


def _failed(before: Suspension, given: Failed, now_ms: int) -> Suspension:
    phase: Phase = "required" if action_of(before) == "suspend" else "restoring"
    attempts = before.attempts + 1
    after = msgspec.structs.replace(
        before,
        phase=phase,
        phase_at_ms=before.phase_at_ms if before.phase == phase else now_ms,
        attempts=attempts,
        failure=given.reason,
        needs_person=given.needs_person,
    )
    pause_ms = DAILY_MS if given.needs_person else backoff_ms(attempts)
    return _unclaimed(after, due_at_ms=now_ms + pause_ms)


def _gone(before: Suspension, given: Gone, now_ms: int) -> Suspension:
    is_over = action_of(before) == "restore"
    phase: Phase = "clear" if is_over else "required"
    after = msgspec.structs.replace(
        before,
        phase=phase,
        phase_at_ms=before.phase_at_ms if before.phase == phase else now_ms,
        attempts=0 if is_over else before.attempts + 1,
        failure=given.reason,
        needs_person=False,
        contended_until_ms=0 if is_over else before.contended_until_ms,
    )
    return _unclaimed(after, due_at_ms=0 if is_over else now_ms + DAILY_MS)


def _due(before: Suspension, due_at_ms: int, now_ms: int) -> Suspension | None:
    """Return the same, due at another time; None while somebody is at it."""
    if is_claimed(before, now_ms):
        return None
    return msgspec.structs.replace(before, due_at_ms=due_at_ms)


def _unclaimed(suspension: Suspension, *, due_at_ms: int) -> Suspension:
    return msgspec.structs.replace(suspension, claim="", claimed_until_ms=0, due_at_ms=due_at_ms)
