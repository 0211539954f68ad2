"""Budgets are counted by their states, at the cost of those that are not active."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from tests.calls import DAY, asynchronous
from tests.unit.pipeline.budget_world import ALICE, OCTOBER, World, spent
from worker.core.budget import RECHECK_CALM_MS
from worker.core.budget_terms import Scope
from worker.core.enforcement import BudgetStatus
from worker.core.enforcement_names import QUEUE_MONITOR
from worker.core.errors import TransientError
from worker.core.registry import PrincipalFact, Registry
from worker.pipeline.budget_census import CENSUS_SECONDS, BudgetCensus
from worker.pipeline.budget_states import record_of
from worker.pipeline.budgets import BudgetWatch
from worker.ports import Record

GRACE = 7_200
PERSON = Scope("principal", ALICE)
SUSPEND: dict[str, Any] = {"action": "suspend", "grace_seconds": GRACE}
NONE = {"active": 0, "warning": 0, "critical": 0, "grace_period": 0, "suspended": 0}


def census_of(world: World, watch: BudgetWatch | None = None) -> BudgetCensus:
    """Return the census of a process that does nothing else, unless it has a watch."""
    return BudgetCensus(
        watch=watch or world.new_watch(),
        records=world.records,
        clock=world,
        monotonic=lambda: world.seconds,
    )


@asynchronous
async def test_each_budget_is_counted_in_the_state_that_it_is_in() -> None:
    world = World()
    census = census_of(world)
    assert await census.count() == NONE
    for name, limit, more in (
        ("untouched", 1_000, {"period": "daily"}),
        ("fine", 1_000, {}),
        ("warned", 70, {}),
        ("near", 55, {}),
        ("exceeded", 20, {}),
        ("graced", 40, SUSPEND),
        ("held", 30, {"action": "suspend"}),
        ("rolling", 10, {"period": "rolling-7-day", **SUSPEND}),
    ):
        scope = Scope("principal", "user/111122223333/bob") if name == "untouched" else PERSON
        await world.make(name, scope, limit, **more)
    await world.spend(spent(1, 50))
    await world.announce()
    await world.run()
    await world.run(10)
    names = ("fine", "warned", "near", "exceeded", "held")
    assert {name: await world.state_or_none(name) for name in names} == {
        "fine": None,
        "warned": "warning",
        "near": "critical",
        "exceeded": "critical",
        "held": "suspended",
    }
    world.seconds += 10
    expected = {"active": 2, "warning": 1, "critical": 2, "grace_period": 2, "suspended": 1}
    assert await census.count() == expected
    # As another process sees it that has just begun, and hours later.
    assert await census_of(world).count() == expected
    for _ in range(6):
        await world.run(1_100)
    assert await census.count() == expected
    await world.run(1_100)
    assert await census.count() == {**expected, "grace_period": 0, "suspended": 3}


@asynchronous
async def test_removed_budgets_and_former_periods_are_not_counted() -> None:
    world = World()
    census = census_of(world)
    for name in ("daily", "gone"):
        await world.make(name, PERSON, 10, period="daily", **SUSPEND)
    await world.spend(spent(1, 50))
    assert await census.count() == {**NONE, "grace_period": 2}
    await world.make("gone", PERSON, 10, period="daily", is_removed=True)
    await world.wait(10)
    assert await census.count() == {**NONE, "grace_period": 1}
    # Nobody has closed the day yet, and it is over all the same.
    await world.wait(DAY / 1_000)
    assert await census.count() == {**NONE, "active": 1}
    await world.run()
    assert await census.count() == {**NONE, "active": 1}


@asynchronous
async def test_of_a_budget_in_two_periods_the_worse_counts() -> None:
    world = World()
    await world.make("a", PERSON, 10)
    for day, state in ((OCTOBER, "suspended"), (OCTOBER + 1, "warning")):
        status = BudgetStatus(
            "a",
            1,
            day,
            world.now + DAY,
            state=state,  # type: ignore[arg-type]  # each is one
            checked_at_ms=world.now,
            version=1,
        )
        assert await world.records.write([record_of(status)])
    assert await census_of(world).count() == {**NONE, "suspended": 1}


@asynchronous
async def test_what_cannot_be_read_is_left_out() -> None:
    world = World()
    for name in ("a", "b"):
        await world.make(name, PERSON, 10, **SUSPEND)
    await world.spend(spent(1, 50))
    [record] = [one for one in await world.records.partition("t#a") if "look" not in one.name]
    broken = msgspec.structs.replace(record, body=b"[]", version=record.version + 1)
    assert await world.records.write([broken])
    assert await census_of(world).count() == {**NONE, "active": 1, "grace_period": 1}


@asynchronous
async def test_members_of_groups_are_no_budgets() -> None:
    teams = Registry(principals=(PrincipalFact(match="user/111122223333/*", team="research"),))
    world = World(teams)
    await world.make("team", Scope("team", "research"), 10, **SUSPEND)
    await world.spend(spent(1, 50), spent(2, 1))
    assert any("#" in name.removeprefix("look#") for name in await world.names("team"))
    assert await census_of(world).count() == {**NONE, "grace_period": 1}


@asynchronous
async def test_active_budgets_cost_nothing_beyond_knowing_them() -> None:
    world = World()
    for number in range(300):
        await world.make(f"n{number}", PERSON, 100_000 + number)
    await world.make("warned", PERSON, 70)
    await world.spend(spent(1, 50))
    for _ in range(3):
        await world.run(100)  # looks at new budgets are had
    found: list[Record] = []
    due = world.records.due

    async def counted(
        queue: str, until_ms: int, *, from_ms: int = 0
    ) -> AsyncIterator[Sequence[Record]]:
        assert queue == QUEUE_MONITOR
        async for some in due(queue, until_ms, from_ms=from_ms):
            found.extend(some)
            yield some

    census = census_of(world, world.watch)
    reads = await world.count_reads()
    world.records.requests.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.records, "due", counted)
        assert await census.count() == {**NONE, "active": 300, "warning": 1}
    assert [one.partition for one in found] == ["t#warned"]
    assert not world.records.requests
    assert reads["changed"] == 1, "of what changed alone, through an index"
    assert not reads["find"]


@asynchronous
async def test_it_counts_every_five_minutes_and_again_at_once_where_that_failed() -> None:
    world = World()
    await world.make("a", PERSON, 1_000)
    census = census_of(world)
    assert await census.count_due() == {**NONE, "active": 1}
    assert await census.count_due() is None
    await world.wait(CENSUS_SECONDS - 1)
    assert await census.count_due() is None
    await world.wait(1)

    async def down(*_: Any) -> Any:
        raise TransientError("throttled")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(world.budgets, "changed", down)
        with pytest.raises(TransientError):
            await census.count_due()
    assert await census.count_due() == {**NONE, "active": 1}
    assert await census.count_due() is None


@asynchronous
async def test_counting_takes_no_look_away_from_a_worker_that_books() -> None:
    """A budget that is made while calls are looked at is owed a look, whoever asks first."""
    world = World()
    census = census_of(world, world.watch)
    await world.make("old", PERSON, 1_000)
    await world.spend(spent(1, 50))
    await world.make("new", PERSON, 10, **SUSPEND)
    world.seconds += 10
    assert (await census.count())["active"] == 2
    await world.spend(spent(2, 1, user="bob"))
    assert await world.state("new") == "grace_period"


def test_whatever_is_not_active_is_due_for_the_census() -> None:
    """It relies on it: a status that nobody looks at again would never be counted."""

    async def listed(status: BudgetStatus) -> bool:
        world = World()
        assert await world.records.write([record_of(status)])
        due = world.records.due(QUEUE_MONITOR, world.now + RECHECK_CALM_MS)
        return bool([one async for some in due for one in some])

    world = World()
    for state in ("warning", "critical", "grace_period", "suspended"):
        for first_day in (0, OCTOBER):
            for more in ({}, {"is_held": True}, {"deadline_ms": world.now + DAY}):
                status = BudgetStatus(
                    "a",
                    1,
                    first_day,
                    world.now + 30 * DAY,
                    state=state,
                    changed_at_ms=world.now,
                    checked_at_ms=world.now,
                    version=1,
                )
                status = msgspec.structs.replace(status, **more)
                assert asyncio.run(listed(status)), status
