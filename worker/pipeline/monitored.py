"""What one run of the monitor did."""

from __future__ import annotations

from typing import Final

import msgspec

FAULTS_MAX: Final = 5


class Monitored(msgspec.Struct):
    """What one run of the monitor did. True if it did anything: more may be due because of it.

    Attributes:
        looks: Looks that were due.
        rechecked: Statuses that were only looked at again.
        deadlines: Grace periods whose deadline was fixed, since they were announced.
        suspended: Budgets whose grace period is over, still exceeded.
        held: Holds put on principals, that were not there.
        lifted: Holds lifted.
        lowered: Budgets that went down, or were dropped.
        closed: Periods that were over.
        crossings: Thresholds that nobody had found crossed.
        failed: Records that could not be worked on; they stay due.
        faults: Why; some of the reasons, each once.
        lag_ms: For how long the oldest of what was due had been due.
    """

    looks: int = 0
    rechecked: int = 0
    deadlines: int = 0
    suspended: int = 0
    held: int = 0
    lifted: int = 0
    lowered: int = 0
    closed: int = 0
    crossings: int = 0
    failed: int = 0
    faults: list[str] = []
    lag_ms: int = 0

    def __bool__(self) -> bool:
        """Whether anything was done."""
        done = (self.looks, self.deadlines, self.suspended, self.held, self.lifted, self.lowered)
        return any(done) or bool(self.closed or self.crossings)

    def found(self, due_at_ms: int, now_ms: int) -> None:
        """Note when something was due; 0 stands for at once."""
        if due_at_ms:
            self.lag_ms = max(self.lag_ms, now_ms - due_at_ms)

    def fail(self, error: Exception) -> None:
        """Count a record that could not be worked on."""
        self.failed += 1
        if len(self.faults) < FAULTS_MAX and str(error) not in self.faults:
            self.faults.append(str(error))
