"""Entries in DynamoDB by their keys, and the shared parts that they name.

A dry run keeps what it would have written in memory, and finds it there again.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from worker.adapters import dynamodb_items as items
from worker.adapters.dynamodb_reading import DynamoBooks
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.pace import Pace
from worker.core.codec import intern_value
from worker.core.errors import LedgerCorruptError
from worker.core.ledger import Leaf
from worker.ports import Clock


class DynamoEntries(DynamoBooks):
    """The half of the ledger in DynamoDB that reads entries by key, and stores what they name.

    Args:
        prefix: Names the tables.
        dynamo: Makes requests.
        create_tables: Make missing tables, for local use.
        discard: Keep nothing, for dry runs.
        pace: How fast to go through all entries.
        clock: Tells when calls are booked.
    """

    def __init__(
        self,
        prefix: str,
        dynamo: Dynamo,
        *,
        create_tables: bool,
        discard: bool,
        pace: Pace,
        clock: Clock,
    ) -> None:
        """Open nothing yet."""
        super().__init__(prefix, dynamo, create_tables=create_tables, pace=pace, clock=clock)
        self._discarded: dict[bytes, tuple[bytes, bytes]] | None = {} if discard else None
        self._discarded_parts: dict[int, bytes] = {}

    async def _intern(self, values: dict[int, bytes]) -> None:
        """Make sure that the ledger holds what some facts, leaves and bases are made of."""
        fresh = self._names.take_apart(values)
        if not fresh:
            return
        stored = await self._read_parts(fresh)
        for part_id, encoded in stored.items():
            if fresh[part_id] != encoded:
                message = f"two different values share the id {part_id}; nothing was booked"
                raise LedgerCorruptError(message)
        if self._discarded is not None:
            self._discarded_parts.update(fresh)
        else:
            missing = [
                {**items.interned_key(part_id), "e": {"B": encoded}}
                for part_id, encoded in fresh.items()
                if part_id not in stored
            ]
            await self._dynamo.put_many(self._balances, missing)
        self._names.stored(fresh)

    async def _read_parts(self, part_ids: Iterable[int]) -> dict[int, bytes]:
        own = {
            part_id: self._discarded_parts[part_id]
            for part_id in part_ids
            if part_id in self._discarded_parts
        }
        return own | await super()._read_parts(part for part in part_ids if part not in own)

    async def _bodies_of(self, keys: list[bytes]) -> dict[bytes, bytes]:
        found = await self._items_of(keys)
        return {key: items.body_and_names(item)[0] for key, item in found.items()}

    async def _items_of(self, keys: list[bytes]) -> dict[bytes, dict[str, Any]]:
        """Return the items of entries, and learn what they name."""
        own = self._discarded or {}
        wanted = [items.entry_key(key) for key in dict.fromkeys(keys) if key not in own]
        read = await self._dynamo.get_many(self._entries, wanted)
        found = {items.stored_key(item): item for item in read}
        found |= {key: items.entry_item(key, *own[key], None) for key in keys if key in own}
        await self._learn(items.body_and_names(item) for item in found.values())
        return found

    async def hold_leaf(self, leaf: Leaf) -> int:
        """Make sure that the ledger holds what a leaf is made of; return its shape."""
        value = intern_value(leaf)
        await self._intern({value.id: value.encoded})
        return self._names.shape_id(value.id)

    def _names_in(self, body: bytes) -> bytes:
        facts_id, leaf_id, _ = self._decoder.names(body)
        return self._names.of_entry(facts_id, leaf_id)
