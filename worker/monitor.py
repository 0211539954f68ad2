"""The monitor: does what no commit brings about, found through an index, never by scanning.

What waits in the queue `monitor` is due at its time: looks at budgets that somebody set or is
about to rebook; grace periods to be announced, and those that expired; periods that are over;
holds to be put and lifted; members of exhausted groups; and, every few minutes, a look at budgets
that are not active, in case that a correction went unseen. It costs what is due, whatever else
there is.

Every step is one conditional write, and what follows from it is done afterwards, again and again
until a second write says that it is done. So it may run twice at once, and die anywhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec

from worker.core.budget import EXHAUSTED, recheck_at_ms
from worker.core.budget_periods import has_period, period_at, period_of
from worker.core.budget_standing import Standing
from worker.core.budget_terms import PERIOD_DAYS_MAX, Budget, BudgetPeriod, is_rolling
from worker.core.enforcement import BudgetStatus, State
from worker.core.enforcement_names import QUEUE_MONITOR, day_name, status_partition
from worker.core.errors import LedgerockError
from worker.core.ledger import MS_PER_DAY
from worker.core.registry import Registry
from worker.pipeline.budget_effects import BudgetEffects
from worker.pipeline.budget_looks import DueLook, due_look, is_look
from worker.pipeline.budget_states import is_member, status_of
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.chunks import taken
from worker.pipeline.monitored import Monitored
from worker.pipeline.side_by_side import side_by_side
from worker.ports import BudgetStore, Clock, Holds, Outbox, Record

__all__ = ["Monitor", "Monitored"]

_Before = dict[tuple[str, int], BudgetStatus]
_Wanted = tuple[Budget, BudgetPeriod]


class Monitor:
    """Does what is due about budgets.

    Args:
        budgets: Says which budgets there are; read strongly, one by one.
        watch: Evaluates budgets and moves their states.
        holds: Puts and lifts holds.
        outbox: Says which grace periods were announced.
        clock: Ledger time.
        registry: Returns the registry in force.
    """

    def __init__(
        self,
        *,
        budgets: BudgetStore,
        watch: BudgetWatch,
        holds: Holds,
        outbox: Outbox,
        clock: Clock,
        registry: Callable[[], Registry],
    ) -> None:
        """Have nothing to do yet."""
        self._budgets = budgets
        self._watch = watch
        self._states = watch.states
        self._records = watch.states.records
        self._clock = clock
        self._registry = registry
        self._effects = BudgetEffects(
            budgets=budgets,
            states=watch.states,
            holds=holds,
            outbox=outbox,
            clock=clock,
            registry=registry,
        )

    async def run_due(self) -> Monitored:
        """Do what is due now; what fails stays due, for the next run.

        Raises:
            TransientError: What is due cannot be read.
            ConfigurationError: There is no such table, or no permission.
        """
        done = Monitored()
        async with taken(self._records.due(QUEUE_MONITOR, self._clock.now_ms())) as chunks:
            async for records in chunks:
                await self._chunk(records, done)
        return done

    async def settle(self, name: str, first_day: int = 0) -> Monitored:
        """Do at once what is due about one budget, or follows from a change of it.

        Args:
            name: Of the budget.
            first_day: First day of a period to look at besides that of now; 0 for none.

        Raises:
            TransientError: A look at it is due; whoever runs next does the rest.
        """
        done = Monitored()
        await self._look(DueLook(name, first_day), done)
        return done

    async def _chunk(self, records: Sequence[Record], done: Monitored) -> None:
        now_ms = self._clock.now_ms()
        for record in records:
            done.found(record.due_at_ms, now_ms)
        looks = [record for record in records if is_look(record)]
        members = [record for record in records if is_member(record)]
        statuses = self._readable(records, done)
        await side_by_side(looks, lambda one: self._safely(self._due_look(one, done), done))
        await self._statuses(statuses, done)
        await side_by_side(members, lambda one: self._safely(self._effects.member(one, done), done))

    @staticmethod
    def _readable(records: Iterable[Record], done: Monitored) -> list[BudgetStatus]:
        """Return the statuses among some records; those that cannot be read stay due."""
        found: list[BudgetStatus] = []
        for record in records:
            if is_look(record) or is_member(record):
                continue
            try:
                found.append(status_of(record))
            except LedgerockError as error:
                done.fail(error)
        return found

    @staticmethod
    async def _safely(work: Awaitable[object], done: Monitored) -> None:
        try:
            await work
        except LedgerockError as error:
            done.fail(error)

    # --- Looks --------------------------------------------------------------------------------

    async def _due_look(self, record: Record, done: Monitored) -> None:
        look = due_look(record)
        await self._look(look, done)
        await self._watch.looks.done(record, look)
        done.looks += 1

    async def _look(self, look: DueLook, done: Monitored) -> None:
        """Look at one budget: its period of now, the one that is named, and those that are open.

        What it has under terms that it had before is closed.
        """
        # The statuses first: so the budget is at least of the revision that they speak of.
        kept = await self._kept(look.budget)
        budget = await self._budgets.find(look.budget)
        if budget is None:
            return
        for status in kept:
            if budget.is_removed or self._effects.period(status, budget) is None:
                await self._effects.work(await self._effects.drop(status, budget, done), done)
        if budget.is_removed:
            return
        registry = self._registry()
        periods = [period_at(budget, self._clock.now_ms(), registry)]
        if has_period(look.first_day) and not is_rolling(budget.period):
            zone = registry.zone(budget.scope.kind, budget.scope.id)
            periods.append(period_of(budget, look.first_day, zone))
        still = [self._effects.period(one, budget) for one in kept if not one.is_closed]
        periods += [one for one in still if one is not None]
        wanted = {one.first_day: (budget, one) for one in periods}
        await self._evaluate(list(wanted.values()), {_key(one): one for one in kept}, done)

    async def _kept(self, name: str) -> list[BudgetStatus]:
        """Return the statuses of a budget that may be open, or have something to be undone."""
        today = self._clock.now_ms() // MS_PER_DAY
        after = day_name(max(0, today - PERIOD_DAYS_MAX - 2))
        partition = status_partition(name)
        found = await self._records.partition(partition, after=after)
        rolling = await self._records.get(partition, day_name(0))
        records = [*found, *([] if rolling is None else [rolling])]
        return [status_of(one) for one in records if not (is_look(one) or is_member(one))]

    # --- Statuses -----------------------------------------------------------------------------

    async def _statuses(self, statuses: Sequence[BudgetStatus], done: Monitored) -> None:
        """Work on statuses that are due; read spends only where time has something to say."""
        budgets: dict[str, Budget] = {}
        wanted: list[_Wanted] = []
        before: _Before = {}

        async def find(name: str) -> None:
            budget = await self._budgets.find(name)
            if budget is not None:
                budgets[name] = budget

        async def begin(status: BudgetStatus) -> None:
            budget = budgets.get(status.budget)
            if budget is None:
                return
            period = None if budget.is_removed else self._effects.period(status, budget)
            if period is None:
                status = await self._effects.drop(status, budget, done)
            now = await self._effects.work(status, done)
            period = None if budget.is_removed else self._effects.period(now, budget)
            if period is not None and self._needs_spend(now):
                wanted.append((budget, period))
                before[_key(now)] = now

        names = sorted({status.budget for status in statuses})
        await side_by_side(names, lambda one: self._safely(find(one), done))
        await side_by_side(statuses, lambda one: self._safely(begin(one), done))
        found = await self._evaluate_safely(wanted, before, done)
        turned = [one.budget for one in found if one.status is not None and one.status.is_closed]
        if turned:
            now_ms, registry = self._clock.now_ms(), self._registry()
            following = [(one, period_at(one, now_ms, registry)) for one in turned]
            await self._evaluate_safely(following, {}, done)

    def _needs_spend(self, status: BudgetStatus) -> bool:
        """Whether the spend is to be read: at an end or deadline, before holding, now and then."""
        if status.is_closed:
            return False
        now_ms = self._clock.now_ms()
        is_over = bool(status.first_day) and status.end_ms <= now_ms
        is_expired = status.state == "grace_period" and 0 < status.deadline_ms <= now_ms
        is_unheld = status.state == "suspended" and not status.is_held
        return is_over or is_expired or is_unheld or self._is_recheck(status)

    def _is_recheck(self, status: BudgetStatus) -> bool:
        return status.state != "active" and recheck_at_ms(status) <= self._clock.now_ms()

    async def _evaluate_safely(
        self, wanted: Sequence[_Wanted], before: _Before, done: Monitored
    ) -> list[Standing]:
        """Evaluate periods together; where that fails, one by one, so that each is tried."""
        try:
            return await self._evaluate(wanted, before, done)
        except LedgerockError as error:
            if len(wanted) == 1:
                done.fail(error)
                return []
        found: list[Standing] = []
        for one in wanted:
            found += await self._evaluate_safely([one], before, done)
        return found

    async def _evaluate(
        self, wanted: Sequence[_Wanted], before: _Before, done: Monitored
    ) -> list[Standing]:
        """Evaluate periods and do what follows."""
        if not wanted:
            return []
        look = await self._watch.look_at_periods(wanted)
        done.crossings += len(look.notices)
        for standing in look.standings:
            status = standing.status
            if status is None:
                continue
            earlier = before.get(_key(status))
            _count(earlier, status, done)
            if earlier is not None and earlier.version == status.version:
                await self._rechecked(status, done)
            else:
                await self._effects.work(status, done, may_hold=True)
        return look.standings

    async def _rechecked(self, status: BudgetStatus, done: Monitored) -> None:
        """Note that a status was looked at and stays; a suspended one's holds are put again."""
        if not self._is_recheck(status):
            await self._effects.work(status, done, may_hold=True)
            return
        done.rechecked += 1
        if status.state == "suspended":
            await self._effects.hold(status, done, is_recheck=True)
            return
        checked = msgspec.structs.replace(
            status, checked_at_ms=self._clock.now_ms(), version=status.version + 1
        )
        await self._states.write(checked)


def _key(status: BudgetStatus) -> tuple[str, int]:
    return status.budget, status.first_day


def _count(before: BudgetStatus | None, after: BudgetStatus, done: Monitored) -> None:
    """Count what became of a status."""
    state: State = "active" if before is None else before.state
    if after.is_closed:
        done.closed += before is not None and not before.is_closed
    elif state in EXHAUSTED and after.state not in EXHAUSTED:
        done.lowered += 1
