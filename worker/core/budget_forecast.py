"""When a budget's limit is passed if spending goes on as it did so far in the period. Pure.

The spend so far is drawn out linearly: spent, times the period, by the time passed. That says
nothing while little has been seen, so there is a forecast only once a twentieth of the period has
passed and half of the first threshold is spent; and none for a rolling window, which has no end
to reach. A forecast is told of once in each revision and period, and nothing is ever done because
of it.
"""

from __future__ import annotations

from typing import Final

import msgspec

from worker.core.budget import LIMIT_PER_CENT, is_reached
from worker.core.budget_terms import Budget, BudgetPeriod, is_rolling
from worker.core.events import event_id_of

PASSED_MIN: Final = 20
"""One in so many parts of the period must have passed."""
SPENT_MIN: Final = 2
"""One in so many parts of the first threshold must be spent."""


class Forecast(msgspec.Struct, frozen=True, gc=False):
    """A budget's limit will be passed before its period ends if it goes on like this.

    Attributes:
        event_id: Deterministic: from budget name, revision and first day of the period.
        budget: The budget as it was evaluated.
        period: Which period.
        spent_amount: The spend that was read, in the budget's unit.
        projected_amount: The spend at the period's end, rounded down.
        passes_at_ms: When the limit is reached, rounded up, epoch milliseconds UTC.
    """

    event_id: str
    budget: Budget
    period: BudgetPeriod
    spent_amount: int
    projected_amount: int
    passes_at_ms: int


def forecast_of(
    budget: Budget, period: BudgetPeriod, spent_amount: int, now_ms: int
) -> Forecast | None:
    """Return the forecast of a period, if it passes the limit and says so in time.

    Args:
        budget: Whose; only one that asks for forecasts, and was not removed, has any.
        period: The period of now.
        spent_amount: In the budget's unit.
        now_ms: Epoch milliseconds UTC.
    """
    if not budget.forecast or budget.is_removed or is_rolling(budget.period):
        return None
    passed_ms, whole_ms = now_ms - period.start_ms, period.end_ms - period.start_ms
    if passed_ms * PASSED_MIN < whole_ms or passed_ms >= whole_ms:
        return None
    is_enough = is_reached(budget, budget.thresholds[0], spent_amount * SPENT_MIN)
    if not is_enough or is_reached(budget, LIMIT_PER_CENT, spent_amount):
        return None
    passes_at_ms = period.start_ms - (-passed_ms * budget.limit_amount // spent_amount)
    if passes_at_ms >= period.end_ms:
        return None
    return Forecast(
        event_id=event_id_of("forecast", budget.name, str(budget.revision), str(period.first_day)),
        budget=budget,
        period=period,
        spent_amount=spent_amount,
        projected_amount=spent_amount * whole_ms // passed_ms,
        passes_at_ms=passes_at_ms,
    )
