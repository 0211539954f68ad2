"""What follows from a commit follows, though something fails or dies between the two."""

import asyncio
from collections.abc import Sequence
from typing import Any

from tests.calls import ACCOUNT, DAY, NOON, PRO, UNLISTED, asynchronous, poster, snapshot
from tests.records import event, line, log
from tests.unit.pipeline.budget_world import EVERYTHING, Outbox, told
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryBudgets, MemoryProfiles
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.budget_terms import Budget
from worker.core.decoders import Decoder
from worker.core.registry import EMPTY_REGISTRY, ApplicationProfile
from worker.core.results import DeliveryResult
from worker.monitor import Monitor
from worker.pipeline import Pipeline
from worker.pipeline.budget_looks import LATER_MS
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.profiles import ProfileWatch
from worker.pipeline.suspensions import Suspensions
from worker.pipeline.usage import UsageWatch
from worker.ports import Delivery

ARN = f"arn:aws:bedrock:us-east-1:{ACCOUNT}:application-inference-profile/a1"
UNKNOWN = "application-inference-profile/a1"


class SlowProfiles(MemoryProfiles):
    """Keeps profiles only once it may."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked = asyncio.Event()
        self.may = asyncio.Event()

    async def learn(self, profiles: Sequence[ApplicationProfile]) -> Any:
        self.is_asked.set()
        await self.may.wait()
        return await super().learn(profiles)


class World:
    """What outlives a worker."""

    def __init__(self) -> None:
        self.at_ms = NOON
        self.ledger, self.outbox, self.records = MemoryLedger(), Outbox(), MemoryRecords()
        self.budgets, self.profiles = MemoryBudgets(), MemoryProfiles()

    def now_ms(self) -> int:
        return self.at_ms

    def worker(self) -> Pipeline:
        made = Pipeline(
            ledger=self.ledger,
            quarantine=MemoryQuarantine(self),
            decoder=Decoder(),
            poster=poster(),
            usage=UsageWatch(outbox=self.outbox, clock=self),
        )
        made.budgets = budgets = BudgetWatch(
            ledger=self.ledger,
            budgets=self.budgets,
            outbox=self.outbox,
            records=self.records,
            clock=self,
            registry=lambda: made.poster.registry,
        )
        made.profiles = ProfileWatch(
            ledger=self.ledger, store=self.profiles, look_later=budgets.look_later
        )
        return made

    async def monitor(self) -> None:
        """Run a monitor of another process."""
        budgets = self.worker().budgets
        assert budgets is not None
        monitor = Monitor(
            budgets=self.budgets,
            watch=budgets,
            holds=Suspensions(records=self.records, outbox=self.outbox, clock=self),
            outbox=self.outbox,
            clock=self,
            registry=lambda: EMPTY_REGISTRY,
        )
        assert await monitor.run_due()

    async def usage(self) -> list[tuple[str, str]]:
        due = [one async for some in self.outbox.due(self.at_ms + 3 * DAY) for one in some]
        return sorted(
            (one.detail_type, one.subject) for one in due if one.subject.startswith("usage/")
        )


def created() -> dict[str, Any]:
    """Return the event of a profile's creation."""
    return event(
        99,
        eventName="CreateInferenceProfile",
        requestParameters={
            "inferenceProfileName": "shop",
            "modelSource": {"copyFrom": f"arn:aws:bedrock:us-east-1::foundation-model/{PRO}"},
        },
        responseElements={"inferenceProfileArn": ARN, "status": "ACTIVE"},
    )


async def process(worker: Pipeline, record: dict[str, Any]) -> str:
    [done] = await worker.process([Delivery(line(record), "a")])
    return done.result


async def models(ledger: MemoryLedger) -> set[str]:
    return {leaf.model for leaf in await snapshot(ledger)}


@asynchronous
async def test_another_batch_does_not_forget_what_a_creation_event_told() -> None:
    world = World()
    world.profiles = slow = SlowProfiles()
    worker = world.worker()
    await process(worker, log(1, model=ARN))
    assert await models(world.ledger) == {UNKNOWN}
    creating = asyncio.create_task(process(worker, created()))
    await slow.is_asked.wait()
    await process(worker, log(2))
    slow.may.set()
    assert await creating == DeliveryResult.ACKNOWLEDGED
    assert await models(world.ledger) == {PRO}


@asynchronous
async def test_uncharged_usage_is_told_of_though_a_fault_came_after_its_commit() -> None:
    for is_new in (False, True):
        world = World()
        worker = world.worker()
        world.outbox.faults_before = 1
        assert await process(worker, log(1, model=UNLISTED)) == DeliveryResult.DEFERRED
        assert len(await snapshot(world.ledger)) == 1
        worker = world.worker() if is_new else worker
        assert await process(worker, log(1, model=UNLISTED)) == DeliveryResult.ACKNOWLEDGED
        assert await world.usage() == [("Usage Unpriced", "usage/2026-10-01")]
        puts = world.outbox.puts
        for _ in range(3):  # duplicates of what is written down cost nothing
            await process(worker, log(1, model=UNLISTED))
        assert world.outbox.puts == puts


@asynchronous
async def test_a_call_whose_log_came_is_not_told_of_for_its_event() -> None:
    world = World()
    world.outbox.faults_before = 1
    assert await process(world.worker(), event(1)) == DeliveryResult.DEFERRED
    worker = world.worker()
    await process(worker, log(1))
    await process(worker, event(1))
    assert await world.usage() == []


@asynchronous
async def test_a_model_without_a_price_is_told_of_once_a_profile_names_it() -> None:
    world = World()
    worker = world.worker()
    await process(worker, log(1, model=ARN))
    record = created()
    record["requestParameters"]["modelSource"]["copyFrom"] = UNLISTED
    await process(worker, record)
    assert await models(world.ledger) == {UNLISTED}
    subjects = [one.id for one in await world.outbox.about("usage/2026-10-01")]
    assert len(subjects) == len(set(subjects)) == 2


@asynchronous
async def test_a_look_that_failed_after_a_rebooking_is_made_when_the_event_comes_again() -> None:
    world = World()
    worker = world.worker()
    await world.budgets.put(Budget("all", EVERYTHING, limit_amount=1, period="daily"))
    await process(worker, log(1, model=ARN))
    world.at_ms += 2 * DAY
    world.outbox.faults_before = 1
    assert await process(worker, created()) == DeliveryResult.DEFERRED
    assert await models(world.ledger) == {PRO}
    assert await process(worker, created()) == DeliveryResult.ACKNOWLEDGED
    # The calls were of a day that is over by now: no other look would find it.
    found = told(await world.outbox.about("budget/all"))
    assert [one.split()[2:] for one in found] == [["2026-10-01", "late"]] * 3


@asynchronous
async def test_the_monitor_looks_at_the_budgets_of_a_worker_that_died_after_rebooking() -> None:
    world = World()
    await world.budgets.put(Budget("all", EVERYTHING, limit_amount=1, period="daily"))
    await process(world.worker(), log(1, model=ARN))
    world.outbox.faults_before = 1
    assert await process(world.worker(), created()) == DeliveryResult.DEFERRED  # and dies
    assert await models(world.ledger) == {PRO}
    assert await process(world.worker(), created()) == DeliveryResult.ACKNOWLEDGED
    world.at_ms += LATER_MS
    await world.monitor()
    found = told(await world.outbox.about("budget/all"))
    assert [one.split()[-1] for one in found] == ["pending"] * 3
