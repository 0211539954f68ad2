"""Faults around a commit: of the quarantine, of the profiles, of a ledger that refuses a call."""

from typing import Any

import pytest

from tests.calls import PRO, asynchronous, entries, snapshot
from tests.records import line, log, poison
from tests.unit.pipeline.budget_world import EVERYTHING
from tests.unit.pipeline.test_after import ARN, UNKNOWN, World, models, process
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_state import MemoryProfiles
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.batch import Batch
from worker.core.budget_terms import Budget
from worker.core.errors import ConfigurationError, RefusedError, TransientError
from worker.core.posting import Poster
from worker.core.registry import ApplicationProfile
from worker.core.results import DeliveryResult
from worker.pipeline.profiles import ASK_AGAIN_SECONDS, ProfileWatch
from worker.ports import Committed, Delivery

DOLLAR = 10**12
SHOP = ApplicationProfile(arn=ARN, model=PRO, application="shop")


class Answers:
    """AWS, asked for profiles."""

    def __init__(self, *answers: ApplicationProfile | Exception) -> None:
        self.answers = list(answers)

    async def profile(self, _arn: str) -> ApplicationProfile | None:
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def close(self) -> None:
        pass


class Unreadable(MemoryProfiles):
    """Cannot be read."""

    async def profiles(self) -> list[ApplicationProfile]:
        raise TransientError("throttled")


class Refusing(MemoryLedger):
    """Books a batch, and refuses a call of it, as a ledger of several transactions may."""

    async def commit(self, batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        await super().commit(batch, poster, touched=touched)
        raise RefusedError("one call is too large")


class Broken(MemoryQuarantine):
    """Fails until it is mended."""

    fault: Exception | None = None

    async def put(self, records: Any) -> list[str]:
        if self.fault is not None:
            raise self.fault
        return await super().put(records)


@asynchronous
async def test_calls_that_waited_are_rebooked_when_a_later_call_finds_out_their_profile() -> None:
    world = World()
    at = 0.0
    worker = world.worker()
    worker.profiles = ProfileWatch(
        ledger=world.ledger,
        store=world.profiles,
        source=Answers(TransientError("throttled"), SHOP),
        monotonic=lambda: at,
    )
    await process(worker, log(1, model=ARN))
    assert await models(world.ledger) == {UNKNOWN}
    at = ASK_AGAIN_SECONDS
    await process(worker, log(2, model=ARN))
    assert await models(world.ledger) == {PRO}


@asynchronous
async def test_profiles_that_cannot_be_looked_up_hold_up_no_booking_of_others() -> None:
    world = World()
    world.profiles = Unreadable()
    worker = world.worker()
    # After its commit it is asked again, and then it is a fault that everybody hears of.
    assert await process(worker, log(1, model=ARN)) == DeliveryResult.DEFERRED
    assert "throttled" in worker.fault
    assert len(await entries(world.ledger)) == 1


@asynchronous
async def test_budgets_are_looked_at_though_the_ledger_refused_a_call() -> None:
    world = World()
    world.ledger = Refusing()
    await world.budgets.put(Budget(name="all", scope=EVERYTHING, limit_amount=DOLLAR // 1_000))
    with pytest.raises(RefusedError):
        await process(world.worker(), log(1))
    crossed = await world.outbox.about("budget/all")
    assert len(crossed) == 3


@pytest.mark.parametrize(
    "fault", [TransientError("SlowDown"), ConfigurationError("no such bucket")], ids=str
)
@asynchronous
async def test_a_quarantine_that_fails_holds_up_poison_alone_and_nobody_hears_of_it(
    fault: Exception,
) -> None:
    world = World()
    worker = world.worker()
    worker.quarantine = broken = Broken(world)
    broken.fault = fault
    for _ in range(3):
        ended = await worker.process([Delivery(line(log(1)), "a"), Delivery(line(poison(2)), "b")])
        assert [one.result for one in ended] == [
            DeliveryResult.ACKNOWLEDGED,
            DeliveryResult.DEFERRED,
        ]
    assert len(await snapshot(world.ledger)) == 1
    assert await world.usage() == []
    # That the ledger answers says nothing of the quarantine.
    await worker.probe()
    assert str(fault) in worker.fault
    broken.fault = None
    assert await process(worker, poison(2)) == DeliveryResult.QUARANTINED
    assert worker.fault == ""
    assert [kind for kind, _ in await world.usage()] == ["Usage Quarantined"]
