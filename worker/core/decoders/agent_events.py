"""CloudTrail events of agents: AgentCore runtimes and Bedrock Agents.

API references: CreateAgentRuntime, UpdateAgentRuntime and DeleteAgentRuntime (Amazon Bedrock
AgentCore Control Plane); CreateAgent, UpdateAgent and DeleteAgent (Agents for Amazon Bedrock).
An agent calls models with its execution role, so what these events say of the role says who pays.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from worker.core.decoders import fields
from worker.core.decoders.fields import FieldError
from worker.core.decoders.lifecycle import Header, Tag, name_segment, role_arn, tags_of
from worker.core.directory import FactKind, LifecycleFact
from worker.core.results import Ignored, LifecycleSeen

AGENTCORE_SOURCE: Final = "bedrock-agentcore.amazonaws.com"
AGENTS_SOURCE: Final = "bedrock.amazonaws.com"
RUNTIME_EVENTS: Final[dict[str, FactKind]] = {
    "CreateAgentRuntime": "created",
    "UpdateAgentRuntime": "updated",
    "DeleteAgentRuntime": "deleted",
}
AGENT_EVENTS: Final[dict[str, FactKind]] = {
    "CreateAgent": "created",
    "UpdateAgent": "updated",
    "DeleteAgent": "deleted",
}

_REGION: Final = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_ARN_PARTS: Final = 6


class _Request(msgspec.Struct, gc=False, rename="camel"):
    """`requestParameters` of both services."""

    agent_runtime_id: str | None = None
    agent_runtime_name: str | None = None
    agent_runtime_version: str | int | None = None
    role_arn: str | None = None
    agent_id: str | None = None
    agent_name: str | None = None
    agent_resource_role_arn: str | None = None
    tags: list[Tag | None] | dict[str, str | None] | None = None


class _Agent(msgspec.Struct, gc=False, rename="camel"):
    """The `agent` of an answer."""

    agent_id: str | None = None
    agent_arn: str | None = None
    agent_name: str | None = None
    agent_resource_role_arn: str | None = None


class _Response(msgspec.Struct, gc=False, rename="camel"):
    """`responseElements` of both services."""

    agent_runtime_id: str | None = None
    agent_runtime_arn: str | None = None
    agent_runtime_name: str | None = None
    agent_id: str | None = None
    agent: _Agent | None = None


class _Event(Header, gc=False, rename="camel"):
    request_parameters: _Request | None = None
    response_elements: _Response | None = None


_decode_event: Final = msgspec.json.Decoder(_Event).decode
_NO_REQUEST: Final = _Request()
_NO_RESPONSE: Final = _Response()
_NO_AGENT: Final = _Agent()


class _Said(NamedTuple):
    """What an event of either service says, and where."""

    id: str | None
    id_path: str
    arn: str | None
    name: str | None
    role: str | None
    role_path: str
    must_have_role: bool


def is_agent_event(source: str | None, name: str | None) -> bool:
    """Whether an event is one of those that say something of an agent."""
    return (source == AGENTCORE_SOURCE and name in RUNTIME_EVENTS) or (
        source == AGENTS_SOURCE and name in AGENT_EVENTS
    )


def decode_agent_event(raw: bytes | msgspec.Raw) -> LifecycleSeen | Ignored:
    """Return what one event says of an agent.

    Raises:
        FieldError: It says it in a way that cannot be accepted.
        msgspec.ValidationError: A field is of another type.
    """
    event = _decode_event(raw)
    name = event.event_name
    if event.error_code:
        return Ignored(f"{name} that failed: {fields.cut(event.error_code)}")
    request = event.request_parameters or _NO_REQUEST
    answer = event.response_elements or _NO_RESPONSE
    if name == "DeleteAgentRuntime" and request.agent_runtime_version not in {None, ""}:
        return Ignored("DeleteAgentRuntime of one version: the agent stays")
    is_runtime = name in RUNTIME_EVENTS
    kind = (RUNTIME_EVENTS if is_runtime else AGENT_EVENTS)[name]
    said = _of_runtime(kind, request, answer) if is_runtime else _of_agent(kind, request, answer)
    roles: tuple[str, ...] = ()
    if kind != "deleted" and (said.role or said.must_have_role):
        roles = (role_arn(said.role, said.role_path),)
    fact = LifecycleFact(
        subject=_subject(event, said),
        kind=kind,
        at_ms=event.at_ms(raw),
        event_id=event.id(),
        actor=event.actor,
        name=fields.cut(said.name),
        role_arns=roles,
        tags=tags_of(request.tags) if kind == "created" else (),
    )
    return LifecycleSeen(fact)


def _of_runtime(kind: FactKind, request: _Request, answer: _Response) -> _Said:
    arn = answer.agent_runtime_arn
    named = answer.agent_runtime_id or request.agent_runtime_id or _last_of(arn, "/")
    where = "responseElements" if kind == "created" else "requestParameters"
    return _Said(
        id=named,
        id_path=f"$.{where}.agentRuntimeId",
        arn=arn,
        name=request.agent_runtime_name or answer.agent_runtime_name or named,
        role=request.role_arn,
        role_path="$.requestParameters.roleArn",
        must_have_role=True,
    )


def _of_agent(kind: FactKind, request: _Request, answer: _Response) -> _Said:
    """Read an event of a Bedrock Agent. An agent may be made without a role, and get it later."""
    agent = answer.agent or _NO_AGENT
    named = agent.agent_id or request.agent_id or answer.agent_id or _last_of(agent.agent_arn, "/")
    made = kind == "created"
    return _Said(
        id=named,
        id_path="$.responseElements.agent.agentId" if made else "$.requestParameters.agentId",
        arn=agent.agent_arn,
        name=request.agent_name or agent.agent_name or named,
        role=request.agent_resource_role_arn or agent.agent_resource_role_arn,
        role_path="$.requestParameters.agentResourceRoleArn",
        must_have_role=False,
    )


def _subject(event: _Event, said: _Said) -> str:
    """Return `agent/A/REGION/ID`; the agent's own ARN knows best where it is."""
    parts = (said.arn or "").split(":", _ARN_PARTS - 1)
    in_arn = len(parts) == _ARN_PARTS
    account = parts[4] if in_arn and parts[4] else event.account()
    region = parts[3] if in_arn and parts[3] else event.aws_region
    if not region or not _REGION.fullmatch(region):
        found = fields.quote(region) if region else fields.NOTHING
        raise FieldError("$.awsRegion", "an AWS Region", found)
    account = fields.checked_account(account, "$.recipientAccountId")
    return f"agent/{account}/{region}/{name_segment(said.id, said.id_path, 'the id of an agent')}"


def _last_of(arn: str | None, separator: str) -> str | None:
    return arn.rpartition(separator)[2] if arn else None
