"""Effective-dated facts: agents and their roles, teams, applications, trust rules, calendars.

The registry is data handed in by an adapter. Every lookup is a function of the facts and the time
of a call, never of the order in which the facts were listed, so that booking the same calls again
attributes them the same way.

Periods are half-open: a fact holds from `from_ms` up to, not including, `to_ms`.

Where several facts match, an exact one beats a wildcard, a longer pattern a shorter one, a later
beginning an earlier one; what is still equal is settled by the content.

A principal is in one **pool** at a time at most: the best of those whose pattern matches and
whose tags it has, by the same order; between patterns of one length, more tags beat fewer. Its
tags are those of all facts on it, and the better fact decides where two name one key.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Generic, TypeVar

import msgspec

from worker.core.registry_facts import (
    ALWAYS,
    CALENDAR_KINDS,
    EVERYTHING,
    NOTHING_LEARNED,
    WILDCARD,
    Agent,
    AmbiguousAgents,
    ApplicationProfile,
    Calendar,
    Incarnations,
    LearnedFacts,
    PayBy,
    Period,
    Pool,
    PrincipalFact,
    RoleArn,
    TrustRule,
    matches_pattern,
    parse_role_arn,
    plain_id,
    unique_id,
)

__all__ = [
    "ALWAYS",
    "CALENDAR_KINDS",
    "EMPTY_REGISTRY",
    "EVERYTHING",
    "NOTHING_LEARNED",
    "REVISION_LENGTH",
    "WILDCARD",
    "Agent",
    "AmbiguousAgents",
    "ApplicationProfile",
    "Calendar",
    "Incarnations",
    "LearnedFacts",
    "PayBy",
    "Period",
    "Pool",
    "PrincipalFact",
    "Registry",
    "RoleArn",
    "TrustRule",
    "matches_pattern",
    "parse_role_arn",
    "plain_id",
    "unique_id",
]

REVISION_LENGTH: Final = 12
"""Hexadecimal digits of a revision."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL: Final = _EPOCH.toordinal()
_DAY_MS: Final = 86_400_000

_Dated = Agent | PrincipalFact | ApplicationProfile | TrustRule | Pool
_Fact = TypeVar("_Fact", bound=_Dated | Calendar)
_Mapped = TypeVar("_Mapped", Agent, TrustRule)
_ByRole = dict[tuple[str, str], list[tuple[str, _Mapped]]]


class _PatternIndex(Generic[_Fact]):
    """Facts by an exact key or a pattern, best first."""

    def __init__(self, facts: Iterable[tuple[str, _Fact]]) -> None:
        exact: dict[str, list[_Fact]] = defaultdict(list)
        patterns: dict[str, list[_Fact]] = defaultdict(list)
        for key, fact in facts:
            (patterns if WILDCARD in key else exact)[key].append(fact)
        self._exact = {key: _latest_first(listed) for key, listed in exact.items()}
        self._patterns = [
            (pattern, _latest_first(patterns[pattern]))
            for pattern in sorted(patterns, key=lambda text: (-len(text), text))
        ]

    def candidates(self, text: str) -> Iterable[_Fact]:
        """Every fact that matches, best first."""
        yield from self._exact.get(text, ())
        for pattern, facts in self._patterns:
            if matches_pattern(pattern, text):
                yield from facts


def _latest_first(facts: Iterable[_Fact]) -> tuple[_Fact, ...]:
    ordered = sorted(facts, key=_content)
    ordered.sort(key=_beginning, reverse=True)
    return tuple(ordered)


