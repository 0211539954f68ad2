"""Monitors and workers that are slow, and find that everything has changed meanwhile."""

from typing import Any

import msgspec

from tests.calls import asynchronous
from tests.unit.pipeline.budget_world import ALICE, World, spent
from worker.core.budget_terms import Scope
from worker.pipeline.budget_looks import BudgetLooks, keep_budget
from worker.ports import Record

ME = Scope("principal", ALICE)
NOW: dict[str, Any] = {"action": "suspend", "grace_seconds": 0}


async def remove(world: World, name: str) -> None:
    before = await world.budgets.find(name)
    assert before is not None
    after = msgspec.structs.replace(
        before, revision=before.revision + 1, is_removed=True, created_at_ms=world.now
    )
    assert await keep_budget(
        world.budgets, BudgetLooks(world.records, world), after, world.registry
    )


@asynchronous
async def test_a_slow_look_closes_nothing_that_a_later_revision_opened() -> None:
    """It knows the budget as removed; while it reads, the budget is set anew and exhausted."""
    world = World()
    await world.make("b", ME, 10, **NOW)
    await world.run(61)
    await remove(world, "b")
    slow, real = world.new_monitor(), world.budgets.find
    raced: list[Any] = []

    async def find(name: str) -> Any:
        found = await real(name)
        if not raced:
            raced.append(name)
            await world.make("b", ME, 10, **NOW)
            await world.wait(6)
            await world.spend(spent(1, 12))
        return found

    world.budgets.find = find  # type: ignore[method-assign]
    await slow.run_due()
    assert await world.state("b") == "grace_period"
    await world.announce()
    await world.run(5)
    assert (await world.state("b"), await world.held()) == ("suspended", ["b"])


@asynchronous
async def test_a_look_reads_the_budget_after_its_statuses() -> None:
    """Were it the other way around, what was read of the budget might be older than they are."""
    world = World()
    await world.make("b", ME, 10, **NOW)
    await world.run(61)
    await remove(world, "b")
    slow, real = world.new_monitor(), world.records.partition
    raced: list[Any] = []

    async def partition(*given: Any, **more: Any) -> list[Record]:
        if not raced:
            raced.append(given)
            await world.make("b", ME, 10, **NOW)
            await world.wait(6)
            await world.spend(spent(1, 12))
        return await real(*given, **more)

    world.records.partition = partition  # type: ignore[method-assign]
    await slow.run_due()
    assert await world.state("b") == "grace_period"
    assert (await world.status("b")).revision == 3


# --- What cannot be read -----------------------------------------------------------------------


def strange(partition: str, name: str) -> Record:
    """Return a record that a later version wrote, say."""
    return Record(partition, name, b'{"budget":{"name":"a"},"state":"paused"}', 1, "monitor", 1)


@asynchronous
async def test_what_cannot_be_read_holds_up_nothing_else_and_is_told_of() -> None:
    world = World()
    names = ("0020727", "0020727#user/111122223333/eve", "look#0020727")
    for name in names:
        assert await world.records.write([strange("t#a", name)])
    await world.make("b", ME, 10, **NOW)
    await world.spend(spent(1, 12))
    await world.announce()
    await world.wait(5)
    await world.monitor.run_due()
    await world.wait(5)
    done = await world.monitor.run_due()
    assert done.failed == 3
    assert sorted(fault.partition(": this is no ")[0] for fault in done.faults) == [
        f"record {name} of t#a" for name in names
    ]
    assert await world.held() == ["b"]
    # Somebody sees to it: nothing was lost, and nothing overwritten.
    assert await world.names("a") == sorted(names)
