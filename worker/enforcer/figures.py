"""What a look at due suspensions, or the steps of workflows did, in figures."""

from __future__ import annotations

import msgspec

from worker.core.enforcement import Suspension
from worker.core.suspension import Failed, Gone, Input, Verified
from worker.core.suspension_events import crossing_to_deny_ms


class Enforced(msgspec.Struct):
    """What one look did.

    Attributes:
        suspended: Principals that were suspended, verified and recorded.
        restored: Principals that were restored, verified and recorded.
        confirmed: Re-checks that found all well, or mended it.
        failed: Attempts that failed and are tried again soon.
        needs_person: Attempts that a person has to complete.
        gone: Principals that do not exist any more.
        left: Suspensions that somebody else was at.
        crossing_to_deny_ms: Of each that was suspended for a budget: from the finding that the
            limit was reached to the verified deny, the grace period included.
        hold_to_deny_ms: Of each that was suspended: from its first hold to the verified deny.
        faults: Why something failed; each reason once.
        is_cut: There is more to do at once; look again.
    """

    suspended: int = 0
    restored: int = 0
    confirmed: int = 0
    failed: int = 0
    needs_person: int = 0
    gone: int = 0
    left: int = 0
    crossing_to_deny_ms: list[int] = []
    hold_to_deny_ms: list[int] = []
    faults: list[str] = []
    is_cut: bool = False

    @property
    def changed(self) -> int:
        """How many suspensions came to something that is announced."""
        return self.suspended + self.restored + self.failed + self.needs_person + self.gone

    def add_fault(self, reason: str) -> None:
        """Keep a reason, unless it is there."""
        if reason not in self.faults:
            self.faults.append(reason)

    def count(self, before: Suspension, after: Suspension, given: Input) -> None:
        """Count what an attempt came to, and what it made of a suspension."""
        match given:
            case Verified() if before.phase == after.phase:
                self.confirmed += 1
            case Verified(action="suspend"):
                self.suspended += 1
                self.hold_to_deny_ms.append(max(0, after.phase_at_ms - before.phase_at_ms))
                crossing_ms = crossing_to_deny_ms(after, after.phase_at_ms)
                if crossing_ms is not None:
                    self.crossing_to_deny_ms.append(crossing_ms)
            case Verified():
                self.restored += 1
            case Gone():
                self.gone += 1
            case Failed(needs_person=True):
                self.needs_person += 1
            case Failed():
                self.failed += 1
            case _:
                self.left += 1
        if isinstance(given, Failed | Gone):
            self.add_fault(f"{after.principal}: {given.reason}")
