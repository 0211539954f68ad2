"""No crossing is missed, none is told under two ids, whatever happens in between.

The oracle keeps its own list of calls, its own calendar and its own arithmetic; of the package's
it uses nothing but the rows that were written down.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import NOON, PRO, call, fold, poster
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryBudgets, MemoryOutbox
from worker.core.budget_terms import Budget, Scope, ScopeDays, ScopeKind
from worker.core.errors import TransientError
from worker.core.events import BUDGET_THRESHOLD_CROSSED
from worker.core.evidence import Counts
from worker.core.registry import Calendar, Registry
from worker.core.spend import Spend
from worker.monitor import Monitor
from worker.pipeline.budget_looks import KNOWN_MS, BudgetLooks, keep_budget
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.known_budgets import REFRESH_SECONDS
from worker.pipeline.suspensions import Suspensions
from worker.ports import Notice

HOUR = 3_600_000
UTC_ZONE = ZoneInfo("UTC")
APIA = ZoneInfo("Pacific/Apia")
ALICE, BEN = "user/111122223333/alice", "user/111122223333/ben"
CENT = 10**10
WORKERS = 2
CALLS = 24


@dataclass(frozen=True)
class Deliver:
    """A call comes to a worker, for the first time or again; a fault may strike on the way."""

    number: int
    worker: int
    fault: str


@dataclass(frozen=True)
class Put:
    """Somebody sets a budget; `is_cut` if they die before looking at it."""

    name: str
    kind: ScopeKind
    cents: int
    period: str
    thresholds: tuple[int, ...]
    is_removed: bool
    is_cut: bool


@dataclass(frozen=True)
class Pass:
    """Time passes, seconds."""

    seconds: int


@dataclass(frozen=True)
class Monitored:
    """A monitor does what is due."""


Step = Deliver | Put | Pass | Monitored
FAULTS = ("", "", "", "", "died", "spend", "put before", "put after", "budgets")
DELIVERIES = st.builds(
    Deliver,
    st.integers(0, CALLS - 1),
    st.integers(0, WORKERS - 1),
    st.sampled_from(FAULTS),
)
STEPS: st.SearchStrategy[Step] = st.one_of(
    DELIVERIES,
    DELIVERIES,
    DELIVERIES,
    st.builds(
        Put,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["everything", "principal"]),
        st.integers(1, 12),
        st.sampled_from(["daily", "weekly", "monthly", "3-day"]),
        st.sampled_from([(70, 90, 100), (50,), (1, 99, 200)]),
        st.sampled_from([False, False, False, True]),
        st.booleans(),
    ),
    st.builds(Pass, st.sampled_from([1, 3, 5, 3_600, 40_000, 86_400])),
    st.builds(Monitored),
)


@dataclass
class Faulty:
    """What strikes next."""

    fault: str = ""

    def strike(self, fault: str) -> None:
        if self.fault == fault:
            self.fault = ""
            raise TransientError(fault)


class Ledger(MemoryLedger):
    def __init__(self, faulty: Faulty) -> None:
        super().__init__()
        self.faulty = faulty

    async def spend(self, ranges: Sequence[ScopeDays]) -> list[Spend]:
        self.faulty.strike("spend")
        return await super().spend(ranges)


class Budgets(MemoryBudgets):
    def __init__(self, faulty: Faulty) -> None:
        super().__init__()
        self.faulty = faulty

    async def budgets(self) -> list[Budget]:
        self.faulty.strike("budgets")
        return await super().budgets()

    async def changed(
        self, since_ms: int, known: Mapping[str, Budget] | None = None
    ) -> list[Budget]:
        self.faulty.strike("budgets")
        return await super().changed(since_ms, known)


class Outbox(MemoryOutbox):
    def __init__(self, faulty: Faulty) -> None:
        super().__init__()
        self.faulty = faulty
        self.tried: set[tuple[tuple[Any, ...], str]] = set()

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        crossings = (one for one in notices if one.detail_type == BUDGET_THRESHOLD_CROSSED)
        self.tried |= {(key_of(notice), notice.id) for notice in crossings}
        self.faulty.strike("put before")
        new = await super().put(notices)
        self.faulty.strike("put after")
        return new


def key_of(notice: Notice) -> tuple[Any, ...]:
    detail = msgspec.json.decode(notice.detail)
    budget = detail["budget"]
    first = date.fromisoformat(detail["period"]["first_day"])
    return budget["name"], budget["revision"], first, detail["threshold"]


# --- The oracle's own calendar and sums --------------------------------------------------------


def cents_of(number: int) -> int:
    return 1 + number % 3


def at_ms_of(number: int) -> int:
    """Calls lie within some days around the beginning of a month and of a week."""
    return NOON + (number * 7 - 120) * HOUR


def payer_of(number: int) -> str:
    return "ben" if number % 4 == 0 else "alice"


def zone_of(budget: Budget) -> tzinfo:
    return APIA if budget.scope.kind == "principal" else UTC_ZONE


def local(at_ms: int, zone: tzinfo) -> date:
    return datetime.fromtimestamp(at_ms // 1_000, zone).date()


def first_of(budget: Budget, at: date) -> date:
    match budget.period:
        case "daily":
            return at
        case "weekly":
            year, week, _ = at.isocalendar()
            return date.fromisocalendar(year, week, 1)
        case "monthly":
            return date(at.year, at.month, 1)
    first = date(1970, 1, 1) + timedelta(days=budget.anchor_day)
    while first > at:
        first -= timedelta(days=3)
    while first + timedelta(days=3) <= at:
        first += timedelta(days=3)
    return first


@dataclass
class Worker:
    watch: BudgetWatch
    # What a budget made a moment ago still owes: thresholds reached in closed periods, too.
    owed: set[tuple[Any, ...]] = field(default_factory=set)


class World:
    """Two workers, one ledger, and what an onlooker knows."""

    def __init__(self) -> None:
        self.now, self.seconds = NOON, 0
        self.faulty = Faulty()
        calendar = Calendar(f"principal/{ALICE}", "Pacific/Apia", APIA)
        self.registry = Registry(calendars=(calendar,))
        self.poster = poster(registry=self.registry)
        self.ledger = Ledger(self.faulty)
        self.budgets = Budgets(self.faulty)
        self.outbox = Outbox(self.faulty)
        self.records = MemoryRecords()
        self.workers = [Worker(self.new_watch()) for _ in range(WORKERS)]
        self.booked: set[int] = set()
        self.waiting: list[int] = []
        self.set_at: dict[str, tuple[Budget, int]] = {}

    def now_ms(self) -> int:
        return self.now

    def new_watch(self) -> BudgetWatch:
        return BudgetWatch(
            ledger=self.ledger,
            budgets=self.budgets,
            outbox=self.outbox,
            records=self.records,
            clock=self,
            registry=lambda: self.registry,
            monotonic=lambda: float(self.seconds),
        )

    # -- What happens

    async def take(self, step: Step) -> None:
        match step:
            case Deliver():
                await self.deliver(step.number, self.workers[step.worker], step.fault)
            case Put():
                await self.put(step)
            case Pass():
                self.now += step.seconds * 1_000
                self.seconds += step.seconds
            case Monitored():
                await self.monitor()

    async def monitor(self) -> None:
        monitor = Monitor(
            budgets=self.budgets,
            watch=self.new_watch(),
            holds=Suspensions(records=self.records, outbox=self.outbox, clock=self),
            outbox=self.outbox,
            clock=self,
            registry=lambda: self.registry,
        )
        assert not (await monitor.run_due()).failed

    async def deliver(self, number: int, worker: Worker, fault: str) -> None:
        counts = Counts(12_500 * cents_of(number), 0)
        observation = call(number, counts, model=PRO, at_ms=at_ms_of(number), user=payer_of(number))
        batch = fold(self.poster, [observation])
        committed = await self.ledger.commit(batch, self.poster, touched=True)
        self.booked.add(number)
        if fault == "died":
            worker.watch, worker.owed = self.new_watch(), set()
            self.waiting.append(number)
            return
        self.faulty.fault = fault
        try:
            await worker.watch.look(committed.touched)
        except TransientError:
            self.waiting.append(number)
            return
        finally:
            self.faulty.fault = ""
        await self.acknowledge(number, worker)

    async def acknowledge(self, number: int, worker: Worker) -> None:
        """From here on nobody tells of the call again: what it crossed must be written."""
        rows = await self.rows()
        for budget, set_at in self.set_at.values():
            if budget.is_removed or not self.is_of(budget, number):
                continue
            first = first_of(budget, local(at_ms_of(number), zone_of(budget)))
            reached = self.reached(budget, first)
            if self.seconds - set_at >= REFRESH_SECONDS:
                assert reached <= rows.keys(), (number, reached - rows.keys())
            worker.owed |= reached

    async def put(self, step: Put) -> None:
        before = self.set_at.get(step.name)
        budget = Budget(
            step.name,
            Scope(step.kind, "" if step.kind == "everything" else ALICE),
            step.cents * CENT,
            period=step.period,
            anchor_day=20_000 if step.period == "3-day" else 0,
            thresholds=step.thresholds,
            revision=1 if before is None else before[0].revision + 1,
            created_at_ms=self.now,
            is_removed=step.is_removed,
        )
        looks = BudgetLooks(self.records, self)
        assert await keep_budget(self.budgets, looks, budget, self.registry)
        self.set_at[step.name] = budget, self.seconds
        if not step.is_cut:
            await self.new_watch().look_at([budget])
            if not budget.is_removed:
                first = first_of(budget, local(self.now, zone_of(budget)))
                assert self.reached(budget, first) <= (await self.rows()).keys()

    async def settle(self) -> None:
        """Deliver what was not acknowledged, and let every worker look once more."""
        while self.waiting:
            await self.deliver(self.waiting.pop(), self.workers[0], "")
        self.now += int(REFRESH_SECONDS * 1_000)
        self.seconds += int(REFRESH_SECONDS)
        for worker in self.workers:
            await worker.watch.look([])
        await self.monitor()
        self.now += KNOWN_MS
        await self.monitor()

    # -- What must be

    def is_of(self, budget: Budget, number: int) -> bool:
        return budget.scope.kind == "everything" or budget.scope.id.endswith(payer_of(number))

    def reached(self, budget: Budget, first: date) -> set[tuple[Any, ...]]:
        zone = zone_of(budget)
        spent = sum(
            cents_of(number)
            for number in self.booked
            if self.is_of(budget, number)
            and first_of(budget, local(at_ms_of(number), zone)) == first
        )
        share = Fraction(spent * CENT, budget.limit_amount)
        return {
            (budget.name, budget.revision, first, threshold)
            for threshold in budget.thresholds
            if share >= Fraction(threshold, 100)
        }

    async def rows(self) -> dict[tuple[Any, ...], Notice]:
        notices = [
            notice
            for name in ("a", "b")
            for notice in await self.outbox.about(f"budget/{name}")
            if notice.detail_type == BUDGET_THRESHOLD_CROSSED
        ]
        rows = {key_of(notice): notice for notice in notices}
        assert len(rows) == len(notices), "a crossing was written down twice"
        return rows

    async def check_current(self) -> None:
        rows = await self.rows()
        for budget, _ in self.set_at.values():
            if not budget.is_removed:
                first = first_of(budget, local(self.now, zone_of(budget)))
                assert self.reached(budget, first) <= rows.keys()

    async def check_at_rest(self) -> None:
        await self.check_current()
        rows = await self.rows()
        latest = {(one.name, one.revision) for one, _ in self.set_at.values()}
        for worker in self.workers:
            owed = {one for one in worker.owed if one[:2] in latest}
            assert owed <= rows.keys(), owed - rows.keys()
        by_key: dict[tuple[Any, ...], set[str]] = {}
        for key, event_id in self.outbox.tried:
            by_key.setdefault(key, set()).add(event_id)
        assert all(len(ids) == 1 for ids in by_key.values()), "a crossing has two ids"
        assert len({notice.id for notice in rows.values()}) == len(rows)
        for (_, _, first, _), notice in rows.items():
            detail = msgspec.json.decode(notice.detail)
            last = date.fromisoformat(detail["period"]["last_day"])
            zone = APIA if detail["scope"]["kind"] == "principal" else UTC_ZONE
            assert first <= last
            assert (notice.state == "late") == (local(notice.recorded_at_ms, zone) > last)
            spent, limit = Fraction(detail["spent_usd"]), Fraction(detail["limit_usd"])
            assert spent / limit >= Fraction(detail["threshold"], 100)


@given(st.lists(STEPS, min_size=10, max_size=60))
@settings(max_examples=5 * settings().max_examples)
def test_no_crossing_is_missed_and_none_has_two_ids(steps: list[Step]) -> None:
    async def run() -> None:
        world = World()
        for step in steps:
            await world.take(step)
        await world.settle()
        await world.check_at_rest()

    asyncio.run(run())
