"""Making, changing and removing a budget, whoever else does so at the same time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal

import msgspec

from worker.cli.budgets_work import Books
from worker.core.budget_events import budget_initialized
from worker.core.budget_standing import Standing
from worker.core.budget_terms import THRESHOLDS_DEFAULT, Budget, Scope, check_budget, period_days
from worker.core.errors import ConfigurationError, TransientError
from worker.core.events import budget_subject
from worker.pipeline.notices import notice_of
from worker.ports import Notice

ATTEMPTS: Final = 20
"""How often a change is made anew because somebody else was first."""

Result = Literal["created", "changed", "unchanged"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What `budgets set` was asked for; None leaves a value as it is."""

    name: str
    scope: str | None = None
    limit: int | None = None
    period: str | None = None
    anchor: int | None = None
    thresholds: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What came of `budgets set`.

    Attributes:
        result: Whether there is a new revision.
        standing: What is spent in the current period.
        crossings: What was written down because of it, lowest threshold first.
        notices: Everything on this budget that waits to be announced.
    """

    result: Result
    standing: Standing
    crossings: list[Notice]
    notices: list[Notice]


async def set_one(books: Books, wishes: Wishes) -> Done:
    """Make or change a budget, and look at it at once.

    Raises:
        ConfigurationError: It is no budget.
        TransientError: Others changed it again and again, or the ledger is not available. If
            the budget was kept already, setting it once more does the rest.
    """
    for _ in range(ATTEMPTS):
        before = await books.find(wishes.name)
        budget = _budget(books, before, wishes)
        check_budget(budget)
        is_new = before is None or before.is_removed
        if before is not None and not is_new and _same(before, budget):
            result: Result = "unchanged"
            budget = before
            break
        if await books.state.budgets.put(budget):
            result = "created" if is_new else "changed"
            break
    else:
        raise _busy(wishes.name)
    # Whoever made the first revision may have died before saying so.
    if result == "created" or budget.revision == 1:
        await books.state.outbox.put([_initialized(budget)])
    look = await books.look_at(budget)
    waiting = [one for one in await _about(books, budget) if one.state == "pending"]
    return Done(result=result, standing=look.standings[0], crossings=look.notices, notices=waiting)


async def again(books: Books, done: Done) -> Done:
    """Return the same with its crossings as they are by now, announced or not."""
    if not done.crossings:
        return done
    now = {one.id: one for one in await _about(books, done.standing.budget)}
    return replace(done, crossings=[now.get(one.id, one) for one in done.crossings])


async def _about(books: Books, budget: Budget) -> list[Notice]:
    return await books.state.outbox.about(budget_subject(budget.name))


async def remove_one(books: Books, name: str) -> tuple[Budget, bool]:
    """Remove a budget.

    Returns:
        The removed budget, and whether it was there until now.

    Raises:
        ConfigurationError: There is none of this name.
        TransientError: Others changed it again and again.
    """
    for _ in range(ATTEMPTS):
        before = await books.get(name)
        if before.is_removed:
            return before, False
        after = msgspec.structs.replace(
            before,
            revision=before.revision + 1,
            created_at_ms=books.clock.now_ms(),
            is_removed=True,
        )
        if await books.state.budgets.put(after):
            return after, True
    raise _busy(name)


def _budget(books: Books, before: Budget | None, wishes: Wishes) -> Budget:
    """Return the next revision of a budget, complete."""
    kept = None if before is None or before.is_removed else before
    if kept is None and (wishes.scope is None or wishes.limit is None):
        message = (
            f"there is no budget {wishes.name} yet: give --scope and --limit, such as "
            "--scope team/research --limit 500"
        )
        raise ConfigurationError(message)
    scope = kept.scope if wishes.scope is None and kept else Scope.parse(wishes.scope or "")
    period = wishes.period or (kept.period if kept else "monthly")
    return Budget(
        name=wishes.name,
        scope=scope,
        limit_amount=kept.limit_amount if wishes.limit is None and kept else wishes.limit or 0,
        period=period,
        anchor_day=_anchor_day(books, kept, wishes, scope, period),
        thresholds=wishes.thresholds or (kept.thresholds if kept else THRESHOLDS_DEFAULT),
        revision=1 if before is None else before.revision + 1,
        created_at_ms=books.clock.now_ms(),
    )


def _anchor_day(
    books: Books, kept: Budget | None, wishes: Wishes, scope: Scope, period: str
) -> int:
    if wishes.anchor is not None:
        return wishes.anchor
    if period_days(period) is None:
        return 0
    if kept is not None and kept.period == period:
        return kept.anchor_day
    return books.registry.local_day(scope.kind, scope.id, books.clock.now_ms())


def _same(before: Budget, after: Budget) -> bool:
    """Whether two revisions say the same."""
    return before == msgspec.structs.replace(
        after, revision=before.revision, created_at_ms=before.created_at_ms
    )


def _initialized(budget: Budget) -> Notice:
    event = budget_initialized(budget)
    return notice_of(event, event.occurred_at_ms)


def _busy(name: str) -> TransientError:
    return TransientError(f"budget {name}: others are changing it at the same time; try again")
