"""`ledgerock report`: who and what the money went to."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.options import (
    LedgerOption,
    SinceOption,
    UntilOption,
    ledger_option,
    one_of,
    read_settings,
)
from worker.cli.times import window_of
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.core.report import Report
    from worker.pipeline import Window


class Dimension(StrEnum):
    """What a report may be by: `worker.core.report.DIMENSIONS`."""

    PRINCIPAL = "principal"
    IDENTITY = "identity"
    AGENT = "agent"
    TEAM = "team"
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
            help="table for people, json or csv for scripts, exact.",
        ),
    ] = ReportFormat.TABLE,
) -> None:
    """Show what was spent, by principal, model, day, ...

    A principal is who pays: the agent mapped to a role, an application, or else the signed
    caller. Tables show money with as many digits as a column needs, six decimals at most; json
    and csv carry every digit.
    """
    from worker.cli.output import print_json
    from worker.cli.running import run
    from worker.core.report import report_document

    settings = read_settings(ledger=ledger)
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


def csv_columns(figures_of_row: dict[str, object]) -> dict[str, object]:
    """Flatten the figures of a row, in the stable order of the columns."""
    columns: dict[str, object] = {}
    for name, value in figures_of_row.items():
        if isinstance(value, dict):
            columns |= value
        else:
            columns[name] = value
    return columns


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
    out.print(spend.table)
    out.print()
    again = f"ledgerock rebook{ledger_option(settings)}"
    for line in notes(result.total, show_usd(result.total.estimated_pico_usd), again):
        out.print(f"* {line}")
    if spend.rounded:
        out.print("* shown to six decimals; `--format json` has every digit")
