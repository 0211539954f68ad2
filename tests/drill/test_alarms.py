"""Every alarm of the template, in CloudWatch as LocalStack has it: to ALARM by data, and back.

Two things of an alarm are changed for this, and nothing else: its period becomes ten seconds, and
of five periods three are left, so that nobody waits for minutes. LocalStack looks at an alarm when
it is put, and then as often as its periods together last.

What LocalStack cannot evaluate is named by a test; what the expressions of these alarms say,
`tests/infra/test_alarms.py` works out as CloudWatch documents it.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from tests.calls import asynchronous
from tests.infra.shapes import Json
from tests.infra.watching import SEEN, Metric, alarm_metrics, seen
from tests.sources import emulated

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PERIOD_SECONDS: Final = 10
PERIODS_MAX: Final = 3
STEP_SECONDS: Final = 3
"""Between two values, so that each period has some wherever it begins."""
PAST_SECONDS: Final = 60
"""For how long something has been so when it begins: longer than any alarm looks back."""
WAIT_SECONDS: Final = 180
"""How long anything may take before the test fails; it is never waited out otherwise."""
DATUMS_MAX: Final = 500

NOT_EVALUATED: Final = {"nobody-books", "quarantine-share", "logging-off"}
"""Alarms on expressions: LocalStack takes them and leaves them alone."""
PRESENCE: Final = {"tasks-missing"}
"""Alarms that any value contents: it is nothing but the lack of one that sets them off."""


@dataclass(frozen=True)
class World:
    """What a test has in LocalStack.

    Attributes:
        stage: Begins the names of its alarms and of what they watch.
        cloudwatch: A client.
        sqs: A client.
        topics: ARNs by severity.
        queues: URLs by severity: what was told.
    """

    stage: str
    cloudwatch: Any
    sqs: Any
    topics: Mapping[str, str]
    queues: Mapping[str, str]

    async def states(self) -> dict[str, str]:
        """Return the states of all alarms by their short names."""
        found: dict[str, str] = {}
        answer = await self.cloudwatch.describe_alarms(AlarmNamePrefix=f"{self.stage}-")
        for one in answer["MetricAlarms"]:
            found[one["AlarmName"].removeprefix(f"{self.stage}-")] = one["StateValue"]
        return found

    async def until(self, expected: Mapping[str, str]) -> None:
        """Wait until alarms are in these states."""
        waiting: dict[str, str] = {}
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while True:
                    states = await self.states()
                    waiting = {one: states[one] for one in expected if states[one] != expected[one]}
                    if not waiting:
                        return
                    await asyncio.sleep(0.5)
        except TimeoutError:
            pytest.fail(f"waited {WAIT_SECONDS} s in vain; these are not as expected: {waiting}")

    async def told(self, severity: str) -> set[tuple[str, str]]:
        """Return all that was told on a topic: alarms by short name, and their new states."""
        found: set[tuple[str, str]] = set()
        while True:
            answer = await self.sqs.receive_message(
                QueueUrl=self.queues[severity], MaxNumberOfMessages=10
            )
            if not answer.get("Messages"):
                return found
            for one in answer["Messages"]:
                alarm = json.loads(one["Body"])
                name = alarm["AlarmName"].removeprefix(f"{self.stage}-")
                found.add((name, alarm["NewStateValue"]))
                await self.sqs.delete_message(
                    QueueUrl=self.queues[severity], ReceiptHandle=one["ReceiptHandle"]
                )


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    """Make topics whose messages can be read; remove the alarms at the end."""
    stage = f"ledgerock-t{uuid.uuid4().hex[:8]}"
    async with AsyncExitStack() as stack:
        cloudwatch, sqs, sns = [
            await stack.enter_async_context(emulated(name)) for name in ("cloudwatch", "sqs", "sns")
        ]
        topics: dict[str, str] = {}
        queues: dict[str, str] = {}
        for severity in ("page", "ticket"):
            name = f"{stage}-{severity}"
            topics[severity] = (await sns.create_topic(Name=name))["TopicArn"]
            queues[severity] = (await sqs.create_queue(QueueName=name))["QueueUrl"]
            attributes = await sqs.get_queue_attributes(
                QueueUrl=queues[severity], AttributeNames=["QueueArn"]
            )
            await sns.subscribe(
                TopicArn=topics[severity],
                Protocol="sqs",
                Endpoint=attributes["Attributes"]["QueueArn"],
                Attributes={"RawMessageDelivery": "true"},
            )
        made = World(stage, cloudwatch, sqs, topics, queues)
        try:
            yield made
        finally:
            names = [f"{stage}-{one}" for one in await made.states()]
            await cloudwatch.delete_alarms(AlarmNames=names)


def every_alarm(stage: str) -> dict[str, Json]:
    """Return the properties of all alarms there are, of all shapes, by their short names."""
    found: dict[str, Json] = {}
    for name in SEEN:
        found |= seen(name, stage.removeprefix("ledgerock-")).alarms
    return found


def quickened(alarm: Json, topics: Mapping[str, str]) -> Json:
    """Return an alarm as LocalStack is to have it, with topics that are there."""
    severity = "page" if "OKActions" in alarm else "ticket"
    actions: Json = {
        one: [topics[severity]] for one in ("AlarmActions", "OKActions") if one in alarm
    }
    periods = min(alarm["EvaluationPeriods"], PERIODS_MAX)
    made = {**alarm, **actions, "EvaluationPeriods": periods}
    made.pop("Tags", None)
    if "Period" in made:
        made["Period"] = PERIOD_SECONDS
    return made


def beyond(alarm: Json) -> float:
    """Return a value that sets an alarm off."""
    below = alarm["ComparisonOperator"].startswith("LessThan")
    return float(alarm["Threshold"]) + (-1 if below else 1)


@dataclass
class Feeder:
    """Writes values of metrics every few seconds, as whoever measures them would.

    Attributes:
        cloudwatch: A client.
        values: What is written now.
    """

    cloudwatch: Any
    values: dict[Metric, float] = field(default_factory=dict)

    async def begin(self, values: Mapping[Metric, float]) -> None:
        """Write other values from now on, and as if they had been so for a while."""
        self.values |= values
        await self._put(values, range(-PAST_SECONDS, 0, STEP_SECONDS))

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._put(self.values, (0,))
            await asyncio.sleep(STEP_SECONDS)

    async def _put(self, values: Mapping[Metric, float], offsets: Iterable[int]) -> None:
        now = datetime.now(UTC)
        by_namespace: dict[str, list[Json]] = {}
        for metric, value in values.items():
            dimensions = [{"Name": one, "Value": text} for one, text in metric.dimensions]
            by_namespace.setdefault(metric.namespace, []).extend(
                {
                    "MetricName": metric.name,
                    "Dimensions": dimensions,
                    "Timestamp": now + timedelta(seconds=offset),
                    "Value": value,
                }
                for offset in offsets
            )
        for namespace, data in by_namespace.items():
            for place in range(0, len(data), DATUMS_MAX):
                await self.cloudwatch.put_metric_data(
                    Namespace=namespace, MetricData=data[place : place + DATUMS_MAX]
                )


@asynccontextmanager
async def feeding(cloudwatch: Any) -> AsyncIterator[Feeder]:
    """Have a feeder write beside the test."""
    feeder = Feeder(cloudwatch)
    running = asyncio.create_task(feeder.run())
    try:
        yield feeder
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@asynchronous
async def test_each_alarm_goes_off_by_data_and_is_over_by_data() -> None:
    async with world() as made, feeding(made.cloudwatch) as feeder:
        alarms = every_alarm(made.stage)
        for one in alarms.values():
            await made.cloudwatch.put_metric_alarm(**quickened(one, made.topics))
        driven = {name: alarm for name, alarm in alarms.items() if name not in NOT_EVALUATED}
        metrics = {name: next(alarm_metrics(alarm)) for name, alarm in driven.items()}
        well = {metrics[name]: 1.0 if name in PRESENCE else 0.0 for name in driven}
        heartbeats = {
            name for name, alarm in driven.items() if alarm["TreatMissingData"] == "breaching"
        }
        assert len(heartbeats) == 4

        # Nothing is measured yet: heartbeats are missed, everything else is well.
        await made.until({name: "ALARM" if name in heartbeats else "OK" for name in driven})

        # Heartbeats come.
        await feeder.begin({metrics[name]: well[metrics[name]] for name in heartbeats})
        await made.until(dict.fromkeys(driven, "OK"))

        # Something is wrong.
        wrong = driven.keys() - PRESENCE
        await feeder.begin({metrics[name]: beyond(driven[name]) for name in wrong})
        await made.until(dict.fromkeys(wrong, "ALARM"))

        # It is well again.
        feeder.values.update(well)
        await made.until(dict.fromkeys(driven, "OK"))

        pages = {name for name in driven if "OKActions" in driven[name]}
        told = await made.told("page")
        assert {name for name, state in told if state == "ALARM"} == pages
        assert {name for name, state in told if state == "OK"} == pages
        assert await made.told("ticket") == {(name, "ALARM") for name in driven.keys() - pages}

        states = await made.states()
        assert {states[name] for name in NOT_EVALUATED} == {"INSUFFICIENT_DATA"}


def test_what_localstack_cannot_evaluate_is_the_alarms_on_expressions() -> None:
    alarms = every_alarm("ledgerock-try")
    assert {name for name, alarm in alarms.items() if "Metrics" in alarm} == NOT_EVALUATED
    assert {one["Statistic"] for one in alarms.values() if "Metrics" not in one} <= {
        *("Sum", "Maximum", "SampleCount"),
    }
