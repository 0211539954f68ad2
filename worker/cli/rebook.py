"""`ledgerock rebook`: bring booked calls to what prices, rules and registry say now."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.cli.group import say
from worker.cli.options import (
    JsonOption,
    LedgerOption,
    PricesOption,
    RegistryOption,
    SinceOption,
    UntilOption,
    read_settings,
)
from worker.cli.times import window_of
from worker.core.errors import ConfigurationError
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.books import Change, RebookResult
    from worker.core.ledger import Basis
    from worker.core.posting import Poster
    from worker.pipeline import Window
    from worker.pipeline.changes import LookLater
    from worker.ports import Ledger

FORGETS: Final = (
    "no --registry was given, but calls were booked under one: agents, teams, applications and "
    "trusted sessions would be forgotten; give --registry FILE, or --no-registry if that is meant"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock rebook --prices ours.csv --dry-run")(rebook)


def rebook(
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    prices: PricesOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    no_registry: Annotated[
        bool,
        typer.Option(
            "--no-registry", help="Forget the registry that calls were booked under; it is meant."
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")
    ] = False,
    pending: Annotated[
        bool,
        typer.Option(
            "--pending",
            help="Look at unpriced and unmetered calls alone: all that a late price or "
            "application profile can move, found without reading the rest.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Price and attribute booked calls anew, after a change of prices, rules or registry.

    The result is what a fresh replay under the same files would give. It may be interrupted;
    running it again takes up where it stopped. Calls that were booked under a registry are
    refused without one, unless --no-registry says that it is to be forgotten. Sealed calls stay
    as they are.
    """
    from worker.cli.output import print_json
    from worker.cli.running import run

    if no_registry and registry is not None:
        message = "give --registry or --no-registry, not both"
        raise typer.BadParameter(message)
    settings = read_settings(ledger=ledger, registry=registry, prices=prices)
    if no_registry:
        settings = replace(settings, registry=None)
    window = window_of(since, until)
    result, basis = run(
        _rebook(settings, window, dry_run=dry_run, pending=pending, may_forget=no_registry)
    )
    if as_json:
        print_json(_document(result, basis, dry_run=dry_run))
    else:
        _print(result, dry_run=dry_run)


async def _rebook(
    settings: Settings, window: Window, *, dry_run: bool, pending: bool, may_forget: bool
) -> tuple[RebookResult, Basis]:
    from worker import books
    from worker.bootstrap import load_poster, open_ledger
    from worker.cli.progress import entries_progress

    poster = await load_poster(settings)
    async with AsyncExitStack() as stack:
        opened = open_ledger(settings, must_exist=True)
        stack.push_async_callback(opened.close)
        if settings.registry is None and not may_forget and await _has_registry(opened):
            if not dry_run:
                raise ConfigurationError(FORGETS)
            say(FORGETS)
        with entries_progress() as on_progress:
            result = await books.rebook(
                opened,
                poster,
                window,
                dry_run=dry_run,
                pending=pending,
                on_progress=on_progress,
                look_later=None if dry_run else await _look_later(settings, opened, poster, stack),
            )
        return result, poster.basis


async def _look_later(
    settings: Settings, ledger: Ledger, poster: Poster, stack: AsyncExitStack
) -> LookLater:
    """Return what asks the worker to look at the budgets of what is rebooked."""
    from worker.adapters.clock import SystemClock
    from worker.bootstrap import open_state
    from worker.pipeline.budgets import BudgetWatch

    state = open_state(settings, must_exist=True)
    stack.push_async_callback(state.close)
    watch = BudgetWatch(
        ledger=ledger,
        budgets=state.budgets,
        outbox=state.outbox,
        records=state.records,
        clock=SystemClock(),
        registry=lambda: poster.registry,
    )
    return watch.look_later


async def _has_registry(ledger: Ledger) -> bool:
    """Whether any of the first entries was booked under a registry that is not empty."""
    from worker.core.registry import EMPTY_REGISTRY

    async for entries in ledger.scan():
        revisions = {entry.posting.basis.registry_revision for entry in entries}
        return bool(revisions - {EMPTY_REGISTRY.revision})
    return False


