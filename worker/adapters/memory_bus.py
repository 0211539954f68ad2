"""A bus that keeps what it is given, in memory."""

from __future__ import annotations

from collections.abc import Sequence

from worker.ports import BusEvent


class MemoryBus:
    """A `worker.ports.EventBus` in a list.

    Attributes:
        events: Everything that was published, in order.
    """

    def __init__(self) -> None:
        """Start empty."""
        self.events: list[BusEvent] = []

    async def publish(self, events: Sequence[BusEvent]) -> list[str]:
        """Keep some events."""
        self.events += events
        return [""] * len(events)

    async def close(self) -> None:
        """Keep everything."""
