"""What events say, under which ids, and that their schemas describe them."""

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.events import checked, schemas
from worker.core.budget import Crossing, level_of
from worker.core.budget_events import budget_initialized, threshold_crossed
from worker.core.budget_terms import Budget, BudgetPeriod, Scope
from worker.core.events import (
    DETAIL_TYPES,
    TEXT_LENGTH_MAX,
    Event,
    bounded,
    iso,
    iso_day,
    occurred_at_ms,
    percent_of,
)
from worker.core.ledger import MS_PER_DAY
from worker.core.usage_events import (
    quarantined_recounted,
    recounted,
    usage_counted,
    usage_day,
    usage_detail,
    usage_quarantined,
)

NOVEMBER = 20_758
"""2026-11-01, in days since 1970-01-01."""
NOON = (NOVEMBER + 21) * MS_PER_DAY + MS_PER_DAY // 2
BUDGET = Budget(
    name="alice-monthly",
    scope=Scope("principal", "user/111122223333/alice"),
    limit_amount=10 * 10**12,
    revision=3,
    created_at_ms=NOON,
)
PERIOD = BudgetPeriod(
    first_day=NOVEMBER,
    last_day=NOVEMBER + 29,
    start_ms=NOVEMBER * MS_PER_DAY,
    end_ms=(NOVEMBER + 30) * MS_PER_DAY,
)
ANY_TEXT = st.text(st.characters(codec=None), max_size=3 * TEXT_LENGTH_MAX)


def crossing(**more: object) -> Crossing:
    fields: dict[str, object] = {
        "event_id": "crossing-1",
        "budget": BUDGET,
        "period": PERIOD,
        "threshold": 70,
        "spent_amount": 7_350_000_000_001,
        "is_late": False,
        "is_highest": True,
    }
    return Crossing(**{**fields, **more})  # type: ignore[arg-type]


def test_every_detail_type_has_a_strict_schema_and_no_other_has() -> None:
    assert set(schemas()) == set(DETAIL_TYPES)
    for schema in schemas().values():
        jsonschema.Draft202012Validator.check_schema(schema)
        objects = [schema]
        while objects:
            one = objects.pop()
            if one.get("type") == "object" and "properties" not in one:
                assert one["additionalProperties"]["maxLength"] <= TEXT_LENGTH_MAX, "a map of texts"
                assert one["maxProperties"] <= 100
            elif one.get("type") == "object":
                assert one["additionalProperties"] is False
                assert set(one["required"]) <= set(one["properties"])
                objects += one["properties"].values()


def test_a_crossing_tells_whose_budget_what_was_spent_and_how_serious_it_is() -> None:
    event = threshold_crossed(crossing(), NOON, time_zone="Europe/Berlin")
    detail = checked(event.detail_type, event.detail)
    assert (event.id, event.subject) == ("crossing-1", "budget/alice-monthly")
    assert event.occurred_at_ms == NOON
    assert detail == {
        "event_id": "crossing-1",
        "schema_version": 1,
        "occurred_at": "2026-11-22T12:00:00.000Z",
        "recorded_at": "2026-11-22T12:00:00.000Z",
        "scope": {"kind": "principal", "id": "user/111122223333/alice"},
        "budget": {
            "name": "alice-monthly",
            "revision": 3,
            "unit": "usd",
            "limit": "10",
            "limit_usd": "10",
            "period": "monthly",
            "thresholds": [70, 90, 100],
            "action": "notify",
        },
        "period": {
            "start": "2026-11-01T00:00:00.000Z",
            "end": "2026-12-01T00:00:00.000Z",
            "first_day": "2026-11-01",
            "last_day": "2026-11-30",
            "time_zone": "Europe/Berlin",
        },
        "threshold": 70,
        "level": "warning",
        "unit": "usd",
        "spent": "7.350000000001",
        "limit": "10",
        "spent_usd": "7.350000000001",
        "limit_usd": "10",
        "percent": "73.5",
        "highest_of_jump": True,
        "late": False,
        "message": (
            "Budget alice-monthly (warning): principal user/111122223333/alice spent "
            "7.350000000001 of 10 USD (73.5 %) from 2026-11-01 to 2026-11-30, and crossed the "
            "threshold of 70 %."
        ),
        "action": "notify",
        "next": (
            "Nothing is done by itself: this budget only notifies. The next threshold is 90 %. "
            "The period ends 2026-12-01T00:00:00.000Z."
        ),
        "command": "ledgerock budgets set alice-monthly --limit NEW_LIMIT",
    }


