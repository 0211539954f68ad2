"""What the worker has in hand: deliveries received and not yet settled, in bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence

import msgspec

from worker.ports import Delivery


class Held(msgspec.Struct, frozen=True, gc=False):
    """A delivery in hand.

    Attributes:
        delivery: The delivery.
        received_at: When it was received, seconds of the event loop.
        since_ms: When its source took it in, or if that is not known, when it was received;
            epoch milliseconds UTC.
    """

    delivery: Delivery
    received_at: float
    since_ms: int


class Holdings:
    """Keeps what is in hand, and says when there is room for more.

    The bounds are looked at before a receiver polls: each poll under way may still add what one
    poll brings.

    Args:
        deliveries_max: Deliveries in hand from which on nothing is received.
        bytes_max: Their bodies' bytes together, likewise.
    """

    def __init__(self, *, deliveries_max: int, bytes_max: int) -> None:
        """Hold nothing."""
        self._deliveries_max = deliveries_max
        self._bytes_max = bytes_max
        self._held: dict[tuple[str, str], Held] = {}
        self._bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self.received = 0
        """Deliveries that were ever taken in hand."""

    def __len__(self) -> int:
        """Return how many deliveries are in hand."""
        return len(self._held)

    def add(
        self, source: str, deliveries: Sequence[Delivery], now: float, now_ms: int
    ) -> list[Delivery]:
        """Take deliveries in hand; return those that were not in hand already.

        What is delivered again while it is still being worked on ends with the first.
        """
        new: list[Delivery] = []
        for delivery in deliveries:
            key = (source, delivery.receipt)
            if key in self._held:
                continue
            self._held[key] = Held(delivery, now, delivery.sent_at_ms or now_ms)
            self._bytes += len(delivery.body)
            new.append(delivery)
        self.received += len(new)
        self._tell()
        return new

    def release(self, source: str, receipts: Iterable[str]) -> list[Held]:
        """Let go of deliveries that ended; return them."""
        ended = [
            held
            for receipt in receipts
            if (held := self._held.pop((source, receipt), None)) is not None
        ]
        self._bytes -= sum(len(held.delivery.body) for held in ended)
        self._tell()
        return ended

    def holds(self, source: str, delivery: Delivery) -> bool:
        """Whether a delivery is in hand."""
        return (source, delivery.receipt) in self._held

    def receipts(self, source: str, received_before: float) -> list[str]:
        """Return what is in hand of a source since before a time, by receipt."""
        return [
            receipt
            for (name, receipt), held in self._held.items()
            if name == source and held.received_at <= received_before
        ]

    def oldest_ms(self) -> int | None:
        """Return since when the oldest delivery in hand waits, epoch milliseconds UTC."""
        return min((held.since_ms for held in self._held.values()), default=None)

    async def until_room(self) -> None:
        """Wait until there is room for more."""
        await self._room.wait()

    async def until_empty(self) -> None:
        """Wait until nothing is in hand."""
        await self._empty.wait()

    def _tell(self) -> None:
        has_room = len(self._held) < self._deliveries_max and self._bytes < self._bytes_max
        _set(self._room, has_room)
        _set(self._empty, not self._held)


def _set(event: asyncio.Event, state: bool) -> None:  # noqa: FBT001 - it is what is set
    if state:
        event.set()
    else:
        event.clear()
