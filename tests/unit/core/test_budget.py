from collections.abc import Callable

import pytest

from worker.core.budget import Crossing, crossing_id, crossings_of
from worker.core.budget_standing import Standing
from worker.core.budget_terms import (
    LIMIT_USD_MAX,
    Budget,
    BudgetPeriod,
    Scope,
    check_budget,
    period_days,
)
from worker.core.errors import ConfigurationError
from worker.core.money import PICO_PER_USD

TEAM = Scope("team", "research")
OPEN = BudgetPeriod(first_day=20_758, last_day=20_787, start_ms=1_000, end_ms=2_000)
"""November 2026; its instants are made up."""


def budget(**changes: object) -> Budget:
    made = {"name": "research", "scope": TEAM, "limit_amount": 500 * PICO_PER_USD, **changes}
    return Budget(**made)  # type: ignore[arg-type]  # values of the test


def crossed(spent: int, now_ms: int = 1_500, **changes: object) -> list[Crossing]:
    return crossings_of(budget(**changes), OPEN, spent, now_ms)


# --- Crossings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [70, 90, 100])
def test_a_threshold_is_crossed_at_exactly_its_share_to_the_pico_dollar(threshold: int) -> None:
    exactly = 5 * threshold * PICO_PER_USD
    below = [one.threshold for one in crossed(exactly - 1)]
    at = [one.threshold for one in crossed(exactly)]
    assert threshold not in below
    assert at == [*below, threshold]


def test_shares_that_are_no_whole_pico_dollars_are_never_rounded() -> None:
    # 70 % of 1 pico-dollar is 0.7 of one: 0 is below it, 1 beyond.
    assert crossed(0, limit_amount=1) == []
    assert [one.threshold for one in crossed(1, limit_amount=1)] == [70, 90, 100]
    # 70 % of 3 is 2.1, and no float says so.
    assert [one.threshold for one in crossed(2, limit_amount=3)] == []
    large = LIMIT_USD_MAX * PICO_PER_USD - 1
    assert [one.threshold for one in crossed(large - 1, limit_amount=large)] == [70, 90]


def test_the_highest_of_those_found_together_is_marked() -> None:
    spent = 470 * PICO_PER_USD
    found = crossed(spent)
    assert [(one.threshold, one.is_highest) for one in found] == [(70, False), (90, True)]
    known = {one.event_id for one in found}
    spent = 900 * PICO_PER_USD
    [later] = crossings_of(budget(), OPEN, spent, 1_500, known)
    assert (later.threshold, later.is_highest, later.spent_amount) == (100, True, spent)


def test_what_is_found_from_the_end_of_its_period_on_is_late() -> None:
    everything = 500 * PICO_PER_USD
    assert {one.is_late for one in crossed(everything, 1_999)} == {False}
    assert {one.is_late for one in crossed(everything, 2_000)} == {True}


def test_removed_budgets_and_negative_spend_cross_nothing() -> None:
    assert crossed(500 * PICO_PER_USD, is_removed=True) == []
    assert crossed(-1) == []


def test_ids_can_be_read_and_are_of_one_revision_period_and_threshold() -> None:
    made = crossing_id(budget(), OPEN.first_day, 70)
    assert made == "crossing-research-r1-2026-11-01-70-3a57d8f84bb2"
    others = {
        crossing_id(budget(name="research-r1"), OPEN.first_day, 70),
        crossing_id(budget(revision=2), OPEN.first_day, 70),
        crossing_id(budget(), OPEN.first_day + 1, 70),
        crossing_id(budget(), OPEN.first_day, 7),
        crossing_id(budget(revision=11), OPEN.first_day, 70),
    }
    assert len(others | {made}) == 6
    assert crossing_id(budget(limit_amount=1), OPEN.first_day, 70) == made


