"""Records beside the embedded ledger, in the same file."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

from worker.adapters.record_values import LAST, RECORDS_PER_CHUNK, check_records
from worker.adapters.sqlite_state import StateFile
from worker.ports import Record

_COLUMNS = "partition, name, body, version, queue, due_at_ms"


class SqliteRecords:
    """`worker.ports.Records` in a ledger's file."""

    def __init__(self, file: StateFile) -> None:
        """Keep the file."""
        self._file = file

    async def get(self, partition: str, name: str) -> Record | None:
        """Return a record."""
        return self._get(partition, name)

    def _get(self, partition: str, name: str) -> Record | None:
        where = f"SELECT {_COLUMNS} FROM record WHERE partition = ? AND name = ?"  # noqa: S608
        rows = self._file.rows(where, partition, name)
        return _record(rows[0]) if rows else None

    async def get_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        """Return those of some records that exist."""
        found = ((key, self._get(*key)) for key in keys)
        return {key: record for key, record in found if record is not None}

    async def partition(
        self, partition: str, beginning: str = "", *, after: str = "", limit: int | None = None
    ) -> list[Record]:
        """Return the records of a partition by name: a range of the primary key."""
        where = f"SELECT {_COLUMNS} FROM record WHERE partition = ? AND name > ?"  # noqa: S608
        values: list[str | int] = [partition, after]
        if beginning:
            where += " AND name >= ? AND name <= ?"
            values += [beginning, beginning + LAST]
        rows = self._file.rows(
            f"{where} ORDER BY name LIMIT ?", *values, -1 if limit is None else limit
        )
        return [_record(row) for row in rows]

    async def write(self, records: Sequence[Record]) -> bool:
        """Write records, all or none, in one transaction; see the port."""
        check_records(records)
        try:
            with self._file.transaction():
                for record in records:
                    self._write(record)
        except _NotNextError:
            return False
        return True

    def _write(self, record: Record) -> None:
        values = (record.body, record.version, record.queue, record.due_at_ms)
        if record.version == 1:
            insert = f"INSERT OR IGNORE INTO record ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608
            changed = self._file.write(insert, record.partition, record.name, *values)
        else:
            changed = self._file.write(
                "UPDATE record SET body = ?, version = ?, queue = ?, due_at_ms = ? "
                "WHERE partition = ? AND name = ? AND version = ?",
                *values,
                record.partition,
                record.name,
                record.version - 1,
            )
        if changed != 1:
            raise _NotNextError

    async def remove(self, record: Record) -> bool:
        """Remove a record if it is still at this version."""
        where = "DELETE FROM record WHERE partition = ? AND name = ? AND version = ?"
        return self._file.write(where, record.partition, record.name, record.version) == 1

    async def due(
        self, queue: str, until_ms: int, *, from_ms: int = 0
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield what waits in a queue and is due: a range of a small index."""
        last: tuple[int, str, str] = (from_ms, "", "")
        while True:
            rows = self._file.rows(
                f"SELECT {_COLUMNS} FROM record "  # noqa: S608 - names of columns
                "WHERE queue = ? AND queue <> '' AND due_at_ms <= ? "
                "AND (due_at_ms, partition, name) > (?, ?, ?) "
                "ORDER BY due_at_ms, partition, name LIMIT ?",
                queue,
                until_ms,
                *last,
                RECORDS_PER_CHUNK,
            )
            if not rows:
                return
            found = [_record(row) for row in rows]
            yield found
            last = found[-1].due_at_ms, found[-1].partition, found[-1].name


class _NotNextError(Exception):
    """A record's version is not the next one; what the transaction wrote so far is undone."""


def _record(row: tuple[Any, ...]) -> Record:
    partition, name, body, version, queue, due_at_ms = row
    if not isinstance(body, bytes):  # Somebody changed it by hand: that is for readers to judge.
        body = str(body).encode("utf-8", "replace")
    return Record(partition, name, body, version, queue, due_at_ms)
