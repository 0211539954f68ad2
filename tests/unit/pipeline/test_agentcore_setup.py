"""Agents are registered from their lifecycle events, and given budgets: once, in any order."""

import itertools
from typing import Any

import pytest

from tests.calls import ACCOUNT, NOON, REGION, asynchronous
from tests.lifecycle import (
    ADMIN,
    AGENT,
    OTHER_AGENT,
    OTHER_ROLE_ARN,
    ROLE_ARN,
    agent_event,
    create_runtime,
    delete_runtime,
    update_runtime,
)
from tests.unit.pipeline.directory_world import USD, World
from worker.core.budget_terms import Scope
from worker.core.directory import decode_subject
from worker.core.directory_views import View, view_of
from worker.core.enforcement_names import DIRECTORY
from worker.core.registry import Agent, Registry
from worker.core.tiers import Tiers, budget_name

SECOND = 1_000
BUDGETS = {"daily": 5, "monthly": 100}


async def view(world: World, subject: str = AGENT) -> View:
    record = await world.records.get(DIRECTORY, subject)
    assert record is not None
    return view_of(decode_subject(subject, record.body))


@asynchronous
async def test_agentcore_creation_registers_the_agent_and_its_role() -> None:
    world = World()
    await world.send(world.worker(), create_runtime(1))
    found = await view(world)
    assert (found.name, found.roles[0][0], found.roles[0][1].from_ms) == (
        "scout",
        (ROLE_ARN,),
        NOON,
    )
    [told] = world.told("Agent Registered")
    assert (told["agent"], told["name"], told["role_arns"]) == (AGENT, "scout", [ROLE_ARN])
    assert told["message"] == f"Agent scout ({AGENT}) with role {ROLE_ARN}."
    assert told["next"] == (
        "Calls of its role are booked to the agent from then on. It has the budgets of tier agents."
    )
    assert told["command"] == f"ledgerock principals show {AGENT}"


@asynchronous
async def test_agentcore_budgets_are_initialised_with_the_defaults_of_agents() -> None:
    world = World()
    await world.send(world.worker(), create_runtime(1))
    assert await world.limits(AGENT) == BUDGETS
    given = await world.given()
    daily = given[budget_name(AGENT, "daily")]
    assert (daily.scope, daily.limit_amount, daily.period) == (
        Scope("agent", AGENT),
        5 * USD,
        "daily",
    )
    assert (daily.action, daily.grace_seconds, daily.thresholds) == ("suspend", 600, (70, 90, 100))
    assert (daily.origin, daily.revision) == ("tier/agents", 1)
    initialized = world.told("Budget Initialized")
    assert sorted(one["budget"]["name"] for one in initialized) == sorted(given)


@asynchronous
async def test_agents_for_bedrock_are_registered_like_those_of_agentcore() -> None:
    world = World()
    await world.send(world.worker(), agent_event("CreateAgent", 1), agent_event("UpdateAgent", 2))
    agent = f"agent/{ACCOUNT}/{REGION}/AGENT12345"
    assert (await view(world, agent)).roles[0][0] == (ROLE_ARN,)
    assert await world.limits(agent) == BUDGETS
    assert len(world.told("Agent Registered")) == 1


@asynchronous
async def test_agentcore_mapping_outlives_the_worker() -> None:
    world = World()
    await world.send(world.worker(), create_runtime(1))
    other = world.worker()
    assert isinstance(other.poster.registry, Registry)
    await other.keep_up()
    found = other.poster.registry.agent_for_role(ACCOUNT, "scout-role", ROLE_ARN, NOON)
    assert isinstance(found, Agent)
    assert found.agent_id == AGENT


@asynchronous
async def test_agentcore_events_that_come_again_change_nothing() -> None:
    world = World()
    first, second = world.worker(), world.worker()
    for worker in (first, first, second):
        await world.send(worker, create_runtime(1))
    [record] = await world.records.partition(DIRECTORY)
    assert record.version == 1
    assert {one.revision for one in await world.budgets.budgets()} == {1}
    assert len(world.told("Agent Registered")) == 1
    assert len(world.told("Budget Initialized")) == 2


