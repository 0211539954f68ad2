"""Queues and buckets of LocalStack, through the pipeline, to exact sums."""

import asyncio
import gzip
import json
import random
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest

from tests.calls import NOON, asynchronous, entries, poster
from tests.dynamodb import ENVIRONMENT
from tests.notifications import naming, notification
from tests.records import event, line, log, poison
from tests.sources import ARRIVAL_SECONDS, emulated, make_queue, open_sqs, received
from worker.adapters.aws_client import AwsClient
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_state import MemoryNotes
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.adapters.s3_reader import S3Reader
from worker.adapters.sqs_source import SqsSource, Times
from worker.core.decoders import Decoder
from worker.core.errors import ConfigurationError, MissingObjectError
from worker.core.results import DeliveryResult, ObjectReference
from worker.pipeline import Pipeline
from worker.pipeline.objects import ObjectBooks
from worker.ports import Delivery, Source

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

REGION = ENVIRONMENT["AWS_REGION"]
ACCOUNT = "000000000000"
CALL_PICO_USD = 2_400_000_000
"""1,000 tokens in, 500 out, at 0.8 and 3.2 USD per million."""


class Still:
    def now_ms(self) -> int:
        return NOON


class Worker:
    """A pipeline into memory that reads objects from LocalStack."""

    def __init__(self, s3: Any) -> None:
        self.ledger = MemoryLedger()
        self.quarantine = MemoryQuarantine(Still())
        self.reader = S3Reader(AwsClient("s3", client=s3))
        self.books = ObjectBooks(reader=self.reader, notes=MemoryNotes(), clock=Still())
        self.pipeline = Pipeline(
            ledger=self.ledger,
            quarantine=self.quarantine,
            decoder=Decoder(),
            poster=poster(),
            objects=self.books,
        )

    async def work(self, source: Source, until: Callable[[], Awaitable[bool]]) -> None:
        """Work on a source until something is so and nothing is left."""
        async with asyncio.timeout(4 * ARRIVAL_SECONDS):
            while not (await until() and await source.is_drained()):
                deliveries = await source.receive()
                await source.settle(await self.pipeline.process(deliveries))

    async def calls(self) -> int:
        totals = await self.ledger.totals("principal")
        calls = sum(one.calls for one in totals.values())
        assert len(await entries(self.ledger)) == calls
        assert sum(one.cost_pico_usd for one in totals.values()) == calls * CALL_PICO_USD
        assert not (await self.ledger.verify()).differences
        return calls

    def has(self, calls: int) -> Callable[[], Awaitable[bool]]:
        async def booked() -> bool:
            return await self.calls() >= calls

        return booked

    async def put_aside(self) -> list[Any]:
        return [item.record async for item in self.quarantine.items()]


class Cloud:
    """Clients of LocalStack, and a bucket of one's own."""

    def __init__(self, s3: Any, sqs: Any, sns: Any, events: Any) -> None:
        self.s3, self.sqs, self.sns, self.events = s3, sqs, sns, events
        self.bucket = f"b{uuid.uuid4().hex}"

    async def put(self, key: str, records: Sequence[bytes]) -> None:
        body = gzip.compress(b"\n".join(records))
        await self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)

    def source(self, url: str, visibility_seconds: int = 60) -> SqsSource:
        client = AwsClient("sqs", client=self.sqs)
        times = Times(poll_seconds=1, jitter=lambda: 0.0)
        return SqsSource(url, visibility_seconds=visibility_seconds, client=client, times=times)


@asynccontextmanager
async def cloud() -> AsyncIterator[Cloud]:
    async with AsyncExitStack() as stack:
        services = ("s3", "sqs", "sns", "events")
        made = Cloud(*[await stack.enter_async_context(emulated(one)) for one in services])
        await made.s3.create_bucket(Bucket=made.bucket)
        yield made


def queue_arn(url: str) -> str:
    return f"arn:aws:sqs:{REGION}:{ACCOUNT}:{url.rpartition('/')[2]}"


async def notify_directly(made: Cloud, url: str) -> None:
    queues = [{"QueueArn": queue_arn(url), "Events": ["s3:ObjectCreated:*"]}]
    await made.s3.put_bucket_notification_configuration(
        Bucket=made.bucket, NotificationConfiguration={"QueueConfigurations": queues}
    )


