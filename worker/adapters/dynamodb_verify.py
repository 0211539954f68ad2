"""Verifying a ledger that others are writing to.

No snapshot spans two tables, so balances are read before and after the entries. Every booking
changes its balances together with its entries; so a balance that is the same before and after
must equal the sum of the entries that were read in between. Those that moved are looked at
again. A difference is reported only when it was seen twice and held still; what never held
still is reported as unsettled, which is no difference.

A sealed balance must be what its seal says; and so must the entries, unless some may have been let
go: then those that are left add up to no more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from worker.adapters.dynamodb_items import day_key, wide_name
from worker.adapters.ledger_reading import calls_gone, difference_of
from worker.core.ledger import Amounts, Leaf
from worker.core.seal import Seal, SealedSum, is_proven
from worker.core.transactions import WIDE_KINDS, wide_figures
from worker.ports import Difference, Verification

PASSES_MAX: Final = 6
PASSES_MIN_FOR_DIFFERENCE: Final = 2

Wide = tuple[int, str]
"""A figure of a wide scope: its day and attribute name."""

Sums = dict[Leaf, Amounts]


class Books(Protocol):
    """What verifying needs to read."""

    async def balance_sums(self) -> Sums:
        """Return all balances by leaf."""

    async def exact_sums(self, leaves: Iterable[Leaf]) -> Sums:
        """Return the balances of some leaves, read by key."""

    def amounts_of_entries(self) -> AsyncIterator[Sequence[tuple[Leaf, Amounts]]]:
        """Yield what every entry adds to which leaf."""

    async def wide_days(self) -> dict[Wide, int]:
        """Return the wide sums by day and attribute name, without zeros."""

    async def seal_in_force(self) -> Seal:
        """Return how far the ledger is sealed."""

    async def sealed_sums(self) -> dict[Leaf, SealedSum]:
        """Return what complete seals stored."""


async def verify(books: Books) -> Verification:
    """Compare balances with entries; see the module."""
    verifier = _Verifier()
    for number in range(PASSES_MAX):
        seal, sealed = await books.seal_in_force(), await books.sealed_sums()
        before, wide_before = await books.balance_sums(), await books.wide_days()
        summed, entries = await _fold(books)
        expected = _with_seals(summed, seal, sealed)
        after, wide_after = await books.balance_sums(), await books.wide_days()
        # A payer's first item of a day reaches the index a little later than the table.
        late = _moved(after, expected)
        after |= await books.exact_sums(late) if late else {}
        found = _Sealed(seal, sealed, summed)
        verifier.look(_Pass(before, after, expected, wide_before, wide_after, entries, found))
        if verifier.is_done or (number and not verifier.got_on):
            break
    return verifier.result()


class _Sealed(NamedTuple):
    """What seals say, and what the entries that there are add up to."""

    seal: Seal
    sums: dict[Leaf, SealedSum]
    entries: Sums

    def contradicted(self) -> set[Leaf]:
        """Return sealed leaves whose entries are not what their seal says."""
        leaves = self.entries.keys() | self.sums.keys() if self.seal.complete_day else set()
        return {
            leaf
            for leaf in leaves
            if self.seal.sums_hold(leaf.day)
            and not is_proven(
                self.entries.get(leaf, Amounts()),
                _says(self.sums, leaf),
                may_be_gone=self.seal.may_be_gone(leaf.day),
            )
        }


class _Pass:
    """What was read in one pass."""

    def __init__(  # noqa: PLR0913, PLR0917 - all that is read
        self,
        before: Sums,
        after: Sums,
        expected: Sums,
        wide_before: dict[Wide, int],
        wide_after: dict[Wide, int],
        entries: int,
        sealed: _Sealed,
    ) -> None:
        self.before, self.after, self.expected = before, after, expected
        self.wide_before, self.wide_after = wide_before, wide_after
        self.entries = entries
        self.sealed = sealed


class _Verifier:
    """What is known after some passes: which balances are proven, which differ, which moved."""

    def __init__(self) -> None:
        self._seen: dict[Leaf | Wide, int] = {}
        self._open: set[Leaf | Wide] | None = None
        self._last: _Pass | None = None
        self._moved: set[Leaf | Wide] = set()
        self._certain: set[Leaf | Wide] = set()
        self._names: dict[Wide, str] = {}
        self._wide_expected: dict[Wide, int] = {}
        self.is_done = False
        self.got_on = True

    def look(self, read: _Pass) -> None:
        """Take in one more pass."""
        self._last = read
        moved_leaves = _moved(read.before, read.after)
        self._wide_expected, self._names = _wide_sums(read.expected)
        moved_wide = {
            key
            for key in read.wide_before.keys() | read.wide_after.keys()
            if read.wide_before.get(key) != read.wide_after.get(key)
        } | _wide_sums(dict.fromkeys(moved_leaves, Amounts()))[0].keys()
        wrong: set[Leaf | Wide] = {*(_moved(read.after, read.expected) - moved_leaves)}
        wrong |= read.sealed.contradicted()
        wrong |= {
            key
            for key in self._wide_expected.keys() | read.wide_after.keys()
            if self._wide_expected.get(key, 0) != read.wide_after.get(key, 0)
        } - moved_wide
        self._moved = {*moved_leaves, *moved_wide}
        if self._open is not None:
            wrong &= self._open
            self._moved &= self._open
        for key in wrong:
            self._seen[key] = self._seen.get(key, 0) + 1
        self._certain = {key for key in wrong if self._seen[key] >= PASSES_MIN_FOR_DIFFERENCE}
        still_open = wrong | self._moved
        self.got_on = (
            self._open is None or len(still_open) < len(self._open) or not wrong <= (self._certain)
        )
        self._open = still_open
        self.is_done = still_open <= self._certain

    def result(self) -> Verification:
        """Say what was found."""
        read = self._last
        if read is None or self._open is None:
            return Verification(0, 0, ())
        return Verification(
            entries=read.entries,
            balances=sum(not amounts.is_zero() for amounts in read.after.values()),
            differences=tuple(
                self._difference(read, key) for key in sorted(self._certain, key=_order)
            ),
            unsettled=tuple(
                self._leaf(key) for key in sorted(self._open - self._certain, key=_order)
            ),
            sealed=len(read.sealed.sums),
            gone=calls_gone(read.sealed.entries, read.sealed.sums),
        )

    def _difference(self, read: _Pass, key: Leaf | Wide) -> Difference:
        if isinstance(key, Leaf):
            seal, sealed, entries_left = read.sealed
            found = difference_of(key, read.after, entries_left, seal, sealed)
            return found or Difference(key, read.after.get(key), read.expected.get(key))
        figures = read.wide_after.get(key, 0), self._wide_expected.get(key, 0)
        balance, entries = (Amounts(**{_figure(key): figure}) for figure in figures)
        return Difference(self._leaf(key), balance, entries)

    def _leaf(self, key: Leaf | Wide) -> Leaf:
        """Name what is no leaf as if it were one: `team/search: cost_pico_usd`."""
        if isinstance(key, Leaf):
            return key
        day, name = key
        title = f"{self._names.get(key, name)}: {_figure(key)}"
        return Leaf(title, "", "", "", "", "", "", day)


def _order(key: Leaf | Wide) -> tuple[int, str, int]:
    if isinstance(key, Leaf):
        return 0, f"{key.principal} {key.identity} {key.model}", key.day
    return 1, key[1], key[0]


def _figure(key: Wide) -> str:
    """Return which figure a wide sum is; all tokens together are told as input tokens."""
    return {"c": "cost_pico_usd", "n": "calls", "t": "input_tokens"}[key[1][-1]]


def _moved(before: Sums, after: Sums) -> set[Leaf]:
    zero = Amounts()
    return {
        leaf
        for leaf in before.keys() | after.keys()
        if before.get(leaf, zero) != after.get(leaf, zero)
    }


async def _fold(books: Books) -> tuple[Sums, int]:
    expected: Sums = {}
    entries = 0
    async for page in books.amounts_of_entries():
        entries += len(page)
        for leaf, amounts in page:
            expected.setdefault(leaf, Amounts()).add(amounts)
    return expected, entries


def _says(sealed: dict[Leaf, SealedSum], leaf: Leaf) -> Amounts:
    return sealed[leaf].amounts if leaf in sealed else Amounts()


def _with_seals(summed: Sums, seal: Seal, sealed: dict[Leaf, SealedSum]) -> Sums:
    """Return what balances are expected to be: what seals say, and entries where none does."""
    if not seal.complete_day:
        return summed
    expected = {leaf: one for leaf, one in summed.items() if not seal.sums_hold(leaf.day)}
    return expected | {leaf: one.amounts for leaf, one in sealed.items()}


def _wide_sums(sums: Sums) -> tuple[dict[Wide, int], dict[Wide, str]]:
    """Return what leaves add up to in the wide items, and how to name each sum to people."""
    wide: dict[Wide, int] = {}
    names: dict[Wide, str] = {}
    for leaf, amounts in sums.items():
        local = dict(leaf.local_days)
        for kind in WIDE_KINDS:
            scope = "" if kind == "everything" else getattr(leaf, kind)
            if not scope and kind != "everything":
                continue
            name, day = wide_name(kind, scope), local.get(kind, leaf.day)
            for letter, figure in wide_figures(amounts).items():
                key = (day, name + letter)
                wide[key] = wide.get(key, 0) + figure
                names[key] = f"{kind}/{scope} on day {day_key(day)}".replace("/ ", " ")
    return wide, names
