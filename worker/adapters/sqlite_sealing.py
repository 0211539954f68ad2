"""Sealing an embedded ledger: one transaction; and removing entries that are sealed and old."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from worker.adapters.clock import SystemClock
from worker.adapters.ledger_reading import check_sealable
from worker.adapters.ledger_sealing import (
    expires_before_ms,
    joined,
    sums_between,
    with_expired,
)
from worker.adapters.sqlite_file import SqliteFile
from worker.core.codec import Bodies, intern_value
from worker.core.forgotten import Person
from worker.core.ledger import Amounts, Leaf
from worker.core.seal import (
    NOTE,
    Seal,
    SealedSum,
    check_past,
    decode_amounts,
    encode_amounts,
    may_go,
    seal_in,
    seal_note,
)
from worker.ports import Clock

SCAN_CHUNK: Final = 5_000

REMAINS: Final = "remains"
"""Under which name it is noted that the file holds remains of what was removed."""

DAY_LAST: Final = 2**31


class SqliteSealing(SqliteFile):
    """The part of an embedded ledger that seals; arguments as for `SqliteFile`."""

    def __init__(
        self, path: Path | str, *, discard: bool = False, clock: Clock | None = None
    ) -> None:
        """Open or create the file."""
        super().__init__(path, discard=discard)
        self._clock = clock or SystemClock()
        self._known_interned: set[int] = set()
        self._decoder = Bodies(self._lookup)
        self._seal_changes = 0

    @abstractmethod
    def _post(self, postings: Iterable[tuple[int, Leaf, Amounts]]) -> None:
        """Add to balances."""

    @abstractmethod
    def _read_balances(
        self, where: str, bounds: tuple[int | str, ...]
    ) -> Iterator[tuple[Leaf, Amounts]]:
        """Yield balances."""

    def _lookup(self, value_id: int) -> bytes | None:
        row = self._connection.execute(
            "SELECT encoded FROM interned WHERE id = ?", (value_id,)
        ).fetchone()
        return None if row is None else row[0]

    def _note(self, name: str) -> str | None:
        row = self._connection.execute(
            "SELECT note FROM progress WHERE name = ?", (name,)
        ).fetchone()
        return None if row is None else row[0]

    def _seal(self) -> Seal:
        """Return the seal as of this transaction."""
        seal = seal_in(self._note(NOTE))
        if seal.changes != self._seal_changes:
            # Values that only entries named which are gone may be gone as well.
            self._seal_changes = seal.changes
            self._known_interned.clear()
        return seal

    def _keep_seal(self, seal: Seal) -> None:
        self._connection.execute("REPLACE INTO progress VALUES (?, ?)", (NOTE, seal_note(seal)))

    async def seal_in_force(self) -> Seal:
        """Return how far the ledger is sealed."""
        with self._faults():
            return seal_in(self._note(NOTE))

    async def seal(self, day: int, on_progress: Callable[[int], None] | None = None) -> Seal:
        """Seal everything before a day, in one transaction; see the port."""
        check_past(day, self._clock.now_ms())
        with self._transaction():
            seal = self._seal()
            if day <= seal.day:
                return seal
            bodies = (row[0] for row in self._connection.execute("SELECT body FROM entry"))
            sums = sums_between(bodies, self._decoder, seal.day, day, on_progress)
            entries = {self._decoder.leaf(leaf_id): amounts for leaf_id, amounts in sums.items()}
            where, bounds = " WHERE day >= ? AND day < ?", (max(1, seal.day), day)
            check_sealable(entries, self._read_balances(where, bounds), day, "nothing is sealed")
            self._store({leaf_id: SealedSum(amounts, day) for leaf_id, amounts in sums.items()})
            seal = msgspec.structs.replace(seal, day=day, complete_day=day)
            self._keep_seal(seal)
        return seal

    def _store(self, sums: dict[int, SealedSum]) -> None:
        self._connection.executemany(
            "REPLACE INTO sealed VALUES (?, ?, ?, ?)",
            [
                (leaf_id, self._decoder.leaf(leaf_id).day, one.day, encode_amounts(one.amounts))
                for leaf_id, one in sums.items()
            ],
        )

    async def sealed_sums(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> dict[Leaf, SealedSum]:
        """Return what seals stored."""
        with self._faults():
            return self._sealed_sums(first_day, last_day)

    def _sealed_sums(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> dict[Leaf, SealedSum]:
        bounds = (first_day or 0, DAY_LAST if last_day is None else last_day)
        stored = self._stored("WHERE day BETWEEN ? AND ?", bounds)
        return {self._decoder.leaf(leaf_id): one for leaf_id, one in stored.items()}

    def _stored(self, where: str, bounds: tuple[int, ...]) -> dict[int, SealedSum]:
        statement = f"SELECT leaf_id, seal_day, amounts FROM sealed {where}"  # noqa: S608 - ours
        return {
            leaf_id: SealedSum(decode_amounts(amounts), day)
            for leaf_id, day, amounts in self._connection.execute(statement, bounds).fetchall()
        }

    async def expire(
        self, after_days: int, now_ms: int, on_progress: Callable[[int], None] | None = None
    ) -> int:
        """Remove entries that are sealed and old enough, and what only they named; see the port.

        The file is written anew afterwards, without pages that are free and may hold them still.
        """
        with self._transaction():
            seal = self._seal()
            before_ms = expires_before_ms(seal, after_days, now_ms)
            # First of all, and with another number of changes: who reads from now on is told.
            self._keep_seal(with_expired(seal, before_ms))
        removed = looked_at = 0
        last = b""
        while rows := self._entries_after(last):
            gone = [
                (key,)
                for key, body in rows
                if may_go(key, self._decoder.day(body)) and self._decoder.at_ms(body) < before_ms
            ]
            if gone:
                with self._transaction():
                    self._connection.executemany("DELETE FROM entry WHERE key = ?", gone)
                    self._connection.execute("REPLACE INTO progress VALUES (?, '')", (REMAINS,))
            last = rows[-1][0]
            removed, looked_at = removed + len(gone), looked_at + len(rows)
            if on_progress is not None:
                on_progress(looked_at)
        self._sweep()
        return removed

    def _entries_after(self, key: bytes) -> list[tuple[bytes, bytes]]:
        with self._faults():
            return self._connection.execute(
                "SELECT key, body FROM entry WHERE key > ? ORDER BY key LIMIT ?", (key, SCAN_CHUNK)
            ).fetchall()

    def _sweep(self) -> None:
        """Remove values that nothing names any more: they tell of callers that are gone."""
        run = self._connection.execute
        with self._transaction():
            used = {leaf_id for (leaf_id,) in run("SELECT leaf_id FROM sealed")}
            used.update(leaf_id for (leaf_id,) in run("SELECT leaf_id FROM balance"))
            for (body,) in run("SELECT body FROM entry"):
                used.update(self._decoder.names(body))
            unused = [
                (value_id,)
                for (value_id,) in run("SELECT id FROM interned")
                if value_id not in used
            ]
            self._connection.executemany("DELETE FROM interned WHERE id = ?", unused)
            if unused:
                seal = self._seal()
                self._keep_seal(msgspec.structs.replace(seal, changes=seal.changes + 1))
                run("REPLACE INTO progress VALUES (?, '')", (REMAINS,))
        self._known_interned.clear()
        self._decoder = Bodies(self._lookup)
        if self._note(REMAINS) is not None:
            self._write_anew()
            with self._transaction():
                run("DELETE FROM progress WHERE name = ?", (REMAINS,))

    def _write_anew(self) -> None:
        """Write the whole file anew. That takes its time, and as much room again."""
        if not self._connection.in_transaction:
            with self._faults():
                self._connection.execute("VACUUM")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _rename_sealed(self, person: Person) -> None:
        """Have the pseudonym stand for a person in sums of seals, and in what is left of balances.

        What is left, once all entries were rewritten, is of calls whose entries are gone.
        """
        for leaf_id, one in self._stored("", ()).items():
            leaf = self._decoder.leaf(leaf_id)
            hidden = person.leaf(leaf)
            if hidden == leaf:
                continue
            value = intern_value(hidden)
            self._connection.execute(
                "INSERT OR IGNORE INTO interned VALUES (?, ?)", (value.id, value.encoded)
            )
            there = self._stored("WHERE leaf_id = ?", (value.id,)).get(value.id)
            self._store({value.id: joined(there, one)})
            self._connection.execute("DELETE FROM sealed WHERE leaf_id = ?", (leaf_id,))
            for _, left in self._read_balances(" WHERE leaf_id = ?", (leaf_id,)):
                taken = Amounts()
                taken.subtract(left)
                self._post([(leaf_id, leaf, taken), (value.id, hidden, left)])
