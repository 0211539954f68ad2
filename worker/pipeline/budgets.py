"""Looking at the budgets of touched scopes after every commit (promise 9)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

import msgspec

from worker.core.budget import EXHAUSTED, Crossing, crossings_of, first_status, is_group
from worker.core.budget_events import limit_forecast, threshold_crossed
from worker.core.budget_forecast import forecast_of
from worker.core.budget_periods import has_period, period_at, period_of
from worker.core.budget_standing import Standing
from worker.core.budget_terms import Budget, BudgetPeriod, ScopeKind, is_rolling
from worker.core.enforcement import BudgetStatus
from worker.core.events import BUDGET_THRESHOLD_CROSSED
from worker.core.ledger import Leaf
from worker.core.registry import Registry
from worker.core.spend import local_day
from worker.pipeline.budget_looks import BudgetLooks
from worker.pipeline.budget_states import (
    BudgetStates,
    Evaluated,
    days_of,
    spent_of,
    status_key,
    stored_statuses,
    zone_name,
)
from worker.pipeline.known_budgets import KnownBudgets, Periods, Wanted, by_kind
from worker.pipeline.notices import notice_of
from worker.pipeline.side_by_side import side_by_side
from worker.ports import BudgetStore, Clock, Ledger, Notice, Outbox, Records

KNOWN_MAX: Final = 200_000
"""Crossings remembered as written down; beyond it they are written, in vain, once more."""


class Look(msgspec.Struct, frozen=True):
    """What a look at budgets found.

    Attributes:
        standings: What was spent, for each budget and period that was looked at.
        notices: Crossings that nobody had written down before.
    """

    standings: list[Standing]
    notices: list[Notice]


NOTHING: Final = Look([], [])


class BudgetWatch:
    """Finds thresholds that are crossed, and writes down once what follows.

    It looks at levels, never at changes: every look reads what is spent and writes down all
    that has been reached. So nothing is lost when a look fails or its process dies, as long as
    what was touched is looked at again, and a worker that is told of a call for the second time
    does exactly that. What no commit brings about is a look that is due (`BudgetLooks`).

    It moves budgets' states, and notes members of exhausted groups. To suspend and to restore is
    the monitor's.

    Args:
        ledger: Says what was spent.
        budgets: Says which budgets there are; asked every few seconds what changed.
        outbox: Keeps the crossings, and what else is to be told.
        records: Keep the states, and looks that are due.
        clock: Says which periods are over.
        registry: Returns the registry in force, for the calendars of scopes.
        late_only: Write down crossings of closed periods alone: a replay that does not
            announce leaves open periods to the worker, and asks it to look.
        monotonic: Seconds that never go back, for reading budgets again.
    """

    def __init__(  # noqa: PLR0913 - the ports that it needs
        self,
        *,
        ledger: Ledger,
        budgets: BudgetStore,
        outbox: Outbox,
        records: Records,
        clock: Clock,
        registry: Callable[[], Registry],
        late_only: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know no budgets yet."""
        self.looks = BudgetLooks(records, clock)
        self.states = BudgetStates(
            ledger=ledger, records=records, outbox=outbox, clock=clock, registry=registry
        )
        self._ledger = ledger
        self._outbox = outbox
        self._clock = clock
        self._registry = registry
        self._late_only = late_only
        self._known_budgets = KnownBudgets(budgets, clock, monotonic)
        self._known: set[str] = set()

    async def look(
        self, leaves: Iterable[Leaf], spending: Collection[Leaf] | None = None
    ) -> list[Notice]:
        """Evaluate the budgets of the leaves' scopes; return crossings that are new.

        Balances are read strongly, with at most one range query for each touched scope that
        has a budget; where a spend has fallen, with one more.

        Args:
            leaves: What was touched.
            spending: Those of them to which something was added just now: whoever spends of a
                group's exhausted budget is noted. None for all. A call that is only told of
                again may have been made before the budget was exhausted.

        Raises:
            TransientError: Nothing may be acknowledged; looking again is safe.
        """
        touched = set(leaves)
        await self._refresh(touched)
        periods = self._touched(touched, self._known_budgets.by_kind)
        spenders = touched if spending is None else touched.intersection(spending)
        return (await self._look(periods, touched, spenders)).notices

    async def look_at(self, budgets: Iterable[Budget]) -> Look:
        """Evaluate the current period of some budgets.

        Raises:
            TransientError: Looking again is safe.
        """
        now_ms, registry = self._clock.now_ms(), self._registry()
        found = [(one, period_at(one, now_ms, registry)) for one in budgets if not one.is_removed]
        return await self._evaluate({_key(*one): one for one in found})

    async def look_at_periods(self, wanted: Iterable[Wanted]) -> Look:
        """Evaluate some periods, and act on deadlines and on periods that are over.

        For the monitor. The budgets must have been read strongly, just now.

        Raises:
            TransientError: Looking again is safe.
        """
        return await self._evaluate({_key(*one): one for one in wanted}, acts=True)

    def covers(self, principal: str) -> bool:
        """Whether a principal has a budget of its own, as far as was read lately."""
        by_kind = self._known_budgets.by_kind
        return any(principal in by_kind.get(kind, {}) for kind in ("principal", "agent"))

    async def in_force(self) -> frozenset[str]:
        """Return the names of the budgets that are in force, as of some seconds ago.

        Raises:
            TransientError: They cannot be read; asking again is safe.
        """
        await self._refresh(())
        kinds = self._known_budgets.by_kind.values()
        return frozenset(one.name for by_id in kinds for some in by_id.values() for one in some)

    async def look_later(self, leaves: Iterable[Leaf]) -> None:
        """Have the budgets of some leaves looked at in a while, whatever becomes of this process.

        To be called before calls are rebooked from and to them.

        Raises:
            TransientError: Nothing was rebooked yet; calling again is safe.
        """
        touched = set(leaves)
        await self._refresh(touched)
        periods = self._touched(touched, self._known_budgets.by_kind)
        await self.looks.later({(name, max(day, 0)) for name, _, day in periods})

    async def _refresh(self, touched: Collection[Leaf]) -> None:
        new, missed = await self._known_budgets.refresh(touched)
        if new:
            due = self._touched(missed, by_kind(new))
            self._known_budgets.owe(due)

    def _touched(
        self, leaves: Iterable[Leaf], by_kind: Mapping[ScopeKind, Mapping[str, list[Budget]]]
    ) -> Periods:
        """Map leaves to the budgets of their scopes, and to the periods that their days lie in."""
        days: dict[tuple[str, int], Budget] = {}
        for leaf in leaves:
            for kind, by_id in by_kind.items():
                scope_id = "" if kind == "everything" else getattr(leaf, kind)
                # A day that is not known yet lies in no period.
                if leaf.day and (found := by_id.get(scope_id)):
                    day = local_day(leaf, kind)
                    days.update(((budget.name, day), budget) for budget in found)
        registry, now_ms = self._registry(), self._clock.now_ms()
        touched: Periods = {}
        for (_, day), budget in days.items():
            if not has_period(day):
                continue
            if is_rolling(budget.period):
                period = period_at(budget, now_ms, registry)
                if not period.first_day <= day <= period.last_day:
                    continue
            else:
                zone = registry.zone(budget.scope.kind, budget.scope.id)
                period = period_of(budget, day, zone)
            touched[_key(budget, period)] = (budget, period)
        return touched

    async def _look(
        self, periods: Periods, touched: Collection[Leaf], spenders: Collection[Leaf]
    ) -> Look:
        """Evaluate what was touched, and what is owed; note who spends of exhausted budgets."""
        wanted = self._known_budgets.owed | periods
        if self._late_only:
            now_ms = self._clock.now_ms()
            late = {key: one for key, one in wanted.items() if one[1].end_ms <= now_ms}
            await self.looks.later(
                {(key[0], max(key[2], 0)) for key in wanted.keys() - late.keys()}
            )
            look = await self._evaluate(late, moves=False)
        else:
            look = await self._evaluate(wanted, touched=touched, spenders=spenders)
        self._known_budgets.settle(wanted)
        return look

    async def _evaluate(
        self,
        wanted: Periods,
        *,
        acts: bool = False,
        moves: bool = True,
        touched: Collection[Leaf] = (),
        spenders: Collection[Leaf] = (),
    ) -> Look:
        """Read what was spent, and write down what has been reached and what follows."""
        if not wanted:
            return NOTHING
        now_ms = self._clock.now_ms()
        seen = await self._read(list(wanted.values()), is_ordered=acts, moves=moves)
        new = await self._write(seen, now_ms)
        statuses: dict[tuple[str, int, int], BudgetStatus] = {}

        async def move(one: Evaluated) -> None:
            status = await self.states.move(one, acts=acts)
            statuses[_key(one.budget, one.period)] = status
            if status.revision > one.budget.revision:
                self._known_budgets.expire()
            if is_group(status.scope) and status.state in EXHAUSTED:
                is_first = one.status.state not in EXHAUSTED
                who = touched if is_first else spenders
                await self.states.note(status, self._spenders(one, who))

        if moves:
            await side_by_side(seen, move)
        return Look([_standing(one, statuses) for one in seen], new)

    async def _read(
        self, wanted: list[Wanted], *, is_ordered: bool, moves: bool
    ) -> list[Evaluated]:
        """Read statuses and spends: beside each other, or the statuses first.

        Closed periods are the monitor's: nobody else reads their statuses.
        """
        now_ms = self._clock.now_ms()
        asked = [days_of(*one) for one in wanted]
        ranges = list(dict.fromkeys(asked))
        open_ones = [one for one in wanted if moves and (is_ordered or one[1].end_ms > now_ms)]
        if is_ordered:
            statuses = await self.states.read(open_ones)
            spends = await self._ledger.spend(ranges)
        else:
            statuses, spends = await asyncio.gather(
                self.states.read(open_ones), self._ledger.spend(ranges)
            )
        spent = dict(zip(ranges, spends, strict=True))
        return [
            Evaluated(
                budget,
                period,
                spent_of(budget, spent[days]),
                statuses.get(status_key(budget, period)) or first_status(budget, period),
                is_fresh=is_ordered,
            )
            for (budget, period), days in zip(wanted, asked, strict=True)
        ]

    async def _write(self, seen: Iterable[Evaluated], now_ms: int) -> list[Notice]:
        """Write down crossings and forecasts; return the crossings that are new."""
        crossings: list[Crossing] = []
        notices: list[Notice] = []
        registry = self._registry()
        for one in seen:
            status = one.status
            is_same = is_rolling(one.budget.period) and status.revision == one.budget.revision
            crossings += crossings_of(
                one.budget,
                one.period,
                one.spent_amount,
                now_ms,
                self._known,
                above=status.reached if is_same else 0,
            )
            forecast = forecast_of(one.budget, one.period, one.spent_amount, now_ms)
            if forecast is not None and forecast.event_id not in self._known:
                zone = zone_name(one.budget, registry)
                notices.append(notice_of(limit_forecast(forecast, now_ms, time_zone=zone), now_ms))
        notices += [_notice_of(one, now_ms, registry) for one in crossings]
        if not notices:
            return []
        new = await self._outbox.put(notices)
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known.update(one.id for one in notices)
        return [one for one in new if one.detail_type == BUDGET_THRESHOLD_CROSSED]

    def _spenders(self, seen: Evaluated, leaves: Iterable[Leaf]) -> set[str]:
        """Return who of some leaves spent of a group's budget in a period."""
        kind, scope_id = seen.budget.scope.kind, seen.budget.scope.id
        first, last = seen.period.first_day, seen.period.last_day
        return {
            leaf.principal
            for leaf in leaves
            if getattr(leaf, kind) == scope_id and first <= local_day(leaf, kind) <= last
        }


