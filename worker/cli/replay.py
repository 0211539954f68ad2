"""`ledgerock replay`: book logs from files, folders and S3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.cli.group import EXIT_WRONG, say
from worker.cli.options import (
    JsonOption,
    LedgerOption,
    PricesOption,
    QuarantineOption,
    RegistryOption,
    SinceOption,
    UntilOption,
    ledger_option,
    quarantine_option,
    read_settings,
)
from worker.cli.times import window_of
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.core.ledger import Amounts
    from worker.pipeline import Window
    from worker.replay import ReplayFigures

TOP_ROWS: Final = 10
REASONS_SHOWN: Final = 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock replay ./AWSLogs --registry registry.toml")(replay)


def replay(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH|s3://...",
            help="Files and folders of invocation logs and CloudTrail files, any mix, any order; "
            "s3://BUCKET/PREFIX reads them from S3.",
        ),
    ],
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    prices: PricesOption = None,
    quarantine: QuarantineOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Work out everything, book nothing.")
    ] = False,
    announce: Annotated[
        bool,
        typer.Option(
            "--announce",
            help="Announce thresholds that budgets cross on the bus that LEDGEROCK_BUS names. "
            "Otherwise those of closed periods are written down, and nobody is told.",
        ),
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if any record was quarantined.")
    ] = False,
    as_json: JsonOption = False,
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, metavar="N", help="Processes. Default: one for each core."),
    ] = None,
) -> None:
    """Book every call in files and folders, each once.

    What is booked already changes nothing: the same logs may be replayed again, in other
    files, or after an interruption. Records that are not understood go to quarantine with the
    reason.
    """
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = read_settings(ledger=ledger, registry=registry, prices=prices, quarantine=quarantine)
    window = window_of(since, until)
    asked = {"dry_run": dry_run, "announce": announce, "jobs": jobs}
    done = run(_replay(settings, paths, window, asked, lines=not as_json))
    if as_json:
        print_json(replay_document(done) | (_announced_document(done) if announce else {}))
    else:
        _print(done, settings, dry_run=dry_run)
    if done.unannounced:
        say(_unannounced(done))
    if done.unannounced or (strict and done.quarantined):
        raise typer.Exit(EXIT_WRONG)


async def _replay(
    settings: Settings,
    paths: list[str],
    window: Window,
    asked: Mapping[str, Any],
    *,
    lines: bool,
) -> ReplayFigures:
    from worker.cli.progress import replay_progress
    from worker.replay import replay as book

    with replay_progress(lines=lines) as on_progress:
        return await book(settings, paths, window=window, on_progress=on_progress, **asked)


def by_cost(amounts_by_key: Mapping[str, Amounts]) -> list[tuple[str, Amounts]]:
    """Return keys with their figures, most expensive first; without those that nothing moved."""
    rows = [item for item in amounts_by_key.items() if not item[1].is_zero()]
    return sorted(rows, key=lambda row: (-row[1].cost_pico_usd, row[0]))


def replay_document(done: ReplayFigures) -> dict[str, Any]:
    """Return the figures of a replay as `--json` prints them."""
    from worker.core.money import format_pico_usd

    totals = done.totals
    return {
        "deliveries": done.deliveries,
        "records": done.records,
        "calls": done.calls,
        "recorded": done.recorded,
        "upgraded": done.upgraded,
        "duplicates": done.duplicates,
        "ignored": done.ignored,
        "quarantined": done.quarantined,
        "estimated": totals.estimated_calls,
        "unpriced": totals.unpriced_calls,
        "unmetered": totals.unmetered_calls,
        "failed": totals.failed_calls,
        "cost_usd": format_pico_usd(totals.cost_pico_usd),
        "by_principal": _rows(done.by_principal),
        "by_model": _rows(done.by_model),
    }


def _announced_document(done: ReplayFigures) -> dict[str, Any]:
    """Return what `--announce` adds."""
    return {
        "crossings": done.crossings,
        "announced": done.announced,
        "unannounced": done.unannounced,
    }


def _unannounced(done: ReplayFigures) -> str:
    from worker.cli.output import printable, quantity

    why = f" ({printable('; '.join(done.faults))})" if done.faults else ""
    return (
        f"everything is booked, but {quantity(done.unannounced, 'event')} could not be announced"
        f"{why}; what is written down waits: run the same replay again, or a worker"
    )


def _rows(amounts_by_key: Mapping[str, Amounts]) -> list[dict[str, Any]]:
    from worker.core.report import figures

    return [{"key": key, **figures(amounts)} for key, amounts in by_cost(amounts_by_key)]


def _print(done: ReplayFigures, settings: Settings, *, dry_run: bool) -> None:
    from worker.cli.figures import notes
    from worker.cli.money import show_usd
    from worker.cli.output import console, quantity

    out = console()
    booked = "would be booked in" if dry_run else "booked in"
    out.print(
        f"{show_usd(done.totals.cost_pico_usd)} {booked} {settings.ledger}: "
        f"{quantity(done.records, 'record')} of {quantity(done.calls, 'call')} "
        f"in {quantity(done.deliveries, 'file')}, {done.seconds:.1f} s"
    )
    out.print(
        f"{done.recorded:,} recorded, {done.upgraded:,} upgraded, "
        f"{quantity(done.duplicates, 'duplicate')}, {done.ignored:,} ignored, "
        f"{done.quarantined:,} quarantined"
    )
    _print_top("principal", done.by_principal, done.totals, settings)
    _print_top("model", done.by_model, done.totals, settings)
    lasting = settings.is_kept and not dry_run
    again = f"ledgerock {'rebook' if lasting else 'replay PATH'}{ledger_option(settings)}"
    lines = notes(done.totals, show_usd(done.totals.estimated_pico_usd), again)
    lines += _ignored(done.ignored_reasons)
    if done.crossings:
        crossed = quantity(done.crossings, "threshold")
        option = ledger_option(settings)
        lines.append(f"{crossed} newly crossed; `ledgerock budgets list{option}` says where")
    if done.announced:
        lines.append(f"{quantity(done.announced, 'event')} announced")
    if done.quarantined:
        lines.append(_quarantined(done.quarantined, settings, dry_run=dry_run))
    if dry_run:
        lines.append("nothing was booked; run it again without --dry-run")
    elif lasting and (done.recorded or done.upgraded):
        option = ledger_option(settings)
        lines.append(f"next: `ledgerock report{option}`, `ledgerock report --by day{option}`")
    if lines:
        out.print()
    for line in lines:
        out.print(f"* {line}")


def _print_top(
    heading: str, amounts_by_key: Mapping[str, Amounts], total: Amounts, settings: Settings
) -> None:
    from worker.cli.figures import SpendTable
    from worker.cli.output import console

    rows = by_cost(amounts_by_key)
    if not rows:
        return
    out = console()
    shown = rows[:TOP_ROWS]
    out.print()
    out.print(SpendTable(heading, shown, total, out.width).table)
    if len(rows) > len(shown):
        more = f"and {len(rows) - len(shown):,} more"
        hint = f"; `ledgerock report --by {heading}{ledger_option(settings)}`"
        out.print(more if not settings.is_kept else more + hint)


def _ignored(reasons: Mapping[str, int]) -> list[str]:
    from worker.cli.output import printable

    ordered = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    lines = [f"{number:,} ignored: {printable(why)}" for why, number in ordered[:REASONS_SHOWN]]
    more = sum(number for _, number in ordered[REASONS_SHOWN:])
    return [*lines, f"{more:,} ignored for other reasons"] if more else lines


def _quarantined(number: int, settings: Settings, *, dry_run: bool) -> str:
    from worker.cli.output import quantity

    records = f"{quantity(number, 'record')} not understood"
    if dry_run or not settings.keeps_quarantine:
        return f"{records}; `ledgerock explain FILE` says why"
    where = quarantine_option(settings) or ledger_option(settings)
    return f"{records} and put aside; look at them with `ledgerock quarantine list{where}`"