def test_the_same_crossing_is_the_same_bytes() -> None:
    assert threshold_crossed(crossing(), NOON) == threshold_crossed(crossing(), NOON)


@pytest.mark.parametrize(
    "recorded_at_ms, occurred_at",
    [
        (PERIOD.end_ms + 5 * MS_PER_DAY, "2026-11-30T23:59:59.999Z"),
        (PERIOD.start_ms - 1, "2026-11-01T00:00:00.000Z"),
    ],
)
def test_a_crossing_occurred_within_its_period(recorded_at_ms: int, occurred_at: str) -> None:
    event = threshold_crossed(crossing(is_late=True), recorded_at_ms)
    detail = checked(event.detail_type, event.detail)
    assert detail["occurred_at"] == occurred_at
    assert detail["recorded_at"] == iso(recorded_at_ms)
    assert detail["message"].endswith("This was found after the period was over.")
    assert occurred_at_ms(event.detail) == event.occurred_at_ms


def test_a_daily_budget_of_everything_reads_well() -> None:
    budget = Budget("all", Scope("everything"), 10**12, "daily", thresholds=(100,))
    day = BudgetPeriod(NOVEMBER, NOVEMBER, PERIOD.start_ms, PERIOD.start_ms + MS_PER_DAY)
    event = threshold_crossed(
        crossing(budget=budget, period=day, threshold=100, spent_amount=10**12), NOON
    )
    assert checked(event.detail_type, event.detail)["message"] == (
        "Budget all (exceeded): everyone together spent 1 of 1 USD (100 %) on 2026-11-01, and "
        "crossed the threshold of 100 %."
    )


@pytest.mark.parametrize(
    "thresholds, levels",
    [
        ((70, 90, 100), ["warning", "critical", "exceeded"]),
        ((50,), ["warning"]),
        ((80, 100), ["warning", "exceeded"]),
        ((50, 80, 95), ["warning", "warning", "critical"]),
        ((100, 150), ["exceeded", "exceeded"]),
    ],
)
def test_the_last_threshold_before_the_limit_is_critical(
    thresholds: tuple[int, ...], levels: list[str]
) -> None:
    assert [level_of(one, thresholds) for one in thresholds] == levels


@pytest.mark.parametrize(
    "part, whole, percent",
    [
        (1, 3, "33.3333"),
        (2, 3, "66.6666"),
        (699_999_999_999, 10**12, "69.9999"),
        (10**12, 10**12, "100"),
        (12_345, 10_000, "123.45"),
        (0, 7, "0"),
        (5, 0, "100"),
    ],
)
def test_per_cent_are_exact_or_cut_but_never_more_than_was_spent(
    part: int, whole: int, percent: str
) -> None:
    assert percent_of(part, whole) == percent


@given(
    spent=st.integers(0, 10**26),
    limit=st.integers(1, 10**24),
    name=ANY_TEXT.filter(bool),
    scope_id=ANY_TEXT,
    threshold=st.integers(1, 1000),
)
def test_whatever_budgets_are_called_their_events_are_small_and_keep_to_the_schemas(
    spent: int, limit: int, name: str, scope_id: str, threshold: int
) -> None:
    budget = Budget(name, Scope("team", scope_id), limit, "14-day", thresholds=(threshold,))
    found = crossing(budget=budget, threshold=threshold, spent_amount=spent)
    for event in (threshold_crossed(found, NOON), budget_initialized(budget)):
        assert "\n" not in checked(event.detail_type, event.detail)["message"]
        assert len(event.detail) < 16_000


