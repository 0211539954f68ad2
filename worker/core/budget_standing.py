"""How budgets stand, as people see them: what is spent of a period, and how serious that is."""

from __future__ import annotations

from typing import Literal

import msgspec

from worker.core.budget import EXHAUSTED, Level, standing_level
from worker.core.budget_terms import Budget, BudgetPeriod
from worker.core.enforcement import BudgetStatus

BudgetState = Literal["ok", "grace_period", "suspended"] | Level


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What was spent of a budget in one period.

    Attributes:
        budget: Which.
        period: Of which period.
        spent_amount: In the budget's unit.
        status: Where enforcement stands in it; None if nothing is stored, or it is not known.
    """

    budget: Budget
    period: BudgetPeriod
    spent_amount: int
    status: BudgetStatus | None = None

    @property
    def state(self) -> BudgetState:
        """How serious it is.

        `grace_period` and `suspended` are what enforcement makes of it; else `exceeded` from the
        limit on, or the level of the highest threshold reached.
        """
        status = self.status
        if status is not None and not status.is_closed and status.state in EXHAUSTED:
            return "suspended" if status.state == "suspended" else "grace_period"
        return standing_level(self.budget, self.spent_amount) or "ok"

    @property
    def deadline_ms(self) -> int:
        """End of a grace period that was announced, epoch milliseconds UTC; else 0."""
        is_in_grace = self.status is not None and self.state == "grace_period"
        return self.status.deadline_ms if self.status is not None and is_in_grace else 0
