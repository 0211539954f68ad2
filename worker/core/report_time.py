"""Time in a report: the period that it covers, and spend over that period as a chart has it. Pure.

Figures are exact: amounts are integers. Floats are made in one place, `Series.heights`, for the
geometry of charts; no figure is ever read back from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from worker.core.ledger import MS_PER_DAY, Amounts, Leaf
from worker.core.money import PICO_PER_USD

Balances = Sequence[tuple[Leaf, Amounts]]

DAYS_SHOWN_MAX: Final = 62
"""Longer periods are shown by week, and beyond `WEEKS_SHOWN_MAX` weeks by month."""
WEEKS_SHOWN_MAX: Final = 62
DAYS_PER_WEEK: Final = 7

OTHERS: Final = "others"
"""Name of the series that stands for every model without a colour of its own."""

_EPOCH: Final = date(1970, 1, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """A half-open range of event time, epoch milliseconds UTC; `label` says it to people."""

    since_ms: int
    until_ms: int

    @property
    def first_day(self) -> int:
        """First UTC day touched."""
        return self.since_ms // MS_PER_DAY

    @property
    def last_day(self) -> int:
        """Last UTC day touched."""
        return max((self.until_ms - 1) // MS_PER_DAY, self.first_day)

    @property
    def is_whole_days(self) -> bool:
        """Whether both ends lie at midnight UTC."""
        return self.since_ms % MS_PER_DAY == 0 and self.until_ms % MS_PER_DAY == 0

    @property
    def before(self) -> Period:
        """The period of equal length that ends where this one starts."""
        return Period(since_ms=2 * self.since_ms - self.until_ms, until_ms=self.since_ms)

    @property
    def label(self) -> str:
        """Say it: `5 to 14 October 2026`; with times where it is not whole days."""
        if self.is_whole_days:
            return _days_label(self.first_day, self.last_day)
        ends = (
            datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
            for at_ms in (self.since_ms, self.until_ms)
        )
        return " to ".join(ends) + " UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One colour of a chart.

    Attributes:
        name: What it stands for.
        amounts_pico_usd: Exact, by bucket.
    """

    name: str
    amounts_pico_usd: tuple[int, ...]

    @property
    def heights(self) -> tuple[float, ...]:
        """Geometry alone: USD as floats, for drawing."""
        return tuple(amount / PICO_PER_USD for amount in self.amounts_pico_usd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Spend over time, in stacks.

    Attributes:
        unit: `day`, `week` or `month`: what a bar is.
        labels: Under the bars: `5 Oct`.
        titles: The same in full: `Monday, 5 October 2026`.
        series: Colours, the largest first; the last may stand for several.
    """

    unit: str
    labels: tuple[str, ...]
    titles: tuple[str, ...]
    series: tuple[Series, ...]

    @property
    def totals_pico_usd(self) -> tuple[int, ...]:
        """Exact sums of the bars."""
        columns = zip(*(one.amounts_pico_usd for one in self.series), strict=True)
        return tuple(sum(column) for column in columns)


def period_of(balances: Balances, since_ms: int | None, until_ms: int | None) -> Period:
    """Close the open ends of a window at the first and last day that have calls."""
    # Day 0 is that of batch jobs whose time is not known yet.
    days = [leaf.day for leaf, _ in balances if leaf.day]
    start = min(days, default=0) * MS_PER_DAY if since_ms is None else since_ms
    if until_ms is None:
        until_ms = (max(days, default=start // MS_PER_DAY) + 1) * MS_PER_DAY
    return Period(since_ms=start, until_ms=max(until_ms, start))


def chart_of(balances: Balances, period: Period, colours: Sequence[str]) -> Chart:
    """Stack spend over time; models without a colour of their own are one series."""
    colours = [name for name in colours if name != OTHERS]
    unit, starts = _buckets(period.first_day, period.last_day)
    column_of = {day: column for column, day in enumerate(starts)}
    sums = {name: [0] * len(starts) for name in (*colours, OTHERS)}
    for leaf, amounts in balances:
        day = max(_bucket_start(unit, leaf.day), starts[0])
        name = leaf.model if leaf.model in sums else OTHERS
        sums[name][column_of[day]] += amounts.cost_pico_usd
    series = [Series(name=name, amounts_pico_usd=tuple(sums[name])) for name in colours]
    if any(sums[OTHERS]) or not series:
        series.append(Series(name=OTHERS, amounts_pico_usd=tuple(sums[OTHERS])))
    return Chart(
        unit=unit,
        labels=tuple(_bucket_label(unit, day) for day in starts),
        titles=tuple(_bucket_title(unit, day) for day in starts),
        series=tuple(series),
    )


def _date(day: int) -> date:
    return _EPOCH + timedelta(days=day)


def _day(moment: date) -> int:
    return (moment - _EPOCH).days


def _buckets(first_day: int, last_day: int) -> tuple[str, list[int]]:
    """Return what a bar is, and the first day of every bar; the first may start late."""
    days = last_day - first_day + 1
    if days <= DAYS_SHOWN_MAX:
        return "day", list(range(first_day, last_day + 1))
    unit = "week" if days <= WEEKS_SHOWN_MAX * DAYS_PER_WEEK else "month"
    starts = {max(_bucket_start(unit, day), first_day) for day in range(first_day, last_day + 1)}
    return unit, sorted(starts)


def _bucket_start(unit: str, day: int) -> int:
    moment = _date(day)
    if unit == "week":
        return day - moment.weekday()
    return day if unit == "day" else _day(moment.replace(day=1))


def _bucket_label(unit: str, day: int) -> str:
    moment = _date(day)
    return f"{moment:%b %Y}" if unit == "month" else f"{moment.day} {moment:%b}"


def _bucket_title(unit: str, day: int) -> str:
    moment = _date(day)
    if unit == "month":
        return f"{moment:%B %Y}"
    name = f"{moment:%A}, {moment.day} {moment:%B %Y}"
    return name if unit == "day" else f"week from {name}"


def _days_label(first_day: int, last_day: int) -> str:
    first, last = _date(first_day), _date(last_day)
    end = f"{last.day} {last:%B %Y}"
    if first == last:
        return end
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day} to {end}"
    start = f"{first.day} {first:%B}" + ("" if first.year == last.year else f" {first.year}")
    return f"{start} to {end}"
