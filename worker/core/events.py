"""The events that Ledgerock announces: what each says, as JSON, and under which id.

Ids are deterministic, so that an event that is announced twice is known to be the same. Details
are small, whatever callers called things: text from outside is cut to `TEXT_LENGTH_MAX`. Their
JSON Schemas lie in `worker/data/schemas`, one for each detail type.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import Final, Literal

import msgspec

from worker.core.budget import Crossing
from worker.core.budget_terms import Budget, BudgetPeriod, Scope
from worker.core.ledger import MS_PER_DAY
from worker.core.money import format_pico_usd

SCHEMA_VERSION: Final = 1
SOURCE: Final = "ledgerock"
"""Source of every event on the bus."""

BUDGET_THRESHOLD_CROSSED: Final = "Budget Threshold Crossed"
BUDGET_INITIALIZED: Final = "Budget Initialized"
BUDGET_GRACE_STARTED: Final = "Budget Grace Period Started"
BUDGET_REFRESHED: Final = "Budget Refreshed"
BUDGET_FORECAST: Final = "Budget Limit Forecast"
SUSPENSION_REQUIRED: Final = "Principal Suspension Required"
PRINCIPAL_SUSPENDED: Final = "Principal Suspended"
RESTORATION_REQUIRED: Final = "Principal Restoration Required"
PRINCIPAL_RESTORED: Final = "Principal Restored"
SUSPENSION_FAILED: Final = "Suspension Failed"
AGENT_REGISTERED: Final = "Agent Registered"
AGENT_REMOVED: Final = "Agent Removed"
UNPROVISIONED_KEY: Final = "Unprovisioned Key Detected"
TAGS_CHANGED: Final = "Principal Tags Changed"
USAGE_UNPRICED: Final = "Usage Unpriced"
USAGE_UNMETERED: Final = "Usage Unmetered"
USAGE_QUARANTINED: Final = "Usage Quarantined"
DETAIL_TYPES: Final = (
    BUDGET_THRESHOLD_CROSSED,
    BUDGET_INITIALIZED,
    BUDGET_GRACE_STARTED,
    BUDGET_REFRESHED,
    BUDGET_FORECAST,
    SUSPENSION_REQUIRED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    PRINCIPAL_RESTORED,
    SUSPENSION_FAILED,
    AGENT_REGISTERED,
    AGENT_REMOVED,
    UNPROVISIONED_KEY,
    TAGS_CHANGED,
    USAGE_UNPRICED,
    USAGE_UNMETERED,
    USAGE_QUARANTINED,
)

TEXT_LENGTH_MAX: Final = 256
"""Characters of a name that comes from outside."""
MESSAGE_LENGTH_MAX: Final = 2_000
"""Characters of the line for people."""
LIMIT_PER_CENT: Final = 100

Level = Literal["warning", "critical", "exceeded"]

_LAST_DAY: Final = (date.max - date(1970, 1, 1)).days - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_IN_A_LINE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")


class Event(msgspec.Struct, frozen=True):
    """An event that is ready to be written down.

    Attributes:
        id: Deterministic.
        detail_type: One of `DETAIL_TYPES`.
        subject: What it is about, for listing: `budget/NAME`, `usage/2026-11-22`.
        detail: JSON, UTF-8.
        occurred_at_ms: Event time, epoch milliseconds UTC.
    """

    id: str
    detail_type: str
    subject: str
    detail: bytes
    occurred_at_ms: int


class ScopeDetail(msgspec.Struct, frozen=True):
    """What an event is about: `principal`, `team`, ...; of usage `model`, `source` or `other`."""

    kind: str
    id: str


class BudgetDetail(msgspec.Struct, frozen=True):
    """A budget as events show it; its limit is an exact decimal string of USD."""

    name: str
    revision: int
    limit_usd: str
    period: str
    thresholds: tuple[int, ...]


class PeriodDetail(msgspec.Struct, frozen=True, omit_defaults=True):
    """A period: two instants, end excluded, and two local days, both included.

    Attributes:
        time_zone: The scope's time zone, where it is known.
    """

    start: str
    end: str
    first_day: str
    last_day: str
    time_zone: str = ""


class CrossingDetail(msgspec.Struct, frozen=True):
    """Detail of `Budget Threshold Crossed`.

    Attributes:
        percent: Spend in per cent of the limit, cut (never rounded up) after four decimals.
        highest_of_jump: It is the highest of the thresholds that were found crossed together.
        late: The period was over when it was found.
        message: One line for people.
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
    spent_usd: str
    limit_usd: str
    percent: str
    highest_of_jump: bool
    late: bool
    message: str


class InitializedDetail(msgspec.Struct, frozen=True):
    """Detail of `Budget Initialized`."""

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    budget: BudgetDetail
    limit_usd: str
    message: str


# --- Budgets ----------------------------------------------------------------------------------


def level_of(threshold: int, thresholds: tuple[int, ...]) -> Level:
    """Say how serious it is that a threshold is crossed.

    `exceeded`: the limit itself or more is spent. `critical`: the last threshold before the
    limit, where there is an earlier one. `warning`: all others.
    """
    if threshold >= LIMIT_PER_CENT:
        return "exceeded"
    below = [one for one in thresholds if one < LIMIT_PER_CENT]
    return "critical" if len(below) > 1 and threshold == max(below) else "warning"


