"""Who spends of a group's exhausted budget is noted, whoever else moves the same records."""

from collections.abc import Collection
from typing import Any

import msgspec
import pytest

from tests.calls import asynchronous
from tests.unit.pipeline.budget_world import ALICE, OCTOBER, World, spent
from worker.core.budget import RECHECK_MS
from worker.core.budget_terms import Scope
from worker.core.enforcement import BudgetStatus, Lift
from worker.core.errors import LedgerCorruptError, TransientError
from worker.core.registry import PrincipalFact, Registry
from worker.pipeline.budget_effects import BudgetEffects
from worker.pipeline.budget_states import member_key, record_of
from worker.pipeline.monitored import Monitored
from worker.ports import Record

ME = Scope("principal", ALICE)
TEAM = Scope("team", "research")
TEAMS = Registry(principals=(PrincipalFact(match="user/111122223333/*", team="research"),))
DAY_MS = 86_400_000
MANY = [f"user/111122223333/u{number}" for number in range(120)]


def exhausted(world: World, crossed_at_ms: int, **more: Any) -> BudgetStatus:
    """Return the status of a team's suspended budget."""
    return BudgetStatus(
        budget="g",
        revision=1,
        first_day=OCTOBER,
        end_ms=world.now + 20 * DAY_MS,
        state="suspended",
        scope="team/research",
        crossed_at_ms=crossed_at_ms,
        changed_at_ms=world.now,
        checked_at_ms=world.now,
        is_held=True,
        version=1,
        **more,
    )