async def notify_through_sns(made: Cloud, url: str) -> None:
    topic = (await made.sns.create_topic(Name=made.bucket))["TopicArn"]
    await made.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue_arn(url))
    topics = [{"TopicArn": topic, "Events": ["s3:ObjectCreated:*"]}]
    await made.s3.put_bucket_notification_configuration(
        Bucket=made.bucket, NotificationConfiguration={"TopicConfigurations": topics}
    )


async def notify_through_eventbridge(made: Cloud, url: str) -> None:
    pattern = {"source": ["aws.s3"], "detail": {"bucket": {"name": [made.bucket]}}}
    await made.events.put_rule(Name=made.bucket, EventPattern=json.dumps(pattern))
    targets = [{"Id": "queue", "Arn": queue_arn(url)}]
    await made.events.put_targets(Rule=made.bucket, Targets=targets)
    await made.s3.put_bucket_notification_configuration(
        Bucket=made.bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
    )


@pytest.mark.parametrize(
    "notify",
    [
        pytest.param(notify_directly, id="direct"),
        pytest.param(notify_through_sns, id="sns"),
        pytest.param(notify_through_eventbridge, id="eventbridge"),
    ],
)
@asynchronous
async def test_objects_that_notifications_name_are_booked(
    notify: Callable[[Cloud, str], Awaitable[None]],
) -> None:
    async with cloud() as made:
        url = await make_queue(made.sqs)
        await notify(made, url)
        worker, source = Worker(made.s3), made.source(url)
        # LocalStack encodes keys in events as well, which S3 itself does not.
        first = "logs/1.json.gz" if notify is notify_through_eventbridge else "logs/a b+ü.json.gz"
        await made.put(first, [line(log(number)) for number in range(100)])
        await made.put("logs/2.json.gz", [line(log(number)) for number in range(50, 120)])
        await made.put("logs/2.json.gz", [line(log(number)) for number in range(50, 150)])
        await made.put("logs/3.json.gz", [line(log(150)), line(poison(9))])
        await made.put("logs/amazon-bedrock-logs-permission-check", [b"nothing"])
        await worker.work(source, worker.has(151))
        assert await worker.calls() == 151
        [record] = await worker.put_aside()
        assert record.position.source == f"s3://{made.bucket}/logs/3.json.gz"


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
@asynchronous
async def test_records_in_messages_are_booked_once(fifo: bool) -> None:
    async with emulated("s3") as s3, open_sqs(fifo=fifo, visibility_seconds=30) as handle:
        chance = random.Random(7)
        bodies = [line(record(number)) for number in range(40) for record in (log, log)]
        chance.shuffle(bodies)
        for group in ("a", "b"):
            lines = [b"\n".join(bodies[at : at + 4]) for at in range(0, len(bodies), 4)]
            await handle.send(lines, group=group)
        await handle.send([line(poison(1))], group="a")
        worker = Worker(s3)
        await worker.work(handle.source, worker.has(40))
        assert await worker.calls() == 40
        assert len(await worker.put_aside()) == 1


@asynchronous
async def test_a_visibility_that_ends_within_a_batch_books_nothing_twice() -> None:
    async with emulated("s3") as s3, open_sqs(visibility_seconds=8) as handle:
        sent = [line(log(number)) for number in range(10)]
        await handle.send(sent)
        worker = Worker(s3)
        late = await received(handle, 10)
        # Nobody prolonged them: another worker gets them all, and is first.
        again = await received(handle, 10)
        assert {one.attempts for one in again} == {2}
        ended = await worker.pipeline.process(again)
        await handle.source.settle(ended)
        await handle.source.settle(await worker.pipeline.process(late))
        assert await worker.calls() == 10
        assert await handle.source.is_drained()


@asynchronous
async def test_what_is_prolonged_nobody_else_gets() -> None:
    async with open_sqs(visibility_seconds=8) as handle:
        await handle.send([b"1"])
        [delivery] = await received(handle, 1)
        for _ in range(10):
            await handle.source.extend([delivery.receipt])
            assert list(await handle.source.receive()) == []
        assert not handle.source.given_up


