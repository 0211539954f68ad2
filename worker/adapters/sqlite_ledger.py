"""The embedded ledger: one SQLite file, crash-safe, the default.

Keys and queries, for ten million calls: `entry` is clustered by key, whose request id leads,
so one call is one look-up. `balance` holds one row for each combination of payer, model, day
and so on; there are hundreds of them for every million calls, so a payer's series of days, its
split by model and a period's top spenders are range reads of small indexes, never of entries.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from worker.adapters.ledger_reading import (
    NOTHING_KNOWN,
    calls_of,
    committed,
    compare,
    known_of,
    leaves_of,
    pending_of,
    sum_by,
)
from worker.adapters.ledger_sealing import sealed_among
from worker.adapters.sqlite_schema import (
    AMOUNT_COLUMNS,
    BALANCE_COLUMNS,
    COUNT_FIELDS,
    DIMENSION_COLUMNS,
    POST,
)
from worker.adapters.sqlite_sealing import SqliteSealing
from worker.core.batch import Batch, Reconciled, reconcile
from worker.core.budget_terms import ScopeDays
from worker.core.codec import Bodies, decode_key, encode_body, encode_key, encode_request_id
from worker.core.errors import ConfigurationError, LedgerCorruptError, TransientError
from worker.core.forgotten import NOTE, Marks, Person, hide, marks_in
from worker.core.ledger import MS_PER_DAY, Amounts, Entry, Leaf, amounts_of
from worker.core.money import PICO_PER_USD
from worker.core.posting import Poster
from worker.core.seal import unsealed, without
from worker.core.spend import LOCAL_DAYS_OFF, Spend, SpendSums, is_nobody
from worker.ports import Clock, Committed, Rebooking, Verification

KEYS_PER_LOOKUP: Final = 500
INTERNED_KNOWN_MAX: Final = 200_000


class SqliteLedger(SqliteSealing):
    """A `worker.ports.Ledger` in one file.

    Args:
        path: The file; made if missing.
        discard: Do everything in one transaction that is never committed: a dry run sees its
            own bookings, and the file stays as it was. A missing file is not made.
        clock: Tells what may be sealed.

    Raises:
        ConfigurationError: The file is not a ledger, is of a newer version, or cannot be opened.
    """

    def __init__(
        self, path: Path | str, *, discard: bool = False, clock: Clock | None = None
    ) -> None:
        """Open or create the file."""
        super().__init__(path, discard=discard, clock=clock)
        self._marks_note: str | None = None

    async def commit(self, batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        """Book a batch in one transaction; see the port."""
        with self._transaction():
            seal = self._seal()
            batch, too_late = unsealed(batch, seal, poster)
            batch = hide(batch, self._marks())
            known = self._bodies_of(sorted(batch.bodies))
            batch, sealed = without(batch, sealed_among(known, seal, self._decoder))
            known = {key: body for key, body in known.items() if key in batch.bodies}
            seen = known_of(known.values(), self._decoder) if touched else NOTHING_KNOWN
            reconciled = reconcile(batch, known, self._lookup, poster)
            interned = self._write(reconciled)
        # Only now, and only what was written: a value that is thought to be there and is not
        # would leave entries that nobody can read.
        self._known_interned.update(interned)
        return committed(reconciled, self._decoder, seen, too_late + sealed)

    def _marks(self) -> Marks | None:
        """Return the marks of forgotten people, as of this transaction."""
        note = self._note(NOTE)
        if note != self._marks_note:
            # Values that only forgotten people's calls named may be gone.
            self._marks_note = note
            self._known_interned.clear()
        return marks_in(note)

    def _write(self, reconciled: Reconciled) -> Iterable[int]:
        """Write what there is to write; return the ids of the interned values it needs."""
        if not (reconciled.inserts or reconciled.replacements):
            return ()
        run_many = self._connection.executemany
        self._intern(reconciled.interned)
        # Neighbouring keys share pages: sorted inserts touch each page once.
        run_many("INSERT INTO entry VALUES (?, ?)", sorted(reconciled.inserts.items()))
        run_many(
            "UPDATE entry SET body = ? WHERE key = ?",
            [(body, key) for key, body in sorted(reconciled.replacements.items())],
        )
        self._post(
            (leaf_id, self._decoder.leaf(leaf_id, reconciled.interned.get(leaf_id)), amounts)
            for leaf_id, amounts in reconciled.leaves.items()
        )
        return reconciled.interned

    def _post(self, postings: Iterable[tuple[int, Leaf, Amounts]]) -> None:
        self._connection.executemany(
            POST, [_balance_row(leaf_id, leaf, amounts) for leaf_id, leaf, amounts in postings]
        )

    def _intern(self, values: Mapping[int, bytes]) -> None:
        if len(self._known_interned) > INTERNED_KNOWN_MAX:
            self._known_interned.clear()
        fresh = {key: value for key, value in values.items() if key not in self._known_interned}
        stored = self._select("SELECT id, encoded FROM interned WHERE id IN ({})", list(fresh))
        for value_id, encoded in stored.items():
            if fresh.pop(value_id) != encoded:
                message = (
                    f"{self._path}: two different values share the id {value_id}; "
                    "nothing of this batch was booked"
                )
                raise LedgerCorruptError(message)
        self._connection.executemany("INSERT INTO interned VALUES (?, ?)", fresh.items())

    def _bodies_of(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return self._select("SELECT key, body FROM entry WHERE key IN ({})", keys)

    def _select(self, statement: str, keys: Sequence[Any]) -> dict[Any, bytes]:
        found: dict[Any, bytes] = {}
        for first in range(0, len(keys), KEYS_PER_LOOKUP):
            some = keys[first : first + KEYS_PER_LOOKUP]
            marks = ",".join("?" * len(some))
            found.update(self._connection.execute(statement.format(marks), some).fetchall())
        return found

    async def find(self, request_id: str) -> list[Entry]:
        """Return the entries with this request id: one range of the primary key."""
        prefix = encode_request_id(request_id)
        with self._faults():
            rows = self._connection.execute(
                "SELECT key, body FROM entry WHERE key >= ? AND key < ? ORDER BY key",
                (prefix, prefix + b"\xff"),
            ).fetchall()
        return [self._decoder.entry(decode_key(key), body) for key, body in rows]

    async def scan(self, after: str | None = None) -> AsyncIterator[Sequence[Entry]]:
        """Yield all entries in chunks, in order of their stored keys."""
        last = b"" if after is None else encode_key(after)
        while rows := self._entries_after(last):
            yield [self._decoder.entry(decode_key(key), body) for key, body in rows]
            last = rows[-1][0]

    def pending(
        self, *, models: Collection[str] | None = None, leaves: Collection[Leaf] | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield the calls whose price is pending; see the port."""
        return self._pending(models, leaves)

    async def _pending(
        self, models: Collection[str] | None, leaves: Collection[Leaf] | None
    ) -> AsyncIterator[Sequence[Entry]]:
        seal = await self.seal_in_force()
        async for entries in pending_of(self.scan(), models, leaves, seal):
            yield entries

    async def booked(
        self, identities: Collection[str], from_ms: int
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield the calls of some identities since an instant; see the port.

        Balances say whether there are any; only then all entries are looked at.
        """
        with self._faults():
            wanted = leaves_of(
                self._connection.execute(
                    "SELECT leaf_id, identity FROM balance WHERE day >= ?", (from_ms // MS_PER_DAY,)
                ),
                identities,
            )
        seal = await self.seal_in_force()
        last = b""
        while wanted and (rows := self._entries_after(last)):
            some = [
                self._decoder.entry(decode_key(key), body)
                for key, body in rows
                if self._decoder.names(body)[1] in wanted
            ]
            last = rows[-1][0]
            if found := calls_of(some, identities, from_ms, seal):
                yield found

    async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
        """Replace postings; see the port."""
        with self._transaction():
            seal = self._seal()
            stored = self._bodies_of(sorted(encode_key(item.before.key) for item in rebookings))
            updates: list[tuple[bytes, bytes]] = []
            deltas: dict[int, tuple[Leaf, Amounts]] = {}
            interned: dict[int, bytes] = {}
            for item in rebookings:
                key, route = encode_key(item.before.key), item.after.route
                if key not in stored:
                    continue
                current = self._decoder.entry(item.before.key, stored[key])
                if current.revision != item.before.revision:
                    continue
                if item.evidence is None and seal.holds(current.posting.leaf.day):
                    continue
                for value in (route.facts, route.leaf, route.basis):
                    interned[value.id] = value.encoded
                evidence = item.evidence_after
                body = encode_body(evidence, item.after, current.revision + 1)
                updates.append((body, key))
                old_leaf, old_amounts = self._decoder.amounts(stored[key])
                _delta(deltas, old_leaf, current.posting.leaf).subtract(old_amounts)
                _delta(deltas, route.leaf.id, route.leaf_value).add(
                    amounts_of(evidence, item.after.cost_pico_usd, item.after.status)
                )
                del stored[key]  # named again, it is no longer at that revision
            self._intern(interned)
            self._connection.executemany("UPDATE entry SET body = ? WHERE key = ?", updates)
            self._post((leaf_id, leaf, amounts) for leaf_id, (leaf, amounts) in deltas.items())
        self._known_interned.update(interned)
        return len(updates)

    async def balances(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> list[tuple[Leaf, Amounts]]:
        """Return the balances of a range of UTC days."""
        with self._faults():
            return list(self._read_balances(*_day_range(first_day, last_day)))

    def _read_balances(
        self, where: str, bounds: tuple[int | str, ...]
    ) -> Iterator[tuple[Leaf, Amounts]]:
        """Yield balances as their columns have them, which is what reports are made of."""
        names = ", ".join(BALANCE_COLUMNS)
        statement = f"SELECT {names} FROM balance{where}"  # noqa: S608 - column names are ours
        for row in self._connection.execute(statement, bounds):
            amounts = _amounts(row[len(DIMENSION_COLUMNS) :])
            if not amounts.is_zero():
                yield self._leaf_of_row(row), amounts

    def _leaf_of_row(self, row: Sequence[Any]) -> Leaf:
        columns = Leaf(**dict(zip(DIMENSION_COLUMNS[1:], row[1:], strict=False)))
        try:
            leaf = self._decoder.leaf(row[0])
        except LedgerCorruptError:
            return columns
        # Local days are in the interned leaf alone.
        stated = msgspec.structs.replace(columns, local_days=leaf.local_days)
        return leaf if stated == leaf else stated

    async def totals(
        self, field: str, first_day: int | None = None, last_day: int | None = None
    ) -> dict[str, Amounts]:
        """Return balances summed by one field of `Leaf`."""
        if field not in DIMENSION_COLUMNS:
            message = f"balances have no field {field!r}"
            raise ConfigurationError(message)
        where, bounds = _day_range(first_day, last_day)
        sums = ", ".join(f"sum({name})" for name in AMOUNT_COLUMNS)
        statement = f"SELECT {field}, {sums} FROM balance{where} GROUP BY {field}"  # noqa: S608
        with self._faults():
            try:
                rows = self._connection.execute(statement, bounds).fetchall()
            except sqlite3.OperationalError:  # a sum beyond 64 bits; Python's integers are endless
                return sum_by(field, self._read_balances(where, bounds))
        totals = {str(row[0]): _amounts(row[1:]) for row in rows}
        return {key: amounts for key, amounts in totals.items() if not amounts.is_zero()}

    async def spend(self, ranges: Sequence[ScopeDays]) -> list[Spend]:
        """Return what scopes spent: ranges of the index by payer, or of the one by day."""
        with self._faults():
            return [self._spent(wanted) for wanted in ranges]

    def _spent(self, wanted: ScopeDays) -> Spend:
        """Add up one range.

        A local day is at most one off the UTC day. So whatever is further from both ends of the
        range is in it for sure, and SQLite can sum it; only calls of the UTC days around the
        ends must be asked for their local day.
        """
        scope, first, last = wanted.scope, wanted.first_day, wanted.last_day
        if is_nobody(scope) or first > last:
            return Spend()
        field = "" if scope.kind == "everything" else f" AND {scope.kind} = ?"
        bounds = () if scope.kind == "everything" else (scope.id,)
        near = sorted({first - LOCAL_DAYS_OFF, first, last, last + LOCAL_DAYS_OFF})
        where = f" WHERE day IN ({', '.join('?' * len(near))}){field}"
        sums = SpendSums([wanted])
        for leaf, amounts in self._read_balances(where, (*near, *bounds)):
            sums.add(leaf, amounts)
        within = f" WHERE day BETWEEN ? AND ?{field}"
        within_bounds = (first + LOCAL_DAYS_OFF, last - LOCAL_DAYS_OFF, *bounds)
        for amounts in self._summed(within, within_bounds):
            sums.add_to(0, amounts)
        return sums.spends()[0]

    def _summed(self, where: str, bounds: tuple[int | str, ...]) -> Iterator[Amounts]:
        """Yield amounts that add up to the balances there are."""
        names = ", ".join(f"sum({name})" for name in AMOUNT_COLUMNS)
        statement = f"SELECT {names} FROM balance{where}"  # noqa: S608 - column names are ours
        try:
            row = self._connection.execute(statement, bounds).fetchone()
        except sqlite3.OperationalError:  # a sum beyond 64 bits; Python's integers are endless
            yield from (amounts for _, amounts in self._read_balances(where, bounds))
            return
        if row[0] is not None:
            yield _amounts(row)

    async def purge(self, person: Person) -> None:
        """Remove what still names a person; see the port.

        The whole file is written anew, without pages that are free and may name the person still.
        That takes its time, and as much room again.
        """
        with self._transaction():
            self._rename_sealed(person)
            self._purge(person)
        self._known_interned.clear()
        self._decoder = Bodies(self._lookup)
        self._write_anew()

    def _purge(self, person: Person) -> None:
        run = self._connection.execute
        used = {leaf_id for (leaf_id,) in run("SELECT leaf_id FROM sealed")}
        for (body,) in run("SELECT body FROM entry"):
            used.update(self._decoder.names(body))
        leaves = [
            leaf_id
            for leaf_id, *names in run("SELECT leaf_id, principal, identity FROM balance")
            if any(person.text(name) != name for name in names)
        ]
        if not used.isdisjoint(leaves):
            message = f"{self._path}: calls are booked under the name still; forget it again"
            raise TransientError(message)
        values = [
            value_id
            for value_id, encoded in run("SELECT id, encoded FROM interned")
            if value_id not in used and person.is_in(encoded)
        ]
        self._connection.executemany(
            "DELETE FROM balance WHERE leaf_id = ?", [(leaf_id,) for leaf_id in leaves]
        )
        self._connection.executemany(
            "DELETE FROM interned WHERE id = ?", [(value_id,) for value_id in values]
        )

    @property
    def hears_after_seconds(self) -> int:
        """Marks are read in the transaction that books."""
        return 0

    async def verify(self) -> Verification:
        """Compare balances with entries on one snapshot."""
        snapshot = not self._connection.in_transaction
        with self._faults():
            if snapshot:
                self._connection.execute("BEGIN")
            try:
                bodies = (row[0] for row in self._connection.execute("SELECT body FROM entry"))
                balances = self._read_balances("", ())
                return compare(bodies, balances, self._decoder, self._seal(), self._sealed_sums())
            finally:
                if snapshot:
                    self._undo("ROLLBACK")

    async def progress(self, name: str) -> str | None:
        """Return a job's note."""
        with self._faults():
            return self._note(name)

    async def keep_progress(self, name: str, note: str | None) -> None:
        """Keep or remove a job's note."""
        with self._transaction():
            if note is None:
                self._connection.execute("DELETE FROM progress WHERE name = ?", (name,))
            else:
                self._connection.execute("REPLACE INTO progress VALUES (?, ?)", (name, note))

    async def replace_progress(self, name: str, before: str | None, note: str) -> bool:
        """Replace a job's note if it is still what it was, in one transaction."""
        with self._transaction():
            is_same = self._note(name) == before
            if is_same:
                self._connection.execute("REPLACE INTO progress VALUES (?, ?)", (name, note))
        return is_same


def _delta(deltas: dict[int, tuple[Leaf, Amounts]], leaf_id: int, leaf: Leaf) -> Amounts:
    return deltas.setdefault(leaf_id, (leaf, Amounts()))[1]


def _balance_row(leaf_id: int, leaf: Leaf, amounts: Amounts) -> tuple[Any, ...]:
    return (
        leaf_id,
        *(getattr(leaf, name) for name in DIMENSION_COLUMNS[1:]),
        *(getattr(amounts, name) for name in COUNT_FIELDS),
        # Floor division: a negative delta becomes negative USD and a positive remainder.
        *divmod(amounts.cost_pico_usd, PICO_PER_USD),
        *divmod(amounts.estimated_pico_usd, PICO_PER_USD),
    )


def _amounts(values: Sequence[int]) -> Amounts:
    """Read the columns of `AMOUNT_COLUMNS`, or sums of them."""
    counts = dict(zip(COUNT_FIELDS, values, strict=False))
    cost_usd, cost_pico, estimated_usd, estimated_pico = values[len(COUNT_FIELDS) :]
    return Amounts(
        **counts,
        cost_pico_usd=cost_usd * PICO_PER_USD + cost_pico,
        estimated_pico_usd=estimated_usd * PICO_PER_USD + estimated_pico,
    )


def _day_range(first_day: int | None, last_day: int | None) -> tuple[str, tuple[int, ...]]:
    clauses, bounds = [], []
    if first_day is not None:
        clauses.append("day >= ?")
        bounds.append(first_day)
    if last_day is not None:
        clauses.append("day <= ?")
        bounds.append(last_day)
    return (f" WHERE {' AND '.join(clauses)}" if clauses else ""), tuple(bounds)
