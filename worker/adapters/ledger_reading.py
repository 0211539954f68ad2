"""What ledger adapters share: sums by a field, balances against entries, what a commit did."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from worker.core.batch import Reconciled
from worker.core.budget_terms import ScopeDays
from worker.core.codec import Bodies
from worker.core.errors import LedgerCorruptError
from worker.core.forgotten import Person
from worker.core.journal import caller_of
from worker.core.ledger import Amounts, Entry, Leaf, Status
from worker.core.seal import Seal, SealedSum, day_text, is_proven, leaf_text
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


def committed(reconciled: Reconciled, decoder: Bodies, known: Known, sealed: int) -> Committed:
    """Return what a commit in one transaction did; `sealed` records were ignored."""
    return Committed(
        recorded=reconciled.recorded,
        upgraded=reconciled.upgraded,
        duplicates=reconciled.duplicates,
        postings=[(decoder.leaf(leaf_id), added) for leaf_id, added in reconciled.leaves.items()],
        known=known.leaves,
        known_pending=list(known.pending),
        sealed=sealed,
    )


async def pending_of(
    scan: AsyncIterator[Sequence[Entry]],
    models: Collection[str] | None,
    leaves: Collection[Leaf] | None,
    seal: Seal,
) -> AsyncIterator[Sequence[Entry]]:
    """Leave only calls whose price is pending, for ledgers that read all entries quickly."""
    pending = {Status.UNPRICED, Status.UNMETERED}
    async for entries in scan:
        found = [
            entry
            for entry in entries
            if entry.posting.status in pending
            and not seal.holds(entry.posting.leaf.day)
            and (models is None or entry.posting.leaf.model in models)
            and (leaves is None or entry.posting.leaf in leaves)
        ]
        if found:
            yield found


def calls_of(
    entries: Iterable[Entry], identities: Collection[str], from_ms: int, seal: Seal
) -> list[Entry]:
    """Leave only calls of some callers since an instant; a session's are its role's as well.

    What is sealed is left out.
    """
    callers = {caller_of(identity) for identity in identities}
    return [
        entry
        for entry in entries
        if entry.evidence.occurred_at_ms >= from_ms
        and not seal.holds(entry.posting.leaf.day)
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
    bodies: Iterable[bytes],
    balances: Iterable[tuple[Leaf, Amounts]],
    decoder: Bodies,
    seal: Seal,
    sealed: Mapping[Leaf, SealedSum],
) -> Verification:
    """Compare balances with the sum of the postings in entry bodies, or with what seals say.

    Args:
        bodies: Stored bodies of all entries.
        balances: All balances.
        decoder: Reads the bodies.
        seal: The seal in force.
        sealed: All sums that seals stored.

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
    stated: dict[Leaf, Amounts] = {}
    differences = []
    for leaf, balance in balances:
        if leaf in stated:
            differences.append(Difference(leaf, balance, None))  # One leaf has one balance.
        else:
            stated[leaf] = balance
    balance_count = len(stated) + len(differences)
    differences += [
        found
        for leaf in [*stated, *((expected.keys() | sealed.keys()) - stated.keys())]
        if (found := difference_of(leaf, stated, expected, seal, sealed)) is not None
    ]
    gone = calls_gone(expected, sealed)
    return Verification(entries, balance_count, tuple(differences), sealed=len(sealed), gone=gone)


def difference_of(
    leaf: Leaf,
    balances: Mapping[Leaf, Amounts],
    entries: Mapping[Leaf, Amounts],
    seal: Seal,
    sealed: Mapping[Leaf, SealedSum],
) -> Difference | None:
    """Return how a balance differs from its entries or its seal; None if it does not."""
    balance, summed = balances.get(leaf), entries.get(leaf)
    if not seal.sums_hold(leaf.day):
        is_sound = (balance or Amounts()) == (summed or Amounts())
        return None if is_sound else Difference(leaf, balance, summed)
    stored = sealed.get(leaf)
    says = Amounts() if stored is None else stored.amounts
    may_be_gone = seal.may_be_gone(leaf.day)
    is_sound = is_proven(summed or Amounts(), says, may_be_gone=may_be_gone)
    if (balance or Amounts()) == says and is_sound:
        return None
    day = seal.complete_day if stored is None else stored.day
    return Difference(leaf, balance, summed, None if stored is None else says, day)


def calls_gone(entries: Mapping[Leaf, Amounts], sealed: Mapping[Leaf, SealedSum]) -> int:
    """Return how many sealed calls have no entry any more."""
    return sum(
        max(0, one.amounts.calls - entries[leaf].calls if leaf in entries else one.amounts.calls)
        for leaf, one in sealed.items()
    )


def check_sealable(
    entries: Mapping[Leaf, Amounts], balances: Iterable[tuple[Leaf, Amounts]], day: int, left: str
) -> None:
    """Refuse to vouch for balances that are not the sum of their entries.

    Args:
        entries: Sums of the entries that are about to be sealed, by leaf.
        balances: Balances of the same days.
        day: The watermark.
        left: What that leaves: `nothing is sealed`.

    Raises:
        LedgerCorruptError: Names one of them.
    """
    stated = dict(balances)
    for leaf in [*stated, *(leaf for leaf in entries if leaf not in stated)]:
        if stated.get(leaf, Amounts()) != entries.get(leaf, Amounts()):
            message = (
                f"the balance of {leaf_text(leaf)} is not the sum of its entries, so that "
                f"{day_text(day)} cannot be the watermark of a seal: {left}; "
                "`ledgerock verify` lists all that differ"
            )
            raise LedgerCorruptError(message)
