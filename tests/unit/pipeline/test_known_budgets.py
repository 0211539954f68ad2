"""What changes of budgets is known within seconds, and read once."""

from collections.abc import Mapping

from tests.calls import asynchronous
from tests.unit.pipeline.budget_world import ALICE, CENT, World, spent
from worker.core.budget_terms import Budget, Scope
from worker.pipeline.budget_looks import BudgetLooks, keep_budget
from worker.pipeline.known_budgets import FURTHER_SECONDS, REFRESH_SECONDS

ME = Scope("principal", ALICE)


class Slow:
    """A clock that is behind."""

    def __init__(self, world: World, seconds: int) -> None:
        self._world, self._ms = world, seconds * 1_000

    def now_ms(self) -> int:
        return self._world.now - self._ms


@asynchronous
async def test_a_budget_that_is_set_on_a_machine_whose_clock_is_slow_is_known_soon() -> None:
    world = World()
    await world.spend(spent(1))
    for number, minutes in enumerate((1, 3, 10)):
        await world.wait(60)
        clock = Slow(world, 60 * minutes)
        made = Budget(f"b{minutes}", ME, 2 * CENT + number * CENT, created_at_ms=clock.now_ms())
        looks = BudgetLooks(world.records, clock)
        assert await keep_budget(world.budgets, looks, made, world.registry)
        found: list[str] = []
        for step in range(int(FURTHER_SECONDS // REFRESH_SECONDS) + 1):
            await world.wait(REFRESH_SECONDS)
            found += await world.spend(spent(10 + number * 100 + step))
        assert any(one.startswith(f"b{minutes}.1") for one in found)


@asynchronous
async def test_budgets_that_changed_are_read_once() -> None:
    world = World()
    await world.spend(spent(1))
    for number in range(50):
        await world.make(f"b{number}", Scope("principal", f"user/111122223333/u{number}"), 10)
    real = world.budgets.changed
    read: list[int] = []

    async def changed(since_ms: int, known: Mapping[str, Budget] | None = None) -> list[Budget]:
        found = await real(since_ms, known)
        read.append(len(found))
        return found

    world.budgets.changed = changed  # type: ignore[method-assign]
    for number in range(24):
        await world.wait(REFRESH_SECONDS)
        await world.spend(spent(100 + number))
    assert (sum(read), len(read)) == (50, 24)
    # Two revisions of the same instant are two changes.
    await world.make("b7", ME, 1)
    await world.wait(REFRESH_SECONDS)
    assert "b7.2 100 2026-10-01 pending" in await world.spend(spent(200))
