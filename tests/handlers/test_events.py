"""A function behind the wrong trigger says what it expected, what it found, and what to do."""

from typing import Any

import pytest

from handlers import announcer, cloudwatch_logs, eventbridge, kinesis, sqs
from handlers.events import WrongEventError
from tests.handlers.conftest import Start
from tests.handlers.lambdas import (
    Handler,
    ScriptedPipeline,
    awslogs_event,
    context,
    kinesis_event,
    object_event,
    opener,
    scheduled_event,
    scripted,
    sqs_event,
    table_event,
)
from tests.records import log

EVENTS: dict[str, Any] = {
    "sqs": sqs_event("{}"),
    "kinesis": kinesis_event(b"{}"),
    "cloudwatch_logs": awslogs_event(log(1)),
    "eventbridge": object_event("logs", "a.json.gz"),
    "announcer": table_event("INSERT"),
    "schedule": scheduled_event(),
}
HANDLERS: dict[str, Handler] = {
    "sqs": sqs.handler,
    "kinesis": kinesis.handler,
    "cloudwatch_logs": cloudwatch_logs.handler,
    "eventbridge": eventbridge.handler,
    "announcer": announcer.handler,
}
MISUSES = [
    (handler, event)
    for handler in HANDLERS
    for event in EVENTS
    if handler != event and (handler, event) != ("announcer", "schedule")
]


@pytest.fixture(autouse=True)
def pipeline(start: Start) -> ScriptedPipeline:
    made = ScriptedPipeline()
    start(opener(scripted(made)))
    return made


@pytest.mark.parametrize(
    "handler, event", [one for one in MISUSES if one != ("eventbridge", "schedule")]
)
def test_events_of_another_trigger_are_refused_by_name(
    pipeline: ScriptedPipeline, handler: str, event: str
) -> None:
    with pytest.raises(WrongEventError) as refused:
        HANDLERS[handler](EVENTS[event], context())
    text = str(refused.value)
    better = "announcer" if event == "schedule" else event
    assert text.startswith(f"handlers.{handler}.handler expected ")
    assert f"handlers.{better}.handler is for those" in text
    assert pipeline.seen == []


def test_a_schedule_is_an_event_that_holds_no_calls(pipeline: ScriptedPipeline) -> None:
    """Any event of EventBridge may reach a rule; the decoder says what it is."""
    assert eventbridge.handler(scheduled_event(), context()) is None
    assert len(pipeline.seen) == 1


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=list(HANDLERS))
@pytest.mark.parametrize(
    "event, found",
    [
        ([1, 2], "a JSON list"),
        ("text", "a JSON str"),
        (None, "a JSON NoneType"),
        ({}, "an object with no keys"),
        ({"key1": "value1", "key2": 2}, "an object with the keys key1, key2"),
        ({f"k{one}": one for one in range(20)}, "the keys k0, k1, k2, k3, k4, k5, k6, k7 …"),
        ({"Records": [{"EventSource": "aws:sns", "Sns": {}}]}, "a record of aws:sns"),
        ({"Records": [{"eventSource": "aws:s3", "s3": {}}]}, "a record of aws:s3"),
        ({"Records": ["text"]}, "Records[] of str"),
        ({"Records": [{"eventSource": "x" * 5_000}]}, "x" * 80 + "…"),
    ],
    ids=lambda one: str(one)[:30] if isinstance(one, str) else None,
)
def test_anything_else_is_described(handler: Handler, event: Any, found: str) -> None:
    with pytest.raises(WrongEventError) as refused:
        handler(event, context())
    assert found in str(refused.value)
    assert len(str(refused.value)) < 600


def _without(event: dict[str, Any], *path: str) -> dict[str, Any]:
    inner: Any = event["Records"][-1]
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return event


@pytest.mark.parametrize(
    "handler, event",
    [
        (sqs.handler, _without(sqs_event("{}", "{}"), "messageId")),
        (sqs.handler, _without(sqs_event("{}", "{}"), "eventSource")),
        (sqs.handler, _without(sqs_event("{}", "{}"), "body")),
        (kinesis.handler, _without(kinesis_event(b"{}", b"{}"), "kinesis")),
        (kinesis.handler, _without(kinesis_event(b"{}", b"{}"), "kinesis", "sequenceNumber")),
        (kinesis.handler, _without(kinesis_event(b"{}", b"{}"), "kinesis", "data")),
        (kinesis.handler, kinesis_event(b"{}", b"{}", numbers=["1", "LATEST"])),
        (kinesis.handler, kinesis_event(b"{}", b"{}", numbers=["1", "²"])),
        (cloudwatch_logs.handler, {"awslogs": {"data": 7}}),
        (cloudwatch_logs.handler, {"awslogs": "text"}),
        (eventbridge.handler, {"detail-type": 7}),
    ],
)
def test_a_record_that_could_not_be_reported_on_fails_the_batch(
    pipeline: ScriptedPipeline, handler: Handler, event: Any
) -> None:
    """A malformed id in the answer would fail the whole batch as well, and silently."""
    with pytest.raises(WrongEventError):
        handler(event, context())
    assert pipeline.seen == []
