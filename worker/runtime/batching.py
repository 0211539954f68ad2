"""Micro-batches across receives: by count, by bytes, and by how long a delivery waits at most."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from worker.ports import Delivery, Source


class _Waiting(msgspec.Struct, frozen=True, gc=False):
    arrived_at: float
    delivery: Delivery


class Batcher:
    """Cuts the deliveries of one source into batches. Pure: it is told what time it is.

    Deliveries of one group are never in two batches at the same time and keep their order: while
    a batch with some of them is being worked on, the others are held back.

    Args:
        deliveries_max: Deliveries of one batch at most.
        bytes_max: Their bodies' bytes together at most; a larger delivery is a batch of its own.
        linger_seconds: How long a delivery waits at most for others, for each batch that is
            being worked on: not at all while nothing is, and the longer the more there is to do.
    """

    def __init__(self, *, deliveries_max: int, bytes_max: int, linger_seconds: float) -> None:
        """Hold nothing."""
        self._deliveries_max = deliveries_max
        self._bytes_max = bytes_max
        self._linger_seconds = linger_seconds
        self._ready: deque[_Waiting] = deque()
        self._ready_bytes = 0
        self._held: dict[str, deque[_Waiting]] = {}
        """Groups with deliveries in a batch, and those held back meanwhile."""

    def __len__(self) -> int:
        """Return how many deliveries wait, those held back included."""
        return len(self._ready) + sum(map(len, self._held.values()))

    def add(self, delivery: Delivery, now: float) -> None:
        """Let a delivery wait."""
        waiting = _Waiting(now, delivery)
        held = self._held.get(delivery.group) if delivery.group else None
        if held is None:
            self._ready.append(waiting)
            self._ready_bytes += len(delivery.body)
        else:
            held.append(waiting)

    def due_at(self, in_flight: int) -> float | None:
        """Return when a batch is due at the latest; None if nothing waits for one.

        Args:
            in_flight: Batches that are being worked on.
        """
        if not self._ready:
            return None
        arrived_at = self._ready[0].arrived_at
        if len(self._ready) >= self._deliveries_max or self._ready_bytes >= self._bytes_max:
            return arrived_at
        return arrived_at + self._linger_seconds * in_flight

    def take(self, now: float, in_flight: int, *, at_once: bool = False) -> list[Delivery]:
        """Return a batch that is due, or with `at_once` whatever can be worked on; else nothing.

        Its groups are held back until `done`.
        """
        due_at = self.due_at(in_flight)
        if due_at is None or not (at_once or due_at <= now):
            return []
        batch: list[Delivery] = []
        size = 0
        while self._ready and len(batch) < self._deliveries_max:
            delivery = self._ready[0].delivery
            if batch and size + len(delivery.body) > self._bytes_max:
                break
            self._ready.popleft()
            size += len(delivery.body)
            batch.append(delivery)
        self._ready_bytes -= size
        self._hold_back({delivery.group for delivery in batch if delivery.group})
        return batch

    def _hold_back(self, groups: set[str]) -> None:
        """Hold back what waits of the groups of a batch."""
        if not groups:
            return
        self._held.update((group, deque()) for group in groups)
        ready: deque[_Waiting] = deque()
        for waiting in self._ready:
            if waiting.delivery.group in groups:
                self._held[waiting.delivery.group].append(waiting)
                self._ready_bytes -= len(waiting.delivery.body)
            else:
                ready.append(waiting)
        self._ready = ready

    def done(self, batch: Sequence[Delivery]) -> None:
        """Let the groups of a batch go on."""
        for group in {delivery.group for delivery in batch if delivery.group}:
            for waiting in reversed(self._held.pop(group, ())):
                # What was held back is older than what came meanwhile.
                self._ready.appendleft(waiting)
                self._ready_bytes += len(waiting.delivery.body)

    def give_back(self, group: str | None = None) -> list[Delivery]:
        """Stop waiting with what is held back of a group, or with everything; return it."""
        if group is not None:
            held = self._held.get(group, deque())
            given = [waiting.delivery for waiting in held]
            held.clear()
            return given
        given = [waiting.delivery for waiting in self._ready]
        self._ready.clear()
        self._ready_bytes = 0
        for held in self._held.values():
            given += [waiting.delivery for waiting in held]
            held.clear()
        return given


class Batch(msgspec.Struct, frozen=True):
    """Deliveries of one source that are booked together."""

    source: Source
    deliveries: Sequence[Delivery]


class BatchQueue:
    """The batchers of all sources, and waiting for the next batch of any of them.

    Args:
        sources: All sources; receipts mean something to their own source alone, so that
            batches hold the deliveries of one.
        deliveries_max: See `Batcher`.
        bytes_max: See `Batcher`.
        linger_seconds: See `Batcher`.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        deliveries_max: int,
        bytes_max: int,
        linger_seconds: float,
    ) -> None:
        """Hold nothing."""
        self._sources = {source.name: source for source in sources}
        self._batchers = {
            name: Batcher(
                deliveries_max=deliveries_max, bytes_max=bytes_max, linger_seconds=linger_seconds
            )
            for name in self._sources
        }
        self._in_flight = 0
        self._changed = asyncio.Event()
        self._is_finishing = False
        self._is_cut_off = False

    def add(self, source: Source, deliveries: Sequence[Delivery], now: float) -> None:
        """Let deliveries of a source wait for a batch."""
        batcher = self._batchers[source.name]
        for delivery in deliveries:
            batcher.add(delivery, now)
        self._changed.set()

    def done(self, batch: Batch) -> None:
        """Say that a batch was worked off; its groups go on."""
        self._in_flight -= 1
        self._batchers[batch.source.name].done(batch.deliveries)
        self._changed.set()

    def finish(self) -> None:
        """Nothing more comes: hand out the rest without lingering, then None."""
        self._is_finishing = True
        self._changed.set()

    def cut_off(self) -> None:
        """Hand out nothing any more."""
        self._is_cut_off = True
        self._changed.set()

    def give_back(
        self, source: Source | None = None, group: str | None = None
    ) -> list[tuple[Source, list[Delivery]]]:
        """Stop waiting with what is held back of a source's group, or with everything."""
        names = list(self._batchers) if source is None else [source.name]
        given = [(self._sources[name], self._batchers[name].give_back(group)) for name in names]
        self._changed.set()
        return [(one, deliveries) for one, deliveries in given if deliveries]

    async def take(self) -> Batch | None:
        """Wait for the next batch; None when nothing more comes."""
        loop = asyncio.get_running_loop()
        while not self._is_cut_off:
            self._changed.clear()
            now = loop.time()
            batch = self._due(now)
            if batch is not None:
                self._in_flight += 1
                return batch
            if self._is_finishing and not any(map(len, self._batchers.values())):
                return None
            ends = (one.due_at(self._in_flight) for one in self._batchers.values())
            due = [at for at in ends if at is not None]
            # Rounded up: a timer that fires a moment early would only find nothing due.
            timeout = max(0.0, min(due) - now) + 0.001 if due else None
            try:
                async with asyncio.timeout(timeout):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None

    def _due(self, now: float) -> Batch | None:
        """Return the batch that has been due for longest, of whichever source."""
        in_flight = self._in_flight
        due = sorted(
            (at, name)
            for name, one in self._batchers.items()
            if (at := one.due_at(in_flight)) is not None
        )
        for _, name in due:
            at_once = self._is_finishing
            deliveries = self._batchers[name].take(now, in_flight, at_once=at_once)
            if deliveries:
                return Batch(self._sources[name], deliveries)
        return None
