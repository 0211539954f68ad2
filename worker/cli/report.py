"""`ledgerock report`: who and what the money went to."""

from __future__ import annotations

import csv
import sys
from datetime import date, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from worker.cli.options import (
    LedgerOption,
    PricesOption,
    RegistryOption,
    SinceOption,
    UntilOption,
    ledger_option,
    one_of,
    read_settings,
)
from worker.cli.times import window_of
from worker.core.errors import ConfigurationError
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.core.report import Report
    from worker.core.report_page import Page
    from worker.pipeline import Window


SPARKLINE_VALUES_MAX: Final = 120
"""Longer series do not fit on a line."""


class Dimension(StrEnum):
    """What a report may be by: `worker.core.report.DIMENSIONS`."""

    PRINCIPAL = "principal"
    IDENTITY = "identity"
    AGENT = "agent"
    TEAM = "team"
    POOL = "pool"
    APPLICATION = "application"
    ACCOUNT = "account"
    MODEL = "model"
    DAY = "day"
    MONTH = "month"


class ReportFormat(StrEnum):
    """How a report is printed."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    HTML = "html"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock report --by model --since 2026-10 --until 2026-11")(
        report
    )


def report(
    ledger: LedgerOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    by: Annotated[
        Dimension,
        typer.Option(
            "--by",
            metavar="DIMENSION",
            parser=one_of(Dimension),
            help=f"What the rows are: {', '.join(Dimension)}. Example: --by team",
        ),
    ] = Dimension.PRINCIPAL,
    report_format: Annotated[
        ReportFormat,
        typer.Option(
            "--format",
            metavar="FORMAT",
            parser=one_of(ReportFormat),
            help="table or html for people, json or csv for scripts, exact. html is one page "
            "that needs no network: spend over time, by every dimension, top movers, "
            "cache savings, down to calls.",
        ),
    ] = ReportFormat.TABLE,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            help="Write html to a file instead of stdout. Example: --output report.html",
        ),
    ] = None,
    prices: PricesOption = None,
    registry: RegistryOption = None,
) -> None:
    """Show what was spent, by principal, model, day, ...

    A principal is who pays: the agent mapped to a role, an application, or else the signed
    caller. Tables show money with as many digits as a column needs, six decimals at most; json
    and csv carry every digit. Prices and registry are for html alone: its cache savings are
    worked out with them; nothing is priced again.
    """
    from worker.cli.output import print_json
    from worker.cli.running import run
    from worker.core.report import report_document

    settings = read_settings(ledger=ledger, prices=prices, registry=registry)
    if report_format is ReportFormat.HTML:
        _write_html(settings, window_of(since, until), output)
        return
    if output is not None:
        message = "--output goes with --format html; send the others to a file with > FILE"
        raise ConfigurationError(message)
    result = run(_read(settings, by.value, window_of(since, until)))
    if report_format is ReportFormat.JSON:
        print_json(report_document(result))
    elif report_format is ReportFormat.CSV:
        _print_csv(result)
    else:
        _print_table(result, settings)


async def _read(settings: Settings, by: str, window: Window) -> Report:
    from worker import books
    from worker.bootstrap import open_ledger

    opened = open_ledger(settings, must_exist=True)
    try:
        return await books.report(opened, by, window)
    finally:
        await opened.close()


def _write_html(settings: Settings, window: Window, output: Path | None) -> None:
    from worker.cli.html.reading import CALLS_READ_MAX
    from worker.cli.html.render import render
    from worker.cli.running import run

    # Entries of an embedded ledger are read in one pass; elsewhere that would scan a table.
    embedded = settings.ledger.partition(":")[0] in {"memory", "sqlite"}
    calls_read_max = CALLS_READ_MAX if embedded else 0
    page = run(_read_page(settings, window, calls_read_max))
    document = render(
        page, ledger_option=ledger_option(settings), calls_read_max=calls_read_max
    ).encode()
    if output is None:
        sys.stdout.buffer.write(document)
        return
    try:
        output.write_bytes(document)
    except OSError as error:
        message = f"--output {output}: cannot be written ({error.strerror})"
        raise ConfigurationError(message) from error


async def _read_page(settings: Settings, window: Window, calls_read_max: int) -> Page:
    from worker.bootstrap import load_poster, open_ledger
    from worker.cli.html.reading import read_page

    poster = await load_poster(settings)
    opened = open_ledger(settings, must_exist=True)
    try:
        return await read_page(opened, poster, window, calls_read_max=calls_read_max)
    finally:
        await opened.close()


def csv_columns(figures_of_row: dict[str, object]) -> dict[str, object]:
    """Flatten the figures of a row, in the stable order of the columns."""
    columns: dict[str, object] = {}
    for name, value in figures_of_row.items():
        if isinstance(value, dict):
            columns |= value
        else:
            columns[name] = value
    return columns


def _sparkline(result: Report) -> str:
    """Return the series of a report in order of time; what has no calls leaves a gap."""
    from worker.cli.output import sparkline
    from worker.core.report import IN_TIME_ORDER

    if result.by not in IN_TIME_ORDER:
        return ""
    spent = {row.key: row.amounts.cost_pico_usd for row in result.rows}
    first, last = result.rows[0].key, result.rows[-1].key
    values = []
    moment = date.fromisoformat(first if result.by == "day" else f"{first}-01")
    while (key := moment.isoformat()[: len(first)]) <= last:
        values.append(spent.get(key, 0))
        if result.by == "day":
            moment += timedelta(days=1)
        else:
            moment = (moment.replace(day=28) + timedelta(days=4)).replace(day=1)
        if len(values) > SPARKLINE_VALUES_MAX:
            return ""
    bars = sparkline(values)
    return f"{first}  {bars}  {last}" if bars else ""


def _print_csv(result: Report) -> None:
    from worker.core.report import figures

    header = ["key", *csv_columns(figures(result.total))]
    writer = csv.DictWriter(sys.stdout, header, lineterminator="\n")
    writer.writeheader()
    for row in result.rows:
        writer.writerow({"key": row.key, **csv_columns(figures(row.amounts))})


def _print_table(result: Report, settings: Settings) -> None:
    from worker.cli.figures import SpendTable, notes
    from worker.cli.money import show_usd
    from worker.cli.output import console
    from worker.core.report import IN_TIME_ORDER, iso_time

    out = console()
    since, until = iso_time(result.since_ms), iso_time(result.until_ms)
    period = f" from {since}" if since else ""
    period += f" until {until}" if until else ""
    if not result.rows:
        out.print(f"no calls{period} in {settings.ledger}; book some with `ledgerock replay PATH`")
        return
    rows = [(row.key, row.amounts) for row in result.rows]
    order = "" if result.by in IN_TIME_ORDER else ", most expensive first"
    title = f"Amazon Bedrock spend by {result.by}{period}{order}"
    spend = SpendTable(result.by, rows, result.total, out.width)
    spend.add_total()
    out.print(title, style="bold")
    if series := _sparkline(result):
        out.print(series)
    out.print(spend.table)
    out.print()
    again = f"ledgerock rebook{ledger_option(settings)}"
    for line in notes(result.total, show_usd(result.total.estimated_pico_usd), again):
        out.print(f"* {line}")
    if spend.rounded:
        out.print("* shown to six decimals; `--format json` has every digit")
