"""The policy that suspends covers every way to spend, and leaves the rest."""

import json
import re

import pytest
from botocore.session import get_session

from worker.core.deny_policy import (
    SPENDING,
    deny_document,
    is_own,
    length_of,
    managed_name,
    policy_name,
    same_document,
)

ALICE = "arn:aws:iam::111122223333:user/teams/alice"
SCOUT = "arn:aws-us-gov:iam::111122223333:role/Scout"

FREE = {
    "bedrock-runtime": {"CountTokens", "GetAsyncInvoke", "ListAsyncInvokes"},
    "bedrock-agent-runtime": {
        "CheckIngestedDocumentAcl",
        "CreateInvocation",
        "CreateSession",
        "DeleteAgentMemory",
        "DeleteSession",
        "EndSession",
        "PutInvocationStep",
        "StopFlowExecution",
        "TagResource",
        "UntagResource",
        "UpdateSession",
    },
    "bedrock-data-automation-runtime": {"TagResource", "UntagResource"},
    "bedrock-data-automation": set(),
}
"""What calls no model. `Get…` and `List…` are free everywhere."""

PERMISSIONS = {
    "Converse": "InvokeModel",
    "ConverseStream": "InvokeModelWithResponseStream",
    "InvokeModelWithBidirectionalStream": "InvokeModel",
}
"""Operations that another's permission stands for (Bedrock API reference)."""


def denies(action: str) -> bool:
    """Whether an action is denied, as IAM reads wildcards."""
    return any(
        re.fullmatch(pattern.replace("*", ".*"), action, re.IGNORECASE) for pattern in SPENDING
    )


def operations(service: str) -> list[str]:
    return list(get_session().get_service_model(service).operation_names)


@pytest.mark.parametrize(
    "service", ["bedrock-runtime", "bedrock-agent-runtime", "bedrock-data-automation-runtime"]
)
def test_every_operation_that_calls_a_model_is_denied(service: str) -> None:
    spending = {
        operation
        for operation in operations(service)
        if not operation.startswith(("Get", "List")) and operation not in FREE[service]
    }
    assert len(spending) >= 2
    actions = {PERMISSIONS.get(operation, operation) for operation in spending}
    assert {action for action in actions if not denies(f"bedrock:{action}")} == set()


def test_every_job_and_every_model_that_is_rented_is_denied() -> None:
    made = {
        operation
        for operation in operations("bedrock")
        if operation.startswith("Create")
        and operation.endswith(("Job", "Throughput", "Deployment"))
    }
    assert {"CreateModelInvocationJob", "CreateProvisionedModelThroughput"} <= made
    assert {one for one in made if not denies(f"bedrock:{one}")} == set()


@pytest.mark.parametrize(
    "action",
    [
        "bedrock:CallWithBearerToken",
        "bedrock:InvokeTool",
        "bedrock-mantle:CreateInference",
        "bedrock-mantle:CallWithBearerToken",
        "bedrock-agentcore:InvokeAgentRuntime",
        "bedrock-agentcore:InvokeAgentRuntimeCommand",
        "bedrock-agentcore:InvokeAgentRuntimeForUser",
        "bedrock-agentcore:InvokeAgentRuntimeWithWebSocketStream",
        "bedrock-agentcore:InvokeHarness",
        "bedrock-agentcore:Evaluate",
        "bedrock-agentcore:BatchCreateMemoryRecords",
        "bedrock-agentcore:BatchUpdateMemoryRecords",
        "bedrock-agentcore:CreateABTest",
        "bedrock-agentcore:CreateEvent",
        "bedrock-agentcore:IngestData",
        "bedrock-agentcore:ProcessPayment",
        "bedrock-agentcore:RetrieveMemoryRecords",
        "bedrock:UpdateCustomModelDeployment",
        "bedrock:UpdateProvisionedModelThroughput",
        "aws-external-anthropic:CreateInference",
        "aws-external-anthropic:CreateBatchInference",
        "iam:CreateServiceSpecificCredential",
    ],
)
def test_what_no_operation_of_bedrock_is_named_after_is_denied(action: str) -> None:
    assert denies(action)


