import asyncio
from collections import deque
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

from tests.calls import NOON, asynchronous
from worker.adapters.aws_client import AwsClient
from worker.adapters.sqs_source import SqsSource, Times, make_client
from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import DeliveryResult
from worker.ports import Delivery, Processed

URL = "https://sqs.eu-central-1.amazonaws.com/111122223333/calls"
FIFO = f"{URL}.fifo"
DELETE, CHANGE = "delete_message_batch", "change_message_visibility_batch"


def refused(code: str, status: int = 400) -> ClientError:
    answer: Any = {
        "Error": {"Code": code, "Message": "so it is"},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, "DoSomething")


class Stub:
    """A client of SQS that answers as told.

    Attributes:
        messages: What is received, one answer after another.
        faults: By operation: errors that are raised, or, by receipt, the codes of failed entries
            (a code that ends in `!` is the sender's fault).
    """

    def __init__(self) -> None:
        self.messages: deque[list[dict[str, Any]]] = deque()
        self.faults: dict[str, deque[Exception | dict[str, str]]] = {}
        self.requests: list[tuple[str, dict[str, Any]]] = []

    def asked(self, operation: str) -> list[dict[str, Any]]:
        return [arguments for name, arguments in self.requests if name == operation]

    def entries(self, operation: str) -> list[list[Any]]:
        """Receipts of every request, with their timeouts where there are any."""
        return [
            [
                (one["ReceiptHandle"], one["VisibilityTimeout"])
                if "VisibilityTimeout" in one
                else one["ReceiptHandle"]
                for one in arguments["Entries"]
            ]
            for arguments in self.asked(operation)
        ]

    def _meet(self, operation: str, arguments: dict[str, Any]) -> dict[str, str]:
        self.requests.append((operation, arguments))
        fault = self.faults[operation].popleft() if self.faults.get(operation) else {}
        if isinstance(fault, Exception):
            raise fault
        return fault

    async def receive_message(self, **arguments: Any) -> dict[str, Any]:
        self._meet("receive_message", arguments)
        messages = self.messages.popleft() if self.messages else []
        return {"Messages": messages} if messages else {}

    async def delete_message_batch(self, **arguments: Any) -> dict[str, Any]:
        return self._batch(DELETE, arguments)

    async def change_message_visibility_batch(self, **arguments: Any) -> dict[str, Any]:
        return self._batch(CHANGE, arguments)

    def _batch(self, operation: str, arguments: dict[str, Any]) -> dict[str, Any]:
        entries = arguments["Entries"]
        assert 1 <= len(entries) <= 10
        assert len({one["Id"] for one in entries}) == len(entries)
        codes = self._meet(operation, arguments)
        return {
            "Failed": [
                {"Id": one["Id"], "Code": code.rstrip("!"), "SenderFault": code.endswith("!")}
                for one in entries
                if (code := codes.get(one["ReceiptHandle"])) is not None
            ]
        }


class Queue:
    """A source on a stub, with a watch that is set by hand."""

    def __init__(self, url: str = URL, *, jitter: float = 1.0, **more: Any) -> None:
        self.stub = Stub()
        self.seconds = 1_000.0
        self.slept: list[float] = []
        times = Times(now=lambda: self.seconds, jitter=lambda: jitter, sleep=self._sleep)
        self.source = SqsSource(url, client=AwsClient("sqs", client=self.stub), times=times, **more)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def receive(self, *messages: dict[str, Any]) -> list[Delivery]:
        self.stub.messages.append(list(messages))
        return list(await self.source.receive())

    async def settle(self, *ended: tuple[str, bool]) -> None:
        await self.source.settle([settled(*one) for one in ended])


def message(
    receipt: str, *, group: str = "", attempts: int = 1, body: str = "{}"
) -> dict[str, Any]:
    attributes = {"ApproximateReceiveCount": str(attempts), "SentTimestamp": str(NOON)}
    if group:
        attributes["MessageGroupId"] = group
    return {
        "MessageId": f"id-{receipt}",
        "ReceiptHandle": receipt,
        "Body": body,
        "Attributes": attributes,
    }


def settled(receipt: str, acknowledged: bool) -> Processed:
    result = DeliveryResult.ACKNOWLEDGED if acknowledged else DeliveryResult.DEFERRED
    return Processed(receipt, result, 1)


