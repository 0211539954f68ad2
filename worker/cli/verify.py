"""`ledgerock verify`: balances against entries; the audit log against itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli.group import EXIT_WRONG
from worker.cli.options import JsonOption, LedgerOption, read_settings
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.core.ledger import Amounts, Leaf
    from worker.ports import Difference, Verification


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock verify && echo sound")(verify)


AuditOption = Annotated[
    bool,
    typer.Option("--audit", help="Check the audit log instead: that nothing in it was changed."),
]
NotedOption = Annotated[
    str | None,
    typer.Option(
        "--noted",
        metavar="NUMBER:HASH",
        help="With --audit: where an earlier check said that the log ended. Proves that nothing "
        "up to there was written anew. Example: --noted 120:5f0c9a53e1b7d204",
    ),
]


def verify(
    ledger: LedgerOption = None,
    audit: AuditOption = False,
    noted: NotedOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that every balance is the sum of its entries' postings.

    A sealed balance must be what its seal says, and so must its entries; where some may have been
    let go, those that are left must add up to no more.
    With --audit, prove that the audit log is whole: no entry missing, changed or out of order.
    Exits with 1 and lists what is wrong.
    """
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = read_settings(ledger=ledger)
    if audit or noted is not None:
        _verify_audit(settings, noted, as_json=as_json)
        return
    result = run(_verify(settings))
    if as_json:
        print_json(_document(settings, result))
    else:
        _print(settings, result)
    if result.differences:
        raise typer.Exit(EXIT_WRONG)


def _verify_audit(settings: Settings, noted: str | None, *, as_json: bool) -> None:
    from worker.cli.output import print_json
    from worker.cli.running import run
    from worker.cli.verify_audit import audit_document, check_audit, parse_noted, print_audit

    found = run(check_audit(settings, None if noted is None else parse_noted(noted)))
    if as_json:
        print_json(audit_document(settings, found))
    else:
        print_audit(settings, found)
    if found.problems:
        raise typer.Exit(EXIT_WRONG)


async def _verify(settings: Settings) -> Verification:
    from worker.bootstrap import open_ledger

    opened = open_ledger(settings, must_exist=True)
    try:
        return await opened.verify()
    finally:
        await opened.close()


def _document(settings: Settings, result: Verification) -> dict[str, Any]:
    from worker.core.report import figures
    from worker.core.seal import day_text

    return {
        "ledger": settings.ledger,
        "sound": not result.differences,
        "entries": result.entries,
        "balances": result.balances,
        "differences": [
            {
                "leaf": _leaf_document(difference.leaf),
                "balance": None if difference.balance is None else figures(difference.balance),
                "entries": None if difference.entries is None else figures(difference.entries),
                "sealed": None if difference.sealed is None else figures(difference.sealed),
                "seal": day_text(difference.seal_day) if difference.seal_day else None,
            }
            for difference in result.differences
        ],
        "unsettled": [_leaf_document(leaf) for leaf in result.unsettled],
        "sealed_balances": result.sealed,
        "sealed_calls_gone": result.gone,
    }


def _leaf_document(leaf: Leaf) -> dict[str, Any]:
    import msgspec

    from worker.core.report import report_key

    document: dict[str, Any] = msgspec.structs.asdict(leaf)
    document["day"] = report_key("day", str(leaf.day))
    document["local_days"] = {kind: report_key("day", str(day)) for kind, day in leaf.local_days}
    return document


def _print(settings: Settings, result: Verification) -> None:
    from worker.cli.output import KeyCell, cells, console, quantity, table
    from worker.core.report import report_key

    out = console()
    read = f"{quantity(result.entries, 'entry', 'entries')}, {quantity(result.balances, 'balance')}"
    if result.unsettled:
        number = quantity(len(result.unsettled), "balance", "balances")
        out.print(
            f"unsettled: {number} kept being written to, so that nothing can be said of "
            "them yet; verify again when less is booked"
        )
    if not result.differences:
        every = "every balance that held still" if result.unsettled else "every balance"
        out.print(f"{settings.ledger} is sound: {read}, {every} is the sum of its entries")
        if result.sealed:
            gone = quantity(result.gone, "call has", "calls have")
            out.print(
                f"{quantity(result.sealed, 'balance')} of them sealed, as their seals say; "
                f"{gone} no entry any more"
            )
        return
    number = quantity(len(result.differences), "balance differs", "balances differ")
    what = "from the entries, or from what a seal says" if result.sealed else "from the entries"
    out.print(f"{settings.ledger} is not sound: {number} {what} ({read})")
    seals = ("seal of", "seal") if any(one.seal_day for one in result.differences) else ()
    heading = ("principal", "model", "day", "figure", "balance", "entries", *seals)
    columns = table(heading, key="principal")
    for difference in result.differences:
        leaf = difference.leaf
        for figure, balance, entries, sealed in _disagreements(difference):
            day = report_key("day", str(leaf.day))
            values = [leaf.model, day, figure, balance, entries]
            if seals:
                values += [_seal(difference), sealed if difference.seal_day else ""]
            columns.add_row(KeyCell(leaf.principal), *cells(*values))
    out.print(columns)


def _seal(difference: Difference) -> str:
    """Return the watermark of the seal that a balance is under, or nothing."""
    from worker.core.seal import day_text

    return day_text(difference.seal_day) if difference.seal_day else ""


def _disagreements(difference: Difference) -> list[tuple[str, str, str, str]]:
    """Return (figure, what the balance says, the entries, the seal), where they differ."""
    from worker.core.ledger import AMOUNT_FIELDS, Amounts

    balance, entries, sealed = difference.balance, difference.entries, difference.sealed
    told = [balance, entries]
    if difference.seal_day:
        some_are_missing = (entries or Amounts()).calls < (sealed or Amounts()).calls
        # Where balance and seal agree, it is the entries that are wrong, or not all there.
        is_balance = some_are_missing and (balance or Amounts()) != (sealed or Amounts())
        told = [balance, sealed] if is_balance else [balance, entries, sealed]
    return [
        (name, _figure(balance, name), _figure(entries, name), _figure(sealed, name))
        for name in AMOUNT_FIELDS
        if len({_figure(amounts, name) for amounts in told}) > 1
    ]


def _figure(amounts: Amounts | None, name: str) -> str:
    return "nothing" if amounts is None else str(getattr(amounts, name))
