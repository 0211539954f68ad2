"""`ledgerock principals`: who spends, how their suspensions stand, and whose roles are whose."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.options import JsonOption, LedgerOption, PricesOption, RegistryOption, read_settings
from worker.cli.principals_forget import register as register_forget
from worker.cli.times import parse_time
from worker.core.errors import ConfigurationError

app = typer.Typer(
    help="See who spends and who is suspended; map roles to agents.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: ledgerock principals show user/111122223333/alice",
)


@app.command("list", epilog="Example: ledgerock principals list --json | jq '.principals[].state'")
def list_principals(
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """List who spent this month, has budgets or keys, is held, or is an agent."""
    from worker.cli.budgets_work import open_books
    from worker.cli.output import print_json
    from worker.cli.principals_output import known_document, print_listed
    from worker.cli.principals_work import Principals
    from worker.cli.running import run

    settings = read_settings(ledger=ledger, registry=registry)

    async def work() -> None:
        async with open_books(settings, must_exist=True) as books:
            listed = await Principals(books).listed()
        if as_json:
            documents = [known_document(one) for one in listed]
            print_json({"count": len(documents), "principals": documents})
        else:
            print_listed(listed)

    run(work())


@app.command(epilog="Example: ledgerock principals show user/111122223333/alice")
def show(
    principal: Annotated[
        str,
        typer.Argument(metavar="ID", help="Its id, as `principals list` and `report` name it."),
    ],
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show everything about one principal: spend, budgets, holds, keys, what was told and done."""
    from worker.cli.budgets_work import open_books
    from worker.cli.output import print_json
    from worker.cli.principals_output import print_shown, shown_document
    from worker.cli.principals_work import Principals
    from worker.cli.running import run

    settings = read_settings(ledger=ledger, registry=registry)

    async def work() -> None:
        async with open_books(settings, must_exist=True) as books:
            shown = await Principals(books).shown(principal)
            if as_json:
                print_json(shown_document(shown, books.registry))
            else:
                print_shown(shown, books.registry)

    run(work())


@app.command(
    "map",
    epilog="Example: ledgerock principals map arn:aws:iam::111122223333:role/Helper "
    "agent/111122223333/us-east-1/helper-a1b2c3d4e5 --from 2026-11-01",
)
def map_principal(
    role_arn: Annotated[
        str, typer.Argument(metavar="ROLE_ARN", help="The role that the agent calls models with.")
    ],
    agent: Annotated[
        str, typer.Argument(metavar="AGENT_ID", help="The agent: agent/ACCOUNT/REGION/ID.")
    ],
    since: Annotated[
        int | None,
        typer.Option(
            "--from",
            metavar="TIME",
            parser=parse_time,
            help="Since when it has the role, UTC unless it has an offset. Default: now.",
        ),
    ] = None,
    until: Annotated[
        int | None,
        typer.Option(
            "--to", metavar="TIME", parser=parse_time, help="Until when. Default: further notice."
        ),
    ] = None,
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    prices: PricesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say whose role a role is, where no event did; calls since then are booked to the agent.

    A shared ledger finds the calls of the last 100 days; after an earlier --from, run
    `ledgerock rebook` as well.
    """
    from worker.adapters.clock import SystemClock
    from worker.bootstrap import open_booking
    from worker.bootstrap.books import ledger_file
    from worker.cli.output import print_json
    from worker.cli.principals_map import Mapping, check_mapping, map_role
    from worker.cli.principals_output import mapped_document, print_mapped
    from worker.cli.running import run

    settings = read_settings(ledger=ledger, registry=registry, prices=prices)
    if settings.ledger_tables is None:
        ledger_file(settings, must_exist=True)
    now_ms = SystemClock().now_ms()
    mapping = Mapping(
        role_arn=role_arn,
        agent=agent,
        from_ms=now_ms if since is None else since,
        to_ms=until,
        by=_person(),
    )
    check_mapping(mapping, now_ms)

    async def work() -> None:
        async with open_booking(settings) as booking:
            mapped = await map_role(booking, mapping)
        if as_json:
            print_json(mapped_document(mapped))
        else:
            print_mapped(mapped)

    run(work())


register_forget(app)


def _person() -> str:
    """Return who runs this, as the machine knows them."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        message = "nobody knows who you are on this machine; set USER, for the audit log"
        raise ConfigurationError(message) from error
