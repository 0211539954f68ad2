"""What the commands on budgets read and write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from worker.adapters.clock import SystemClock
from worker.announcer import Announced, Announcer
from worker.bootstrap import State, open_bus
from worker.core.budget_standing import Standing
from worker.core.budget_terms import Budget
from worker.core.errors import ConfigurationError
from worker.core.events import budget_subject
from worker.core.registry import Registry
from worker.pipeline.budgets import BudgetWatch, Look, standings_of
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

    async def find(self, name: str) -> Budget | None:
        """Return a budget, also one that was removed."""
        found = await self.state.budgets.budgets()
        return next((budget for budget in found if budget.name == name), None)

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
        return await self._standings(*(one for one in found if not one.is_removed))

    async def shown(self, name: str) -> Shown:
        """Return everything about one budget."""
        budget = await self.get(name)
        notices = await self.state.outbox.about(budget_subject(name))
        found = [] if budget.is_removed else await self._standings(budget)
        return Shown(budget=budget, standing=found[0] if found else None, notices=notices)

    async def look_at(self, budget: Budget) -> Look:
        """Read what is spent of a budget, and write down what has been reached."""
        watch = BudgetWatch(
            ledger=self.ledger,
            budgets=self.state.budgets,
            outbox=self.state.outbox,
            clock=self.clock,
            registry=lambda: self.registry,
        )
        return await watch.look_at([budget])

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
            return await Announcer(self.state.outbox, bus, self.clock).announce(notices)
        finally:
            await bus.close()

    async def _standings(self, *budgets: Budget) -> list[Standing]:
        return await standings_of(self.ledger, budgets, self.registry, self.clock.now_ms())
