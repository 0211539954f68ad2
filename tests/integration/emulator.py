"""A place in emulated AWS for one test, and workers of this process that work there."""

import asyncio
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import pytest
from aiohttp import web

from tests.dynamodb import ENVIRONMENT, client, localstack_endpoint, new_prefix
from tests.events import checked
from tests.fault_proxy import FaultProxy
from tests.sources import emulated, make_queue
from worker.adapters.clock import SystemClock
from worker.adapters.dynamodb_budgets import DynamoBudgets
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_state import StateTable
from worker.adapters.sqs_source import SqsSource
from worker.bootstrap import Booking, open_worker
from worker.core.budget_terms import Budget
from worker.core.events import BUDGET_THRESHOLD_CROSSED
from worker.core.ledger import Amounts
from worker.pipeline import Digest, Pipeline, Step
from worker.ports import Committed, Delivery, Notice, Processed, Source
from worker.runtime import announcing
from worker.runtime.worker import Worker
from worker.runtime.working import Books
from worker.settings import Settings, WorkerSettings

WAIT_SECONDS: Final = 90
"""How long anything may take before a test fails; it is never waited out otherwise."""
SERVICES: Final = ("sqs", "kinesis", "s3", "sns", "events")


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    """Wait until something is so."""
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"waited {WAIT_SECONDS} s in vain: {what}")


def arn_of(queue: str) -> str:
    return f"arn:aws:sqs:{ENVIRONMENT['AWS_REGION']}:000000000000:{queue.rpartition('/')[2]}"


class TickingClock:
    """Goes as fast as any other, from a time on that a test chooses.

    Attributes:
        ahead_ms: Added to it.
    """

    def __init__(self, at_ms: int) -> None:
        self.ahead_ms = at_ms
        self._started = time.monotonic()

    def now_ms(self) -> int:
        return self.ahead_ms + int((time.monotonic() - self._started) * 1000)


