"""What is kept beside a ledger in memory, as texts."""

from __future__ import annotations

from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryBudgets, MemoryOutbox
from worker.ports.texts import Rewrite


class MemoryTexts:
    """A `worker.ports.StateTexts` over what is in memory."""

    def __init__(
        self, budgets: MemoryBudgets, outbox: MemoryOutbox, records: MemoryRecords
    ) -> None:
        """Keep them."""
        self._parts = (budgets, outbox, records)

    async def rewrite(self, change: Rewrite) -> int:
        """Rewrite all that is kept; see the port."""
        return sum(part.rewrite(change) for part in self._parts)
