"""Scenes of transport: the same records in other wrappings, files to leave alone, and poison."""

import base64
import hashlib
import zlib
from collections.abc import Callable, Sequence
from typing import Final

from worker.traffic.cloudtrail import api_event, eventbridge
from worker.traffic.invocation import Invocation, metered_text
from worker.traffic.people import ACCOUNTS, REGIONS
from worker.traffic.prices import HAIKU_3, NOVA_LITE, NOVA_MICRO, Model
from worker.traffic.stage import Stage
from worker.traffic.writer import GZIP_LEVEL, name_hex, to_gzip, to_json

_GZIP_WINDOW_BITS: Final = 31
_LOG_GROUP: Final = "/aws/bedrock/invocations"
_BATCH: Final = 5


def _calls(stage: Stage, model: Model, number: int) -> list[Invocation]:
    """Make calls that are delivered in this wrapping alone."""
    calls = [stage.invocation(model.model_id) for _ in range(number)]
    for call in calls:
        stage.book(call, model)
    stage.sums.records += number
    return calls


def _subscription(stage: Stage, calls: Sequence[Invocation], **extra: str) -> str:
    """Return the payload of a CloudWatch Logs subscription."""
    occurred_at_ms = int(stage.bucket.time(stage.hour).timestamp()) * 1_000
    return to_json(
        {
            "messageType": "DATA_MESSAGE",
            "owner": ACCOUNTS[0],
            "logGroup": _LOG_GROUP,
            "logStream": "aws/bedrock/modelinvocations",
            "subscriptionFilters": ["ledgerock"],
            **extra,
            "logEvents": [
                {
                    "id": str(int(name_hex(call.request), 16)).zfill(56),
                    "timestamp": occurred_at_ms,
                    "message": metered_text(call),
                }
                for call in calls
            ],
        }
    )


def _key(stage: Stage, kind: str, suffix: str) -> str:
    stamp = f"{stage.bucket.time(stage.hour):%Y-%m-%d-%H-00-00}"
    return f"deliveries/{kind}/{kind}-{stamp}-{name_hex(kind, stage.sums.files)}{suffix}"


def subscription_file(stage: Stage) -> None:
    """A subscription payload as Firehose keeps it; one call of it is in the log objects as well."""
    calls = _calls(stage, NOVA_LITE, _BATCH)
    stage.put(_key(stage, "subscription", ""), to_gzip(_subscription(stage, calls)))
    stage.log(calls[0], metered_text(calls[0]))
    stage.sums.duplicates += 1


def account_subscription_file(stage: Stage) -> None:
    """An account-level subscription payload, which is zlib instead of gzip."""
    calls = _calls(stage, NOVA_LITE, _BATCH)
    payload = _subscription(stage, calls, policyLevel="ACCOUNT_LEVEL_POLICY")
    stage.put(_key(stage, "account-subscription", ""), zlib.compress(payload.encode(), GZIP_LEVEL))


def control_message(stage: Stage) -> None:
    """CloudWatch Logs asks whether its destination is there."""
    payload = {
        "messageType": "CONTROL_MESSAGE",
        "owner": "CloudwatchLogs",
        "logGroup": "",
        "logStream": "",
        "subscriptionFilters": [],
        "logEvents": [
            {
                "id": "",
                "timestamp": int(stage.bucket.time(stage.hour).timestamp()) * 1_000,
                "message": "CWL CONTROL MESSAGE: Checking health of destination Firehose.",
            }
        ],
    }
    stage.put(_key(stage, "control", ""), to_gzip(to_json(payload)))
    stage.sums.ignored_records += 1


def logs_event(stage: Stage) -> None:
    """What a function subscribed to the log group receives."""
    payload = to_gzip(_subscription(stage, _calls(stage, NOVA_MICRO, _BATCH)))
    event = {"awslogs": {"data": base64.b64encode(payload).decode()}}
    stage.put(_key(stage, "lambda-logs", ".json"), to_json(event).encode())


def kinesis_event(stage: Stage) -> None:
    """What a function reading a Kinesis stream receives: two subscription payloads."""
    records = []
    for number in range(2):
        payload = to_gzip(_subscription(stage, _calls(stage, NOVA_MICRO, _BATCH)))
        sequence = f"4963505228952972555329140552{stage.sums.files:08d}{number:020d}"
        records.append(
            {
                "kinesis": {
                    "kinesisSchemaVersion": "1.0",
                    "partitionKey": name_hex(sequence),
                    "sequenceNumber": sequence,
                    "data": base64.b64encode(payload).decode(),
                    "approximateArrivalTimestamp": 1_791_000_000.25,
                },
                "eventSource": "aws:kinesis",
                "eventVersion": "1.0",
                "eventID": f"shardId-000000000000:{sequence}",
                "eventName": "aws:kinesis:record",
                "invokeIdentityArn": f"arn:aws:iam::{ACCOUNTS[0]}:role/MeterRole",
                "awsRegion": REGIONS[0],
                "eventSourceARN": f"arn:aws:kinesis:{REGIONS[0]}:{ACCOUNTS[0]}:stream/bedrock",
            }
        )
    stage.put(_key(stage, "lambda-kinesis", ".json"), to_json({"Records": records}).encode())