class Place:
    """Clients of LocalStack, the names of what a test made there, and the ledger's tables."""

    def __init__(self, clients: dict[str, Any], dynamo: Dynamo, folder: Path) -> None:
        self._clients = clients
        self.sqs, self.kinesis, self.s3, self.sns, self.events = (
            clients[name] for name in SERVICES
        )
        self._dynamo, self.folder = dynamo, folder
        self.prefix = new_prefix()
        self.ledger = DynamoLedger(self.prefix, dynamo=dynamo, create_tables=True)
        self.bus = self.collector = ""
        self.streams: list[str] = []
        self._collected: list[dict[str, Any]] = []

    def another(self) -> "Place":
        """Return a place with books of its own."""
        return Place(self._clients, self._dynamo, self.folder)

    # --- Queues and streams -------------------------------------------------------------------

    async def queue(self, *, fifo: bool = False) -> str:
        return await make_queue(self.sqs, fifo=fifo)

    async def stream(self, shards: int = 1) -> str:
        name = f"s{uuid.uuid4().hex}"
        await self.kinesis.create_stream(StreamName=name, ShardCount=shards)
        self.streams.append(name)
        await self.active(name)
        return name

    async def active(self, stream: str) -> None:
        """Wait until a stream can be used, or changed again."""

        async def is_active() -> bool:
            found = await self.kinesis.describe_stream_summary(StreamName=stream)
            return bool(found["StreamDescriptionSummary"]["StreamStatus"] == "ACTIVE")

        await until(is_active, f"the stream {stream}")

    async def send(self, queue: str, bodies: Sequence[bytes], group: str = "all") -> None:
        for start in range(0, len(bodies), 10):
            entries: list[dict[str, Any]] = [
                {"Id": str(number), "MessageBody": body.decode()}
                for number, body in enumerate(bodies[start : start + 10])
            ]
            if queue.endswith(".fifo"):
                for entry in entries:
                    entry |= {"MessageGroupId": group, "MessageDeduplicationId": uuid.uuid4().hex}
            answer = await self.sqs.send_message_batch(QueueUrl=queue, Entries=entries)
            assert not answer.get("Failed")

    async def put(self, stream: str, bodies: Sequence[bytes], key: str = "") -> None:
        """Put records: all into one shard if a partition key is given."""
        for start in range(0, len(bodies), 100):
            records = [
                {"Data": body, "PartitionKey": key or uuid.uuid4().hex}
                for body in bodies[start : start + 100]
            ]
            answer = await self.kinesis.put_records(StreamName=stream, Records=records)
            assert answer["FailedRecordCount"] == 0

    async def messages_left(self, *queues: str) -> int:
        """Return how many messages there are, invisible ones included."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        names.append("ApproximateNumberOfMessagesDelayed")
        left = 0
        for queue in queues:
            found = await self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)
            left += sum(map(int, found["Attributes"].values()))
        return left

    # --- The bus ------------------------------------------------------------------------------

    async def make_bus(self) -> None:
        """Make a bus, and a queue that collects what is announced on it."""
        self.bus, self.collector = f"bus-{uuid.uuid4().hex}", await self.queue()
        await self.events.create_event_bus(Name=self.bus)
        rule = {"Name": self.bus, "EventBusName": self.bus}
        await self.events.put_rule(**rule, EventPattern=json.dumps({"source": ["ledgerock"]}))
        targets = [{"Id": "collector", "Arn": arn_of(self.collector)}]
        await self.events.put_targets(Rule=self.bus, EventBusName=self.bus, Targets=targets)

    async def collected(self) -> list[dict[str, Any]]:
        """Return all that was announced so far, each checked against its schema."""
        while True:
            answer = await self.sqs.receive_message(QueueUrl=self.collector, MaxNumberOfMessages=10)
            messages = answer.get("Messages", ())
            if not messages:
                return self._collected
            for message in messages:
                event = json.loads(message["Body"])
                checked(event["detail-type"], json.dumps(event["detail"]).encode())
                self._collected.append(event)
                receipt = message["ReceiptHandle"]
                await self.sqs.delete_message(QueueUrl=self.collector, ReceiptHandle=receipt)

    async def crossings(self) -> dict[tuple[str, int], set[str]]:
        """Return the ids under which each crossing was announced, by budget and threshold."""
        found: dict[tuple[str, int], set[str]] = {}
        for event in await self.collected():
            if event["detail-type"] == BUDGET_THRESHOLD_CROSSED:
                detail = event["detail"]
                key = detail["budget"]["name"], detail["threshold"]
                found.setdefault(key, set()).add(detail["event_id"])
        return found

    async def until_announced(self, expected: set[tuple[str, int]]) -> None:
        """Wait until some crossings were announced; each must be under one id, no other may."""

        async def are_there() -> bool:
            return (await self.crossings()).keys() >= expected

        await until(are_there, f"crossings {sorted(expected)}")
        found = await self.crossings()
        assert {key: len(ids) for key, ids in found.items()} == dict.fromkeys(expected, 1)

    async def until_heard_of(self, *detail_types: str) -> None:
        """Wait until events of all these types were announced."""

        async def are_there() -> bool:
            return {event["detail-type"] for event in await self.collected()} >= {*detail_types}

        await until(are_there, f"events of the types {detail_types}")

    # --- Books --------------------------------------------------------------------------------

    async def set_budget(self, budget: Budget) -> None:
        """Set a budget; before workers run, which read budgets only from time to time."""
        table = StateTable(self.prefix, dynamo=self._dynamo, create_tables=True)
        assert await DynamoBudgets(table).put(budget)

    async def calls(self) -> int:
        """Return how many calls are booked by now."""
        return (await total_of(self.ledger)).calls

    async def until_booked(self, calls: int, *queues: str) -> None:
        """Wait until so many calls are booked, and nothing is left in some queues."""

        async def is_done() -> bool:
            return await self.calls() >= calls and not await self.messages_left(*queues)

        await until(is_done, f"{calls} calls booked and {len(queues)} queues empty")

    async def verified(self) -> Amounts:
        """Return what the books add up to, after `verify` found them sound."""
        verification = await self.ledger.verify()
        assert (verification.differences, verification.unsettled) == ((), ())
        total = await total_of(self.ledger)
        assert verification.entries == total.calls
        return total


async def total_of(ledger: DynamoLedger) -> Amounts:
    total = Amounts()
    for amounts in (await ledger.totals("account")).values():
        total.add(amounts)
    return total


@asynccontextmanager
async def place_at(dynamodb: str, folder: Path) -> AsyncIterator[Place]:
    """Open a place whose ledger is in some DynamoDB; streams are deleted in the end."""
    async with AsyncExitStack() as stack:
        clients = {name: await stack.enter_async_context(emulated(name)) for name in SERVICES}
        place = Place(clients, Dynamo(await stack.enter_async_context(client(dynamodb))), folder)
        try:
            yield place
        finally:
            for stream in place.streams:
                await place.kinesis.delete_stream(StreamName=stream)


@asynccontextmanager
async def serving(proxy: FaultProxy) -> AsyncIterator[str]:
    """Run a proxy in this process; return its address."""
    # Not longer: long polls whose workers are gone are still forwarded.
    runner = web.AppRunner(proxy.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# --- Workers of this process ---------------------------------------------------------------------


class Clock(Protocol):
    def now_ms(self) -> int: ...


class Noting:
    """The pipeline, noting in which batches deliveries were booked, and how they ended."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self.batches: list[list[Delivery]] = []
        self.ended: list[Processed] = []

    @property
    def fault(self) -> str:
        return self._pipeline.fault

    async def book(self, digest: Digest) -> Committed:
        return await self._pipeline.book(digest)

    async def probe(self) -> None:
        await self._pipeline.probe()

    async def steps(
        self, deliveries: Sequence[Delivery], *, deadline: float | None = None
    ) -> AsyncGenerator[Step, None]:
        self.batches.append(list(deliveries))
        async with aclosing(self._pipeline.steps(deliveries, deadline=deadline)) as steps:
            async for step in steps:
                self.ended += step.processed
                yield step


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A worker that runs."""

    worker: Worker
    booking: Booking
    sources: Sequence[Source]
    books: Noting

    async def quarantined(self) -> list[bytes]:
        """Return the bodies of what was put aside."""
        items = self.booking.pipeline.quarantine.items()
        return [item.record.body async for item in items]

    async def notices(self, budget: str) -> list[Notice]:
        return await self.booking.outbox.about(f"budget/{budget}")


def settings_of(place: Place, **worker: Any) -> Settings:
    """Return settings of a worker at a place; what is not named is as small as tests need it."""
    values: dict[str, Any] = {
        "http_port": 0,
        "bus": place.bus,
        "resolve_profiles": False,
        "linger_ms": 20,
    }
    values |= {"receivers": 2, "visibility_seconds": 30, "lease_seconds": 6, **worker}
    return Settings(
        ledger=f"dynamodb:{place.prefix}",
        create_tables=True,
        quarantine=place.folder / f"quarantine-{place.prefix}",
        worker=WorkerSettings(**values),
    )


def use(patch: pytest.MonkeyPatch, dynamodb: str, others: str | None = None) -> None:
    """Have the clients of workers that are opened from now on find emulated AWS."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        patch.delenv(name, raising=False)
    for name, text in ENVIRONMENT.items():
        patch.setenv(name, text)
    patch.setenv("AWS_ENDPOINT_URL", others or localstack_endpoint())
    patch.setenv("AWS_ENDPOINT_URL_DYNAMODB", dynamodb)
    patch.setattr(announcing, "ROUND_SECONDS", 0.2)
    patch.setattr(announcing, "BACKOFF_LAST_SECONDS", 0.4)


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    clock: Clock | None = None,
    wrap: Callable[[Noting], Books] = lambda books: books,
) -> AsyncIterator[Running]:
    """Run a worker as `ledgerock worker` does; at the end it must drain with exit code 0.

    Args:
        settings: Of the worker.
        clock: Its ledger time; the machine's by default.
        wrap: Puts something around what books.
    """
    now = clock or SystemClock()
    async with AsyncExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("worker.bootstrap.booking.SystemClock", lambda: now)
            parts = await stack.enter_async_context(open_worker(settings))
        booking = parts.booking
        books = Noting(booking.pipeline)
        worker = Worker(
            books=wrap(books),
            sources=parts.sources,
            settings=settings.worker,
            clock=now,
            announcer=booking.announcer,
        )
        booking.outbox.tell = worker.announcing.tell
        task = asyncio.ensure_future(worker.run())
        try:
            yield Running(worker=worker, booking=booking, sources=parts.sources, books=books)
            worker.stop()
            async with asyncio.timeout(WAIT_SECONDS):
                assert await task == 0
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def queue_source(one: Running) -> SqsSource:
    """Return the one queue that a worker works on."""
    [source] = [source for source in one.sources if isinstance(source, SqsSource)]
    return source
