"""Verifying a ledger that others are writing to.

No snapshot spans two tables, so balances are read before and after the entries. A balance that
did not move in between must equal its entries' sum; the others, and every difference, are
looked at again. A difference is reported only when it was seen twice and held still.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, Protocol

from worker.adapters.dynamodb_items import day_key, wide_figures, wide_name
from worker.core.ledger import Amounts, Leaf
from worker.core.transactions import WIDE_KINDS
from worker.ports import Difference, Verification

PASSES_MAX: Final = 6
PASSES_MIN_FOR_DIFFERENCE: Final = 2


class Books(Protocol):
    """What verifying needs to read."""

    async def balance_sums(self) -> dict[int, Amounts]:
        """Return all balances by leaf id."""

    def amounts_of_entries(self) -> AsyncIterator[Sequence[tuple[int, Amounts]]]:
        """Yield what every entry adds to which leaf."""

    async def leaves(self, leaf_ids: Iterable[int]) -> dict[int, Leaf]:
        """Return the leaves behind ids."""

    async def wide_days(self) -> dict[tuple[int, str], int]:
        """Return the wide sums by day and attribute name."""


async def verify(books: Books) -> Verification:
    """Compare balances with entries; see the module."""
    open_leaves: set[int] | None = None
    seen: dict[int, int] = {}
    result = Verification(0, 0, ())
    for _ in range(PASSES_MAX):
        before, wide_before = await books.balance_sums(), await books.wide_days()
        expected, entries = await _fold(books)
        after, wide_after = await books.balance_sums(), await books.wide_days()
        wanted = set(expected) | set(after) if open_leaves is None else open_leaves
        moved = {leaf for leaf in wanted if before.get(leaf) != after.get(leaf)}
        wrong = {
            leaf
            for leaf in wanted - moved
            if after.get(leaf, Amounts()) != expected.get(leaf, Amounts())
        }
        for leaf in wrong:
            seen[leaf] = seen.get(leaf, 0) + 1
        certain = {leaf for leaf in wrong if seen[leaf] >= PASSES_MIN_FOR_DIFFERENCE}
        names = await books.leaves(wrong | moved)
        differences = [
            Difference(names[leaf], after.get(leaf), expected.get(leaf)) for leaf in certain
        ]
        still = wide_before == wide_after and before == after
        wide = await _wide_differences(books, expected, wide_after) if still else []
        result = Verification(
            entries=entries,
            balances=len(after),
            differences=tuple(differences + wide),
            unsettled=tuple(names[leaf] for leaf in sorted(moved | (wrong - certain))),
        )
        open_leaves = moved | wrong
        if still and open_leaves <= certain:
            break
    return result


async def _fold(books: Books) -> tuple[dict[int, Amounts], int]:
    expected: dict[int, Amounts] = {}
    entries = 0
    async for page in books.amounts_of_entries():
        entries += len(page)
        for leaf_id, amounts in page:
            expected.setdefault(leaf_id, Amounts()).add(amounts)
    return {leaf: amounts for leaf, amounts in expected.items() if not amounts.is_zero()}, entries


async def _wide_differences(
    books: Books, expected: dict[int, Amounts], wide: dict[tuple[int, str], int]
) -> list[Difference]:
    """Compare the wide scopes' sums with the leaves' entries."""
    leaves = await books.leaves(expected)
    sums: dict[tuple[int, str], int] = {}
    scopes: dict[tuple[int, str], str] = {}
    for leaf_id, amounts in expected.items():
        leaf = leaves[leaf_id]
        local = dict(leaf.local_days)
        for kind in WIDE_KINDS:
            scope = "" if kind == "everything" else getattr(leaf, kind)
            if not scope and kind != "everything":
                continue
            name, day = wide_name(kind, scope), local.get(kind, leaf.day)
            for letter, figure in wide_figures(amounts).items():
                key = (day, name + letter)
                sums[key] = sums.get(key, 0) + figure
                scopes[key] = f"{kind}/{scope}".rstrip("/")
    return [
        Difference(
            _wide_leaf(key, scopes.get(key, key[1])),
            Amounts(cost_pico_usd=wide.get(key, 0)),
            Amounts(cost_pico_usd=sums.get(key, 0)),
        )
        for key in sorted(set(sums) | set(wide))
        if sums.get(key, 0) != wide.get(key, 0)
    ]


def _wide_leaf(key: tuple[int, str], scope: str) -> Leaf:
    day, name = key
    what = {"c": "cost", "n": "calls", "t": "tokens"}[name[-1]]
    title = f"{scope} on day {day_key(day)}: {what}"
    return Leaf(title, "", "", "", "", "", "", day)