# --- Standing ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "thresholds,per_cent,state",
    [
        ((70, 90, 100), 69, "ok"),
        ((70, 90, 100), 70, "warning"),
        ((70, 90, 100), 90, "critical"),
        ((70, 90, 100), 100, "exceeded"),
        ((50,), 99, "warning"),
        ((50,), 100, "exceeded"),
        ((150,), 149, "exceeded"),
        ((50, 80, 95), 94, "warning"),
        ((50, 80, 95), 95, "critical"),
    ],
)
def test_a_budget_stands_by_the_highest_threshold_that_is_reached(
    thresholds: tuple[int, ...], per_cent: int, state: str
) -> None:
    made = budget(thresholds=thresholds, limit_amount=100)
    assert Standing(made, OPEN, per_cent).state == state


# --- What a budget must be ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"name": "A.b_c-9"},
        {"name": "x" * 64},
        {"limit_amount": 1},
        {"limit_amount": LIMIT_USD_MAX * PICO_PER_USD},
        {"period": "daily"},
        {"period": "weekly"},
        {"period": "1-day"},
        {"period": "366-day", "anchor_day": 20_000},
        {"thresholds": (1,)},
        {"thresholds": (1, 999, 1_000)},
        {"scope": Scope("everything")},
        {"scope": Scope("principal", "user/111122223333/alice")},
    ],
)
def test_good_budgets_are_taken(changes: dict[str, object]) -> None:
    check_budget(budget(**changes))
    assert budget(**changes).revision == 1


@pytest.mark.parametrize(
    "changes,said",
    [
        ({"name": ""}, "the budget name ''"),
        ({"name": "-a"}, "letter or digit first"),
        ({"name": "a/b"}, "'a/b'"),
        ({"name": "a\n"}, "will not do"),
        ({"name": "é"}, "will not do"),
        ({"name": "x" * 65}, "1 to 64"),
        ({"limit_amount": 0}, "the limit is 0 USD"),
        ({"limit_amount": -1}, "more than 0"),
        ({"limit_amount": LIMIT_USD_MAX * PICO_PER_USD + 1}, "at most 1000000000000"),
        ({"period": "yearly"}, "'yearly'"),
        ({"period": "0-day"}, "N from 1 to 366"),
        ({"period": "367-day"}, "N from 1 to 366"),
        ({"period": "014-day"}, "'014-day'"),
        ({"period": "14-days"}, "'14-days'"),
        ({"period": "monthly", "anchor_day": 1}, "only an N-day period has an anchor"),
        ({"period": "7-day", "anchor_day": -1}, "from 1970"),
        ({"thresholds": ()}, "(none)"),
        ({"thresholds": (90, 70)}, "ascending"),
        ({"thresholds": (70, 70)}, "ascending"),
        ({"thresholds": (0, 70)}, "from 1 to 1000"),
        ({"thresholds": (1_001,)}, "from 1 to 1000"),
        ({"thresholds": tuple(range(1, 22))}, "1 to 20"),
        ({"scope": Scope("team", "")}, "the scope team/''"),
        ({"scope": Scope("everything", "x")}, "everything alone has no id"),
        ({"scope": Scope("team", "a\x1b[2J")}, "printable"),
        ({"scope": Scope("team", "x" * 1_025)}, "1 to 1024"),
    ],
)
def test_bad_budgets_are_refused_with_the_reason(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_budget(budget(**changes))
    assert said in str(caught.value)


def test_scopes_are_read_as_they_are_written() -> None:
    for scope in (TEAM, Scope("everything"), Scope("principal", "role/111122223333/a/b")):
        assert Scope.parse(str(scope)) == scope


@pytest.mark.parametrize(
    "text", ["", "team", "team/", "everything/", "identity/x", "teams/x", "Team/x", "/x"]
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="scope"):
        Scope.parse(text)


def test_days_of_periods() -> None:
    read: Callable[[str], int | None] = period_days
    assert [read(text) for text in ("1-day", "14-day", "366-day")] == [1, 14, 366]
    assert [read(text) for text in ("monthly", "0-day", "367-day", "1000-day", "-1-day")] == (
        [None] * 5
    )
