"""What the registry and the tiers want to know of a subject, worked out from its facts. Pure.

A user or role has *lives*: each creation begins one and each deletion ends one. The first known
life keeps the plain id, every later one carries its unique id (`user/A/NAME/AIDA…`), so that
whoever is made anew under an old name starts clean. An agent's id is never given again: it has
one life, and roles that change.

CloudTrail's times are whole seconds. Within one, creation comes before deletion, unless somebody
of that name was alive: then the old one was deleted and the new one made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import groupby
from typing import Final

import msgspec

from worker.core.directory import BEDROCK_SERVICE, LifecycleFact, Subject, in_order
from worker.core.registry import (
    Agent,
    Incarnations,
    LearnedFacts,
    Period,
    PrincipalFact,
)

TEAM_TAG: Final = "ledgerock:team"
AGENT: Final = "agent/"


class Life(msgspec.Struct, frozen=True):
    """One user or role among those that had one name, or an agent.

    Attributes:
        principal: Its id, as calls are booked under.
        unique_id: `AIDA…`, `AROA…`; empty if it was never heard of, and of agents.
        from_ms: When it was made; None if that is not known.
        to_ms: When it was deleted; None as long as it lives.
        created_by: ARN of whoever made it; empty if unknown.
    """

    principal: str
    unique_id: str = ""
    from_ms: int | None = None
    to_ms: int | None = None
    created_by: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it was not deleted."""
        return self.to_ms is None

    def holds(self, at_ms: int) -> bool:
        """Whether something that happened then happened to it."""
        return (self.from_ms is None or self.from_ms <= at_ms) and (
            self.to_ms is None or at_ms <= self.to_ms
        )


class KeyView(msgspec.Struct, frozen=True):
    """A key of a user, as far as events tell.

    Attributes:
        id: `ACCA…` or `AKIA…`.
        service: `bedrock.amazonaws.com`; empty for access keys.
        made_at_ms: When it was made.
        made_by: ARN of whoever made it.
        event_id: Of the event that tells of it.
        is_live: It was not deleted.
        is_active: Nor set inactive.
    """

    id: str
    service: str
    made_at_ms: int
    made_by: str
    event_id: str
    is_live: bool
    is_active: bool

    @property
    def is_bedrock(self) -> bool:
        """Whether it is a Bedrock API key."""
        return self.service == BEDROCK_SERVICE


class View(msgspec.Struct, frozen=True):
    """Everything about a subject, as of its newest facts.

    Attributes:
        id: The subject.
        lives: By time; at least one.
        name: What people call an agent; else the last segment of the id.
        roles: Roles of an agent, each list with the period in which it had them.
        tags: Tags of the last life.
        keys: Keys of the last life, by id.
        mentions_bedrock: The last life was given a policy that allows something of Bedrock.
        is_registered: Of an agent: its making or a change of it was heard of.
        role_arns: All roles that any fact names, whether the agent had them for a moment or not.
    """

    id: str
    lives: tuple[Life, ...]
    name: str
    roles: tuple[tuple[tuple[str, ...], Period], ...] = ()
    tags: dict[str, str] = {}
    keys: tuple[KeyView, ...] = ()
    mentions_bedrock: bool = False
    is_registered: bool = False
    role_arns: frozenset[str] = frozenset()

    @property
    def last(self) -> Life:
        """The life that is, or was the last one."""
        return self.lives[-1]

    def is_alive(self, principal: str) -> bool:
        """Whether a principal of this subject was not deleted, as far as is known."""
        found = [life for life in self.lives if life.principal == principal]
        return not found or found[-1].is_alive


def view_of(subject: Subject) -> View:
    """Work out what a subject's facts add up to."""
    facts = sorted(subject.facts, key=in_order)
    lives = lives_of(subject.id, facts)
    last = lives[-1]
    own = [fact for fact in facts if last.holds(fact.at_ms)]
    names = [fact.name for fact in facts if fact.name]
    states = _tag_states(own, last)
    return View(
        id=subject.id,
        lives=tuple(lives),
        name=names[-1] if names else subject.id.rpartition("/")[2],
        roles=tuple(_roles_of(facts, last)) if subject.id.startswith(AGENT) else (),
        tags=states[-1][1] if states else {},
        keys=tuple(_keys_of(own)),
        mentions_bedrock=any(one.mentions_bedrock for one in own),
        is_registered=any(one.kind in {"created", "updated"} for one in facts),
        role_arns=frozenset(arn for one in facts for arn in one.role_arns),
    )


def lives_of(subject_id: str, facts: Sequence[LifecycleFact]) -> list[Life]:
    """Return the lives of a subject by time, given its facts in order."""
    turns = [fact for fact in facts if fact.kind in {"created", "deleted"}]
    if subject_id.startswith(AGENT):
        made = min((one.at_ms for one in turns if one.kind == "created"), default=None)
        gone = min((one.at_ms for one in turns if one.kind == "deleted"), default=None)
        return [Life(subject_id, from_ms=made, to_ms=gone)]
    lives: list[Life] = []
    for _, second in groupby(turns, key=lambda fact: fact.at_ms):
        turned = list(second)
        if lives and lives[-1].is_alive:
            turned.sort(key=lambda fact: fact.kind == "created")
        for fact in turned:
            _turn(subject_id, fact, lives)
    return lives or [Life(subject_id)]


