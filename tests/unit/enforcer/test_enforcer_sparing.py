"""Nobody else is harmed: the protected are refused up front, who shares a role is let go."""

import pytest

from tests.calls import ACCOUNT, asynchronous
from tests.suspension_world import AGENT, World
from worker.core.enforcement import Mode
from worker.core.errors import NeedsPersonError, ProtectedPrincipalError
from worker.core.suspension import DAILY_MS

OTHER = AGENT.replace("helper", "second")
HELPER_ARN = f"arn:aws:iam::{ACCOUNT}:role/Helper"
MODES = pytest.mark.parametrize("mode", ["deny", "detach"])


@pytest.mark.parametrize("protected", [AGENT, f"role/{ACCOUNT}/Helper"])
@asynchronous
async def test_a_protected_agentcore_agent_is_refused_before_anything_is_written(
    protected: str,
) -> None:
    world = World(protected=(protected,))
    with pytest.raises(ProtectedPrincipalError, match="LEDGEROCK_PROTECTED"):
        await world.enforcer().hands.check(AGENT)


@MODES
@asynchronous
async def test_a_role_that_comes_to_serve_another_agentcore_agent_is_let_go(mode: Mode) -> None:
    world = World(mode=mode)
    world.agent_roles[AGENT].append(f"arn:aws:iam::{ACCOUNT}:role/Gateway")
    await world.hold(AGENT)
    await world.run()
    assert world.is_denied("role", "Helper")
    world.shared = {HELPER_ARN: [OTHER]}
    for _ in range(2):
        world.now += DAILY_MS
        [figures] = await world.run()
        assert figures.needs_person == 1
        helper = "role", ACCOUNT, "Helper"
        assert world.policies()[helper] == world.start[helper]
        assert world.is_denied("role", "Gateway"), "it is the agent's own"
    assert "second" in (await world.get(AGENT)).failure
    with pytest.raises(NeedsPersonError, match="second") as error:
        await world.enforcer().hands.check(AGENT)
    assert type(error.value) is NeedsPersonError, "steps know errors by their names"
    await world.lift(AGENT)
    await world.settle()
    assert world.policies() == world.start


@asynchronous
async def test_a_role_that_serves_one_agentcore_agent_again_is_suspended_again() -> None:
    world = World(mode="detach")
    await world.hold(AGENT)
    await world.run()
    world.shared = {HELPER_ARN: [OTHER]}
    world.now += DAILY_MS
    await world.run()
    world.shared = {}
    world.now += DAILY_MS
    await world.run()
    assert world.is_denied("role", "Helper")
    await world.lift(AGENT)
    await world.settle()
    assert world.policies() == world.start
