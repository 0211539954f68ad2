"""Sums over local days, and ranges of days."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from worker.core.budget_terms import Scope, ScopeDays
from worker.core.ledger import Amounts, Leaf
from worker.core.spend import SpendSums, local_day, merged_days

DAYS = st.integers(0, 30)


@given(st.lists(st.tuples(DAYS, DAYS), max_size=8))
def test_merged_ranges_hold_the_same_days_each_once(ranges: list[tuple[int, int]]) -> None:
    merged = merged_days(ranges)
    days = [day for first, last in merged for day in range(first, last + 1)]
    assert len(days) == len(set(days))
    assert set(days) == {day for first, last in ranges for day in range(first, last + 1)}
    gaps = [then[0] - before[1] for before, then in itertools.pairwise(merged)]
    assert all(gap > 1 for gap in gaps), "what touches is one range"


def test_a_leaf_is_on_the_day_of_each_scopes_calendar() -> None:
    leaf = Leaf("p", "i", "", "t", "", "a", "m", 100, (("everything", 99), ("team", 101)))
    kinds = ("principal", "team", "account", "everything")
    assert [local_day(leaf, kind) for kind in kinds] == [100, 101, 100, 99]
    amounts = Amounts(calls=1, cost_pico_usd=7, input_tokens=2, cache_write_1h_tokens=3)
    ranges = [
        ScopeDays(Scope("team", "t"), 101, 101),
        ScopeDays(Scope("team", "t"), 100, 100),
        ScopeDays(Scope("team", "u"), 101, 101),
        ScopeDays(Scope("agent", ""), 100, 100),
        ScopeDays(Scope("everything"), 0, 99),
        ScopeDays(Scope("everything"), 99, 200),
        ScopeDays(Scope("everything"), 100, 200),
        ScopeDays(Scope("principal", "p"), 100, 99),
    ]
    sums = SpendSums(ranges)
    sums.add(leaf, amounts)
    sums.add(leaf, amounts)
    assert sums.calls == [2, 0, 0, 0, 2, 2, 0, 0]
    assert sums.cost_pico_usd == [14, 0, 0, 0, 14, 14, 0, 0]
    assert sums.tokens == [10, 0, 0, 0, 10, 10, 0, 0]
