"""Tiers that change, that differ between processes, and that cannot be read."""

import msgspec
import pytest

from tests.calls import ACCOUNT, asynchronous
from tests.lifecycle import AGENT, USER, create_key, create_runtime
from tests.records import log
from tests.unit.pipeline.directory_world import TIERS, USD, World, role_log
from worker.core.directory import Given
from worker.core.enforcement_names import DIRECTORY, GIVEN
from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import DeliveryResult
from worker.core.tiers import TierBudget, Tiers
from worker.pipeline import Pipeline
from worker.pipeline.giving import TRY_AGAIN_MS
from worker.pipeline.known_tiers import (
    BACK_MS,
    FAILED_SECONDS,
    FORMER_MAX,
    TIERS_SECONDS,
    InForce,
)
from worker.ports import Record

FAULTS = [ConfigurationError("tiers: wrong"), TransientError("SSM: throttled")]


def tiers_of(usd: int) -> Tiers:
    return Tiers(
        tiers={"agents": (TierBudget("monthly", usd * USD),)}, defaults={"agent": "agents"}
    )


class Source:
    """A file or tree of parameters that somebody edits."""

    def __init__(self, now: Tiers | Exception) -> None:
        self.now = now

    async def tiers(self) -> Tiers:
        if isinstance(self.now, Exception):
            raise self.now
        return self.now


class Shared(Source):
    is_shared = True


def reading(world: World, source: Source) -> Pipeline:
    """A worker that reads its tiers from a source of its own."""
    world.source = source  # type: ignore[assignment]
    return world.worker()


async def monitor(worker: Pipeline) -> bool:
    assert worker.directory is not None
    return await worker.directory.do_due()


async def agents_budget(world: World) -> tuple[int, int]:
    """Limit in USD, and the revision."""
    [budget] = (await world.given()).values()
    return budget.limit_amount // USD, budget.revision


@asynchronous
async def test_monitors_that_read_changed_tiers_at_different_times_give_them_once() -> None:
    world, source = World(), Source(tiers_of(100))
    first, second = reading(world, source), reading(world, source)
    await world.send(first, create_runtime(9))
    await monitor(first)
    world.wait(30)
    await monitor(second)
    source.now = tiers_of(200)
    world.wait(31)
    for _ in range(4):
        await monitor(first)
        world.wait(5)
        await monitor(second)
    assert await agents_budget(world) == (200, 2)


@asynchronous
async def test_a_worker_that_still_has_old_tiers_gives_by_those_in_force() -> None:
    world, source = World(), Source(tiers_of(100))
    first, late = reading(world, source), reading(world, source)
    await world.send(first, create_runtime(9))
    await monitor(first)
    world.wait(30)
    await world.send(late, create_runtime(9))
    source.now = tiers_of(200)
    world.wait(31)
    assert await monitor(first)
    await world.send(late, create_runtime(9))
    assert await agents_budget(world) == (200, 2)


@asynchronous
async def test_processes_whose_files_differ_do_not_change_budgets_to_and_fro() -> None:
    world, old, new = World(), Source(tiers_of(100)), Source(tiers_of(200))
    first = reading(world, old)
    await world.send(first, create_runtime(9))
    await monitor(first)
    world.wait(61)
    second = reading(world, new)
    for _ in range(20):
        await monitor(second)
        await monitor(first)
        await world.send(first, create_runtime(9))
        world.wait(TIERS_SECONDS)
    assert await agents_budget(world) == (200, 2)
    assert first.directory is not None
    [fault] = first.directory.faults
    assert "older than those in force" in fault


@asynchronous
async def test_an_operator_who_goes_back_is_followed_at_once() -> None:
    world, source = World(), Source(tiers_of(100))
    worker = reading(world, source)
    await world.send(worker, create_runtime(9))
    for usd in (100, 200, 100):
        source.now = tiers_of(usd)
        world.wait(TIERS_SECONDS)
        await monitor(worker)
    assert await agents_budget(world) == (100, 3)


