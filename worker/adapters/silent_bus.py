"""A bus that takes everything and tells nobody, for those who have channels for people alone."""

from __future__ import annotations

from collections.abc import Sequence

from worker.ports import BusEvent


class SilentBus:
    """A `worker.ports.EventBus` that nobody listens to.

    People hear of what a bus took, and grace periods count from then. Without a bus this one
    stands in for it, so that both happen all the same; other systems hear of nothing.
    """

    async def publish(self, events: Sequence[BusEvent]) -> list[str]:
        """Take all events."""
        return [""] * len(events)

    async def close(self) -> None:
        """Hold nothing."""
