"""One contract for all stores of budgets: revisions follow one another, whoever writes them."""

import asyncio

from tests.calls import asynchronous
from tests.contract.conftest import OpenState
from worker.core.budget_terms import Budget, Scope

TEAM = Budget(
    name="research",
    scope=Scope("team", "research"),
    limit_amount=500 * 10**12,
    period="14-day",
    anchor_day=20_000,
    thresholds=(50, 100),
    created_at_ms=1_790_856_000_000,
)


def _next(budget: Budget, **changes: object) -> Budget:
    fields = {name: getattr(budget, name) for name in Budget.__struct_fields__}
    return Budget(**{**fields, "revision": budget.revision + 1, **changes})


@asynchronous
async def test_budgets_are_kept_as_they_are_by_name(open_state: OpenState) -> None:
    names = ["b", "a", "ä", "Z", "with/slash and space", "#", "x" * 1_500 + "1", "x" * 1_500 + "2"]
    kept = [_next(TEAM, name=name, revision=1) for name in names]
    huge = Budget("everything", Scope("everything"), limit_amount=10**30)
    async with open_state() as state:
        assert await state.budgets.budgets() == []
        for budget in [*kept, huge]:
            assert await state.budgets.put(budget)
        assert await state.budgets.budgets() == sorted([*kept, huge], key=lambda one: one.name)


@asynchronous
async def test_only_the_next_revision_is_kept(open_state: OpenState) -> None:
    async with open_state() as state:
        assert not await state.budgets.put(_next(TEAM)), "nothing to follow"
        assert await state.budgets.budgets() == []
        assert await state.budgets.put(TEAM)
        second = _next(TEAM, limit_amount=1)
        for wrong in (TEAM, _next(TEAM, revision=0), _next(TEAM, revision=3)):
            assert not await state.budgets.put(wrong)
            assert await state.budgets.budgets() == [TEAM]
        assert await state.budgets.put(second)
        assert not await state.budgets.put(second)
        removed = _next(second, is_removed=True)
        assert await state.budgets.put(removed)
        assert await state.budgets.budgets() == [removed]
        again = _next(removed, is_removed=False)
        assert not await state.budgets.put(TEAM), "a budget set anew goes on where it ended"
        assert await state.budgets.put(again)
        assert await state.budgets.budgets() == [again]


@asynchronous
async def test_of_several_who_change_a_budget_at_once_one_wins(open_state: OpenState) -> None:
    async with open_state() as state:
        for revision in (1, 2, 3):
            rivals = [_next(TEAM, revision=revision, limit_amount=limit) for limit in range(1, 9)]
            won = await asyncio.gather(*(state.budgets.put(rival) for rival in rivals))
            assert won.count(True) == 1
            assert await state.budgets.budgets() == [rivals[won.index(True)]]


@asynchronous
async def test_budgets_outlive_the_process(open_kept_state: OpenState) -> None:
    async with open_kept_state() as state:
        assert await state.budgets.put(TEAM)
    async with open_kept_state() as state:
        assert await state.budgets.budgets() == [TEAM]
        assert not await state.budgets.put(TEAM)


@asynchronous
async def test_a_budget_is_found_by_its_name(open_state: OpenState) -> None:
    async with open_state() as state:
        assert await state.budgets.find("research") is None
        assert await state.budgets.put(TEAM)
        assert await state.budgets.find("research") == TEAM
        removed = _next(TEAM, is_removed=True)
        assert await state.budgets.put(removed)
        assert await state.budgets.find("research") == removed
        assert await state.budgets.find("resear") is None
        longest = _next(TEAM, name="x" * 1_500, revision=1)
        assert await state.budgets.put(longest)
        assert await state.budgets.find("x" * 1_500) == longest
        assert await state.budgets.find("x" * 1_501) is None


@asynchronous
async def test_budgets_that_changed_since_are_found_removed_ones_included(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        then = TEAM.created_at_ms
        kept = [
            _next(TEAM, name=f"b{number:03}", revision=1, created_at_ms=then + number)
            for number in range(120)
        ]
        await asyncio.gather(*(state.budgets.put(budget) for budget in kept))
        assert await state.budgets.changed(then) == kept
        assert await state.budgets.changed(then + 118) == kept[118:]
        assert await state.budgets.changed(then + 120) == []
        later = _next(kept[7], limit_amount=1, created_at_ms=then + 1_000)
        removed = _next(kept[3], is_removed=True, created_at_ms=then + 2_000)
        for budget in (later, removed):
            assert await state.budgets.put(budget)
        assert await state.budgets.changed(then + 120) == [removed, later]
        assert len(await state.budgets.changed(0)) == 120, "each is listed once, as it is"
        known = {one.name: one for one in await state.budgets.budgets()}
        assert await state.budgets.changed(0, known) == []
        # At the same instant, as two commands may: it is a change all the same.
        again = _next(removed, is_removed=False)
        assert await state.budgets.put(again)
        assert await state.budgets.changed(then + 120, known) == [again]
        assert await state.budgets.changed(then + 2_000, known | {"b003": kept[3]}) == [again]
        known.pop("b007")
        assert await state.budgets.changed(then + 120, known) == [again, later]
