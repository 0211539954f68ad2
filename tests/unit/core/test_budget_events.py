"""What budgets' events say, to the word, and that their schemas describe them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events import checked
from worker.core.budget import Crossing, crossing_id
from worker.core.budget_events import (
    budget_initialized,
    budget_refreshed,
    grace_seconds_of,
    grace_started,
    limit_forecast,
    regraced,
    threshold_crossed,
)
from worker.core.budget_forecast import Forecast, forecast_of
from worker.core.budget_terms import Budget, BudgetPeriod, Scope
from worker.core.budget_texts import seconds_text
from worker.core.events import TEXT_LENGTH_MAX
from worker.core.ledger import MS_PER_DAY
from worker.core.money import PICO_PER_USD

NOVEMBER = 20_758
"""2026-11-01, in days since 1970-01-01."""
START = NOVEMBER * MS_PER_DAY
NOON = START + 21 * MS_PER_DAY + MS_PER_DAY // 2
"""2026-11-22T12:00:00Z."""
ALICE = Scope("principal", "user/111122223333/alice")
BUDGET = Budget(
    "alice",
    ALICE,
    10 * PICO_PER_USD,
    revision=3,
    created_at_ms=NOON,
    action="suspend",
    grace_seconds=7_200,
)
PERIOD = BudgetPeriod(NOVEMBER, NOVEMBER + 29, START, START + 30 * MS_PER_DAY)
DECEMBER = BudgetPeriod(NOVEMBER + 30, NOVEMBER + 60, PERIOD.end_ms, START + 61 * MS_PER_DAY)
ANY_TEXT = st.text(st.characters(codec=None), max_size=3 * TEXT_LENGTH_MAX)
SPENT = 50 * PICO_PER_USD


def test_a_grace_period_says_who_is_suspended_when_and_what_helps() -> None:
    event = grace_started(BUDGET, PERIOD, SPENT, NOON, time_zone="UTC")
    detail = checked(event.detail_type, event.detail)
    assert (event.id, event.subject) == (detail["event_id"], "budget/alice")
    assert (detail["grace_seconds"], detail["deadline"]) == (7_200, "2026-11-22T14:00:00.000Z")
    assert (detail["spent"], detail["limit"], detail["percent"]) == ("50", "10", "500")
    assert (detail["spent_usd"], detail["limit_usd"], detail["unit"]) == ("50", "10", "usd")
    assert detail["message"] == (
        "Budget alice: principal user/111122223333/alice spent 50 of 10 USD (500 %) from "
        "2026-11-01 to 2026-11-30. Principal user/111122223333/alice is suspended at "
        "2026-11-22T14:00:00.000Z."
    )
    assert detail["next"] == (
        "Principal user/111122223333/alice is suspended at the deadline if the limit is still "
        "reached then, and is restored when the period ends (2026-12-01T00:00:00.000Z) or the "
        "limit is raised."
    )
    assert detail["command"] == "ledgerock budgets set alice --limit NEW_LIMIT"


def test_the_deadline_counts_from_the_announcement() -> None:
    event = grace_started(BUDGET, PERIOD, SPENT, NOON)
    later = regraced(event.detail, NOON + 3_600_000)
    before, after = (checked(event.detail_type, one) for one in (event.detail, later))
    assert after["deadline"] == "2026-11-22T15:00:00.000Z"
    assert after["message"].endswith("is suspended at 2026-11-22T15:00:00.000Z.")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"deadline", "message"}
    assert regraced(later, NOON) == event.detail
    assert grace_seconds_of(later) == 7_200
    assert grace_seconds_of(b"{}") is None
    with pytest.raises(msgspec.DecodeError):
        regraced(b"{}", NOON)


def test_of_a_group_each_member_is_suspended() -> None:
    team = msgspec.structs.replace(BUDGET, scope=Scope("team", "research"))
    event = grace_started(team, PERIOD, SPENT, NOON)
    assert checked(event.detail_type, event.detail)["message"].endswith(
        "Each member of team research that goes on spending is suspended at "
        "2026-11-22T14:00:00.000Z."
    )


@pytest.mark.parametrize(
    "unit,limit,spent,says",
    [
        ("tokens", 1_000_000, 700_001, "spent 700001 of 1000000 tokens (70.0001 %)"),
        ("requests", 10, 7, "spent 7 of 10 requests (70 %)"),
    ],
)
def test_amounts_are_in_the_budgets_unit(unit: str, limit: int, spent: int, says: str) -> None:
    budget = msgspec.structs.replace(BUDGET, unit=unit, limit_amount=limit)
    crossing = Crossing("c", budget, PERIOD, 70, spent, is_late=False, is_highest=True)
    event = threshold_crossed(crossing, NOON)
    detail = checked(event.detail_type, event.detail)
    assert says in detail["message"]
    assert (detail["unit"], detail["spent"], detail["limit"]) == (unit, str(spent), str(limit))
    assert not {"spent_usd", "limit_usd"} & detail.keys()
    assert "limit_usd" not in detail["budget"]


@pytest.mark.parametrize(
    "threshold,changes,says",
    [
        (
            70,
            {},
            (
                "At the limit principal user/111122223333/alice is suspended after a grace period "
                "of 2 hours. The next threshold is 90 %. The period ends 2026-12-01T00:00:00.000Z."
            ),
        ),
        (
            100,
            {},
            (
                "A grace period of 2 hours begins; then principal user/111122223333/alice is "
                "suspended, until the period ends (2026-12-01T00:00:00.000Z) or the limit is "
                "raised."
            ),
        ),
        (
            100,
            {"grace_seconds": 0},
            (
                "At once principal user/111122223333/alice is suspended, until the period ends "
                "(2026-12-01T00:00:00.000Z) or the limit is raised."
            ),
        ),
        (
            100,
            {"action": "notify"},
            (
                "Nothing is done by itself: this budget only notifies. The period ends "
                "2026-12-01T00:00:00.000Z."
            ),
        ),
    ],
)
def test_a_crossing_says_what_happens_next(
    threshold: int, changes: dict[str, object], says: str
) -> None:
    budget = msgspec.structs.replace(BUDGET, **changes)
    crossing = Crossing("c", budget, PERIOD, threshold, SPENT, is_late=False, is_highest=True)
    event = threshold_crossed(crossing, NOON)
    assert checked(event.detail_type, event.detail)["next"] == says


def test_a_refreshed_budget_says_how_the_last_period_ended() -> None:
    event = budget_refreshed(BUDGET, PERIOD, DECEMBER, SPENT, "suspended", PERIOD.end_ms + 5)
    detail = checked(event.detail_type, event.detail)
    assert detail["occurred_at"] == "2026-12-01T00:00:00.000Z"
    assert (detail["period"]["last_day"], detail["next_period"]["first_day"]) == (
        "2026-11-30",
        "2026-12-01",
    )
    assert detail["message"] == (
        "Budget alice: a new period has begun. In the last one principal user/111122223333/alice "
        "spent 50 of 10 USD (500 %) from 2026-11-01 to 2026-11-30. Suspensions for it are lifted."
    )
    again = budget_refreshed(BUDGET, PERIOD, DECEMBER, 0, "active", PERIOD.end_ms + 99)
    assert again.id == event.id


# --- Forecasts ---------------------------------------------------------------------------------


def forecast(spent: int, passed_ms: int, **changes: object) -> Forecast | None:
    budget = msgspec.structs.replace(
        BUDGET, **({"unit": "requests", "limit_amount": 100, "forecast": True} | changes)
    )
    return forecast_of(budget, PERIOD, spent, START + passed_ms)


def test_a_forecast_draws_the_spend_out_linearly() -> None:
    # Ten of thirty days: 40 so far, 120 at the end; 100 after 25 days.
    found = forecast(40, 10 * MS_PER_DAY)
    assert found is not None
    assert (found.projected_amount, found.passes_at_ms) == (120, START + 25 * MS_PER_DAY)
    # 67 in twenty days: 100 after 29.85... days, rounded up; 100.5 at the end, rounded down.
    found = forecast(67, 20 * MS_PER_DAY)
    assert found is not None
    assert found.projected_amount == 100
    assert found.passes_at_ms == START + -(-20 * MS_PER_DAY * 100 // 67)


@pytest.mark.parametrize(
    "spent,passed_ms,changes",
    [
        (66, 20 * MS_PER_DAY, {}),  # 99 at the end
        (34, 10 * MS_PER_DAY, {"thresholds": (70,)}),  # 35 is half of the first threshold
        (40, 30 * MS_PER_DAY // 20 - 1, {}),  # not yet a twentieth of the period
        (100, 10 * MS_PER_DAY, {}),  # there already
        (40, 30 * MS_PER_DAY, {}),  # the period is over
        (40, -1, {}),  # and not begun
        (40, 10 * MS_PER_DAY, {"forecast": False}),
        (40, 10 * MS_PER_DAY, {"is_removed": True}),
        (40, 10 * MS_PER_DAY, {"period": "rolling-30-day", "action": "notify"}),
    ],
)
def test_there_is_no_forecast_without_reason(
    spent: int, passed_ms: int, changes: dict[str, object]
) -> None:
    assert forecast(spent, passed_ms, **changes) is None


def test_a_forecast_is_told_once_in_each_revision_and_period() -> None:
    first, later = forecast(40, 10 * MS_PER_DAY), forecast(60, 12 * MS_PER_DAY)
    other = forecast(40, 10 * MS_PER_DAY, revision=4)
    assert first is not None
    assert later is not None
    assert other is not None
    assert first.event_id == later.event_id != other.event_id
    event = limit_forecast(first, NOON)
    detail = checked(event.detail_type, event.detail)
    assert (detail["projected"], detail["passes_at"]) == ("120", "2026-11-26T00:00:00.000Z")
    assert detail["message"].endswith(
        "so far. If it goes on like this, it passes the limit at 2026-11-26T00:00:00.000Z."
    )
    assert detail["next"].startswith("Nothing is done because of a forecast. At the limit ")


# --- All of them -------------------------------------------------------------------------------


@given(
    spent=st.integers(0, 10**24),
    limit=st.integers(1, 10**24),
    name=ANY_TEXT.filter(bool),
    scope_id=ANY_TEXT,
    unit=st.sampled_from(["usd", "tokens", "requests"]),
    grace=st.integers(0, 2_678_400),
)
def test_whatever_budgets_are_called_all_their_events_are_small_and_keep_to_the_schemas(
    spent: int, limit: int, name: str, scope_id: str, unit: str, grace: int
) -> None:
    budget = Budget(
        name,
        Scope("pool", scope_id),
        limit,
        "7-day",
        unit=unit,  # type: ignore[arg-type]  # one of them
        action="suspend",
        grace_seconds=grace,
        origin=scope_id,
    )
    crossing = Crossing(
        crossing_id(BUDGET, 1, 70), budget, PERIOD, 70, spent, is_late=False, is_highest=True
    )
    events = (
        threshold_crossed(crossing, NOON),
        budget_initialized(budget),
        grace_started(budget, PERIOD, spent, NOON),
        budget_refreshed(budget, PERIOD, DECEMBER, spent, "critical", NOON),
        limit_forecast(Forecast("f", budget, PERIOD, spent, spent, NOON), NOON),
    )
    for event in events:
        detail = checked(event.detail_type, event.detail)
        for field in ("message", "next", "command"):
            assert "\n" not in detail[field]
        assert len(event.detail) < 16_000
    checked(events[2].detail_type, regraced(events[2].detail, NOON + 1))


@pytest.mark.parametrize(
    "seconds,text",
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (90, "90 seconds"),
        (5_400, "90 minutes"),
        (7_200, "2 hours"),
        (86_400, "1 day"),
        (172_800, "2 days"),
    ],
)
def test_durations_read_well(seconds: int, text: str) -> None:
    assert seconds_text(seconds) == text