def queue_event(stage: Stage) -> None:
    """What a function reading a queue receives: a record, one through SNS, an event, a test."""
    logged, notified = _calls(stage, NOVA_MICRO, 2)
    seen = stage.invocation(HAIKU_3.model_id, "InvokeModel", caller=stage.caller().unlabelled())
    stage.book(seen, HAIKU_3, "estimated")
    stage.sums.records += 1
    stage.sums.ignored_records += 1
    topic = f"arn:aws:sns:{REGIONS[0]}:{ACCOUNTS[0]}:bedrock"
    messages = (
        metered_text(logged),
        to_json({"Type": "Notification", "TopicArn": topic, "Message": metered_text(notified)}),
        to_json(eventbridge(api_event(seen, counts=True))),
        to_json({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "acme-bedrock-logs"}),
    )
    records = [
        {
            "messageId": name_hex("message", logged.request, number),
            "receiptHandle": "AQEBwJnKyrHigUMZj6rYigCgxlaS3SLy0a",
            "body": body,
            "attributes": {
                "ApproximateReceiveCount": "1",
                "SentTimestamp": "1791000000000",
                "SenderId": "AIDAIENQZJOLO23YVJ4VO",
                "ApproximateFirstReceiveTimestamp": "1791000000005",
            },
            "messageAttributes": {},
            "md5OfBody": hashlib.md5(body.encode(), usedforsecurity=False).hexdigest(),
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{REGIONS[0]}:{ACCOUNTS[0]}:bedrock",
            "awsRegion": REGIONS[0],
        }
        for number, body in enumerate(messages)
    ]
    stage.put(_key(stage, "lambda-queue", ".json"), to_json({"Records": records}).encode())


def bus_event(stage: Stage) -> None:
    """A CloudTrail event as EventBridge delivers it: estimated."""
    call = stage.invocation(HAIKU_3.model_id, "InvokeModel", caller=stage.caller().unlabelled())
    stage.book(call, HAIKU_3, "estimated")
    stage.sums.records += 1
    event = eventbridge(api_event(call, counts=True))
    stage.put(_key(stage, "eventbridge", ".json"), to_json(event).encode())


def side_object(stage: Stage) -> None:
    """A body too large for the log, in an object of its own; the log record points to it."""
    call = stage.invocation(NOVA_LITE.model_id)
    stage.book(call, NOVA_LITE)
    folder = stage.bucket.folder(call.caller.account, call.region, call.hour)
    key = f"{folder}/data/{call.request}_output.json.gz"
    pointer = f'"outputBodyS3Path":"s3://acme-bedrock-logs/{key}","outputTokenCount"'
    stage.log(call, metered_text(call).replace('"outputTokenCount"', pointer))
    body = {"output": {"message": {}}, "usage": {"inputTokens": 1, "outputTokens": 999_999}}
    _leave_alone(stage, key, to_gzip(to_json(body)))


def permission_check(stage: Stage) -> None:
    """The marker that Bedrock leaves when logging is configured."""
    caller = stage.caller()
    folder = stage.bucket.folder(caller.account, caller.region, stage.hour)
    _leave_alone(stage, f"{folder}/amazon-bedrock-logs-permission-check", b"")


def digest(stage: Stage) -> None:
    """A digest of CloudTrail files, which holds no events."""
    account, time = stage.caller().account, stage.bucket.time(stage.hour)
    name = f"{account}_CloudTrail-Digest_{REGIONS[0]}_trail_{REGIONS[0]}_{time:%Y%m%dT%H%M%S}Z"
    document = {"awsAccountId": account, "digestS3Bucket": "acme-bedrock-logs", "logFiles": []}
    key = f"AWSLogs/{account}/CloudTrail-Digest/{REGIONS[0]}/{time:%Y/%m/%d}/{name}.json.gz"
    _leave_alone(stage, key, to_gzip(to_json(document)))


def empty_object(stage: Stage) -> None:
    """An object of no bytes."""
    caller = stage.caller()
    folder = stage.bucket.folder(caller.account, caller.region, stage.hour)
    name = f"{stage.bucket.time(stage.hour):%Y%m%dT%H%M%S}000Z_{'0' * 16}.json.gz"
    _leave_alone(stage, f"{folder}/{name}", b"")


def _leave_alone(stage: Stage, key: str, data: bytes) -> None:
    stage.put(key, data)
    stage.sums.ignored_files += 1


def truncated_object(stage: Stage) -> None:
    """A log object that breaks off: five lines are whole, and the end is missing."""
    calls = _calls(stage, NOVA_LITE, _BATCH)
    # Flushed, so that every inflater gives the five lines before it misses the end.
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS)
    text = "".join(f"{metered_text(call)}\n" for call in calls)
    data = compressor.compress(text.encode()) + compressor.flush(zlib.Z_SYNC_FLUSH)
    folder = stage.bucket.folder(calls[0].caller.account, calls[0].region, stage.hour)
    stamp = f"{stage.bucket.time(stage.hour):%Y%m%dT%H%M%S}999Z"
    stage.put(f"{folder}/{stamp}_{name_hex(calls[0].request)}.json.gz", data)
    stage.sums.corrupt_files += 1


def _poison(name: str, spoil: Callable[[str], str]) -> Callable[[Stage], None]:
    def scene(stage: Stage) -> None:
        call = stage.invocation(NOVA_LITE.model_id)
        stage.poison(call, spoil(metered_text(call)))

    scene.__name__ = name
    return scene


POISON: Final = (
    _poison("truncated_record", lambda text: text[: len(text) * 2 // 3]),
    _poison(
        "negative_count",
        lambda text: text.replace('"inputTokenCount":', '"inputTokenCount":-'),
    ),
    _poison(
        "count_in_words",
        lambda text: text.replace('"outputTokenCount":', '"outputTokenCount":"many","was":'),
    ),
    _poison("no_json", lambda text: f"ERROR could not write {len(text)} bytes"),
    _poison("no_request_id", lambda text: text.replace('"requestId"', '"requestNumber"')),
)
