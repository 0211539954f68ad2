"""Mapping a role to an agent by hand: a fact of the directory, as an event would have told it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal

from worker.bootstrap import Booking
from worker.core.directory import FactKind, LifecycleFact, decode_subject
from worker.core.directory_views import View, view_of
from worker.core.enforcement_names import DIRECTORY
from worker.core.errors import ConfigurationError
from worker.core.ledger import Amounts
from worker.core.registry import AmbiguousAgents, Period, Registry, parse_role_arn
from worker.core.results import LifecycleSeen

ACT: Final = "Role Mapped"
_AGENT: Final = re.compile(r"agent/[0-9]{12}/[a-z0-9-]{1,32}/[^/\s]{1,256}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """What `principals map` was asked for.

    Attributes:
        role_arn: The role.
        agent: `agent/ACCOUNT/REGION/ID`.
        from_ms: From when on, epoch milliseconds UTC.
        to_ms: Until when; None for further notice.
        by: Who asked.
    """

    role_arn: str
    agent: str
    from_ms: int
    to_ms: int | None
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapped:
    """What came of it.

    Attributes:
        result: Whether the directory learned anything.
        role_arn: The role.
        agent: The agent.
        periods: When the agent has the role, as the directory sees it by now.
        ambiguous_with: Other agents that the role serves at the beginning of the mapping.
        moved: What was rebooked to the agent.
    """

    result: Literal["mapped", "unchanged"]
    role_arn: str
    agent: str
    periods: tuple[Period, ...]
    ambiguous_with: list[str]
    moved: Amounts


def check_mapping(mapping: Mapping, now_ms: int) -> None:
    """Refuse a mapping that is none.

    Raises:
        ConfigurationError: Says what was found and what is expected.
    """
    if parse_role_arn(mapping.role_arn) is None:
        message = (
            f"{mapping.role_arn}: is no role's ARN; give one such as "
            "arn:aws:iam::111122223333:role/service-role/Helper"
        )
        raise ConfigurationError(message)
    if not _AGENT.fullmatch(mapping.agent):
        message = (
            f"{mapping.agent}: is no agent's id; give agent/ACCOUNT/REGION/ID, such as "
            "agent/111122223333/us-east-1/helper-a1b2c3d4e5"
        )
        raise ConfigurationError(message)
    if mapping.from_ms > now_ms or (mapping.to_ms is not None and mapping.to_ms > now_ms):
        message = "--from, --to: a mapping can be made for what was, and from now on; not later"
        raise ConfigurationError(message)
    if mapping.to_ms is not None and mapping.to_ms <= mapping.from_ms:
        message = "--from must be earlier than --to, which is not included"
        raise ConfigurationError(message)


async def map_role(booking: Booking, mapping: Mapping) -> Mapped:
    """Map a role to an agent, and rebook the calls that this moves.

    Doing it again changes nothing, and finishes what was interrupted.

    Raises:
        ConfigurationError: It cannot be said in the directory; says why.
        TransientError: The ledger is not available now.
    """
    pipeline, directory = booking.pipeline, booking.pipeline.directory
    if directory is None or not booking.settings.enforcement.agents:
        message = "LEDGEROCK_AGENTS: agents are not watched, so that no role can be mapped to one"
        raise ConfigurationError(message)
    before = await _view(booking, mapping.agent)
    facts = [] if before is not None and _is_there(before, mapping) else facts_of(mapping, before)
    seen = [LifecycleSeen(fact) for fact in facts] or [LifecycleSeen(_reminder(mapping))]
    pipeline.poster = await directory.load(pipeline.poster)
    if facts:
        await booking.enforcing.audit.append(
            act=ACT,
            actor=mapping.by,
            subject=mapping.agent,
            why=f"{mapping.role_arn} from {mapping.from_ms} to {mapping.to_ms}",
            once="\n".join((mapping.by, *(fact.event_id for fact in facts))),
        )
        pipeline.poster = await directory.learn(seen, pipeline.poster)
    followed = await directory.follow(seen, pipeline.poster)
    # Nobody spends just now: the calls were made before.
    await booking.budgets.look(followed.moved, spending=())
    moved = Amounts()
    for leaf, amounts in followed.postings:
        if leaf.principal == mapping.agent:
            moved.add(amounts)
    directory.followed_up(followed)
    after = await _view(booking, mapping.agent)
    return Mapped(
        result="mapped" if facts else "unchanged",
        role_arn=mapping.role_arn,
        agent=mapping.agent,
        periods=tuple(_periods(after, mapping.role_arn)),
        ambiguous_with=_others(pipeline.poster.registry, mapping),
        moved=moved,
    )


def facts_of(mapping: Mapping, view: View | None) -> list[LifecycleFact]:
    """Return the facts that say a mapping: which roles the agent has from its beginning and end.

    Raises:
        ConfigurationError: Its end cannot be said.
    """
    begin = _roles_at(view, mapping.from_ms)
    facts = [_fact(mapping, "updated", mapping.from_ms, (*begin, mapping.role_arn))]
    if mapping.to_ms is None:
        return facts
    end = tuple(one for one in _roles_at(view, mapping.to_ms) if one != mapping.role_arn)
    if end:
        return [*facts, _fact(mapping, "updated", mapping.to_ms, end)]
    later = [] if view is None else [one for _, one in view.roles if _begins(one, mapping.to_ms)]
    if later or (view is not None and view.is_registered):
        message = (
            f"--to: {mapping.agent} would have no role at all then, though it is known to exist; "
            "map the role that it had instead from that time on, or leave --to out"
        )
        raise ConfigurationError(message)
    return [*facts, _fact(mapping, "deleted", mapping.to_ms, ())]


def _fact(mapping: Mapping, kind: FactKind, at_ms: int, role_arns: Sequence[str]) -> LifecycleFact:
    roles = tuple(sorted({*role_arns}))
    content = "\n".join((mapping.agent, kind, str(at_ms), *roles))
    digest = blake2b(content.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
    return LifecycleFact(
        subject=mapping.agent,
        kind=kind,
        at_ms=at_ms,
        event_id=f"map-{digest}",
        actor=mapping.by,
        role_arns=roles,
    )


def _reminder(mapping: Mapping) -> LifecycleFact:
    """Return a fact that has the calls looked for again which the mapping moves."""
    return _fact(mapping, "updated", mapping.from_ms, (mapping.role_arn,))


async def _view(booking: Booking, agent: str) -> View | None:
    record = await booking.state.records.get(DIRECTORY, agent)
    return None if record is None else view_of(decode_subject(agent, record.body))


def _roles_at(view: View | None, at_ms: int) -> tuple[str, ...]:
    found = () if view is None else view.roles
    return next((roles for roles, period in found if period.contains(at_ms)), ())


def _begins(period: Period, at_ms: int) -> bool:
    return period.from_ms is not None and period.from_ms >= at_ms


def _periods(view: View | None, role_arn: str) -> list[Period]:
    return [] if view is None else [one for roles, one in view.roles if role_arn in roles]


def _is_there(view: View, mapping: Mapping) -> bool:
    """Whether the directory says this already."""
    return any(
        period.contains(mapping.from_ms)
        and (period.to_ms == mapping.to_ms if mapping.to_ms is not None else True)
        for period in _periods(view, mapping.role_arn)
    )


def _others(registry: Registry, mapping: Mapping) -> list[str]:
    role = parse_role_arn(mapping.role_arn)
    if role is None:
        return []
    found = registry.agent_for_role(role.account, role.name, mapping.role_arn, mapping.from_ms)
    if not isinstance(found, AmbiguousAgents):
        return []
    return [one for one in found.agent_ids if one != mapping.agent]