@asynchronous
async def test_messages_are_received_with_what_is_known_of_them() -> None:
    queue = Queue(visibility_seconds=90)
    assert queue.source.name == "sqs:calls"
    received = await queue.receive(message("r", group="tenant", attempts=3, body='{"ü": 1}'))
    assert received == [
        Delivery(
            body='{"ü": 1}'.encode(),
            receipt="r",
            name="sqs:calls/id-r",
            group="",  # fair shares in a standard queue, not order
            attempts=3,
            sent_at_ms=NOON,
            source="sqs:calls",
        )
    ]
    [asked] = queue.stub.asked("receive_message")
    assert asked == {
        "QueueUrl": URL,
        "MaxNumberOfMessages": 10,
        "WaitTimeSeconds": 20,
        "VisibilityTimeout": 90,
        "MessageSystemAttributeNames": [
            "ApproximateReceiveCount",
            "SentTimestamp",
            "MessageGroupId",
        ],
    }


@asynchronous
async def test_a_fifo_queue_has_groups_and_repeatable_receives() -> None:
    queue = Queue(FIFO)
    [delivery] = await queue.receive(message("r", group="tenant"))
    assert (delivery.group, delivery.name) == ("tenant", "sqs:calls.fifo/id-r")
    await queue.receive()
    first, second = (one["ReceiveRequestAttemptId"] for one in queue.stub.asked("receive_message"))
    assert first != second


@asynchronous
async def test_what_ended_is_deleted_in_tens() -> None:
    queue = Queue()
    receipts = [f"r{number}" for number in range(25)]
    ended = [settled(receipt, True) for receipt in receipts[:-1]]
    await queue.source.settle([*ended, Processed("r24", DeliveryResult.QUARANTINED, 1)])
    batches = queue.stub.entries(DELETE)
    assert [len(batch) for batch in batches] == [10, 10, 5]
    assert [receipt for batch in batches for receipt in batch] == receipts
    assert queue.stub.entries(CHANGE) == []


@pytest.mark.parametrize(
    "url, attempts, jitter, seconds",
    [
        pytest.param(URL, 1, 0.0, 1, id="first-soonest"),
        pytest.param(URL, 1, 1.0, 2, id="first-latest"),
        pytest.param(URL, 5, 0.5, 24, id="fifth"),
        pytest.param(URL, 1_000, 1.0, 900, id="last"),
        pytest.param(FIFO, 1, 1.0, 2, id="fifo-first"),
        pytest.param(FIFO, 1_000, 1.0, 20, id="fifo-last"),
    ],
)
@asynchronous
async def test_what_is_deferred_comes_again_after_a_while(
    url: str, attempts: int, jitter: float, seconds: int
) -> None:
    queue = Queue(url, jitter=jitter)
    await queue.receive(message("r", group="g", attempts=attempts))
    await queue.settle(("r", False))
    assert queue.stub.entries(CHANGE) == [[("r", seconds)]]
    assert queue.stub.entries(DELETE) == []


@asynchronous
async def test_a_fifo_group_is_deleted_and_deferred_in_its_order() -> None:
    queue = Queue(FIFO)
    await queue.receive(*(message(name, group=name[0]) for name in ("a1", "a2", "a3", "b1")))
    await queue.settle(("a3", True), ("b1", True))
    assert queue.stub.entries(DELETE) == [["b1"]]
    await queue.settle(("a1", True), ("a2", False))
    assert queue.stub.entries(DELETE) == [["b1"], ["a1"]]
    assert queue.stub.entries(CHANGE) == [[("a2", 2), ("a3", 2)]]


@asynchronous
async def test_what_waits_for_its_group_is_prolonged_with_it() -> None:
    queue = Queue(FIFO)
    await queue.receive(message("a1", group="a"), message("a2", group="a"))
    await queue.settle(("a2", True))
    await queue.source.extend(["a1"])
    assert queue.stub.entries(CHANGE) == [[("a1", 60), ("a2", 60)]]


