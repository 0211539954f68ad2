"""What the audit log is told of one suspension or restoration: before each act, and after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from worker.core.enforcement import Suspension
from worker.core.events import event_id_of
from worker.core.suspension import Failed, Gone, action_of, is_settled
from worker.enforcer.snapshots import Kept
from worker.pipeline.audit import AuditLog
from worker.ports import Snapshot


class Entries:
    """Writes entries, each once in a phase however often that phase is tried.

    What was found to be amiss and is mended begins its phase anew, and has entries of its own. All
    methods raise `TransientError`: it may be written or not, and doing it again is safe.

    Args:
        audit: The log.
    """

    def __init__(self, audit: AuditLog) -> None:
        """Write nothing yet."""
        self._audit = audit

    async def begun(self, suspension: Suspension, whom: Sequence[Kept]) -> None:
        """Write down what is about to be done to some targets, and what they had."""
        is_suspension = action_of(suspension) == "suspend"
        act = "Suspension Begun" if is_suspension else "Restoration Begun"
        before: dict[str, Any] = {str(one.target): suspension.suspension_id for one in whom}
        if is_suspension:
            before = {str(one.target): _had(one.found) for one in whom}
        once = sorted(one.found.unique_id for one in whom)
        if is_settled(suspension):
            act, once = f"{act} Again", [*once, suspension.claim]
        await self._append(suspension, act, before, _names(suspension), ",".join(once))

    async def changed(self, suspension: Suspension, one: Kept) -> None:
        """Write down what is about to be taken, if it is not what was found at first."""
        if one.taken is None or _had(one.taken) == _had(one.found):
            return
        found, taken = {str(one.target): _had(one.found)}, {str(one.target): _had(one.taken)}
        act = "Policies Changed Meanwhile"
        await self._append(suspension, act, found, taken, one.found.unique_id)

    async def done(self, suspension: Suspension, whom: Sequence[Kept]) -> None:
        """Write down that what the phase wants was verified."""
        if is_settled(suspension):
            return
        is_suspension = action_of(suspension) == "suspend"
        act = "Principal Suspended" if is_suspension else "Principal Restored"
        targets = sorted({str(one.target) for one in whom})
        after = {"verified": targets, **_names(suspension)}
        await self._append(suspension, act, {"phase": suspension.phase}, after)

    async def failed(self, suspension: Suspension, given: Failed | Gone) -> None:
        """Write down why something failed, each reason once."""
        if given.reason == suspension.failure:
            return
        act = "Suspension Failed" if given.action == "suspend" else "Restoration Failed"
        after = {"failure": given.reason, **_names(suspension)}
        await self._append(suspension, act, {"phase": suspension.phase}, after, given.reason)

    async def _append(
        self, suspension: Suspension, act: str, before: object, after: object, once: str = ""
    ) -> None:
        reasons = [f"{one.reason} (by {one.by})" for one in suspension.holds]
        if not reasons:
            reasons = [f"{suspension.why} (by {suspension.by})"]
        phase = f"{suspension.number}/{suspension.phase_at_ms}"
        await self._audit.append(
            act=act,
            actor="ledgerock",
            subject=suspension.principal,
            why="; ".join(reasons),
            before=before,
            after=after,
            once=event_id_of(act, suspension.principal, phase, once),
        )


def _names(suspension: Suspension) -> dict[str, Any]:
    return {
        "suspension_id": suspension.suspension_id,
        "number": suspension.number,
        "mode": suspension.mode,
    }


def _had(snapshot: Snapshot) -> dict[str, Any]:
    """Return what a target had, by name; the documents are in its snapshot."""
    return {
        "unique_id": snapshot.unique_id,
        "attached": list(snapshot.attached),
        "inline": [policy.name for policy in snapshot.inline],
        "keys": {key.id: key.status for key in snapshot.keys},
    }
