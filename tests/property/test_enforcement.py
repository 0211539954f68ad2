"""Whatever happens in between, and wherever processes die: who is over budget is suspended.

A model keeps its own list of calls and budgets, its own calendar and sums. Processes share what
is kept in memory; each has a fuse that kills it at its n-th write, made or not made.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from tests.calls import DAY, NOON, PRO, call, fold, poster
from tests.events import checked
from tests.property.dying import (
    FUSES,
    Books,
    DiedError,
    Fuse,
    Outbox,
    Records,
    all_of,
    side_by_side,
)
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryBudgets, MemoryOutbox
from worker.core.budget import LIFT_AGAIN_MS, RECHECK_MS
from worker.core.budget_events import regraced
from worker.core.budget_terms import Budget, BudgetAction, Scope
from worker.core.enforcement import Hold
from worker.core.errors import TransientError
from worker.core.events import BUDGET_GRACE_STARTED, BUDGET_THRESHOLD_CROSSED, iso
from worker.core.evidence import Counts
from worker.core.ledger import Leaf
from worker.core.registry import PrincipalFact, Registry
from worker.monitor import Monitor
from worker.pipeline.budget_looks import KNOWN_MS, BudgetLooks, keep_budget
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.known_budgets import REFRESH_SECONDS
from worker.pipeline.suspensions import Suspensions
from worker.ports import Ledger, Rebooking

CENT = 10**10
USERS = ("alice", "ben", "carol")
GRACE_MAX = 900
REGISTRY = Registry(principals=(PrincipalFact(match="user/111122223333/*", team="research"),))
FREE = poster(f"model,routing,unit,usd\n{PRO},*,input_tokens,0\n", REGISTRY)
SCOPES = {
    "alice": Scope("principal", "user/111122223333/alice"),
    "ben": Scope("principal", "user/111122223333/ben"),
    "team": Scope("team", "research"),
}
PERIODS = ("weekly", "weekly", "daily", "2-day")


@dataclass(frozen=True)
class Terms:
    """What a budget is set to."""

    scope: str
    limit: int
    period: str
    grace: int
    action: BudgetAction = "suspend"

    def budget(self, name: str) -> Budget:
        return Budget(
            name,
            SCOPES[self.scope],
            self.limit * CENT,
            period=self.period,
            action=self.action,
            grace_seconds=self.grace,
        )


ACTIONS: list[BudgetAction] = ["suspend", "suspend", "suspend", "notify"]
TERMS = st.builds(
    Terms,
    st.sampled_from(["alice", "ben", "team"]),
    st.integers(1, 12),
    st.sampled_from(PERIODS),
    st.sampled_from([0, 60, GRACE_MAX]),
    st.sampled_from(ACTIONS),
)


@dataclass
class Call:
    """A call as the model knows it."""

    user: str
    cents: int
    at_ms: int
    is_acknowledged: bool = False
    added_at: int = -1
    """Step in which it was added and looked at without a fault."""


@dataclass
class Model:
    """What an onlooker knows."""

    calls: dict[int, Call] = field(default_factory=dict)
    budgets: dict[str, Budget] = field(default_factory=dict)
    since: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    """Since which step a budget has been exceeded, by name: revision, first day, step."""
    clear_at: dict[str, int] = field(default_factory=dict)
    """When a new revision was last seen that was not exceeded: grace before that is forgotten."""

    def spent(self, budget: Budget, first: int) -> int:
        return sum(one.cents for one in self.calls.values() if self.is_of(one, budget, first))

    def is_of(self, one: Call, budget: Budget, first: int) -> bool:
        is_theirs = budget.scope.kind == "team" or budget.scope.id.endswith(f"/{one.user}")
        return is_theirs and first_of(budget, one.at_ms) == first

    def is_exceeded(self, budget: Budget, at_ms: int) -> bool:
        return self.spent(budget, first_of(budget, at_ms)) * CENT >= budget.limit_amount

    def note(self, step: int, at_ms: int) -> None:
        """Note which budgets have been exceeded, from which step on."""
        for name, budget in self.budgets.items():
            key = budget.revision, first_of(budget, at_ms)
            # A worker knows a budget some seconds after it was set.
            is_known = at_ms - budget.created_at_ms >= REFRESH_SECONDS * 1_000
            is_on = is_known and not budget.is_removed and budget.action == "suspend"
            if not (is_on and self.is_exceeded(budget, at_ms)):
                self.since.pop(name, None)
            elif self.since.get(name, (0, 0, 0))[:2] != key:
                self.since[name] = (*key, step)


def first_of(budget: Budget, at_ms: int) -> int:
    """Return the first day of a period, in UTC."""
    day = at_ms // DAY
    match budget.period:
        case "daily":
            return day
        case "weekly":
            return day - (day + 3) % 7  # 1970-01-01 was a Thursday
    return day - day % 2


class Process:
    """A worker, a monitor or a command, on what all share."""

    def __init__(self, world: "Enforcement", fuse: Fuse) -> None:
        self.fuse = fuse
        self.ledger = Books(world.ledger, fuse)
        self.records = Records(world.records, fuse)
        self.outbox = Outbox(world.outbox, fuse)
        self.watch = BudgetWatch(
            ledger=cast("Ledger", self.ledger),
            budgets=world.budgets,
            outbox=self.outbox,
            records=self.records,
            clock=world,
            registry=lambda: REGISTRY,
            monotonic=lambda: world.now / 1_000,
        )
        self.monitor = Monitor(
            budgets=world.budgets,
            watch=self.watch,
            holds=Watched(world, self),
            outbox=self.outbox,
            clock=world,
            registry=lambda: REGISTRY,
        )


class Watched:
    """Holds; whatever is put is checked first."""

    def __init__(self, world: "Enforcement", process: Process) -> None:
        self._world = world
        self._holds = Suspensions(records=process.records, outbox=process.outbox, clock=world)

    async def hold(self, principal: str, hold: Hold) -> bool:
        await self._world.check_hold(hold)
        return await self._holds.hold(principal, hold)

    async def lift(self, principal: str, budget: str, first_day: int) -> bool:
        return await self._holds.lift(principal, budget, first_day)


class Enforcement(RuleBasedStateMachine):
    """One ledger, two workers, monitors, announcers and people who set budgets."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.now, self.step = NOON, 0
        self.ledger, self.records = MemoryLedger(), MemoryRecords()
        self.budgets, self.outbox = MemoryBudgets(), MemoryOutbox()
        self.poster = poster(registry=REGISTRY)
        self.model = Model()
        self.workers = [Process(self, Fuse()) for _ in range(2)]
        self.cents: dict[int, int] = {}

    def now_ms(self) -> int:
        return self.now

    def do(self, work: Awaitable[object]) -> bool:
        """Run something; return whether it ended without a fault."""
        self.step += 1
        try:
            self.loop.run_until_complete(all_of(work))
        except (DiedError, TransientError):
            return False
        finally:
            self.model.note(self.step, self.now)
        return True

    # -- What happens

    @initialize(limits=st.lists(st.integers(2, 12), min_size=2, max_size=2), grace=st.booleans())
    def begin(self, limits: list[int], grace: bool) -> None:
        for name, scope, limit in zip(("p", "t"), ("alice", "team"), limits, strict=True):
            self.put(Terms(scope, limit, "weekly", 600 if grace else 0).budget(name), Fuse())

    @rule(
        user=st.sampled_from(USERS),
        cents=st.integers(1, 8),
        days=st.sampled_from([0, 0, 0, 0, 1, 5]),
        worker=st.integers(0, 1),
        fuse=FUSES,
    )
    def use(self, user: str, cents: int, days: int, worker: int, fuse: Fuse) -> None:
        number = len(self.model.calls)
        self.model.calls[number] = Call(user, 0, self.now - days * DAY)
        self.deliver(number, cents, worker, fuse)

    @rule(pick=st.integers(0, 10**6), worker=st.integers(0, 1), fuse=FUSES)
    @precondition(lambda self: any(not one.is_acknowledged for one in self.model.calls.values()))
    def redeliver(self, pick: int, worker: int, fuse: Fuse) -> None:
        waiting = [key for key, one in self.model.calls.items() if not one.is_acknowledged]
        self.deliver(waiting[pick % len(waiting)], 0, worker, fuse)

    @rule(
        user=st.sampled_from(USERS),
        cents=st.integers(1, 8),
        turns=st.lists(st.integers(0, 12), min_size=3, max_size=3),
        fuse=FUSES,
    )
    def use_meanwhile(self, user: str, cents: int, turns: list[int], fuse: Fuse) -> None:
        """A slow worker books a call while a monitor and another worker do their work."""
        slow = Fuse(turns=tuple(turns))
        number = len(self.model.calls)
        self.model.calls[number] = Call(user, 0, self.now)
        self.model.calls[number + 1] = Call(user, 0, self.now)
        self.cents[number + 1] = cents
        other = self._booked(self.booking(number + 1, self.workers[1]), number + 1)
        monitor = Process(self, fuse).monitor.run_due()
        self.deliver(number, cents, 0, slow, [other, monitor])

    async def booking(self, number: int, process: Process) -> None:
        """Book a call and look at budgets."""
        one = self.model.calls[number]
        counts = Counts(12_500 * self.cents[number], 0)
        batch = fold(self.poster, [call(number, counts, model=PRO, at_ms=one.at_ms, user=one.user)])
        committed = await process.ledger.commit(batch, self.poster)
        spending = {leaf for leaf, _ in committed.postings}
        await process.watch.look(committed.touched, spending)

    def deliver(
        self,
        number: int,
        cents: int,
        worker: int,
        fuse: Fuse,
        beside: Sequence[Awaitable[object]] = (),
    ) -> None:
        """Book a call and look, as a worker does. The model learns what was booked in truth."""
        one = self.model.calls[number]
        if cents:
            self.cents[number] = cents
        process = self.workers[worker]
        process.fuse = fuse
        process.ledger.fuse = process.records.fuse = process.outbox.fuse = fuse
        ended: list[int] = []

        async def work() -> None:
            await self.booking(number, process)
            ended.append(number)

        before = one.cents
        self.do(side_by_side([self._booked(work(), number), *beside]))
        is_done = bool(ended)
        one.is_acknowledged = one.is_acknowledged or is_done
        if is_done and one.cents > before:
            one.added_at = self.step
        if fuse.is_dead:
            self.workers[worker] = Process(self, Fuse())

    async def _booked(self, work: Awaitable[None], number: int) -> None:
        """Note what the ledger holds of a call, however the delivery ended."""
        try:
            await work
        finally:
            entries = [one async for some in self.ledger.scan() for one in some]
            found = [one for one in entries if one.key.endswith(f"{number:012x}")]
            self.model.calls[number].cents = sum(one.posting.cost_pico_usd // CENT for one in found)

    @rule(pick=st.integers(0, 10**6), fuse=FUSES)
    @precondition(lambda self: any(one.cents for one in self.model.calls.values()))
    def correct(self, pick: int, fuse: Fuse) -> None:
        """A call turns out to cost nothing; its budgets are looked at, unless the process dies."""
        charged = [key for key, one in self.model.calls.items() if one.cents]
        number = charged[pick % len(charged)]
        process = Process(self, fuse)

        async def work() -> None:
            entries = [one async for some in self.ledger.scan() for one in some]
            [entry] = [one for one in entries if one.key.endswith(f"{number:012x}")]
            leaves: set[Leaf] = {entry.posting.leaf}
            await process.watch.look_later(leaves)
            await process.ledger.rebook([Rebooking(entry, FREE.rate(entry.evidence))])
            await process.watch.look(leaves)

        self.do(self._booked(work(), number))

    @rule(name=st.sampled_from(["p", "t"]), terms=TERMS, fuse=FUSES)
    def change(self, name: str, terms: Terms, fuse: Fuse) -> None:
        self.put(terms.budget(name), fuse)

    @rule(name=st.sampled_from(["p", "t"]), limit=st.integers(1, 12), fuse=FUSES)
    def change_limit(self, name: str, limit: int, fuse: Fuse) -> None:
        before = self.model.budgets[name]
        self.put(msgspec.structs.replace(before, limit_amount=limit * CENT), fuse)

    @rule(name=st.sampled_from(["p", "t"]), is_meant=st.sampled_from([False, True]), fuse=FUSES)
    def remove(self, name: str, is_meant: bool, fuse: Fuse) -> None:
        if is_meant:
            self.put(msgspec.structs.replace(self.model.budgets[name], is_removed=True), fuse)

    def put(self, wanted: Budget, fuse: Fuse) -> None:
        """Set a budget and act on it at once, as the command does."""
        before = self.model.budgets.get(wanted.name)
        budget = msgspec.structs.replace(
            wanted,
            revision=1 if before is None else before.revision + 1,
            created_at_ms=self.now,
        )
        process = Process(self, fuse)

        async def work() -> None:
            looks = BudgetLooks(process.records, self)
            if await keep_budget(self.budgets, looks, budget, REGISTRY):
                self.model.budgets[budget.name] = budget
            await process.watch.look_at([budget])
            await process.monitor.settle(budget.name)

        is_done = self.do(work())
        is_on = not budget.is_removed and budget.action == "suspend"
        if is_done and not (is_on and self.model.is_exceeded(budget, self.now)):
            self.model.clear_at[budget.name] = self.now

    @rule(seconds=st.sampled_from([1, 5, 60, 61, 120, 300, 600, 900, 3_600, 3 * 86_400]))
    def wait(self, seconds: int) -> None:
        self.now += seconds * 1_000
        self.model.note(self.step, self.now)

    @rule(fuses=st.lists(FUSES, min_size=1, max_size=3), is_told=st.booleans())
    def run_monitors(self, fuses: list[Fuse], is_told: bool) -> None:
        """Run some monitors at once, and an announcer beside them."""
        work: list[Awaitable[object]] = [Process(self, one).monitor.run_due() for one in fuses]
        if is_told:
            work.append(self.announced(Outbox(self.outbox, Fuse(turns=(1,)))))
        self.do(side_by_side(work))

    @rule(seconds=st.sampled_from([1, 60, 600]), fuse=FUSES)
    def go_on(self, seconds: int, fuse: Fuse) -> None:
        """Time passes while everybody does their work."""
        self.announce(Fuse())
        self.run_monitors([Fuse()], is_told=False)
        self.wait(seconds)
        self.run_monitors([fuse], is_told=False)

    @rule(fuse=FUSES)
    def announce(self, fuse: Fuse) -> None:
        self.do(self.announced(Outbox(self.outbox, fuse)))

    async def announced(self, outbox: Outbox) -> None:
        due = [one async for some in outbox.due(self.now) for one in some]
        for notice in due:
            detail = None
            if notice.detail_type == BUDGET_GRACE_STARTED:
                detail = regraced(bytes(notice.detail), self.now)
            await outbox.settle(notice, "announced", self.now, detail)

    # -- What must be

    async def check_hold(self, hold: Hold) -> None:
        """Nobody is held before the deadline that people were told of, nor for a closed period."""
        assert hold.end_ms > self.now, "held for a period that is over"
        told = [
            (one.announced_at_ms, checked(one.detail_type, bytes(one.detail)))
            for one in await self.outbox.about(f"budget/{hold.budget}")
            if one.detail_type == BUDGET_GRACE_STARTED and one.state == "announced"
        ]
        served = [
            at_ms + detail["grace_seconds"] * 1_000
            for at_ms, detail in told
            if detail["period"]["end"] == iso(hold.end_ms)
            and at_ms >= self.model.clear_at.get(hold.budget, 0)
        ]
        assert served, "held without any grace period"
        assert min(served) <= self.now, "held before the grace period was over"

    def teardown(self) -> None:
        try:
            self.settle()
            self.loop.run_until_complete(self.check_at_rest())
        finally:
            self.loop.close()

    def settle(self) -> None:
        """Deliver what is left, announce, and let monitors run until nothing is due."""
        for number, one in self.model.calls.items():
            if not one.is_acknowledged:
                self.deliver(number, 0, 0, Fuse())
        rounds = (RECHECK_MS + LIFT_AGAIN_MS + KNOWN_MS + GRACE_MAX * 2_000) // 60_000
        for _ in range(rounds):
            self.loop.run_until_complete(self.announced(Outbox(self.outbox, Fuse())))
            for _ in range(2):
                self.loop.run_until_complete(Process(self, Fuse()).monitor.run_due())
            self.now += 60_000
        self.model.note(self.step, self.now)
        for _ in range(3):
            done = self.loop.run_until_complete(Process(self, Fuse()).monitor.run_due())
            assert not done.failed, done.faults

    async def check_at_rest(self) -> None:
        holds = Suspensions(records=self.records, outbox=self.outbox, clock=self)
        held: dict[str, set[str]] = {"p": set(), "t": set()}
        for user in USERS:
            suspension = await holds.get(f"user/111122223333/{user}")
            assert bool(suspension.holds) == (suspension.phase in {"required", "suspended"})
            for hold in suspension.holds:
                held[hold.budget].add(user)
                first = first_of(self.model.budgets[hold.budget], self.now)
                assert hold.first_day == first, "a hold of another period"
        for name, budget in self.model.budgets.items():
            await self.check_budget(budget, held[name])
            await self.check_told(name)

    async def check_budget(self, budget: Budget, held: set[str]) -> None:
        is_on = not budget.is_removed and budget.action == "suspend"
        if not (is_on and self.model.is_exceeded(budget, self.now)):
            assert not held, f"held though {budget.name} is not exceeded"
            return
        if budget.scope.kind == "principal":
            assert held == {budget.scope.id.rpartition("/")[2]}
            return
        first = first_of(budget, self.now)
        calls = [one for one in self.model.calls.values() if self.model.is_of(one, budget, first)]
        assert held <= {one.user for one in calls}, "held without having spent"
        _, _, since = self.model.since[budget.name]
        assert {one.user for one in calls if one.added_at > since} <= held, "a member got away"

    async def check_told(self, name: str) -> None:
        notices = await self.outbox.about(f"budget/{name}")
        details = [(one, checked(one.detail_type, bytes(one.detail))) for one in notices]
        for kind, more in ((BUDGET_THRESHOLD_CROSSED, "threshold"), (BUDGET_GRACE_STARTED, "")):
            keys = [
                (detail["budget"]["revision"], detail["period"]["start"], detail.get(more))
                for one, detail in details
                if one.detail_type == kind and one.state != "lapsed"
            ]
            assert len(set(keys)) == len(keys), "told under two ids"
        budget = self.model.budgets[name]
        if budget.is_removed:
            return
        spent = self.model.spent(budget, first_of(budget, self.now)) * CENT
        reached = {one for one in (70, 90, 100) if spent * 100 >= budget.limit_amount * one}
        found = {
            detail["threshold"]
            for one, detail in details
            if one.detail_type == BUDGET_THRESHOLD_CROSSED
            and detail["budget"]["revision"] == budget.revision
        }
        assert reached <= found, "a crossing was missed"


TestEnforcement = Enforcement.TestCase
TestEnforcement.settings = settings(
    max_examples=2 * settings().max_examples, stateful_step_count=30, deadline=None
)
