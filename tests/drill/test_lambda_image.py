"""The Lambda image: each handler in a container of its own, driven through the Runtime API.

AWS services are LocalStack's. Containers share this machine's network, so that they reach it and
the Runtime API's stand-in under the names that the tests know.
"""

import asyncio
import gzip
import hashlib
import json
import os
import random
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import pytest

from handlers.opening import open_function
from tests.calls import PRO, asynchronous
from tests.dynamodb import ENVIRONMENT, ROOT, ledger_at, localstack_endpoint, new_prefix
from tests.events import checked_event
from tests.handlers.lambdas import (
    awslogs_event,
    failures,
    kinesis_event,
    message_id,
    object_event,
    scheduled_event,
    sequence_number,
    sqs_event,
    subscription,
    table_event,
    trail_event,
)
from tests.handlers.runtime_api import Invocation, RuntimeApi, runtime_api
from tests.notifications import notification
from tests.records import event, line, log, poison
from tests.unit.core.decoders.payloads import aggregate
from tests.workers import aws, new_queue, wait_for
from worker.adapters.clock import SystemClock
from worker.core.budget_terms import Budget, Scope
from worker.core.ledger import Amounts

BUILD_SECONDS: Final = 420
CALL_PICO_USD: Final = 2_400_000_000

pytestmark = [pytest.mark.integration, pytest.mark.timeout(BUILD_SECONDS + 240)]


@pytest.fixture(scope="module")
def image() -> str:
    """Build the image as `make images` does."""
    tag = f"ledgerock-test-{hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]}:functions"
    wheels = [sys.executable, "-m", "tools.laptop.wheels"]
    build = ["docker", "build", "--quiet", "--file", "docker/Dockerfile", "--target", "lambda"]
    environment = {name: text for name, text in os.environ.items() if "COV" not in name}
    for command in (wheels, [*build, "--tag", tag, "."]):
        ran = subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout}\n{ran.stderr}"
    return tag


class Container:
    """A running function.

    Attributes:
        api: What it gets its events from.
    """

    def __init__(self, name: str, api: RuntimeApi) -> None:
        self._name = name
        self.api = api

    def invoke(self, sent: Any, *, seconds: float = 60) -> Invocation:
        return self.api.invoke(sent, seconds=seconds)

    def answer(self, sent: Any, *, seconds: float = 60) -> Any:
        """Invoke, and return the answer of an invocation that must succeed."""
        ended = self.invoke(sent, seconds=seconds)
        assert ended.error is None, f"{ended.error}\n{self.output()}"
        return ended.answer

    def kill(self) -> None:
        _docker("kill", "--signal", "KILL", self._name)

    def output(self) -> str:
        return _docker("logs", self._name)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(one) for one in self.output().splitlines() if one.startswith("{")]


def _docker(*arguments: str) -> str:
    ran = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=120, check=False
    )
    return ran.stdout + ran.stderr


