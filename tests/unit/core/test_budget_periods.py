import random
from datetime import UTC, date, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from worker.core.budget_periods import has_period, midnight_ms, period_at, period_of
from worker.core.budget_terms import DAY_MAX, Budget, BudgetPeriod, Scope
from worker.core.registry import EMPTY_REGISTRY, Calendar, Registry

EPOCH = date(1970, 1, 1)
HOUR = 3_600_000


def day(text: str) -> int:
    return (date.fromisoformat(text) - EPOCH).days


def instant(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000)


def made(period: str, anchor: str = "") -> Budget:
    anchor_day = day(anchor) if anchor else 0
    return Budget("b", Scope("team", "a"), 1, period=period, anchor_day=anchor_day)


def days_of(period: BudgetPeriod) -> tuple[str, str]:
    first, last = (date.fromordinal(EPOCH.toordinal() + one) for one in span(period))
    return first.isoformat(), last.isoformat()


def span(period: BudgetPeriod) -> tuple[int, int]:
    return period.first_day, period.last_day


@pytest.mark.parametrize(
    "budget,at,first,last",
    [
        (made("daily"), "2026-11-22", "2026-11-22", "2026-11-22"),
        (made("weekly"), "2026-11-22", "2026-11-16", "2026-11-22"),
        (made("weekly"), "2026-11-23", "2026-11-23", "2026-11-29"),
        (made("weekly"), "1970-01-02", "1969-12-29", "1970-01-04"),
        (made("monthly"), "2026-11-01", "2026-11-01", "2026-11-30"),
        (made("monthly"), "2026-12-31", "2026-12-01", "2026-12-31"),
        (made("monthly"), "2028-02-29", "2028-02-01", "2028-02-29"),
        (made("monthly"), "2027-02-28", "2027-02-01", "2027-02-28"),
        (made("monthly"), "2100-02-28", "2100-02-01", "2100-02-28"),
        (made("14-day", "2026-11-02"), "2026-11-02", "2026-11-02", "2026-11-15"),
        (made("14-day", "2026-11-02"), "2026-11-15", "2026-11-02", "2026-11-15"),
        (made("14-day", "2026-11-02"), "2026-11-16", "2026-11-16", "2026-11-29"),
        (made("14-day", "2026-11-02"), "2026-11-01", "2026-10-19", "2026-11-01"),
        (made("1-day", "2026-11-02"), "2026-10-01", "2026-10-01", "2026-10-01"),
        (made("366-day", "2028-01-01"), "2028-12-31", "2028-01-01", "2028-12-31"),
        (made("366-day", "2028-01-01"), "2029-01-01", "2029-01-01", "2030-01-01"),
    ],
)
def test_days_lie_in_their_period(budget: Budget, at: str, first: str, last: str) -> None:
    period = period_of(budget, day(at), None)
    assert days_of(period) == (first, last)
    assert period.start_ms == instant(f"{first}T00:00:00+00:00")
    assert period.end_ms == period_of(budget, period.last_day + 1, None).start_ms


@pytest.mark.parametrize("period", ["daily", "weekly", "monthly", "1-day", "10-day", "366-day"])
@pytest.mark.parametrize("zone", [None, ZoneInfo("Pacific/Apia"), ZoneInfo("Europe/Berlin")])
def test_periods_follow_one_another_without_gap_or_overlap(
    period: str, zone: ZoneInfo | None
) -> None:
    budget = made(period)
    anchor = anchored(budget, period)
    found = [period_of(anchor, one, zone) for one in range(day("2011-11-01"), day("2012-11-01"))]
    distinct = list(dict.fromkeys(found))
    assert all(
        one.last_day + 1 == after.first_day and one.end_ms == after.start_ms
        for one, after in pairwise(distinct)
    )
    assert all(
        one.first_day <= at <= one.last_day
        for at, one in zip(range(day("2011-11-01"), day("2012-11-01")), found, strict=True)
    )


def anchored(budget: Budget, period: str) -> Budget:
    return made(period, "2011-12-05") if period.endswith("-day") else budget


