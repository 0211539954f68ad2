"""What is announced of a principal's suspension: what each event says, and under which id.

event                             once for each
--------------------------------  ---------------------------------------------------------------
Principal Suspension Required     first hold that is put on a principal (its `number`)
Principal Suspended               phase `required` of a `number`, once IAM was read back
Principal Restoration Required    `number`, when the last hold is lifted
Principal Restored                phase `restoring` of a `number`, once IAM was read back
Suspension Failed                 phase of a `number`, and reason; a passing fault is one reason

A `number` may have several phases `required` or `restoring`: a re-check that fails begins another.
Reminders are the events with `reminder`: once more for each time that something is due.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import Any, Final, Literal

import msgspec

from worker.core.budget_terms import SCOPE_ID_LENGTH_MAX, amount_text, unit_text
from worker.core.enforcement import MANUAL, Hold, Suspension
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SCHEMA_VERSION,
    SUSPENSION_FAILED,
    SUSPENSION_REQUIRED,
    Event,
    ScopeDetail,
    bounded,
    event_id_of,
    iso,
    iso_day,
    message,
)
from worker.core.suspension import (
    Action,
    Failed,
    Gone,
    Input,
    Verified,
    action_of,
    is_settled,
)

HOLDS_SHOWN_MAX: Final = 10
REASON_LENGTH_MAX: Final = 500

Outcome = Literal["retry", "needs_person", "principal_gone"]


class SuspensionName(msgspec.Struct, frozen=True):
    """Which suspension: its id, which of the principal's it is, and how it is done."""

    id: str
    number: int
    mode: str


class HoldDetail(msgspec.Struct, frozen=True):
    """A hold as events show it.

    Attributes:
        budget: Name of the budget; `manual` for a hold that a person put.
        revision: Of the budget; 0 for `manual`.
        first_day: First local day of the period; empty for `manual`.
        ends_at: End of the period; empty for open.
        since: When it was put.
        by: Who put it.
        reason: Why.
        spent: In `unit`, when it was put; empty for `manual`.
        limit: In `unit`; empty if unknown.
        unit: What the amounts count.
    """

    budget: str
    revision: int
    first_day: str
    ends_at: str
    since: str
    by: str
    reason: str
    spent: str
    limit: str
    unit: str


class SuspensionDetail(msgspec.Struct, frozen=True):
    """What the details of all events on a suspension say.

    Attributes:
        principal: Its id, complete: this is what workflows act on.
        holds: Why it is suspended, at most `HOLDS_SHOWN_MAX`; in `Principal Restoration
            Required` those that were lifted last.
        holds_count: How many there are.
        why: What brought this about.
        by: Who did.
        message: One line for people.
        next: What happens next, and when.
        command: The command that changes it.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    principal: str
    suspension: SuspensionName
    holds: tuple[HoldDetail, ...]
    holds_count: int
    why: str
    by: str
    message: str
    next: str
    command: str


class RequiredDetail(SuspensionDetail, frozen=True):
    """Detail of `Principal Suspension Required` and `Principal Restoration Required`.

    Attributes:
        reminder: It was announced before, and nobody carried it out; or it was carried out, and
            is to be looked at once more.
    """

    reminder: bool


class SuspendedDetail(SuspensionDetail, frozen=True):
    """Detail of `Principal Suspended`.

    Attributes:
        crossing_to_deny_ms: From the finding that the limit was reached to the verified deny,
            the grace period included; null where no budget is the reason.
    """

    crossing_to_deny_ms: int | None


class RestoredDetail(SuspensionDetail, frozen=True):
    """Detail of `Principal Restored`.

    Attributes:
        was_suspended: Whether the suspension had been completed before.
    """

    was_suspended: bool


class FailedDetail(SuspensionDetail, frozen=True):
    """Detail of `Suspension Failed`.

    Attributes:
        action: What was tried: `suspend` or `restore`.
        reason: Why it failed.
        outcome: What follows.
        needs_person: A person has to act.
        next_attempt_at: When it is tried again; empty for never.
    """

    action: Action
    reason: str
    outcome: Outcome
    needs_person: bool
    next_attempt_at: str


def principal_subject(principal: str) -> str:
    """Return the subject that a principal's events are listed under."""
    return f"principal/{principal}"


