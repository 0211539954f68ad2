"""A ledger with budgets on it, at a time that a test sets, counting what is read and written."""

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import msgspec

from tests.calls import NOON, PRO, book, call, poster
from tests.events import checked
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryBudgets, MemoryOutbox
from worker.core.budget_events import regraced
from worker.core.budget_terms import Budget, Scope, ScopeDays
from worker.core.enforcement import BudgetStatus
from worker.core.errors import TransientError
from worker.core.evidence import Counts, Observation
from worker.core.ledger import Leaf
from worker.core.registry import EMPTY_REGISTRY, Registry
from worker.core.spend import Spend
from worker.core.suspension_events import principal_subject
from worker.monitor import Monitor, Monitored
from worker.pipeline.budget_looks import BudgetLooks, keep_budget
from worker.pipeline.budget_states import status_of
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.suspensions import Suspensions
from worker.ports import Notice, Rebooking, Record

ALICE = "user/111122223333/alice"
EVERYTHING = Scope("everything")
OCTOBER = 20_727
"""2026-10-01, in days since 1970-01-01."""
CENT = 10**10
"""One cent in pico-USD; a call of `spent` costs one."""


def spent(number: int, cents: int = 1, **more: Any) -> Observation:
    """Return a call of Nova Pro that costs so many cents: 12,500 input tokens each."""
    return call(number, Counts(12_500 * cents, 0), model=PRO, **more)


class Counting(MemoryLedger):
    """Counts reads, and what they ask for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[ScopeDays]] = []

    async def spend(self, ranges: Sequence[ScopeDays]) -> list[Spend]:
        self.asked.append(list(ranges))
        return await super().spend(ranges)


class CountingRecords(MemoryRecords):
    """Counts requests, by kind."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: Counter[str] = Counter()

    async def get(self, partition: str, name: str) -> Record | None:
        self.requests["get"] += 1
        return await super().get(partition, name)

    async def get_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        self.requests["get_many"] += 1
        return await super().get_many(keys)

    async def partition(
        self, partition: str, beginning: str = "", *, after: str = "", limit: int | None = None
    ) -> list[Record]:
        self.requests["partition"] += 1
        return await super().partition(partition, beginning, after=after, limit=limit)

    async def write(self, records: Sequence[Record]) -> bool:
        self.requests["write"] += 1
        return await super().write(records)

    async def remove(self, record: Record) -> bool:
        self.requests["remove"] += 1
        return await super().remove(record)


class Outbox(MemoryOutbox):
    """Counts writes; fails as often as it is told to, before or after it wrote."""

    def __init__(self) -> None:
        super().__init__()
        self.puts = 0
        self.faults_before = 0
        self.faults_after = 0

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        self.puts += 1
        if self.faults_before:
            self.faults_before -= 1
            raise TransientError("throttled")
        new = await super().put(notices)
        if self.faults_after:
            self.faults_after -= 1
            raise TransientError("connection reset")
        return new


