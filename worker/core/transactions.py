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

from worker.core.ledger import AMOUNT_FIELDS, Amounts, Leaf
from worker.core.spend import tokens_of

ITEMS_MAX: Final = 100
"""Items in one transaction (AWS documentation: "Amazon DynamoDB Transactions: How it works")."""

BYTES_MAX: Final = 3_500_000
"""Entry bytes in one transaction; the service allows 4 MB of items altogether."""

ENTRY_OVERHEAD_BYTES: Final = 64

ADDITIONS_MAX: Final = 180
"""Sums that one transaction adds to in one balance item.

They are named in an expression that may have 4 KB (AWS documentation: "Quotas in Amazon
DynamoDB"), in about 22 bytes each. One call adds to 42 at most: it always fits.
"""

FIELD_LETTERS: Final = "abcdefghijkl"
"""One letter for each of `AMOUNT_FIELDS`, in their order. Never reordered."""

Posted = tuple[Leaf, Amounts, int]
"""What to add to which leaf, and an id that tells the leaves of a balance item apart."""


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
        expires: When its entry may go, epoch seconds; 0 for never.
    """

    key: bytes
    body: bytes
    expected: bytes | None
    postings: tuple[Posted, ...]
    expires: int = 0

    def is_of_day_in(self, first_day: int, end_day: int) -> bool:
        """Whether the call is, or was, posted to a day of a half-open range."""
        return any(first_day <= leaf.day < end_day for leaf, _, _ in self.postings)


Sum = tuple[int | tuple[str, str], str]
"""A sum in a balance item: of a leaf's id or of a scope's kind and id; and a figure's letter."""


class Transaction(msgspec.Struct, gc=False):
    """Calls that are booked together, all or none.

    Attributes:
        writes: The calls.
        balances: The balance items that they touch, and which sums in each.
        may_be_sealed: Whether somebody may be sealing one of the calls at this moment.
    """

    writes: list[CallWrite] = []
    balances: dict[BalanceKey, set[Sum]] = {}
    may_be_sealed: bool = False


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


WIDE_KINDS: Final = ("agent", "team", "pool", "application", "account", "model", "everything")
"""Scopes whose sums are kept in the wide items of a day."""


def additions(key: BalanceKey, posted: Posted) -> Iterator[tuple[Sum, int]]:
    """Yield what a posting adds to which sums of a balance item that it touches, zeros left out.

    A payer's item keeps all amounts of each leaf, everybody's a few figures of each scope.
    """
    leaf, amounts, leaf_id = posted
    if key.principal:
        for letter, name in zip(FIELD_LETTERS, AMOUNT_FIELDS, strict=True):
            delta = getattr(amounts, name)
            if delta:
                yield (leaf_id, letter), delta
        return
    local = dict(leaf.local_days)
    figures = [(letter, delta) for letter, delta in wide_figures(amounts).items() if delta]
    for kind in WIDE_KINDS:
        scope = "" if kind == "everything" else getattr(leaf, kind)
        if local.get(kind, leaf.day) == key.day and (scope or kind == "everything"):
            for letter, delta in figures:
                yield ((kind, scope), letter), delta


def wide_figures(amounts: Amounts) -> dict[str, int]:
    """Return what wide items keep of amounts: `c` cost in pico-USD, `n` calls, `t` tokens."""
    return {"c": amounts.cost_pico_usd, "n": amounts.calls, "t": tokens_of(amounts)}


def pack(writes: Iterable[CallWrite], items_max: int = ITEMS_MAX) -> Iterator[Transaction]:
    """Group calls into transactions of so many items, those of one payer and day together."""
    current, size = Transaction(), 0
    for write in sorted(writes, key=_order):
        needed = _sums(write)
        weight = len(write.key) + len(write.body) + ENTRY_OVERHEAD_BYTES
        if current.writes and (
            size + weight > BYTES_MAX or not _has_room(current, needed, items_max)
        ):
            yield current
            current, size = Transaction(), 0
        current.writes.append(write)
        for key, sums in needed.items():
            current.balances.setdefault(key, set()).update(sums)
        size += weight
    if current.writes:
        yield current


def pack_by_age(writes: Iterable[CallWrite], old_before_day: int) -> Iterator[Transaction]:
    """Group calls into transactions, with room in those of old calls for a look at the seal."""
    fresh: list[CallWrite] = []
    old: list[CallWrite] = []
    for write in writes:
        (old if write.is_of_day_in(1, old_before_day) else fresh).append(write)
    yield from pack(fresh)
    for transaction in pack(old, ITEMS_MAX - 1):
        transaction.may_be_sealed = True
        yield transaction


def _sums(write: CallWrite) -> dict[BalanceKey, set[Sum]]:
    """Return the sums that a call adds to, by balance item."""
    needed: dict[BalanceKey, set[Sum]] = {}
    for posted in write.postings:
        for key in balance_keys(posted[0]):
            needed.setdefault(key, set()).update(name for name, _ in additions(key, posted))
    return needed


def _has_room(transaction: Transaction, needed: dict[BalanceKey, set[Sum]], items_max: int) -> bool:
    """Whether a call that needs these sums may join a transaction."""
    balances = transaction.balances
    fresh = sum(key not in balances for key in needed)
    if len(transaction.writes) + 1 + len(balances) + fresh > items_max:
        return False
    return all(
        len(balances[key]) + len(sums - balances[key]) <= ADDITIONS_MAX
        for key, sums in needed.items()
        if key in balances
    )


def _order(write: CallWrite) -> tuple[str, int, str, bytes]:
    leaf = write.postings[-1][0]
    return leaf.principal, leaf.day, leaf.identity, write.key
