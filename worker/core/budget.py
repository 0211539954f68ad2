"""The crossing of budgets' thresholds, and the state machine of their enforcement. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Container
from datetime import date
from typing import Final

import msgspec

from worker.core.budget_terms import Budget, BudgetPeriod

_EPOCH: Final = date(1970, 1, 1)
_DIGEST_LENGTH: Final = 12


class Crossing(msgspec.Struct, frozen=True, gc=False):
    """A budget's spend of one period reached a threshold.

    Attributes:
        event_id: Deterministic: from budget name, revision, first day of the period, threshold.
        budget: The budget as it was evaluated.
        period: Which period.
        threshold: Per cent of the limit.
        spent_amount: The spend that was read, in the budget's unit.
        is_late: The period was over when it was found; nobody acts on it.
        is_highest: It is the highest of those found together; people are told only of it.
    """

    event_id: str
    budget: Budget
    period: BudgetPeriod
    threshold: int
    spent_amount: int
    is_late: bool
    is_highest: bool


def is_reached(budget: Budget, threshold: int, spent_amount: int) -> bool:
    """Whether the spend is that many per cent of the limit, to the last unit."""
    return spent_amount * 100 >= budget.limit_amount * threshold


def crossing_id(budget: Budget, first_day: int, threshold: int) -> str:
    """Return the id of a crossing: of this revision, in the period from that day on.

    It can be read, and ends in a digest of what it is made of. Nobody but this budget's revision
    ever makes the same one: revisions of a name only ever go up, removed budgets' included.
    """
    day = _EPOCH.toordinal() + first_day
    parts = (budget.name, f"r{budget.revision}", date.fromordinal(day).isoformat(), str(threshold))
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:_DIGEST_LENGTH]
    return "-".join(("crossing", *parts, digest))


def crossings_of(
    budget: Budget,
    period: BudgetPeriod,
    spent_amount: int,
    now_ms: int,
    known_ids: Container[str] = frozenset(),
) -> list[Crossing]:
    """Return the thresholds that a spend has reached, lowest first.

    Args:
        budget: Whose thresholds; one that was removed has none.
        period: Which period.
        spent_amount: The spend that was read for it.
        now_ms: Says whether the period is over, epoch milliseconds UTC.
        known_ids: Ids of crossings that are written down already, and left out.
    """
    if budget.is_removed:
        return []
    found = [
        (threshold, event_id)
        for threshold in budget.thresholds
        if is_reached(budget, threshold, spent_amount)
        and (event_id := crossing_id(budget, period.first_day, threshold)) not in known_ids
    ]
    return [
        Crossing(
            event_id=event_id,
            budget=budget,
            period=period,
            threshold=threshold,
            spent_amount=spent_amount,
            is_late=period.end_ms <= now_ms,
            is_highest=threshold == found[-1][0],
        )
        for threshold, event_id in found
    ]