def _beginning(fact: _Dated | Calendar) -> tuple[bool, int]:
    from_ms = None if isinstance(fact, Calendar) else fact.period.from_ms
    return (from_ms is not None, from_ms or 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Registry:
    """All facts, and the questions that attribution asks of them.

    The order of the lists means nothing, and neither does a fact that is listed twice.

    Attributes:
        learned: What lifecycle events say. The operator's word counts before it.
        revision: Hash of the content, in hexadecimal digits; of what the operator has written.
        boundaries_ms: Instants at which any fact begins or ends, sorted.
    """

    agents: Sequence[Agent] = ()
    principals: Sequence[PrincipalFact] = ()
    applications: Sequence[ApplicationProfile] = ()
    rules: Sequence[TrustRule] = ()
    calendars: Sequence[Calendar] = ()
    pools: Sequence[Pool] = ()
    learned: LearnedFacts = NOTHING_LEARNED
    revision: str = field(init=False)
    boundaries_ms: tuple[int, ...] = field(init=False)
    _roles: _ByRole[Agent] = field(init=False, repr=False)
    _principals: _PatternIndex[PrincipalFact] = field(init=False, repr=False)
    _profiles: dict[str, tuple[ApplicationProfile, ...]] = field(init=False, repr=False)
    _exact_rules: _ByRole[TrustRule] = field(init=False, repr=False)
    _wild_rules: tuple[tuple[RoleArn, TrustRule], ...] = field(init=False, repr=False)
    _calendars: _PatternIndex[Calendar] = field(init=False, repr=False)
    _pools: tuple[Pool, ...] = field(init=False, repr=False)
    _learned: dict[str, tuple[PrincipalFact, ...]] = field(init=False, repr=False)
    _incarnations: dict[str, Incarnations] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Index the facts."""
        rules = _latest_first(self.rules)
        agents = _latest_first([*self.agents, *_unlisted(self)])
        learned: dict[str, list[PrincipalFact]] = defaultdict(list)
        for fact in self.learned.principals:
            learned[fact.match].append(fact)
        values: dict[str, object] = {
            "revision": _revision(self),
            "boundaries_ms": _boundaries(self),
            "_roles": _by_role((arn, agent) for agent in agents for arn in agent.role_arns),
            "_principals": _PatternIndex((fact.match, fact) for fact in self.principals),
            "_profiles": _index_profiles(self.applications),
            "_exact_rules": _by_role(
                (rule.role_arn, rule) for rule in rules if WILDCARD not in rule.role_arn
            ),
            "_wild_rules": _wild_rules(rules),
            "_calendars": _PatternIndex((calendar.scope, calendar) for calendar in self.calendars),
            "_pools": tuple(sorted(self.pools, key=_pool_order)),
            "_learned": {match: _latest_first(facts) for match, facts in learned.items()},
            "_incarnations": {one.key: one for one in self.learned.incarnations},
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def with_profiles(self, profiles: Iterable[ApplicationProfile]) -> "Registry":
        """Return a registry that also knows these profiles, where the operator lists none.

        Its revision stays the same: it says what the operator has written, and what AWS says of
        a profile never changes.
        """
        listed = {profile.arn for profile in self.applications}
        more = [profile for profile in profiles if profile.arn not in listed]
        known = Registry(
            agents=self.agents,
            principals=self.principals,
            applications=[*self.applications, *more],
            rules=self.rules,
            calendars=self.calendars,
            pools=self.pools,
            learned=self.learned,
        )
        object.__setattr__(known, "revision", self.revision)
        return known

    def with_directory(self, learned: LearnedFacts) -> "Registry":
        """Return a registry that knows what lifecycle events say, in place of what it knew of it.

        Its revision stays the same, as with profiles. A learned agent counts where the operator
        lists neither the agent nor its role; learned tags where the operator's facts on the same
        principal leave them open.
        """
        known = replace(self, learned=learned)
        object.__setattr__(known, "revision", self.revision)
        return known

    def incarnation_of(self, key: str, unique_id: str, at_ms: int) -> str:
        """Return the id of the user or role that had a name at a time, or has that unique id.

        Args:
            key: `user/A/NAME`, `role/A/NAME`; any other identity stays as it is.
            unique_id: `AIDA…`, `AROA…` if a record named it; it is believed before the time is.
            at_ms: Time of the call.
        """
        found = self._incarnations.get(key)
        if found is None:
            return key
        number = 0
        for place, (from_ms, its_id) in enumerate(found.made):
            if unique_id and its_id == unique_id:
                number = place
                break
            if from_ms <= at_ms:
                number = place
        return f"{key}/{found.made[number][1]}" if number else key

    @property
    def has_calendars(self) -> bool:
        """Whether any scope keeps other days than UTC's."""
        return bool(self.calendars)

    def agent_for_role(
        self, account: str, role_name: str, issuer_arn: str, at_ms: int
    ) -> Agent | AmbiguousAgents | None:
        """Find the agent that a role is mapped to.

        Args:
            account: The role's account.
            role_name: The role's name, without its path.
            issuer_arn: The role's full ARN if known, else empty. Where it is known, a mapping
                of that very ARN counts before one without a path, and one of another path never
                does. Invocation logs drop the path; then the name alone decides.
            at_ms: Time of the call.

        Returns:
            The agent; `AmbiguousAgents` if several are mapped; None if none is.
        """
        mapped = self._roles.get((account, role_name), ())
        found = {agent.agent_id: agent for agent in reversed(_in_effect(mapped, issuer_arn, at_ms))}
        if len(found) > 1:
            return AmbiguousAgents(agent_ids=tuple(sorted(found)))
        return next(iter(found.values()), None)

    def rule_for(
        self, account: str, role_name: str, issuer_arn: str, at_ms: int
    ) -> TrustRule | None:
        """Find the trust rule of a role; arguments as for `agent_for_role`."""
        exact = self._exact_rules.get((account, role_name), ())
        for rule in _in_effect(exact, issuer_arn, at_ms):
            return rule
        for pattern, rule in self._wild_rules:
            if (
                matches_pattern(pattern.name, role_name)
                and matches_pattern(pattern.account, account)
                and rule.period.contains(at_ms)
            ):
                return rule
        return None

    def principal_facts(self, principal: str, at_ms: int) -> PrincipalFact | None:
        """Return the best-matching fact on a principal or identity id."""
        found = self._facts_on(principal)
        return next((fact for fact in found if fact.period.contains(at_ms)), None)

    def _facts_on(self, principal: str) -> Iterable[PrincipalFact]:
        """Every fact on a principal, best first: the operator's, on its name too, then learned."""
        yield from self._principals.candidates(principal)
        if (name := plain_id(principal)) != principal:
            yield from self._principals.candidates(name)
        yield from self._learned.get(principal, ())

    def team_of(self, principal: str, identity: str, at_ms: int) -> str:
        """Return the team of the principal, else of the identity, else an empty string.

        A fact without a team is passed over for the next best one.
        """
        for key in (principal, identity) if identity != principal else (principal,):
            for fact in self._facts_on(key):
                if fact.team and fact.period.contains(at_ms):
                    return fact.team
        return ""

    def tags_of(self, principal: str, at_ms: int) -> dict[str, str]:
        """Return the tags of a principal or identity: those of all facts on it, the best first."""
        tags: dict[str, str] = {}
        for fact in self._facts_on(principal):
            if fact.period.contains(at_ms):
                for key, value in fact.tags:
                    tags.setdefault(key, value)
        return tags

    def pool_of(self, principal: str, identity: str, at_ms: int) -> str:
        """Return the pool of the principal, else of the identity, else an empty string."""
        pools = [pool for pool in self._pools if pool.period.contains(at_ms)]
        for key in (principal, identity) if identity != principal else (principal,):
            tags: dict[str, str] | None = None
            for pool in pools:
                if not any(matches_pattern(pool.match, one) for one in {key, plain_id(key)}):
                    continue
                if pool.tags and tags is None:
                    tags = self.tags_of(key, at_ms)
                if not pool.tags or (tags is not None and set(pool.tags) <= tags.items()):
                    return pool.name
        return ""

    def profile_model(self, arn: str) -> str | None:
        """Return what an application inference profile was copied from, at any time."""
        profiles = self._profiles.get(arn)
        return profiles[0].model if profiles else None

    def application_of_profile(self, arn: str, at_ms: int) -> str:
        """Return the application that a profile belonged to at that time, else empty."""
        for profile in self._profiles.get(arn, ()):
            if profile.application and profile.period.contains(at_ms):
                return profile.application
        return ""

    def zone(self, kind: str, scope_id: str) -> tzinfo | None:
        """Return the time zone of a scope, or None where its days are UTC's."""
        scope = EVERYTHING if kind == EVERYTHING else f"{kind}/{scope_id}"
        calendar = next(iter(self._calendars.candidates(scope)), None)
        return None if calendar is None else calendar.zone

    def local_day(self, kind: str, scope_id: str, at_ms: int) -> int:
        """Return the day of the scope's calendar, in days since 1970-01-01, at an instant.

        Never raises: instants that no calendar reaches (past the year 9999) take UTC's days.
        """
        zone = self.zone(kind, scope_id)
        if zone is None:
            return at_ms // _DAY_MS
        try:
            local = (_EPOCH + timedelta(milliseconds=at_ms)).astimezone(zone)
        except (OverflowError, ValueError):
            return at_ms // _DAY_MS
        return local.toordinal() - _EPOCH_ORDINAL


def _in_effect(listed: Iterable[tuple[str, _Mapped]], issuer_arn: str, at_ms: int) -> list[_Mapped]:
    """Return what is listed under a role's ARN at a time: its very ARN, else one without path."""
    current = [(arn, fact) for arn, fact in listed if fact.period.contains(at_ms)]
    if not issuer_arn:
        return [fact for _arn, fact in current]
    exact = [fact for arn, fact in current if arn == issuer_arn]
    return exact or [fact for arn, fact in current if arn.count("/") == 1]


def _unlisted(registry: Registry) -> list[Agent]:
    """Return learned agents that the operator does not list, with roles that they do not."""
    agents = {agent.agent_id for agent in registry.agents}
    listed = (parse_role_arn(arn) for agent in registry.agents for arn in agent.role_arns)
    roles = {(role.account, role.name) for role in listed if role is not None}
    found = []
    for agent in registry.learned.agents:
        own = [
            arn
            for arn in agent.role_arns
            if (role := parse_role_arn(arn)) is not None and (role.account, role.name) not in roles
        ]
        if own and agent.agent_id not in agents:
            found.append(msgspec.structs.replace(agent, role_arns=tuple(own)))
    return found


def _by_role(listed: Iterable[tuple[str, _Mapped]]) -> _ByRole[_Mapped]:
    """Index (role ARN, fact) by account and role name, keeping the order."""
    roles: _ByRole[_Mapped] = defaultdict(list)
    for arn, fact in listed:
        role = parse_role_arn(arn)
        if role is not None:
            roles[role.account, role.name].append((arn, fact))
    return dict(roles)


def _index_profiles(
    profiles: Iterable[ApplicationProfile],
) -> dict[str, tuple[ApplicationProfile, ...]]:
    by_arn: dict[str, list[ApplicationProfile]] = defaultdict(list)
    for profile in profiles:
        by_arn[profile.arn].append(profile)
    return {arn: _latest_first(listed) for arn, listed in by_arn.items()}


def _wild_rules(rules: Iterable[TrustRule]) -> tuple[tuple[RoleArn, TrustRule], ...]:
    wild = [
        (role, rule)
        for rule in rules
        if WILDCARD in rule.role_arn and (role := parse_role_arn(rule.role_arn)) is not None
    ]
    # Stable: rules of one pattern stay latest first.
    wild.sort(key=lambda item: (-len(item[1].role_arn), item[1].role_arn))
    return tuple(wild)


def _pool_order(pool: Pool) -> tuple[object, ...]:
    """Sort key that puts the pool that a principal is in before all others that match."""
    is_dated, from_ms = _beginning(pool)
    exact_first = WILDCARD in pool.match
    return (
        (exact_first, -len(pool.match), -len(pool.tags), not is_dated, -from_ms, pool.name),
        _content(pool),
    )


def _boundaries(registry: Registry) -> tuple[int, ...]:
    instants: set[int | None] = set()
    dated: tuple[Sequence[_Dated], ...] = (
        registry.agents,
        registry.principals,
        registry.applications,
        registry.rules,
        registry.pools,
        registry.learned.agents,
        registry.learned.principals,
    )
    for facts in dated:
        for fact in facts:
            instants.update((fact.period.from_ms, fact.period.to_ms))
    for one in registry.learned.incarnations:
        instants.update(from_ms for from_ms, _ in one.made)
    return tuple(sorted(instant for instant in instants if instant is not None))


def _content(fact: msgspec.Struct) -> bytes:
    """Return a canonical form of one fact, in which the order of its own lists means nothing."""
    values = [getattr(fact, name) for name in fact.__struct_fields__]
    parts = [sorted(value) if isinstance(value, tuple) else value for value in values]
    return msgspec.json.encode([type(fact).__name__, *parts], enc_hook=lambda _zone: None)


def _revision(registry: Registry) -> str:
    contents = {
        _content(fact)
        for facts in (
            registry.agents,
            registry.principals,
            registry.applications,
            registry.rules,
            registry.calendars,
            registry.pools,
        )
        for fact in facts
    }
    return hashlib.sha256(b"\n".join(sorted(contents))).hexdigest()[:REVISION_LENGTH]


EMPTY_REGISTRY: Final = Registry()
"""Nothing is known: identities pay for themselves, and days are UTC's."""
