"""The container worker: everything that books, and the sources."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from worker.bootstrap.booking import Booking, open_booking
from worker.core.errors import ConfigurationError
from worker.ports import Source
from worker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """What the container worker works with: everything that books, and the sources."""

    booking: Booking
    sources: Sequence[Source]


@asynccontextmanager
async def open_worker(settings: Settings, *, burst: bool = False) -> AsyncIterator[WorkerParts]:
    """Put together what the container worker works with; close it afterwards.

    Sources are closed first: what they give back (leases, checkpoints) is in the ledger's tables.

    Args:
        settings: Which sources, ledger, bus and the rest.
        burst: It ends soon: queues are polled briefly, so that no poll is broken off. A queue
            may still hand a message to a poll that nobody waits for any more, and hide it.

    Raises:
        ConfigurationError: A setting is wrong, or there is nothing to read from.
    """
    worker = settings.worker
    if not worker.queues and not worker.streams:
        message = (
            "there is nothing to work on: name queues (LEDGEROCK_QUEUES=URL,URL) or streams "
            "(LEDGEROCK_STREAMS=NAME,NAME), or book files with `ledgerock replay`"
        )
        raise ConfigurationError(message)
    if not settings.is_kept:
        message = (
            f"--ledger {settings.ledger}: deliveries would be deleted though their calls are lost "
            "with the process; give dynamodb or sqlite:FILE"
        )
        raise ConfigurationError(message)
    from worker.adapters.sqs_source import (  # noqa: PLC0415 - half a second
        DRAINED_POLL_SECONDS,
        POLL_SECONDS,
        SqsSource,
        Times,
    )

    times = Times(poll_seconds=DRAINED_POLL_SECONDS if burst else POLL_SECONDS)
    async with open_booking(settings) as booking, AsyncExitStack() as stack:
        sources: list[Source] = [
            SqsSource(url, visibility_seconds=worker.visibility_seconds, times=times)
            for url in worker.queues
        ]
        sources += [_stream_source(name, booking) for name in worker.streams]
        for source in sources:
            stack.push_async_callback(source.close)
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            message = (
                f"LEDGEROCK_QUEUES, LEDGEROCK_STREAMS: {', '.join(twice)} is named twice; "
                "work on sources of one name in workers of their own"
            )
            raise ConfigurationError(message)
        yield WorkerParts(booking=booking, sources=sources)


def _stream_source(name: str, booking: Booking) -> Source:
    from worker.adapters.kinesis_leases import DynamoLeases, MemoryLeases  # noqa: PLC0415
    from worker.adapters.kinesis_source import KinesisSource  # noqa: PLC0415 - half a second

    table = booking.state.table
    # Without a shared ledger one worker reads all shards, each time from their beginning.
    leases = MemoryLeases() if table is None else DynamoLeases(table, name)
    return KinesisSource(name, leases, lease_seconds=booking.settings.worker.lease_seconds)
