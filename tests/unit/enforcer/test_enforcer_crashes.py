"""Killed anywhere, slow, and changing its mind: a suspension ends as if nothing had been."""

import asyncio
from typing import Any

import pytest

from tests.calls import ACCOUNT, asynchronous
from tests.suspension_world import (
    ALICE,
    OWN_POLICY,
    KilledError,
    World,
)
from worker.core.enforcement import Mode
from worker.core.errors import TransientError
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_FAILED,
    SUSPENSION_REQUIRED,
)
from worker.core.suspension import CLAIM_MS, RECHECK_MS
from worker.enforcer import Snapshots
from worker.enforcer import enforcer as module
from worker.ports import Order

MODES = pytest.mark.parametrize("mode", ["deny", "detach"])
WHOLE = [PRINCIPAL_RESTORED, RESTORATION_REQUIRED, PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]


async def _moments(mode: Mode) -> int:
    """Return how many moments a whole suspension has, from hold to restoration."""
    world = World(mode=mode)
    await _whole(world)
    return world.faults.moments


async def _whole(world: World) -> None:
    await world.hold()
    await world.enforcer().act_now(ALICE)
    await world.lift()
    await world.enforcer().act_now(ALICE)


@MODES
@asynchronous
async def test_killed_between_any_two_writes_or_calls_it_ends_as_if_it_had_not_been(
    mode: Mode,
) -> None:
    moments = await _moments(mode)
    assert moments > 40
    for number in range(1, moments + 1):
        world = World(mode=mode)
        world.faults.kill(number)
        with pytest.raises(KilledError):
            await _whole(world)
        world.faults.at.clear()
        world.now += CLAIM_MS
        await world.settle()
        if (await world.get()).number == 0:
            await world.hold()  # whoever was to put it does so again
            await world.settle()
        if (await world.get()).holds:
            assert world.is_denied(), number
            assert (await world.get()).phase == "suspended"
            await world.lift()
            await world.settle()
        assert (await world.get()).phase == "clear", number
        assert world.policies() == world.start, number
        assert await world.told() == sorted(WHOLE), number
        acts = await world.acts()
        for act in ("Principal Suspended", "Principal Restored"):
            assert acts.count(act) == 1, number


@MODES
@asynchronous
async def test_a_lost_answer_of_any_call_or_write_changes_nothing_in_the_end(mode: Mode) -> None:
    def lost() -> None:
        raise TransientError("the connection was reset")

    for number in range(1, await _moments(mode) + 1):
        world = World(mode=mode)
        world.faults.at[number] = lost
        for step in (world.hold, world.lift):
            for _attempt in range(2):
                try:
                    await step()
                    break
                except TransientError:
                    continue
            await world.settle()
            assert world.is_denied() == (step == world.hold), number
        assert world.policies() == world.start, number
        assert [one for one in await world.told() if one != SUSPENSION_FAILED] == sorted(WHOLE)


async def _stuck(world: World, number: int) -> tuple[asyncio.Event, asyncio.Task[Any]]:
    """Let a worker begin, and stop at a moment from now on; its claim runs out."""
    gate = world.faults.stop(world.faults.moments + number)
    slow = asyncio.create_task(world.enforcer().act_now(ALICE))
    for _ in range(300):
        await asyncio.sleep(0)
    world.faults.at.clear()
    world.now += CLAIM_MS
    return gate, slow


async def _free(gate: asyncio.Event, slow: asyncio.Task[Any]) -> None:
    gate.set()
    await slow


@MODES
@pytest.mark.parametrize("again", [False, True])
@asynchronous
async def test_a_slow_worker_that_suspends_after_all_was_restored_leaves_nothing(
    mode: Mode, again: bool
) -> None:
    for number in range(1, await _moments(mode)):
        world = World(mode=mode)
        await world.hold()
        gate, slow = await _stuck(world, number)
        was_done = slow.done()
        await world.run()
        await world.lift()
        await world.run()
        assert world.policies() == world.start, number
        if again:
            await world.hold(budget="daily")
            await world.run()
        await _free(gate, slow)
        await world.settle()
        if again:
            assert (await world.get()).phase == "suspended", number
            assert world.is_denied(), number
            await world.lift(budget="daily")
            await world.settle()
        assert (await world.get()).phase == "clear", number
        assert world.policies() == world.start, number
        if was_done:
            return
    pytest.fail("the worker was never done")


