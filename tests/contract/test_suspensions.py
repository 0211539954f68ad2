"""One contract for suspensions on all records: however many are at it, one acts, once."""

import asyncio

from tests.calls import ACCOUNT, asynchronous
from tests.contract.conftest import OpenState
from tests.suspension_world import AGENT, ALICE, World
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_REQUIRED,
)
from worker.core.suspension import CLAIM_MS
from worker.enforcer import Snapshots

RIVALS = 10


@asynchronous
async def test_a_key_at_500_per_cent_is_suspended_once_by_ten_and_restored_once(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        world = World(mode="detach", records=state.records, outbox=state.outbox)
        held = await asyncio.gather(*(world.hold() for _ in range(RIVALS)))
        assert held.count(True) == 1
        figures = await world.run(RIVALS)
        assert sum(one.suspended for one in figures) == 1
        assert not any(one.faults for one in figures)
        assert world.is_denied()
        lifted = await asyncio.gather(*(world.lift() for _ in range(RIVALS)))
        assert lifted.count(True) == 1
        assert sum(one.restored for one in await world.run(RIVALS)) == 1
        assert world.policies() == world.start
        assert await world.told() == sorted(
            [SUSPENSION_REQUIRED, PRINCIPAL_SUSPENDED, RESTORATION_REQUIRED, PRINCIPAL_RESTORED]
        )
        assert (await world.acts()).count("Principal Suspended") == 1


@asynchronous
async def test_holds_that_are_put_at_the_same_time_are_all_kept(open_state: OpenState) -> None:
    async with open_state() as state:
        world = World(records=state.records, outbox=state.outbox)
        budgets = [f"budget{number}" for number in range(5)]
        held = await asyncio.gather(*(world.hold(ALICE, budget) for budget in budgets))
        assert held == [True] * 5
        suspension = await world.get()
        assert {one.budget for one in suspension.holds} == {*budgets}
        assert (suspension.number, await world.told()) == (1, [SUSPENSION_REQUIRED])
        await asyncio.gather(*(world.lift(ALICE, budget) for budget in budgets))
        assert (await world.get()).phase == "restoring"
        assert (await world.told()).count(RESTORATION_REQUIRED) == 1


@asynchronous
async def test_a_snapshot_is_kept_once_and_whoever_is_late_reads_the_first(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        world = World(records=state.records, outbox=state.outbox)
        await world.hold()
        suspension = await world.get()
        [target] = await world.targets(ALICE)
        snapshots = Snapshots(world.records)
        rich = await world.enforcement.snapshot(target)
        user = world.iam.entities["user", ACCOUNT, "alice"]
        user.attached, user.inline = set(), {}
        poor = await world.enforcement.snapshot(target)
        assert rich != poor
        assert await snapshots.keep(suspension, rich) == rich
        assert await snapshots.keep(suspension, poor) == rich
        assert await snapshots.of(suspension) == {ALICE: rich}
        await world.hold(AGENT)
        assert await snapshots.of(await world.get(AGENT)) == {}


@asynchronous
async def test_what_is_due_is_found_and_a_killed_workers_claim_is_taken_over(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        world = World(records=state.records, outbox=state.outbox)
        await world.hold()
        await world.hold(AGENT)
        assert [one.principal for one in await world.suspensions.listed()] == [AGENT, ALICE]
        assert await world.enforcer().claim(ALICE, "killed") is not None
        [figures] = await world.run()
        assert figures.suspended == 1, "the agent"
        world.now += CLAIM_MS
        [figures] = await world.run()
        assert figures.suspended == 1
        assert [one.phase for one in await world.suspensions.listed()] == ["suspended"] * 2
        await world.lift(AGENT)
        await world.settle()
        assert [one.principal for one in await world.suspensions.listed()] == [ALICE]
