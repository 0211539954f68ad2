"""How budgets stand, as people see them: what is spent of a period, and how serious that is."""

from __future__ import annotations

from typing import Literal

import msgspec

from worker.core.budget import is_reached
from worker.core.budget_terms import Budget, BudgetPeriod
from worker.core.events import LIMIT_PER_CENT, Level, level_of

BudgetState = Literal["ok"] | Level


class Standing(msgspec.Struct, frozen=True, gc=False):
    """What was spent of a budget in one period."""

    budget: Budget
    period: BudgetPeriod
    spent_amount: int

    @property
    def state(self) -> BudgetState:
        """`exceeded` from the limit on, else the level of the highest threshold reached."""
        if is_reached(self.budget, LIMIT_PER_CENT, self.spent_amount):
            return "exceeded"
        thresholds = self.budget.thresholds
        reached = [one for one in thresholds if is_reached(self.budget, one, self.spent_amount)]
        return level_of(reached[-1], thresholds) if reached else "ok"