@asynchronous
async def test_entries_that_fail_are_tried_again_or_given_up() -> None:
    queue = Queue()
    queue.stub.faults[DELETE] = deque(
        [
            {"r1": "InternalError", "r2": "ReceiptHandleIsInvalid!", "r4": "ServiceUnavailable"},
            refused("RequestThrottled"),
            EndpointConnectionError(endpoint_url=URL),
            {"r1": "InternalError"},
        ]
    )
    await queue.settle(*((f"r{number}", True) for number in range(5)))
    assert queue.stub.entries(DELETE) == [
        ["r0", "r1", "r2", "r3", "r4"],
        ["r1", "r4"],
        ["r1", "r4"],
        ["r1", "r4"],
        ["r1"],
    ]
    assert queue.source.given_up == {"ReceiptHandleIsInvalid": 1}
    assert queue.slept == sorted(queue.slept)
    assert len(queue.slept) == 4


@asynchronous
async def test_retries_are_bounded() -> None:
    queue = Queue()
    queue.stub.faults[DELETE] = deque({"r": "InternalError"} for _ in range(9))
    queue.stub.faults[CHANGE] = deque(refused("InternalError", 500) for _ in range(9))
    await queue.settle(("r", True), ("s", False))
    assert len(queue.stub.asked(DELETE)) == len(queue.stub.asked(CHANGE)) == 5
    assert queue.source.given_up == {"InternalError": 2}


@asynchronous
async def test_a_request_with_a_stale_receipt_is_given_up() -> None:
    queue = Queue()
    queue.stub.faults[CHANGE] = deque([refused("InvalidParameterValue")])
    await queue.source.extend(["r"])
    assert queue.source.given_up == {"InvalidParameterValue": 1}


@asynchronous
async def test_a_missing_permission_is_told_after_everything_else_was_settled() -> None:
    queue = Queue()
    queue.stub.faults[DELETE] = deque([refused("AccessDenied", 403)])
    ended = [(f"r{number}", True) for number in range(20)]
    with pytest.raises(ConfigurationError, match=r"calls: AWS denies sqs:DeleteMessage"):
        await queue.settle(*ended, ("s", False))
    assert len(queue.stub.asked(DELETE)) == 2
    assert len(queue.stub.asked(CHANGE)) == 1


@asynchronous
async def test_nothing_is_prolonged_beyond_twelve_hours() -> None:
    queue = Queue()
    await queue.receive(message("r"), message("s"))
    queue.seconds += 12 * 3_600 - 30
    await queue.source.extend(["r", "s"])
    assert queue.stub.entries(CHANGE) == [[("r", 29), ("s", 29)]]
    await queue.settle(("s", False))
    queue.seconds += 60
    await queue.source.extend(["r"])
    assert queue.stub.entries(CHANGE)[1:] == [[("s", 2)]]


@asynchronous
async def test_what_was_never_settled_is_forgotten_in_the_end() -> None:
    queue = Queue()
    await queue.receive(message("r", attempts=4))
    queue.seconds += 12 * 3_600 + 1
    await queue.receive()
    await queue.settle(("r", False))
    assert queue.stub.entries(CHANGE) == [[("r", 2)]]


@pytest.mark.parametrize(
    "fault, kind, found",
    [
        pytest.param(EndpointConnectionError(endpoint_url=URL), TransientError, "", id="network"),
        pytest.param(TimeoutError(), TransientError, "", id="timeout"),
        pytest.param(refused("OverLimit", 403), TransientError, "OverLimit", id="too-many"),
        pytest.param(refused("ServiceUnavailable", 503), TransientError, "", id="busy"),
        pytest.param(
            refused("AWS.SimpleQueueService.NonExistentQueue"),
            ConfigurationError,
            "LEDGEROCK_QUEUES",
            id="missing",
        ),
        pytest.param(
            refused("AccessDenied", 403), ConfigurationError, "sqs:ReceiveMessage", id="denied"
        ),
        pytest.param(
            refused("InvalidClientTokenId", 403), ConfigurationError, "credentials", id="unknown"
        ),
        pytest.param(NoCredentialsError(), ConfigurationError, "AWS_PROFILE", id="nobody"),
    ],
)
@asynchronous
async def test_faults_of_a_receive_say_what_to_do(
    fault: Exception, kind: type[Exception], found: str
) -> None:
    queue = Queue()
    queue.stub.faults["receive_message"] = deque([fault])
    with pytest.raises(kind, match=URL) as caught:
        await queue.source.receive()
    assert found in str(caught.value)


@asynchronous
async def test_a_queue_is_drained_after_two_empty_polls() -> None:
    queue = Queue()
    assert await queue.source.is_drained()
    assert [one["WaitTimeSeconds"] for one in queue.stub.asked("receive_message")] == [1, 1]


