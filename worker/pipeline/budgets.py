"""Looking at the budgets of touched scopes after every commit (promise 9)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import msgspec

from worker.core.budget import Crossing, crossings_of
from worker.core.budget_events import threshold_crossed
from worker.core.budget_periods import has_period, period_at, period_of
from worker.core.budget_standing import Standing
from worker.core.budget_terms import Budget, BudgetPeriod, ScopeDays, ScopeKind
from worker.core.ledger import Leaf
from worker.core.registry import Registry
from worker.core.spend import is_nobody, local_day
from worker.pipeline.notices import notice_of
from worker.ports import BudgetStore, Clock, Ledger, Notice, Outbox

REFRESH_SECONDS: Final = 5.0
"""How long a list of budgets is good for."""

KNOWN_MAX: Final = 200_000
"""Crossings remembered as written down; beyond it they are written, in vain, once more."""

_Periods = dict[tuple[str, int, int], tuple[Budget, BudgetPeriod]]
"""What to look at, by name, revision and first day."""


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
    """Finds thresholds that are crossed, and writes each down once, to be announced.

    It looks at levels, never at changes: every look reads what is spent and writes down all
    that has been reached. So nothing is lost when a look fails or its process dies, as long as
    what was touched is looked at again, and a worker that is told of a call for the second time
    does exactly that.

    Args:
        ledger: Says what was spent.
        budgets: Says which budgets there are; read again every few seconds.
        outbox: Keeps the crossings.
        clock: Says which periods are over.
        registry: Returns the registry in force, for the calendars of scopes.
        late_only: Write down crossings of closed periods alone: a replay that does not
            announce leaves open periods to the worker.
        monotonic: Seconds that never go back, for reading budgets again.
    """

    def __init__(  # noqa: PLR0913 - the ports that it needs
        self,
        *,
        ledger: Ledger,
        budgets: BudgetStore,
        outbox: Outbox,
        clock: Clock,
        registry: Callable[[], Registry],
        late_only: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Know no budgets yet."""
        self._ledger = ledger
        self._budgets = budgets
        self._outbox = outbox
        self._clock = clock
        self._registry = registry
        self._late_only = late_only
        self._monotonic = monotonic
        self._reading = asyncio.Lock()
        self._read_at: float | None = None
        self._read_at_ms: int | None = None
        self._by_name: dict[str, Budget] = {}
        self._by_kind: dict[ScopeKind, dict[str, list[Budget]]] = {}
        # Leaves looked at since the budgets were read: budgets made meanwhile are due for them.
        self._unread: set[Leaf] = set()
        # What budgets that were new have not been looked at for yet.
        self._due: _Periods = {}
        self._known: set[str] = set()

    async def look(self, leaves: Iterable[Leaf]) -> list[Notice]:
        """Evaluate the budgets of the leaves' scopes; return crossings that are new.

        Balances are read strongly, with at most one range query for each touched scope that
        has a budget.

        Raises:
            TransientError: Nothing may be acknowledged; looking again is safe.
        """
        touched = set(leaves)
        await self._refresh()
        self._unread |= touched
        return (await self._evaluate(self._touched(touched, self._by_kind))).notices

    async def look_at_all(self) -> list[Notice]:
        """Evaluate the current period of every budget: at the start, and from time to time."""
        if self._late_only:
            return []
        await self._refresh(now=True)
        return (await self.look_at(self._by_name.values())).notices

    async def look_at(self, budgets: Iterable[Budget]) -> Look:
        """Evaluate the current period of some budgets.

        Raises:
            TransientError: Looking again is safe.
        """
        return await self._evaluate(self._current(budgets, self._clock.now_ms()))

    async def _refresh(self, *, now: bool = False) -> None:
        """Read the budgets again where that is due."""
        async with self._reading:
            started, started_ms = self._monotonic(), self._clock.now_ms()
            if not now and self._read_at is not None and started - self._read_at < REFRESH_SECONDS:
                return
            # What is looked at while this reads may miss a budget both now and in the answer.
            earlier, self._unread = self._unread, set()
            try:
                found = await self._budgets.budgets()
            except BaseException:
                self._unread |= earlier
                raise
            new = [one for one in found if one != self._by_name.get(one.name)]
            # A budget made just before its period ended, too.
            for at_ms in {started_ms, started_ms if self._read_at_ms is None else self._read_at_ms}:
                self._due |= self._current(new, at_ms)
            self._due |= self._touched(earlier | self._unread, _by_kind(new))
            self._by_name = {one.name: one for one in found}
            self._by_kind = _by_kind(found)
            # What an earlier revision was due for is the new one's business now.
            self._due = {
                key: due for key, due in self._due.items() if self._by_name.get(key[0]) == due[0]
            }
            self._read_at, self._read_at_ms = started, started_ms

    def _current(self, budgets: Iterable[Budget], at_ms: int) -> _Periods:
        registry = self._registry()
        return {
            _key(budget, period): (budget, period)
            for budget in budgets
            if not budget.is_removed
            for period in (period_at(budget, at_ms, registry),)
        }

    def _touched(
        self, leaves: Iterable[Leaf], by_kind: Mapping[ScopeKind, Mapping[str, list[Budget]]]
    ) -> _Periods:
        """Map leaves to the budgets of their scopes, and to the periods that their days lie in."""
        days: dict[tuple[str, int], Budget] = {}
        for leaf in leaves:
            for kind, by_id in by_kind.items():
                scope_id = "" if kind == "everything" else getattr(leaf, kind)
                # A day that is not known yet lies in no period.
                if leaf.day and (found := by_id.get(scope_id)):
                    day = local_day(leaf, kind)
                    days.update(((budget.name, day), budget) for budget in found)
        registry = self._registry()
        touched: _Periods = {}
        for (_, day), budget in days.items():
            if has_period(day):
                zone = registry.zone(budget.scope.kind, budget.scope.id)
                period = period_of(budget, day, zone)
                touched[_key(budget, period)] = (budget, period)
        return touched

    async def _evaluate(self, periods: _Periods) -> Look:
        """Read what was spent, and write down what has been reached."""
        now_ms = self._clock.now_ms()
        wanted = self._due | periods
        if self._late_only:
            wanted = {key: one for key, one in wanted.items() if one[1].end_ms <= now_ms}
        if not wanted:
            return NOTHING
        asked = {key: _days(*one) for key, one in wanted.items()}
        ranges = list(dict.fromkeys(asked.values()))
        spends = await self._ledger.spend(ranges)
        spent = {days: one.cost_pico_usd for days, one in zip(ranges, spends, strict=True)}
        standings = {key: Standing(*one, spent[asked[key]]) for key, one in wanted.items()}
        crossings = [
            crossing
            for one in standings.values()
            for crossing in crossings_of(
                one.budget, one.period, one.spent_amount, now_ms, self._known
            )
        ]
        new = await self._write(crossings, now_ms)
        for key in wanted:
            self._due.pop(key, None)
        return Look([standings[key] for key in periods if key in standings], new)

    async def _write(self, crossings: list[Crossing], now_ms: int) -> list[Notice]:
        if not crossings:
            return []
        registry = self._registry()
        new = await self._outbox.put([_notice_of(one, now_ms, registry) for one in crossings])
        if len(self._known) >= KNOWN_MAX:
            self._known.clear()
        self._known.update(one.event_id for one in crossings)
        return new