@pytest.mark.parametrize("kind,seconds", [(Source, BACK_MS // 1_000), (Shared, 1)])
@asynchronous
async def test_a_process_that_starts_after_the_operator_went_back_follows_too(
    kind: type[Source], seconds: int
) -> None:
    world, source = World(), kind(tiers_of(100))
    await world.send(reading(world, source), create_runtime(9))
    await monitor(reading(world, source))
    world.wait(1)
    await monitor(reading(world, Source(tiers_of(200))))
    assert await agents_budget(world) == (200, 2)
    world.wait(seconds)
    await monitor(reading(world, source))
    assert await agents_budget(world) == (100, 3)


@pytest.mark.parametrize("error", FAULTS)
@asynchronous
async def test_booking_goes_on_while_tiers_cannot_be_read_and_budgets_are_given_later(
    error: Exception,
) -> None:
    world, source = World(), Source(error)
    worker = reading(world, source)
    sent = [world.delivery(role_log(1), log(2)), world.delivery(create_runtime(9))]
    done = await worker.process(sent)
    assert [one.result for one in done] == [DeliveryResult.ACKNOWLEDGED] * 2
    assert await world.given() == {}
    with pytest.raises(type(error)):
        await monitor(worker)
    source.now = tiers_of(100)
    # What everybody is to have was given before: only what was left is to be done.
    world.wait(FAILED_SECONDS)
    await monitor(worker)
    assert await agents_budget(world) == (100, 1)
    assert [one async for one in world.records.due("giving", world.at_ms)] == []


@asynchronous
async def test_who_spends_while_tiers_cannot_be_read_gets_budgets_when_they_spend_again() -> None:
    world, source = World(), Source(FAULTS[1])
    worker = reading(world, source)
    await world.send(worker, log(1))
    source.now = msgspec.structs.replace(TIERS, on=frozenset({"first_use"}))
    world.wait(FAILED_SECONDS)
    await world.send(worker, log(2))
    assert await world.limits(USER) == {"monthly": 50}


@asynchronous
async def test_a_subject_that_cannot_be_read_holds_up_nobody_when_tiers_change() -> None:
    world, source = World(), Source(TIERS)
    worker = reading(world, source)
    names = [f"user{number:02d}" for number in range(20)]
    keys = [create_key(n, name, key_id=f"ACCA{n}") for n, name in enumerate(names, 10)]
    await world.send(worker, *keys)
    bad = f"user/{ACCOUNT}/user00a"
    assert await world.records.write([Record(DIRECTORY, bad, b"[{}]", 1)])
    locked = (TierBudget("daily", 7 * USD, period="daily", grace_seconds=0),)
    source.now = msgspec.structs.replace(TIERS, tiers={**TIERS.tiers, "locked": locked})
    world.wait(TIERS_SECONDS)
    assert worker.directory is not None
    faults = []
    while await monitor(worker):
        faults += worker.directory.faults
    limits = [one.limit_amount // USD for one in (await world.given()).values()]
    assert limits == [7] * 20
    assert [fault.partition(": ")[0] for fault in faults] == [bad]
    # Nothing else lies among what was given.
    records = await world.records.partition(GIVEN)
    assert all(msgspec.json.decode(one.body, type=Given).principal == one.name for one in records)
    # It is tried again every minute, and done once it can be.
    assert await world.records.write([Record(DIRECTORY, bad, b"[]", 2)])
    world.wait(TRY_AGAIN_MS / 1_000)
    assert not await monitor(worker)
    assert [one async for one in world.records.due("giving", world.at_ms + 10**9)] == []


def test_former_tiers_are_bounded_and_each_is_there_once() -> None:
    force = InForce("0")
    for number in [*range(1, 20), 18]:
        force = force.followed_by(str(number), number)
    assert (force.digest, len(force.former)) == ("18", FORMER_MAX)
    assert force.former[:3] == ("19", "17", "16")


@asynchronous
async def test_the_agent_of_a_later_event_gets_what_is_in_force() -> None:
    world, source = World(), Source(tiers_of(100))
    worker = reading(world, source)
    await monitor(worker)
    source.now = FAULTS[0]
    world.wait(TIERS_SECONDS)
    await world.send(worker, create_runtime(9))  # by what was read last: it is in force
    assert await world.limits(AGENT) == {"monthly": 100}
