"""A hold that a person lifted although its budget is exceeded: for how long that lasts."""

from typing import Any

import pytest

from tests.calls import DAY, asynchronous
from tests.unit.pipeline.budget_world import ALICE, OCTOBER, World, spent
from worker.core.budget_terms import Scope

PERSON = Scope("principal", ALICE)
SUSPEND: dict[str, Any] = {"action": "suspend", "period": "daily"}


async def waived() -> World:
    """Return a world in which Alice is over her daily budget, and a person let her go on."""
    world = World()
    await world.make("a", PERSON, 10, **SUSPEND)
    await world.spend(spent(1, 50))
    await world.announce()
    await world.run()
    assert await world.held() == ["a"]
    [hold] = (await world.suspensions.get(ALICE)).holds
    assert (hold.limit_amount, hold.spent_amount) == (10 * 10**10, 50 * 10**10)
    assert await world.suspensions.lift(ALICE, "a", hold.first_day, waive=True, by="carol")
    return world


@asynchronous
async def test_a_waived_hold_stays_lifted_however_much_more_is_spent() -> None:
    world = await waived()
    await world.spend(spent(2, 500))
    for _ in range(5):
        await world.run(600)
    assert await world.held() == []


@pytest.mark.parametrize("cents, held", [(20, ["a"]), (600, [])])
@asynchronous
async def test_a_new_revision_that_is_exceeded_as_well_holds_anew(
    cents: int, held: list[str]
) -> None:
    world = await waived()
    await world.make("a", PERSON, cents, **SUSPEND)
    await world.spend(spent(2))
    for _ in range(3):
        await world.run(60)
    assert await world.held() == held


@asynchronous
async def test_in_the_next_period_the_same_revision_holds_again() -> None:
    world = await waived()
    await world.run(DAY / 1_000)
    await world.spend(spent(3, 50, at_ms=world.now))
    await world.announce()
    await world.run()
    [hold] = (await world.suspensions.get(ALICE)).holds
    assert hold.first_day == OCTOBER + 1