def _notice_of(crossing: Crossing, now_ms: int, registry: Registry) -> Notice:
    """Return a crossing as the outbox keeps it: to be announced, unless its period is over."""
    scope = crossing.budget.scope
    zone = registry.zone(scope.kind, scope.id)
    event = threshold_crossed(crossing, now_ms, time_zone="UTC" if zone is None else str(zone))
    return notice_of(event, now_ms, state="late" if crossing.is_late else "pending")


async def standings_of(
    ledger: Ledger, budgets: Iterable[Budget], registry: Registry, now_ms: int
) -> list[Standing]:
    """Return what is spent of the current periods of some budgets; write nothing down.

    Raises:
        TransientError: Asking again may help.
    """
    current = [(one, period_at(one, now_ms, registry)) for one in budgets]
    if not current:
        return []
    ranges = list(dict.fromkeys(_days(*one) for one in current))
    spends = dict(zip(ranges, await ledger.spend(ranges), strict=True))
    return [Standing(*one, spends[_days(*one)].cost_pico_usd) for one in current]


def _days(budget: Budget, period: BudgetPeriod) -> ScopeDays:
    return ScopeDays(budget.scope, period.first_day, period.last_day)


def _key(budget: Budget, period: BudgetPeriod) -> tuple[str, int, int]:
    return budget.name, budget.revision, period.first_day


def _by_kind(budgets: Iterable[Budget]) -> dict[ScopeKind, dict[str, list[Budget]]]:
    found: dict[ScopeKind, dict[str, list[Budget]]] = {}
    for budget in budgets:
        if not (budget.is_removed or is_nobody(budget.scope)):
            by_id = found.setdefault(budget.scope.kind, {})
            by_id.setdefault(budget.scope.id, []).append(budget)
    return found
