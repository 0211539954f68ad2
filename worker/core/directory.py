"""The directory: what lifecycle events say of users, roles, keys and agents. Pure.

Facts about one subject are a set: whatever the order in which they come, and however often, the
same set gives the same history. What the registry knows of agents and principals is worked out
from that history, effective-dated (`worker.core.directory_views`).

**Bounded.** A subject is one record, so its facts are *folded*: only what can still matter is
kept, and what is kept is a function of the set of facts. Of each tag the newest few changes are
kept, of all tags the newest hundred or so (Ledgerock's own apart, so that no others crowd them
out); of each key what made it and its newest change, of all keys the newest; of a user or role
its first creation, which says whose the plain id is, and the newest creations and deletions; of
an agent its newest roles; of policies the newest that mentions Bedrock. Folding is confluent:
folding before and after facts are added gives the same as folding once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final, Literal

import msgspec

from worker.core.registry import parse_role_arn

SubjectKind = Literal["user", "role", "agent"]

FactKind = Literal[
    "created",
    "updated",
    "deleted",
    "tagged",
    "untagged",
    "key_created",
    "key_updated",
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
        status: Of a key that was made or updated: `Active` or `Inactive`; empty if unchanged.
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
    status: str = ""


class Subject(msgspec.Struct, frozen=True):
    """All that is kept of a user, a role or an agent.

    Attributes:
        id: As `LifecycleFact.subject`.
        facts: Folded; in the order in which things happened. One tag or tag key each.
    """

    id: str
    facts: tuple[LifecycleFact, ...] = ()


class Bounds(msgspec.Struct, frozen=True):
    """How many facts of a subject are kept, of each sort.

    Attributes:
        lives: Newest creations and deletions.
        roles: Newest changes of an agent's roles.
        tag_changes: Newest changes of one tag.
        tags: Newest changes of all tags that are not Ledgerock's.
        own_tags: Newest changes of all tags that are.
        keys: Newest facts about keys.
    """

    lives: int = 64
    roles: int = 64
    tag_changes: int = 4
    tags: int = 100
    own_tags: int = 48
    keys: int = 96


BOUNDS: Final = Bounds()
OWN_TAG_PREFIX: Final = "ledgerock:"

_KIND_ORDER: Final[dict[FactKind, int]] = {
    "created": 0,
    "key_created": 1,
    "updated": 2,
    "tagged": 3,
    "key_updated": 3,
    "policy_changed": 3,
    "untagged": 4,
    "key_deleted": 5,
    "deleted": 6,
}
"""Order of facts of one second, which is how exact CloudTrail's times are."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(tuple[LifecycleFact, ...]).decode


def in_order(fact: LifecycleFact) -> tuple[int, int, str, str]:
    """Sort key: when it happened; within a second, what comes first in a life; then by id."""
    return fact.at_ms, _KIND_ORDER[fact.kind], fact.event_id, _tag_key(fact)


def merged(subject: Subject, facts: Iterable[LifecycleFact], bounds: Bounds = BOUNDS) -> Subject:
    """Add facts to a subject; what is known already, or can never matter, changes nothing."""
    known: dict[tuple[str, FactKind, str], LifecycleFact] = {}
    atoms = (atom for fact in facts for atom in _atoms(fact))
    for fact in (*subject.facts, *atoms):
        key = fact.event_id, fact.kind, _tag_key(fact)
        before = known.get(key)
        # One event says one thing; should it not, the same one is believed whatever comes first.
        if before is None or _encode(before) < _encode(fact):
            known[key] = fact
    return Subject(subject.id, _folded(known.values(), bounds))


def encode_subject(subject: Subject) -> bytes:
    """Return a subject as it is kept."""
    return _encode([msgspec.structs.replace(fact, subject="") for fact in subject.facts])


def decode_subject(subject_id: str, body: bytes) -> Subject:
    """Undo `encode_subject`.

    Raises:
        msgspec.DecodeError: It is none.
    """
    facts = _decode(body)
    named = (msgspec.structs.replace(fact, subject=subject_id) for fact in facts)
    return Subject(subject_id, tuple(named))


def _atoms(fact: LifecycleFact) -> list[LifecycleFact]:
    """Split a fact into parts that are kept or dropped each for itself."""
    replace = msgspec.structs.replace
    bare = replace(fact, tags=(), tag_keys=())
    atoms = [] if fact.kind in {"tagged", "untagged", "policy_changed"} else [bare]
    if fact.kind == "policy_changed" and fact.mentions_bedrock:
        atoms.append(bare)
    tagged = replace(bare, kind="tagged", unique_id="", name="", role_arns=())
    atoms += [replace(tagged, tags=(tag,)) for tag in fact.tags]
    atoms += [replace(bare, kind="untagged", tag_keys=(key,)) for key in fact.tag_keys]
    return atoms


def _tag_key(fact: LifecycleFact) -> str:
    return fact.tags[0][0] if fact.tags else fact.tag_keys[0] if fact.tag_keys else ""


