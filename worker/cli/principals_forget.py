"""`ledgerock principals forget`: a pseudonym takes the place of a person's name; sums stay."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.group import say
from worker.cli.options import JsonOption, LedgerOption, ledger_option, read_settings
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.forgetting import Forgotten

PersonArgument = Annotated[
    str,
    typer.Argument(
        metavar="PRINCIPAL",
        help="Whom: user/ACCOUNT/NAME, session/ACCOUNT/ROLE/NAME or federated/ACCOUNT/NAME, as "
        "reports show it.",
    ),
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="One line for the audit log.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask; it cannot be undone.")]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock principals forget user/111122223333/alice")(forget)


def forget(
    principal: PersonArgument,
    reason: ReasonOption = "",
    yes: YesOption = False,
    ledger: LedgerOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have a pseudonym take the place of a person's name, for good; all sums stay.

    Calls, balances, budgets, notices, records and the audit log lose the name, ARN, unique id,
    session and metadata; calls that are heard of late are booked under the pseudonym. This goes
    through the whole ledger, and first waits until all who share it have heard. Forget people once
    they are gone: who is suspended, or called a model within the last hour, is refused. It may be
    interrupted; running it again completes it.

    What is not in the ledger is yours to delete: the logs, records in quarantine, the registry
    file, events that were announced.
    """
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = read_settings(ledger=ledger)
    if not yes:
        question = f"Forget {principal}, in {settings.ledger}, for good?"
        typer.confirm(question, abort=True, err=True)
    done = run(_forget(settings, principal, reason))
    if as_json:
        print_json(
            {
                "pseudonym": done.pseudonym,
                "calls": done.calls,
                "records": done.kept,
                "audit_entries": done.audited,
            }
        )
    else:
        _print(settings, done)


async def _forget(settings: Settings, principal: str, reason: str) -> Forgotten:
    from worker.adapters.clock import SystemClock
    from worker.bootstrap import open_ledger, open_state
    from worker.forgetting import Forgetting
    from worker.pipeline.audit import AuditLog
    from worker.pipeline.suspensions import Suspensions

    ledger = open_ledger(settings, must_exist=True)
    try:
        state = open_state(settings, must_exist=True)
        try:
            clock = SystemClock()
            forgetting = Forgetting(
                ledger=ledger,
                budgets=state.budgets,
                texts=state.texts,
                audit=AuditLog(state.records, clock),
                suspensions=Suspensions(records=state.records, outbox=state.outbox, clock=clock),
                clock=clock,
            )
            return await forgetting.forget(principal, actor=_actor(), why=reason, on_wait=_waits)
        finally:
            await state.close()
    finally:
        await ledger.close()


def _waits(seconds: int) -> None:
    say(f"waiting {seconds} seconds, until all who book into this ledger have heard of it")


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _print(settings: Settings, done: Forgotten) -> None:
    from worker.cli.output import console, quantity

    out = console()
    out.print(
        f"forgotten: {quantity(done.calls, 'call')}, {quantity(done.kept, 'record')} and "
        f"{quantity(done.audited, 'entry', 'entries')} of the audit log now name {done.pseudonym}"
    )
    out.print("where the registry file names the person, put that there instead, then rebook")
    out.print(f"check: ledgerock verify{ledger_option(settings)}")
