"""What budgets' events hold, field by field; their JSON Schemas say the same."""

from __future__ import annotations

import msgspec

from worker.core.budget import Level
from worker.core.budget_terms import BudgetAction, BudgetUnit
from worker.core.enforcement import State
from worker.core.events import PeriodDetail, ScopeDetail


class BudgetDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """A budget as events show it.

    Attributes:
        limit: In `unit`, an exact decimal string.
        grace_seconds: From the announcement that the limit is reached to the suspension.
        origin: `tier/NAME` if a tier gives it; empty for a person.
        limit_usd: The same as `limit`, of budgets in USD.
    """

    name: str
    revision: int
    unit: BudgetUnit
    limit: str
    period: str
    thresholds: tuple[int, ...]
    action: BudgetAction
    grace_seconds: int = 0
    origin: str = ""
    limit_usd: str = ""


class CrossingDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Detail of `Budget Threshold Crossed`.

    Attributes:
        percent: Spend in per cent of the limit, cut (never rounded up) after four decimals.
        highest_of_jump: It is the highest of the thresholds that were found crossed together.
        late: The period was over when it was found.
        message: One line for people.
        next: What happens next, and when.
        command: The command that changes it.
        spent_usd: The same as `spent`, of budgets in USD.
        limit_usd: The same as `limit`, of budgets in USD.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    budget: BudgetDetail
    period: PeriodDetail
    threshold: int
    level: Level
    unit: BudgetUnit
    spent: str
    limit: str
    percent: str
    highest_of_jump: bool
    late: bool
    action: BudgetAction
    message: str
    next: str
    command: str
    spent_usd: str = ""
    limit_usd: str = ""


class InitializedDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Detail of `Budget Initialized`."""

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    budget: BudgetDetail
    unit: BudgetUnit
    limit: str
    action: BudgetAction
    message: str
    next: str
    command: str
    limit_usd: str = ""


class GraceDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Detail of `Budget Grace Period Started`.

    Attributes:
        grace_seconds: From the announcement to the deadline.
        deadline: When the suspension follows: `grace_seconds` after the announcement.
        message: One line for people, made again by `regraced`: all other text is about no time.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    budget: BudgetDetail
    period: PeriodDetail
    unit: BudgetUnit
    spent: str
    limit: str
    percent: str
    grace_seconds: int
    deadline: str
    message: str
    next: str
    command: str
    spent_usd: str = ""
    limit_usd: str = ""


class RefreshedDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Detail of `Budget Refreshed`.

    Attributes:
        period: The period that is over.
        spent: In it, as far as it is known by now.
        state: How it stood at the end.
        next_period: The period that has begun; that of now, if others passed unseen.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    budget: BudgetDetail
    period: PeriodDetail
    next_period: PeriodDetail
    state: State
    unit: BudgetUnit
    spent: str
    limit: str
    percent: str
    message: str
    next: str
    command: str
    spent_usd: str = ""
    limit_usd: str = ""


class ForecastDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """Detail of `Budget Limit Forecast`.

    Attributes:
        projected: The spend at the period's end if it goes on like this, rounded down.
        passes_at: When it reaches the limit then.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    budget: BudgetDetail
    period: PeriodDetail
    unit: BudgetUnit
    spent: str
    limit: str
    percent: str
    projected: str
    passes_at: str
    message: str
    next: str
    command: str
    spent_usd: str = ""
    limit_usd: str = ""