def _folded(facts: Iterable[LifecycleFact], bounds: Bounds) -> tuple[LifecycleFact, ...]:
    """Keep the newest of each lane, then the newest of each pool of lanes."""
    lanes: dict[tuple[str, str, int], list[LifecycleFact]] = defaultdict(list)
    first: dict[str, LifecycleFact] = {}
    for fact in sorted(facts, key=in_order, reverse=True):
        lanes[_lane(fact, bounds)].append(fact)
        if fact.kind in {"created", "deleted"}:
            first[fact.kind] = fact
    pools: dict[str, list[LifecycleFact]] = defaultdict(list)
    for (pool, _, newest), lane in lanes.items():
        pools[pool] += lane[:newest]
    sizes = {"tags": bounds.tags, "own_tags": bounds.own_tags, "keys": bounds.keys}
    kept: list[LifecycleFact] = []
    for pool, listed in pools.items():
        listed.sort(key=in_order, reverse=True)
        kept += listed[: sizes.get(pool)]
    kept += [fact for fact in first.values() if fact not in kept]
    return tuple(sorted(kept, key=in_order))


def _lane(fact: LifecycleFact, bounds: Bounds) -> tuple[str, str, int]:
    """Return the pool of a fact, its lane there, and how many of the lane are kept."""
    match fact.kind:
        case "tagged" | "untagged":
            key = _tag_key(fact)
            own = key.startswith(OWN_TAG_PREFIX)
            return "own_tags" if own else "tags", key, bounds.tag_changes
        case "key_created":
            return "keys", f"made {fact.key_id}", 1
        case "key_updated" | "key_deleted":
            return "keys", f"changed {fact.key_id}", 1
        case "policy_changed":
            return "policies", "", 1
        case "updated":
            return "roles", "", bounds.roles
        case "created" if fact.subject.startswith("agent/"):
            return "roles", "", bounds.roles
        case _:
            return "lives", "", bounds.lives


# --- Who acted, and for whom ------------------------------------------------------------------


def is_own(actor: str, own_roles: Sequence[str]) -> bool:
    """Whether whoever did something is one of Ledgerock's own roles.

    Args:
        actor: ARN of a role, or of a session of one, which drops the role's path.
        own_roles: Full ARNs of roles.
    """
    parts = actor.split(":", 5)
    if len(parts) != 6:  # noqa: PLR2004 - an ARN has six parts
        return False
    kind, _, rest = parts[5].partition("/")
    name = rest.partition("/")[0] if kind == "assumed-role" else rest.rpartition("/")[2]
    if kind not in {"assumed-role", "role"} or not name:
        return False
    owned = (parse_role_arn(arn) for arn in own_roles)
    return any(one is not None and (one.account, one.name) == (parts[4], name) for one in owned)


def said(fact: LifecycleFact) -> str:
    """Return what a fact says, for people: `user/111122223333/alice: created`."""
    what = {
        "key_created": f"key {fact.key_id} made",
        "key_updated": f"key {fact.key_id} changed{f' to {fact.status}' if fact.status else ''}",
        "key_deleted": f"key {fact.key_id} deleted",
        "policy_changed": "a policy changed",
        "tagged": f"tagged {', '.join(f'{key}={value}' for key, value in fact.tags)}",
        "untagged": f"tags taken away: {', '.join(fact.tag_keys)}",
    }.get(fact.kind, fact.kind)
    roles = f", with role {', '.join(fact.role_arns)}" if fact.role_arns else ""
    return f"{fact.subject}: {what}{roles}"


# --- Keys and budgets that were given ---------------------------------------------------------

MANAGED_TAG: Final = "ledgerock:managed"
"""Ledgerock's own tag of users whose keys it knows: `provisioned` or `detected`."""
PROVISIONED: Final = "provisioned"
DETECTED: Final = "detected"
INTENT_MS: Final = 3_600_000
"""How long after the intent was written down a key may be made, or before: clocks differ."""


class Keys(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which keys of a user were made through provisioning. One record for each user.

    Provisioning writes the intent (`wanted_at_ms`, `tags`) before it makes the user or the key,
    and the key's id afterwards (`key_ids`, and `wanted_at_ms` back to 0).

    Attributes:
        user: `user/A/NAME`.
        wanted_at_ms: Since when somebody is provisioning a key, epoch milliseconds UTC; 0 if
            nobody is.
        key_ids: Keys that were made through provisioning.
        found_ids: Keys that were not.
        tags: Own tags that the user is to have: whose names begin with `ledgerock:`, but for
            those of the operator (tier, team).
        by: Who provisions.
    """

    user: str
    wanted_at_ms: int = 0
    key_ids: tuple[str, ...] = ()
    found_ids: tuple[str, ...] = ()
    tags: tuple[tuple[str, str], ...] = ()
    by: str = ""

    def made(self, key_id: str, at_ms: int) -> bool:
        """Whether a key was made through provisioning, or is just being made."""
        is_wanted = self.wanted_at_ms > 0 and abs(at_ms - self.wanted_at_ms) <= INTENT_MS
        return key_id in self.key_ids or (is_wanted and key_id not in self.found_ids)


class Given(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which budgets a principal was given by tiers, by now or ever. One record for each.

    Attributes:
        principal: Whose.
        subject: What is known of it stands there.
        tier: The tier that it has; empty for none.
        labels: Labels of all budgets that any tier ever gave it.
        spent: It was given them because it spent.
    """

    principal: str
    subject: str
    tier: str = ""
    labels: tuple[str, ...] = ()
    spent: bool = False