@pytest.mark.parametrize(
    "action",
    [
        "bedrock:StopModelInvocationJob",
        "bedrock:GetModelInvocationJob",
        "bedrock:ListModelInvocationJobs",
        "bedrock:DeleteProvisionedModelThroughput",
        "bedrock:DeleteMarketplaceModelEndpoint",
        "bedrock:GetRetrievalInstruction",
        "bedrock:CreateGuardrail",
        "bedrock-agentcore:BatchDeleteMemoryRecords",
        "bedrock-agentcore:DeleteEvent",
        "bedrock-agentcore:GetMemoryRecord",
        "bedrock-agentcore:ListMemoryRecords",
        "bedrock-agentcore:StopRuntimeSession",
        "bedrock-agentcore:GetAgentRuntime",
        "iam:CreateUser",
        "s3:GetObject",
    ],
)
def test_what_costs_nothing_or_stops_what_does_stays_allowed(action: str) -> None:
    assert not denies(action)


def test_the_document_denies_without_condition_and_keeps_itself() -> None:
    first, second = json.loads(deny_document("user", ALICE))["Statement"]
    assert first == {
        "Sid": "Suspended",
        "Effect": "Deny",
        "Action": list(SPENDING),
        "Resource": "*",
    }
    assert second["Effect"] == "Deny"
    assert second["Action"][:2] == ["iam:*UserPolicy", "iam:*ServiceSpecificCredential"]
    assert second["Resource"] == [ALICE, "arn:aws:iam::111122223333:policy/ledgerock/*"]


def test_a_session_alone_is_denied_by_its_userid() -> None:
    statements = json.loads(deny_document("session", SCOUT, "AROAEXAMPLE:ann"))["Statement"]
    condition = {"StringEquals": {"aws:userid": "AROAEXAMPLE:ann"}}
    assert [one["Condition"] for one in statements] == [condition, condition]
    assert statements[1]["Action"] == ["iam:*RolePolicy", "iam:*PolicyVersion"]
    own = "arn:aws-us-gov:iam::111122223333:policy/ledgerock/*"
    assert statements[1]["Resource"] == [SCOUT, own]


def test_a_deny_takes_less_than_half_of_the_inline_quota_of_a_user() -> None:
    longest = f"arn:aws-us-gov:iam::111122223333:user/{'x' * 64}"
    assert length_of(deny_document("user", longest)) < 1_024


def test_length_counts_no_white_space() -> None:
    assert length_of('{ "a":\n\t"b c" }') == len('{"a":"bc"}')


def test_names() -> None:
    assert policy_name("s-1A") == "ledgerock-deny-s-1A"
    assert managed_name("s-1A", "AIDAX") == "ledgerock-deny-s-1A-AIDAX"
    assert is_own("ledgerock-deny-s-1A")
    assert is_own("arn:aws:iam::111122223333:policy/ledgerock/ledgerock-deny-s-1A-AIDAX")
    assert not is_own("my-ledgerock-deny-list")
    assert not is_own("arn:aws:iam::111122223333:policy/ledgerock-deny-s-1A")
    assert not is_own("arn:aws:iam::aws:policy/AdministratorAccess")


@pytest.mark.parametrize("suspension_id", ["", "a b", "a/b", "x" * 41, "ü", "a*"])
def test_a_suspension_id_that_names_no_policy_is_refused(suspension_id: str) -> None:
    with pytest.raises(ValueError, match="suspension id"):
        policy_name(suspension_id)


def test_documents_are_compared_by_what_they_say() -> None:
    document = deny_document("user", ALICE)
    assert same_document(json.dumps(json.loads(document), indent=2, sort_keys=True), document)
    assert not same_document(document.replace("bedrock:Rerank", "bedrock:None"), document)
    assert not same_document(None, document)
    assert not same_document("{", document)
