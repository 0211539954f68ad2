"""Notes in the state table; they expire by themselves some time after they may."""

from __future__ import annotations

from typing import Any

from worker.adapters.dynamodb_state import EXPIRES, HASH_BYTES_MAX, StateTable, bounded


class DynamoNotes:
    """`worker.ports.Notes` in DynamoDB: `n` is the note, `x` when it may go."""

    def __init__(self, table: StateTable) -> None:
        """Keep the table."""
        self._table = table

    async def get(self, name: str) -> str | None:
        """Return a note, strongly read; one that has expired may be there for some days."""
        item = await self._table.get(_key(name))
        return None if item is None else str(item["n"]["S"])

    async def put(self, name: str, note: str, *, keep_until_ms: int) -> None:
        """Keep a note, whatever it was before."""
        expires_seconds = -(-keep_until_ms // 1_000)
        item = {**_key(name), "n": {"S": note}, EXPIRES: {"N": str(expires_seconds)}}
        await self._table.put(item)


def _key(name: str) -> dict[str, Any]:
    return {"pk": {"S": f"o#{bounded(name, HASH_BYTES_MAX)}"}, "sk": {"S": "-"}}
