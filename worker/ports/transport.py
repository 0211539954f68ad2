"""Deliveries, and the queues and streams that they come from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from worker.core.results import DeliveryResult


class Delivery(msgspec.Struct, frozen=True):
    """What a source hands over at once: a queue's message, a stream's record.

    Attributes:
        body: The payload.
        receipt: The source's handle for settling it.
        name: Where it came from, for people and as the position of its records
            (`sqs:QUEUE/MESSAGE-ID`); the receipt if empty.
        group: Deliveries of one group are booked and settled in their order; empty for none.
        attempts: How often it has been delivered, this time included.
        sent_at_ms: When the source took it in, epoch milliseconds UTC; 0 if unknown.
        source: Name of the source that handed it over.
    """

    body: bytes
    receipt: str = ""
    name: str = ""
    group: str = ""
    attempts: int = 1
    sent_at_ms: int = 0
    source: str = ""


class Processed(msgspec.Struct, frozen=True):
    """How one delivery ended.

    Attributes:
        receipt: The delivery's receipt.
        result: Whether it may be acknowledged: all but `DEFERRED`.
        records: Records decoded in it.
        ignored: Records that are no calls.
        quarantined: Records that were put aside.
        reason: Why it was deferred; otherwise empty.
    """

    receipt: str
    result: DeliveryResult
    records: int
    ignored: int = 0
    quarantined: int = 0
    reason: str = ""


class Source(Protocol):
    """A queue or stream that deliveries come from, at least once.

    Methods may be called concurrently. All may raise `ConfigurationError`, and `receive` a
    `TransientError`; `settle` and `extend` retry what passes and give up quietly on the rest,
    because what was not settled comes again.
    """

    @property
    def name(self) -> str:
        """`sqs:QUEUE` or `kinesis:STREAM`, for logs and metrics."""

    async def receive(self) -> Sequence[Delivery]:
        """Wait for deliveries for as long as one poll takes; empty if there were none."""

    async def settle(self, processed: Sequence[Processed]) -> None:
        """Acknowledge what ended; what was deferred will be received again, after a while."""

    async def extend(self, receipts: Sequence[str]) -> None:
        """Say that these are still being worked on, so that nobody else gets them meanwhile."""

    async def is_drained(self) -> bool:
        """Whether nothing is left to receive right now, for `--burst`."""

    async def close(self) -> None:
        """Give back what is held (leases, connections). Unsettled deliveries come again."""


@runtime_checkable
class Stream(Source, Protocol):
    """A source that is read in parts (shards), each of which may fail, or fall behind, alone."""

    @property
    def fault(self) -> Exception | None:
        """Why a part cannot be read, while others may; None once all of them can."""

    @property
    def behind_ms(self) -> int:
        """How far behind its newest record the part is that is furthest behind, milliseconds."""
