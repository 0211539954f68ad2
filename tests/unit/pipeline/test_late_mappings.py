"""Mappings that become known while, or after, calls are booked under what was known before."""

import asyncio
from typing import Any

import pytest

from tests.calls import NOON, asynchronous
from tests.lifecycle import AGENT, ROLE, USER, create_runtime, create_user, tag_user
from tests.records import log
from tests.unit.pipeline.directory_world import COST, World, role_log
from worker.adapters.memory_records import MemoryRecords
from worker.core.errors import TransientError
from worker.core.results import DeliveryResult
from worker.pipeline import Pipeline
from worker.pipeline.rechecks import STALE_SECONDS, Rechecks
from worker.ports import Record

SECOND = 1_000


@pytest.mark.parametrize("is_asking", [True, False], ids=["asks meanwhile", "is busy"])
@asynchronous
async def test_calls_whose_commit_took_long_go_to_the_agent_when_it_is_made(
    is_asking: bool,
) -> None:
    world = World()
    learned, slow = world.worker(), world.worker()
    await slow.keep_up()
    commit = world.ledger.commit

    async def throttled(batch: Any, poster: Any, **more: Any) -> Any:
        world.ledger.commit = commit  # type: ignore[method-assign]
        await world.send(learned, create_runtime(9))
        for _ in range(9):  # 45 seconds, in which others learn and look twice
            world.wait(5)
            await learned.keep_up()
            if is_asking:
                await slow.keep_up()
        return await commit(batch, poster, **more)

    world.ledger.commit = throttled  # type: ignore[method-assign]
    await world.send(slow, role_log(1, at_ms=NOON + SECOND))
    # At once: whoever booked it may never be asked for anything again.
    assert await world.costs() == {AGENT: COST}


class Slow(MemoryRecords):
    """Takes its time over each page of the directory, as many as there are."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.asked = seconds, list[str]()

    async def partition(self, partition: str, *args: Any, **more: Any) -> list[Record]:
        await asyncio.sleep(self.seconds)
        if partition == "d":
            self.asked.append(more["after"])
        return await super().partition(partition, *args, **{**more, "limit": 1})


async def until(world: World, worker: Pipeline, seconds: float) -> DeliveryResult:
    deadline = asyncio.get_running_loop().time() + seconds
    steps = worker.steps([world.delivery(role_log(1, at_ms=NOON + SECOND))], deadline=deadline)
    [done] = [one async for step in steps for one in step.processed]
    return done.result


@asynchronous
async def test_reading_the_directory_ends_at_the_deadline_and_goes_on_where_it_was() -> None:
    world = World()
    world.records = slow = Slow(0.0)
    await world.send(world.worker(), *(create_user(n, f"user{n}") for n in range(4)))
    await world.send(world.worker(), create_runtime(9))
    worker = world.worker()
    slow.asked.clear()
    slow.seconds = 0.05
    results = [await until(world, worker, 0.12) for _ in range(2)]
    assert results == [DeliveryResult.DEFERRED] * 2
    slow.seconds = 0.0
    assert await until(world, worker, 5.0) is DeliveryResult.ACKNOWLEDGED
    assert len(set(slow.asked)) >= len(slow.asked) - 2  # but for those that were broken off
    assert await world.costs() == {AGENT: COST}


class Down(MemoryRecords):
    """Cannot list anything for a while."""

    is_down = False

    async def partition(self, *args: Any, **more: Any) -> list[Record]:
        if self.is_down:
            raise TransientError("throttled")
        return await super().partition(*args, **more)


@asynchronous
async def test_a_worker_that_could_not_read_the_directory_yet_books_nothing() -> None:
    world = World()
    world.records = down = Down()
    await world.send(world.worker(), create_runtime(9))
    world.wait(3_600)
    down.is_down = True
    worker = world.worker()
    await worker.keep_up()
    assert await until(world, worker, 5.0) is DeliveryResult.DEFERRED
    down.is_down = False
    assert await until(world, worker, 5.0) is DeliveryResult.ACKNOWLEDGED
    assert await world.costs() == {AGENT: COST}


@asynchronous
async def test_a_monitor_that_starts_anew_each_time_finds_what_was_booked_late() -> None:
    world = World()
    stale = world.worker()
    await stale.keep_up()
    await world.send(world.worker(), create_runtime(9))
    await world.send(stale, role_log(1, at_ms=NOON + SECOND))
    assert await world.costs() == {ROLE: COST}
    world.wait(60)
    await world.worker().keep_up()
    assert await world.costs() == {AGENT: COST}


@asynchronous
async def test_tags_from_before_a_user_was_made_are_taken_back_though_the_worker_died() -> None:
    world = World()
    await world.send(world.worker(), log(1, at_ms=NOON))
    await world.send(world.worker(), tag_user(2, {"ledgerock:team": "red"}, at_ms=NOON))
    assert await world.costs("team") == {"red": COST}
    await world.send(world.worker(), create_user(3, at_ms=NOON + SECOND))
    assert await world.costs("team") == {"": COST}
    assert await world.costs() == {USER: COST}


def test_who_changes_all_the_time_is_looked_for_all_the_same() -> None:
    world = World()
    rechecks = Rechecks(nothing, lambda: world.seconds)
    for _ in range(30):
        rechecks.changed(USER, NOON)
        world.wait(1)
    # At most four times are kept: the first comes, and so does the last one.
    times = rechecks.times(USER)
    assert (times[0], times[-1], len(times)) == (0.0, 29.0 + STALE_SECONDS, 4)


async def nothing(*_: object) -> None:
    """Find nothing."""
