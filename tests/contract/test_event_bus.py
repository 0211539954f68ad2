"""What every bus does with events; on LocalStack's EventBridge as well."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiobotocore.session import get_session

from tests.calls import asynchronous
from tests.dynamodb import ENVIRONMENT, localstack_endpoint
from tests.events import checked
from tests.unit.core.test_events import NOON, crossing, unpriced
from worker.adapters.aws_client import AwsClient
from worker.adapters.eventbridge_bus import EventBridgeBus
from worker.adapters.file_bus import FileBus
from worker.adapters.memory_bus import MemoryBus
from worker.core.budget_events import threshold_crossed
from worker.core.errors import ConfigurationError
from worker.ports import BusEvent, EventBus

Read = Callable[[int], Awaitable[list[dict[str, Any]]]]
"""Waits for so many events, and returns them as a subscriber would see them."""
Open = Callable[[], AbstractAsyncContextManager[tuple[EventBus, Read]]]

ARRIVAL_SECONDS = 30


@asynccontextmanager
async def _memory(_folder: Path) -> AsyncIterator[tuple[EventBus, Read]]:
    bus = MemoryBus()

    async def read(_number: int) -> list[dict[str, Any]]:
        return [
            {
                "source": "ledgerock",
                "detail-type": one.detail_type,
                "detail": json.loads(one.detail),
            }
            for one in bus.events
        ]

    yield bus, read
    await bus.close()


@asynccontextmanager
async def _file(folder: Path) -> AsyncIterator[tuple[EventBus, Read]]:
    path = folder / "events.jsonl"
    bus = FileBus(path)

    async def read(_number: int) -> list[dict[str, Any]]:
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    yield bus, read
    await bus.close()


@asynccontextmanager
async def clients(endpoint: str, *services: str) -> AsyncIterator[list[Any]]:
    """Open clients of an emulator."""
    async with AsyncExitStack() as stack:
        session = get_session()
        yield [
            await stack.enter_async_context(
                session.create_client(
                    service,
                    endpoint_url=endpoint,
                    region_name=ENVIRONMENT["AWS_REGION"],
                    aws_access_key_id="test",
                    aws_secret_access_key="test",
                )
            )
            for service in services
        ]


@asynccontextmanager
async def _localstack(_folder: Path) -> AsyncIterator[tuple[EventBus, Read]]:
    name = f"t{uuid.uuid4().hex}"
    async with clients(localstack_endpoint(), "events", "sqs") as [events, sqs]:
        await events.create_event_bus(Name=name)
        queue = (await sqs.create_queue(QueueName=name))["QueueUrl"]
        arn = f"arn:aws:sqs:{ENVIRONMENT['AWS_REGION']}:000000000000:{name}"
        pattern = json.dumps({"source": ["ledgerock"]})
        await events.put_rule(Name=name, EventBusName=name, EventPattern=pattern)
        await events.put_targets(
            Rule=name, EventBusName=name, Targets=[{"Id": "collected", "Arn": arn}]
        )

        async def read(number: int) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            async with asyncio.timeout(ARRIVAL_SECONDS):
                while len(found) < number:
                    answer = await sqs.receive_message(
                        QueueUrl=queue, MaxNumberOfMessages=10, WaitTimeSeconds=5
                    )
                    found += [json.loads(one["Body"]) for one in answer.get("Messages", [])]
            return found

        bus = EventBridgeBus(name, client=AwsClient("events", client=events))
        yield bus, read
        await bus.close()


KINDS = [
    pytest.param(_memory, id="memory"),
    pytest.param(_file, id="file"),
    pytest.param(_localstack, id="localstack", marks=pytest.mark.integration),
]


@pytest.fixture(params=KINDS)
def open_bus(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Open buses of one kind; another adapter is another parameter."""
    return lambda: request.param(tmp_path)


def events(number: int) -> list[BusEvent]:
    made = [
        threshold_crossed(crossing(event_id=f"crossing-\U0001f4b8-{one}"), NOON + one)
        for one in range(number)
    ]
    return [BusEvent(one.detail_type, one.detail, one.occurred_at_ms) for one in made]


@asynchronous
async def test_published_events_arrive_whole(open_bus: Open) -> None:
    other = unpriced()
    sent = [*events(9), BusEvent(other.detail_type, other.detail, NOON)]
    async with open_bus() as (bus, read):
        assert await bus.publish(sent) == [""] * 10
        assert await bus.publish([]) == []
        found = await read(10)
    assert {one["source"] for one in found} == {"ledgerock"}
    arrived = sorted((one["detail-type"], json.dumps(one["detail"])) for one in found)
    assert arrived == sorted((one.detail_type, json.dumps(json.loads(one.detail))) for one in sent)
    for one in found:
        checked(one["detail-type"], json.dumps(one["detail"]).encode())
        if "time" in one:
            assert one["time"].startswith("2026-11-22T12:00:00")
    assert len({one.get("id", number) for number, one in enumerate(found)}) == 10


@pytest.mark.integration
@asynchronous
async def test_events_for_a_bus_that_is_not_there_are_refused() -> None:
    async with clients(localstack_endpoint(), "events") as [service]:
        bus = EventBridgeBus("no-such-bus", client=AwsClient("events", client=service))
        with pytest.raises(ConfigurationError, match="no-such-bus: there is no such thing"):
            await bus.publish(events(1))


@pytest.mark.integration
@asynchronous
async def test_a_bus_opened_from_the_environment_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Unclosed connections are warnings, and warnings are errors.
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": localstack_endpoint()}.items():
        monkeypatch.setenv(name, value)
    bus = EventBridgeBus("default")
    assert await bus.publish(events(2)) == ["", ""]
    await bus.close()
