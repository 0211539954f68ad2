"""Quarantine in memory: for dry runs and tests. It keeps what it is given, up to a bound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from worker.adapters.quarantine_records import ambiguous, quarantine_id
from worker.core.results import Malformed
from worker.ports import Clock, QuarantinedRecord

ITEMS_MAX: Final = 10_000
"""Items kept; a dry run over a damaged archive must not fill the memory."""


class MemoryQuarantine:
    """A `worker.ports.Quarantine` in a dictionary."""

    def __init__(self, clock: Clock) -> None:
        """Start empty."""
        self._clock = clock
        self._items: dict[str, QuarantinedRecord] = {}

    async def put(self, records: Sequence[Malformed]) -> list[str]:
        """Keep records; see the port."""
        ids = []
        for record in records:
            item_id = quarantine_id(record)
            ids.append(item_id)
            if item_id not in self._items and len(self._items) < ITEMS_MAX:
                item = QuarantinedRecord(item_id, record, self._clock.now_ms())
                self._items[item_id] = item
        return ids

    async def items(self) -> AsyncIterator[QuarantinedRecord]:
        """Yield everything in quarantine, in order of id."""
        for item_id in sorted(self._items):
            yield self._items[item_id]

    async def get(self, item_id: str) -> QuarantinedRecord | None:
        """Return one item by its id or an unambiguous beginning of it."""
        found = [item for key, item in self._items.items() if key.startswith(item_id)]
        if len(found) > 1:
            raise ambiguous(item_id, len(found))
        return found[0] if found else None

    async def remove(self, item_id: str) -> None:
        """Forget an item."""
        self._items.pop(item_id, None)

    async def close(self) -> None:
        """Do nothing: memory needs no closing."""
