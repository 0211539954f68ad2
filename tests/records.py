"""Records as AWS writes them, made small: for tests that go through the decoders."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.calls import ACCOUNT, NOON, PRO, REGION, request_id

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(at_ms: int) -> str:
    return (EPOCH + timedelta(milliseconds=at_ms)).isoformat().replace("+00:00", "Z")


def user_arn(user: str) -> str:
    return f"arn:aws:iam::{ACCOUNT}:user/{user}"


def log(
    number: int,
    tokens: tuple[int, int] | None = (1_000, 500),
    *,
    model: str = PRO,
    at_ms: int = NOON,
    user: str = "alice",
    cache: tuple[int, int] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A model invocation log; without tokens it is the empty twin."""
    source: dict[str, Any] = {"inputContentType": "application/json"}
    result: dict[str, Any] = {"outputContentType": "application/json"}
    if tokens is not None:
        source["inputTokenCount"], result["outputTokenCount"] = tokens
    if cache is not None:
        source["cacheReadInputTokenCount"], source["cacheWriteInputTokenCount"] = cache
    return {
        "timestamp": iso(at_ms),
        "accountId": ACCOUNT,
        "identity": {"arn": user_arn(user)},
        "region": REGION,
        "requestId": request_id(number),
        "operation": "Converse",
        "modelId": model,
        "input": source,
        "output": result,
        "schemaType": "ModelInvocationLog",
        "schemaVersion": "1.0",
        **more,
    }


def event(
    number: int,
    tokens: tuple[int, int] | None = None,
    *,
    model: str = PRO,
    at_ms: int = NOON,
    user: str = "alice",
    **more: Any,
) -> dict[str, Any]:
    """CloudTrail's event of the same call."""
    additional: dict[str, Any] = {"callWithBearerToken": True}
    if tokens is not None:
        additional |= {"inputTokens": tokens[0], "outputTokens": tokens[1]}
    return {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "IAMUser",
            "principalId": f"AIDA{user.upper()}",
            "arn": user_arn(user),
            "accountId": ACCOUNT,
            "userName": user,
        },
        "eventTime": iso(at_ms),
        "eventSource": "bedrock.amazonaws.com",
        "eventName": "Converse",
        "awsRegion": REGION,
        "requestParameters": {"modelId": model},
        "responseElements": None,
        "additionalEventData": additional,
        "requestID": request_id(number),
        "eventID": request_id(0xE000 + number),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
        **more,
    }


def completion(
    number: int, tokens: tuple[int, int], *, model: str = PRO, at_ms: int = NOON
) -> dict[str, Any]:
    """CloudTrail's event at the end of a stream."""
    return {
        "eventVersion": "1.11",
        "userIdentity": {"accountId": ACCOUNT, "invokedBy": "bedrock.amazonaws.com"},
        "eventTime": iso(at_ms),
        "eventSource": "bedrock.amazonaws.com",
        "eventName": "ConverseStream",
        "awsRegion": REGION,
        "requestParameters": None,
        "responseElements": None,
        "eventID": request_id(0xC000 + number),
        "eventType": "AwsServiceEvent",
        "recipientAccountId": ACCOUNT,
        "serviceEventDetails": {
            "parentRequestId": request_id(number),
            "AdditionalEventData": {
                "additionalEntries": {"inputTokens": tokens[0], "outputTokens": tokens[1]}
            },
        },
        "resources": [
            {
                "type": "AWS::Bedrock::Model",
                "ARN": f"arn:aws:bedrock:{REGION}::foundation-model/{model}",
            }
        ],
        "eventCategory": "Management",
    }


def poison(number: int) -> dict[str, Any]:
    """A log whose count is no number."""
    record = log(number)
    record["input"]["inputTokenCount"] = f"many-{number}"
    return record


def line(record: dict[str, Any]) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode()


def write(path: Path, *records: dict[str, Any] | bytes) -> Path:
    """Write records line by line; gzipped if the name says so."""
    lines = [one if isinstance(one, bytes) else line(one) for one in records]
    content = b"".join(text + b"\n" for text in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, 1) if path.suffix == ".gz" else content)
    return path


def write_trail(path: Path, *records: dict[str, Any]) -> Path:
    """Write a CloudTrail file."""
    return write(path, {"Records": list(records)})
