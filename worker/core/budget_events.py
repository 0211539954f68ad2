"""What is announced of budgets: what each event says, as JSON, and under which id.

event                        once for each
---------------------------  ------------------------------------------------------------------
Budget Initialized           budget that was not there and was set
Budget Threshold Crossed     revision, period and threshold
Budget Grace Period Started  revision and period whose limit was reached, where that suspends
Budget Refreshed             period that is over, of a budget that had come near its limit
Budget Limit Forecast        revision and period, for budgets that ask for it

Amounts are exact decimal strings in the budget's `unit`. Events of budgets in USD carry them as
`spent_usd` and `limit_usd` as well.
"""

from __future__ import annotations

from datetime import date
from typing import Final

import msgspec

from worker.core.budget import Crossing, grace_id, level_of
from worker.core.budget_details import (
    BudgetDetail,
    CrossingDetail,
    ForecastDetail,
    GraceDetail,
    InitializedDetail,
    RefreshedDetail,
)
from worker.core.budget_forecast import Forecast
from worker.core.budget_terms import (
    GROUP_KINDS,
    Budget,
    BudgetPeriod,
    Scope,
    amount_text,
    limit_text,
)
from worker.core.budget_texts import (
    after_crossing,
    ahead,
    amount_of,
    at_limit,
    each_period,
    raising,
    spender,
    spent_text,
    suspended,
)
from worker.core.enforcement import State
from worker.core.events import (
    BUDGET_FORECAST,
    BUDGET_GRACE_STARTED,
    BUDGET_INITIALIZED,
    BUDGET_REFRESHED,
    BUDGET_THRESHOLD_CROSSED,
    SCHEMA_VERSION,
    Event,
    PeriodDetail,
    ScopeDetail,
    bounded,
    budget_subject,
    event_id_of,
    iso,
    iso_day,
    message,
    percent_of,
    within,
)

_DEADLINE: Final = " at "
_EPOCH: Final = date(1970, 1, 1)
"""Before the deadline, which ends the message."""


# --- Events -----------------------------------------------------------------------------------


def budget_initialized(budget: Budget) -> Event:
    """Build `Budget Initialized`: a budget that was not there was set, at `created_at_ms`."""
    at = iso(budget.created_at_ms)
    event_id = event_id_of("budget-initialized", budget.name, str(budget.revision))
    marks = ", ".join(f"{threshold} %" for threshold in budget.thresholds)
    detail = InitializedDetail(
        event_id=event_id,
        schema_version=SCHEMA_VERSION,
        occurred_at=at,
        recorded_at=at,
        scope=_scope(budget.scope),
        budget=_budget(budget),
        unit=budget.unit,
        limit=limit_text(budget),
        action=budget.action,
        message=message(
            f"Budget {bounded(budget.name)}: {spender(budget.scope)} may spend "
            f"{amount_of(budget.limit_amount, budget)} {each_period(budget)}; thresholds: {marks}."
        ),
        next=ahead(budget),
        command=raising(budget),
        limit_usd=_usd(budget.limit_amount, budget),
    )
    return _event(event_id, BUDGET_INITIALIZED, budget, detail, budget.created_at_ms)


def threshold_crossed(crossing: Crossing, recorded_at_ms: int, *, time_zone: str = "") -> Event:
    """Build `Budget Threshold Crossed`.

    Args:
        crossing: What was found.
        recorded_at_ms: Ledger time at which it was found, epoch milliseconds UTC. It is also
            taken for the event time, as far as it lies in the period.
        time_zone: The scope's, by name.
    """
    budget, period = crossing.budget, crossing.period
    occurred_at_ms = within(recorded_at_ms, period.start_ms, period.end_ms)
    level = level_of(crossing.threshold, budget.thresholds)
    found = " This was found after the period was over." if crossing.is_late else ""
    spent = crossing.spent_amount
    detail = CrossingDetail(
        event_id=crossing.event_id,
        schema_version=SCHEMA_VERSION,
        occurred_at=iso(occurred_at_ms),
        recorded_at=iso(recorded_at_ms),
        scope=_scope(budget.scope),
        budget=_budget(budget),
        period=_period(period, time_zone),
        threshold=crossing.threshold,
        level=level,
        unit=budget.unit,
        spent=amount_text(spent, budget.unit),
        limit=limit_text(budget),
        percent=percent_of(spent, budget.limit_amount),
        highest_of_jump=crossing.is_highest,
        late=crossing.is_late,
        action=budget.action,
        message=message(
            f"Budget {bounded(budget.name)} ({level}): {spent_text(budget, period, spent)}, and "
            f"crossed the threshold of {crossing.threshold} %.{found}"
        ),
        next=after_crossing(crossing),
        command=raising(budget),
        spent_usd=_usd(spent, budget),
        limit_usd=_usd(budget.limit_amount, budget),
    )
    return _event(crossing.event_id, BUDGET_THRESHOLD_CROSSED, budget, detail, occurred_at_ms)