@asynchronous
async def test_what_a_look_at_the_queue_brings_is_handed_over_next() -> None:
    queue = Queue()
    queue.stub.messages += [[], [message("r")], [message("s")]]
    assert not await queue.source.is_drained()
    assert not await queue.source.is_drained()
    assert [one.receipt for one in await queue.source.receive()] == ["r"]
    assert [one.receipt for one in await queue.source.receive()] == ["s"]


@asynchronous
async def test_what_nobody_took_is_given_back() -> None:
    queue = Queue()
    queue.stub.messages.append([message("r")])
    assert not await queue.source.is_drained()
    queue.stub.faults[CHANGE] = deque([refused("AccessDenied", 403)])
    await queue.source.close()
    assert queue.stub.entries(CHANGE) == [[("r", 0)]]
    assert queue.source.given_up == {"closed": 1}


@asynchronous
async def test_a_cancelled_receive_leaves_the_source_usable() -> None:
    queue = Queue()
    waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(**_arguments: Any) -> dict[str, Any]:
        await waiting
        return {}

    queue.stub.receive_message = wait  # type: ignore[method-assign]
    receiving = asyncio.create_task(queue.source.receive())
    await asyncio.sleep(0)
    receiving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await receiving
    await queue.settle(("r", True))
    assert queue.stub.entries(DELETE) == [["r"]]


@pytest.mark.parametrize("url", ["", "calls", "arn:aws:sqs:us-east-1:111122223333:calls"])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="LEDGEROCK_QUEUES"):
        SqsSource(url)


@pytest.mark.parametrize("seconds", [0, 43_201])
def test_a_time_beyond_what_sqs_allows_is_refused(seconds: int) -> None:
    with pytest.raises(ConfigurationError, match="LEDGEROCK_VISIBILITY_SECONDS"):
        SqsSource(URL, visibility_seconds=seconds)


@pytest.mark.parametrize(
    "url, region",
    [
        (URL, "eu-central-1"),
        ("https://sqs.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1"),
        ("http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/q", "us-east-1"),
        ("http://localhost:4566/000000000000/q", "ap-south-1"),
    ],
)
@asynchronous
async def test_the_url_names_the_region(
    monkeypatch: pytest.MonkeyPatch, url: str, region: str
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "ap-south-1")
    monkeypatch.setenv("AWS_REGION", "ap-south-1")
    client = make_client(url)
    try:
        assert (await client.open()).meta.region_name == region
    finally:
        await client.close()


class SlowStub(Stub):
    """Long polls wait until they are let go; short ones bring what there is."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()

    async def receive_message(self, **arguments: Any) -> dict[str, Any]:
        if arguments["WaitTimeSeconds"] > 1:
            await self.let.wait()
        return await super().receive_message(**arguments)


@asynchronous
async def test_what_is_found_while_everybody_waits_is_handed_over_at_once() -> None:
    stub = SlowStub()
    source = SqsSource(URL, client=AwsClient("sqs", client=stub))
    receivers = [asyncio.create_task(source.receive()) for _ in range(2)]
    await asyncio.sleep(0)
    stub.messages.append([message("1"), message("2")])
    assert not await source.is_drained()
    received = await asyncio.gather(*receivers)
    assert sorted(one.receipt for each in received for one in each) == ["1", "2"]

    # The polls that they waited for are waited for by the next two, and no more are made.
    receivers = [asyncio.create_task(source.receive()) for _ in range(2)]
    await asyncio.sleep(0)
    stub.messages.append([message("3")])
    stub.let.set()
    received = await asyncio.gather(*receivers)
    assert [one.receipt for each in received for one in each] == ["3"]
    assert len(stub.asked("receive_message")) == 3
    await source.close()
    assert not stub.asked(CHANGE)


@asynchronous
async def test_what_a_forgotten_poll_brought_is_visible_again_in_the_end() -> None:
    stub = SlowStub()
    source = SqsSource(URL, client=AwsClient("sqs", client=stub))
    receiver = asyncio.create_task(source.receive())
    await asyncio.sleep(0)
    stub.messages.append([message("1")])
    assert not await source.is_drained()
    assert [one.receipt for one in await receiver] == ["1"]
    stub.messages.append([message("2")])
    stub.let.set()
    for _ in range(5):
        await asyncio.sleep(0)
    await source.close()
    assert stub.entries(CHANGE) == [[("2", 0)]]
