"""What is kept beside the embedded ledger, as texts."""

from __future__ import annotations

from typing import Any, Final

from worker.adapters.sqlite_state import StateFile
from worker.adapters.state_values import is_audit
from worker.ports.texts import Rewrite

_TABLES: Final = {
    "budget": ("name", "body"),
    "notice": ("subject", "id", "body"),
    "note": ("name", "note"),
    "record": ("partition", "name", "body"),
}
"""Tables and their columns of text, the primary key first."""
_KEY_COLUMNS: Final = {"budget": 1, "notice": 2, "note": 1, "record": 2}


class SqliteTexts:
    """A `worker.ports.StateTexts` in a ledger's file: one transaction for all of it."""

    def __init__(self, file: StateFile) -> None:
        """Keep the file."""
        self._file = file

    async def rewrite(self, change: Rewrite) -> int:
        """Rewrite all that is kept; see the port."""
        with self._file.transaction():
            return sum(self._rewrite(table, change) for table in _TABLES)

    def _rewrite(self, table: str, change: Rewrite) -> int:
        columns = _TABLES[table]
        keys = columns[: _KEY_COLUMNS[table]]
        settings = ", ".join(f"{name} = ?" for name in columns)
        if table == "record":
            settings += ", version = version + 1"
        where = " AND ".join(f"{name} = ?" for name in keys)
        changed = 0
        for row in self._file.rows(f"SELECT {', '.join(columns)} FROM {table}"):  # noqa: S608
            if table == "record" and is_audit(row[0]):
                continue
            texts = [value.decode() if isinstance(value, bytes) else value for value in row]
            new = list(change(texts))
            if new == texts:
                continue
            values: list[Any] = [
                text.encode() if isinstance(value, bytes) else text
                for text, value in zip(new, row, strict=True)
            ]
            statement = f"UPDATE OR REPLACE {table} SET {settings} WHERE {where}"  # noqa: S608
            changed += self._file.write(statement, *values, *row[: len(keys)])
        return changed
