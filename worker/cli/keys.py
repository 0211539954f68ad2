"""`ledgerock keys`: users with a Bedrock API key, with the budgets that they may spend."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from worker.cli.group import say
from worker.cli.options import (
    JsonOption,
    LedgerOption,
    RegistryOption,
    lasting,
    ledger_option,
    read_settings,
)
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.cli.keys_work import KeyWork
    from worker.core.tiers import Tiers
    from worker.ports.provisioning import Provisioning

app = typer.Typer(
    help="Make users with a Bedrock API key and a budget, list them, take them away.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: ledgerock keys create ci-bot --limit 50 --days 30",
)

_TAG: Final = re.compile(r"([^=]{1,128})=(.{0,256})")


def _limit(text: str) -> int:
    from worker.core.money import MoneyError, parse_usd_to_pico

    try:
        return parse_usd_to_pico(text)
    except MoneyError as error:
        raise typer.BadParameter(str(error)) from error


def _tags(texts: list[str] | None) -> tuple[tuple[str, str], ...]:
    found: dict[str, str] = {}
    for text in texts or ():
        match = _TAG.fullmatch(text)
        if match is None or match[1].startswith("ledgerock:") or match[1] in found:
            message = (
                f"{text!r} will not do: give KEY=VALUE, each key once, and none that begins with "
                "ledgerock:"
            )
            raise typer.BadParameter(message, param_hint="--tag")
        found[match[1]] = match[2]
    return tuple(found.items())


NameArgument = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of the IAM user, such as ci-bot.")
]


TierOption = Annotated[
    str | None,
    typer.Option(
        "--tier",
        metavar="TIER",
        help="The tier whose budgets it gets, of LEDGEROCK_TIERS. Default: that of users.",
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="USD",
        parser=_limit,
        help="A monthly budget of its own, which suspends it. Example: --limit 50",
    ),
]
GraceOption = Annotated[
    int,
    typer.Option(
        "--grace",
        metavar="SECONDS",
        min=0,
        help="From the announcement that --limit is reached to the suspension. Default: 300",
    ),
]
DaysOption = Annotated[
    int | None,
    typer.Option(
        "--days",
        metavar="N",
        min=1,
        max=36_600,
        help="How long the key is good for. Default: until it is removed.",
    ),
]
PolicyOption = Annotated[
    str,
    typer.Option(
        "--policy",
        metavar="ARN|NAME",
        help="The managed policy that lets it call models: an ARN, or the name of AWS's own.",
    ),
]
BoundaryOption = Annotated[
    str,
    typer.Option("--boundary", metavar="ARN", help="A permissions boundary. Default: none."),
]
TagOption = Annotated[
    list[str] | None,
    typer.Option("--tag", metavar="KEY=VALUE", help="A tag of the user; may be repeated."),
]


@app.command(epilog="Example: ledgerock keys create ci-bot --limit 50 --days 30 --tag cost=ci")
def create(
    name: NameArgument,
    tier: TierOption = None,
    limit: LimitOption = None,
    grace: GraceOption = 300,
    days: DaysOption = None,
    policy: PolicyOption = "AmazonBedrockLimitedAccess",
    boundary: BoundaryOption = "",
    tag: TagOption = None,
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an IAM user with a Bedrock API key, and set its budgets first.

    The secret is shown once and kept nowhere. If anything fails, all of it is taken back.
    """
    from worker.cli.keys_budgets import chosen_budgets
    from worker.cli.keys_output import show_created
    from worker.cli.keys_work import KeyWish
    from worker.cli.running import run

    settings = _settings(read_settings(ledger=ledger, registry=registry))
    tags = _tags(tag)

    async def work() -> None:
        async with _open(settings) as (keys, tiers):
            wish = KeyWish(
                name=name,
                budgets=chosen_budgets(tiers, tier, limit, grace),
                tier=tier or "",
                policy=policy,
                boundary=boundary,
                days=days,
                tags=((tiers.tier_tag, tier), *tags) if tier else tags,
            )
            await keys.create(wish, lambda created: show_created(created, as_json=as_json))
            say(f"take it away with: ledgerock keys remove {name}{ledger_option(settings)}")

    run(work())


@app.command("list", epilog="Example: ledgerock keys list --json | jq '.keys[].name'")
def list_keys(ledger: LedgerOption = None, as_json: JsonOption = False) -> None:
    """List the users that were made here, with their keys and budgets."""
    from worker.cli.keys_output import show_listed
    from worker.cli.running import run

    settings = _settings(read_settings(ledger=ledger))

    async def work() -> None:
        async with _open(settings, must_exist=True) as (keys, _tiers):
            show_listed(await keys.listed(), as_json=as_json)

    run(work())


@app.command(epilog="Example: ledgerock keys remove ci-bot")
def remove(name: NameArgument, ledger: LedgerOption = None, as_json: JsonOption = False) -> None:
    """Take a user away that was made here: its keys, policies and budgets. Its spend stays."""
    from worker.cli.keys_output import show_removed
    from worker.cli.running import run

    settings = _settings(read_settings(ledger=ledger))

    async def work() -> None:
        async with _open(settings, must_exist=True) as (keys, _tiers):
            show_removed(await keys.remove(name), as_json=as_json)

    run(work())


def _settings(settings: Settings) -> Settings:
    return lasting(settings, "nobody would know of the key")


@asynccontextmanager
async def _open(
    settings: Settings, *, must_exist: bool = False
) -> AsyncIterator[tuple[KeyWork, Tiers]]:
    """Open what the commands work with: the ledger's state, IAM, and the tiers."""
    from worker.adapters.clock import SystemClock
    from worker.bootstrap import make_registry, open_state
    from worker.cli.keys_budgets import KeyBudgets, load_tiers
    from worker.cli.keys_work import KeyWork

    tiers, registry = await load_tiers(settings), make_registry(settings)
    state, iam = open_state(settings, must_exist=must_exist), open_provisioning()
    try:
        clock = SystemClock()
        budgets = KeyBudgets(state, clock, registry)
        yield KeyWork(iam, state.records, budgets, clock), tiers
    finally:
        await iam.close()
        await state.close()


def open_provisioning() -> Provisioning:
    """Open IAM, with the rights of whoever runs the command."""
    from worker.adapters.iam_keys import IamKeys

    return IamKeys()
