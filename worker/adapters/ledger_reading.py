"""What ledger adapters share: sums by a field, balances against entries, what a commit did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Final, NamedTuple

from worker.core.batch import Reconciled
from worker.core.budget_terms import ScopeDays
from worker.core.codec import Bodies
from worker.core.forgotten import Person
from worker.core.journal import caller_of
from worker.core.ledger import Amounts, Entry, Leaf, Status
from worker.core.spend import Spend, SpendSums
from worker.ports import Committed, Difference, Verification


def sum_by(field: str, balances: Iterable[tuple[Leaf, Amounts]]) -> dict[str, Amounts]:
    """Sum balances by one field of their leaves; days become decimal strings."""
    totals: dict[str, Amounts] = {}
    for leaf, amounts in balances:
        totals.setdefault(str(getattr(leaf, field)), Amounts()).add(amounts)
    return totals


def spend_in(balances: Iterable[tuple[Leaf, Amounts]], ranges: Sequence[ScopeDays]) -> list[Spend]:
    """Return what scopes spent over ranges of local days, given all balances there."""
    sums = SpendSums(ranges)
    for leaf, amounts in balances:
        sums.add(leaf, amounts)
    return sums.spends()


class Known(NamedTuple):
    """Leaves of calls that were known, and what those whose price is pending add to theirs."""

    leaves: frozenset[Leaf] = frozenset()
    pending: tuple[tuple[Leaf, Amounts], ...] = ()


NOTHING_KNOWN: Final = Known()


def known_of(bodies: Iterable[bytes], decoder: Bodies) -> Known:
    """Return the leaves that some bodies are posted to, and which of them are pending."""
    leaf_ids: set[int] = set()
    pending: dict[int, Amounts] = {}
    for body in bodies:
        leaf_id, amounts = decoder.amounts(body)
        leaf_ids.add(leaf_id)
        if amounts.unpriced_calls or amounts.unmetered_calls:
            pending.setdefault(leaf_id, Amounts()).add(amounts)
    return Known(
        frozenset(decoder.leaf(leaf_id) for leaf_id in leaf_ids),
        tuple((decoder.leaf(leaf_id), amounts) for leaf_id, amounts in pending.items()),
    )


def committed(reconciled: Reconciled, decoder: Bodies, known: Known) -> Committed:
    """Return what a commit in one transaction did."""
    return Committed(
        recorded=reconciled.recorded,
        upgraded=reconciled.upgraded,
        duplicates=reconciled.duplicates,
        postings=[(decoder.leaf(leaf_id), added) for leaf_id, added in reconciled.leaves.items()],
        known=known.leaves,
        known_pending=list(known.pending),
    )


async def pending_of(
    scan: AsyncIterator[Sequence[Entry]],
    models: Collection[str] | None,
    leaves: Collection[Leaf] | None,
) -> AsyncIterator[Sequence[Entry]]:
    """Leave only calls whose price is pending, for ledgers that read all entries quickly."""
    pending = {Status.UNPRICED, Status.UNMETERED}
    async for entries in scan:
        found = [
            entry
            for entry in entries
            if entry.posting.status in pending
            and (models is None or entry.posting.leaf.model in models)
            and (leaves is None or entry.posting.leaf in leaves)
        ]
        if found:
            yield found


def calls_of(entries: Iterable[Entry], identities: Collection[str], from_ms: int) -> list[Entry]:
    """Leave only calls of some callers since an instant; a session's are its role's as well."""
    callers = {caller_of(identity) for identity in identities}
    return [
        entry
        for entry in entries
        if entry.evidence.occurred_at_ms >= from_ms
        and caller_of(entry.posting.leaf.identity) in callers
    ]


def leaves_of(leaves: Iterable[tuple[int, str]], identities: Collection[str]) -> set[int]:
    """Return the ids of leaves, given with their identity, that are some callers'."""
    callers = {caller_of(identity) for identity in identities}
    return {leaf_id for leaf_id, identity in leaves if caller_of(identity) in callers}


def left_of(person: Person, leaves: Iterable[tuple[int, Leaf]]) -> list[int]:
    """Return the ids of leaves that name a person."""
    return [leaf_id for leaf_id, leaf in leaves if person.leaf(leaf) != leaf]


def compare(
    bodies: Iterable[bytes], balances: Iterable[tuple[Leaf, Amounts]], decoder: Bodies
) -> Verification:
    """Compare balances with the sum of the postings in entry bodies.

    Args:
        bodies: Stored bodies of all entries.
        balances: All balances.
        decoder: Reads the bodies.

    Returns:
        Counts and every difference. A balance of nothing but zeros equals a missing one.

    Raises:
        LedgerCorruptError: An entry, or what it names, cannot be read.
    """
    by_leaf_id: dict[int, Amounts] = {}
    facts_ids: set[int] = set()
    basis_ids: set[int] = set()
    entries = 0
    for body in bodies:
        (facts_id, leaf_id, basis_id), amounts = decoder.names_and_amounts(body)
        by_leaf_id.setdefault(leaf_id, Amounts()).add(amounts)
        facts_ids.add(facts_id)
        basis_ids.add(basis_id)
        entries += 1
    # Sums alone would not miss the evidence that a rebooking needs.
    decoder.check_names(facts_ids, basis_ids)
    expected = {decoder.leaf(leaf_id): amounts for leaf_id, amounts in by_leaf_id.items()}
    differences = []
    balance_count = 0
    for leaf, balance in balances:
        balance_count += 1
        wanted = expected.pop(leaf, None)
        if (wanted or Amounts()) != balance:
            differences.append(Difference(leaf, balance, wanted))
    differences += [
        Difference(leaf, None, wanted) for leaf, wanted in expected.items() if not wanted.is_zero()
    ]
    return Verification(entries, balance_count, tuple(differences))
