"""Agents of AgentCore, which are suspended through the roles that they run with."""

import pytest

from tests.calls import ACCOUNT, HOUR, asynchronous
from tests.suspension_world import (
    AGENT,
    World,
)
from worker.core.enforcement import Mode
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_FAILED,
    SUSPENSION_REQUIRED,
)
from worker.core.suspension import DAILY_MS
from worker.pipeline.suspensions import KNOWN_MS

MODES = pytest.mark.parametrize("mode", ["deny", "detach"])
WHOLE = [PRINCIPAL_RESTORED, RESTORATION_REQUIRED, PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]


@asynchronous
async def test_what_cannot_be_done_to_one_role_of_an_agentcore_agent_is_done_to_others() -> None:
    world = World(mode="detach")
    world.agent_roles[AGENT].insert(0, f"arn:aws:iam::{ACCOUNT}:role/Gateway")
    await world.hold(AGENT)
    await world.run()
    await world.lift(AGENT)
    world.iam.remove("role", ACCOUNT, "Gateway")
    [figures] = await world.run()
    assert figures.failed == 1
    assert not world.is_denied("role", "Helper")
    assert (await world.get(AGENT)).phase == "restoring"


@MODES
@asynchronous
async def test_an_agentcore_agent_is_suspended_through_its_roles_and_restored(mode: Mode) -> None:
    world = World(mode=mode)
    world.agent_roles[AGENT].append(f"arn:aws:iam::{ACCOUNT}:role/agents/Gateway")
    await world.hold(AGENT)
    await world.run(3)
    assert world.is_denied("role", "Helper")
    assert world.is_denied("role", "Gateway")
    [detail] = await world.details(PRINCIPAL_SUSPENDED, AGENT)
    assert detail["scope"] == {"kind": "agent", "id": AGENT}
    await world.lift(AGENT)
    await world.run(3)
    assert world.policies() == world.start
    assert await world.told(AGENT) == sorted(WHOLE)


@asynchronous
async def test_an_agentcore_agent_on_a_shared_role_needs_a_person_and_is_never_recorded() -> None:
    world = World()
    arn = world.agent_roles[AGENT][0]
    world.shared = {arn: [AGENT, "agent/111122223333/us-east-1/other-1234567890"]}
    await world.hold(AGENT)
    [figures] = await world.run()
    assert figures.needs_person == 1
    assert world.policies() == world.start
    [detail] = await world.details(SUSPENSION_FAILED, AGENT)
    assert "other-1234567890" in detail["reason"]
    assert (await world.get(AGENT)).phase == "required"


@MODES
@asynchronous
async def test_an_agentcore_agent_that_gets_another_role_is_suspended_through_that_one(
    mode: Mode,
) -> None:
    world = World(mode=mode)
    await world.hold(AGENT)
    await world.run()
    world.agent_roles[AGENT] = [f"arn:aws:iam::{ACCOUNT}:role/Gateway"]
    assert await world.suspensions.look_again(AGENT)
    world.now += KNOWN_MS
    [figures] = await world.run()
    assert figures.confirmed == 1
    assert world.is_denied("role", "Gateway")
    now = world.policies()
    helper = "role", ACCOUNT, "Helper"
    assert now[helper] == world.start[helper], "it is nobody's of this suspension any more"
    await world.lift(AGENT)
    await world.settle()
    assert world.policies() == world.start


@asynchronous
async def test_an_agentcore_agent_without_a_role_cannot_be_suspended() -> None:
    world = World()
    world.agent_roles[AGENT] = []
    await world.hold(AGENT)
    [figures] = await world.run()
    assert figures.failed == 1
    [detail] = await world.details(SUSPENSION_FAILED, AGENT)
    assert "no role of this agent is known" in detail["reason"]
    world.deleted.add(AGENT)
    world.now += HOUR
    [figures] = await world.run()
    assert figures.gone == 1
    assert (await world.get(AGENT)).due_at_ms == world.now + DAILY_MS


@asynchronous
async def test_an_agentcore_agents_old_role_that_was_deleted_holds_up_nothing() -> None:
    world = World()
    await world.hold(AGENT)
    await world.run()
    world.agent_roles[AGENT] = [f"arn:aws:iam::{ACCOUNT}:role/Gateway"]
    world.iam.remove("role", ACCOUNT, "Helper")
    await world.suspensions.look_again(AGENT)
    world.now += KNOWN_MS
    [figures] = await world.run()
    assert figures.failed == 1, "nobody knows that it was deleted"
    world.deleted.add(f"role/{ACCOUNT}/Helper")
    world.now += HOUR
    [figures] = await world.run()
    assert figures.suspended == 1
    await world.lift(AGENT)
    await world.settle()
    assert (await world.get(AGENT)).failure == ""
    assert not world.is_denied("role", "Gateway")


@asynchronous
async def test_of_an_agentcore_agents_roles_those_that_are_left_are_restored() -> None:
    world = World(mode="detach")
    world.agent_roles[AGENT].append(f"arn:aws:iam::{ACCOUNT}:role/Gateway")
    await world.hold(AGENT)
    await world.run()
    world.iam.remove("role", ACCOUNT, "Helper")
    world.deleted.add(f"role/{ACCOUNT}/Helper")
    await world.lift(AGENT)
    [figures] = await world.run()
    assert figures.gone == 1
    gateway = "role", ACCOUNT, "Gateway"
    assert world.policies()[gateway] == world.start[gateway]
    assert PRINCIPAL_RESTORED not in await world.told(AGENT)
