"""What `ledgerock suspend` and `ledgerock restore` print."""

from __future__ import annotations

import shlex
from typing import Any

from worker.cli.by_hand import Done
from worker.cli.output import printable
from worker.core.budget_terms import amount_text, unit_text
from worker.core.enforcement import MANUAL, Hold
from worker.core.report import iso_time


def hold_document(hold: Hold) -> dict[str, Any]:
    """Return a hold as `--json` prints it."""
    is_manual = hold.budget == MANUAL
    return {
        "budget": hold.budget,
        "revision": hold.revision,
        "reason": hold.reason,
        "by": hold.by,
        "since": iso_time(hold.since_ms),
        "until": iso_time(hold.end_ms or None),
        "spent": None if is_manual else amount_text(hold.spent_amount, hold.unit),
        "limit": amount_text(hold.limit_amount, hold.unit) if hold.limit_amount else None,
        "unit": None if is_manual else unit_text(hold.unit),
    }


def done_document(done: Done) -> dict[str, Any]:
    """Return what came of a command as `--json` prints it."""
    suspension = done.suspension
    return {
        "principal": suspension.principal,
        "result": result_of(done),
        "changed": done.is_change,
        "phase": suspension.phase,
        "suspension_id": suspension.suspension_id,
        "mode": suspension.mode,
        "holds": [hold_document(one) for one in suspension.holds],
        "lifted": [hold_document(one) for one in done.lifted],
        "failure": suspension.failure or None,
        "needs_person": suspension.needs_person,
        "next_attempt_at": None if done.is_done else iso_time(suspension.due_at_ms or None),
    }


def result_of(done: Done) -> str:
    """Say in a word how it stands: `suspended` and `restored` only where IAM was read back."""
    suspension = done.suspension
    if done.is_left:
        return "requested"
    if suspension.phase == "clear" and suspension.failure:
        return "gone"
    if suspension.phase in {"suspended", "clear"}:
        return "suspended" if suspension.phase == "suspended" else "restored"
    return "needs_person" if suspension.needs_person else "failed"


def print_done(done: Done, *, options: str, wanted: str) -> None:
    """Say what came of a command, and what else there is to do.

    Args:
        done: What came of it.
        options: ` --ledger ...` for commands that are suggested.
        wanted: `suspended` or `restored`.
    """
    suspension = done.suspension
    who = printable(suspension.principal)
    result = result_of(done)
    if result == wanted:
        tail = "" if done.is_change else ", as it was before"
        print(f"{who} is {result}, read back from IAM{tail}")
        print(
            f"policy: ledgerock-deny-{suspension.suspension_id}"
        ) if wanted == "suspended" else None
    elif result == "requested":
        print(f"{who} is to be {wanted}: a workflow of Step Functions carries that out now")
    elif result == "gone":
        print(f"{who} does not exist any more: {printable(suspension.failure)}")
    elif result == "suspended":
        print(f"{who} stays suspended: other holds remain")
    elif result == "restored":
        print(f"{who} is not suspended any more: somebody lifted the hold meanwhile")
    else:
        print(f"{who} is not {wanted}: {printable(suspension.failure or 'others are at it')}")
        if not suspension.needs_person:
            print("a worker tries again, where one enforces; so does the same command")
    for hold in suspension.holds:
        print(f"  held by {_held(hold)}")
    if wanted == "restored" and suspension.holds:
        print(_advice(done, options))


def _held(hold: Hold) -> str:
    reason = printable(hold.reason)
    if hold.budget == MANUAL:
        return f"{printable(hold.by)} since {iso_time(hold.since_ms)}: {reason}"
    until = f" until {iso_time(hold.end_ms)}" if hold.end_ms else ""
    return f"budget {hold.budget}{until}: {reason}"


def _advice(done: Done, options: str) -> str:
    principal = shlex.quote(done.suspension.principal)
    budgets = [hold.budget for hold in done.suspension.holds if hold.budget != MANUAL]
    lines = [
        f"raise the limit: ledgerock budgets set {budget}{options} --limit AMOUNT"
        for budget in sorted(set(budgets))
    ]
    lines.append(
        "or lift every hold, for the budgets' present revision and period: "
        f"ledgerock restore {principal}{options} --all-holds --reason TEXT"
    )
    return "\n".join(lines)
