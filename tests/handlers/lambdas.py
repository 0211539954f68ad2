"""Events as Lambda hands them over, its context, and functions opened on parts of a test."""

import base64
import gzip
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from aws_lambda_powertools.utilities.typing import LambdaContext

from handlers.runtime import Opener
from worker.bootstrap import Booking
from worker.core.results import DeliveryResult
from worker.pipeline import Figures, Step
from worker.ports import Delivery, Processed
from worker.settings import Settings

ACCOUNT: Final = "111122223333"
REGION: Final = "us-east-1"
QUEUE: Final = "ledgerock-calls"
STREAM: Final = "ledgerock-logs"
SHARD: Final = "shardId-000000000003"
FIRST_NUMBER: Final = 49_650_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_050
SENT_AT_MS: Final = 1_790_856_030_000
NEVER: Final = "never"
"""What a scripted pipeline is told to do with a delivery: not to finish it in time."""


@dataclass
class Context:
    """What Lambda says about an invocation."""

    seconds: float = 30.0
    aws_request_id: str = "5f0e4a1c-0000-4000-8000-000000000001"
    function_name: str = "ledgerock-sqs"
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:ledgerock-sqs"
    log_group_name: str = "/aws/lambda/ledgerock-sqs"
    log_stream_name: str = "2026/10/01/[$LATEST]0"
    tenant_id: str | None = None
    started: float = field(default_factory=time.monotonic)

    def get_remaining_time_in_millis(self) -> int:
        return int((self.started + self.seconds - time.monotonic()) * 1000)


def context(seconds: float = 30.0, request: int = 1) -> LambdaContext:
    return cast("LambdaContext", Context(seconds, f"5f0e4a1c-0000-4000-8000-{request:012x}"))


# --- Events ----------------------------------------------------------------------------------


def message_id(number: int) -> str:
    return f"a3c1d2e4-0000-4000-8000-{number:012x}"


def sqs_event(*bodies: str | bytes, fifo: bool = False, attempts: int = 1) -> dict[str, Any]:
    return {
        "Records": [
            message(
                number,
                body if isinstance(body, str) else body.decode(),
                fifo=fifo,
                attempts=attempts,
            )
            for number, body in enumerate(bodies)
        ]
    }


def message(number: int, body: str, *, fifo: bool = False, attempts: int = 1) -> dict[str, Any]:
    attributes = {
        "ApproximateReceiveCount": str(attempts),
        "SentTimestamp": str(SENT_AT_MS),
        "SenderId": "AIDAEXAMPLEEXAMPLE000",
        "ApproximateFirstReceiveTimestamp": str(SENT_AT_MS + 10),
    }
    if fifo:
        attributes |= {
            "SequenceNumber": str(18_880_000_000_000_000_000 + number),
            "MessageGroupId": f"account-{number % 2}",
            "MessageDeduplicationId": f"deduplication-{number}",
        }
    return {
        "messageId": message_id(number),
        "receiptHandle": f"AQEBexample{number}==",
        "body": body,
        "attributes": attributes,
        "messageAttributes": {},
        "md5OfBody": "00000000000000000000000000000000",
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{QUEUE}{'.fifo' if fifo else ''}",
        "awsRegion": REGION,
    }


def sequence_number(number: int) -> str:
    return str(FIRST_NUMBER + number)


def kinesis_event(*data: bytes, numbers: Sequence[str] | None = None) -> dict[str, Any]:
    numbers = numbers or [sequence_number(number) for number in range(len(data))]
    return {
        "Records": [
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": f"key-{number[-2:]}",
                    "sequenceNumber": number,
                    "data": base64.b64encode(one).decode(),
                    "approximateArrivalTimestamp": SENT_AT_MS / 1000,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"{SHARD}:{number}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": f"arn:aws:iam::{ACCOUNT}:role/ledgerock-function",
                "awsRegion": REGION,
                "eventSourceARN": f"arn:aws:kinesis:{REGION}:{ACCOUNT}:stream/{STREAM}",
            }
            for number, one in zip(numbers, data, strict=True)
        ]
    }


def subscription(*records: dict[str, Any]) -> bytes:
    """What CloudWatch Logs sends to a stream, and packs into `awslogs`."""
    document = {
        "messageType": "DATA_MESSAGE",
        "owner": ACCOUNT,
        "logGroup": "bedrock-calls",
        "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["ledgerock"],
        "logEvents": [
            {"id": f"{number:056d}", "timestamp": SENT_AT_MS, "message": json.dumps(record)}
            for number, record in enumerate(records)
        ],
    }
    return gzip.compress(json.dumps(document).encode(), 1)


