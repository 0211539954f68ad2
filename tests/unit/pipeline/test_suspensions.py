"""Suspensions as they are kept, and what is written down before they are."""

from typing import Any

import msgspec
import pytest

from tests.calls import asynchronous
from tests.suspension_world import AGENT, ALICE, TODAY, KilledError, World
from worker.core.enforcement import MANUAL, Hold, Suspension
from worker.core.errors import LedgerCorruptError, TransientError
from worker.core.events import RESTORATION_REQUIRED, SUSPENSION_REQUIRED
from worker.core.suspension import DAILY_MS
from worker.pipeline.suspensions import ATTEMPTS, KNOWN_MS, Suspensions
from worker.ports import Holds, Record


@asynchronous
async def test_holds_are_put_and_lifted_once() -> None:
    world = World()
    holds: Holds = world.suspensions
    assert await holds.hold(ALICE, world.hold_of())
    assert not await holds.hold(ALICE, world.hold_of(revision=2))
    assert await holds.hold(ALICE, world.hold_of("daily"))
    assert not await holds.lift(ALICE, "monthly", TODAY - 1)
    assert await holds.lift(ALICE, "monthly", TODAY)
    assert not await holds.lift(ALICE, "monthly", TODAY)
    suspension = await world.get()
    assert [one.budget for one in suspension.holds] == ["daily"]
    assert (suspension.version, suspension.phase) == (3, "required")
    assert await world.get(AGENT) == Suspension(AGENT)


@asynchronous
async def test_what_is_to_be_announced_is_written_before_the_record() -> None:
    world = World()
    world.faults.kill(3)  # 1 and 2: the notice; 3: before the record
    with pytest.raises(KilledError):
        await world.hold()
    assert (await world.get()).phase == "clear"
    assert await world.told() == [SUSPENSION_REQUIRED]
    world.faults.at.clear()
    assert await world.hold()
    assert await world.told() == [SUSPENSION_REQUIRED], "the same one"
    world.faults.kill(world.faults.moments + 3)
    with pytest.raises(KilledError):
        await world.lift()
    world.faults.at.clear()
    assert await world.lift()
    assert (await world.told()).count(RESTORATION_REQUIRED) == 1


@asynchronous
async def test_a_waived_hold_is_not_put_again_before_a_new_revision() -> None:
    world = World()
    await world.hold()
    assert await world.lift(waive=True, why="an exception", by="carol")
    assert (await world.get()).why == "an exception"
    assert not await world.hold()
    assert await world.suspensions.hold(ALICE, world.hold_of(revision=2))


@asynchronous
async def test_what_is_listed_and_what_waits() -> None:
    world = World()
    await world.hold()
    await world.hold(AGENT)
    await world.run()
    assert [one.principal for one in await world.suspensions.listed()] == [AGENT, ALICE]
    assert [one async for one in world.suspensions.waiting()] == []
    assert await world.suspensions.look_again(ALICE)
    assert not await world.suspensions.look_again(ALICE), "it is about to be"
    world.now += KNOWN_MS
    assert [one.principal async for one in world.suspensions.waiting()] == [ALICE]
    await world.run()
    assert (await world.get()).due_at_ms == world.now + DAILY_MS
    for principal in (ALICE, AGENT):
        await world.lift(principal)
    await world.settle()
    assert await world.suspensions.listed() == []


@asynchronous
async def test_what_waits_to_be_announced_of_a_principal() -> None:
    world = World()
    await world.hold()
    [notice] = await world.suspensions.pending(ALICE)
    assert notice.detail_type == SUSPENSION_REQUIRED
    await world.outbox.settle(notice, "announced", world.now)
    assert await world.suspensions.pending(ALICE) == []


@asynchronous
async def test_who_is_never_first_gives_up_for_now() -> None:
    world = World()
    written: list[Any] = []

    async def refuse(records: Any) -> bool:
        written.append(records)
        return False

    records: Any = world.records
    records.write = refuse
    with pytest.raises(TransientError, match="others are changing its suspension"):
        await world.hold()
    assert len(written) == ATTEMPTS


@asynchronous
async def test_a_record_that_is_none_is_said_to_be() -> None:
    world = World()
    await world.records.write([Record(f"h#{ALICE}", "suspension", b'{"holds":7}', 1)])
    with pytest.raises(LedgerCorruptError, match=f"h#{ALICE}/suspension: this is no suspension"):
        await world.get()


@asynchronous
async def test_the_mode_is_that_of_the_beginning() -> None:
    world = World(mode="detach")
    await world.hold()
    later = Suspensions(records=world.records, outbox=world.outbox, clock=world, mode="deny")
    await later.hold(ALICE, Hold(MANUAL, 0, 0, world.now, "x"))
    assert (await world.get()).mode == "detach"
    body = (await world.records.get(f"h#{ALICE}", "suspension") or pytest.fail("none")).body
    assert msgspec.json.decode(body)["mode"] == "detach"