def grace_started(
    budget: Budget,
    period: BudgetPeriod,
    spent_amount: int,
    recorded_at_ms: int,
    *,
    event_id: str = "",
    time_zone: str = "",
) -> Event:
    """Build `Budget Grace Period Started`, as if it were announced when it is recorded.

    Args:
        budget: Whose limit is reached.
        period: In which period.
        spent_amount: In the budget's unit.
        recorded_at_ms: When this was found, epoch milliseconds UTC.
        event_id: Of the status; by default that of this revision and period.
        time_zone: The scope's, by name.
    """
    occurred_at_ms = within(recorded_at_ms, period.start_ms, period.end_ms)
    event_id = event_id or grace_id(budget, period.first_day)
    deadline = iso(recorded_at_ms + budget.grace_seconds * 1_000)
    lifted = "is restored" if budget.scope.kind not in GROUP_KINDS else "are restored"
    detail = GraceDetail(
        event_id=event_id,
        schema_version=SCHEMA_VERSION,
        occurred_at=iso(occurred_at_ms),
        recorded_at=iso(recorded_at_ms),
        scope=_scope(budget.scope),
        budget=_budget(budget),
        period=_period(period, time_zone),
        unit=budget.unit,
        spent=amount_text(spent_amount, budget.unit),
        limit=limit_text(budget),
        percent=percent_of(spent_amount, budget.limit_amount),
        grace_seconds=budget.grace_seconds,
        deadline=deadline,
        message=message(
            f"Budget {bounded(budget.name)}: {spent_text(budget, period, spent_amount)}. "
            f"{suspended(budget.scope)}{_DEADLINE}{deadline}."
        ),
        next=message(
            f"{suspended(budget.scope)} at the deadline if the limit is still reached then, and "
            f"{lifted} when the period ends ({iso(period.end_ms)}) or the limit is raised."
        ),
        command=raising(budget),
        spent_usd=_usd(spent_amount, budget),
        limit_usd=_usd(budget.limit_amount, budget),
    )
    return _event(event_id, BUDGET_GRACE_STARTED, budget, detail, occurred_at_ms)


def regraced(detail: bytes, now_ms: int) -> bytes:
    """Return the detail of `Budget Grace Period Started` with its deadline counted from now.

    Whoever announces it calls this last, so that the grace period is served in full.

    Args:
        detail: As it was written down, JSON.
        now_ms: The time of the announcement, epoch milliseconds UTC.

    Raises:
        msgspec.DecodeError: It is no such detail.
    """
    found = msgspec.json.decode(detail, type=GraceDetail)
    deadline = iso(now_ms + found.grace_seconds * 1_000)
    before, separator, _ = found.message.rpartition(_DEADLINE)
    text = f"{before}{separator}{deadline}." if separator else found.message
    return msgspec.json.encode(msgspec.structs.replace(found, deadline=deadline, message=text))


def grace_day_of(detail: bytes) -> int:
    """Return the first day of the period whose grace period a detail tells of.

    Raises:
        msgspec.DecodeError: It is no such detail.
    """
    found = msgspec.json.decode(detail, type=GraceDetail)
    try:
        return (date.fromisoformat(found.period.first_day) - _EPOCH).days
    except ValueError as error:
        raise msgspec.DecodeError(str(error)) from error


class _Graced(msgspec.Struct):
    grace_seconds: int


def grace_seconds_of(detail: bytes) -> int | None:
    """Return how long the grace period is that a detail tells of; None if it tells of none."""
    try:
        return msgspec.json.decode(detail, type=_Graced).grace_seconds
    except msgspec.DecodeError:
        return None


