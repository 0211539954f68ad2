"""The policy that suspends: what it denies, what it is called, how long it may be. Pure.

It denies every way to spend on Bedrock, and leaves what costs nothing: reading, stopping jobs and
sessions, deleting (AWS documentation: the service authorization reference of "Amazon Bedrock",
"Amazon Bedrock AgentCore", "Amazon Bedrock Powered by AWS Mantle" and "Claude Platform on AWS").
There is no action for `Converse`: `InvokeModel` and `InvokeModelWithResponseStream` stand for it
and for batch and asynchronous calls (Bedrock API reference: "Converse", "StartAsyncInvoke").

It also keeps itself: who is suspended cannot take the policy away, nor make itself a new API key.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from worker.core.targets import TargetKind

PREFIX: Final = "ledgerock-deny-"
"""Begins the name of every policy of ours, and of no other."""
PATH: Final = "/ledgerock/"
"""Path of the managed ones."""

SPENDING: Final = (
    "bedrock:Invoke*",  # models, agents, flows, data automation, guardrail checks
    "bedrock:CallWithBearerToken",
    "bedrock:Start*",  # asynchronous calls, flow executions, ingestion, reasoning workflows
    "bedrock:Create*Job",  # batch, customization, evaluation, import, prompt optimization
    "bedrock:*Retrieve*",
    "bedrock:Rerank",
    "bedrock:GenerateQuery",
    "bedrock:Optimize*",
    "bedrock:ApplyGuardrail",
    "bedrock:Ingest*",  # documents of knowledge bases
    "bedrock:*ateProvisioned*",  # create and update, not delete: what is rented
    "bedrock:*ateCustomModelDep*",
    "bedrock:*ateMarketplace*",
    "bedrock-mantle:*",
    "bedrock-agentcore:Invoke*",
    "bedrock-agentcore:Start*",
    "bedrock-agentcore:Evaluate",
    "bedrock-agentcore:CreateEvent",  # memory: events, records and searches are charged
    "bedrock-agentcore:Ingest*",
    "bedrock-agentcore:Batch*ate*",  # create and update records, not delete
    "bedrock-agentcore:Retrieve*",
    "bedrock-agentcore:CreateAB*",
    "bedrock-agentcore:Process*",  # payments
    "aws-external-anthropic:*",
    "iam:CreateServiceSpecific*",  # API keys
)
"""What is denied; `*` stands for any text, as IAM reads it."""

_KEEPING: Final[Mapping[TargetKind, tuple[str, ...]]] = {
    "user": ("iam:*UserPolicy", "iam:*ServiceSpecificCredential", "iam:*PolicyVersion"),
    "role": ("iam:*RolePolicy", "iam:*PolicyVersion"),
    "session": ("iam:*RolePolicy", "iam:*PolicyVersion"),
}
"""What is denied on oneself, and on the managed policies of ours."""

_ID: Final = re.compile(r"[A-Za-z0-9-]{1,40}", re.ASCII)
_OWN_ARN: Final = re.compile(rf"arn:[^:]+:iam::[0-9]*:policy{PATH}{PREFIX}.*", re.ASCII)


def policy_name(suspension_id: str) -> str:
    """Return the name of a suspension's inline policy.

    Raises:
        ValueError: The id is not made of up to 40 letters, digits and hyphens.
    """
    if not _ID.fullmatch(suspension_id):
        message = f"suspension id {suspension_id!r}: give up to 40 letters, digits and hyphens"
        raise ValueError(message)
    return f"{PREFIX}{suspension_id}"


def managed_name(suspension_id: str, unique_id: str) -> str:
    """Return the name of a suspension's managed policy for one user or role of the account."""
    return f"{policy_name(suspension_id)}-{unique_id}"


def is_own(name_or_arn: str) -> bool:
    """Whether an inline policy of this name, or a managed one of this ARN, is ours."""
    return name_or_arn.startswith(PREFIX) or bool(_OWN_ARN.fullmatch(name_or_arn))


def deny_document(kind: TargetKind, arn: str, userid: str = "") -> str:
    """Return the document of the policy that suspends.

    The same arguments always give the same text, without white space.

    Args:
        kind: Of the target.
        arn: Of the user or role that it is put on, path included.
        userid: Of a session `AROA…:SESSION`, the value of `aws:userid` in its requests (AWS
            documentation: "AWS global condition context keys"); the policy then concerns that
            session alone.
    """
    _arn, partition, _iam, _region, account, _resource = arn.split(":", 5)
    condition = {"Condition": {"StringEquals": {"aws:userid": userid}}} if userid else {}
    own = f"arn:{partition}:iam::{account}:policy{PATH}*"
    statements = (
        {"Sid": "Suspended", "Action": SPENDING, "Resource": "*"},
        {"Sid": "Kept", "Action": _KEEPING[kind], "Resource": (arn, own)},
    )
    document = {
        "Version": "2012-10-17",
        "Statement": [{**one, "Effect": "Deny", **condition} for one in statements],
    }
    return msgspec.json.encode(document).decode()


def same_document(one: str | None, other: str) -> bool:
    """Whether two documents say the same, however they are laid out."""
    if one is None:
        return False
    try:
        same: bool = msgspec.json.decode(one) == msgspec.json.decode(other)
    except msgspec.DecodeError:
        return False
    return same


def length_of(document: str) -> int:
    """Return a document's length as quotas count it: without white space.

    (AWS documentation: "IAM and AWS STS quotas"; 2,048 for all inline policies of a user, 10,240
    of a role, 6,144 for a managed policy.)
    """
    return len("".join(document.split()))
