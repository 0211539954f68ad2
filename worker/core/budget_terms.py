"""Budgets: what may be spent, by whom, in which periods, and what is done about more.

The crossing of thresholds and the states that follow are in `worker.core.budget`; which days a
period has, and when it begins and ends, is worked out in `worker.core.budget_periods`.
"""

from __future__ import annotations

import re
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
ROLLING: Final = "rolling-"
"""Begins the name of a period that is a window of days up to today."""
SCOPE_ID_LENGTH_MAX: Final = 1_024

ScopeKind = Literal[
    "principal", "agent", "team", "pool", "application", "account", "model", "everything"
]
SCOPE_KINDS: Final[tuple[ScopeKind, ...]] = get_args(ScopeKind)

BudgetUnit = Literal["usd", "tokens", "requests"]
BUDGET_UNITS: Final[tuple[BudgetUnit, ...]] = get_args(BudgetUnit)
"""What limits count: charges (in pico-dollars inside), tokens of all kinds, calls."""

BudgetAction = Literal["notify", "suspend"]
BUDGET_ACTIONS: Final[tuple[BudgetAction, ...]] = get_args(BudgetAction)
SUSPENDABLE_KINDS: Final[frozenset[ScopeKind]] = frozenset({"principal", "agent", "team", "pool"})
"""Kinds of scope whose budgets may suspend: a principal or an agent itself, of a team or a pool
each member that spends while the budget is exhausted. All others only notify."""

GROUP_KINDS: Final[frozenset[ScopeKind]] = frozenset({"team", "pool"})

GRACE_SECONDS_MAX: Final = 31 * 86_400
AMOUNT_MAX: Final = 10**18
"""Of tokens or requests."""

_EPOCH: Final = date(1970, 1, 1)
DAY_MAX: Final = (date(9998, 12, 31) - _EPOCH).days
"""Last day that periods are worked out for; the calendar ends a year later."""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_DAYS_PERIOD: Final = re.compile(r"([1-9][0-9]{0,2})-day", re.ASCII)


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
    """A limit on the spend of a scope in each period.

    Attributes:
        name: Unique; part of every crossing's id.
        scope: Whose spend.
        limit_amount: The limit of one period, in `unit`: pico-dollars, tokens or requests.
        period: `daily`, `weekly` (from Monday), `monthly`, `N-day` (`14-day`): periods of N
            days that follow one another from `anchor_day` on, or `rolling-N-day`: the window of
            N days that ends with today, which only notifies.
        anchor_day: A first day of an N-day period, days since 1970-01-01; 0 otherwise.
        thresholds: Per cent of the limit, ascending.
        revision: 1 when first set, one more with each change.
        created_at_ms: Ledger time of this revision, epoch milliseconds UTC.
        unit: What the limit counts.
        action: What follows once the limit is reached: `notify` people, or `suspend` whoever
            spends, after the grace period.
        grace_seconds: From the announcement that the limit is reached to the suspension.
        forecast: Notify when the spend so far would pass the limit before the period's end.
        origin: Who keeps this budget: empty for a person, `tier/NAME` for a tier that gives it
            to principals by itself.
        is_removed: Removed budgets keep their name and revision, so that a budget set anew
            under the same name never takes an old crossing for its own.
    """

    name: str
    scope: Scope
    limit_amount: int
    period: str = "monthly"
    anchor_day: int = 0
    thresholds: tuple[int, ...] = THRESHOLDS_DEFAULT
    revision: int = 1
    created_at_ms: int = 0
    unit: BudgetUnit = "usd"
    action: BudgetAction = "notify"
    grace_seconds: int = 0
    forecast: bool = False
    origin: str = ""
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


def period_days(period: str) -> int | None:
    """Return N of an `N-day` or `rolling-N-day` period of 1 to 366 days, else None."""
    match = _DAYS_PERIOD.fullmatch(period.removeprefix(ROLLING))
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
    _check_limit(budget)
    _check_period(budget)
    _check_thresholds(budget)
    _check_action(budget)


def limit_text(budget: Budget) -> str:
    """Return the limit for people and machines: an exact decimal string, without its unit."""
    return amount_text(budget.limit_amount, budget.unit)


def amount_text(amount: int, unit: BudgetUnit) -> str:
    """Return an amount in a budget's unit as an exact decimal string."""
    return format_pico_usd(amount) if unit == "usd" else str(amount)


def unit_text(unit: BudgetUnit) -> str:
    """Return a unit as people write it: `USD`, `tokens`, `requests`."""
    return "USD" if unit == "usd" else unit


def is_rolling(period: str) -> bool:
    """Whether a period is a window that ends with today (`rolling-14-day`)."""
    return period.startswith(ROLLING)


def _check_limit(budget: Budget) -> None:
    if budget.unit not in BUDGET_UNITS:
        known = ", ".join(BUDGET_UNITS)
        message = f"budget {budget.name}: the unit {budget.unit!r} is none; give {known}"
        raise ConfigurationError(message)
    largest = LIMIT_USD_MAX * PICO_PER_USD if budget.unit == "usd" else AMOUNT_MAX
    if not 0 < budget.limit_amount <= largest:
        message = (
            f"budget {budget.name}: the limit is {limit_text(budget)} {unit_text(budget.unit)}; "
            f"give more than 0 and at most {amount_text(largest, budget.unit)}"
        )
        raise ConfigurationError(message)


def _check_action(budget: Budget) -> None:
    if not 0 <= budget.grace_seconds <= GRACE_SECONDS_MAX:
        message = (
            f"budget {budget.name}: the grace period is {budget.grace_seconds} seconds; give 0 "
            f"to {GRACE_SECONDS_MAX}"
        )
        raise ConfigurationError(message)
    if budget.action not in BUDGET_ACTIONS:
        message = (
            f"budget {budget.name}: the action {budget.action!r} is none; give notify, suspend"
        )
        raise ConfigurationError(message)
    if budget.action == "notify":
        return
    is_application = budget.scope.kind == "principal" and budget.scope.id.startswith("app/")
    if budget.scope.kind not in SUSPENDABLE_KINDS or is_application:
        message = (
            f"budget {budget.name}: {budget.scope} can only notify, not suspend; users, roles, "
            "sessions, agents, teams and pools can be suspended"
        )
        raise ConfigurationError(message)
    if is_rolling(budget.period):
        message = f"budget {budget.name}: a rolling window only notifies; give another period"
        raise ConfigurationError(message)


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
            f"monthly, N-day or rolling-N-day with N from 1 to {PERIOD_DAYS_MAX}, such as 14-day"
        )
        raise ConfigurationError(message)
    if (days is None or is_rolling(budget.period)) and budget.anchor_day:
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
