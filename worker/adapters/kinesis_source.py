"""A Kinesis stream as a source of deliveries: shared fairly with the other workers on it.

At least once: a record is settled for good once the checkpoint behind it is written. A worker
that dies, or loses a shard, leaves the records behind the last checkpoint to its successor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from worker.adapters.kinesis_holder import ShardHolder
from worker.adapters.kinesis_leases import LeaseStore
from worker.adapters.kinesis_requests import KinesisStream
from worker.adapters.kinesis_shards import Limits
from worker.core.errors import ConfigurationError
from worker.ports import Delivery, Processed

DELIVERIES_MAX: Final = 500
"""Deliveries handed over at once."""
WAIT_SECONDS: Final = 1.0
"""How long `receive` waits for some."""
DRAINED_SECONDS: Final = 3.0
"""How long `is_drained` waits for a fresh look at everything."""

_DEFAULTS: Final = Limits()


class KinesisSource:
    """A `worker.ports.Stream`: its shards are read side by side, and fail alone.

    Args:
        stream: Name or ARN.
        leases: Where leases and checkpoints are kept, such as `DynamoLeases`; not closed here.
        lease_seconds: For how long a worker that is not heard of keeps its shards.
        limits: How much is read ahead of what is settled.
        client: An open Kinesis client of aiobotocore, for tests.
    """

    def __init__(
        self,
        stream: str,
        leases: LeaseStore,
        *,
        lease_seconds: float,
        limits: Limits = _DEFAULTS,
        client: Any = None,  # noqa: ANN401 - botocore clients are untyped
    ) -> None:
        """Connect to nothing yet; the first `receive` begins to take leases."""
        self._stream = KinesisStream(stream, client)
        self._changed = asyncio.Event()
        self._turn = 0
        self._is_closed = False
        self._holder = ShardHolder(
            self._stream,
            leases,
            lease_seconds=lease_seconds,
            limits=limits,
            on_change=self._changed.set,
        )

    @property
    def name(self) -> str:
        """`kinesis:STREAM`."""
        return f"kinesis:{self._stream.name}"

    @property
    def behind_ms(self) -> int:
        """How far behind the newest record the shard is that is furthest behind, milliseconds."""
        return max((shard.behind_ms or 0 for shard in self._holder.shards.values()), default=0)

    @property
    def fault(self) -> Exception | None:
        """Why some shard, or the leases, cannot be worked with; None once all can again."""
        return self._holder.fatal or self._holder.standing

    async def receive(self) -> Sequence[Delivery]:
        """Wait a moment for records of any shard that is held; see the port.

        Raises:
            TransientError: A fault was met, and there is nothing to hand over.
            ConfigurationError: Likewise, one that the operator must mend.
            RuntimeError: A task met an error that nobody expected, and is gone.
        """
        if self._is_closed:
            return []
        self._raise_fatal()
        self._holder.start()
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while not (deliveries := self._collect()):
            self._raise_fault()
            if not await self._change(deadline):
                return []
        return deliveries

    async def settle(self, processed: Sequence[Processed]) -> None:
        """Let checkpoints move on; they are written within a second."""
        for one in processed:
            key, _, rest = one.receipt.partition(":")
            shard = self._holder.shards.get(key)
            if shard is not None:
                shard.settle(rest.partition(":")[0], one)

    async def extend(self, receipts: Sequence[str]) -> None:
        """Do nothing: leases are renewed for as long as this process lives."""

    async def is_drained(self) -> bool:
        """Whether all shards are read to their newest record and settled; see the port.

        Shards that other workers are seen to hold are theirs. What is not known yet to be held
        by the living is waited for: until its lease is renewed or found free.
        """
        if self._is_closed:
            return True
        self._holder.start()
        since = time.monotonic()
        self._holder.look_again()
        deadline = asyncio.get_running_loop().time() + DRAINED_SECONDS
        while not self._holder.is_drained(since):
            self._raise_fatal()
            if isinstance(self._holder.fault, ConfigurationError):
                self._raise_fault()
            if any(shard.unsettled for shard in self._holder.shards.values()):
                return False
            if not await self._change(deadline):
                return False
        return True

    async def close(self) -> None:
        """Write the checkpoints, release the leases, close connections."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            await self._holder.close()
        finally:
            await self._stream.close()

    def _collect(self) -> list[Delivery]:
        """Take deliveries that are ready, from the shards in turn."""
        shards = [shard for shard in self._holder.shards.values() if shard.ready]
        deliveries: list[Delivery] = []
        self._turn += 1
        for at in range(len(shards)):
            shard = shards[(self._turn + at) % len(shards)]
            if not self._holder.is_held(shard):
                continue
            while shard.ready and len(deliveries) < DELIVERIES_MAX:
                deliveries.append(shard.ready.popleft())
        return deliveries

    async def _change(self, deadline: float) -> bool:
        """Wait until something may have changed; False if it did not by then."""
        self._changed.clear()
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def _raise_fault(self) -> None:
        self._raise_fatal()
        fault, self._holder.fault = self._holder.fault, None
        if fault is not None:
            raise fault

    def _raise_fatal(self) -> None:
        if self._holder.fatal is not None:
            message = f"{self.name}: reading stopped: {self._holder.fatal!r}"
            raise RuntimeError(message) from self._holder.fatal