def events_of(before: Suspension, after: Suspension, given: Input, now_ms: int) -> list[Event]:
    """Return what has to be announced because an input turned a suspension into another."""
    match given:
        case Verified() if before.phase == after.phase:
            return []
        case Verified(action="suspend"):
            return [_suspended(before, after, now_ms)]
        case Verified():
            return [_restored(before, after, now_ms)]
        case Failed() | Gone():
            return [_failed(after, given, now_ms)]
        case _ if before.phase == after.phase:
            return []
        case _:
            return [required(after, now_ms, lifted=before.holds)]


def crossing_to_deny_ms(suspension: Suspension, now_ms: int) -> int | None:
    """Return the time since the limit that is the first reason was found reached; None if none."""
    crossed = [one.crossed_at_ms for one in suspension.holds if one.crossed_at_ms]
    return max(0, now_ms - min(crossed)) if crossed else None


# --- The events -------------------------------------------------------------------------------


def required(
    suspension: Suspension, now_ms: int, *, lifted: tuple[Hold, ...] = (), again: str = ""
) -> Event:
    """Build `Principal Suspension Required`, or `Principal Restoration Required`.

    Args:
        suspension: In the phase `required` or `restoring`, or in any if it is a reminder.
        now_ms: Ledger time, epoch milliseconds UTC.
        lifted: Of a restoration: the holds that were there before.
        again: Tells repetitions apart; empty for the first announcement.
    """
    who = _who(suspension)
    is_suspension = action_of(suspension) == "suspend"
    holds = suspension.holds if is_suspension else lifted
    if is_settled(suspension):
        done = "suspended" if is_suspension else "not suspended"
        text = f"{who} is {done}, which is to be read back from IAM once more."
        following = "What is missing is mended."
    elif is_suspension:
        text = f"{who} is to be suspended: {_reasons(holds)}."
        following = "It is kept from calling Bedrock as soon as IAM takes the deny policy."
    else:
        text = f"{who} is to be restored: {suspension.why}."
        following = "What was changed in IAM is undone now."
    kind = "suspension-required" if is_suspension else "restoration-required"
    event_id = _event_id(suspension, kind, *([again] if again else []))
    common = _common(suspension, event_id, now_ms, holds, (text, following))
    detail = RequiredDetail(**common, reminder=bool(again))
    return _event(detail, SUSPENSION_REQUIRED if is_suspension else RESTORATION_REQUIRED, now_ms)


def _suspended(before: Suspension, suspension: Suspension, now_ms: int) -> Event:
    text = (
        f"{_who(suspension)} is suspended and cannot call Bedrock any more: "
        f"{_reasons(suspension.holds)}."
    )
    common = _common(
        suspension,
        _event_id(suspension, "principal-suspended", str(before.phase_at_ms)),
        now_ms,
        suspension.holds,
        (text, _until(suspension.holds)),
    )
    passed_ms = crossing_to_deny_ms(suspension, now_ms)
    detail = SuspendedDetail(**common, crossing_to_deny_ms=passed_ms)
    return _event(detail, PRINCIPAL_SUSPENDED, now_ms)


def _restored(before: Suspension, suspension: Suspension, now_ms: int) -> Event:
    found = "can call Bedrock again; its policies are as they were before"
    if not suspension.was_suspended:
        found = "need not be suspended any more, and its policies are as they were before"
    text = f"{_who(suspension)} {found}: {suspension.why}."
    following = "Nothing, until a budget is exceeded again."
    event_id = _event_id(suspension, "principal-restored", str(before.phase_at_ms))
    common = _common(suspension, event_id, now_ms, (), (text, following))
    detail = RestoredDetail(**common, was_suspended=suspension.was_suspended)
    return _event(detail, PRINCIPAL_RESTORED, now_ms)


def _failed(suspension: Suspension, given: Failed | Gone, now_ms: int) -> Event:
    action = action_of(suspension)
    if isinstance(given, Gone):
        outcome: Outcome = "principal_gone"
        kind = given.reason
    else:
        outcome = "needs_person" if given.needs_person else "retry"
        kind = "passing" if given.is_passing else given.reason
    done = "suspended" if action == "suspend" else "restored"
    reason = bounded(given.reason, REASON_LENGTH_MAX)
    text = f"{_who(suspension)} could not be {done}: {reason}."
    at = iso(suspension.due_at_ms) if suspension.due_at_ms else ""
    common = _common(
        suspension,
        _event_id(suspension, "suspension-failed", action, str(suspension.phase_at_ms), kind),
        now_ms,
        suspension.holds,
        (text, _after_failure(outcome, action, at)),
    )
    detail = FailedDetail(
        **common,
        action=action,
        reason=reason,
        outcome=outcome,
        needs_person=outcome == "needs_person",
        next_attempt_at=at,
    )
    return _event(detail, SUSPENSION_FAILED, now_ms)


