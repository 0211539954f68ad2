"""EventBridge when it refuses, is not there, or says yes to what it drops."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from tests.calls import NOON, asynchronous
from worker.adapters.aws_client import AwsClient
from worker.adapters.eventbridge_bus import LOOKED_UP_SECONDS, EventBridgeBus
from worker.core.errors import ConfigurationError, TransientError
from worker.ports import BusEvent

Answer = Callable[[list[dict[str, Any]]], dict[str, Any]]


def error(code: str, operation: str = "PutEvents", status: int = 400) -> ClientError:
    return ClientError(
        {
            "Error": {"Code": code, "Message": "injected"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        operation,
    )


def taken(entries: list[dict[str, Any]]) -> dict[str, Any]:
    return {"FailedEntryCount": 0, "Entries": [{"EventId": "e"} for _ in entries]}


class FakeClient:
    """Answers as `put` says; `look_up` is raised by lookups of the bus."""

    def __init__(self, put: Answer = taken, look_up: Exception | None = None) -> None:
        self.put = put
        self.look_up = look_up
        self.lookups = 0
        self.requests: list[list[dict[str, Any]]] = []

    async def describe_event_bus(self, **_arguments: Any) -> dict[str, Any]:
        self.lookups += 1
        if self.look_up is not None:
            raise self.look_up
        return {}

    async def put_events(self, *, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803
        self.requests.append(Entries)
        return self.put(Entries)


def bus_of(client: FakeClient) -> EventBridgeBus:
    return EventBridgeBus("spend", client=AwsClient("events", client=client))


def events(*details: str) -> list[BusEvent]:
    return [BusEvent("Usage Unpriced", f'{{"m":"{one}"}}'.encode(), NOON) for one in details]


def raising(fault: Exception) -> Answer:
    def put(_entries: list[dict[str, Any]]) -> dict[str, Any]:
        raise fault

    return put


@asynchronous
async def test_entries_say_where_from_what_and_when() -> None:
    client = FakeClient()
    assert await bus_of(client).publish(events("é")) == [""]
    [[entry]] = client.requests
    at = entry.pop("Time")
    assert at.isoformat() == "2026-10-01T12:00:00+00:00"
    assert entry == {
        "EventBusName": "spend",
        "Source": "ledgerock",
        "DetailType": "Usage Unpriced",
        "Detail": '{"m":"é"}',
    }


@asynchronous
async def test_each_entry_that_was_not_taken_is_named_with_its_reason() -> None:
    def put(entries: list[dict[str, Any]]) -> dict[str, Any]:
        results = [{"EventId": "e"} for _ in entries]
        results[1] = {"ErrorCode": "InternalFailure", "ErrorMessage": "sorry"}
        return {"FailedEntryCount": 1, "Entries": results}

    assert await bus_of(FakeClient(put)).publish(events("a", "b", "c")) == [
        "",
        "InternalFailure: sorry",
        "",
    ]


@asynchronous
async def test_a_bus_that_is_not_there_is_noticed_although_puts_would_succeed() -> None:
    client = FakeClient(look_up=error("ResourceNotFoundException", "DescribeEventBus"))
    with pytest.raises(ConfigurationError, match=r"bus spend.*LEDGEROCK_BUS"):
        await bus_of(client).publish(events("a"))
    assert client.requests == []


@asynchronous
async def test_a_bus_is_looked_up_again_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("worker.adapters.eventbridge_bus.time.monotonic", lambda: now)
    client = FakeClient()
    bus = bus_of(client)
    await bus.publish(events("a"))
    await bus.publish(events("b"))
    assert client.lookups == 1
    now += LOOKED_UP_SECONDS
    await bus.publish(events("c"))
    assert client.lookups == 2


@asynchronous
async def test_who_may_publish_need_not_be_allowed_to_look() -> None:
    client = FakeClient(look_up=error("AccessDeniedException", "DescribeEventBus"))
    assert await bus_of(client).publish(events("a")) == [""]


@pytest.mark.parametrize(
    "fault",
    [
        error("ThrottlingException"),
        error("InternalFailure", status=500),
        EndpointConnectionError(endpoint_url="https://events"),
        ReadTimeoutError(endpoint_url="https://events"),
        ConnectionResetError(),
    ],
    ids=lambda fault: type(fault).__name__,
)
@asynchronous
async def test_faults_that_pass_are_transient(fault: Exception) -> None:
    with pytest.raises(TransientError, match="bus spend"):
        await bus_of(FakeClient(raising(fault))).publish(events("a"))
    with pytest.raises(TransientError, match="bus spend"):
        await bus_of(FakeClient(look_up=fault)).publish(events("a"))


@pytest.mark.parametrize("code", ["AccessDeniedException", "ExpiredTokenException"])
@asynchronous
async def test_missing_permissions_are_for_the_operator(code: str) -> None:
    with pytest.raises(ConfigurationError, match="bus spend"):
        await bus_of(FakeClient(raising(error(code)))).publish(events("a"))


@asynchronous
async def test_entries_that_are_all_denied_are_for_the_operator() -> None:
    def put(entries: list[dict[str, Any]]) -> dict[str, Any]:
        denied = {"ErrorCode": "NotAuthorizedForSourceException", "ErrorMessage": "no"}
        return {"FailedEntryCount": len(entries), "Entries": [denied for _ in entries]}

    with pytest.raises(ConfigurationError, match="events:PutEvents"):
        await bus_of(FakeClient(put)).publish(events("a", "b"))


@asynchronous
async def test_an_entry_that_is_not_even_read_holds_up_no_other() -> None:
    def put(entries: list[dict[str, Any]]) -> dict[str, Any]:
        if any("bad" in entry["Detail"] for entry in entries):
            raise error("ValidationException")
        return taken(entries)

    client = FakeClient(put)
    [first, second, third] = await bus_of(client).publish(events("a", "bad", "c"))
    assert (first, third) == ("", "")
    assert "ValidationException" in second
    assert [len(entries) for entries in client.requests] == [3, 1, 1, 1]


@asynchronous
async def test_an_answer_that_does_not_fit_the_question_counts_as_no_answer() -> None:
    client = FakeClient(lambda _entries: {"FailedEntryCount": 0, "Entries": []})
    assert all(await bus_of(client).publish(events("a", "b")))
