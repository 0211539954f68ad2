"""Payloads as AWS shapes them, with made-up accounts and names."""

import base64
import gzip
import json
from typing import Any

from worker.core.decoders import Decoder, Limits
from worker.core.evidence import Observation
from worker.core.results import Outcome


def invocation_log(number: int = 1, **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        "timestamp": "2026-10-05T12:00:00Z",
        "accountId": "111122223333",
        "region": "us-east-1",
        "requestId": f"0d1f{number:04d}-1111-4222-8333-444455556666",
        "operation": "Converse",
        "modelId": "us.amazon.nova-pro-v1:0",
        "identity": {"arn": "arn:aws:sts::111122223333:assumed-role/Writers/maria"},
        "input": {"inputContentType": "application/json", "inputTokenCount": 100 + number},
        "output": {"outputContentType": "application/json", "outputTokenCount": 7},
    }
    return record | changes


def log_line(number: int = 1) -> bytes:
    return text(invocation_log(number)).encode()


def log_key(number: int = 1) -> str:
    return f"aws/111122223333/0d1f{number:04d}-1111-4222-8333-444455556666"


def cloudtrail_event(number: int = 1, **changes: Any) -> dict[str, Any]:
    event: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": "AIDAEXAMPLEMARIA",
            "arn": "arn:aws:iam::111122223333:user/maria",
            "accountId": "111122223333",
            "userName": "maria",
        },
        "eventTime": "2026-10-05T12:00:01Z",
        "eventSource": "bedrock.amazonaws.com",
        "eventName": "InvokeModel",
        "awsRegion": "us-east-1",
        "requestParameters": {"modelId": "us.amazon.nova-pro-v1:0"},
        "responseElements": None,
        "additionalEventData": {"inputTokens": 100 + number, "outputTokens": 7},
        "requestID": f"0d1f{number:04d}-1111-4222-8333-444455556666",
        "eventID": f"9e9e{number:04d}-aaaa-4bbb-8ccc-ddddeeeeffff",
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": "111122223333",
        "eventCategory": "Management",
    }
    return event | changes


def text(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def payload(value: object) -> bytes:
    return text(value).encode()


def subscription(*messages: str, kind: str = "DATA_MESSAGE") -> dict[str, Any]:
    return {
        "messageType": kind,
        "owner": "111122223333",
        "logGroup": "bedrock-calls",
        "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["everything"],
        "logEvents": [
            {"id": str(index), "timestamp": 1_790_000_000_000 + index, "message": message}
            for index, message in enumerate(messages)
        ],
    }


def packed(value: object) -> str:
    return base64.b64encode(gzip.compress(payload(value))).decode()


def queue_event(*bodies: str) -> dict[str, Any]:
    return {
        "Records": [
            {
                "messageId": f"message-{index}",
                "body": body,
                "attributes": {"ApproximateReceiveCount": "1"},
                "eventSource": "aws:sqs",
                "eventSourceARN": "arn:aws:sqs:us-east-1:111122223333:calls",
                "awsRegion": "us-east-1",
            }
            for index, body in enumerate(bodies)
        ]
    }


def stream_event(*data: bytes) -> dict[str, Any]:
    return {
        "Records": [
            {
                "kinesis": {
                    "sequenceNumber": str(index),
                    "partitionKey": "1",
                    "data": base64.b64encode(one).decode(),
                },
                "eventSource": "aws:kinesis",
                "eventName": "aws:kinesis:record",
                "eventVersion": "1.0",
            }
            for index, one in enumerate(data)
        ]
    }


def bridge_event(detail_type: str, detail: object) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "6a7e8feb-0000-4cf7-a9f1-bf3703467718",
        "detail-type": detail_type,
        "source": "aws.bedrock",
        "account": "999999999999",
        "time": "2026-10-05T12:00:02Z",
        "region": "us-east-1",
        "resources": [],
        "detail": detail,
    }


def s3_event(key: str, name: str = "ObjectCreated:Put", size: int = 1024) -> dict[str, Any]:
    return {
        "Records": [
            {
                "eventVersion": "2.6",
                "eventSource": "aws:s3",
                "eventName": name,
                "awsRegion": "us-east-1",
                "s3": {
                    "bucket": {"name": "call-logs"},
                    "object": {"key": key, "size": size, "versionId": "v1"},
                },
            }
        ]
    }


def notification(message: str) -> dict[str, Any]:
    return {
        "Type": "Notification",
        "MessageId": "d88d4479-0000-54fe-b63f-1cf9df4bb16e",
        "TopicArn": "arn:aws:sns:us-east-1:111122223333:new-logs",
        "Message": message,
    }


def decode(value: object, limits: Limits | None = None) -> list[Outcome]:
    raw = value if isinstance(value, bytes) else payload(value)
    decoder = Decoder(limits or Limits())
    return list(decoder.decode(raw, source="somewhere"))


def brief(outcomes: list[Outcome]) -> list[tuple[str, str]]:
    """Outcomes as (key of the call or kind of outcome, path)."""
    return [
        (outcome.key, "")
        if isinstance(outcome, Observation)
        else (type(outcome).__name__, outcome.position.path)
        for outcome in outcomes
    ]
