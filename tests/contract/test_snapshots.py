"""One contract for snapshots on all records: each is written once, and never over another."""

import asyncio

import msgspec

from tests.calls import ACCOUNT, asynchronous
from tests.contract.conftest import OpenState
from tests.suspension_world import AGENT, World
from worker.enforcer import Snapshots
from worker.enforcer.snapshots import Kept

RIVALS = 5


@asynchronous
async def test_what_is_taken_is_kept_once_whoever_comes_first(open_state: OpenState) -> None:
    async with open_state() as state:
        world = World(mode="detach", records=state.records, outbox=state.outbox)
        await world.hold()
        suspension = await world.get()
        [target] = await world.targets(suspension.principal)
        found = await world.enforcement.snapshot(target)
        rivals = [
            msgspec.structs.replace(found, attached=(f"arn:aws:iam::{ACCOUNT}:policy/{number}",))
            for number in range(RIVALS)
        ]
        snapshots = Snapshots(world.records)
        await snapshots.keep(suspension, found)
        assert await snapshots.kept(suspension) == [Kept(found)]
        won = await asyncio.gather(*(snapshots.keep_taken(suspension, one) for one in rivals))
        assert len({one.attached for one in won}) == 1
        kept = Kept(found, won[0])
        assert await snapshots.kept(suspension) == [kept]
        assert (kept.owed, Kept(found).owed) == (won[0], found.bare())
        await snapshots.drop(suspension, kept)
        assert await snapshots.kept(suspension) == []


@asynchronous
async def test_each_agentcore_role_of_one_name_has_its_own(open_state: OpenState) -> None:
    async with open_state() as state:
        world = World(mode="detach", records=state.records, outbox=state.outbox)
        await world.hold(AGENT)
        suspension = await world.get(AGENT)
        [target] = await world.targets(AGENT)
        first = await world.enforcement.snapshot(target)
        later = msgspec.structs.replace(first, unique_id="AROA0000000000000000X")
        snapshots = Snapshots(world.records)
        for one in (first, later, first):
            assert await snapshots.keep(suspension, one) == one
        # Whoever was slow took something of a role that was let go of: that is owed, too.
        await snapshots.keep_taken(suspension, first)
        await snapshots.drop(suspension, Kept(later))
        assert await snapshots.kept(suspension) == [Kept(first, first)]
