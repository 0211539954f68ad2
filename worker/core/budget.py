"""Budgets: limits on what a scope may spend in a period, and the crossing of their thresholds.

All of it is a function of balances, the budget and the calendar of its scope; nothing here
knows the time, except where a caller says what time it is. Which days a period has, and when it
begins and ends, is worked out in `worker.core.budget_periods`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container
from datetime import date
from typing import Final, Literal, get_args

import msgspec

from worker.core.errors import ConfigurationError
from worker.core.money import PICO_PER_USD, format_pico_usd

THRESHOLDS_DEFAULT: Final = (70, 90, 100)
"""Per cent of the limit: warning, critical, exceeded."""

THRESHOLDS_MAX: Final = 20
THRESHOLD_MAX: Final = 1_000
LIMIT_USD_MAX: Final = 10**12
PERIOD_DAYS_MAX: Final = 366
SCOPE_ID_LENGTH_MAX: Final = 1_024

ScopeKind = Literal["principal", "agent", "team", "application", "account", "model", "everything"]
SCOPE_KINDS: Final[tuple[ScopeKind, ...]] = get_args(ScopeKind)

_EPOCH: Final = date(1970, 1, 1)
DAY_MAX: Final = (date(9998, 12, 31) - _EPOCH).days
"""Last day that periods are worked out for; the calendar ends a year later."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_DAYS_PERIOD: Final = re.compile(r"([1-9][0-9]{0,2})-day", re.ASCII)
_DIGEST_LENGTH: Final = 12


class Scope(msgspec.Struct, frozen=True, gc=False, order=True):
    """What a budget is set on.

    Attributes:
        kind: A `ScopeKind`.
        id: Which one (`user/111122223333/alice`, a team's name, ...); empty for `everything`.
    """

    kind: ScopeKind
    id: str = ""

    def __str__(self) -> str:
        """Return `kind/id`, or `everything`."""
        return self.kind if self.kind == "everything" else f"{self.kind}/{self.id}"

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read `kind/id`, or `everything`.

        Raises:
            ConfigurationError: It is neither.
        """
        kind, separator, scope_id = text.partition("/")
        named = next((one for one in SCOPE_KINDS if one == kind), None)
        if named is None or bool(separator) == (named == "everything"):
            message = (
                f"the scope {text!r} is none: give everything, or a kind and an id such as "
                f"team/research; kinds are {', '.join(SCOPE_KINDS[:-1])}"
            )
            raise ConfigurationError(message)
        scope = cls(named, scope_id)
        _check_scope(scope)
        return scope


class Budget(msgspec.Struct, frozen=True, gc=False):
    """A limit on the spend of a scope in each calendar period.

    Attributes:
        name: Unique; part of every crossing's id.
        scope: Whose spend.
        limit_pico_usd: The limit of one period.
        period: `daily`, `weekly` (from Monday), `monthly`, or `N-day` (`14-day`): periods of N
            days that follow one another from `anchor_day` on.
        anchor_day: A first day of an N-day period, days since 1970-01-01; 0 otherwise.
        thresholds: Per cent of the limit, ascending.
        revision: 1 when first set, one more with each change.
        created_at_ms: Ledger time of this revision, epoch milliseconds UTC.
        is_removed: Removed budgets keep their name and revision, so that a budget set anew
            under the same name never takes an old crossing for its own.
    """

    name: str
    scope: Scope
    limit_pico_usd: int
    period: str = "monthly"
    anchor_day: int = 0
    thresholds: tuple[int, ...] = THRESHOLDS_DEFAULT
    revision: int = 1
    created_at_ms: int = 0
    is_removed: bool = False


class BudgetPeriod(msgspec.Struct, frozen=True, gc=False):
    """One period of a budget, in local days of its scope.

    Attributes:
        first_day: First local day, days since 1970-01-01.
        last_day: Last local day, inclusive.
        start_ms: Its beginning in the scope's time zone, epoch milliseconds UTC.
        end_ms: Its end, exclusive.
    """

    first_day: int
    last_day: int
    start_ms: int
    end_ms: int


class ScopeDays(msgspec.Struct, frozen=True, gc=False):
    """A scope's spend is asked for over these local days, both included."""

    scope: Scope
    first_day: int
    last_day: int


class Crossing(msgspec.Struct, frozen=True, gc=False):
    """A budget's spend of one period reached a threshold.

    Attributes:
        event_id: Deterministic: from budget name, revision, first day of the period, threshold.
        budget: The budget as it was evaluated.
        period: Which period.
        threshold: Per cent of the limit.
        spent_pico_usd: The spend that was read.
        is_late: The period was over when it was found; nobody acts on it.
        is_highest: It is the highest of those found together; people are told only of it.
    """

    event_id: str
    budget: Budget
    period: BudgetPeriod
    threshold: int
    spent_pico_usd: int
    is_late: bool
    is_highest: bool


