"""`ledgerock suspend`: keep a principal from calling Bedrock, by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.group import EXIT_WRONG
from worker.cli.options import (
    JsonOption,
    LedgerOption,
    RegistryOption,
    ledger_option,
    read_settings,
)

if TYPE_CHECKING:
    from worker.cli.by_hand import Done

REASON_LENGTH_MAX = 500


def parse_reason(text: str) -> str:
    """Read a reason: one line, not empty."""
    if not text.strip() or not text.isprintable() or len(text) > REASON_LENGTH_MAX:
        message = f"give one line of 1 to {REASON_LENGTH_MAX} characters"
        raise typer.BadParameter(message)
    return text.strip()


PrincipalArgument = Annotated[
    str,
    typer.Argument(
        metavar="PRINCIPAL",
        help="Its id, such as user/111122223333/alice, role/111122223333/Gateway or "
        "agent/111122223333/us-east-1/ID.",
    ),
]
ReasonOption = Annotated[
    str,
    typer.Option(
        "--reason",
        metavar="TEXT",
        parser=parse_reason,
        help="Why; stands in the audit log, in the event and in messages.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    example = 'ledgerock suspend user/111122223333/alice --reason "key leaked"'
    app.command(epilog=f"Example: {example}")(suspend)


def suspend(
    principal: PrincipalArgument,
    reason: ReasonOption,
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Keep a principal from calling Bedrock until somebody restores it.

    It is done at once with your own AWS credentials, whoever acts otherwise, and read back; where
    workflows act (LEDGEROCK_ENFORCEMENT=workflows), they do it. If it fails, a worker tries again,
    and the exit code is 1. Who asked is the operating system's user, in the audit log.
    """
    from worker.cli.by_hand import open_by_hand
    from worker.cli.by_hand_output import done_document, print_done
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = read_settings(ledger=ledger, registry=registry)

    async def work() -> Done:
        async with open_by_hand(settings) as by_hand:
            return await by_hand.suspend(principal, reason)

    done = run(work())
    if as_json:
        print_json(done_document(done))
    else:
        print_done(done, options=ledger_option(settings), wanted="suspended")
    if not (done.is_left or (done.is_done and done.suspension.holds)):
        raise typer.Exit(EXIT_WRONG)
