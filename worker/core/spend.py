"""Summing what scopes spent over local days, from balances. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from worker.core.budget_terms import Scope, ScopeDays
from worker.core.ledger import Amounts, Leaf

LOCAL_DAYS_OFF: Final = 1
"""How far a local day may be from the UTC day of the same moment."""


class Spend(msgspec.Struct, frozen=True, gc=False):
    """What a scope spent.

    Attributes:
        calls: All calls, whatever their status.
        cost_pico_usd: Sum of charges.
        tokens: Tokens of all five kinds together; a shared ledger keeps no split for wide scopes.
    """

    calls: int = 0
    cost_pico_usd: int = 0
    tokens: int = 0


def tokens_of(amounts: Amounts) -> int:
    """Return the tokens of all kinds together."""
    return (
        amounts.input_tokens
        + amounts.output_tokens
        + amounts.cache_read_tokens
        + amounts.cache_write_5m_tokens
        + amounts.cache_write_1h_tokens
    )


def is_nobody(scope: Scope) -> bool:
    """Whether a scope has no id though it needs one; it spends nothing."""
    return scope.kind != "everything" and not scope.id


class SpendSums:
    """Adds balances up for several ranges in one pass.

    Args:
        ranges: Whose spend is wanted, over which of their local days.

    Attributes:
        calls: Calls by range, in order.
        cost_pico_usd: Charges by range.
        tokens: Tokens by range.
    """

    def __init__(self, ranges: Sequence[ScopeDays]) -> None:
        """Start with nothing spent."""
        self.calls = [0] * len(ranges)
        self.cost_pico_usd = [0] * len(ranges)
        self.tokens = [0] * len(ranges)
        self._wanted: dict[tuple[str, str], list[tuple[int, int, int]]] = {}
        for place, wanted in enumerate(ranges):
            if not is_nobody(wanted.scope):
                scope_id = "" if wanted.scope.kind == "everything" else wanted.scope.id
                days = (wanted.first_day, wanted.last_day, place)
                self._wanted.setdefault((wanted.scope.kind, scope_id), []).append(days)
        self._kinds = sorted({kind for kind, _ in self._wanted})

    def add(self, leaf: Leaf, amounts: Amounts) -> None:
        """Add a balance to every range that it belongs to."""
        for kind in self._kinds:
            self.add_as(kind, leaf, amounts)

    def add_as(self, kind: str, leaf: Leaf, amounts: Amounts) -> None:
        """Add a balance to the ranges of its scope of one kind."""
        wanted = self._wanted.get((kind, "" if kind == "everything" else getattr(leaf, kind)))
        if wanted is None:
            return
        day = local_day(leaf, kind)
        for first_day, last_day, place in wanted:
            if first_day <= day <= last_day:
                self.add_to(place, amounts)

    def add_to(self, place: int, amounts: Amounts) -> None:
        """Add amounts to one range, whatever day they are of."""
        self.calls[place] += amounts.calls
        self.cost_pico_usd[place] += amounts.cost_pico_usd
        self.tokens[place] += tokens_of(amounts)

    def spends(self) -> list[Spend]:
        """Return the sums, range by range."""
        figures = zip(self.calls, self.cost_pico_usd, self.tokens, strict=True)
        return [Spend(*one) for one in figures]


def local_day(leaf: Leaf, kind: str) -> int:
    """Return the day of a leaf in the calendar of its scope of some kind."""
    for its_kind, day in leaf.local_days:
        if its_kind == kind:
            return day
    return leaf.day


def merged_days(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge inclusive ranges of days that overlap or touch; empty ones vanish."""
    merged: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if first > last:
            continue
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = merged[-1][0], max(merged[-1][1], last)
        else:
            merged.append((first, last))
    return merged
