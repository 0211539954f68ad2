"""A ledger with budgets on it, at a time that a test sets, counting what is read and written."""

from collections.abc import Sequence
from typing import Any

import msgspec

from tests.calls import NOON, PRO, book, call, poster
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_state import MemoryBudgets, MemoryOutbox
from worker.core.budget_terms import Budget, Scope, ScopeDays
from worker.core.errors import TransientError
from worker.core.evidence import Counts, Observation
from worker.core.ledger import Leaf
from worker.core.registry import EMPTY_REGISTRY, Registry
from worker.core.spend import Spend
from worker.pipeline.budgets import BudgetWatch
from worker.ports import Notice

ALICE = "user/111122223333/alice"
EVERYTHING = Scope("everything")
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
        self.watch = self.new_watch(late_only=late_only)

    def now_ms(self) -> int:
        return self.now

    def new_watch(self, *, late_only: bool = False) -> BudgetWatch:
        return BudgetWatch(
            ledger=self.ledger,
            budgets=self.budgets,
            outbox=self.outbox,
            clock=self,
            registry=lambda: self.registry,
            late_only=late_only,
            monotonic=lambda: self.seconds,
        )

    async def make(self, name: str, scope: Scope, cents: int, **more: Any) -> Budget:
        before = {one.name: one for one in await self.budgets.budgets()}.get(name)
        revision = 1 if before is None else before.revision + 1
        made = Budget(name, scope, cents * CENT, revision=revision, **more)
        assert await self.budgets.put(made)
        return made

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
    )
