"""Which period of a budget a day or an instant lies in, and when that period begins and ends.

Days are local days of the budget's scope, as postings carry them: by the date on the scope's
clocks. So a period is a range of days first, and only then two instants. Where clocks are put
forward over midnight, a day begins when they are; where they are put back into the day before, it
begins when that is over for good; a day that a country skipped is empty.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final

from worker.core.budget_terms import DAY_MAX, Budget, BudgetPeriod, is_rolling, period_days
from worker.core.ledger import MS_PER_DAY
from worker.core.registry import Registry

DAY_MIN: Final = 1
"""Calls on day 0 are batch jobs whose time is not known yet: they lie in no period."""

_DAYS_PER_WEEK: Final = 7
_EPOCH: Final = date(1970, 1, 1)
_EPOCH_INSTANT: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def has_period(day: int) -> bool:
    """Whether budgets look at a day at all: it is known, and calendars reach it."""
    return DAY_MIN <= day <= DAY_MAX


def period_of(budget: Budget, local_day: int, zone: tzinfo | None) -> BudgetPeriod:
    """Return the period that a day lies in; of a rolling window, the one that ends with it.

    Args:
        budget: Whose period.
        local_day: A day of the scope's calendar, days since 1970-01-01, for which `has_period`.
        zone: The scope's time zone; None for UTC.
    """
    first_day, next_first_day = _days_of(budget, local_day)
    return BudgetPeriod(
        first_day=first_day,
        last_day=next_first_day - 1,
        start_ms=midnight_ms(first_day, zone),
        end_ms=midnight_ms(next_first_day, zone),
    )


def period_at(budget: Budget, at_ms: int, registry: Registry) -> BudgetPeriod:
    """Return the period of an instant, epoch milliseconds UTC, in the scope's calendar."""
    scope = budget.scope
    day = registry.local_day(scope.kind, scope.id, at_ms)
    return period_of(budget, day, registry.zone(scope.kind, scope.id))


def _days_of(budget: Budget, day: int) -> tuple[int, int]:
    """Return the first day of the period, and the day after its last."""
    if budget.period == "daily":
        return day, day + 1
    if budget.period == "weekly":
        first = day - (_EPOCH + timedelta(days=day)).weekday()
        return first, first + _DAYS_PER_WEEK
    days = period_days(budget.period)
    if days is not None and is_rolling(budget.period):
        return day - days + 1, day + 1
    if days is not None:
        first = day - (day - budget.anchor_day) % days
        return first, first + days
    start = (_EPOCH + timedelta(days=day)).replace(day=1)
    following = (start + timedelta(days=31)).replace(day=1)
    return (start - _EPOCH).days, (following - _EPOCH).days


def midnight_ms(day: int, zone: tzinfo | None) -> int:
    """Return the instant at which a local day begins: nothing after it lies on an earlier day."""
    if zone is None:
        return day * MS_PER_DAY
    local = datetime.combine(_EPOCH + timedelta(days=day), datetime.min.time(), zone)
    first, second = _instant_ms(local), _instant_ms(local.replace(fold=1))
    if first <= second:
        # Midnight comes once, or twice; the first time counts unless yesterday comes back.
        is_back = second > first and _local(second - 1, zone).date() < local.date()
        return second if is_back else first
    # Clocks skip midnight: the day begins when they are put forward, somewhere in between.
    before, after = second, first
    offset_before = _local(before, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if _local(middle, zone).utcoffset() == offset_before:
            before = middle
        else:
            after = middle
    return after


def _instant_ms(local: datetime) -> int:
    return (local - _EPOCH_INSTANT) // _MILLISECOND


def _local(at_ms: int, zone: tzinfo) -> datetime:
    return (_EPOCH_INSTANT + timedelta(milliseconds=at_ms)).astimezone(zone)