def race(world: World, times: int, *, removing: bool = False) -> None:
    """Have the monitor move or remove the records that are read, before they are written."""
    real, left = world.records.get_many, [times]

    async def racing(keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        found = await real(keys)
        if left[0]:
            left[0] -= 1
            for record in found.values():
                await _move(world, record, removing=removing)
        return found

    world.records.get_many = racing  # type: ignore[method-assign]


async def _move(world: World, record: Record, *, removing: bool) -> None:
    if removing:
        assert await world.records.remove(record)
    else:
        following = Record(record.partition, record.name, record.body, record.version + 1)
        assert await world.records.write([following])


@asynchronous
@pytest.mark.parametrize("removing", [False, True])
async def test_who_loses_a_race_is_noted_all_the_same(removing: bool) -> None:
    world = World()
    states = world.watch.states
    await states.note(exhausted(world, 100), {ALICE})
    race(world, 2, removing=removing)
    await states.note(exhausted(world, 200), {ALICE})
    [member] = await states.members(exhausted(world, 200))
    assert (member.principal, member.crossed_at_ms) == (ALICE, 200)


@asynchronous
async def test_who_loses_every_race_is_noted_the_next_time() -> None:
    world = World()
    states = world.watch.states
    await states.note(exhausted(world, 100), {ALICE})
    race(world, 8)
    with pytest.raises(TransientError, match="others note its members"):
        await states.note(exhausted(world, 200), {ALICE})
    await states.note(exhausted(world, 200), {ALICE})
    [member] = await states.members(exhausted(world, 200))
    assert member.crossed_at_ms == 200


@asynchronous
async def test_many_are_noted_together_though_one_of_them_is_moved() -> None:
    world = World()
    states = world.watch.states
    await states.note(exhausted(world, 100), {MANY[0]})
    race(world, 1)
    before = world.records.requests.copy()
    await states.note(exhausted(world, 200), MANY)
    noted = await states.members(exhausted(world, 200))
    assert {one.principal for one in noted if one.crossed_at_ms == 200} == set(MANY)
    made = world.records.requests - before
    # Three writes of 50, 50 and 20; fifty members of the lost one each alone, and the race.
    assert (made["get_many"], made["write"]) == (2, 3 + 50 + 1)


@asynchronous
async def test_who_was_noted_anew_is_not_let_go_with_those_of_before() -> None:
    """The monitor lifts what an earlier crossing held while the limit is reached once more."""
    world = World()
    states = world.watch.states
    lifted = exhausted(world, 100, lifts=(Lift("team/research", world.now),))
    lifted = msgspec.structs.replace(lifted, state="active")
    assert await world.records.write([record_of(lifted)])
    await world.make("g", TEAM, 10, action="suspend")
    again = msgspec.structs.replace(lifted, state="suspended", crossed_at_ms=200, version=2)
    real = world.records.partition

    async def slow(*given: Any, **more: Any) -> list[Record]:
        if (await world.status("g")).version == 1:
            assert await world.records.write([record_of(again)])
            await states.note(again, {ALICE})
        return await real(*given, **more)

    effects = effects_of(world)
    world.records.partition = slow  # type: ignore[method-assign]
    await effects.work(lifted, Monitored())
    [member] = await states.members(again)
    assert (member.principal, member.crossed_at_ms) == (ALICE, 200)


@asynchronous
async def test_who_spent_of_a_removed_budget_is_not_held() -> None:
    world = World()
    made = await world.make("g", TEAM, 10, action="suspend", grace_seconds=0)
    assert await world.records.write([record_of(exhausted(world, 100))])
    await world.watch.states.note(exhausted(world, 100), {ALICE})
    removed = msgspec.structs.replace(made, revision=2, is_removed=True, created_at_ms=world.now)
    assert await world.budgets.put(removed)
    record = await world.records.get(*member_key("g", OCTOBER, ALICE))
    assert record is not None
    await effects_of(world).member(record, Monitored())
    assert await world.held() == []


@asynchronous
@pytest.mark.parametrize("is_first_team", [True, False])
async def test_who_is_held_anew_is_not_let_go_for_what_was_before(is_first_team: bool) -> None:
    """The budget passes from the team to one of its members, or from her to the team."""
    world = World(TEAMS)
    before, after = (TEAM, ME) if is_first_team else (ME, TEAM)
    await world.make("g", before, 10, action="suspend", grace_seconds=0)
    await world.spend(spent(1, 12))
    await world.announce()
    await world.run(5)
    assert await world.held() == ["g"]
    await world.make("g", after, 10, action="suspend", grace_seconds=0)
    await world.wait(10)
    await world.spend(spent(2, 12))
    await world.announce()
    await world.run(5)
    assert await world.held() == ["g"]
    for _ in range(20):
        await world.run(10)
        assert await world.held() == ["g"]


@asynchronous
async def test_many_members_are_held_and_let_go_at_the_cost_of_what_changes() -> None:
    world = World(TEAMS)
    await world.make("g", TEAM, 10, action="suspend", grace_seconds=0)
    status = exhausted(world, 100)
    many = [f"user/111122223333/u{number:04}" for number in range(600)]
    await world.watch.states.note(status, many)
    assert await world.records.write([record_of(status)])
    effects, done, turns = effects_of(world), Monitored(), 3
    before = world.records.requests.copy()
    held = await effects.hold(status, done)
    assert held is not None
    assert done.held == 600
    # Of each: a read and a write; twelve writes that mark them, and the status.
    assert (world.records.requests - before)["write"] == 600 + 12 + 1
    for _ in range(turns):
        before = world.records.requests.copy()
        await world.wait(RECHECK_MS / 1_000)
        held = await effects.hold(held, done, is_recheck=True)
        assert held is not None
        made = world.records.requests - before
        assert (made["get"], made["write"], made["partition"]) == (200, 1, 1)
    assert done.held == 600
    moved = msgspec.structs.replace(
        held, state="active", lifts=(Lift(str(TEAM)),), version=held.version + 1
    )
    assert await world.records.write([record_of(moved)])
    await effects.work(moved, done)
    assert done.lifted == 600


@asynchronous
async def test_a_member_that_cannot_be_read_keeps_no_other_from_being_let_go() -> None:
    world = World(TEAMS)
    await world.make("g", TEAM, 10, action="suspend", grace_seconds=0)
    status = exhausted(world, 100)
    await world.watch.states.note(status, {ALICE})
    partition, name = member_key("g", OCTOBER, "user/111122223333/aaa")
    assert await world.records.write([Record(partition, name, b"[]", 1)])
    assert await world.records.write([record_of(status)])
    effects, done = effects_of(world), Monitored()
    held = await effects.hold(status, done)
    assert held is not None
    assert await world.held() == ["g"]
    moved = msgspec.structs.replace(
        held, state="active", lifts=(Lift(str(TEAM)),), version=held.version + 1
    )
    assert await world.records.write([record_of(moved)])
    with pytest.raises(LedgerCorruptError, match="user/111122223333/aaa"):
        await effects.work(moved, done)
    assert await world.held() == []


def effects_of(world: World) -> BudgetEffects:
    return BudgetEffects(
        budgets=world.budgets,
        states=world.watch.states,
        holds=world.suspensions,
        outbox=world.outbox,
        clock=world,
        registry=lambda: world.registry,
    )
