"""The page of a report: everything that `report --format html` shows, as plain values. Pure.

Figures are exact: amounts are integers that the renderer writes out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from worker.core.ledger import MS_PER_DAY, Amounts, Leaf
from worker.core.report import ReportRow, build_report
from worker.core.report_calls import CacheUse, CallLine
from worker.core.report_time import Balances, Chart, Period, chart_of

TABLES: Final = ("principal", "model", "team", "pool", "agent", "application", "account")
"""What the page has tables by, in this order."""

ROWS_MAX: Final = 100
"""Rows of a table; what is beyond is summed up in one."""
STACKS_MAX: Final = 7
"""Models that a chart tells apart; the others share a colour."""
PRINCIPALS_MAX: Final = 25
"""Payers that can be drilled down into."""
DETAIL_ROWS_MAX: Final = 8
MOVERS_MAX: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Spend by one dimension.

    Attributes:
        by: The dimension.
        rows: Most expensive first.
        left_out: How many more rows there are.
        rest: Their sum.
        total: Sum of all rows, shown or not.
    """

    by: str
    rows: tuple[ReportRow, ...]
    left_out: int
    rest: Amounts
    total: Amounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Mover:
    """How one key's spend changed."""

    by: str
    key: str
    now_pico_usd: int
    before_pico_usd: int

    @property
    def change_pico_usd(self) -> int:
        """The difference."""
        return self.now_pico_usd - self.before_pico_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class Movers:
    """What changed most between two periods of equal length.

    Attributes:
        now: The later period.
        before: The earlier one.
        halves: Whether these are two halves of the report's period, because the ledger has
            nothing before it.
        total: Everything's change.
        up: What grew, most first.
        down: What shrank, most first.
    """

    now: Period
    before: Period
    halves: bool
    total: Mover
    up: tuple[Mover, ...]
    down: tuple[Mover, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """What prompt caching was worth.

    Attributes:
        exact: Whether it was worked out call by call; else from balances at one Region's rates.
        rows: By model, the largest net saving first.
        total: Their sum.
    """

    exact: bool
    rows: tuple[tuple[str, CacheUse], ...]
    total: CacheUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Calls that are not simply priced.

    Attributes:
        status: `estimated`, `unpriced`, `unmetered` or `failed`.
        calls: How many.
        cost_pico_usd: Their part of the cost; zero but for estimates.
        models: Where they are, most first.
        left_out: Further models.
    """

    status: str
    calls: int
    cost_pico_usd: int
    models: tuple[tuple[str, int], ...]
    left_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One payer, looked at closely.

    Attributes:
        key: The payer.
        amounts: Its figures.
        chart: Its spend over time.
        models: Its models.
        calls: Its most expensive calls; None if calls were not looked at.
    """

    key: str
    amounts: Amounts
    chart: Chart
    models: Table
    calls: tuple[CallLine, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """All that the page shows.

    Attributes:
        period: What it covers.
        total: Everything.
        before: The period before and its total; None if the ledger has nothing there.
        chart: Spend over time, by model.
        tables: By dimension, in the order of `TABLES`; those that would say nothing are left out.
        movers: What changed most; None if there is nothing to compare with.
        caching: What caching was worth.
        doubts: What is not simply priced.
        details: The payers that spent most.
        details_left_out: Payers without details.
    """

    period: Period
    total: Amounts
    before: tuple[Period, Amounts] | None
    chart: Chart
    tables: tuple[Table, ...]
    movers: Movers | None
    caching: Caching
    doubts: tuple[Doubt, ...]
    details: tuple[Detail, ...]
    details_left_out: int
    gone_before_ms: int = 0
    before_is_unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a page is made of.

    Attributes:
        period: What the page covers.
        balances: Balances of the period.
        before: Balances of the period before.
        cache: Use of the cache by model.
        cache_exact: Whether that was worked out call by call.
        calls: Returns a payer's dearest calls; None if calls were not looked at.
        gone_before_ms: Single calls of the period from before this are sealed and may be gone,
            epoch milliseconds UTC; 0 if none are.
        before_is_unknown: Whether the period before begins or ends within a day whose calls may
            be gone, so that nothing can be compared with it.
    """

    period: Period
    balances: Balances
    before: Balances
    cache: Mapping[str, CacheUse]
    cache_exact: bool
    calls: Callable[[str], tuple[CallLine, ...]] | None
    gone_before_ms: int = 0
    before_is_unknown: bool = False


def top_principals(balances: Balances) -> tuple[str, ...]:
    """Return the payers that a page goes into, most expensive first."""
    return tuple(row.key for row in table_by("principal", balances, PRINCIPALS_MAX).rows)


def build_page(findings: Findings) -> Page:
    """Work out everything that the page shows."""
    balances = findings.balances
    tables = [table_by(by, balances, ROWS_MAX) for by in TABLES]
    colours = [row.key for row in tables[TABLES.index("model")].rows[:STACKS_MAX]]
    before = sum_of(findings.before)
    return Page(
        period=findings.period,
        total=sum_of(balances),
        before=(findings.period.before, before) if before.calls else None,
        chart=chart_of(balances, findings.period, colours),
        tables=tuple(
            table for table in tables if any(row.key for row in table.rows) or table.by == "model"
        ),
        movers=_movers(findings),
        caching=_caching(findings),
        doubts=tuple(_doubts(balances)),
        details=tuple(_details(findings)),
        details_left_out=max(len({leaf.principal for leaf, _ in balances}) - PRINCIPALS_MAX, 0),
        gone_before_ms=findings.gone_before_ms,
        before_is_unknown=findings.before_is_unknown,
    )


def sum_of(balances: Balances) -> Amounts:
    """Add balances up."""
    total = Amounts()
    for _, amounts in balances:
        total.add(amounts)
    return total


def sums_by(by: str, balances: Iterable[tuple[Leaf, Amounts]]) -> dict[str, Amounts]:
    """Add balances up by one field of their leaves."""
    sums: dict[str, Amounts] = {}
    for leaf, amounts in balances:
        sums.setdefault(str(getattr(leaf, by)), Amounts()).add(amounts)
    return sums


def table_by(by: str, balances: Balances, rows_max: int) -> Table:
    """Return spend by one dimension, as `ledgerock report --by` has it."""
    report = build_report(by, sums_by(by, balances), None, None)
    rest = Amounts()
    for row in report.rows[rows_max:]:
        rest.add(row.amounts)
    return Table(
        by=by,
        rows=report.rows[:rows_max],
        left_out=max(len(report.rows) - rows_max, 0),
        rest=rest,
        total=report.total,
    )


def _movers(findings: Findings) -> Movers | None:
    now, before, earlier = findings.balances, findings.before, findings.period.before
    period, halves = findings.period, False
    if not before:
        days = period.last_day - period.first_day + 1
        if days < 2 or not period.is_whole_days:  # noqa: PLR2004 - two halves
            return None
        half_ms = days // 2 * MS_PER_DAY
        period = Period(since_ms=period.until_ms - half_ms, until_ms=period.until_ms)
        earlier, halves = period.before, True
        before = [pair for pair in now if earlier.first_day <= pair[0].day <= earlier.last_day]
        now = [pair for pair in now if pair[0].day >= period.first_day]
    changes = [mover for by in ("principal", "model") for mover in _changes(by, now, before)]
    changes.sort(key=lambda mover: (-abs(mover.change_pico_usd), mover.by, mover.key))
    total = Mover(
        by="everything",
        key="",
        now_pico_usd=sum_of(now).cost_pico_usd,
        before_pico_usd=sum_of(before).cost_pico_usd,
    )
    return Movers(
        now=period,
        before=earlier,
        halves=halves,
        total=total,
        up=tuple(mover for mover in changes if mover.change_pico_usd > 0)[:MOVERS_MAX],
        down=tuple(mover for mover in changes if mover.change_pico_usd < 0)[:MOVERS_MAX],
    )


def _changes(by: str, now: Balances, before: Balances) -> list[Mover]:
    new, old, none = sums_by(by, now), sums_by(by, before), Amounts()
    return [
        Mover(
            by=by,
            key=key,
            now_pico_usd=new.get(key, none).cost_pico_usd,
            before_pico_usd=old.get(key, none).cost_pico_usd,
        )
        for key in new.keys() | old.keys()
    ]


def _caching(findings: Findings) -> Caching:
    total = CacheUse()
    for use in findings.cache.values():
        total.add(use)
    rows = sorted(findings.cache.items(), key=lambda row: (-row[1].net_pico_usd, row[0]))
    return Caching(exact=findings.cache_exact, rows=tuple(rows), total=total)


def _doubts(balances: Balances) -> Iterable[Doubt]:
    by_model, total = sums_by("model", balances), sum_of(balances)
    for status in ("estimated", "unpriced", "unmetered", "failed"):
        field = f"{status}_calls"
        counts = {model: getattr(amounts, field) for model, amounts in by_model.items()}
        models = sorted(
            ((model, calls) for model, calls in counts.items() if calls),
            key=lambda pair: (-pair[1], pair[0]),
        )
        if models:
            yield Doubt(
                status=status,
                calls=getattr(total, field),
                cost_pico_usd=total.estimated_pico_usd if status == "estimated" else 0,
                models=tuple(models[:DETAIL_ROWS_MAX]),
                left_out=max(len(models) - DETAIL_ROWS_MAX, 0),
            )


def _details(findings: Findings) -> Iterable[Detail]:
    keys = top_principals(findings.balances)
    own: dict[str, list[tuple[Leaf, Amounts]]] = {key: [] for key in keys}
    for leaf, amounts in findings.balances:
        if leaf.principal in own:
            own[leaf.principal].append((leaf, amounts))
    for key in keys:
        yield Detail(
            key=key,
            amounts=sum_of(own[key]),
            chart=chart_of(own[key], findings.period, ()),
            models=table_by("model", own[key], DETAIL_ROWS_MAX),
            calls=None if findings.calls is None else findings.calls(key),
        )
