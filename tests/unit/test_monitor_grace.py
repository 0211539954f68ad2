"""People are told of grace periods that are served, and of no others."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from tests.calls import asynchronous
from tests.events import checked_all
from tests.unit.pipeline.budget_world import ALICE, World, spent
from worker.adapters.memory_bus import MemoryBus
from worker.announcer import Announcer
from worker.core.budget_terms import Scope
from worker.core.errors import TransientError
from worker.core.events import BUDGET_GRACE_STARTED
from worker.pipeline.budget_states import is_in_grace
from worker.ports import Notice, NoticeState

GRACE = 600
ME = Scope("principal", ALICE)
SUSPEND: dict[str, Any] = {"action": "suspend", "grace_seconds": GRACE}


class Announcing(World):
    """A world with an announcer of its own, and a bus."""

    def __init__(self) -> None:
        super().__init__()
        self.bus = MemoryBus()
        self.announcer = Announcer(
            self.outbox, self.bus, self, in_grace=partial(is_in_grace, self.records)
        )

    async def graces(self) -> list[dict[str, Any]]:
        """Announce what is due; return the grace periods that people were told of by now."""
        assert not (await self.announcer.announce_due()).faults
        return checked_all(
            one for one in self.bus.events if one.detail_type == BUDGET_GRACE_STARTED
        )


async def exhausted(**more: Any) -> Announcing:
    world = Announcing()
    await world.make("b", ME, 10, **(SUSPEND | more))
    await world.spend(spent(1, 12))
    return world


@asynchronous
@pytest.mark.parametrize("period", ["monthly", "rolling-7-day"])
async def test_a_grace_period_that_is_served_is_announced(period: str) -> None:
    world = await exhausted(period=period)
    [told] = await world.graces()
    await world.run(5)
    assert not await world.held()
    await world.run(GRACE)
    assert (told["grace_seconds"], await world.held()) == (GRACE, ["b"])


@asynchronous
async def test_a_grace_period_that_is_over_is_announced_to_nobody() -> None:
    """The bus is down; the limit is raised; the bus is back."""
    world = await exhausted()
    await world.make("b", ME, 1_000, **SUSPEND)
    await world.run(1)
    assert await world.state("b") == "active"
    assert await world.graces() == []
    [kept] = [one for one in await world.outbox.about("budget/b") if "Grace" in one.detail_type]
    assert kept.state == "lapsed"


@asynchronous
async def test_nor_is_one_whose_end_nobody_wrote_into_the_outbox() -> None:
    world = await exhausted()
    await world.make("b", ME, 1_000, **SUSPEND)
    real = world.outbox.settle

    async def down(
        notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None = None
    ) -> bool:
        del notice, state, at_ms, detail
        raise TransientError("the process ends here")

    world.outbox.settle = down  # type: ignore[method-assign]
    await world.wait(1)
    await world.monitor.run_due()
    assert await world.state("b") == "active"
    world.outbox.settle = real  # type: ignore[method-assign]
    assert await world.graces() == []
    # It is tried in vain once and for all.
    assert BUDGET_GRACE_STARTED not in await pending(world)


async def pending(world: World) -> Sequence[str]:
    return [one.detail_type async for some in world.outbox.due(world.now) for one in some]


@asynchronous
async def test_one_that_is_over_and_begins_again_is_announced_then() -> None:
    """A correction takes the spend down before anybody was told, and new calls take it up."""
    world = await exhausted()
    await world.watch.look(await world.correct())
    assert await world.state("b") == "active"
    assert await world.graces() == []
    await world.wait(60)
    await world.spend(spent(2, 12))
    assert await world.state("b") == "grace_period"
    await world.run(1)
    [told] = await world.graces()
    assert told["recorded_at"] == "2026-10-01T12:01:01.000Z"
    await world.run(1)
    await world.run(GRACE - 2)
    assert not await world.held()
    await world.run(1)
    assert await world.held() == ["b"]
    assert len(await world.graces()) == 1
