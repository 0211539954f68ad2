"""`ledgerock quarantine`: records that were not understood, and booking them once they are."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from worker.cli.options import (
    JsonOption,
    LedgerOption,
    PricesOption,
    QuarantineOption,
    RegistryOption,
    ledger_option,
    quarantine_option,
    read_settings,
)
from worker.core.errors import ConfigurationError
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.ports import Quarantine, QuarantinedRecord

ITEMS_SHOWN: Final = 50

app = typer.Typer(
    help="Look at records that were not understood, and book them once they are.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: ledgerock quarantine list",
)


@app.command("list", epilog="Example: ledgerock quarantine list --json | jq '.items[].reason'")
def list_items(
    ledger: LedgerOption = None,
    quarantine: QuarantineOption = None,
    limit: Annotated[
        int,
        typer.Option("--limit", min=1, metavar="N", help="Most rows of the table; --json has all."),
    ] = ITEMS_SHOWN,
    as_json: JsonOption = False,
) -> None:
    """List what is in quarantine: where each record stood and what was wrong with it."""
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = read_settings(ledger=ledger, quarantine=quarantine)
    _check(settings)
    items = run(_items(settings))
    if as_json:
        print_json({"count": len(items), "items": [item_document(item) for item in items]})
    else:
        _print_items(items, limit, ledger_option(settings) + quarantine_option(settings))


@app.command(epilog="Example: ledgerock quarantine show 3f2a")
def show(
    item_id: Annotated[
        str, typer.Argument(metavar="ID", help="The id, or an unambiguous beginning of it.")
    ],
    ledger: LedgerOption = None,
    quarantine: QuarantineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one record with its body."""
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = read_settings(ledger=ledger, quarantine=quarantine)
    _check(settings)
    item = run(_get(settings, item_id))
    if as_json:
        print_json(item_document(item) | _body_document(item.record.body))
    else:
        _print_item(item)


@app.command(
    epilog="Example: ledgerock quarantine redrive --all --registry registry.toml",
)
def redrive(
    item_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID]...", help="Ids, or unambiguous beginnings of them."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Everything in quarantine.")] = False,
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    prices: PricesOption = None,
    quarantine: QuarantineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Decode quarantined records again, book what is understood now, and take it out.

    A record stays if any of it is still not understood. Of a record or file that was not kept
    whole, the file it stood in is read again, if it is still there.
    """
    from worker.cli.output import print_json
    from worker.cli.redrive import print_redriven, redrive_items, redriven_document
    from worker.cli.running import run

    if bool(item_ids) == every:
        message = "give the ids of records, or --all"
        raise typer.BadParameter(message)
    settings = read_settings(ledger=ledger, registry=registry, prices=prices, quarantine=quarantine)
    _check(settings)
    redriven = run(redrive_items(settings, item_ids or []))
    if as_json:
        print_json(redriven_document(redriven))
    else:
        print_redriven(redriven)


@app.command(epilog="Example: ledgerock quarantine drop 3f2a 81b0")
def drop(
    item_ids: Annotated[
        list[str],
        typer.Argument(metavar="ID...", help="Ids, or unambiguous beginnings of them."),
    ],
    ledger: LedgerOption = None,
    quarantine: QuarantineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give records up: remove them from quarantine, unbooked.

    Nothing is removed if any of the ids is unknown. Replaying a file that still holds such a
    record puts it aside again.
    """
    from worker.cli.output import console, print_json, printable, quantity
    from worker.cli.running import run

    settings = read_settings(ledger=ledger, quarantine=quarantine)
    _check(settings)
    items = run(_drop(settings, item_ids))
    if as_json:
        print_json({"dropped": len(items), "items": [item_document(item) for item in items]})
        return
    out = console()
    for item in items:
        text = f"dropped {item.id}: {place_of(item)}: {item.record.reason}"
        out.print(printable(text), soft_wrap=True)
    out.print(f"{quantity(len(items), 'record')} dropped")


def _check(settings: Settings) -> None:
    """Refuse a quarantine that nothing was ever put aside in because its ledger is no ledger."""
    from worker.bootstrap import open_ledger
    from worker.cli.running import run

    directory = settings.quarantine_directory
    if not settings.keeps_quarantine:
        message = f"--ledger {settings.ledger} keeps no quarantine; name one with --quarantine DIR"
        raise ConfigurationError(message)
    if settings.quarantine is None and directory is not None and not directory.exists():
        run(open_ledger(settings, must_exist=True).close())


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[Quarantine]:
    from worker.bootstrap import open_quarantine

    quarantine = open_quarantine(settings)
    try:
        yield quarantine
    finally:
        await quarantine.close()


async def _drop(settings: Settings, item_ids: list[str]) -> list[QuarantinedRecord]:
    from worker.cli.redrive import find_item

    async with _opened(settings) as quarantine:
        found = [await find_item(quarantine, item_id) for item_id in item_ids]
        items = {item.id: item for item in found}
        for item_id in items:
            await quarantine.remove(item_id)
    return list(items.values())


async def _items(settings: Settings) -> list[QuarantinedRecord]:
    async with _opened(settings) as quarantine:
        return [item async for item in quarantine.items()]


async def _get(settings: Settings, item_id: str) -> QuarantinedRecord:
    from worker.cli.redrive import find_item

    async with _opened(settings) as quarantine:
        return await find_item(quarantine, item_id)


def item_document(item: QuarantinedRecord) -> dict[str, Any]:
    """Return everything about a quarantined record but its body."""
    from worker.core.report import iso_time

    record = item.record
    return {
        "id": item.id,
        "reason": record.reason,
        "source": record.position.source,
        "line": record.position.line or None,
        "record": record.position.path,
        "path": record.path,
        "expected": record.expected,
        "found": record.found,
        "truncated": record.truncated,
        "body_bytes": len(record.body),
        "quarantined_at": iso_time(item.quarantined_at_ms),
    }


def _body_document(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode("utf-8")}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode("ascii")}


def place_of(item: QuarantinedRecord) -> str:
    """Return where a record stood: `logs/a.json.gz:3 $.Records[2]`."""
    position = item.record.position
    place = f"{position.source}:{position.line}" if position.line else position.source
    return place if position.path == "$" else f"{place} {position.path}".strip()


def _print_items(items: list[QuarantinedRecord], limit: int, options: str) -> None:
    from worker.cli.output import cells, console, quantity, table

    out = console()
    if not items:
        out.print("nothing is in quarantine")
        return
    columns = table(("id", "where", "reason"))
    for item in items[:limit]:
        columns.add_row(*cells(item.id, place_of(item), item.record.reason))
    out.print(columns)
    out.print()
    if len(items) > limit:
        out.print(f"and {len(items) - limit:,} more; --limit {len(items)} shows them all")
    out.print(
        f"{quantity(len(items), 'record')}: `ledgerock quarantine show ID{options}` prints one, "
        f"`ledgerock quarantine redrive --all{options}` tries them again, "
        f"`ledgerock quarantine drop ID{options}` gives one up"
    )


def _print_item(item: QuarantinedRecord) -> None:
    from worker.cli.output import console, printable

    document = item_document(item)
    out = console()
    for name in ("id", "source", "line", "record", "path", "expected", "found", "quarantined_at"):
        if document[name] is not None:
            out.print(f"{name + ':':<16}{printable(str(document[name]))}", soft_wrap=True)
    cut = ", the beginning of it" if item.record.truncated else ""
    out.print(f"body ({len(item.record.body):,} bytes{cut}):")
    text = item.record.body.decode("utf-8", "backslashreplace")
    for line in text.split("\n"):
        out.print(printable(line), soft_wrap=True)
