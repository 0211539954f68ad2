"""Workers in this process: sources, ledger and bus in memory, a clock that is set."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.calls import NOON, poster
from tests.records import line, log
from worker.adapters.memory_bus import MemoryBus
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_source import MemorySource
from worker.adapters.memory_state import MemoryBudgets, MemoryOutbox
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.adapters.telling_outbox import TellingOutbox
from worker.announcer import Announcer, Teller
from worker.core.batch import Batch
from worker.core.budget_terms import Budget, Scope
from worker.core.decoders import Decoder
from worker.core.errors import TransientError
from worker.core.posting import Poster
from worker.pipeline import Pipeline
from worker.pipeline.budgets import BudgetWatch
from worker.ports import BusEvent, Channel, Committed, Processed
from worker.runtime import announcing, working
from worker.runtime.worker import Worker
from worker.settings import WorkerSettings

WAIT_SECONDS: Final = 20
"""How long anything may take before a test fails."""


class Hand:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at_ms = NOON

    def now_ms(self) -> int:
        return self.at_ms


class SlowLedger(MemoryLedger):
    """Commits when it is let, and fails as often as asked."""

    def __init__(self) -> None:
        super().__init__()
        self.let = asyncio.Event()
        self.let.set()
        self.faults: list[Exception] = []
        self.waiting = 0

    async def commit(self, batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        self.waiting += 1
        await self.let.wait()
        self.waiting -= 1
        if self.faults:
            raise self.faults.pop(0)
        return await super().commit(batch, poster, touched=touched)


class Bus(MemoryBus):
    """Is down for as long as asked."""

    is_down = False

    async def publish(self, events: Sequence[BusEvent]) -> list[str]:
        if self.is_down:
            raise TransientError("the bus is down")
        return await super().publish(events)


class Source(MemorySource):
    """Notes what is asked of it."""

    def __init__(self, clock: Hand, **options: Any) -> None:
        super().__init__(clock, poll_seconds=0.02, **options)
        self.polls = 0
        self.extended: list[str] = []
        self.deferred: list[str] = []
        self.faults: list[Exception] = []
        self.is_closed = False

    async def receive(self) -> Any:
        self.polls += 1
        if self.faults:
            raise self.faults.pop(0)
        return await super().receive()

    async def extend(self, receipts: Sequence[str]) -> None:
        self.extended += receipts
        await super().extend(receipts)

    async def settle(self, processed: Sequence[Processed]) -> None:
        self.deferred += [one.reason for one in processed if one.result == "Deferred"]
        await super().settle(processed)

    async def close(self) -> None:
        self.is_closed = True


class Made:
    """A worker and all its parts."""

    def __init__(self, **settings: Any) -> None:
        burst = settings.pop("burst", False)
        channels: Sequence[Channel] = settings.pop("channels", ())
        self.clock = Hand()
        self.ledger = SlowLedger()
        self.source = Source(self.clock)
        self.bus = Bus()
        self.outbox = TellingOutbox(MemoryOutbox())
        self.budgets = MemoryBudgets()
        self.pipeline = Pipeline(
            ledger=self.ledger,
            quarantine=MemoryQuarantine(self.clock),
            decoder=Decoder(),
            poster=poster(),
        )
        watch = BudgetWatch(
            ledger=self.ledger,
            budgets=self.budgets,
            outbox=self.outbox,
            records=MemoryRecords(),
            clock=self.clock,
            registry=lambda: self.pipeline.poster.registry,
        )
        self.pipeline.budgets = watch
        names = [one.name for one in channels]
        records = MemoryRecords()
        values = {"linger_ms": 5, "receivers": 2, "http_port": 0, **settings}
        self.worker = Worker(
            books=self.pipeline,
            sources=[self.source],
            settings=WorkerSettings(**values),
            clock=self.clock,
            announcer=Announcer(self.outbox, self.bus, self.clock, self.ledger, channels=names),
            tellers={one.name: Teller(self.outbox, one, records, self.clock) for one in channels},
            burst=burst,
        )
        self.outbox.tell = self.worker.announcing.tell

    async def set_budget(self, limit_amount: int = 1) -> None:
        kept = await self.budgets.put(
            Budget(name="all", scope=Scope("everything"), limit_amount=limit_amount)
        )
        assert kept

    def send(self, numbers: Sequence[int], group: str = "") -> None:
        for number in numbers:
            self.source.send(line(log(number)), group=group)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():  # noqa: ASYNC110 - of anything
                await asyncio.sleep(0.002)

    async def calls(self) -> int:
        return sum(amounts.calls for _, amounts in await self.ledger.balances())

    def sample(self, name: str, **labels: str) -> float:
        """Return a sample of the metrics as Prometheus would read it; 0 if there is none."""
        text = (self.worker.metrics() or b"").decode()
        return sum(
            one.value
            for family in text_string_to_metric_families(text)
            for one in family.samples
            if one.name == f"ledgerock_{name}" and one.labels == labels
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator["asyncio.Task[int]"]:
        """Run the worker; at the end it drains."""
        task = asyncio.ensure_future(self.worker.run())
        try:
            yield task
            if not task.done():
                self.worker.stop()
            async with asyncio.timeout(WAIT_SECONDS):
                await task
        finally:
            if not task.done():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)


def make_impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses that only keep real services from being asked too often."""
    monkeypatch.setattr(working, "PAUSE_LAST_SECONDS", 0.01)
    monkeypatch.setattr("worker.runtime.receiving.BACKOFF_LAST_SECONDS", 0.01)
    monkeypatch.setattr("worker.runtime.receiving.BREAKER_LOOK_SECONDS", 0.01)
    monkeypatch.setattr("worker.runtime.worker.LOOK_SECONDS", 0.05)
    monkeypatch.setattr(announcing, "ROUND_SECONDS", 0.02)
    monkeypatch.setattr(announcing, "BACKOFF_LAST_SECONDS", 0.02)
