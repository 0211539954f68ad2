"""CloudTrail events of model invocations, as `{"Records": [...]}` files and EventBridge carry them.

AWS documentation: "Monitor Amazon Bedrock API calls using CloudTrail" and "CloudTrail userIdentity
element".
"""

from typing import Final, Literal

from worker.traffic.invocation import Invocation
from worker.traffic.people import Caller
from worker.traffic.writer import name_hex

Event = dict[str, object]
EntriesShape = Literal["object", "list"]

_UNIQUE_ID_LENGTH: Final = 16


def unique_id(prefix: str, arn: str) -> str:
    """Return the unique id (`AIDA...`, `AROA...`) that stays with an IAM user or role."""
    return prefix + name_hex("unique", arn).upper()[:_UNIQUE_ID_LENGTH] + "Q"


def user_identity(caller: Caller, arn: str) -> Event:
    """Return the `userIdentity` element of a caller."""
    kind = caller.identity.split("/", 1)[0]
    account, name = caller.account, arn.rsplit("/", 1)[-1]
    if kind == "root":
        return {"type": "Root", "principalId": account, "arn": arn, "accountId": account}
    if kind == "user":
        return {
            "type": "IAMUser",
            "principalId": unique_id("AIDA", arn),
            "arn": arn,
            "accountId": account,
            "accessKeyId": "AKIAIOSFODNN7EXAMPLE",
            "userName": name,
        }
    if kind == "federated":
        return {
            "type": "FederatedUser",
            "principalId": f"{account}:{name}",
            "arn": arn,
            "accountId": account,
        }
    principal_id = unique_id("AROA", caller.role_arn)
    return {
        "type": "AssumedRole",
        "principalId": f"{principal_id}:{name}",
        "arn": arn,
        "accountId": account,
        "accessKeyId": "ASIAIOSFODNN7EXAMPLE",
        "sessionContext": {
            "sessionIssuer": {
                "type": "Role",
                "principalId": principal_id,
                "arn": caller.role_arn,
                "accountId": account,
                "userName": caller.role_arn.rsplit("/", 1)[-1],
            },
            "attributes": {"creationDate": "2026-10-01T00:00:00Z", "mfaAuthenticated": "false"},
        },
    }


def api_event(call: Invocation, *, counts: bool) -> Event:
    """Return the event of an API call, with its token counts or without.

    CloudTrail has counts of calls that do not stream, and never of the prompt cache.
    """
    event: Event = {
        "eventVersion": "1.11",
        "userIdentity": user_identity(call.caller, call.arn),
        "eventTime": call.time,
        "eventSource": "bedrock.amazonaws.com",
        "eventName": call.operation,
        "awsRegion": call.region,
        "sourceIPAddress": "192.0.2.17",
        "userAgent": "Boto3/1.44.5 Python/3.13",
        "requestParameters": {"modelId": call.model_id},
        "responseElements": None,
        "requestID": call.request,
        "eventID": _event_id("call", call.request),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": call.caller.account,
        "eventCategory": "Management",
    }
    if counts:
        event["additionalEventData"] = {
            "inputTokens": call.tokens.input,
            "outputTokens": call.tokens.output,
        }
    return event


def completion_event(call: Invocation, model: str, shape: EntriesShape) -> Event:
    """Return the service event that ends a stream; it names the call in `parentRequestId`.

    Args:
        call: The call.
        model: Foundation-model id.
        shape: How `additionalEntries` is written; both are seen.
    """
    entries: dict[str, object] = {
        "inferenceRegion": call.region,
        "inputTokens": call.tokens.input,
        "outputTokens": call.tokens.output,
    }
    listed = [{"key": key, "value": value} for key, value in entries.items()]
    return {
        "eventVersion": "1.11",
        "userIdentity": user_identity(call.caller, call.arn),
        "eventTime": call.time,
        "eventSource": "bedrock.amazonaws.com",
        "eventName": call.operation,
        "awsRegion": call.region,
        "sourceIPAddress": "192.0.2.17",
        "userAgent": "Boto3/1.44.5 Python/3.13",
        "requestID": _event_id("completion-request", call.request),
        "eventID": _event_id("completion", call.request),
        "readOnly": True,
        "eventType": "AwsServiceEvent",
        "recipientAccountId": call.caller.account,
        "serviceEventDetails": {
            "parentRequestId": call.request,
            "AdditionalEventData": {
                "additionalEntries": entries if shape == "object" else listed,
            },
        },
        "resources": [
            {
                "type": "AWS::Bedrock::Model",
                "ARN": f"arn:aws:bedrock:{call.region}::foundation-model/{model}",
            }
        ],
    }


def foreign_event(caller: Caller, *, time: str, number: int) -> Event:
    """Return an event of another service, or a Bedrock call that invokes no model."""
    source, name = (
        ("s3.amazonaws.com", "GetObject"),
        ("bedrock.amazonaws.com", "ListFoundationModels"),
        ("ec2.amazonaws.com", "DescribeInstances"),
    )[number % 3]
    return {
        "eventVersion": "1.11",
        "userIdentity": user_identity(caller, caller.arns[0]),
        "eventTime": time,
        "eventSource": source,
        "eventName": name,
        "awsRegion": caller.region,
        "requestParameters": None,
        "responseElements": None,
        "requestID": _event_id("foreign-request", time, number),
        "eventID": _event_id("foreign", time, number),
        "readOnly": True,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": caller.account,
        "eventCategory": "Management",
    }


def eventbridge(event: Event) -> Event:
    """Wrap an event the way EventBridge delivers it."""
    service = event["eventType"] == "AwsServiceEvent"
    return {
        "version": "0",
        "id": _event_id("eventbridge", event["eventID"]),
        "detail-type": (
            "AWS Service Event via CloudTrail" if service else "AWS API Call via CloudTrail"
        ),
        "source": "aws.bedrock",
        "account": event["recipientAccountId"],
        "time": event["eventTime"],
        "region": event["awsRegion"],
        "resources": [],
        "detail": event,
    }


def _event_id(*parts: object) -> str:
    digits = name_hex(*parts) + name_hex("more", *parts)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:32]}"