@MODES
@pytest.mark.parametrize("recheck", [False, True])
@asynchronous
async def test_a_slow_worker_that_restores_after_all_was_suspended_again_frees_nobody(
    mode: Mode, recheck: bool
) -> None:
    for number in range(1, await _moments(mode)):
        world = World(mode=mode)
        await world.hold()
        await world.run()
        await world.lift()
        gate, slow = await _stuck(world, number)
        was_done = slow.done()
        await world.run()
        assert world.policies() == world.start, number
        if recheck:
            world.now += RECHECK_MS
            await world.run()
        await world.hold(budget="daily")
        await world.run()
        await _free(gate, slow)
        await world.settle()
        suspension = await world.get()
        assert suspension.phase == "suspended", number
        order = Order(suspension.suspension_id, mode, ALICE)
        [kept] = (await Snapshots(world.records).of(suspension)).values()
        if not recheck:
            assert not await world.enforcement.unsuspended(order, kept), number
        assert world.is_denied(), number
        await world.lift(budget="daily")
        await world.settle()
        assert world.policies() == world.start, number
        if was_done:
            return
    pytest.fail("the worker was never done")


@asynchronous
async def test_a_hold_lifted_while_it_is_carried_out_is_undone_by_the_same_worker() -> None:
    world = World(mode="detach")
    await world.hold()
    done = False

    async def lift() -> None:
        await world.lift()

    def meanwhile(_moment: str, _number: int, name: str) -> None:
        nonlocal done
        if name == "detach" and not done:
            done = True
            tasks.append(asyncio.create_task(lift()))

    tasks: list[asyncio.Task[None]] = []
    world.iam.hook = meanwhile
    [figures] = await world.run()
    assert (figures.suspended, figures.restored) == (0, 1)
    assert world.policies() == world.start
    [detail] = await world.details(PRINCIPAL_RESTORED)
    assert not detail["was_suspended"]


@asynchronous
async def test_a_hold_put_while_it_is_restored_keeps_the_first_snapshot() -> None:
    world = World(mode="detach")
    await world.hold()
    await world.run()
    await world.lift()
    put = False

    async def hold() -> None:
        await world.hold(budget="daily")

    def meanwhile(_moment: str, _number: int, name: str) -> None:
        nonlocal put
        if name == "attach" and not put:
            put = True
            tasks.append(asyncio.create_task(hold()))

    tasks: list[asyncio.Task[None]] = []
    world.iam.hook = meanwhile
    [figures] = await world.run()
    assert (figures.suspended, figures.restored) == (1, 0)
    user = world.iam.entities["user", ACCOUNT, "alice"]
    assert OWN_POLICY not in user.attached
    assert world.is_denied()
    world.iam.hook = None
    await world.lift(budget="daily")
    await world.settle()
    assert world.policies() == world.start
    told = await world.told()
    assert told.count(SUSPENSION_REQUIRED) == told.count(PRINCIPAL_SUSPENDED) == 2


@asynchronous
async def test_who_changes_its_mind_without_end_leaves_the_rest_to_the_next_look() -> None:
    world = World()
    await world.hold()
    enforcer: Any = world.enforcer()
    attempt = enforcer.attempt
    tries = 0

    async def and_change(*arguments: Any) -> Any:
        nonlocal tries
        given = await attempt(*arguments)
        tries += 1
        await (world.lift() if tries % 2 else world.hold())
        return given

    enforcer.attempt = and_change
    await enforcer.act_now(ALICE)
    assert tries == module.DIRECTIONS_MAX
    suspension = await world.get()
    assert (suspension.claim, suspension.phase) == ("", "restoring")
    await world.settle()
    assert world.policies() == world.start
