"""Sources of every kind behind one handle, for the contract that all of them keep.

Another kind is another subclass of `SourceHandle` and another parameter in `KINDS`.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, Protocol

import pytest
from aiobotocore.session import get_session

from tests.calls import NOON
from tests.dynamodb import ENVIRONMENT, localstack_endpoint
from tests.kinesis_readers import source_on
from tests.kinesis_stub import StubStream
from worker.adapters.aws_client import AwsClient
from worker.adapters.memory_source import MemorySource
from worker.adapters.sqs_source import SqsSource, Times
from worker.ports import Delivery, Source

ARRIVAL_SECONDS: Final = 60
"""How long anything may take to arrive before a test fails; nothing waits as long."""
VISIBILITY_SECONDS: Final = 8
"""Longer than a few receives take on a busy machine."""

_SESSION: Final = get_session()


@asynccontextmanager
async def emulated(service: str) -> AsyncIterator[Any]:
    """Open a client of LocalStack."""
    context = _SESSION.create_client(
        service,
        endpoint_url=localstack_endpoint(),
        region_name=ENVIRONMENT["AWS_REGION"],
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=_path_style() if service == "s3" else None,
    )
    async with context as client:
        yield client


def _path_style() -> Any:
    from aiobotocore.config import AioConfig  # noqa: PLC0415 - of this one service

    return AioConfig(s3={"addressing_style": "path"})


class SourceHandle(Protocol):
    """A queue or stream, and what a test may do with it besides what its source does."""

    @property
    def source(self) -> Source:
        """The source under test."""

    @property
    def ordered(self) -> bool:
        """Whether deliveries of a group come and end in their order."""

    @property
    def hides(self) -> bool:
        """Whether what was received and never settled comes again while its worker lives."""

    async def send(self, bodies: Sequence[bytes], group: str = "") -> None:
        """Put some payloads in, in order."""

    async def pass_time(self) -> None:
        """Let what was deferred, or received and never settled, become due again."""


Open = Callable[[], AbstractAsyncContextManager[SourceHandle]]


async def received(handle: SourceHandle, number: int) -> list[Delivery]:
    """Receive until so many deliveries have come; they are not settled."""
    found: list[Delivery] = []
    async with asyncio.timeout(ARRIVAL_SECONDS):
        while len(found) < number:
            arrived = await handle.source.receive()
            found += arrived
            if not arrived:
                await handle.pass_time()
    assert len(found) == number
    return found


class HandClock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ms = NOON

    def now_ms(self) -> int:
        return self.ms


class MemoryHandle:
    """A queue in memory, whose time passes at once."""

    ordered = True
    hides = True

    def __init__(self) -> None:
        self.clock = HandClock()
        self.source = MemorySource(self.clock, visibility_seconds=VISIBILITY_SECONDS)

    async def send(self, bodies: Sequence[bytes], group: str = "") -> None:
        for body in bodies:
            self.source.send(body, group=group)

    async def pass_time(self) -> None:
        self.clock.ms += 3_600_000


class SqsHandle:
    """A queue of LocalStack, whose time passes by itself."""

    hides = True

    def __init__(self, client: Any, url: str, *, visibility_seconds: int) -> None:
        self.ordered = url.endswith(".fifo")
        self._client = client
        self._url = url
        self.source = SqsSource(
            url,
            visibility_seconds=visibility_seconds,
            client=AwsClient("sqs", client=client),
            times=Times(poll_seconds=1, jitter=lambda: 0.0),
        )

    async def send(self, bodies: Sequence[bytes], group: str = "") -> None:
        for body in bodies:
            more: dict[str, Any] = {}
            if self.ordered:
                more = {
                    "MessageGroupId": group or uuid.uuid4().hex,
                    "MessageDeduplicationId": uuid.uuid4().hex,
                }
            await self._client.send_message(QueueUrl=self._url, MessageBody=body.decode(), **more)

    async def pass_time(self) -> None:
        """Nothing: the next poll waits for a second."""


class KinesisHandle:
    """A stream in memory, of two shards; its records stay with the worker that read them."""

    ordered = False
    hides = False

    def __init__(self) -> None:
        self._stream = StubStream(shards=2)
        self._sent = 0
        self.source = source_on(self._stream)

    async def send(self, bodies: Sequence[bytes], group: str = "") -> None:
        assert not group, "a stream keeps no order of groups"
        for body in bodies:
            self._sent += 1
            self._stream.put(list(self._stream.shards)[self._sent % 2], body)

    async def pass_time(self) -> None:
        """Nothing: what is deferred comes again at once."""


async def make_queue(client: Any, *, fifo: bool = False) -> str:
    """Make a queue in LocalStack; return its URL."""
    name = f"q{uuid.uuid4().hex}{'.fifo' if fifo else ''}"
    attributes = {"FifoQueue": "true"} if fifo else {}
    made = await client.create_queue(QueueName=name, Attributes=attributes)
    return str(made["QueueUrl"])


@asynccontextmanager
async def open_memory() -> AsyncIterator[SourceHandle]:
    handle = MemoryHandle()
    yield handle
    await handle.source.close()


@asynccontextmanager
async def open_sqs(
    *, fifo: bool = False, visibility_seconds: int = VISIBILITY_SECONDS
) -> AsyncIterator[SqsHandle]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(emulated("sqs"))
        url = await make_queue(client, fifo=fifo)
        handle = SqsHandle(client, url, visibility_seconds=visibility_seconds)
        yield handle
        await handle.source.close()


@asynccontextmanager
async def open_sqs_fifo() -> AsyncIterator[SourceHandle]:
    async with open_sqs(fifo=True) as handle:
        yield handle


@asynccontextmanager
async def open_sqs_standard() -> AsyncIterator[SourceHandle]:
    async with open_sqs() as handle:
        yield handle


@asynccontextmanager
async def open_kinesis() -> AsyncIterator[SourceHandle]:
    handle = KinesisHandle()
    yield handle
    await handle.source.close()


KINDS: Final = [
    pytest.param(open_memory, id="memory"),
    pytest.param(open_kinesis, id="kinesis"),
    pytest.param(open_sqs_standard, id="sqs", marks=pytest.mark.integration),
    pytest.param(open_sqs_fifo, id="sqs-fifo", marks=pytest.mark.integration),
]
"""Ways to open an empty source with its handle."""