def sorted_changes(changes: Mapping[str, Change]) -> list[tuple[str, Change]]:
    """Return changes by key, the largest move of cost first."""
    return sorted(changes.items(), key=lambda item: (-abs(_moved(item[1])), item[0]))


def _moved(change: Change) -> int:
    return change.after.cost_pico_usd - change.before.cost_pico_usd


def _document(result: RebookResult, basis: Basis, *, dry_run: bool) -> dict[str, Any]:
    from worker.core.money import format_pico_usd
    from worker.core.report import figures, iso_time

    def rows(changes: Mapping[str, Change]) -> list[dict[str, Any]]:
        return [
            {"key": key, "before": figures(change.before), "after": figures(change.after)}
            for key, change in sorted_changes(changes)
        ]

    return {
        "dry_run": dry_run,
        "resumed": result.resumed,
        "entries": result.entries,
        "rebooked": result.rebooked,
        "moved": result.moved,
        "sealed": result.sealed,
        "sealed_before": iso_time(result.sealed_before_ms or None),
        "cost_usd": format_pico_usd(sum(map(_moved, result.by_principal.values()))),
        "catalogue_revision": basis.catalogue_revision,
        "registry_revision": basis.registry_revision,
        "by_principal": rows(result.by_principal),
        "by_model": rows(result.by_model),
    }


def _print(result: RebookResult, *, dry_run: bool) -> None:
    from worker.cli.money import show_usd
    from worker.cli.output import console, quantity
    from worker.core.ledger import MS_PER_DAY
    from worker.core.seal import day_text

    out = console()
    looked_at = quantity(result.entries, "call")
    if result.resumed:
        looked_at += " (resumed)"
    if result.moved:
        number = quantity(result.moved, "call was", "calls were")
        out.print(f"{number} changed by somebody else meanwhile; run rebook again")
    if result.sealed:
        before = day_text(result.sealed_before_ms // MS_PER_DAY)
        number = quantity(result.sealed, "call")
        out.print(f"passed over: {number} from before {before}, sealed for good")
    if not result.rebooked:
        rest = "all others" if result.sealed else "all"
        out.print(f"nothing to rebook: {looked_at} looked at, {rest} as prices and registry say")
        return
    verb = "would change" if dry_run else "rebooked"
    moved = sum(map(_moved, result.by_principal.values()))
    sign = "+" if moved > 0 else ""
    out.print(f"{result.rebooked:,} of {looked_at} {verb}: {sign}{show_usd(moved)}")
    _print_changes("principal", result.by_principal)
    _print_changes("model", result.by_model)
    if dry_run:
        out.print("nothing was changed; run it again without --dry-run")


def _print_changes(heading: str, changes: Mapping[str, Change]) -> None:
    from worker.cli.figures import NO_KEY, ROOMY_WIDTH, show_cost, uncertain
    from worker.cli.money import MoneyColumn
    from worker.cli.output import KeyCell, cells, console, count, table

    ordered = [item for item in sorted_changes(changes) if item[1].before != item[1].after]
    if not ordered:
        return
    money = MoneyColumn(
        amounts.cost_pico_usd for _, change in ordered for amounts in (change.before, change.after)
    )
    out = console()
    roomy = out.width >= ROOMY_WIDTH
    names = ("calls before", "cost before", "calls after", "cost after")
    right = names if roomy else tuple(name.replace(" ", "\n") for name in names)
    columns = table((heading, *right, "still")[: None if roomy else -1], right=right, key=heading)
    for key, change in ordered:
        values = [
            count(change.before.calls),
            show_cost(change.before, money),
            count(change.after.calls),
            show_cost(change.after, money),
        ]
        values += [uncertain(change.after)] * roomy
        columns.add_row(KeyCell(key or NO_KEY), *cells(*values))
    out.print()
    out.print(columns)
