"""The ledger in memory: exact, fast, gone with the process. For dry runs and tests.

It keeps entries in the same compact form as the ledgers on disk (about 200 bytes a call).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from copy import copy
from typing import Final

import msgspec

from worker.adapters.clock import SystemClock
from worker.adapters.ledger_reading import (
    NOTHING_KNOWN,
    calls_of,
    check_sealable,
    committed,
    compare,
    known_of,
    leaves_of,
    left_of,
    pending_of,
    spend_in,
    sum_by,
)
from worker.adapters.ledger_sealing import (
    expires_before_ms,
    joined,
    sealed_among,
    sums_between,
    with_expired,
)
from worker.core.batch import Batch, reconcile
from worker.core.budget_terms import ScopeDays
from worker.core.codec import (
    Bodies,
    decode_key,
    encode_body,
    encode_key,
    encode_request_id,
    intern_value,
)
from worker.core.forgotten import NOTE, Person, hide, marks_in
from worker.core.ledger import Amounts, Entry, Leaf, amounts_of
from worker.core.posting import Poster
from worker.core.seal import (
    NOTHING_SEALED,
    Seal,
    SealedSum,
    check_past,
    may_go,
    unsealed,
    without,
)
from worker.core.spend import Spend
from worker.ports import Clock, Committed, Rebooking, Verification

SCAN_CHUNK: Final = 5_000


class MemoryLedger:
    """A `worker.ports.Ledger` in dictionaries.

    Args:
        clock: Tells what may be sealed.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        """Start with empty books."""
        self._clock = clock or SystemClock()
        self._bodies_by_key: dict[bytes, bytes] = {}
        self._interned: dict[int, bytes] = {}
        self._balances: dict[int, Amounts] = {}
        self._progress: dict[str, str] = {}
        self._seal = NOTHING_SEALED
        self._sealed: dict[int, SealedSum] = {}
        self._decoder = Bodies(self._interned.get)

    async def commit(self, batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        """Book a batch; see the port."""
        known_bodies = self._bodies_by_key
        batch, too_late = unsealed(batch, self._seal, poster)
        batch = hide(batch, marks_in(self._progress.get(NOTE)))
        shared = known_bodies.keys() & batch.bodies.keys()
        known = {key: known_bodies[key] for key in shared}
        batch, sealed = without(batch, sealed_among(known, self._seal, self._decoder))
        known = {key: body for key, body in known.items() if key in batch.bodies}
        seen = known_of(known.values(), self._decoder) if touched else NOTHING_KNOWN
        reconciled = reconcile(batch, known, self._interned.get, poster)
        self._interned.update(reconciled.interned)
        known_bodies.update(reconciled.inserts)
        known_bodies.update(reconciled.replacements)
        for leaf_id, amounts in reconciled.leaves.items():
            self._add(leaf_id, amounts)
        return committed(reconciled, self._decoder, seen, too_late + sealed)

    async def find(self, request_id: str) -> list[Entry]:
        """Return the entries with this request id; looks at every key."""
        prefix = encode_request_id(request_id)
        keys = sorted(key for key in self._bodies_by_key if key.startswith(prefix))
        return [self._entry(key) for key in keys]

    async def scan(self, after: str | None = None) -> AsyncIterator[Sequence[Entry]]:
        """Yield all entries in chunks, in order of their stored keys."""
        start = b"" if after is None else encode_key(after)
        keys = sorted(key for key in self._bodies_by_key if key > start)
        for first in range(0, len(keys), SCAN_CHUNK):
            yield [self._entry(key) for key in keys[first : first + SCAN_CHUNK]]

    def pending(
        self, *, models: Collection[str] | None = None, leaves: Collection[Leaf] | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield the calls whose price is pending; see the port."""
        return pending_of(self.scan(), models, leaves, self._seal)

    async def booked(
        self, identities: Collection[str], from_ms: int
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield the calls of some identities since an instant; looks at every entry."""
        leaves = ((leaf_id, self._decoder.leaf(leaf_id).identity) for leaf_id in self._balances)
        wanted = leaves_of(leaves, identities)
        keys = [
            key
            for key, body in self._bodies_by_key.items()
            if self._decoder.names(body)[1] in wanted
        ]
        for first in range(0, len(keys), SCAN_CHUNK):
            some = [self._entry(key) for key in keys[first : first + SCAN_CHUNK]]
            if found := calls_of(some, identities, from_ms, self._seal):
                yield found

    async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
        """Replace postings; see the port."""
        rebooked = 0
        for rebooking in rebookings:
            before, after = rebooking.before, rebooking.after
            key = encode_key(before.key)
            if key not in self._bodies_by_key or self._entry(key).revision != before.revision:
                continue
            if rebooking.evidence is None and self._seal.holds(before.posting.leaf.day):
                continue
            for interned in (after.route.facts, after.route.leaf, after.route.basis):
                self._interned[interned.id] = interned.encoded
            old_leaf, old_amounts = self._decoder.amounts(self._bodies_by_key[key])
            delta = Amounts()
            delta.subtract(old_amounts)
            self._add(old_leaf, delta)
            evidence = rebooking.evidence_after
            self._add(
                after.route.leaf.id,
                amounts_of(evidence, after.cost_pico_usd, after.status),
            )
            self._bodies_by_key[key] = encode_body(evidence, after, before.revision + 1)
            rebooked += 1
        return rebooked

    async def purge(self, person: Person) -> None:
        """Remove what still names a person; see the port."""
        for leaf_id, one in list(self._sealed.items()):
            leaf = self._decoder.leaf(leaf_id)
            hidden = person.leaf(leaf)
            if hidden == leaf:
                continue
            # What is left of the balance is of calls whose entries are gone.
            interned = intern_value(hidden)
            self._interned[interned.id] = interned.encoded
            left = Amounts()
            left.add(self._balances.pop(leaf_id, Amounts()))
            self._add(interned.id, left)
            self._sealed[interned.id] = joined(self._sealed.get(interned.id), one)
            del self._sealed[leaf_id]
        used = {
            value_id
            for body in self._bodies_by_key.values()
            for value_id in self._decoder.names(body)
        } | self._sealed.keys()
        leaves = {leaf_id: self._decoder.leaf(leaf_id) for leaf_id in self._balances}
        empty = [leaf_id for leaf_id in left_of(person, leaves.items()) if leaf_id not in used]
        for leaf_id in empty:
            del self._balances[leaf_id]
        for value_id in self._interned.keys() - used - self._balances.keys():
            del self._interned[value_id]
        self._decoder = Bodies(self._interned.get)

    @property
    def hears_after_seconds(self) -> int:
        """Nobody else books into this ledger."""
        return 0

    async def balances(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> list[tuple[Leaf, Amounts]]:
        """Return the balances of a range of UTC days."""
        pairs = ((self._decoder.leaf(leaf), amounts) for leaf, amounts in self._balances.items())
        return [
            (leaf, copy(amounts))
            for leaf, amounts in pairs
            if (first_day is None or leaf.day >= first_day)
            and (last_day is None or leaf.day <= last_day)
        ]

    async def totals(
        self, field: str, first_day: int | None = None, last_day: int | None = None
    ) -> dict[str, Amounts]:
        """Return balances summed by one field of `Leaf`."""
        return sum_by(field, await self.balances(first_day, last_day))

    async def spend(self, ranges: Sequence[ScopeDays]) -> list[Spend]:
        """Return what scopes spent; looks at every balance."""
        balances = ((self._decoder.leaf(leaf), amounts) for leaf, amounts in self._balances.items())
        return spend_in(balances, ranges)

    async def verify(self) -> Verification:
        """Compare balances with entries."""
        return compare(
            self._bodies_by_key.values(),
            ((self._decoder.leaf(leaf), amounts) for leaf, amounts in self._balances.items()),
            self._decoder,
            self._seal,
            await self.sealed_sums(),
        )

    async def seal_in_force(self) -> Seal:
        """Return how far the ledger is sealed."""
        return self._seal

    async def seal(self, day: int, on_progress: Callable[[int], None] | None = None) -> Seal:
        """Seal everything before a day; see the port."""
        check_past(day, self._clock.now_ms())
        first = self._seal.day
        if day <= first:
            return self._seal
        sums = sums_between(self._bodies_by_key.values(), self._decoder, first, day, on_progress)
        entries = {self._decoder.leaf(leaf_id): amounts for leaf_id, amounts in sums.items()}
        balances = await self.balances(max(1, first), day - 1)
        check_sealable(entries, balances, day, "nothing is sealed")
        self._sealed |= {leaf_id: SealedSum(amounts, day) for leaf_id, amounts in sums.items()}
        self._seal = msgspec.structs.replace(self._seal, day=day, complete_day=day)
        return self._seal

    async def sealed_sums(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> dict[Leaf, SealedSum]:
        """Return what seals stored."""
        pairs = ((self._decoder.leaf(leaf_id), one) for leaf_id, one in self._sealed.items())
        return {
            leaf: one
            for leaf, one in pairs
            if (first_day is None or leaf.day >= first_day)
            and (last_day is None or leaf.day <= last_day)
        }

    async def expire(
        self, after_days: int, now_ms: int, on_progress: Callable[[int], None] | None = None
    ) -> int:
        """Remove entries that are sealed and old enough."""
        before_ms = expires_before_ms(self._seal, after_days, now_ms)
        gone = [
            key
            for key, body in self._bodies_by_key.items()
            if may_go(key, self._decoder.day(body)) and self._decoder.at_ms(body) < before_ms
        ]
        if on_progress is not None:
            on_progress(len(self._bodies_by_key))
        for key in gone:
            del self._bodies_by_key[key]
        self._seal = with_expired(self._seal, before_ms)
        return len(gone)

    async def progress(self, name: str) -> str | None:
        """Return a job's note."""
        return self._progress.get(name)

    async def keep_progress(self, name: str, note: str | None) -> None:
        """Keep or remove a job's note."""
        if note is None:
            self._progress.pop(name, None)
        else:
            self._progress[name] = note

    async def replace_progress(self, name: str, before: str | None, note: str) -> bool:
        """Replace a job's note if it is still what it was."""
        is_same = self._progress.get(name) == before
        if is_same:
            self._progress[name] = note
        return is_same

    async def close(self) -> None:
        """Do nothing: memory needs no closing."""

    def _entry(self, key: bytes) -> Entry:
        return self._decoder.entry(decode_key(key), self._bodies_by_key[key])

    def _add(self, leaf_id: int, amounts: Amounts) -> None:
        balance = self._balances.setdefault(leaf_id, Amounts())
        balance.add(amounts)
        if balance.is_zero():
            del self._balances[leaf_id]