def awslogs_event(*records: dict[str, Any]) -> dict[str, Any]:
    return {"awslogs": {"data": base64.b64encode(subscription(*records)).decode()}}


def bridge_event(
    kind: str, source: str, detail: dict[str, Any], *, at: str = "2026-10-01T12:00:30Z"
) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "0b7c5d7e-0000-4000-8000-00000000000a",
        "detail-type": kind,
        "source": source,
        "account": ACCOUNT,
        "time": at,
        "region": REGION,
        "resources": [],
        "detail": detail,
    }


def trail_event(record: dict[str, Any]) -> dict[str, Any]:
    return bridge_event("AWS API Call via CloudTrail", "aws.bedrock", record)


def object_event(bucket: str, key: str, *, at: str = "2026-10-01T12:00:30Z") -> dict[str, Any]:
    detail = {
        "version": "0",
        "bucket": {"name": bucket},
        "object": {"key": key, "size": 1_024, "etag": "0" * 32, "sequencer": "0066F0EXAMPLE"},
        "request-id": "EXAMPLE0000000001",
        "requester": ACCOUNT,
        "source-ip-address": "192.0.2.7",
        "reason": "PutObject",
    }
    return bridge_event("Object Created", "aws.s3", detail, at=at)


def scheduled_event() -> dict[str, Any]:
    return bridge_event("Scheduled Event", "aws.events", {})


def table_event(*names: str) -> dict[str, Any]:
    """What the state table's stream hands over: keys only."""
    return {
        "Records": [
            {
                "eventID": f"c4ca4238a0b92382{number:016x}",
                "eventName": name,
                "eventVersion": "1.1",
                "eventSource": "aws:dynamodb",
                "awsRegion": REGION,
                "dynamodb": {
                    "ApproximateCreationDateTime": SENT_AT_MS / 1000,
                    "Keys": {"pk": {"S": "s#budget/team"}, "sk": {"S": f"{number}"}},
                    "SequenceNumber": str(100_000_000 + number),
                    "SizeBytes": 40,
                    "StreamViewType": "KEYS_ONLY",
                },
                "eventSourceARN": (
                    f"arn:aws:dynamodb:{REGION}:{ACCOUNT}:table/ledgerock-state/stream/"
                    "2026-10-01T00:00:00.000"
                ),
            }
            for number, name in enumerate(names)
        ]
    }


# --- Functions -------------------------------------------------------------------------------


class ScriptedPipeline:
    """Ends deliveries as it is told, by their receipts; the rest is acknowledged.

    Attributes:
        seen: The receipts of each call, in order.
    """

    def __init__(
        self, script: dict[str, str] | None = None, error: Exception | None = None
    ) -> None:
        self.script = script or {}
        self.error = error
        self.seen: list[list[str]] = []

    async def steps(
        self, deliveries: Sequence[Delivery], *, deadline: float | None = None
    ) -> AsyncGenerator[Step, None]:
        assert deadline is not None
        self.seen.append([one.receipt for one in deliveries])
        if self.error is not None:
            raise self.error
        for one in deliveries:
            result = DeliveryResult(self.script.get(one.receipt, "Acknowledged"))
            yield Step([Processed(one.receipt, result, 1, reason="throttled")], Figures())


def opener(booking: Booking, opened: list[int] | None = None) -> Opener:
    """Return what opens parts that are there already, counting how often."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[Booking]:
        if opened is not None:
            opened.append(1)
        yield booking

    return opening


def scripted(pipeline: ScriptedPipeline, **environment: str) -> Booking:
    parts: dict[str, Any] = {
        "pipeline": pipeline,
        "settings": Settings.read(environment),
        **dict.fromkeys(("budgets", "announcer", "tellers", "monitor", "census", "enforcing")),
        **dict.fromkeys(("state", "outbox", "dynamo")),
    }
    return Booking(**parts)


def failures(answer: dict[str, Any] | None) -> list[str]:
    """Return what an answer reports, which must have exactly the documented shape."""
    assert answer is not None
    assert list(answer) == ["batchItemFailures"]
    for one in answer["batchItemFailures"]:
        assert list(one) == ["itemIdentifier"]
        assert isinstance(one["itemIdentifier"], str)
        assert one["itemIdentifier"]
    return [one["itemIdentifier"] for one in answer["batchItemFailures"]]


Handler = Callable[[Any, LambdaContext], dict[str, Any] | None]