def test_a_budget_that_was_set_is_told_of_once_per_revision() -> None:
    event = budget_initialized(BUDGET)
    detail = checked(event.detail_type, event.detail)
    assert detail["recorded_at"] == "2026-11-22T12:00:00.000Z"
    assert detail["message"] == (
        "Budget alice-monthly: principal user/111122223333/alice may spend 10 USD in each monthly "
        "period; thresholds: 70 %, 90 %, 100 %."
    )
    again = Budget("alice-monthly", BUDGET.scope, 5, revision=4)
    assert len({event.id, budget_initialized(BUDGET).id, budget_initialized(again).id}) == 2


def unpriced(model: str | None = "acme.new-v1", calls: int = 3) -> Event:
    return usage_counted("unpriced", model, NOVEMBER + 21, calls, NOON)


def test_unpriced_calls_are_counted_again_under_the_same_id() -> None:
    event = unpriced()
    before = checked(event.detail_type, event.detail)
    later = recounted(usage_detail(event.detail), 4_000, NOON + 60_000)
    after = checked(event.detail_type, later)
    assert (before["calls"], after["calls"]) == (3, 4_000)
    assert after["counted_at"] == "2026-11-22T12:01:00.000Z"
    assert after["message"].startswith("4000 calls of acme.new-v1 on 2026-11-22 could not")
    same = {"event_id", "recorded_at", "occurred_at", "scope", "cause", "period"}
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    assert usage_day(usage_detail(event.detail)) == NOVEMBER + 21
    assert event.subject == "usage/2026-11-22"


def test_usage_of_a_past_day_occurred_on_that_day() -> None:
    event = usage_counted("unmetered", "acme.new-v1", NOVEMBER, 1, NOON)
    detail = checked(event.detail_type, event.detail)
    assert detail["occurred_at"] == "2026-11-01T23:59:59.999Z"
    assert detail["message"].startswith("1 call of acme.new-v1 on 2026-11-01 came without")


def test_usage_ids_differ_by_subject_cause_and_day_alone() -> None:
    day = NOVEMBER + 21
    distinct = [
        unpriced(),
        unpriced("acme.other"),
        unpriced(None),
        unpriced("other"),
        usage_counted("unmetered", "acme.new-v1", day, 3, NOON),
        usage_counted("unpriced", "acme.new-v1", day - 1, 3, NOON),
        unpriced("x" * 300),
        unpriced("x" * 301),
    ]
    assert len({event.id for event in distinct}) == len(distinct)
    assert unpriced(calls=3).id == unpriced(calls=9).id
    assert all(len(event.id) < 100 for event in distinct)


@given(source=st.none() | ANY_TEXT, cause=ANY_TEXT.filter(bool), text=ANY_TEXT)
def test_whatever_is_quarantined_its_event_is_small_and_keeps_to_the_schema(
    source: str | None, cause: str, text: str
) -> None:
    event = usage_quarantined(source, cause, 2, reason=text, position=text, recorded_at_ms=NOON)
    assert checked(event.detail_type, event.detail)["records"] == 2
    more = checked(event.detail_type, quarantined_recounted(event.detail, 70, NOON + 1))
    assert (more["records"], more["event_id"]) == (70, event.id)
    fewer = checked(event.detail_type, quarantined_recounted(event.detail, 1, NOON + 1))
    assert fewer["records"] == 2


@given(ANY_TEXT)
def test_text_from_outside_is_one_short_line_of_valid_unicode(text: str) -> None:
    line = bounded(text)
    assert len(line) <= TEXT_LENGTH_MAX
    assert line.isprintable() or not line.encode().isascii()
    assert len((line + ".").splitlines()) == 1


@pytest.mark.parametrize("at_ms", [0, NOON + 1, 10**18, -5])
def test_no_time_is_too_strange_to_be_written(at_ms: int) -> None:
    event = usage_counted("unpriced", "m", at_ms // MS_PER_DAY, 1, max(0, at_ms))
    assert checked(event.detail_type, event.detail)["period"]["first_day"] == iso_day(
        at_ms // MS_PER_DAY
    )


def test_a_detail_without_a_time_names_none() -> None:
    assert occurred_at_ms(b'{"a": 1}') is None
    assert occurred_at_ms(b'{"occurred_at": "yesterday"}') is None
    assert occurred_at_ms(b'{"occurred_at": "2026-11-22"}') is None
