"""What CloudTrail's events of AgentCore and of Bedrock Agents say, in every envelope."""

import base64
import gzip
import json
from typing import Any

import pytest

from tests.calls import ACCOUNT, NOON, REGION
from tests.lifecycle import (
    ADMIN,
    AGENT,
    OTHER_ROLE_ARN,
    ROLE_ARN,
    agent_event,
    api_event,
    create_runtime,
    delete_runtime,
    runtime_event,
    update_runtime,
)
from tests.records import iso, line
from worker.core.decoders import Decoder
from worker.core.directory import LifecycleFact
from worker.core.results import Ignored, LifecycleSeen, Malformed, Outcome

CREATED = LifecycleFact(
    subject=AGENT,
    kind="created",
    at_ms=NOON,
    event_id="0000b001-0000-4000-8000-00000000b001",
    actor=ADMIN,
    name="scout",
    role_arns=(ROLE_ARN,),
)


def decoded(payload: Any) -> list[Outcome]:
    raw = payload if isinstance(payload, bytes) else line(payload)
    return list(Decoder().decode(raw, source="s"))


def told(record: dict[str, Any]) -> LifecycleFact:
    [outcome] = decoded(record)
    assert isinstance(outcome, LifecycleSeen), outcome
    return outcome.fact


def eventbridge(record: dict[str, Any]) -> dict[str, Any]:
    return {
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": "AWS API Call via CloudTrail",
        "source": "aws.bedrock-agentcore",
        "account": ACCOUNT,
        "time": iso(NOON),
        "region": REGION,
        "resources": [],
        "detail": record,
    }


def queued(payload: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps(payload)
    return {"Records": [{"messageId": "m", "eventSource": "aws:sqs", "body": body}]}


def streamed(payload: dict[str, Any]) -> dict[str, Any]:
    data = base64.b64encode(line(payload)).decode()
    return {
        "Records": [
            {"eventSource": "aws:kinesis", "kinesis": {"data": data, "sequenceNumber": "1"}}
        ]
    }


@pytest.mark.parametrize(
    "payload",
    [
        create_runtime(1),
        {"Records": [create_runtime(1)]},
        eventbridge(create_runtime(1)),
        queued(eventbridge(create_runtime(1))),
        streamed(eventbridge(create_runtime(1))),
        gzip.compress(line({"Records": [create_runtime(1)]})),
        {"Type": "Notification", "Message": json.dumps(eventbridge(create_runtime(1)))},
    ],
    ids=["event", "file", "eventbridge", "sqs", "kinesis", "gzip", "sns"],
)
def test_an_agentcore_agent_is_detected_in_every_envelope(payload: Any) -> None:
    [outcome] = decoded(payload)
    assert isinstance(outcome, LifecycleSeen), outcome
    assert outcome.fact == CREATED


def test_an_update_names_the_role_from_then_on() -> None:
    found = told(update_runtime(2, role=OTHER_ROLE_ARN))
    assert (found.subject, found.kind, found.role_arns) == (AGENT, "updated", (OTHER_ROLE_ARN,))


def test_the_deletion_of_a_version_is_not_the_agents() -> None:
    assert told(delete_runtime(3)).kind == "deleted"
    [outcome] = decoded(delete_runtime(3, request={"agentRuntimeVersion": "2"}))
    assert isinstance(outcome, Ignored)
    assert outcome.reason == "DeleteAgentRuntime of one version: the agent stays"


def test_the_agents_own_arn_knows_best_where_it_is() -> None:
    event = create_runtime(1)
    arn = "arn:aws:bedrock-agentcore:eu-west-1:444455556666:runtime/scout-a1b2c3d4e5"
    event["responseElements"] = {"agentRuntimeArn": arn}
    assert told(event).subject == "agent/444455556666/eu-west-1/scout-a1b2c3d4e5"


@pytest.mark.parametrize(
    "name,kind",
    [("CreateAgent", "created"), ("UpdateAgent", "updated"), ("DeleteAgent", "deleted")],
)
def test_agents_for_bedrock_are_detected(name: str, kind: str) -> None:
    found = told(agent_event(name, 4))
    assert (found.subject, found.kind) == (f"agent/{ACCOUNT}/{REGION}/AGENT12345", kind)
    assert found.role_arns == (() if kind == "deleted" else (ROLE_ARN,))


def test_an_agent_for_bedrock_may_be_made_without_a_role() -> None:
    event = agent_event("CreateAgent", 4)
    del event["requestParameters"]["agentResourceRoleArn"]
    del event["responseElements"]["agent"]["agentResourceRoleArn"]
    assert told(event).role_arns == ()


def test_a_failed_call_registers_no_agentcore_agent() -> None:
    [outcome] = decoded(create_runtime(1, errorCode="ConflictException", responseElements=None))
    assert isinstance(outcome, Ignored)
    assert outcome.reason == "CreateAgentRuntime that failed: ConflictException"


@pytest.mark.parametrize(
    "record,path",
    [
        (create_runtime(1, role=None), "$.requestParameters.roleArn"),
        (create_runtime(1, role="scout-role"), "$.requestParameters.roleArn"),
        (create_runtime(1, role=f"arn:aws:iam::{ACCOUNT}:user/x"), "$.requestParameters.roleArn"),
        (update_runtime(1, role=None), "$.requestParameters.roleArn"),
        (create_runtime(1, responseElements=None), "$.responseElements.agentRuntimeId"),
        (create_runtime(1, responseElements=[]), "$.responseElements"),
        (create_runtime(1, request={"roleArn": 7}), "$.requestParameters.roleArn"),
        (
            create_runtime(1, awsRegion="x y", responseElements={"agentRuntimeId": "a"}),
            "$.awsRegion",
        ),
        (create_runtime(1, eventTime="yesterday"), "$.eventTime"),
        (create_runtime(1, eventID=""), "$.eventID"),
        (runtime_event("UpdateAgentRuntime", 1, "x" * 300), "$.requestParameters.agentRuntimeId"),
        (
            api_event("CreateAgent", 1, {}, {"agent": None}, source="bedrock.amazonaws.com"),
            "$.responseElements.agent.agentId",
        ),
    ],
)
def test_invalid_payloads_of_agentcore_are_put_aside_with_their_place(
    record: dict[str, Any], path: str
) -> None:
    [outcome] = decoded(record)
    assert isinstance(outcome, Malformed), outcome
    assert outcome.path == path
    assert outcome.expected
    assert outcome.found


def test_calls_of_agents_and_other_events_of_agentcore_are_no_lifecycle() -> None:
    source = "bedrock-agentcore.amazonaws.com"
    for name in ("InvokeAgentRuntime", "CreateAgentRuntimeEndpoint", "CreateAgent"):
        [outcome] = decoded(api_event(name, 5, {}, source=source))
        assert isinstance(outcome, Ignored), outcome