def _turn(subject_id: str, fact: LifecycleFact, lives: list[Life]) -> None:
    """Begin or end a life."""
    if fact.kind == "deleted":
        if not lives:
            lives.append(Life(subject_id, to_ms=fact.at_ms))
        elif lives[-1].is_alive:
            lives[-1] = msgspec.structs.replace(lives[-1], to_ms=fact.at_ms)
        return
    if any(life.unique_id == fact.unique_id for life in lives):
        return
    if lives and lives[-1].is_alive:  # its deletion was not heard of
        lives[-1] = msgspec.structs.replace(lives[-1], to_ms=fact.at_ms)
    principal = f"{subject_id}/{fact.unique_id}" if lives else subject_id
    lives.append(Life(principal, fact.unique_id, fact.at_ms, created_by=fact.actor))


def _tag_states(facts: Iterable[LifecycleFact], life: Life) -> list[tuple[int, dict[str, str]]]:
    """Return the tags of a life after each instant at which any changed."""
    states: list[tuple[int, dict[str, str]]] = []
    tags: dict[str, str] = {}
    changes = [fact for fact in facts if fact.kind in {"tagged", "untagged"}]
    for at_ms, changed in groupby(changes, key=lambda fact: fact.at_ms):
        if not life.holds(at_ms):
            continue
        tags = dict(tags)
        for fact in changed:
            tags.update(fact.tags)
            for key in fact.tag_keys:
                tags.pop(key, None)
        states.append((at_ms, tags))
    return states


def _keys_of(facts: Iterable[LifecycleFact]) -> list[KeyView]:
    keys: dict[str, KeyView] = {}
    changed: dict[str, LifecycleFact] = {}
    for fact in facts:
        if fact.kind == "key_created":
            keys[fact.key_id] = KeyView(
                id=fact.key_id,
                service=fact.service,
                made_at_ms=fact.at_ms,
                made_by=fact.actor,
                event_id=fact.event_id,
                is_live=True,
                is_active=fact.status != "Inactive",
            )
        elif fact.kind in {"key_updated", "key_deleted"}:
            changed[fact.key_id] = fact
    for key_id, fact in changed.items():
        key = keys.get(key_id)
        if key is not None:
            live = fact.kind != "key_deleted"
            active = live and (fact.status == "Active" if fact.status else key.is_active)
            keys[key_id] = msgspec.structs.replace(key, is_live=live, is_active=active)
    return sorted(keys.values(), key=lambda key: key.id)


def _roles_of(
    facts: Iterable[LifecycleFact], life: Life
) -> Iterable[tuple[tuple[str, ...], Period]]:
    """Yield the roles of an agent, and when it had them: from each word of them to the next."""
    words: list[tuple[int, tuple[str, ...]]] = []
    for fact in facts:
        if fact.kind in {"created", "updated"} and fact.role_arns:
            if words and words[-1][0] == fact.at_ms:
                words.pop()
            if not (words and words[-1][1] == fact.role_arns):
                words.append((fact.at_ms, fact.role_arns))
    for number, (from_ms, roles) in enumerate(words):
        to_ms = words[number + 1][0] if number + 1 < len(words) else None
        if life.to_ms is not None:
            to_ms = life.to_ms if to_ms is None else min(to_ms, life.to_ms)
        if to_ms is None or from_ms < to_ms:
            yield roles, Period(from_ms, to_ms)


# --- For the registry -------------------------------------------------------------------------


def learned_of(subject: Subject, team_tag: str, tag_keys: Collection[str]) -> LearnedFacts:
    """Return what the registry is to know of a subject; mostly nothing.

    Args:
        subject: A user, role or agent.
        team_tag: The tag that names its team.
        tag_keys: Other tags that decide anything: those that pools ask for.
    """
    facts = sorted(subject.facts, key=in_order)
    lives = lives_of(subject.id, facts)
    agents: tuple[Agent, ...] = ()
    if subject.id.startswith(AGENT):
        view = view_of(subject)
        agents = tuple(
            Agent(agent_id=subject.id, name=view.name, role_arns=roles, period=period)
            for roles, period in view.roles
        )
    incarnations: tuple[Incarnations, ...] = ()
    if len(lives) > 1:
        made = tuple((life.from_ms or 0, life.unique_id) for life in lives)
        incarnations = (Incarnations(subject.id, made),)
    wanted = {team_tag, *tag_keys}
    principals = [
        fact for life in lives for fact in _principal_facts(facts, life, team_tag, wanted)
    ]
    return LearnedFacts(agents, tuple(principals), incarnations)


def _principal_facts(
    facts: Sequence[LifecycleFact], life: Life, team_tag: str, wanted: Collection[str]
) -> Iterable[PrincipalFact]:
    """Yield the tags that decide anything, each state with its period."""
    states: list[tuple[int, dict[str, str]]] = []
    for at_ms, tags in _tag_states(facts, life):
        kept = {key: value for key, value in tags.items() if key in wanted}
        if not (states and states[-1][1] == kept):
            states.append((at_ms, kept))
    for number, (from_ms, tags) in enumerate(states):
        to_ms = states[number + 1][0] if number + 1 < len(states) else None
        if tags:
            yield PrincipalFact(
                match=life.principal,
                team=tags.get(team_tag, ""),
                tags=tuple(sorted((key, value) for key, value in tags.items() if key != team_tag)),
                period=Period(from_ms, to_ms),
            )


def together(learned: Iterable[LearnedFacts]) -> LearnedFacts:
    """Put together what is known of many subjects."""
    agents: list[Agent] = []
    principals: list[PrincipalFact] = []
    incarnations: list[Incarnations] = []
    for one in learned:
        agents += one.agents
        principals += one.principals
        incarnations += one.incarnations
    return LearnedFacts(tuple(agents), tuple(principals), tuple(incarnations))
