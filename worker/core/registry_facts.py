"""The facts that the registry holds, and how they name principals and roles."""

from datetime import tzinfo
from typing import Final, Literal

import msgspec

PayBy = Literal["role", "session", "metadata"]

WILDCARD: Final = "*"

EVERYTHING: Final = "everything"
"""The one scope that has no id of its own."""

CALENDAR_KINDS: Final = (
    "principal",
    "identity",
    "agent",
    "team",
    "pool",
    "application",
    "account",
    "model",
    EVERYTHING,
)
"""Kinds of scope that can have a calendar."""


class Period(msgspec.Struct, frozen=True):
    """When a fact holds: from `from_ms` up to, not including, `to_ms`; None is unbounded."""

    from_ms: int | None = None
    to_ms: int | None = None

    def contains(self, at_ms: int) -> bool:
        """Whether the instant, in epoch milliseconds UTC, lies in the period."""
        return (self.from_ms is None or self.from_ms <= at_ms) and (
            self.to_ms is None or at_ms < self.to_ms
        )


ALWAYS: Final = Period()


class Agent(msgspec.Struct, frozen=True):
    """An agent and the roles that it alone calls models with.

    Attributes:
        agent_id: `agent/ACCOUNT/REGION/ID`.
        name: What people call it.
        role_arns: Full ARNs, with path. A role that several agents share names none of them.
        period: When the agent had these roles.
    """

    agent_id: str
    name: str
    role_arns: tuple[str, ...]
    period: Period = ALWAYS


class PrincipalFact(msgspec.Struct, frozen=True):
    """What is known of the principals whose id matches.

    Attributes:
        match: A principal or identity id; `*` stands for any text, slashes included.
        team: The team that they belong to, or empty.
        tags: Key and value pairs.
        period: When this held.
    """

    match: str
    team: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    period: Period = ALWAYS


class Pool(msgspec.Struct, frozen=True):
    """Principals whose spend is kept together, by name or by tag.

    Attributes:
        name: What the pool is called; several facts may add to one pool.
        match: A principal or identity id; `*` stands for any text, slashes included.
        tags: Key and value pairs, sorted; a principal must have all of them.
        period: When this held.
    """

    name: str
    match: str = WILDCARD
    tags: tuple[tuple[str, str], ...] = ()
    period: Period = ALWAYS


class ApplicationProfile(msgspec.Struct, frozen=True):
    """An application inference profile.

    Attributes:
        arn: The profile's ARN.
        model: Id or ARN of the model or profile that it was copied from. A profile's model never
            changes and calls may arrive after it was deleted, so `period` does not limit it.
        application: Name of the application that it belongs to, or empty.
        tags: Key and value pairs.
        period: When it belonged to the application.
    """

    arn: str
    model: str
    application: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    period: Period = ALWAYS


class TrustRule(msgspec.Struct, frozen=True):
    """The operator's word on who pays for the calls of a role.

    Attributes:
        role_arn: A role's full ARN; or one without a path and with `*` in the account or the name,
            which matches whatever the path is, because invocation logs drop it.
        pay_by: `role` (the default of roles), `session` (the session name can be trusted) or
            `metadata` (the role sets `requestMetadata` itself, and may be trusted to).
        metadata_key: For `metadata`: the key that names the application.
        organisation: For `metadata`: the organisation that the applications belong to.
        period: When the rule held.
    """

    role_arn: str
    pay_by: PayBy
    metadata_key: str = ""
    organisation: str = ""
    period: Period = ALWAYS


class Calendar(msgspec.Struct, frozen=True):
    """The time zone whose days a scope's spend is kept by.

    Attributes:
        scope: `everything`, or a kind and an id, such as `team/research`; `*` stands for any text.
        time_zone: Name of the zone, such as `Europe/Berlin`.
        zone: The zone itself.
    """

    scope: str
    time_zone: str
    zone: tzinfo


class Incarnations(msgspec.Struct, frozen=True):
    """Users, or roles, that had one name after another.

    Attributes:
        key: The name that they share: `user/A/NAME`, `role/A/NAME`; the first one keeps it.
        made: When each was made, and its unique id; sorted. The first may be unknown: `(0, "")`.
    """

    key: str
    made: tuple[tuple[int, str], ...]


class LearnedFacts(msgspec.Struct, frozen=True):
    """What lifecycle events say of agents and principals: AWS's word, not the operator's.

    Attributes:
        agents: Agents with their roles.
        principals: Tags and teams; `match` is always one principal.
        incarnations: Names that were used again.
    """

    agents: tuple[Agent, ...] = ()
    principals: tuple[PrincipalFact, ...] = ()
    incarnations: tuple[Incarnations, ...] = ()


NOTHING_LEARNED: Final = LearnedFacts()
_NAMED_SEGMENTS: Final = 3
"""Segments of `user/A/NAME`; what follows is a unique id."""


def plain_id(principal: str) -> str:
    """Return a user's or role's id without the unique id that tells it from earlier ones."""
    segments = principal.split("/")
    is_named = segments[0] in {"user", "role"} and len(segments) > _NAMED_SEGMENTS
    return "/".join(segments[:_NAMED_SEGMENTS]) if is_named else principal


def unique_id(principal: str) -> str:
    """Return the unique id (`AIDA…`, `AROA…`) in a principal's id, or empty."""
    return principal[len(plain_id(principal)) + 1 :]


class AmbiguousAgents(msgspec.Struct, frozen=True):
    """Several agents that one role is mapped to at one time, by id, sorted."""

    agent_ids: tuple[str, ...]


class RoleArn(msgspec.Struct, frozen=True):
    """The parts of a role's ARN that tell roles apart."""

    account: str
    path: str
    name: str


def parse_role_arn(arn: str) -> RoleArn | None:
    """Split `arn:aws:iam::A:role/path/NAME`, of any partition; None if it is no role's ARN."""
    parts = arn.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or parts[2:4] != ["iam", ""]:  # noqa: PLR2004
        return None
    kind, separator, rest = parts[5].partition("/")
    path, _separator, name = rest.rpartition("/")
    if kind != "role" or not separator or not parts[1] or not parts[4] or not name:
        return None
    return RoleArn(account=parts[4], path=f"/{path}/" if path else "/", name=name)


def matches_pattern(pattern: str, text: str) -> bool:
    """Whether `pattern`, in which `*` stands for any text, matches the whole of `text`.

    Takes time in proportion to the lengths, whatever the pattern.
    """
    first, star, rest = pattern.partition(WILDCARD)
    if not star or not text.startswith(first):
        return not star and pattern == text
    *middle, last = rest.split(WILDCARD)
    if len(text) < len(first) + len(last) or not text.endswith(last):
        return False
    position, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, position, end)
        if found < 0:
            return False
        position = found + len(part)
    return True