def test_a_day_of_the_clock_change_has_23_or_25_hours() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    for text, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-11-22", 24)):
        period = period_of(made("daily"), day(text), berlin)
        assert period.end_ms - period.start_ms == hours * HOUR
    month = period_of(made("monthly"), day("2026-10-31"), berlin)
    assert month.start_ms == instant("2026-10-01T00:00:00+02:00")
    assert month.end_ms == instant("2026-11-01T00:00:00+01:00")


def test_a_day_that_was_skipped_is_empty_and_lies_between_its_neighbours() -> None:
    """Samoa went from 29 to 31 December 2011."""
    apia = ZoneInfo("Pacific/Apia")
    turn = instant("2011-12-30T10:00:00+00:00")
    skipped = period_of(made("daily"), day("2011-12-30"), apia)
    assert (skipped.start_ms, skipped.end_ms) == (turn, turn)
    assert period_of(made("daily"), day("2011-12-29"), apia).end_ms == turn
    assert period_of(made("daily"), day("2011-12-31"), apia).start_ms == turn
    month = period_of(made("monthly"), day("2011-12-31"), apia)
    assert month.end_ms - month.start_ms == 30 * 24 * HOUR


@pytest.mark.parametrize(
    "zone,text,begins",
    [
        # Put forward from 00:00 to 01:00: the day begins then.
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00:00+00:00"),
        # Put back from 01:00 to 00:00: midnight comes twice, the day has begun at the first.
        ("America/Havana", "2026-11-01", "2026-11-01T04:00:00+00:00"),
        # Put back from 00:01 to 23:01 of the day before: that day is over at the second midnight.
        ("America/St_Johns", "2010-11-07", "2010-11-07T03:30:00+00:00"),
        # Put back from 00:00 to 23:00: midnight shows once.
        ("America/Sao_Paulo", "2018-02-18", "2018-02-18T03:00:00+00:00"),
        # Put forward from 23:30 to 00:30: the day begins at half past.
        ("America/Toronto", "1919-03-31", "1919-03-31T04:30:00+00:00"),
    ],
)
def test_days_begin_when_the_one_before_is_over_for_good(zone: str, text: str, begins: str) -> None:
    assert midnight_ms(day(text), ZoneInfo(zone)) == instant(begins)


def test_periods_agree_with_the_days_that_postings_carry() -> None:
    rng = random.Random(20261122)
    names = ("Pacific/Apia", "America/St_Johns", "Asia/Beirut", "Africa/Casablanca", "Asia/Tehran")
    for name in names:
        zone = ZoneInfo(name)
        registry = Registry(calendars=(Calendar("team/a", name, zone),))
        for _ in range(60):
            one = rng.randrange(day("1995-01-01"), day("2035-01-01"))
            begin = midnight_ms(one, zone)
            assert registry.local_day("team", "a", begin - 1) < one
            assert registry.local_day("team", "a", begin) >= one


def test_the_period_of_an_instant_is_that_of_the_scopes_calendar() -> None:
    zone = ZoneInfo("Pacific/Apia")
    registry = Registry(calendars=(Calendar("team/a", "Pacific/Apia", zone),))
    at_ms = instant("2026-11-30T12:00:00+00:00")
    there = period_at(made("monthly"), at_ms, registry)
    assert days_of(there) == ("2026-12-01", "2026-12-31")
    assert there.start_ms == instant("2026-11-30T11:00:00+00:00")
    here = period_at(made("monthly"), at_ms, EMPTY_REGISTRY)
    assert days_of(here) == ("2026-11-01", "2026-11-30")


def test_unknown_days_and_those_beyond_the_calendar_lie_in_no_period() -> None:
    assert [has_period(one) for one in (-1, 0, 1, DAY_MAX, DAY_MAX + 1)] == [
        False,
        False,
        True,
        True,
        False,
    ]
    for period in ("daily", "weekly", "monthly", "366-day"):
        for one in (1, DAY_MAX):
            for zone in (None, UTC, ZoneInfo("Pacific/Apia"), ZoneInfo("Pacific/Niue")):
                found = period_of(made(period), one, zone)
                assert found.first_day <= one <= found.last_day