def percent_of(part: int, whole: int) -> str:
    """Return `part` in per cent of `whole`, cut after four decimals; `"100"` of nothing."""
    if whole <= 0:
        return "100"
    scaled = part * 100 * 10**4 // whole
    units, decimals = divmod(abs(scaled), 10**4)
    text = f"{units}.{decimals:04d}".rstrip("0").rstrip(".")
    return f"-{text}" if scaled < 0 else text


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
    spent, limit = format_pico_usd(crossing.spent_amount), format_pico_usd(budget.limit_amount)
    percent = percent_of(crossing.spent_amount, budget.limit_amount)
    level = level_of(crossing.threshold, budget.thresholds)
    found = " This was found after the period was over." if crossing.is_late else ""
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
        spent_usd=spent,
        limit_usd=limit,
        percent=percent,
        highest_of_jump=crossing.is_highest,
        late=crossing.is_late,
        message=message(
            f"Budget {bounded(budget.name)} ({level}): {_spender(budget.scope)} spent {spent} of "
            f"{limit} USD ({percent} %) {_days(period.first_day, period.last_day)}, and crossed "
            f"the threshold of {crossing.threshold} %.{found}"
        ),
    )
    return Event(
        crossing.event_id,
        BUDGET_THRESHOLD_CROSSED,
        budget_subject(budget.name),
        msgspec.json.encode(detail),
        occurred_at_ms,
    )


def budget_initialized(budget: Budget) -> Event:
    """Build `Budget Initialized`: a budget that was not there was set, at `created_at_ms`."""
    at = iso(budget.created_at_ms)
    event_id = event_id_of("budget-initialized", budget.name, str(budget.revision))
    limit = format_pico_usd(budget.limit_amount)
    marks = ", ".join(f"{threshold} %" for threshold in budget.thresholds)
    detail = InitializedDetail(
        event_id=event_id,
        schema_version=SCHEMA_VERSION,
        occurred_at=at,
        recorded_at=at,
        scope=_scope(budget.scope),
        budget=_budget(budget),
        limit_usd=limit,
        message=message(
            f"Budget {bounded(budget.name)}: {_spender(budget.scope)} may spend {limit} USD in "
            f"each {budget.period} period; thresholds: {marks}."
        ),
    )
    return Event(
        event_id,
        BUDGET_INITIALIZED,
        budget_subject(budget.name),
        msgspec.json.encode(detail),
        budget.created_at_ms,
    )


def budget_subject(name: str) -> str:
    """Return the subject that a budget's events are listed under."""
    return f"budget/{name}"


def _budget(budget: Budget) -> BudgetDetail:
    return BudgetDetail(
        name=bounded(budget.name),
        revision=budget.revision,
        limit_usd=format_pico_usd(budget.limit_amount),
        period=budget.period,
        thresholds=budget.thresholds,
    )


def _scope(scope: Scope) -> ScopeDetail:
    return ScopeDetail(scope.kind, bounded(scope.id))


def _spender(scope: Scope) -> str:
    return (
        "everyone together" if scope.kind == "everything" else f"{scope.kind} {bounded(scope.id)}"
    )


def _period(period: BudgetPeriod, time_zone: str) -> PeriodDetail:
    return PeriodDetail(
        start=iso(period.start_ms),
        end=iso(period.end_ms),
        first_day=iso_day(period.first_day),
        last_day=iso_day(period.last_day),
        time_zone=bounded(time_zone),
    )


def _days(first_day: int, last_day: int) -> str:
    if first_day == last_day:
        return f"on {iso_day(first_day)}"
    return f"from {iso_day(first_day)} to {iso_day(last_day)}"


# --- Text -------------------------------------------------------------------------------------


def iso(at_ms: int) -> str:
    """Write epoch milliseconds as `2026-11-22T05:03:12.000Z`; beyond the year 9999, its end."""
    at_ms = max(0, min(at_ms, (_LAST_DAY + 1) * MS_PER_DAY))
    moment = _EPOCH + timedelta(milliseconds=at_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


def iso_day(day: int) -> str:
    """Write a day since 1970-01-01 as `2026-11-22`; beyond the year 9999, its last but one."""
    return (_EPOCH + timedelta(days=max(0, min(day, _LAST_DAY)))).date().isoformat()


def bounded(text: str, length_max: int = TEXT_LENGTH_MAX) -> str:
    """Return text from outside on one line, without what no JSON can hold, cut with an ellipsis."""
    line = _NOT_IN_A_LINE.sub(" ", text[: 2 * length_max])
    return line if len(line) <= length_max else f"{line[: length_max - 1]}…"


def message(text: str) -> str:
    """Return a line for people, cut to what an event may hold."""
    return bounded(text, MESSAGE_LENGTH_MAX)


def within(at_ms: int, start_ms: int, end_ms: int) -> int:
    """Return the instant of a half-open range that is nearest to `at_ms`."""
    return max(start_ms, min(at_ms, end_ms - 1))


def event_id_of(kind: str, *parts: str) -> str:
    """Name a thing by what it is about; parts may hold anything, in any length."""
    joined = b"".join(
        len(part).to_bytes(8) + part.encode("utf-8", "surrogatepass") for part in parts
    )
    return f"{kind}-{blake2b(joined, digest_size=12).hexdigest()}"


class _Occurred(msgspec.Struct):
    occurred_at: datetime


def occurred_at_ms(detail: bytes) -> int | None:
    """Return the event time that a detail names, epoch milliseconds UTC; None if it names none."""
    try:
        occurred_at = msgspec.json.decode(detail, type=_Occurred).occurred_at
        return (occurred_at - _EPOCH) // timedelta(milliseconds=1)
    except (msgspec.DecodeError, TypeError):
        return None