@asynchronous
async def test_a_large_object_interrupted_anywhere_is_booked_once() -> None:
    number, seed = 50_000, 20_261_122
    chance = random.Random(seed)
    async with cloud() as made:
        await made.put("large.json.gz", [line(log(one)) for one in range(number)])
        worker = Worker(made.s3)
        reference = ObjectReference(made.bucket, "large.json.gz")
        recorded = duplicates = reads = 0
        while not worker.books.objects_skipped:
            reads += 1
            left = chance.randrange(1, 12)
            digests = worker.books.read(reference, naming("large.json.gz"), poster)
            async with aclosing(digests):
                async for digest in digests:
                    committed = await worker.pipeline.book(digest)
                    recorded += committed.recorded
                    duplicates += committed.duplicates
                    left -= 1
                    if not left:
                        break
        assert recorded == number == await worker.calls()
        assert reads > 3
        # Each interruption repeats the one chunk whose booking was not noted yet.
        assert duplicates <= (reads - 1) * 3_000
        assert worker.books.records_skipped > number


@asynchronous
async def test_a_missing_object_is_waited_for_then_put_aside() -> None:
    async with cloud() as made:
        url = await make_queue(made.sqs)
        worker, source = Worker(made.s3), made.source(url)
        body = notification("late.json.gz", "never.json.gz", bucket=made.bucket).decode()
        await made.sqs.send_message(QueueUrl=url, MessageBody=body)
        results: list[DeliveryResult] = []
        async with asyncio.timeout(4 * ARRIVAL_SECONDS):
            while DeliveryResult.ACKNOWLEDGED not in results:
                deliveries: Sequence[Delivery] = await source.receive()
                # The machine's clock is not the test's: LocalStack says when it was sent.
                deliveries = [
                    Delivery(one.body, one.receipt, one.name, "", one.attempts)
                    for one in deliveries
                ]
                ended = await worker.pipeline.process(deliveries)
                results += [one.result for one in ended]
                await source.settle(ended)
                if len(results) == 1:
                    await made.put("late.json.gz", [line(log(1))])
        assert results == [DeliveryResult.DEFERRED] * 2 + [DeliveryResult.ACKNOWLEDGED]
        assert await worker.calls() == 1
        [record] = await worker.put_aside()
        assert record.position.source == f"s3://{made.bucket}/never.json.gz"
        assert record.body.decode() == body


@asynchronous
async def test_versions_of_an_object_are_told_apart() -> None:
    async with cloud() as made:
        await made.s3.put_bucket_versioning(
            Bucket=made.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        worker = Worker(made.s3)
        versions = []
        for number in range(2):
            await made.put("key", [line(log(number))])
            head = await made.s3.head_object(Bucket=made.bucket, Key="key")
            versions.append(head["VersionId"])
        await made.s3.delete_object(Bucket=made.bucket, Key="key")
        with pytest.raises(MissingObjectError):
            await worker.reader.open(ObjectReference(made.bucket, "key"))
        for number, version_id in enumerate(versions):
            reference = ObjectReference(made.bucket, "key", version_id=version_id)
            opened = await worker.reader.open(reference)
            assert opened.version == f"version:{version_id}"
            content = b"".join([piece async for piece in opened.pieces()])
            assert gzip.decompress(content) == line(log(number))
            await opened.close()


@asynchronous
async def test_a_queue_and_a_bucket_that_are_not_there_are_named() -> None:
    async with cloud() as made:
        url = (await make_queue(made.sqs)).replace("/q", "/missing-q")
        with pytest.raises(ConfigurationError, match="missing-q") as caught:
            await made.source(url).receive()
        assert "LEDGEROCK_QUEUES" in str(caught.value)
        reader = S3Reader(AwsClient("s3", client=made.s3))
        with pytest.raises(ConfigurationError, match="s3://missing-bucket/key"):
            await reader.open(ObjectReference("missing-bucket", "key"))


@asynchronous
async def test_a_call_in_a_log_object_and_in_a_trail_message_is_one_call() -> None:
    async with cloud() as made:
        url = await make_queue(made.sqs)
        await notify_directly(made, url)
        worker, source = Worker(made.s3), made.source(url)
        for number in range(5):
            body = line(event(number)).decode()
            await made.sqs.send_message(QueueUrl=url, MessageBody=body)
        await made.put("logs/1.json.gz", [line(log(number)) for number in range(5)])

        async def metered() -> bool:
            totals = await worker.ledger.totals("principal")
            return sum(one.cost_pico_usd for one in totals.values()) == 5 * CALL_PICO_USD

        await worker.work(source, metered)
        assert await worker.calls() == 5
