"""What is announced of agents, keys and tags: what each event says, and under which id.

event                       once for each
--------------------------  -----------------------------------------------------------------
Agent Registered            agent and list of its roles
Agent Removed               agent
Unprovisioned Key Detected  key
Principal Tags Changed      CloudTrail event that changed Ledgerock's own tags
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Final, TypedDict

import msgspec

from worker.core.directory import LifecycleFact
from worker.core.directory_views import KeyView, View
from worker.core.events import (
    AGENT_REGISTERED,
    AGENT_REMOVED,
    SCHEMA_VERSION,
    TAGS_CHANGED,
    UNPROVISIONED_KEY,
    Event,
    ScopeDetail,
    bounded,
    event_id_of,
    iso,
    message,
)

LISTED_MAX: Final = 20


class AgentDetail(msgspec.Struct, frozen=True):
    """Detail of `Agent Registered` and `Agent Removed`.

    Attributes:
        agent: Its id.
        name: What people call it.
        role_arns: The roles that it calls models with.
        shared_with: Other agents that have one of these roles: calls of such a role are nobody's
            but the role's.
        tier: The tier whose budgets it has; empty for none.
        message: One line for people.
        next: What happens next.
        command: The command that shows or changes it.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    agent: str
    name: str
    role_arns: tuple[str, ...]
    shared_with: tuple[str, ...]
    tier: str
    message: str
    next: str
    command: str


