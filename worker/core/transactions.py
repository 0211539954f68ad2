"""Packing booked calls into as few transactions as a ledger allows. Pure.

A transaction holds some calls' entries and the folded sums of the balance items that they
touch. Every balance item is paid for once a transaction, so calls that touch the same ones are
put together: ordered by payer and day, a transaction of 100 items books about 70 calls of a
busy ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from worker.core.ledger import Amounts, Leaf

ITEMS_MAX: Final = 100
"""Items in one transaction (AWS documentation: "Amazon DynamoDB Transactions: How it works")."""

BYTES_MAX: Final = 3_500_000
"""Entry bytes in one transaction; the service allows 4 MB of items altogether."""

ENTRY_OVERHEAD_BYTES: Final = 64


class BalanceKey(msgspec.Struct, frozen=True, gc=False, order=True):
    """A balance item: a payer's day, or with an empty `principal` everybody's.

    Attributes:
        principal: Who pays; empty for the wide item of the day.
        day: The UTC day for a payer, the day of a scope's calendar for a wide item.
        caller: Who called, where that is not who pays. An agent's or application's callers may
            be any number; in one item they would outgrow it.
    """

    principal: str
    day: int
    caller: str = ""


class CallWrite(msgspec.Struct, gc=False):
    """One call to be booked, and what it adds to its leaves.

    Attributes:
        key: The call's stored key.
        body: Its new body.
        expected: The body it replaces; None if the call must be unknown.
        postings: What to add to which leaf (a replacement takes away from the old one).
    """

    key: bytes
    body: bytes
    expected: bytes | None
    postings: tuple[tuple[Leaf, Amounts, int], ...]


class Transaction(msgspec.Struct, gc=False):
    """Calls that are booked together, all or none."""

    writes: list[CallWrite] = []
    balances: set[BalanceKey] = set()


def balance_keys(leaf: Leaf) -> list[BalanceKey]:
    """Return the balance items that a posting to `leaf` touches."""
    local = dict(leaf.local_days)
    keys = [payer_item(leaf)]
    days = {local.get(kind, leaf.day) for kind in WIDE_KINDS}
    return keys + [BalanceKey("", day) for day in sorted(days)]


def payer_item(leaf: Leaf) -> BalanceKey:
    """Return the payer's item that a posting to `leaf` touches."""
    caller = "" if leaf.identity == leaf.principal else leaf.identity
    return BalanceKey(leaf.principal, leaf.day, caller)


WIDE_KINDS: Final = ("agent", "team", "application", "account", "model", "everything")
"""Scopes whose sums are kept in the wide items of a day."""


def pack(writes: Iterable[CallWrite]) -> Iterator[Transaction]:
    """Group calls into transactions, those of one payer and day together."""
    current, size = Transaction(), 0
    for write in sorted(writes, key=_order):
        needed = {key for leaf, _, _ in write.postings for key in balance_keys(leaf)}
        weight = len(write.key) + len(write.body) + ENTRY_OVERHEAD_BYTES
        items = len(current.writes) + 1 + len(current.balances | needed)
        if current.writes and (items > ITEMS_MAX or size + weight > BYTES_MAX):
            yield current
            current, size = Transaction(), 0
        current.writes.append(write)
        current.balances |= needed
        size += weight
    if current.writes:
        yield current


def _order(write: CallWrite) -> tuple[str, int, str, bytes]:
    leaf = write.postings[-1][0]
    return leaf.principal, leaf.day, leaf.identity, write.key