def _notice_of(crossing: Crossing, now_ms: int, registry: Registry) -> Notice:
    """Return a crossing as the outbox keeps it: to be announced, unless its period is over."""
    zone = zone_name(crossing.budget, registry)
    event = threshold_crossed(crossing, now_ms, time_zone=zone)
    return notice_of(event, now_ms, state="late" if crossing.is_late else "pending")


async def standings_of(
    ledger: Ledger,
    budgets: Iterable[Budget],
    registry: Registry,
    now_ms: int,
    records: Records | None = None,
) -> list[Standing]:
    """Return what is spent of the current periods of some budgets; write nothing down.

    Args:
        ledger: Says what was spent.
        budgets: Which.
        registry: Says which days are whose.
        now_ms: Epoch milliseconds UTC.
        records: Say where enforcement stands; None leaves that out.

    Raises:
        TransientError: Asking again may help.
    """
    current = [(one, period_at(one, now_ms, registry)) for one in budgets]
    if not current:
        return []
    ranges = list(dict.fromkeys(days_of(*one) for one in current))
    spends = dict(zip(ranges, await ledger.spend(ranges), strict=True))
    statuses = {} if records is None else await stored_statuses(records, current)
    return [
        Standing(
            budget,
            period,
            spent_of(budget, spends[days_of(budget, period)]),
            statuses.get(status_key(budget, period)),
        )
        for budget, period in current
    ]


def _standing(seen: Evaluated, statuses: Mapping[tuple[str, int, int], BudgetStatus]) -> Standing:
    """Return what was found, with the status that it has by now, if one is stored."""
    status = statuses.get(_key(seen.budget, seen.period))
    kept = status if status is not None and status.version else None
    return Standing(seen.budget, seen.period, seen.spent_amount, kept)


def _key(budget: Budget, period: BudgetPeriod) -> tuple[str, int, int]:
    return budget.name, budget.revision, period.first_day
