"""What every channel for people does with messages: in memory, on SNS, posted to a webhook."""

import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from aiobotocore.session import get_session
from moto.server import ThreadedMotoServer

from tests.calls import asynchronous
from tests.dynamodb import ENVIRONMENT, localstack_endpoint
from tests.unit.adapters.webhooks import Receiver, receiving
from tests.unit.core.people_events import EVENTS, HOSTILE
from tests.unit.test_announcer import Clock
from worker.adapters.aws_client import AwsClient
from worker.adapters.memory_channel import MemoryChannel
from worker.adapters.sns_channel import SnsChannel
from worker.adapters.webhook_channel import WebhookChannel
from worker.core.people import message_of
from worker.ports import Channel

Read = Callable[[int], Awaitable[list[str]]]
"""Waits for so many messages, and returns their texts as people see them."""
Open = Callable[[], AbstractAsyncContextManager[tuple[Channel, Read]]]


@asynccontextmanager
async def _memory() -> AsyncIterator[tuple[Channel, Read]]:
    channel = MemoryChannel()

    async def read(_number: int) -> list[str]:
        return [one.text for one in channel.messages]

    yield channel, read
    await channel.close()


@asynccontextmanager
async def _webhook() -> AsyncIterator[tuple[Channel, Read]]:
    async with receiving() as receiver:
        channel = WebhookChannel(receiver.url, "secret", Clock())

        async def read(_number: int) -> list[str]:
            return [str(json.loads(one.body)["text"]) for one in receiver.posts]

        try:
            yield channel, read
        finally:
            await channel.close()


@asynccontextmanager
async def _slack() -> AsyncIterator[tuple[Channel, Read]]:
    async with receiving() as receiver:
        channel = WebhookChannel(receiver.url, "", Clock(), slack_hosts=["127.0.0.1"])

        async def read(_number: int) -> list[str]:
            return [slack_text(receiver, number) for number in range(len(receiver.posts))]

        try:
            yield channel, read
        finally:
            await channel.close()


def slack_text(receiver: Receiver, number: int) -> str:
    """Return everything that a message shows, as Slack does: without escapes."""
    shown: list[str] = []
    for block in json.loads(receiver.posts[number].body)["blocks"]:
        parts = block.get("elements") or [block["text"]]
        shown += [part["text"] for part in parts]
    text = "\n".join(shown)
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


@asynccontextmanager
async def _sns_at(endpoint: str) -> AsyncIterator[tuple[Channel, Read]]:
    """Open a topic with a queue that sees what subscribers see."""
    options = {
        "endpoint_url": endpoint,
        "region_name": ENVIRONMENT["AWS_REGION"],
        "aws_access_key_id": "test",
        "aws_secret_access_key": "test",
    }
    session, name = get_session(), f"t{uuid.uuid4().hex}"
    async with (
        session.create_client("sns", **options) as sns,
        session.create_client("sqs", **options) as sqs,
    ):
        topic = (await sns.create_topic(Name=name))["TopicArn"]
        queue = (await sqs.create_queue(QueueName=name))["QueueUrl"]
        arn = f"arn:aws:sqs:{ENVIRONMENT['AWS_REGION']}:{topic.split(':')[4]}:{name}"
        await sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)

        async def read(number: int) -> list[str]:
            found: list[str] = []
            while len(found) < number:
                answer = await sqs.receive_message(
                    QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5
                )
                for one in answer.get("Messages", []):
                    envelope = json.loads(one["Body"])
                    assert 0 < len(envelope["Subject"]) < 100
                    assert envelope["MessageAttributes"]["detail_type"]["Value"]
                    found.append(str(envelope["Message"]))
                    await sqs.delete_message(QueueUrl=queue, ReceiptHandle=one["ReceiptHandle"])
            return found

        channel = SnsChannel(topic, client=AwsClient("sns", client=sns))
        try:
            yield channel, read
        finally:
            await channel.close()


@asynccontextmanager
async def _moto() -> AsyncIterator[tuple[Channel, Read]]:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        async with _sns_at(f"http://{host}:{port}") as opened:
            yield opened
    finally:
        server.stop()


@asynccontextmanager
async def _localstack() -> AsyncIterator[tuple[Channel, Read]]:
    async with _sns_at(localstack_endpoint()) as opened:
        yield opened


KINDS = [
    pytest.param(_memory, id="memory"),
    pytest.param(_webhook, id="webhook"),
    pytest.param(_slack, id="slack"),
    pytest.param(_moto, id="moto"),
    pytest.param(_localstack, id="localstack", marks=pytest.mark.integration),
]


@pytest.fixture(params=KINDS)
def open_channel(request: pytest.FixtureRequest) -> Open:
    """Open channels of one kind; another adapter is another parameter."""
    opens: Open = request.param
    return opens


@asynchronous
async def test_every_message_arrives_whole(open_channel: Open) -> None:
    messages = [message_of(one.detail_type, one.detail) for one in EVENTS]
    async with open_channel() as (channel, read):
        assert channel.name
        for message in messages:
            await channel.tell(message)
        found = await read(len(messages))
    assert len(found) == len(messages)
    for message in messages:
        [text] = [one for one in found if message.event_id in one]
        detail: dict[str, Any] = json.loads(message.detail)
        for part in ("message", "next", "command"):
            assert detail[part] in text, part


@asynchronous
async def test_hostile_names_arrive_as_text(open_channel: Open) -> None:
    async with open_channel() as (channel, read):
        for event in HOSTILE:
            await channel.tell(message_of(event.detail_type, event.detail))
        found = await read(len(HOSTILE))
    assert len(found) == len(HOSTILE)
    assert all(len(one) < 20_000 for one in found)
