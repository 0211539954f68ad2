"""Workers on a Kinesis stream, for tests: they receive, settle, and may be killed."""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

from worker.adapters.kinesis_leases import LeaseStore, MemoryLeases
from worker.adapters.kinesis_shards import Limits
from worker.adapters.kinesis_source import KinesisSource
from worker.core.errors import TransientError
from worker.core.results import DeliveryResult
from worker.ports import Delivery, Processed

QUICK: Final = Limits(
    poll_seconds=0.005, idle_seconds=0.02, fault_seconds=0.005, retry_seconds=0.01
)
"""Reads an emulator, which has no quota, so that tests need not wait."""
WAIT_SECONDS: Final = 30.0
"""How long a test waits for what must happen; far more than it takes."""
LONG_LEASE_SECONDS: Final = 60.0
"""A lease that nobody loses within a test, however slow the machine is."""


def source_on(
    client: Any,
    leases: LeaseStore | None = None,
    *,
    stream: str = "calls",
    lease_seconds: float = LONG_LEASE_SECONDS,
    limits: Limits = QUICK,
) -> KinesisSource:
    """Return a source; nothing is read before it is asked to receive."""
    return KinesisSource(
        stream, leases or MemoryLeases(), lease_seconds=lease_seconds, limits=limits, client=client
    )


def ended(delivery: Delivery, result: DeliveryResult = DeliveryResult.ACKNOWLEDGED) -> Processed:
    return Processed(delivery.receipt, result, 1)


async def receive_all(source: KinesisSource, count: int) -> list[Delivery]:
    """Receive that many deliveries and settle none; faults may pass meanwhile."""
    received: list[Delivery] = []
    async with asyncio.timeout(WAIT_SECONDS):
        while len(received) < count:
            with suppress(TransientError):
                received += await source.receive()
    return received


async def until(happened: Callable[[], Any]) -> None:
    """Wait until something has happened."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not happened():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


def kill(source: KinesisSource) -> None:
    """Stop all that a source does, as SIGKILL would: nothing is written or released."""
    holder = source._holder
    for task in [*holder._tasks, *holder._readers.values()]:
        task.cancel()
    for shard in holder.shards.values():
        shard.let_go()


class Reader:
    """Receives from a source and settles, in a task of its own.

    Attributes:
        held: Ids of the shards that its source holds.
        seen: How often each payload was received.
        order: The payloads as they came; other readers may share the list.
    """

    def __init__(self, source: KinesisSource, order: list[bytes] | None = None) -> None:
        self.source = source
        self.seen: Counter[bytes] = Counter()
        self.order: list[bytes] = [] if order is None else order
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                deliveries: Sequence[Delivery] = await self.source.receive()
            except TransientError:
                continue
            self.seen.update(delivery.body for delivery in deliveries)
            self.order += [delivery.body for delivery in deliveries]
            await self.source.settle([ended(delivery) for delivery in deliveries])

    @property
    def held(self) -> set[str]:
        return {shard.lease.shard for shard in self.source._holder.shards.values()}

    async def stop(self) -> None:
        """Stop, and close the source."""
        await self._end()
        await self.source.close()

    async def kill(self) -> None:
        """Stop without closing the source."""
        kill(self.source)
        await self._end()

    async def _end(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
