"""Going through a whole table without taking its capacity from those who book."""

from __future__ import annotations

import asyncio
import time


class Pace:
    """Waits so that no more than so many entries a second are gone through.

    Args:
        entries_per_second: The limit; None for none.
    """

    def __init__(self, entries_per_second: int | None) -> None:
        """Start with nothing owed."""
        self._entries_per_second = entries_per_second
        self._free_at = 0.0

    def page(self, entries_max: int) -> int:
        """Return how many entries to take at a time: those of a second at most."""
        return min(entries_max, self._entries_per_second or entries_max)

    async def take(self, entries: int) -> None:
        """Wait until it is the turn of so many more entries."""
        if self._entries_per_second is None:
            return
        now = time.monotonic()
        turn = max(now, self._free_at)
        self._free_at = turn + entries / self._entries_per_second
        await asyncio.sleep(turn - now)
