"""`ledgerock budgets`: limits on what scopes may spend, and how they stand."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.group import EXIT_WRONG, say
from worker.cli.options import (
    JsonOption,
    LedgerOption,
    RegistryOption,
    lasting,
    ledger_option,
    read_settings,
)
from worker.cli.times import parse_time
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.announcer import Announced

app = typer.Typer(
    help="Set limits on what scopes may spend, and see how they stand.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: ledgerock budgets set research --scope team/research --limit 500",
)

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_PER_CENTS = re.compile(r"[0-9]{1,4}(,[0-9]{1,4})*", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9})([smhd]?)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_MS_PER_DAY = 86_400_000


def _limit(text: str) -> str:
    from worker.core.money import MoneyError, parse_usd_to_pico

    try:
        parse_usd_to_pico(text)
    except MoneyError as error:
        raise typer.BadParameter(str(error)) from error
    return text


def _grace(text: str) -> int:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        message = f"{text!r} is no duration; give 0, or one like 90s, 30m, 2h or 1d"
        raise typer.BadParameter(message)
    return int(match[1]) * _SECONDS[match[2] or "s"]


def _day(text: str) -> int:
    if not _DATE.fullmatch(text):
        message = f"{text!r} is no date; give one like 2026-11-02"
        raise typer.BadParameter(message)
    return parse_time(text) // _MS_PER_DAY


def _thresholds(text: str) -> tuple[int, ...]:
    compact = text.replace(" ", "").removesuffix(",")
    if not _PER_CENTS.fullmatch(compact):
        message = f"{text!r} are no thresholds; give whole per cents such as 70,90,100"
        raise typer.BadParameter(message, param_hint="--thresholds")
    return tuple(int(part) for part in compact.split(","))


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="The budget's name, such as research.")
]
ScopeOption = Annotated[
    str | None,
    typer.Option(
        "--scope",
        metavar="KIND/ID",
        help="Whose spend: everything, or a principal, agent, team, pool, application, account "
        "or model. Examples: --scope team/research, --scope principal/user/111122223333/alice",
    ),
]
LimitOption = Annotated[
    str | None,
    typer.Option(
        "--limit",
        metavar="AMOUNT",
        parser=_limit,
        help="What may be spent in one period: USD, exact to 12 decimals, or what --unit says. "
        "Example: --limit 500",
    ),
]
UnitOption = Annotated[
    str | None,
    typer.Option(
        "--unit",
        metavar="UNIT",
        help="What the limit counts: usd (the default), tokens of all kinds, or requests.",
    ),
]
ActionOption = Annotated[
    str | None,
    typer.Option(
        "--action",
        metavar="ACTION",
        help="What follows once the limit is reached: notify (the default), or suspend whoever "
        "spends: users, roles, sessions and agents, and of teams and pools each member that goes "
        "on spending.",
    ),
]
GraceOption = Annotated[
    int | None,
    typer.Option(
        "--grace",
        metavar="DURATION",
        parser=_grace,
        help="From the announcement that the limit is reached to the suspension: 0, 90s, 30m, 2h "
        "or 1d. Default: 1h",
    ),
]
ForecastOption = Annotated[
    bool | None,
    typer.Option(
        "--forecast/--no-forecast",
        help="Tell when the spend so far would pass the limit before the period's end. Nothing "
        "is ever done because of it.",
    ),
]
PeriodOption = Annotated[
    str | None,
    typer.Option(
        "--period",
        metavar="PERIOD",
        help="monthly (the default), weekly (from Monday), daily, N-day, such as 14-day, or "
        "rolling-N-day: the window of N days up to today, which only notifies; of the calendar "
        "that the registry has for the scope, UTC's otherwise.",
    ),
]
AnchorOption = Annotated[
    int | None,
    typer.Option(
        "--anchor",
        metavar="DATE",
        parser=_day,
        help="A first day of an N-day period. Default: today. Example: --anchor 2026-11-02",
    ),
]
ThresholdsOption = Annotated[
    str | None,
    typer.Option(
        "--thresholds",
        metavar="N,N,...",
        help="Per cents of the limit at which somebody is told. Default: 70,90,100",
    ),
]
BusOption = Annotated[
    str | None,
    typer.Option(
        "--bus",
        metavar="BUS",
        help="Announce what is crossed at once, on this EventBridge bus or file:PATH. Otherwise "
        "a worker does.",
    ),
]


@app.command(
    "set",
    epilog="Example: ledgerock budgets set research --scope team/research --limit 500",
)
def set_budget(
    name: NameArgument,
    scope: ScopeOption = None,
    limit: LimitOption = None,
    unit: UnitOption = None,
    action: ActionOption = None,
    grace: GraceOption = None,
    forecast: ForecastOption = None,
    period: PeriodOption = None,
    anchor: AnchorOption = None,
    thresholds: ThresholdsOption = None,
    bus: BusOption = None,
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a budget, or change one, and see what is spent of it already.

    What is not given stays as it is, or takes its default in a new budget. A changed budget is
    a new revision, and acts at once: thresholds that are reached are told of anew, and whoever
    is suspended though the limit is reached no longer, or nobody is to be suspended, is restored.
    """
    from worker.cli.budgets_output import print_set, set_document
    from worker.cli.budgets_set import Wishes, again, set_one
    from worker.cli.budgets_work import open_books
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = _settings(read_settings(ledger=ledger, registry=registry))
    wishes = Wishes(
        name=name,
        scope=scope,
        limit=limit,
        unit=unit,
        action=action,
        grace_seconds=grace,
        forecast=forecast,
        period=period,
        anchor=anchor,
        thresholds=None if thresholds is None else _thresholds(thresholds),
    )

    async def work() -> Announced:
        async with open_books(settings) as books:
            done = await set_one(books, wishes)
            announced = await books.announce(bus, done.notices)
            done = await again(books, done)
        if as_json:
            print_json(set_document(done, books.registry))
        else:
            print_set(done, books.registry, ledger_option(settings))
        return announced

    announced = run(work())
    if announced.failed:
        say(
            f"the budget is set, but not everything could be announced on {bus} "
            f"({'; '.join(announced.faults)}); it waits for a worker, or the same command again"
        )
        raise typer.Exit(EXIT_WRONG)


