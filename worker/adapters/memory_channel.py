"""A channel that keeps what it is told, in memory."""

from __future__ import annotations

from worker.core.people import Message


class MemoryChannel:
    """A `worker.ports.Channel` in a list.

    Attributes:
        messages: Everything that was told, in order.

    Args:
        name: What notices call it.
    """

    def __init__(self, name: str = "memory") -> None:
        """Start empty."""
        self._name = name
        self.messages: list[Message] = []

    @property
    def name(self) -> str:
        """What notices call it."""
        return self._name

    async def tell(self, message: Message) -> None:
        """Keep a message."""
        self.messages.append(message)

    async def close(self) -> None:
        """Keep everything."""
