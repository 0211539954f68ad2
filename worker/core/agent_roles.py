"""Which roles an agent has at some time, and who else has them. Pure."""

from __future__ import annotations

from worker.core.registry import AmbiguousAgents, Registry, parse_role_arn


def roles_of(
    registry: Registry, agent: str, at_ms: int
) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """Return the roles of an agent, as calls by them would be attributed at that time.

    Args:
        registry: Who has which role.
        agent: `agent/A/REGION/ID`; anything else has no roles.
        at_ms: When, epoch milliseconds UTC.

    Returns:
        ARNs of the roles, sorted; and by ARN the other agents that have it too, if any.
    """
    listed = {
        arn
        for one in (*registry.agents, *registry.learned.agents)
        if one.agent_id == agent and one.period.contains(at_ms)
        for arn in one.role_arns
    }
    roles: list[str] = []
    shared: dict[str, tuple[str, ...]] = {}
    for arn in sorted(listed):
        role = parse_role_arn(arn)
        if role is None:
            continue
        found = registry.agent_for_role(role.account, role.name, arn, at_ms)
        if isinstance(found, AmbiguousAgents):
            agents = found.agent_ids
        else:
            agents = () if found is None else (found.agent_id,)
        if agent in agents:
            roles.append(arn)
            others = tuple(one for one in agents if one != agent)
            shared |= {arn: others} if others else {}
    return tuple(roles), shared
