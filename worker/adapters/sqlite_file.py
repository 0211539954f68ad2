"""The SQLite file that holds an embedded ledger and what is kept beside it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from worker.adapters.sqlite_schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION, schema
from worker.core.errors import (
    ConfigurationError,
    LedgerCorruptError,
    LedgerockError,
    TransientError,
)

BUSY_TIMEOUT_SECONDS: Final = 60.0
BUSY_PAUSE_SECONDS: Final = 0.02


class SqliteFile:
    """A ledger's file, open. What reads and writes it derives from this.

    Args:
        path: The file; made if missing.
        discard: Do everything in one transaction that is never committed: a dry run sees its
            own bookings, and the file stays as it was. A missing file is not made.

    Raises:
        ConfigurationError: The file is not a ledger, is of a newer version, or cannot be opened.
    """

    def __init__(self, path: Path | str, *, discard: bool = False) -> None:
        """Open or create the file."""
        self._path = Path(path)
        self._discard = discard
        # "" is SQLite's name for a temporary file that vanishes when it is closed.
        name = "" if discard and _is_blank(self._path) else str(self._path)
        try:
            self._connection = sqlite3.connect(
                name, timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None
            )
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        try:
            self._prepare_patiently()
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._unusable(error) from error
            raise

    def _prepare_patiently(self) -> None:
        """Prepare; where another process is just making this ledger, try again.

        SQLite does not wait by itself when the change to a write-ahead log finds the file locked.
        """
        give_up_at = time.monotonic() + BUSY_TIMEOUT_SECONDS
        while True:
            try:
                return self._prepare()
            except sqlite3.OperationalError as error:
                self._undo("ROLLBACK")
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                if time.monotonic() >= give_up_at:
                    message = f"{self._path}: {error}: another process has been writing for long"
                    raise TransientError(message) from error
            time.sleep(BUSY_PAUSE_SECONDS)

    def _unusable(self, error: sqlite3.Error) -> ConfigurationError:
        return ConfigurationError(
            f"{self._path}: cannot be opened as a ledger ({error}); give --ledger sqlite:FILE "
            "a ledger's file, or one that does not exist yet in a folder that does"
        )

    def _prepare(self) -> None:
        run = self._connection.execute
        # One snapshot: another process may be making this ledger just now.
        run("BEGIN")
        application_id = run("PRAGMA application_id").fetchone()[0]
        version = run("PRAGMA user_version").fetchone()[0]
        empty = not run("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        run("COMMIT")
        if not empty and application_id != APPLICATION_ID:
            message = f"{self._path}: is an SQLite file of something else, not a ledger"
            raise ConfigurationError(message)
        if version > SCHEMA_VERSION:
            message = (
                f"{self._path}: was written by a newer version of ledgerock "
                f"(format {version}, this one reads up to {SCHEMA_VERSION}); upgrade ledgerock"
            )
            raise ConfigurationError(message)
        run("PRAGMA journal_mode = WAL")
        # FULL: a commit that was reported is on the disk, whatever happens next (promise 8).
        run("PRAGMA synchronous = FULL")
        run("PRAGMA cache_size = -65536")
        run("PRAGMA wal_autocheckpoint = 16000")
        run("PRAGMA temp_store = MEMORY")
        if self._discard:
            run("BEGIN IMMEDIATE")
        if empty:
            self._create()
        elif version < SCHEMA_VERSION:
            self._migrate()

    def _create(self) -> None:
        with self._transaction():
            if self._connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone():
                return  # another process was faster
            for statement in schema().split(";"):
                self._connection.execute(statement)
            self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _migrate(self) -> None:
        """Bring a ledger of an earlier version up to date."""
        with self._transaction():
            run = self._connection.execute
            for version in range(run("PRAGMA user_version").fetchone()[0], SCHEMA_VERSION):
                run(MIGRATIONS[version])
                run(f"PRAGMA user_version = {version + 1}")

    async def close(self) -> None:
        """Close the file; what a dry run booked is gone with it."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")
        self._connection.close()

    def _undo(self, statement: str) -> None:
        """Roll back; some faults (disk full) make SQLite do so by itself."""
        if self._connection.in_transaction:
            self._connection.execute(statement)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One immediate transaction: reads in it are of the state it will change.

        A dry run holds one such transaction open to the end and nests the others in it.
        """
        run = self._connection.execute
        nested = self._connection.in_transaction
        if self._discard and not nested:
            # SQLite gave the outer transaction up (disk full): what follows would be kept.
            message = f"{self._path}: the dry run cannot go on, its bookings were lost; start again"
            raise LedgerockError(message)
        begin, end, undo = (
            ("SAVEPOINT step", "RELEASE step", "ROLLBACK TO step")
            if nested
            else ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
        )
        with self._faults():
            run(begin)
            try:
                yield
            except BaseException:
                self._undo(undo)
                raise
            try:
                run(end)
            except sqlite3.Error:
                self._undo(undo)  # a commit that failed (disk full) leaves its transaction open
                raise

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Say in the ledger's own errors what SQLite complains of."""
        try:
            yield
        except sqlite3.OperationalError as error:
            message = f"{self._path}: {error}"
            raise TransientError(message) from error
        except (sqlite3.IntegrityError, OverflowError) as error:
            message = (
                f"{self._path}: {error}; a balance would pass what the ledger can hold exactly; "
                "nothing of this batch was booked"
            )
            raise LedgerCorruptError(message) from error
        except sqlite3.DatabaseError as error:
            message = (
                f"{self._path}: {error}; take the file from a backup, or replay the logs into "
                "a new ledger"
            )
            raise LedgerCorruptError(message) from error


def _is_blank(path: Path) -> bool:
    """Whether a ledger would have to be made there."""
    try:
        return path.stat().st_size == 0 and path.is_file()
    except OSError:
        return True