EVENTS = [
    create_runtime(1),
    update_runtime(2, role=OTHER_ROLE_ARN, at_ms=NOON + 60 * SECOND),
    delete_runtime(3, at_ms=NOON + 120 * SECOND),
]


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))], ids=str)
@asynchronous
async def test_agentcore_events_say_the_same_in_any_order(order: tuple[int, ...]) -> None:
    world = World()
    for number in order:
        await world.send(world.worker(), EVENTS[number])
    found = await view(world)
    assert [(roles, period.from_ms, period.to_ms) for roles, period in found.roles] == [
        ((ROLE_ARN,), NOON, NOON + 60 * SECOND),
        ((OTHER_ROLE_ARN,), NOON + 60 * SECOND, NOON + 120 * SECOND),
    ]
    assert await world.limits(AGENT) == {}  # closed, or never given
    assert len(world.told("Agent Removed")) == 1


@asynchronous
async def test_an_agentcore_update_alone_registers_the_agent() -> None:
    world = World()
    await world.send(world.worker(), update_runtime(2))
    assert await world.limits(AGENT) == BUDGETS
    assert len(world.told("Agent Registered")) == 1


@asynchronous
async def test_the_deletion_of_an_agentcore_agent_closes_its_budgets() -> None:
    world = World()
    worker = world.worker()
    await world.send(worker, create_runtime(1))
    await world.send(worker, delete_runtime(2, request={"agentRuntimeVersion": "1"}))
    assert await world.limits(AGENT) == BUDGETS
    await world.send(worker, delete_runtime(3, at_ms=NOON + 9 * SECOND))
    assert await world.limits(AGENT) == {}
    assert {(one.is_removed, one.revision) for one in await world.budgets.budgets()} == {(True, 2)}
    [removed] = world.told("Agent Removed")
    assert removed["agent"] == AGENT
    await world.send(world.worker(), create_runtime(1))  # the old event, once more
    assert await world.limits(AGENT) == {}


@asynchronous
async def test_agentcore_agents_that_share_a_role_are_said_to() -> None:
    world = World()
    worker = world.worker()
    await world.send(worker, create_runtime(1))
    await world.send(worker, create_runtime(2, "scribe-f6g7h8i9j0", at_ms=NOON + SECOND))
    told = {one["agent"]: one for one in world.told("Agent Registered")}
    assert told[AGENT]["shared_with"] == []
    assert told[OTHER_AGENT]["shared_with"] == [AGENT]
    assert told[OTHER_AGENT]["next"].startswith(f"Its role is shared with {AGENT}: ")


@asynchronous
async def test_an_agentcore_tag_names_the_tier() -> None:
    world = World()
    await world.send(
        world.worker(), create_runtime(1, request={"tags": {"ledgerock:tier": "gold"}})
    )
    assert await world.limits(AGENT) == {"monthly": 500}


@pytest.mark.parametrize(
    "broken",
    [
        create_runtime(1, role="scout-role"),
        create_runtime(1, responseElements=None),
        create_runtime(1, eventTime="soon"),
    ],
    ids=["role", "answer", "time"],
)
@asynchronous
async def test_an_invalid_agentcore_event_is_put_aside_and_holds_up_nothing(
    broken: dict[str, Any],
) -> None:
    world = World()
    good = create_runtime(2, "scribe-f6g7h8i9j0")
    done = await world.send(world.worker(), broken, good)
    assert (done.records, done.quarantined) == (2, 1)
    assert await world.limits(OTHER_AGENT) == BUDGETS
    assert await world.limits(AGENT) == {}


@asynchronous
async def test_a_failed_agentcore_call_registers_nobody() -> None:
    world = World()
    failed = create_runtime(1, errorCode="AccessDeniedException", responseElements=None)
    await world.send(world.worker(), failed)
    assert await world.records.partition(DIRECTORY) == []
    assert world.told("Agent Registered") == []


@asynchronous
async def test_agentcore_may_be_switched_off() -> None:
    world = World()
    await world.send(world.worker(agents=False), create_runtime(1))
    assert await world.records.partition(DIRECTORY) == []
    assert await world.given() == {}


@asynchronous
async def test_without_tiers_agentcore_agents_are_registered_and_given_no_budget() -> None:
    for world in (World(None), World(Tiers())):
        await world.send(world.worker(), create_runtime(1, actor=ADMIN))
        assert await world.given() == {}
        [told] = world.told("Agent Registered")
        assert (told["tier"], told["next"].rpartition(". ")[2]) == ("", "It has no budget.")
