"""`ledgerock verify --audit`: whether the audit log is what was written."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from worker.settings import Settings

if TYPE_CHECKING:
    from worker.core.audit import AuditHead, AuditProblem
    from worker.pipeline.audit import AuditCheck

PROBLEMS_SHOWN: Final = 50

_NOTED: Final = re.compile(r"([1-9][0-9]{0,11}):([0-9a-f]{16,64})", re.ASCII)


def parse_noted(text: str) -> AuditHead:
    """Read where a log ended earlier, as a check says it: its number, a colon, its hash.

    Raises:
        ConfigurationError: It is not that.
    """
    from worker.core.audit import AuditHead
    from worker.core.errors import ConfigurationError

    match = _NOTED.fullmatch(text.strip())
    if match is None:
        message = (
            f"--noted {text!r}: expected what an earlier check said, NUMBER:HASH, the hash with "
            "at least 16 digits"
        )
        raise ConfigurationError(message)
    return AuditHead(int(match[1]), match[2])


async def check_audit(settings: Settings, noted: AuditHead | None) -> AuditCheck:
    """Check the audit log beside a ledger."""
    from worker.adapters.clock import SystemClock
    from worker.bootstrap import open_state
    from worker.pipeline.audit import AuditLog

    state = open_state(settings, must_exist=True)
    try:
        return await AuditLog(state.records, SystemClock()).check(noted)
    finally:
        await state.close()


def audit_document(settings: Settings, found: AuditCheck) -> dict[str, Any]:
    """Return a check as JSON says it."""
    return {
        "ledger": settings.ledger,
        "sound": not found.problems,
        "entries": found.entries,
        "end": {"number": found.head.number, "hash": found.head.hash},
        "replaced": found.replaced,
        "problems": [
            {"entry": one.number or None, "problem": one.problem} for one in found.problems
        ],
    }


def print_audit(settings: Settings, found: AuditCheck) -> None:
    """Print a check for people."""
    from worker.cli.output import console, printable, quantity

    out = console()
    entries = quantity(found.entries, "entry", "entries")
    forgotten = f", in {found.replaced} of them people were forgotten" if found.replaced else ""
    if not found.problems:
        ends = f"; it ends with {found.head.number}:{found.head.hash}" if found.entries else ""
        out.print(
            f"the audit log of {settings.ledger} is sound: {entries}{forgotten}{ends}",
            soft_wrap=True,
        )
        return
    problems = quantity(len(found.problems), "problem")
    out.print(f"the audit log of {settings.ledger} is not sound: {problems} ({entries}{forgotten})")
    for one in found.problems[:PROBLEMS_SHOWN]:
        out.print(printable(_line(one)), soft_wrap=True)
    more = len(found.problems) - PROBLEMS_SHOWN
    if more > 0:
        out.print(f"and {more} more; --json lists all")


def _line(one: AuditProblem) -> str:
    return f"entry {one.number} {one.problem}" if one.number else one.problem