@app.command("list", epilog="Example: ledgerock budgets list --json | jq '.budgets[].state'")
def list_budgets(
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List all budgets: what is spent in their current periods, and how serious that is."""
    from worker.cli.budgets_output import print_standings, standing_document
    from worker.cli.budgets_work import open_books
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = _settings(read_settings(ledger=ledger, registry=registry))

    async def work() -> None:
        async with open_books(settings, must_exist=True) as books:
            standings = await books.standings()
            if as_json:
                documents = [standing_document(one, books.registry) for one in standings]
                print_json({"count": len(documents), "budgets": documents})
            else:
                print_standings(standings, ledger_option(settings))

    run(work())


@app.command(epilog="Example: ledgerock budgets show research")
def show(
    name: NameArgument,
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one budget with the thresholds that were crossed, and whether they were announced."""
    from worker.cli.budgets_output import print_shown, shown_document
    from worker.cli.budgets_work import open_books
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = _settings(read_settings(ledger=ledger, registry=registry))

    async def work() -> None:
        async with open_books(settings, must_exist=True) as books:
            shown = await books.shown(name)
            if as_json:
                print_json(shown_document(shown, books.registry))
            else:
                print_shown(shown, books.registry)

    run(work())


@app.command(epilog="Example: ledgerock budgets remove research")
def remove(name: NameArgument, ledger: LedgerOption = None, as_json: JsonOption = False) -> None:
    """Remove a budget. What was spent stays booked, and what it was told of stays listed."""
    from worker.cli.budgets_output import budget_document
    from worker.cli.budgets_set import remove_one
    from worker.cli.budgets_work import open_books
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = _settings(read_settings(ledger=ledger))

    async def work() -> None:
        async with open_books(settings, must_exist=True) as books:
            removed, is_change = await remove_one(books, name)
        if as_json:
            result = "removed" if is_change else "unchanged"
            print_json({"result": result, "budget": budget_document(removed)})
        else:
            print(f"{name} {'is removed' if is_change else 'was removed already'}")

    run(work())


def _settings(settings: Settings) -> Settings:
    return lasting(settings, "its budgets with it")
