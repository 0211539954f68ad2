"""Probes of latency: messages sent at a pace, and when each was seen again.

The pace is kept whatever comes of it: a message is sent when it is due, and its clock starts
when it was due, not when the engine found time for it.
"""

import asyncio
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final

from tests.bench.measuring import DisagreementError
from tests.bench.queue_engine import SENT_AT_ONCE, send_batch
from tests.workers import aws, new_queue
from worker.settings import WorkerSettings

PATIENCE_SECONDS: Final = 120.0
RECEIVED_MAX: Final = 10
POLL_SECONDS: Final = 20

Name = Callable[[dict[str, Any]], str]


class Probes:
    """Messages by name: when each was due, and when it was first seen again."""

    def __init__(self, bodies: Mapping[str, str]) -> None:
        """Take the messages' bodies by what they will be known by."""
        self.bodies = bodies
        self.sent: dict[str, float] = {}
        self.seen: dict[str, float] = {}
        self._all = asyncio.Event()

    def see(self, name: str) -> None:
        """Note that a message, or what it caused, arrived; what is not asked for is ignored."""
        if name in self.bodies:
            self.seen.setdefault(name, time.perf_counter())
            if len(self.seen) == len(self.bodies):
                self._all.set()

    async def all_seen(self) -> None:
        """Wait for the last.

        Raises:
            DisagreementError: Some never came.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._all.wait()
        except TimeoutError:
            missing = len(self.bodies) - len(self.seen)
            raise DisagreementError(f"{missing} of {len(self.bodies)} probes never came") from None

    def milliseconds(self) -> list[float]:
        """Return how long each took."""
        return [1000 * (self.seen[name] - self.sent[name]) for name in self.bodies]


def percentile(values: Sequence[float], share: float) -> float:
    """Return the least value that so large a share of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


async def send_probes(sqs: Any, queue: str, probes: Probes, per_second: float) -> None:
    """Send each when it is due."""
    first = time.perf_counter()

    async def send(number: int, name: str, body: str) -> None:
        due = first + number / per_second
        await asyncio.sleep(due - time.perf_counter())
        probes.sent[name] = due
        await sqs.send_message(QueueUrl=queue, MessageBody=body)

    await asyncio.gather(
        *(send(number, name, body) for number, (name, body) in enumerate(probes.bodies.items()))
    )


async def send_others(
    sqs: Any, queue: str, lines: Iterator[bytes], per_second: float, seconds: float
) -> int:
    """Send other messages by tens at a pace; return how many."""
    first = time.perf_counter()
    requests = int(per_second * seconds / SENT_AT_ONCE)

    async def send(number: int, chunk: list[str]) -> None:
        await asyncio.sleep(first + number * SENT_AT_ONCE / per_second - time.perf_counter())
        await send_batch(sqs, queue, chunk)

    chunks = [[line.decode() for line in islice(lines, SENT_AT_ONCE)] for _ in range(requests)]
    await asyncio.gather(*(send(number, chunk) for number, chunk in enumerate(chunks)))
    return requests * SENT_AT_ONCE


@asynccontextmanager
async def watched(queue: str, see: Callable[[str], None], name_of: Name) -> AsyncIterator[None]:
    """Take all messages from a queue by plain long polling, as many receivers as ours has."""

    async def receive(sqs: Any) -> None:
        while True:
            answer = await sqs.receive_message(
                QueueUrl=queue, MaxNumberOfMessages=RECEIVED_MAX, WaitTimeSeconds=POLL_SECONDS
            )
            messages = answer.get("Messages", ())
            for message in messages:
                see(name_of(json.loads(message["Body"])))
            if messages:
                entries = [
                    {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
                    for number, message in enumerate(messages)
                ]
                await sqs.delete_message_batch(QueueUrl=queue, Entries=entries)

    async with aws("sqs") as sqs:
        receivers = [asyncio.create_task(receive(sqs)) for _ in range(WorkerSettings().receivers)]
        try:
            yield
        finally:
            for one in receivers:
                one.cancel()
            outcomes = await asyncio.gather(*receivers, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome


@asynccontextmanager
async def collected(bus: str) -> AsyncIterator[str]:
    """Make a bus, and a queue that a rule puts everything of ours into; yield its URL."""
    async with aws("events") as events, aws("sqs") as sqs:
        queue = await new_queue(sqs)
        answer = await sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        await events.create_event_bus(Name=bus)
        pattern = json.dumps({"source": ["ledgerock"]})
        await events.put_rule(Name=bus, EventBusName=bus, EventPattern=pattern)
        target = {"Id": "collect", "Arn": answer["Attributes"]["QueueArn"]}
        await events.put_targets(Rule=bus, EventBusName=bus, Targets=[target])
        try:
            yield queue
        finally:
            await events.remove_targets(Rule=bus, EventBusName=bus, Ids=["collect"])
            await events.delete_rule(Name=bus, EventBusName=bus)
            await events.delete_event_bus(Name=bus)
            await sqs.delete_queue(QueueUrl=queue)