class Deployment:
    """Tables, buckets, a bus and parameters of a test's own, and functions on them."""

    def __init__(self, image: str) -> None:
        self._image = image
        self.prefix = new_prefix()
        self.bucket = f"logs-{uuid.uuid4().hex}"
        self.bus = f"bus-{uuid.uuid4().hex}"
        self.path = f"/ledgerock/{self.prefix}"
        self.endpoint = localstack_endpoint()
        self.queue = ""

    async def make(self) -> None:
        async with aws("s3") as s3:
            await s3.create_bucket(Bucket=self.bucket)
        async with aws("sqs") as sqs, aws("events") as events:
            self.queue = await new_queue(sqs)
            wanted = {"QueueUrl": self.queue, "AttributeNames": ["QueueArn"]}
            arn = (await sqs.get_queue_attributes(**wanted))["Attributes"]["QueueArn"]
            await events.create_event_bus(Name=self.bus)
            pattern = json.dumps({"source": ["ledgerock"]})
            rule = {"Name": "collect", "EventBusName": self.bus}
            await events.put_rule(**rule, EventPattern=pattern)
            target = {"Id": "queue", "Arn": arn}
            await events.put_targets(Rule="collect", EventBusName=self.bus, Targets=[target])
        async with aws("ssm") as ssm:
            for name, text, kind in (
                ("ledger", f"dynamodb:{self.prefix}", "String"),
                ("bus", self.bus, "SecureString"),
                ("quarantine", f"s3://{self.bucket}/quarantine/", "String"),
                ("create-tables", "1", "String"),
                # The environment says otherwise, and wins.
                ("table_prefix", "nobody", "String"),
                ("resolve/profiles", "1", "String"),
            ):
                await ssm.put_parameter(Name=f"{self.path}/{name}", Value=text, Type=kind)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **ENVIRONMENT,
            "AWS_ENDPOINT_URL": self.endpoint,
            "LEDGEROCK_SSM_PATH": self.path,
            "LEDGEROCK_RESOLVE_PROFILES": "0",
        }

    @contextmanager
    def function(self, module: str) -> Iterator[Container]:
        name = f"ledgerock-function-{uuid.uuid4().hex}"
        with runtime_api() as api:
            variables = {
                **self.environment,
                "AWS_LAMBDA_RUNTIME_API": api.address,
                "AWS_LAMBDA_FUNCTION_NAME": f"ledgerock-{module}",
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
                "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            }
            options = [f"--env={key}={text}" for key, text in variables.items()]
            read_only = ["--read-only", "--tmpfs=/tmp", "--network=host"]
            started = _docker(
                "run", "--detach", f"--name={name}", *read_only, *options, self._image,
                f"handlers.{module}.handler",
            )  # fmt: skip
            try:
                yield Container(name, api)
            finally:
                removed = _docker("rm", "--force", name)
                assert name in removed, started

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Any]:
        """Open what the functions open, in this process."""
        with pytest.MonkeyPatch.context() as patch:
            for name, text in self.environment.items():
                patch.setenv(name, text)
            async with open_function(self.environment) as booking:
                yield booking

    async def totals(self) -> Amounts:
        """Return what is booked, of a ledger that is sound."""
        async with ledger_at(self.endpoint, self.prefix) as ledger:
            verified = await ledger.verify()
            assert (verified.differences, verified.unsettled) == ((), ())
            return (await ledger.totals("model")).get(PRO, Amounts())

    async def announced(self) -> list[dict[str, Any]]:
        """Return the events that the bus delivered so far, taking them."""
        async with aws("sqs") as sqs:
            found: list[dict[str, Any]] = []
            while True:
                wanted = {"MaxNumberOfMessages": 10, "WaitTimeSeconds": 1}
                answer = await sqs.receive_message(QueueUrl=self.queue, **wanted)
                if not answer.get("Messages"):
                    return found
                for message in answer["Messages"]:
                    found.append(json.loads(message["Body"]))
                    checked_event(found[-1])
                    handle = message["ReceiptHandle"]
                    await sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=handle)


def now_log(number: int, **more: Any) -> dict[str, Any]:
    return log(number, at_ms=SystemClock().now_ms(), **more)