# --- What they have in common -----------------------------------------------------------------


def _common(
    suspension: Suspension,
    event_id: str,
    now_ms: int,
    holds: tuple[Hold, ...],
    words: tuple[str, str],
) -> dict[str, Any]:
    """Return the fields that all details have."""
    at = iso(now_ms)
    principal = suspension.principal
    kind = "agent" if principal.startswith("agent/") else "principal"
    text, following = words
    return {
        "event_id": event_id,
        "schema_version": SCHEMA_VERSION,
        "occurred_at": at,
        "recorded_at": at,
        "scope": ScopeDetail(kind, bounded(principal)),
        "principal": bounded(principal, SCOPE_ID_LENGTH_MAX),
        "suspension": SuspensionName(suspension.suspension_id, suspension.number, suspension.mode),
        "holds": tuple(_hold(one) for one in holds[:HOLDS_SHOWN_MAX]),
        "holds_count": len(holds),
        "why": bounded(suspension.why, REASON_LENGTH_MAX),
        "by": bounded(suspension.by),
        "message": message(text),
        "next": message(following),
        "command": _command(suspension, holds),
    }


def _hold(hold: Hold) -> HoldDetail:
    is_manual = hold.budget == MANUAL
    return HoldDetail(
        budget=bounded(hold.budget),
        revision=hold.revision,
        first_day="" if is_manual else iso_day(hold.first_day),
        ends_at=iso(hold.end_ms) if hold.end_ms else "",
        since=iso(hold.since_ms),
        by=bounded(hold.by),
        reason=bounded(hold.reason, REASON_LENGTH_MAX),
        spent="" if is_manual else amount_text(hold.spent_amount, hold.unit),
        limit=amount_text(hold.limit_amount, hold.unit) if hold.limit_amount else "",
        unit="" if is_manual else unit_text(hold.unit),
    )


def _event(detail: SuspensionDetail, detail_type: str, now_ms: int) -> Event:
    return Event(
        detail.event_id,
        detail_type,
        principal_subject(detail.principal),
        msgspec.json.encode(detail),
        now_ms,
    )


def _event_id(suspension: Suspension, kind: str, *parts: str) -> str:
    return event_id_of(kind, suspension.principal, str(suspension.number), *parts)


def _who(suspension: Suspension) -> str:
    return bounded(suspension.principal)


def _reasons(holds: Iterable[Hold]) -> str:
    return "; ".join(bounded(one.reason).rstrip(".") for one in holds) or "no reason is left"


def _until(holds: tuple[Hold, ...]) -> str:
    """Say when a suspension ends, as far as that is known."""
    by_hand = any(one.budget == MANUAL for one in holds)
    ends = [one.end_ms for one in holds if one.budget != MANUAL]
    parts = []
    if ends:
        names = ", ".join(sorted({bounded(one.budget) for one in holds if one.budget != MANUAL}))
        parts.append(f"at the end of the period, {iso(max(ends))}, or once {names} has room again")
    if by_hand:
        parts.append("not before somebody lifts the hold that was put by hand")
    return f"It is restored {'; '.join(parts)}."


def _after_failure(outcome: Outcome, action: Action, at: str) -> str:
    if outcome == "needs_person":
        return f"A person has to {action} it; Ledgerock looks at it again at {at}."
    if outcome == "principal_gone":
        again = f"; looked at again at {at}" if at else ""
        return f"There is nobody to {action} any more{again}."
    return f"It is tried again at {at}, and so on until it is done."


def _command(suspension: Suspension, holds: tuple[Hold, ...]) -> str:
    principal = shlex.quote(bounded(suspension.principal, SCOPE_ID_LENGTH_MAX))
    budgets = [one.budget for one in holds if one.budget != MANUAL]
    if suspension.failure:
        return f"ledgerock principals show {principal}"
    if action_of(suspension) == "restore":
        return f"ledgerock suspend {principal} --reason TEXT"
    if budgets:
        return f"ledgerock budgets set {shlex.quote(bounded(budgets[0]))} --limit AMOUNT"
    return f"ledgerock restore {principal} --reason TEXT"
