"""The directory: what lifecycle events say of users, roles, keys and agents. Pure.

Facts about one subject are a set: whatever the order in which they come, and however often, the
same set gives the same history. What the registry knows of agents and principals is worked out
from that history, effective-dated.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

SubjectKind = Literal["user", "role", "agent"]

FactKind = Literal[
    "created",
    "updated",
    "deleted",
    "tagged",
    "untagged",
    "key_created",
    "key_deleted",
    "policy_changed",
]

BEDROCK_SERVICE: Final = "bedrock.amazonaws.com"


class LifecycleFact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one event says of one subject.

    Attributes:
        subject: `user/A/NAME`, `role/A/NAME` or `agent/A/REGION/ID`.
        kind: What happened.
        at_ms: When, epoch milliseconds UTC.
        event_id: CloudTrail's `eventID`; a fact that comes twice is one fact.
        actor: ARN of whoever did it, empty if unknown.
        unique_id: `AIDA…`, `AROA…` of a user or role that was made; empty otherwise.
        name: What people call an agent.
        role_arns: Of an agent that was made or updated: the roles that it has from then on.
        tags: Tags that were set.
        tag_keys: Tags that were taken away.
        key_id: Of a credential or access key that was made or deleted.
        service: Of a service-specific credential (`bedrock.amazonaws.com`); empty for access keys.
        mentions_bedrock: Of a policy that was attached or put: it is about Bedrock.
    """

    subject: str
    kind: FactKind
    at_ms: int
    event_id: str
    actor: str = ""
    unique_id: str = ""
    name: str = ""
    role_arns: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    tag_keys: tuple[str, ...] = ()
    key_id: str = ""
    service: str = ""
    mentions_bedrock: bool = False