class World:
    """A ledger, its budgets and their watch, at a time that a test sets."""

    def __init__(self, registry: Registry = EMPTY_REGISTRY, *, late_only: bool = False) -> None:
        self.now = NOON
        self.seconds = 0.0
        self.registry = registry
        self.poster = poster(registry=registry)
        self.ledger = Counting()
        self.budgets = MemoryBudgets()
        self.outbox = Outbox()
        self.records = CountingRecords()
        self.suspensions = Suspensions(records=self.records, outbox=self.outbox, clock=self)
        self.watch = self.new_watch(late_only=late_only)
        self.monitor = self.new_monitor()

    def now_ms(self) -> int:
        return self.now

    def new_watch(self, *, late_only: bool = False) -> BudgetWatch:
        return BudgetWatch(
            ledger=self.ledger,
            budgets=self.budgets,
            outbox=self.outbox,
            records=self.records,
            clock=self,
            registry=lambda: self.registry,
            late_only=late_only,
            monotonic=lambda: self.seconds,
        )

    def new_monitor(self) -> Monitor:
        return Monitor(
            budgets=self.budgets,
            watch=self.new_watch(),
            holds=self.suspensions,
            outbox=self.outbox,
            clock=self,
            registry=lambda: self.registry,
        )

    async def make(self, name: str, scope: Scope, cents: int, **more: Any) -> Budget:
        """Set a budget, as everybody does."""
        before = await self.budgets.find(name)
        revision = 1 if before is None else before.revision + 1
        limit = cents * CENT if more.get("unit", "usd") == "usd" else cents
        made = Budget(name, scope, limit, revision=revision, created_at_ms=self.now, **more)
        assert await keep_budget(self.budgets, BudgetLooks(self.records, self), made, self.registry)
        return made

    async def wait(self, seconds: float) -> None:
        self.now += int(seconds * 1_000)
        self.seconds += seconds

    async def run(self, seconds: float = 0) -> Monitored:
        """Let time pass, and have the monitor do what is due; return what it did."""
        await self.wait(seconds)
        done = await self.monitor.run_due()
        assert not done.faults
        return done

    async def announce(self) -> list[str]:
        """Announce what is pending; return the detail types."""
        due = [one async for some in self.outbox.due(self.now) for one in some]
        for notice in due:
            detail = None
            if notice.detail_type == "Budget Grace Period Started":
                detail = regraced(bytes(notice.detail), self.now)
            checked(notice.detail_type, detail or bytes(notice.detail))
            assert await self.outbox.settle(notice, "announced", self.now, detail)
        return [one.detail_type for one in due]

    async def status(self, name: str, first_day: int = OCTOBER) -> BudgetStatus:
        record = await self.records.get(f"t#{name}", f"{first_day:07d}")
        assert record is not None
        return status_of(record)

    async def state(self, name: str, first_day: int = OCTOBER) -> str:
        status = await self.status(name, first_day)
        return f"{status.state}{' closed' if status.is_closed else ''}"

    async def state_or_none(self, name: str, first_day: int = OCTOBER) -> str | None:
        record = await self.records.get(f"t#{name}", f"{first_day:07d}")
        return None if record is None else status_of(record).state

    async def names(self, name: str) -> list[str]:
        """Return the names of all records of a budget."""
        return [one.name for one in await self.records.partition(f"t#{name}")]

    async def correct(self) -> set[Leaf]:
        """Make all calls free, as new prices may, looking at no budget."""
        cheap = poster(f"model,routing,unit,usd\n{PRO},*,input_tokens,0\n", self.registry)
        entries = [one async for some in self.ledger.scan() for one in some]
        wanted = [Rebooking(one, cheap.rate(one.evidence)) for one in entries]
        assert await self.ledger.rebook(wanted) == len(wanted)
        return {one.posting.leaf for one in entries}

    async def count_reads(self) -> Counter[str]:
        """Count how often budgets are read from now on."""
        reads: Counter[str] = Counter()
        for name in ("budgets", "changed", "find"):
            self._count(name, reads)
        return reads

    def _count(self, name: str, reads: Counter[str]) -> None:
        real = getattr(self.budgets, name)

        async def counted(*arguments: Any) -> Any:
            reads[name] += 1
            return await real(*arguments)

        setattr(self.budgets, name, counted)

    async def held(self, user: str = "alice") -> list[str]:
        """Return the budgets that hold a user."""
        found = await self.suspensions.get(f"user/111122223333/{user}")
        return sorted(hold.budget for hold in found.holds)

    async def told_of(self, user: str = "alice") -> list[str]:
        """Return what was told of a user's suspension."""
        subject = principal_subject(f"user/111122223333/{user}")
        return [one.detail_type for one in await self.outbox.about(subject)]

    async def book(self, *observations: Observation) -> set[Leaf]:
        return (await book(self.ledger, self.poster, *observations))[0].touched

    async def spend(self, *observations: Observation) -> list[str]:
        """Book calls and look at their budgets, as a worker does; return what was new."""
        return told(await self.watch.look(await self.book(*observations)))

    async def kept(self, name: str) -> list[str]:
        return told(await self.outbox.about(f"budget/{name}"))


def told(notices: list[Notice]) -> list[str]:
    details = [(msgspec.json.decode(one.detail), one) for one in notices]
    return sorted(
        f"{detail['budget']['name']}.{detail['budget']['revision']} {detail['threshold']} "
        f"{detail['period']['first_day']} {one.state}"
        for detail, one in details
        if "threshold" in detail
    )