class KeyDetail(msgspec.Struct, frozen=True):
    """Detail of `Unprovisioned Key Detected`.

    Attributes:
        principal: The user's id.
        key_id: The key's.
        made_by: Who made it; empty if unknown.
        tier: The tier whose budgets the user has now; empty for none.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    principal: str
    key_id: str
    made_by: str
    tier: str
    message: str
    next: str
    command: str


class TagsDetail(msgspec.Struct, frozen=True):
    """Detail of `Principal Tags Changed`.

    Attributes:
        principal: Whose tags.
        changed_by: Who changed them; empty if unknown.
        wanted: What the tags are to be; those absent are to be away.
        found: What the event set.
        removed: What it took away.
    """

    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail
    principal: str
    changed_by: str
    wanted: dict[str, str]
    found: dict[str, str]
    removed: tuple[str, ...]
    message: str
    next: str
    command: str


def agent_registered(
    view: View, shared_with: Sequence[str], tier: str, at_ms: int, recorded_at_ms: int
) -> Event:
    """Build `Agent Registered`.

    Args:
        view: The agent.
        shared_with: Other agents with one of its roles.
        tier: The tier whose budgets it has.
        at_ms: When it got these roles.
        recorded_at_ms: Ledger time.
    """
    roles = view.roles[-1][0] if view.roles else ()
    event_id = event_id_of("agent-registered", view.id, *roles)
    if not roles:
        follows = "It has no role yet: its calls are booked to whoever makes them."
    elif shared_with:
        named = ", ".join(shared_with[:LISTED_MAX])
        follows = (
            f"Its role is shared with {named}: calls of that role stay with the role, and are "
            "split by nobody; give each agent a role of its own."
        )
    else:
        follows = "Calls of its role are booked to the agent from then on."
    budgets = f" It has the budgets of tier {tier}." if tier else " It has no budget."
    with_roles = f" with role {', '.join(roles)}" if roles else ""
    return _agent_event(
        AGENT_REGISTERED,
        event_id,
        view,
        AgentDetail(
            **_head(event_id, at_ms, recorded_at_ms, ScopeDetail("agent", bounded(view.id))),
            agent=bounded(view.id),
            name=bounded(view.name),
            role_arns=tuple(bounded(arn) for arn in roles[:LISTED_MAX]),
            shared_with=tuple(bounded(one) for one in shared_with[:LISTED_MAX]),
            tier=tier,
            message=message(f"Agent {bounded(view.name)} ({bounded(view.id)}){with_roles}."),
            next=message(follows + budgets),
            command=_show(view.id),
        ),
        at_ms,
    )


def agent_removed(view: View, recorded_at_ms: int) -> Event:
    """Build `Agent Removed`: an agent was deleted."""
    at_ms = view.last.to_ms or recorded_at_ms
    event_id = event_id_of("agent-removed", view.id)
    roles = view.roles[-1][0] if view.roles else ()
    return _agent_event(
        AGENT_REMOVED,
        event_id,
        view,
        AgentDetail(
            **_head(event_id, at_ms, recorded_at_ms, ScopeDetail("agent", bounded(view.id))),
            agent=bounded(view.id),
            name=bounded(view.name),
            role_arns=tuple(bounded(arn) for arn in roles[:LISTED_MAX]),
            shared_with=(),
            tier="",
            message=message(f"Agent {bounded(view.name)} ({bounded(view.id)}) was deleted."),
            next=(
                "Its budgets by tier are removed; what it spent stays in the books. Calls of its "
                "role are the role's from then on."
            ),
            command=_show(view.id),
        ),
        at_ms,
    )


def unprovisioned_key(principal: str, key: KeyView, tier: str, recorded_at_ms: int) -> Event:
    """Build `Unprovisioned Key Detected`.

    Args:
        principal: The user.
        key: Its key, which was not made through provisioning.
        tier: The tier whose budgets the user has now.
        recorded_at_ms: Ledger time.
    """
    event_id = event_id_of("unprovisioned-key", principal, key.id)
    by = f" by {bounded(key.made_by)}" if key.made_by else ""
    limited = f"It has the budgets of tier {tier}." if tier else "It has no budget."
    detail = KeyDetail(
        **_head(event_id, key.made_at_ms, recorded_at_ms, _principal(principal)),
        principal=bounded(principal),
        key_id=bounded(key.id),
        made_by=bounded(key.made_by),
        tier=tier,
        message=message(
            f"{bounded(principal)} was given the Bedrock API key {bounded(key.id)}{by}, not "
            "through Ledgerock."
        ),
        next=message(f"The user is tagged as detected. {limited}"),
        command=f"ledgerock suspend {shlex.quote(bounded(principal))} --reason 'unprovisioned key'",
    )
    encoded = msgspec.json.encode(detail)
    return Event(event_id, UNPROVISIONED_KEY, f"principal/{principal}", encoded, key.made_at_ms)


def tags_changed(
    principal: str, fact: LifecycleFact, wanted: Mapping[str, str], recorded_at_ms: int
) -> Event:
    """Build `Principal Tags Changed`: somebody else changed tags that are Ledgerock's own.

    Args:
        principal: Whose.
        fact: What was changed.
        wanted: The own tags that it is to have.
        recorded_at_ms: Ledger time.
    """
    event_id = event_id_of("tags-changed", principal, fact.event_id)
    by = f" by {bounded(fact.actor)}" if fact.actor else ""
    names = [key for key, _ in fact.tags] + list(fact.tag_keys)
    detail = TagsDetail(
        **_head(event_id, fact.at_ms, recorded_at_ms, _principal(principal)),
        principal=bounded(principal),
        changed_by=bounded(fact.actor),
        wanted={bounded(key): bounded(value) for key, value in sorted(wanted.items())},
        found={bounded(key): bounded(value) for key, value in fact.tags[:LISTED_MAX]},
        removed=tuple(bounded(key) for key in fact.tag_keys[:LISTED_MAX]),
        message=message(
            f"Ledgerock's own tags of {bounded(principal)} were changed{by}: "
            f"{', '.join(bounded(name) for name in names[:LISTED_MAX])}."
        ),
        next="They are put back as they are to be.",
        command=_show(principal),
    )
    encoded = msgspec.json.encode(detail)
    return Event(event_id, TAGS_CHANGED, f"principal/{principal}", encoded, fact.at_ms)


def _agent_event(
    detail_type: str, event_id: str, view: View, detail: AgentDetail, at_ms: int
) -> Event:
    encoded = msgspec.json.encode(detail)
    return Event(event_id, detail_type, f"principal/{view.id}", encoded, at_ms)


class _Head(TypedDict):
    event_id: str
    schema_version: int
    occurred_at: str
    recorded_at: str
    scope: ScopeDetail


def _head(event_id: str, at_ms: int, recorded_at_ms: int, scope: ScopeDetail) -> _Head:
    return _Head(
        event_id=event_id,
        schema_version=SCHEMA_VERSION,
        occurred_at=iso(at_ms),
        recorded_at=iso(recorded_at_ms),
        scope=scope,
    )


def _principal(principal: str) -> ScopeDetail:
    return ScopeDetail("principal", bounded(principal))


def _show(principal: str) -> str:
    return f"ledgerock principals show {shlex.quote(bounded(principal))}"
