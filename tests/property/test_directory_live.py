"""Whatever workers do, and whenever they die, booked calls end up as a fresh replay has them."""

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import NOON
from tests.lifecycle import (
    OTHER_ROLE_ARN,
    ROLE_ARN,
    create_runtime,
    create_user,
    delete_runtime,
    delete_user,
    tag_user,
    update_runtime,
)
from tests.records import log
from tests.unit.pipeline.directory_world import TIERS, World, role_log
from worker.adapters.memory_records import MemoryRecords
from worker.core.directory import decode_subject
from worker.core.directory_views import view_of
from worker.core.enforcement_names import DIRECTORY
from worker.core.errors import TransientError
from worker.core.results import DeliveryResult
from worker.core.tiers import tier_of
from worker.pipeline import Pipeline
from worker.pipeline.directory import REFRESH_SECONDS
from worker.pipeline.giving import subject_of
from worker.pipeline.rechecks import STALE_SECONDS
from worker.ports import Delivery, Record

SECOND = 1_000
SCRIBE = "scribe-f6g7h8i9j0"


class Faulty(MemoryRecords):
    """Fails some writes, before or after they are made."""

    def __init__(self, faults: Sequence[int]) -> None:
        super().__init__()
        self.faults = list(faults)

    async def write(self, records: Sequence[Record]) -> bool:
        fault = self.faults.pop() if self.faults else 0
        if fault == 1:
            raise TransientError("throttled")
        done = await super().write(records)
        if fault == 2:
            raise TransientError("connection reset")
        return done


def lifecycle(number: int, second: int) -> dict[str, Any]:  # noqa: PLR0911 - one for each kind
    """Event `number`, of nine kinds."""
    at_ms = NOON + second * SECOND
    match number % 9:
        case 0:
            return create_runtime(number, at_ms=at_ms)
        case 1:
            return update_runtime(number, role=OTHER_ROLE_ARN, at_ms=at_ms)
        case 2:
            return create_runtime(number, SCRIBE, OTHER_ROLE_ARN, at_ms=at_ms)
        case 3:
            return update_runtime(number, SCRIBE, ROLE_ARN, at_ms=at_ms)
        case 4:
            return delete_runtime(number, at_ms=at_ms)
        case 5:
            return create_user(number, unique_id=f"AIDA{number}", at_ms=at_ms)
        case 6:
            return delete_user(number, at_ms=at_ms)
        case 7:
            return tag_user(number, {"ledgerock:team": f"team{number % 2}"}, at_ms=at_ms)
        case _:
            return tag_user(number, {"ledgerock:tier": "gold"}, at_ms=at_ms)


def called(number: int, second: int) -> dict[str, Any]:
    at_ms = NOON + second * SECOND
    if number % 3 == 0:
        return log(number, at_ms=at_ms)
    return role_log(number, ("scout-role", "scribe-role")[number % 3 - 1], at_ms=at_ms)


STEP = st.tuples(
    st.sampled_from(["call", "event", "both", "restart", "wait"]),
    st.integers(0, 26),
    st.integers(0, 20),
    st.integers(0, 2),
)


async def settled(world: World, worker: Pipeline, delivery: Delivery) -> bool:
    [done] = await worker.process([delivery])
    return done.result is DeliveryResult.ACKNOWLEDGED


async def live(world: World, steps: Sequence[tuple[str, int, int, int]]) -> list[dict[str, Any]]:
    """Have workers do some steps; return all records that were sent."""
    workers = [world.worker() for _ in range(3)]
    again: list[Delivery] = []
    sent: list[dict[str, Any]] = []
    # One event says one thing, however often it comes: each happens at one time.
    times: dict[int, int] = {}
    for kind, number, second, place in steps:
        if kind == "restart":
            workers[place] = world.worker()
        elif kind == "wait":
            world.wait(1.0 + second % 7)
        else:
            records = [called(number, second)] if kind in {"call", "both"} else []
            records += (
                [lifecycle(number, times.setdefault(number, second))]
                if kind in {"event", "both"}
                else []
            )
            sent += records
            delivery = world.delivery(*records)
            if not await settled(world, workers[place], delivery):
                again.append(delivery)
                workers[place] = world.worker()  # it died over it
    for _ in range(25):
        again = [one for one in again if not await settled(world, workers[0], one)]
    assert not again
    for _ in range(3):
        world.wait(STALE_SECONDS + REFRESH_SECONDS)
        for worker in workers:
            await worker.keep_up()
    return sent


async def assert_budgets(world: World, fresh: World) -> None:
    """Whoever matters has the budgets of its tier, and nobody any who is gone.

    Who was given some keeps them though it matters no more, so that there may be others; where
    facts were heard of in another order, they were never given.
    """
    given, wanted = await world.given(), await fresh.given()
    for name, budget in wanted.items():
        record = await fresh.records.get(DIRECTORY, subject_of(budget.scope.id))
        assert record is not None
        if name in given or tier_of(view_of(decode_subject(record.name, record.body)), TIERS):
            assert given[name].limit_amount == budget.limit_amount
    for budget in given.values():
        subject = subject_of(budget.scope.id)
        record = await world.records.get(DIRECTORY, subject)
        assert record is not None
        view = view_of(decode_subject(subject, record.body))
        assert view.is_alive(budget.scope.id)


@settings(max_examples=3 * settings().max_examples)
@given(
    st.lists(STEP, min_size=4, max_size=25),
    st.lists(st.sampled_from([0, 0, 0, 0, 1, 2]), max_size=20),
)
def test_live_books_are_those_of_a_fresh_replay(
    steps: list[tuple[str, int, int, int]], faults: list[int]
) -> None:
    async def run() -> None:
        world = World()
        world.records = Faulty(faults)
        sent = await live(world, steps)
        fresh = World()
        worker = fresh.worker()
        # Events first, calls afterwards: nothing is ever late.
        ordered = sorted(sent, key=lambda record: "eventName" not in record)
        for start in range(0, len(ordered), 5):
            await fresh.send(worker, *ordered[start : start + 5])
        for by in ("principal", "identity", "agent", "team"):
            assert await world.costs(by) == await fresh.costs(by), by
        await assert_budgets(world, fresh)

    asyncio.run(run())