@asynchronous
async def test_every_handler_books_what_its_trigger_brings(image: str) -> None:
    made = Deployment(image)
    await made.make()
    async with made.opened() as booking:
        await booking.state.budgets.put(
            Budget("all", Scope("everything"), 10 * CALL_PICO_USD, period="monthly")
        )
    content = b"\n".join(line(now_log(number)) for number in range(20, 24)) + b"\n{broken\n"
    async with aws("s3") as s3:
        for key in ("AWSLogs/a b.json.gz", "AWSLogs/c.json.gz"):
            packed = gzip.compress(content)
            await s3.put_object(Bucket=made.bucket, Key=key, Body=packed)

    def drive() -> None:
        with made.function("sqs") as sqs:
            first = sqs_event(line(now_log(1)), line(poison(2)), line(event(3, (1_000, 500))))
            assert failures(sqs.answer(first)) == []
            named = notification("AWSLogs/a b.json.gz", bucket=made.bucket)
            assert failures(sqs.answer(sqs_event(named, line(log(3)), fifo=True))) == []
            missing = sqs_event(notification("gone.gz", bucket=made.bucket), line(now_log(4)))
            for record in missing["Records"]:
                record["attributes"]["SentTimestamp"] = str(SystemClock().now_ms())
            assert failures(sqs.answer(missing)) == [message_id(0)]
            assert failures(sqs.answer(sqs_event(line(now_log(5))), seconds=0)) == [message_id(0)]
            said = sqs.lines()
            assert sum("ColdStart" in one for one in said) == 1
            assert sum(one.get("message") == "opened" for one in said) == 1
        with made.function("kinesis") as kinesis:
            packed = aggregate(line(now_log(6)), subscription(now_log(7), now_log(1)))
            sent = kinesis_event(line(now_log(5)), b"poison", packed)
            assert failures(kinesis.answer(sent)) == []
            assert failures(kinesis.answer(sent, seconds=0)) == [sequence_number(0)]
        with made.function("cloudwatch_logs") as logs:
            assert logs.answer(awslogs_event(now_log(8), now_log(5))) is None
            late = logs.invoke(awslogs_event(now_log(9)), seconds=0).error
            assert late is not None
            assert late["errorType"] == "DeferredError"
        with made.function("eventbridge") as bridge:
            assert bridge.answer(trail_event(event(10, (1_000, 500)))) is None
            assert bridge.answer(object_event(made.bucket, "AWSLogs/c.json.gz")) is None
            assert bridge.answer(object_event(made.bucket, "AWSLogs/a b.json.gz")) is None
        with made.function("announcer") as announcer:
            assert failures(announcer.answer(table_event("INSERT"))) == []
            assert announcer.answer(scheduled_event()) is None

    await asyncio.to_thread(drive)
    # 1, 3 to 8, 10 and four in an object; 9 was never begun.
    totals = await made.totals()
    assert (totals.calls, totals.cost_pico_usd) == (12, 12 * CALL_PICO_USD)
    events = [one for one in await made.announced() if one["detail-type"].startswith("Budget")]
    assert sorted(one["detail"]["event_id"] for one in events) == sorted(
        {one["detail"]["event_id"] for one in events}
    )
    assert len(events) == 3
    async with aws("s3") as s3:
        kept = await s3.list_objects_v2(Bucket=made.bucket, Prefix="quarantine/")
    # A bad log, a bad record of the stream, and a bad line each of two objects.
    assert kept["KeyCount"] == 4


@asynchronous
async def test_a_function_that_is_killed_in_the_middle_is_invoked_again(image: str) -> None:
    """The batch is handed over until it is answered; what was booked before is not booked again."""
    made = Deployment(image)
    await made.make()
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    calls = 600
    sent = sqs_event(
        *[line(now_log(number, user=f"user-{number % 90}")) for number in range(calls)]
    )

    def drive() -> None:
        with made.function("sqs") as sqs:
            assert failures(sqs.answer(sqs_event(line(now_log(0))))) == []
            under_way = sqs.api.send(sent)
            assert under_way.taken.wait(60)
            wait_for(lambda: asyncio.run(_calls(made)) > 1, "the first transaction")
            under_way.ended.wait(chance.uniform(0, 0.2))
            sqs.kill()
        with made.function("sqs") as sqs:
            assert failures(sqs.answer(sent)) == []

    await asyncio.to_thread(drive)
    totals = await made.totals()
    assert (totals.calls, totals.cost_pico_usd) == (calls, calls * CALL_PICO_USD), f"seed {seed}"


async def _calls(made: Deployment) -> int:
    async with ledger_at(made.endpoint, made.prefix) as ledger:
        return sum(amounts.calls for _, amounts in await ledger.balances())