def budget_refreshed(  # noqa: PLR0913 - what is told
    budget: Budget,
    period: BudgetPeriod,
    following: BudgetPeriod,
    spent_amount: int,
    state: State,
    recorded_at_ms: int,
    *,
    time_zone: str = "",
) -> Event:
    """Build `Budget Refreshed`.

    Args:
        budget: Which.
        period: The period that is over.
        following: The one of now.
        spent_amount: In the period that is over, in the budget's unit.
        state: How it stood when the period ended.
        recorded_at_ms: When it was found to be over, epoch milliseconds UTC.
        time_zone: The scope's, by name.
    """
    event_id = event_id_of(
        "budget-refreshed", budget.name, str(budget.revision), str(period.first_day)
    )
    held = " Suspensions for it are lifted." if state == "suspended" else ""
    detail = RefreshedDetail(
        event_id=event_id,
        schema_version=SCHEMA_VERSION,
        occurred_at=iso(period.end_ms),
        recorded_at=iso(recorded_at_ms),
        scope=_scope(budget.scope),
        budget=_budget(budget),
        period=_period(period, time_zone),
        next_period=_period(following, time_zone),
        state=state,
        unit=budget.unit,
        spent=amount_text(spent_amount, budget.unit),
        limit=limit_text(budget),
        percent=percent_of(spent_amount, budget.limit_amount),
        message=message(
            f"Budget {bounded(budget.name)}: a new period has begun. In the last one "
            f"{spent_text(budget, period, spent_amount)}.{held}"
        ),
        next=ahead(budget),
        command=raising(budget),
        spent_usd=_usd(spent_amount, budget),
        limit_usd=_usd(budget.limit_amount, budget),
    )
    return _event(event_id, BUDGET_REFRESHED, budget, detail, period.end_ms)


def limit_forecast(forecast: Forecast, recorded_at_ms: int, *, time_zone: str = "") -> Event:
    """Build `Budget Limit Forecast`.

    Args:
        forecast: What was worked out.
        recorded_at_ms: When, epoch milliseconds UTC.
        time_zone: The scope's, by name.
    """
    budget, period, spent = forecast.budget, forecast.period, forecast.spent_amount
    passes_at = iso(forecast.passes_at_ms)
    detail = ForecastDetail(
        event_id=forecast.event_id,
        schema_version=SCHEMA_VERSION,
        occurred_at=iso(recorded_at_ms),
        recorded_at=iso(recorded_at_ms),
        scope=_scope(budget.scope),
        budget=_budget(budget),
        period=_period(period, time_zone),
        unit=budget.unit,
        spent=amount_text(spent, budget.unit),
        limit=limit_text(budget),
        percent=percent_of(spent, budget.limit_amount),
        projected=amount_text(forecast.projected_amount, budget.unit),
        passes_at=passes_at,
        message=message(
            f"Budget {bounded(budget.name)}: {spent_text(budget, period, spent)} so far. If it "
            f"goes on like this, it passes the limit at {passes_at}."
        ),
        next=message(
            f"Nothing is done because of a forecast. {at_limit(budget)} The period ends "
            f"{iso(period.end_ms)}."
        ),
        command=raising(budget),
        spent_usd=_usd(spent, budget),
        limit_usd=_usd(budget.limit_amount, budget),
    )
    return _event(forecast.event_id, BUDGET_FORECAST, budget, detail, recorded_at_ms)


def _event(
    event_id: str, detail_type: str, budget: Budget, detail: msgspec.Struct, occurred_at_ms: int
) -> Event:
    encoded = msgspec.json.encode(detail)
    return Event(event_id, detail_type, budget_subject(budget.name), encoded, occurred_at_ms)


def _usd(amount: int, budget: Budget) -> str:
    return amount_text(amount, "usd") if budget.unit == "usd" else ""


def _budget(budget: Budget) -> BudgetDetail:
    return BudgetDetail(
        name=bounded(budget.name),
        revision=budget.revision,
        unit=budget.unit,
        limit=limit_text(budget),
        period=budget.period,
        thresholds=budget.thresholds,
        action=budget.action,
        grace_seconds=budget.grace_seconds if budget.action == "suspend" else 0,
        origin=bounded(budget.origin),
        limit_usd=_usd(budget.limit_amount, budget),
    )


def _scope(scope: Scope) -> ScopeDetail:
    return ScopeDetail(scope.kind, bounded(scope.id))


def _period(period: BudgetPeriod, time_zone: str) -> PeriodDetail:
    return PeriodDetail(
        start=iso(period.start_ms),
        end=iso(period.end_ms),
        first_day=iso_day(period.first_day),
        last_day=iso_day(period.last_day),
        time_zone=bounded(time_zone),
    )