def is_reached(budget: Budget, threshold: int, spent_pico_usd: int) -> bool:
    """Whether the spend is that many per cent of the limit, to the last pico-dollar."""
    return spent_pico_usd * 100 >= budget.limit_pico_usd * threshold


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
    spent_pico_usd: int,
    now_ms: int,
    known_ids: Container[str] = frozenset(),
) -> list[Crossing]:
    """Return the thresholds that a spend has reached, lowest first.

    Args:
        budget: Whose thresholds; one that was removed has none.
        period: Which period.
        spent_pico_usd: The spend that was read for it.
        now_ms: Says whether the period is over, epoch milliseconds UTC.
        known_ids: Ids of crossings that are written down already, and left out.
    """
    if budget.is_removed:
        return []
    found = [
        (threshold, event_id)
        for threshold in budget.thresholds
        if is_reached(budget, threshold, spent_pico_usd)
        and (event_id := crossing_id(budget, period.first_day, threshold)) not in known_ids
    ]
    return [
        Crossing(
            event_id=event_id,
            budget=budget,
            period=period,
            threshold=threshold,
            spent_pico_usd=spent_pico_usd,
            is_late=period.end_ms <= now_ms,
            is_highest=threshold == found[-1][0],
        )
        for threshold, event_id in found
    ]


def period_days(period: str) -> int | None:
    """Return N of an `N-day` period of 1 to 366 days, else None."""
    match = _DAYS_PERIOD.fullmatch(period)
    days = int(match[1]) if match else 0
    return days if 1 <= days <= PERIOD_DAYS_MAX else None


def check_budget(budget: Budget) -> None:
    """Refuse a budget that is not what it must be.

    Raises:
        ConfigurationError: Says which of its values, what was found and what is expected.
    """
    if not _NAME.fullmatch(budget.name):
        message = (
            f"the budget name {budget.name!r} will not do: letters, digits, `.`, `_` and `-`, "
            "1 to 64, a letter or digit first"
        )
        raise ConfigurationError(message)
    _check_scope(budget.scope)
    if not 0 < budget.limit_pico_usd <= LIMIT_USD_MAX * PICO_PER_USD:
        message = (
            f"budget {budget.name}: the limit is {format_pico_usd(budget.limit_pico_usd)} USD; "
            f"give more than 0 and at most {LIMIT_USD_MAX}"
        )
        raise ConfigurationError(message)
    _check_period(budget)
    _check_thresholds(budget)


def _check_scope(scope: Scope) -> None:
    is_good = scope.kind in SCOPE_KINDS and bool(scope.id) != (scope.kind == "everything")
    if not is_good or len(scope.id) > SCOPE_ID_LENGTH_MAX or not scope.id.isprintable():
        message = (
            f"the scope {scope.kind}/{scope.id[:80]!r} is none: its id is 1 to "
            f"{SCOPE_ID_LENGTH_MAX} printable characters; everything alone has no id"
        )
        raise ConfigurationError(message)


def _check_period(budget: Budget) -> None:
    days = period_days(budget.period)
    if days is None and budget.period not in {"daily", "weekly", "monthly"}:
        message = (
            f"budget {budget.name}: the period {budget.period!r} is none; give daily, weekly, "
            f"monthly, or N-day with N from 1 to {PERIOD_DAYS_MAX}, such as 14-day"
        )
        raise ConfigurationError(message)
    if days is None and budget.anchor_day:
        message = f"budget {budget.name}: only an N-day period has an anchor, not {budget.period}"
        raise ConfigurationError(message)
    if not 0 <= budget.anchor_day <= DAY_MAX:
        message = f"budget {budget.name}: the anchor must be a day from 1970 to 9998"
        raise ConfigurationError(message)


def _check_thresholds(budget: Budget) -> None:
    thresholds = budget.thresholds
    is_good = (
        1 <= len(thresholds) <= THRESHOLDS_MAX
        and list(thresholds) == sorted(set(thresholds))
        and thresholds[0] >= 1
        and thresholds[-1] <= THRESHOLD_MAX
    )
    if not is_good:
        message = (
            f"budget {budget.name}: the thresholds {', '.join(map(str, thresholds)) or '(none)'} "
            f"will not do; give 1 to {THRESHOLDS_MAX} whole per cents of the limit, ascending, "
            f"from 1 to {THRESHOLD_MAX}, such as 70,90,100"
        )
        raise ConfigurationError(message)
