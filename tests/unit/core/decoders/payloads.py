"""Payloads as AWS shapes them, with made-up accounts and names."""

import base64
import gzip
import hashlib
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


def varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes((value & 0x7F | 0x80,))
        value >>= 7
    return encoded + bytes((value,))


def field(number: int, content: bytes) -> bytes:
    """A protocol buffers field of some length."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def user_record(data: bytes) -> bytes:
    """A user record as the Kinesis Producer Library packs it, with a tag."""
    tag = field(1, b"shard") + field(2, b"one")
    return field(3, b"\x08\x00\x10\x00" + field(3, data) + field(4, tag))


def aggregate(*data: bytes, message: bytes | None = None) -> bytes:
    """Several records in one, as the Kinesis Producer Library sends them."""
    if message is None:
        tables = field(1, b"partition") + field(2, b"340282366920938463463374607431768211455")
        message = tables + b"".join(map(user_record, data))
    digest = hashlib.md5(message, usedforsecurity=False).digest()
    return b"\xf3\x89\x9a\xc2" + message + digest


def batch_line(number: int, **changes: Any) -> dict[str, Any]:
    """One line of a batch job's output: `10 + number` tokens in, `number` out."""
    line: dict[str, Any] = {
        "recordId": f"CALL{number:07d}",
        "modelInput": {"messages": [], "max_tokens": 10},
        "modelOutput": {"usage": {"input_tokens": 10 + number, "output_tokens": number}},
    }
    return line | changes


def batch_manifest(records: int, input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {
        "totalRecordCount": records,
        "processedRecordCount": records,
        "successRecordCount": records,
        "errorRecordCount": 0,
        "inputTokenCount": input_tokens,
        "outputTokenCount": output_tokens,
    }


JOB_ARN = "arn:aws:bedrock:us-east-1:111122223333:model-invocation-job/abcdefghwxyz"


def batch_job_event(status: str = "Completed", **changes: Any) -> dict[str, Any]:
    detail: dict[str, Any] = {
        "version": "0.0",
        "accountId": "111122223333",
        "batchJobName": "orchard",
        "batchJobArn": JOB_ARN,
        "batchModelId": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
        "status": status,
        "failureMessage": "",
        "creationTime": "Oct 5, 2026, 11:47:53 AM",
    }
    event = bridge_event("Batch Inference Job State Change", detail | changes)
    return event | {"time": "Mon Oct 05 12:58:30 UTC 2026"}


def batch_job_created(**changes: Any) -> dict[str, Any]:
    event = cloudtrail_event(
        eventName="CreateModelInvocationJob",
        eventTime="2026-10-05T11:47:52Z",
        requestParameters={"jobName": "orchard", "modelId": "us.amazon.nova-pro-v1:0"},
        responseElements={"jobArn": JOB_ARN},
        additionalEventData=None,
        readOnly=False,
    )
    return event | changes


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
