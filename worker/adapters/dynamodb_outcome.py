"""What became of a batch that is booked in DynamoDB, and what its refusals mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from worker.adapters.dynamodb_requests import Reasons
from worker.adapters.ledger_reading import Known
from worker.core.errors import LedgerCorruptError, LedgerockError, RefusedError
from worker.core.journal import caller_of
from worker.core.ledger import Amounts, Leaf
from worker.core.seal import NOTHING_SEALED, Seal
from worker.core.transactions import Transaction
from worker.ports import Committed

REFUSALS: Final = frozenset(
    {
        "ItemCollectionSizeLimitExceeded",
        "ItemCollectionSizeLimitExceededException",
        "RequestEntityTooLarge",
        "SerializationException",
        "ValidationError",
        "ValidationException",
    }
)
"""Codes that speak of what was to be written: too large an item, key, number or expression (API
reference: TransactWriteItems, "Error handling with DynamoDB")."""


class Outcome(msgspec.Struct, gc=False):
    """What became of a batch so far.

    Attributes:
        recorded: Stored keys of calls that were booked first.
        upgraded: Those of calls that were replaced.
        deltas: What was added to which leaf, by its id.
        known: Bodies of calls that were known.
        noted: Callers and calls that the journal tells of.
        seal: What is sealed, as far as is known: it was heeded, and is checked again by those
            transactions that somebody may be sealing at this moment.
        sealed: Stored keys of calls that were known, and are sealed.
    """

    recorded: set[bytes] = set()
    upgraded: set[bytes] = set()
    deltas: dict[int, tuple[Leaf, Amounts]] = {}
    known: dict[bytes, bytes] = {}
    noted: set[tuple[str, bytes]] = set()
    seal: Seal = NOTHING_SEALED
    sealed: set[bytes] = set()

    def unnoted(self, transactions: Iterable[Transaction]) -> list[tuple[str, bytes]]:
        """Return callers and calls that the journal does not tell of, as far as is known.

        It was told of a call when that was booked first. Later it need be told only where better
        evidence, or a rebooking, found somebody else to be the caller.
        """
        calls = []
        for write in (write for transaction in transactions for write in transaction.writes):
            callers = {caller_of(leaf.identity) for leaf, _, _ in write.postings[:-1]}
            caller = caller_of(write.postings[-1][0].identity)
            if caller not in callers and (caller, write.key) not in self.noted:
                calls.append((caller, write.key))
        return calls


def count(outcome: Outcome, transaction: Transaction) -> None:
    """Take in a transaction that was made."""
    for write in transaction.writes:
        (outcome.recorded if write.expected is None else outcome.upgraded).add(write.key)
        for leaf, amounts, leaf_id in write.postings:
            outcome.deltas.setdefault(leaf_id, (leaf, Amounts()))[1].add(amounts)


def told_of(reasons: Reasons) -> str:
    """Return why a transaction was cancelled, for people."""
    codes = {f"{reason.get('Code')}: {reason.get('Message')}" for reason in reasons}
    return "; ".join(sorted(one for one in codes if not one.startswith("None:")))


def committed(
    records: int,
    repeats: Mapping[bytes, tuple[int, int]],
    outcome: Outcome,
    known: Known,
    too_late: int,
) -> Committed:
    """Return what a commit did.

    Args:
        records: Records of the batch.
        repeats: `Batch.repeats` of what was booked.
        outcome: What became of it.
        known: What was known of its calls, if asked for.
        too_late: Records from before the watermark.
    """
    in_batch = sum(improved for key, (_, improved) in repeats.items() if key in outcome.recorded)
    recorded, upgraded = len(outcome.recorded), len(outcome.upgraded) + in_batch
    sealed = too_late + sum(1 + repeats.get(key, (0, 0))[0] for key in outcome.sealed)
    return Committed(
        recorded=recorded,
        upgraded=upgraded,
        duplicates=records - recorded - upgraded - sealed,
        postings=[delta for delta in outcome.deltas.values() if not delta[1].is_zero()],
        known=known.leaves,
        known_pending=list(known.pending),
        sealed=sealed,
    )


def refused(codes: Iterable[str], why: object) -> LedgerockError:
    """Say that a request is refused: for what it asks to be booked, or as a whole."""
    if not REFUSALS.isdisjoint(codes):
        return RefusedError(f"DynamoDB refused to book this, it cannot hold it: {why}")
    return LedgerCorruptError(f"DynamoDB refused a transaction: {why}")
