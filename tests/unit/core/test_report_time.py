from datetime import date

import pytest

from worker.core.ledger import MS_PER_DAY, Amounts, Leaf
from worker.core.report_time import OTHERS, Period, chart_of, period_of

OCTOBER_5 = (date(2026, 10, 5) - date(1970, 1, 1)).days
"""A Monday."""


def days(first: int, count: int) -> Period:
    return Period(since_ms=first * MS_PER_DAY, until_ms=(first + count) * MS_PER_DAY)


def leaf(day: int, model: str = "m") -> Leaf:
    return Leaf("p", "p", "", "", "", "1", model, day)


@pytest.mark.parametrize(
    "first, count, label",
    [
        (OCTOBER_5, 1, "5 October 2026"),
        (OCTOBER_5, 10, "5 to 14 October 2026"),
        (OCTOBER_5, 40, "5 October to 13 November 2026"),
        (OCTOBER_5, 100, "5 October 2026 to 12 January 2027"),
    ],
)
def test_a_period_says_its_days(first: int, count: int, label: str) -> None:
    assert days(first, count).label == label


def test_a_period_within_days_says_its_times() -> None:
    start = OCTOBER_5 * MS_PER_DAY
    period = Period(since_ms=start + 3_600_000, until_ms=start + 7_200_000)
    assert period.label == "2026-10-05 01:00 to 2026-10-05 02:00 UTC"
    assert (period.first_day, period.last_day) == (OCTOBER_5, OCTOBER_5)
    assert period.before == Period(since_ms=start, until_ms=start + 3_600_000)


def test_open_ends_are_closed_by_the_days_that_have_calls() -> None:
    balances = [(leaf(OCTOBER_5 + 3), Amounts(1)), (leaf(OCTOBER_5), Amounts(1))]
    assert period_of(balances, None, None) == days(OCTOBER_5, 4)
    since = (OCTOBER_5 - 2) * MS_PER_DAY
    assert period_of(balances, since, None) == days(OCTOBER_5 - 2, 6)
    assert period_of([], since, None) == days(OCTOBER_5 - 2, 1)


def test_days_without_calls_have_a_place_in_the_chart() -> None:
    balances = [(leaf(OCTOBER_5), Amounts(1, 7)), (leaf(OCTOBER_5 + 2), Amounts(1, 5))]
    chart = chart_of(balances, days(OCTOBER_5 - 1, 4), ["m"])
    assert chart.unit == "day"
    assert chart.labels == ("4 Oct", "5 Oct", "6 Oct", "7 Oct")
    assert chart.titles[1] == "Monday, 5 October 2026"
    assert [one.name for one in chart.series] == ["m"]
    assert chart.totals_pico_usd == (0, 7, 0, 5)


@pytest.mark.parametrize("count, unit, bars", [(63, "week", 10), (1_000, "month", 34)])
def test_long_periods_have_wider_bars_that_lose_nothing(count: int, unit: str, bars: int) -> None:
    first = OCTOBER_5 + 2  # a Wednesday: the first bar is cut
    balances = [(leaf(first + day), Amounts(1, 10**12 + day)) for day in range(count)]
    chart = chart_of(balances, days(first, count), ["m"])
    assert (chart.unit, len(chart.labels)) == (unit, bars)
    assert sum(chart.totals_pico_usd) == sum(amounts.cost_pico_usd for _, amounts in balances)


def test_a_model_that_is_called_others_is_counted_once() -> None:
    balances = [(leaf(OCTOBER_5, name), Amounts(1, 3)) for name in ("m", OTHERS, "n")]
    chart = chart_of(balances, days(OCTOBER_5, 1), ["m", OTHERS])
    assert [(one.name, one.amounts_pico_usd) for one in chart.series] == [
        ("m", (3,)),
        (OTHERS, (6,)),
    ]
