"""Suspending and restoring: once, completely, and back exactly as it was."""

import pytest

from tests.calls import ACCOUNT, DAY, NOON, asynchronous
from tests.suspension_world import (
    AGENT,
    ALICE,
    GATEWAY,
    TODAY,
    World,
)
from worker.adapters.memory_enforcement import MemoryEntity
from worker.core.enforcement import Mode
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_REQUIRED,
)
from worker.core.suspension import DAILY_MS
from worker.enforcer import enforcer as module

MODES = pytest.mark.parametrize("mode", ["deny", "detach"])
WHOLE = [PRINCIPAL_RESTORED, RESTORATION_REQUIRED, PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]


@MODES
@asynchronous
async def test_ten_enforcers_at_once_suspend_once_and_restore_once(mode: Mode) -> None:
    world = World(mode=mode)
    assert await world.hold()
    world.now += 1_000
    figures = await world.run(10)
    assert sum(one.suspended for one in figures) == 1
    assert [one.crossing_to_deny_ms for one in figures if one.suspended] == [[3_000]]
    assert [one.hold_to_deny_ms for one in figures if one.suspended] == [[1_000]]
    assert world.is_denied()
    assert (await world.get()).phase == "suspended"
    assert await world.told() == [PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]
    assert sum(one.changed for one in await world.run(10)) == 0
    assert await world.lift()
    assert sum(one.restored for one in await world.run(10)) == 1
    assert world.policies() == world.start
    assert await world.told() == sorted(WHOLE)
    assert await world.acts() == [
        "Suspension Begun",
        "Principal Suspended",
        "Restoration Begun",
        "Principal Restored",
    ]


@asynchronous
async def test_restoring_a_daily_budget_never_lifts_the_hold_of_a_monthly_one() -> None:
    world = World()
    await world.hold(budget="daily", end_ms=(TODAY + 1) * DAY)
    await world.hold(budget="monthly")
    await world.run()
    assert await world.lift(budget="daily")
    await world.settle()
    assert world.is_denied()
    assert (await world.get()).phase == "suspended"
    assert await world.told() == [PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]
    assert await world.lift(budget="monthly")
    await world.settle()
    assert world.policies() == world.start


@MODES
@asynchronous
async def test_suspended_again_later_it_is_another_suspension(mode: Mode) -> None:
    world = World(mode=mode)
    for _ in range(3):
        await world.hold()
        await world.settle()
        assert world.is_denied()
        await world.lift()
        await world.settle()
        assert world.policies() == world.start
    assert await world.told() == sorted(3 * WHOLE)
    ids = {one["suspension"]["id"] for one in await world.details(PRINCIPAL_SUSPENDED)}
    assert len(ids) == 3


@MODES
@asynchronous
async def test_a_hold_that_is_lifted_before_anything_was_done_leaves_nothing(mode: Mode) -> None:
    world = World(mode=mode)
    await world.hold()
    await world.lift()
    await world.settle()
    assert world.policies() == world.start
    assert (await world.get()).phase == "clear"
    [detail] = await world.details(PRINCIPAL_RESTORED)
    assert not detail["was_suspended"]
    assert PRINCIPAL_SUSPENDED not in await world.told()


@asynchronous
async def test_nothing_is_done_where_enforcement_is_off_but_holds_are_kept_and_told() -> None:
    world = World()
    await world.hold()
    assert (await world.enforcer("off").run_due()).changed == 0
    assert world.policies() == world.start
    assert await world.told() == [SUSPENSION_REQUIRED]
    assert (await world.enforcer("worker").run_due()).suspended == 1


@asynchronous
async def test_what_was_taken_away_is_put_back_within_a_day() -> None:
    world = World()
    await world.hold()
    await world.settle()
    user = world.iam.entities["user", ACCOUNT, "alice"]
    user.inline = {"mine": user.inline["mine"]}
    assert not world.is_denied()
    world.now += DAILY_MS
    [figures] = await world.run()
    assert (figures.confirmed, figures.suspended, figures.failed) == (1, 0, 0)
    assert world.is_denied()
    assert await world.told() == [PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]
    assert (await world.acts())[-1] == "Suspension Begun Again"


@asynchronous
async def test_a_look_costs_what_is_due_alone() -> None:
    world = World()
    for number in range(300):
        name = f"user{number}"
        world.iam.put(MemoryEntity("user", ACCOUNT, name))
        await world.hold(f"user/{ACCOUNT}/{name}")
    await world.run()
    assert len(await world.suspensions.listed()) == 300
    await world.hold()
    before = len(world.iam.calls)
    [figures] = await world.run()
    assert figures.suspended == 1
    assert len(world.iam.calls) - before < 20
    assert world.now == NOON


@asynchronous
async def test_a_look_ends_after_some_hundreds_and_says_that_there_is_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PER_LOOK_MAX", 2)
    world = World()
    for principal in (ALICE, GATEWAY, AGENT):
        await world.hold(principal)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    [first] = await world.run()
    assert (first.suspended, first.is_cut) == (2, True)
    [second] = await world.run()
    assert (second.suspended, second.is_cut) == (1, False)
