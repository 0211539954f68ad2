"""Sentences about budgets, for people: in events, and on the command line. Pure."""

from __future__ import annotations

from typing import Final

from worker.core.budget import LIMIT_PER_CENT, Crossing
from worker.core.budget_terms import (
    GROUP_KINDS,
    Budget,
    BudgetPeriod,
    Scope,
    amount_text,
    unit_text,
)
from worker.core.events import bounded, iso, iso_day, message, percent_of

_NOTHING_FOLLOWS: Final = "Nothing is done by itself: this budget only notifies."


def seconds_text(seconds: int) -> str:
    """Write a duration for people: `2 hours`, `90 minutes`, `1 day`."""
    units = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))
    size, name = next(one for one in units if seconds % one[0] == 0) if seconds else units[-1]
    count = seconds // size
    return f"{count} {name}{'' if count == 1 else 's'}"


def ahead(budget: Budget) -> str:
    """Say what is ahead of a budget of which nothing is spent yet."""
    first = f"Somebody is told when {budget.thresholds[0]} % of the limit is spent."
    return message(f"{first} {at_limit(budget)}")


def at_limit(budget: Budget) -> str:
    """Say what follows at the limit."""
    if budget.action == "notify":
        return _NOTHING_FOLLOWS
    grace = seconds_text(budget.grace_seconds)
    after = f"after a grace period of {grace}" if budget.grace_seconds else "at once"
    return f"At the limit {suspended(budget.scope, begin=False)} {after}."


def after_crossing(crossing: Crossing) -> str:
    """Say what follows from a crossing."""
    budget, period = crossing.budget, crossing.period
    if crossing.is_late:
        return "Nothing is done: the period is over."
    higher = [one for one in budget.thresholds if one > crossing.threshold]
    told = f" The next threshold is {higher[0]} %." if higher else ""
    if crossing.threshold < LIMIT_PER_CENT or budget.action == "notify":
        return message(f"{at_limit(budget)}{told} The period ends {iso(period.end_ms)}.")
    grace = seconds_text(budget.grace_seconds)
    begins = f"A grace period of {grace} begins; then " if budget.grace_seconds else "At once "
    return message(
        f"{begins}{suspended(budget.scope, begin=False)}, until the period ends "
        f"({iso(period.end_ms)}) or the limit is raised.{told}"
    )


def raising(budget: Budget) -> str:
    """Return the command that changes the limit."""
    return f"ledgerock budgets set {bounded(budget.name)} --limit NEW_LIMIT"


def suspended(scope: Scope, *, begin: bool = True) -> str:
    """Say who is suspended, as the beginning of a sentence or in one."""
    if scope.kind in GROUP_KINDS:
        who = f"{'E' if begin else 'e'}ach member of {scope.kind} {bounded(scope.id)}"
        return f"{who} that goes on spending is suspended"
    name = "Agent" if scope.kind == "agent" else "Principal"
    return f"{name if begin else name.lower()} {bounded(scope.id)} is suspended"


def spent_text(budget: Budget, period: BudgetPeriod, spent_amount: int) -> str:
    """Say who spent how much of the limit, in which days."""
    percent = percent_of(spent_amount, budget.limit_amount)
    spent = amount_text(spent_amount, budget.unit)
    return (
        f"{spender(budget.scope)} spent {spent} of {amount_of(budget.limit_amount, budget)} "
        f"({percent} %) {_days(period.first_day, period.last_day)}"
    )


def each_period(budget: Budget) -> str:
    """Say in which periods the limit holds."""
    return f"in each {budget.period} period"


def amount_of(amount: int, budget: Budget) -> str:
    """Write an amount with its unit."""
    return f"{amount_text(amount, budget.unit)} {unit_text(budget.unit)}"


def spender(scope: Scope) -> str:
    """Say whose spend it is."""
    return (
        "everyone together" if scope.kind == "everything" else f"{scope.kind} {bounded(scope.id)}"
    )


def _days(first_day: int, last_day: int) -> str:
    if first_day == last_day:
        return f"on {iso_day(first_day)}"
    return f"from {iso_day(first_day)} to {iso_day(last_day)}"
