"""The budgets that a process knows, kept up to date at the cost of what changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from typing import Final

from worker.core.budget_terms import Budget, BudgetPeriod, ScopeKind
from worker.core.ledger import Leaf
from worker.core.spend import is_nobody
from worker.ports import BudgetStore, Clock

REFRESH_SECONDS: Final = 5.0
"""How long a list of budgets is good for."""
REFRESH_ALL_SECONDS: Final = 3_600.0
"""How long it is added to before all of it is read again."""
CHANGED_BEFORE_MS: Final = 120_000
"""How far an index may be behind, and writers' clocks be slow as a rule."""
FURTHER_SECONDS: Final = 30.0
FURTHER_BEFORE_MS: Final = 900_000
"""Now and then it is asked for changes since longer ago. Clocks may be ten minutes apart: AWS
takes requests that were signed within five minutes of its own time (IAM User Guide: "Elements of
an AWS API request signature")."""

Wanted = tuple[Budget, BudgetPeriod]
Periods = dict[tuple[str, int, int], Wanted]
"""What to look at, by name, revision and first day."""
ByKind = dict[ScopeKind, dict[str, list[Budget]]]
"""Budgets that are in force, by kind and id of their scopes."""


class KnownBudgets:
    """Knows which budgets there are.

    Attributes:
        by_kind: Budgets that are in force, by kind and id of their scopes.
        owed: What budgets that were new have not been looked at for yet.

    Args:
        budgets: Where they are kept.
        clock: Ledger time.
        monotonic: Seconds that never go back.
    """

    def __init__(self, budgets: BudgetStore, clock: Clock, monotonic: Callable[[], float]) -> None:
        """Know no budgets yet."""
        self.by_kind: ByKind = {}
        self.owed: Periods = {}
        self._budgets = budgets
        self._clock = clock
        self._monotonic = monotonic
        self._reading = asyncio.Lock()
        self._by_name: dict[str, Budget] = {}
        self._read_at: float | None = None
        self._all_at: float = 0.0
        self._read_at_ms = 0
        self._further_at, self._further_at_ms = 0.0, 0
        # Leaves looked at since the budgets were read: budgets made meanwhile are due for them.
        self._unread: set[Leaf] = set()

    def expire(self) -> None:
        """Ask again before the next look: somebody knows a later revision."""
        if self._read_at is not None:
            self._read_at -= REFRESH_SECONDS

    def owe(self, due: Periods) -> None:
        """Remember what is to be looked at with the next look that succeeds."""
        self.owed |= due

    def settle(self, done: Iterable[tuple[str, int, int]]) -> None:
        """Take note that something was looked at."""
        for key in done:
            self.owed.pop(key, None)

    async def refresh(self, touched: Collection[Leaf]) -> tuple[list[Budget], set[Leaf]]:
        """Find out what changed, where that is due.

        Returns:
            Budgets that are new or changed, and the leaves that were touched since budgets were
            asked for the last time: they are due for those.
        """
        async with self._reading:
            started, started_ms = self._monotonic(), self._clock.now_ms()
            self._unread.update(touched)
            if self._read_at is not None and started - self._read_at < REFRESH_SECONDS:
                return [], set()
            # What is looked at while this reads may miss a budget both now and in the answer.
            earlier, self._unread = self._unread, set(touched)
            is_all = self._read_at is None or started - self._all_at >= REFRESH_ALL_SECONDS
            is_further = is_all or started - self._further_at >= FURTHER_SECONDS
            try:
                if is_all:
                    found = await self._budgets.budgets()
                else:
                    since_ms = self._read_at_ms - CHANGED_BEFORE_MS
                    if is_further:
                        since_ms = self._further_at_ms - FURTHER_BEFORE_MS
                    found = await self._budgets.changed(since_ms, self._by_name)
            except BaseException:
                self._unread |= earlier
                raise
            is_first = self._read_at is None
            new = [one for one in found if self._is_new(one)]
            if new:
                self._take(new)
            self._read_at, self._read_at_ms = started, started_ms
            if is_all:
                self._all_at = started
            if is_further:
                self._further_at, self._further_at_ms = started, started_ms
            return ([], set()) if is_first else (new, earlier | self._unread)

    def _is_new(self, budget: Budget) -> bool:
        known = self._by_name.get(budget.name)
        return known is None or known.revision < budget.revision

    def _take(self, new: Iterable[Budget]) -> None:
        for budget in new:
            before = self._by_name.get(budget.name)
            if before is not None:
                listed = self.by_kind.get(before.scope.kind, {}).get(before.scope.id, [])
                if before in listed:
                    listed.remove(before)
            self._by_name[budget.name] = budget
            if not (budget.is_removed or is_nobody(budget.scope)):
                by_id = self.by_kind.setdefault(budget.scope.kind, {})
                by_id.setdefault(budget.scope.id, []).append(budget)
        # What an earlier revision was due for is the new one's business now.
        self.owed = {
            key: due for key, due in self.owed.items() if self._by_name.get(key[0]) == due[0]
        }


def by_kind(budgets: Iterable[Budget]) -> ByKind:
    """Index budgets that are in force."""
    found: ByKind = {}
    for budget in budgets:
        if not (budget.is_removed or is_nobody(budget.scope)):
            by_id = found.setdefault(budget.scope.kind, {})
            by_id.setdefault(budget.scope.id, []).append(budget)
    return found
