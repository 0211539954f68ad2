"""What the commands on budgets read and write."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import cast

from worker.adapters.clock import SystemClock
from worker.announcer import Announced
from worker.bootstrap import (
    State,
    make_announcer,
    make_registry,
    open_bus,
    open_ledger,
    open_state,
)
from worker.core.budget_standing import Standing
from worker.core.budget_terms import Budget
from worker.core.enforcement import Mode
from worker.core.errors import ConfigurationError
from worker.core.events import budget_subject
from worker.core.registry import Registry
from worker.monitor import Monitor
from worker.pipeline.budget_looks import keep_budget
from worker.pipeline.budgets import BudgetWatch, Look, standings_of
from worker.pipeline.suspensions import Suspensions
from worker.ports import Ledger, Notice
from worker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One budget as `budgets show` shows it.

    Attributes:
        budget: The budget.
        standing: What is spent in its current period; None if it was removed.
        notices: What was told of it, by time.
    """

    budget: Budget
    standing: Standing | None
    notices: list[Notice]


class Books:
    """A ledger and the budgets on it.

    Args:
        settings: What they were opened from.
        ledger: Says what was spent.
        state: Keeps the budgets.
        registry: Says which days are whose.
    """

    def __init__(
        self, settings: Settings, ledger: Ledger, state: State, registry: Registry
    ) -> None:
        """Take what is open."""
        self.settings = settings
        self.ledger = ledger
        self.state = state
        self.registry = registry
        self.clock = SystemClock()
        self._watch = BudgetWatch(
            ledger=ledger,
            budgets=state.budgets,
            outbox=state.outbox,
            records=state.records,
            clock=self.clock,
            registry=lambda: self.registry,
        )

    async def find(self, name: str) -> Budget | None:
        """Return a budget, also one that was removed."""
        return await self.state.budgets.find(name)

    async def get(self, name: str) -> Budget:
        """Return a budget, also one that was removed.

        Raises:
            ConfigurationError: There is none of this name.
        """
        budget = await self.find(name)
        if budget is None:
            message = f"{name}: no such budget; `ledgerock budgets list` names them all"
            raise ConfigurationError(message)
        return budget

    async def standings(self) -> list[Standing]:
        """Return how all budgets stand that were not removed, by name."""
        found = await self.state.budgets.budgets()
        return await self.standings_of(*(one for one in found if not one.is_removed))

    async def shown(self, name: str) -> Shown:
        """Return everything about one budget."""
        budget = await self.get(name)
        notices = await self.state.outbox.about(budget_subject(name))
        found = [] if budget.is_removed else await self.standings_of(budget)
        return Shown(budget=budget, standing=found[0] if found else None, notices=notices)

    async def look_at(self, budget: Budget) -> Look:
        """Read what is spent of a budget, and write down what has been reached."""
        return await self._watch.look_at([budget])

    async def keep(self, budget: Budget) -> bool:
        """Keep the next revision of a budget, and have it looked at; False if it is not next."""
        return await keep_budget(self.state.budgets, self._watch.looks, budget, self.registry)

    async def settle(self, budget: Budget) -> None:
        """Do at once what follows from a change: holds are put or lifted, as far as is due."""
        holds = Suspensions(
            records=self.state.records,
            outbox=self.state.outbox,
            clock=self.clock,
            mode=cast("Mode", self.settings.enforcement.mode),
        )
        monitor = Monitor(
            budgets=self.state.budgets,
            watch=self._watch,
            holds=holds,
            outbox=self.state.outbox,
            clock=self.clock,
            registry=lambda: self.registry,
        )
        await monitor.settle(budget.name)

    async def announce(self, name: str | None, notices: Sequence[Notice]) -> Announced:
        """Announce notices that were just written on a bus, if one is named.

        Raises:
            ConfigurationError: There is no such bus.
        """
        worker = replace(self.settings.worker, bus=name or "")
        bus = open_bus(replace(self.settings, worker=worker))
        if bus is None:
            return Announced()
        try:
            announcer = make_announcer(
                self.settings.enforcement,
                outbox=self.state.outbox,
                bus=bus,
                clock=self.clock,
                records=self.state.records,
            )
            return await announcer.announce(notices)
        finally:
            await bus.close()

    async def standings_of(self, *budgets: Budget) -> list[Standing]:
        """Return how some budgets stand."""
        return await standings_of(
            self.ledger, budgets, self.registry, self.clock.now_ms(), self.state.records
        )


@asynccontextmanager
async def open_books(settings: Settings, *, must_exist: bool = False) -> AsyncIterator[Books]:
    """Open a ledger and the budgets on it.

    Args:
        settings: Which ledger and registry.
        must_exist: Refuse to make a new ledger.

    Raises:
        ConfigurationError: One of them cannot be opened.
    """
    registry = make_registry(settings)
    ledger = open_ledger(settings, must_exist=must_exist)
    try:
        state = open_state(settings, must_exist=must_exist)
        try:
            yield Books(settings, ledger, state, registry)
        finally:
            await state.close()
    finally:
        await ledger.close()
