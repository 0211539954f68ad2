"""The budgets of users that are made with a key: of their tier, and of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from worker.bootstrap import State, open_tiers
from worker.core.budget_events import budget_initialized
from worker.core.budget_terms import Budget, check_budget
from worker.core.errors import ConfigurationError, TransientError
from worker.core.registry import Registry
from worker.core.tiers import NO_TIERS, TierBudget, Tiers, budget_name, budgets_of, scope_of
from worker.pipeline.budget_looks import BudgetLooks, keep_budget
from worker.pipeline.notices import notice_of
from worker.ports import Clock
from worker.settings import Settings

ATTEMPTS: Final = 20
OWN_LIMIT: Final = "own_limit"
"""Label of the budget of `--limit`; no tier can have it."""


def chosen_budgets(
    tiers: Tiers, tier: str | None, limit: int | None, grace_seconds: int
) -> Callable[[str], Sequence[Budget]]:
    """Return what works out the budgets of a principal.

    Args:
        tiers: The operator's.
        tier: The one that was asked for; None for the default of users.
        limit: Of a monthly budget of its own, in pico-dollars; None for none.
        grace_seconds: Of that one.

    Raises:
        ConfigurationError: There is no such tier, or there would be no budget at all.
    """
    if tier is not None and tier not in tiers.tiers:
        known = ", ".join(sorted(tiers.tiers))
        advice = f"tiers are {known}" if known else "set LEDGEROCK_TIERS to a file that has it"
        message = f"--tier {tier}: there is no such tier; {advice}"
        raise ConfigurationError(message)
    chosen = tiers.defaults.get("user", "") if tier is None else tier
    if limit is None and not tiers.tiers.get(chosen):
        message = (
            "a key without a budget could spend without end: give --limit USD, or --tier TIER of "
            "LEDGEROCK_TIERS"
        )
        raise ConfigurationError(message)

    def budgets(principal: str) -> list[Budget]:
        found = list(budgets_of(tiers, chosen, principal).values())
        if limit is not None:
            own = TierBudget(OWN_LIMIT, limit, grace_seconds=grace_seconds)
            name = budget_name(principal, OWN_LIMIT)
            found.append(own.budget(name, scope_of(principal), ""))
        return found

    for budget in budgets("user/111122223333/name"):
        check_budget(budget)
    return budgets


class KeyBudgets:
    """Sets and removes budgets in a ledger's state.

    Args:
        state: Keeps them, and what is announced of them.
        clock: Ledger time.
        registry: Says whose days are which.
    """

    def __init__(self, state: State, clock: Clock, registry: Registry) -> None:
        """Take what is open."""
        self._state = state
        self._clock = clock
        self._registry = registry

    async def give(self, budget: Budget) -> None:
        """Set a budget, unless it is set like that already.

        Raises:
            TransientError: Others changed it again and again, or the ledger is not available.
        """
        await self._keep(budget.name, budget)

    async def close(self, name: str) -> None:
        """Remove a budget, unless it is gone; see `give`."""
        await self._keep(name, None)

    async def _keep(self, name: str, wanted: Budget | None) -> None:
        store, looks = self._state.budgets, BudgetLooks(self._state.records, self._clock)
        for _ in range(ATTEMPTS):
            before = await store.find(name)
            after = _next(before, wanted, self._clock.now_ms())
            if after is None:
                return
            if await keep_budget(store, looks, after, self._registry):
                if not after.is_removed:
                    notice = notice_of(budget_initialized(after), after.created_at_ms)
                    await self._state.outbox.put([notice])
                return
        message = f"budget {name}: others keep changing it; run the command again"
        raise TransientError(message)


def _next(before: Budget | None, wanted: Budget | None, now_ms: int) -> Budget | None:
    """Return the next revision of a budget; None if it is as wanted already."""
    replace = msgspec.structs.replace
    if wanted is None:
        if before is None or before.is_removed:
            return None
        return replace(before, is_removed=True, revision=before.revision + 1, created_at_ms=now_ms)
    revision = 0 if before is None else before.revision
    created_at_ms = 0 if before is None else before.created_at_ms
    if before == replace(wanted, revision=revision, created_at_ms=created_at_ms):
        return None
    return replace(wanted, revision=revision + 1, created_at_ms=now_ms)


async def load_tiers(settings: Settings) -> Tiers:
    """Load the operator's tiers; none where none are set.

    Raises:
        ConfigurationError: They cannot be read.
        TransientError: The Parameter Store cannot be reached now.
    """
    source = open_tiers(settings)
    if source is None:
        return NO_TIERS
    try:
        return await source.tiers()
    finally:
        close = getattr(source, "close", None)
        if close is not None:
            await close()
