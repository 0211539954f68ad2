"""Making, changing and removing a budget, whoever else does so at the same time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeVar

import msgspec

from worker.cli.budgets_work import Books
from worker.core.budget_events import budget_initialized
from worker.core.budget_standing import Standing
from worker.core.budget_terms import (
    BUDGET_ACTIONS,
    BUDGET_UNITS,
    THRESHOLDS_DEFAULT,
    Budget,
    BudgetAction,
    BudgetUnit,
    Scope,
    check_budget,
    is_rolling,
    period_days,
)
from worker.core.errors import ConfigurationError, TransientError
from worker.core.events import budget_subject
from worker.core.money import PICO_PER_USD, parse_usd_to_pico
from worker.pipeline.notices import notice_of
from worker.ports import Notice

GRACE_SECONDS_DEFAULT: Final = 3_600
"""Of a budget that suspends, unless another is asked for."""
ATTEMPTS: Final = 20
"""How often a change is made anew because somebody else was first."""

Result = Literal["created", "changed", "unchanged"]
_Choice = TypeVar("_Choice", bound=str)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What `budgets set` was asked for; None leaves a value as it is."""

    name: str
    scope: str | None = None
    limit: str | None = None
    unit: str | None = None
    action: str | None = None
    grace_seconds: int | None = None
    forecast: bool | None = None
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
        if await books.keep(budget):
            result = "created" if is_new else "changed"
            break
    else:
        raise _busy(wishes.name)
    # Whoever made the first revision may have died before saying so.
    if result == "created" or budget.revision == 1:
        await books.state.outbox.put([_initialized(budget)])
    look = await books.look_at(budget)
    await books.settle(budget)
    [standing] = await books.standings_of(budget)
    waiting = [one for one in await _about(books, budget) if one.state == "pending"]
    return Done(result=result, standing=standing, crossings=look.notices, notices=waiting)


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
            origin="",  # a person's from now on: no tier gives it again
            is_removed=True,
        )
        if await books.keep(after):
            await books.settle(after)
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
    unit = _one_of(BUDGET_UNITS, "--unit", wishes.unit) or (kept.unit if kept else "usd")
    action = _one_of(BUDGET_ACTIONS, "--action", wishes.action) or (
        kept.action if kept else "notify"
    )
    return Budget(
        name=wishes.name,
        scope=scope,
        limit_amount=_limit_amount(kept, wishes, unit),
        unit=unit,
        action=action,
        grace_seconds=_grace_seconds(kept, wishes, action),
        forecast=wishes.forecast if wishes.forecast is not None else bool(kept and kept.forecast),
        period=period,
        anchor_day=_anchor_day(books, kept, wishes, scope, period),
        thresholds=wishes.thresholds or (kept.thresholds if kept else THRESHOLDS_DEFAULT),
        revision=1 if before is None else before.revision + 1,
        created_at_ms=books.clock.now_ms(),
    )


def _one_of(allowed: Sequence[_Choice], option: str, text: str | None) -> _Choice | None:
    found = next((one for one in allowed if one == text), None)
    if text is not None and found is None:
        message = f"{option} {text}: give {' or '.join(allowed)}"
        raise ConfigurationError(message)
    return found


def _limit_amount(kept: Budget | None, wishes: Wishes, unit: BudgetUnit) -> int:
    """Return the limit in its unit: pico-dollars, tokens or requests."""
    if wishes.limit is None and kept is not None:
        if unit != kept.unit:
            message = f"budget {kept.name}: --unit {unit} needs a --limit in it"
            raise ConfigurationError(message)
        return kept.limit_amount
    pico_usd = parse_usd_to_pico(wishes.limit or "0")
    if unit == "usd":
        return pico_usd
    whole, rest = divmod(pico_usd, PICO_PER_USD)
    if rest:
        message = f"--limit {wishes.limit}: give a whole number of {unit}"
        raise ConfigurationError(message)
    return whole


def _grace_seconds(kept: Budget | None, wishes: Wishes, action: BudgetAction) -> int:
    if wishes.grace_seconds is not None:
        return wishes.grace_seconds
    if action == "suspend" and (kept is None or kept.action != "suspend"):
        return GRACE_SECONDS_DEFAULT
    return kept.grace_seconds if kept else 0


def _anchor_day(
    books: Books, kept: Budget | None, wishes: Wishes, scope: Scope, period: str
) -> int:
    if wishes.anchor is not None:
        return wishes.anchor
    if period_days(period) is None or is_rolling(period):
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
