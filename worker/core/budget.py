"""Budgets: limits on what a scope may spend in a period, and the crossing of their thresholds.

All of it is a function of balances, the budget and the calendar of its scope; nothing here
knows the time, except where a caller says what time it is.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

THRESHOLDS_DEFAULT: Final = (70, 90, 100)
"""Per cent of the limit: warning, critical, exceeded."""

ScopeKind = Literal["principal", "agent", "team", "application", "account", "model", "everything"]


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
