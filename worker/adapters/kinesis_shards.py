"""A leased shard: what was read of it and is not settled yet, and the task that reads on."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec

from worker.adapters.kinesis_checkpoint import TRIM_HORIZON, Tracker
from worker.adapters.kinesis_leases import Lease
from worker.adapters.kinesis_requests import (
    ExpiredIteratorError,
    KinesisStream,
    MissingShardError,
    Page,
    TrimmedPositionError,
)
from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import DeliveryResult
from worker.ports import Delivery, Processed

BACKOFF_LAST_SECONDS: Final = 30.0
"""Between two deliveries of a record that keeps being deferred, at most."""


class Limits(msgspec.Struct, frozen=True):
    """How much is read ahead of what is settled, and how often.

    Attributes:
        records_per_request: Records asked for at once; one request returns 10 MiB at most.
        unsettled_max: Unsettled records of one shard, from which on it is not read further.
        span_max: Records of one shard from the oldest unsettled one to the newest.
        bytes_max: Unsettled bytes of all shards together, from which on none is read further.
        requests_at_once: Shards that are read at the same moment.
        poll_seconds: How long after a request a shard is read on at the earliest. API reference,
            GetRecords: five requests a second for each shard, all readers together.
        idle_seconds: The same, where a shard was read to its newest record.
        fault_seconds: The same, after a fault; a throttle lasts for a second at least.
        retry_seconds: After what time a deferred record is delivered again, the first time;
            it doubles each time.
    """

    records_per_request: int = 1_000
    unsettled_max: int = 2_000
    span_max: int = 20_000
    bytes_max: int = 64 * 2**20
    requests_at_once: int = 4
    poll_seconds: float = 0.2
    idle_seconds: float = 0.5
    fault_seconds: float = 1.0
    retry_seconds: float = 1.0


class Room:
    """What all shards of a source share: bytes that may be held, requests that may be made."""

    def __init__(self, limits: Limits) -> None:
        """Begin empty."""
        self.limits = limits
        self.bytes = 0
        self.requests = asyncio.Semaphore(limits.requests_at_once)


class Shard:
    """A shard that this worker holds the lease of.

    Args:
        lease: As it was taken.
        kept_at: When the request that took it was begun, monotonic seconds.
        stream: The stream's name.
        room: Shared with the other shards.
        on_ready: Called when there are deliveries to hand over, or something was settled.

    Attributes:
        key: Tells this holding of the shard from earlier ones, in receipts.
        lease: As it was last written.
        kept_at: When the request that wrote it last was begun.
        ready: Deliveries to be handed over, the oldest first.
        behind_ms: How far behind the newest record the last request was; None before it.
        polled_at: When the last request that was answered was begun.
        is_read_out: Whether the shard is closed and read to its end.
        wake: Set to have it read on at once.
    """

    def __init__(
        self,
        lease: Lease,
        kept_at: float,
        stream: str,
        room: Room,
        on_ready: Callable[[], None],
    ) -> None:
        """Hold a shard of which nothing was read yet."""
        self.lease = lease
        self.key = f"{lease.shard}@{lease.version}"
        self.kept_at = kept_at
        self.tracker = Tracker(lease.checkpoint)
        self.ready: deque[Delivery] = deque()
        self.behind_ms: int | None = None
        self.polled_at = -1.0
        self.is_read_out = False
        self.wake = asyncio.Event()
        self._source = f"kinesis:{stream}"
        self._room = room
        self._on_ready = on_ready
        self._held: dict[str, Delivery] = {}
        self._retries: dict[str, asyncio.TimerHandle] = {}

    @property
    def unsettled(self) -> int:
        """How many records were read and are not settled."""
        return len(self._held)

    @property
    def space(self) -> int:
        """How many more records may be read now."""
        limits = self._room.limits
        if self._room.bytes >= limits.bytes_max:
            return 0
        room = min(limits.unsettled_max - len(self._held), limits.span_max - self.tracker.span)
        return max(0, min(limits.records_per_request, room))

    def take_in(self, page: Page, begun_at: float) -> None:
        """Keep what a request read, to be handed over."""
        for record in page.records:
            if not self.tracker.read(record.sequence):
                continue
            delivery = Delivery(
                body=record.data,
                receipt=f"{self.key}:{record.sequence}:1",
                name=f"{self._source}/{self.lease.shard}/{record.sequence}",
                sent_at_ms=record.arrived_at_ms,
                source=self._source,
            )
            self._held[record.sequence] = delivery
            self._room.bytes += len(delivery.body)
            self.ready.append(delivery)
        self.behind_ms = page.behind_ms
        self.polled_at = begun_at
        if page.iterator is None:
            self.is_read_out = True
            self.tracker.end()
        self._on_ready()

    def retire(self) -> None:
        """Take note that the stream lists the shard no longer: its records have expired."""
        self.is_read_out = True
        self.tracker.end()
        self.wake.set()

    def settle(self, sequence: str, processed: Processed) -> None:
        """Let go of a record, or deliver it again later; nothing if its receipt is an old one."""
        delivery = self._held.get(sequence)
        if delivery is None or delivery.receipt != processed.receipt or sequence in self._retries:
            return
        if processed.result is DeliveryResult.DEFERRED:
            self._deliver_later(sequence, delivery)
            return
        del self._held[sequence]
        self._room.bytes -= len(delivery.body)
        self.tracker.settle(sequence)
        self.wake.set()
        self._on_ready()

    def _deliver_later(self, sequence: str, delivery: Delivery) -> None:
        bound = self._room.limits.retry_seconds * 2 ** min(delivery.attempts - 1, 16)
        wait = min(BACKOFF_LAST_SECONDS, bound) * random.uniform(0.5, 1)  # noqa: S311 - jitter
        loop = asyncio.get_running_loop()
        self._retries[sequence] = loop.call_later(wait, self._deliver_again, sequence)

    def _deliver_again(self, sequence: str) -> None:
        del self._retries[sequence]
        delivery = self._held[sequence]
        attempts = delivery.attempts + 1
        receipt = f"{self.key}:{sequence}:{attempts}"
        again = msgspec.structs.replace(delivery, receipt=receipt, attempts=attempts)
        self._held[sequence] = again
        self.ready.append(again)
        self._on_ready()

    def let_go(self) -> None:
        """Forget everything unsettled: the shard is somebody else's now."""
        for handle in self._retries.values():
            handle.cancel()
        self._room.bytes -= sum(len(delivery.body) for delivery in self._held.values())
        self._retries.clear()
        self._held.clear()
        self.ready.clear()


