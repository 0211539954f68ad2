"""Looking at the budgets of touched scopes after every commit (promise 9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from worker.core.ledger import Leaf
from worker.core.registry import Registry
from worker.ports import BudgetStore, Clock, Ledger, Notice, Outbox

REFRESH_SECONDS = 5.0


class BudgetWatch:
    """Finds thresholds that are crossed, and writes each down once, to be announced.

    Args:
        ledger: Says what was spent.
        budgets: Says which budgets there are; read again every few seconds.
        outbox: Keeps the crossings.
        clock: Says which periods are over.
        registry: Returns the registry in force, for the calendars of scopes.
        late_only: Write down crossings of closed periods alone: a replay that does not
            announce leaves open periods to the worker.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        budgets: BudgetStore,
        outbox: Outbox,
        clock: Clock,
        registry: Callable[[], Registry],
        late_only: bool = False,
    ) -> None:
        """Know no budgets yet."""

    async def look(self, leaves: Iterable[Leaf]) -> list[Notice]:
        """Evaluate the budgets of the leaves' scopes; return crossings that are new.

        Balances are read strongly, with at most one range query for each touched scope that
        has a budget.

        Raises:
            TransientError: Nothing may be acknowledged; looking again is safe.
        """
        raise NotImplementedError

    async def look_at_all(self) -> list[Notice]:
        """Evaluate the current period of every budget: at the start, and from time to time."""
        raise NotImplementedError
