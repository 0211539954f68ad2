"""Budgets, notices, notes, profiles and records beside the embedded ledger, in the same file.

Their tables and indexes are made when they are first needed, in ledgers of any age. Versions
that do not know them leave them alone, so that the file's format stays what it was.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final

from worker.adapters.clock import SystemClock
from worker.adapters.sqlite_file import SqliteFile
from worker.adapters.state_values import (
    better_profile,
    decoded_budget,
    decoded_notice,
    decoded_profile,
    encoded,
    is_known,
    settled,
)
from worker.core.budget_terms import Budget
from worker.core.registry import ApplicationProfile
from worker.ports import Clock, Notice, NoticeState

NOTICES_PER_CHUNK: Final = 100

TABLES: Final = """
CREATE TABLE IF NOT EXISTS budget (
  name TEXT PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notice (
  subject TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, due_at_ms INTEGER NOT NULL,
  recorded_at_ms INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (subject, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS notice_due ON notice (due_at_ms, subject, id) WHERE state = 'pending';
CREATE TABLE IF NOT EXISTS note (
  name TEXT PRIMARY KEY, note TEXT NOT NULL, keep_until_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS note_expiry ON note (keep_until_ms);
CREATE TABLE IF NOT EXISTS profile (arn TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS record (
  partition TEXT NOT NULL, name TEXT NOT NULL, body BLOB NOT NULL, version INTEGER NOT NULL,
  queue TEXT NOT NULL, due_at_ms INTEGER NOT NULL, PRIMARY KEY (partition, name)
);
CREATE INDEX IF NOT EXISTS record_due ON record (queue, due_at_ms, partition, name)
  WHERE queue <> '';
CREATE INDEX IF NOT EXISTS budget_changed ON budget (json_extract(body, '$.created_at_ms'));
CREATE INDEX IF NOT EXISTS notice_told ON notice (state, due_at_ms, subject, id)
  WHERE state > 'pending' AND state < 'pending0'
"""

NAMES: Final = frozenset(re.findall(r"IF NOT EXISTS (\w+)", TABLES))


class StateFile(SqliteFile):
    """A ledger's file with the tables of the state."""

    def __init__(self, path: Path | str) -> None:
        """Open or create the file; see `SqliteFile`.

        Raises:
            ConfigurationError: The file is not a ledger, is of a newer version, or cannot be
                opened.
            TransientError: Another process keeps it locked.
        """
        super().__init__(path)
        try:
            if not NAMES.issubset(name for (name,) in self.rows("SELECT name FROM sqlite_master")):
                with self.transaction():
                    for statement in TABLES.split(";"):
                        self.write(statement)
        except BaseException:
            self._connection.close()
            raise

    def rows(self, statement: str, *values: str | int | bytes) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        with self._faults():
            return self._connection.execute(statement, values).fetchall()

    def write(self, statement: str, *values: str | int | bytes) -> int:
        """Execute a statement; return how many rows it changed."""
        with self._faults():
            return self._connection.execute(statement, values).rowcount

    def transaction(self) -> AbstractContextManager[None]:
        """Begin an immediate transaction: what is read in it is of the state it will change."""
        return self._transaction()


class SqliteBudgets:
    """A `worker.ports.BudgetStore` in a ledger's file."""

    def __init__(self, file: StateFile) -> None:
        """Keep the file."""
        self._file = file

    async def budgets(self) -> list[Budget]:
        """Return all budgets, by name."""
        rows = self._file.rows("SELECT body FROM budget ORDER BY name")
        return [decoded_budget(body) for (body,) in rows]

    async def changed(
        self, since_ms: int, known: Mapping[str, Budget] | None = None
    ) -> list[Budget]:
        """Return the budgets that were last changed since then: a range of an index."""
        rows = self._file.rows(
            "SELECT name, revision, body FROM budget "
            "WHERE json_extract(body, '$.created_at_ms') >= ?",
            since_ms,
        )
        new = [body for name, revision, body in rows if not is_known(known, name, revision)]
        return sorted((decoded_budget(body) for body in new), key=lambda budget: budget.name)

    async def find(self, name: str) -> Budget | None:
        """Return a budget."""
        rows = self._file.rows("SELECT body FROM budget WHERE name = ?", name)
        return decoded_budget(rows[0][0]) if rows else None

    async def put(self, budget: Budget) -> bool:
        """Keep a budget if its revision is the next one; see the port."""
        if budget.revision == 1:
            statement = "INSERT OR IGNORE INTO budget VALUES (?, ?, ?)"
            return self._file.write(statement, budget.name, 1, encoded(budget)) == 1
        statement = "UPDATE budget SET revision = ?, body = ? WHERE name = ? AND revision = ?"
        values = (budget.revision, encoded(budget), budget.name, budget.revision - 1)
        return self._file.write(statement, *values) == 1


class SqliteOutbox:
    """A `worker.ports.Outbox` in a ledger's file.

    The column `state` also says on which channel a notice is pending: `pending` on the bus,
    `pending/sns` on a channel. Versions that know no channels leave those alone.
    """

    def __init__(self, file: StateFile) -> None:
        """Keep the file."""
        self._file = file

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        """Keep notices whose ids are new, all in one transaction."""
        if not notices:
            return []
        with self._file.transaction():
            return [notice for notice in notices if self._put(notice)]

    def _put(self, notice: Notice) -> bool:
        state = _waiting(notice.channel) if notice.state == "pending" else notice.state
        times = notice.due_at_ms, notice.recorded_at_ms
        row = (notice.subject, notice.id, state, *times, encoded(notice))
        return self._file.write("INSERT OR IGNORE INTO notice VALUES (?, ?, ?, ?, ?, ?)", *row) == 1

    async def due(self, now_ms: int, channel: str = "") -> AsyncIterator[Sequence[Notice]]:
        """Yield what is pending and due: a range of a small index."""
        pending = "state > 'pending' AND state < 'pending0'" if channel else "state = 'pending'"
        statement = (
            f"SELECT due_at_ms, subject, id, body FROM notice WHERE {pending} AND state = ? "  # noqa: S608
            "AND due_at_ms <= ? AND (due_at_ms, subject, id) > (?, ?, ?) "
            "ORDER BY due_at_ms, subject, id LIMIT ?"
        )
        last: tuple[int, str, str] = (-1, "", "")
        while True:
            values = (_waiting(channel), now_ms, *last, NOTICES_PER_CHUNK)
            rows = self._file.rows(statement, *values)
            if not rows:
                return
            yield [decoded_notice(row[3]) for row in rows]
            last = rows[-1][:3]

    async def settle(
        self, notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None = None
    ) -> bool:
        """Turn a pending notice into an announced or lapsed one; see the port."""
        with self._file.transaction():
            kept = self._find(notice.subject, notice.id)
            if kept is None or kept.state != "pending":
                return False
            self._file.write(
                "UPDATE notice SET state = ?, body = ? WHERE subject = ? AND id = ?",
                state,
                encoded(settled(kept, state, at_ms, detail)),
                notice.subject,
                notice.id,
            )
            return True

    async def find(self, subject: str, notice_id: str) -> Notice | None:
        """Return one notice."""
        return self._find(subject, notice_id)

    def _find(self, subject: str, notice_id: str) -> Notice | None:
        statement = "SELECT body FROM notice WHERE subject = ? AND id = ?"
        rows = self._file.rows(statement, subject, notice_id)
        return decoded_notice(rows[0][0]) if rows else None

    async def about(self, subject: str) -> list[Notice]:
        """Return the notices on a subject, by time."""
        statement = "SELECT body FROM notice WHERE subject = ? ORDER BY recorded_at_ms, id"
        return [decoded_notice(body) for (body,) in self._file.rows(statement, subject)]


def _waiting(channel: str) -> str:
    return f"pending/{channel}" if channel else "pending"


class SqliteNotes:
    """`worker.ports.Notes` in a ledger's file.

    Args:
        file: The file.
        clock: Says which notes have had their time.
    """

    def __init__(self, file: StateFile, clock: Clock | None = None) -> None:
        """Keep the file."""
        self._file = file
        self._clock = clock or SystemClock()

    async def get(self, name: str) -> str | None:
        """Return a note."""
        rows = self._file.rows("SELECT note FROM note WHERE name = ?", name)
        return rows[0][0] if rows else None

    async def put(self, name: str, note: str, *, keep_until_ms: int) -> None:
        """Keep a note, and drop those that have had their time."""
        with self._file.transaction():
            self._file.write("DELETE FROM note WHERE keep_until_ms < ?", self._clock.now_ms())
            self._file.write("REPLACE INTO note VALUES (?, ?, ?)", name, note, keep_until_ms)


class SqliteProfiles:
    """A `worker.ports.ProfileStore` in a ledger's file."""

    def __init__(self, file: StateFile) -> None:
        """Keep the file."""
        self._file = file

    async def profiles(self) -> list[ApplicationProfile]:
        """Return all profiles, by ARN."""
        rows = self._file.rows("SELECT body FROM profile ORDER BY arn")
        return [decoded_profile(body) for (body,) in rows]

    async def learn(self, profiles: Sequence[ApplicationProfile]) -> int:
        """Keep profiles that are new or better known, all in one transaction."""
        if not profiles:
            return 0
        learnt = 0
        with self._file.transaction():
            for profile in profiles:
                rows = self._file.rows("SELECT body FROM profile WHERE arn = ?", profile.arn)
                old = decoded_profile(rows[0][0]) if rows else None
                better = profile if old is None else better_profile(old, profile)
                if better is not None:
                    self._file.write(
                        "REPLACE INTO profile VALUES (?, ?)", profile.arn, encoded(better)
                    )
                    learnt += 1
        return learnt
