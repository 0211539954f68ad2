"""CloudTrail's events of users, roles, keys and agents, made small."""

from typing import Any

from tests.calls import ACCOUNT, NOON, REGION, request_id
from tests.records import iso
from worker.core.directory import FactKind, LifecycleFact

ADMIN = f"arn:aws:sts::{ACCOUNT}:assumed-role/Admin/ada"
OWN_ROLE = f"arn:aws:iam::{ACCOUNT}:role/ops/LedgerockWorker"
OWN = f"arn:aws:sts::{ACCOUNT}:assumed-role/LedgerockWorker/ledgerock"
ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/agents/scout-role"
OTHER_ROLE_ARN = f"arn:aws:iam::{ACCOUNT}:role/agents/scribe-role"
USER = f"user/{ACCOUNT}/alice"
ROLE = f"role/{ACCOUNT}/scout-role"
AGENT = f"agent/{ACCOUNT}/{REGION}/scout-a1b2c3d4e5"
OTHER_AGENT = f"agent/{ACCOUNT}/{REGION}/scribe-f6g7h8i9j0"
KEY = "ACCAEXAMPLE00000001"


def api_event(
    name: str,
    number: int,
    request: Any = None,
    response: Any = None,
    *,
    source: str = "iam.amazonaws.com",
    at_ms: int = NOON,
    actor: str = ADMIN,
    **more: Any,
) -> dict[str, Any]:
    """A management event of any service."""
    return {
        "eventVersion": "1.11",
        "userIdentity": {"type": "AssumedRole", "arn": actor, "accountId": ACCOUNT},
        "eventTime": iso(at_ms),
        "eventSource": source,
        "eventName": name,
        "awsRegion": REGION,
        "requestParameters": request,
        "responseElements": response,
        "requestID": request_id(0xA000 + number),
        "eventID": request_id(0xB000 + number),
        "readOnly": False,
        "eventType": "AwsApiCall",
        "managementEvent": True,
        "recipientAccountId": ACCOUNT,
        "eventCategory": "Management",
        **more,
    }


def create_user(
    number: int, name: str = "alice", unique_id: str = "AIDAONE", **more: Any
) -> dict[str, Any]:
    made = {
        "path": "/",
        "userName": name,
        "userId": unique_id,
        "arn": f"arn:aws:iam::{ACCOUNT}:user/{name}",
        "createDate": "Jul 19, 2023 9:25:09 PM",
    }
    tags = more.pop("tags", None)
    request = {"userName": name} | ({} if tags is None else {"tags": tags})
    return api_event("CreateUser", number, request, {"user": made}, **more)


def create_key(number: int, name: str = "alice", key_id: str = KEY, **more: Any) -> dict[str, Any]:
    made = {
        "createDate": "Nov 20, 2026 9:01:02 AM",
        "serviceName": "bedrock.amazonaws.com",
        "serviceCredentialAlias": f"{name}-at-{ACCOUNT}",
        "serviceSpecificCredentialId": key_id,
        "userName": name,
        "status": "Active",
    }
    request = {"userName": name, "serviceName": "bedrock.amazonaws.com", "credentialAgeDays": 30}
    response = {"serviceSpecificCredential": made}
    return api_event("CreateServiceSpecificCredential", number, request, response, **more)


def tag_user(number: int, tags: dict[str, str], name: str = "alice", **more: Any) -> dict[str, Any]:
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    return api_event("TagUser", number, {"userName": name, "tags": listed}, None, **more)


def delete_user(number: int, name: str = "alice", **more: Any) -> dict[str, Any]:
    return api_event("DeleteUser", number, {"userName": name}, None, **more)


def runtime_event(
    name: str,
    number: int,
    runtime: str = "scout-a1b2c3d4e5",
    role: str | None = ROLE_ARN,
    *,
    request: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """CreateAgentRuntime, UpdateAgentRuntime or DeleteAgentRuntime of AgentCore."""
    asked: dict[str, Any] = {"networkConfiguration": {"networkMode": "PUBLIC"}}
    asked |= {} if role is None else {"roleArn": role}
    if name == "CreateAgentRuntime":
        asked["agentRuntimeName"] = runtime.partition("-")[0]
    else:
        asked["agentRuntimeId"] = runtime
    answer = {
        "agentRuntimeArn": f"arn:aws:bedrock-agentcore:{REGION}:{ACCOUNT}:runtime/{runtime}",
        "agentRuntimeId": runtime,
        "agentRuntimeVersion": "1",
        "status": "CREATING",
    }
    if name == "DeleteAgentRuntime":
        asked, answer = {"agentRuntimeId": runtime}, {"status": "DELETING"}
    return api_event(
        name,
        number,
        asked | (request or {}),
        answer,
        **{"source": "bedrock-agentcore.amazonaws.com", **more},
    )


def create_runtime(number: int, *arguments: Any, **more: Any) -> dict[str, Any]:
    return runtime_event("CreateAgentRuntime", number, *arguments, **more)


def update_runtime(number: int, *arguments: Any, **more: Any) -> dict[str, Any]:
    return runtime_event("UpdateAgentRuntime", number, *arguments, **more)


def delete_runtime(number: int, *arguments: Any, **more: Any) -> dict[str, Any]:
    return runtime_event("DeleteAgentRuntime", number, *arguments, **more)


def agent_event(name: str, number: int, **more: Any) -> dict[str, Any]:
    """CreateAgent, UpdateAgent or DeleteAgent of Agents for Amazon Bedrock."""
    agent = {
        "agentId": "AGENT12345",
        "agentArn": f"arn:aws:bedrock:{REGION}:{ACCOUNT}:agent/AGENT12345",
        "agentName": "clerk",
        "agentResourceRoleArn": ROLE_ARN,
        "agentStatus": "CREATING",
    }
    request = {"agentName": "clerk", "agentResourceRoleArn": ROLE_ARN}
    if name != "CreateAgent":
        request["agentId"] = "AGENT12345"
    response: dict[str, Any] = {"agent": agent}
    if name == "DeleteAgent":
        request, response = {"agentId": "AGENT12345"}, {"agentStatus": "DELETING"}
    return api_event(name, number, request, response, source="bedrock.amazonaws.com", **more)


def fact(kind: FactKind, number: int, subject: str = USER, **more: Any) -> LifecycleFact:
    """A fact of event `number`, by default `number` seconds after noon."""
    fields = {"at_ms": NOON + 1_000 * number, "event_id": f"e{number:03d}", **more}
    return LifecycleFact(subject=subject, kind=kind, **fields)