class ShardReader:
    """Reads a shard for as long as it is held, no faster than it is settled.

    Args:
        shard: Where records go.
        stream: Where they come from.
        room: Shared with other readers.
        on_fault: Told of errors, they may pass; of None when a request succeeded.
    """

    def __init__(
        self,
        shard: Shard,
        stream: KinesisStream,
        room: Room,
        on_fault: Callable[[Exception | None], None],
    ) -> None:
        """Begin at the checkpoint."""
        self._shard = shard
        self._stream = stream
        self._room = room
        self._on_fault = on_fault
        self._iterator: str | None = None
        self._position = shard.lease.checkpoint

    async def run(self) -> None:
        """Read until the shard ends; to be cancelled when it is lost."""
        shard, limits = self._shard, self._room.limits
        while not shard.is_read_out:
            shard.wake.clear()
            space = shard.space
            if space == 0:
                await self._pause(limits.idle_seconds)
                continue
            seconds = await self._read(space)
            if not shard.is_read_out:
                await asyncio.sleep(limits.poll_seconds)
                await self._pause(seconds - limits.poll_seconds)
        self._on_fault(None)

    async def _pause(self, seconds: float) -> None:
        if seconds > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._shard.wake.wait()

    async def _read(self, records_max: int) -> float:
        """Read once; return after how many seconds to go on."""
        shard_id, limits = self._shard.lease.shard, self._room.limits
        try:
            async with self._room.requests:
                begun_at = time.monotonic()
                if self._iterator is None:
                    self._iterator = await self._stream.iterator(shard_id, self._position)
                page = await self._stream.records(shard_id, self._iterator, records_max)
        except ExpiredIteratorError:
            self._iterator = None
            return limits.poll_seconds
        except TrimmedPositionError:
            self._iterator, self._position = None, TRIM_HORIZON
            return limits.poll_seconds
        except MissingShardError:
            # Past its retention, or the stream was deleted: the list of shards will tell.
            self._iterator = None
            return limits.fault_seconds
        except TransientError as error:
            self._on_fault(error)
            return error.retry_after_seconds or limits.fault_seconds
        except ConfigurationError as error:
            self._on_fault(error)
            return BACKOFF_LAST_SECONDS
        self._on_fault(None)
        self._iterator = page.iterator
        if page.records:
            self._position = page.records[-1].sequence
        self._shard.take_in(page, begun_at)
        return limits.poll_seconds if page.behind_ms else limits.idle_seconds
