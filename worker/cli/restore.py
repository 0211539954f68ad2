"""`ledgerock restore`: let a principal call Bedrock again, by hand."""

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
from worker.cli.suspend import PrincipalArgument, ReasonOption

if TYPE_CHECKING:
    from worker.cli.by_hand import Done


def register(app: typer.Typer) -> None:
    """Add the command."""
    example = 'ledgerock restore user/111122223333/alice --reason "key was rotated"'
    app.command(epilog=f"Example: {example}")(restore)


def restore(
    principal: PrincipalArgument,
    reason: ReasonOption,
    all_holds: Annotated[
        bool,
        typer.Option(
            "--all-holds",
            help="Lift the holds of budgets too. They are not put again before the budget is "
            "changed or its next period begins, however much is spent.",
        ),
    ] = False,
    ledger: LedgerOption = None,
    registry: RegistryOption = None,
    as_json: JsonOption = False,
) -> None:
    """Lift the hold that was put by hand, and put everything back as it was found.

    Budgets that are exceeded go on holding the principal unless --all-holds is given: then the
    exit code is 1, and it is said which, and what to do. Otherwise as `ledgerock suspend`.
    """
    from worker.cli.by_hand import open_by_hand
    from worker.cli.by_hand_output import done_document, print_done
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = read_settings(ledger=ledger, registry=registry)

    async def work() -> Done:
        async with open_by_hand(settings, must_exist=True) as by_hand:
            return await by_hand.restore(principal, reason, all_holds=all_holds)

    done = run(work())
    if as_json:
        print_json(done_document(done))
    else:
        print_done(done, options=ledger_option(settings), wanted="restored")
    if not (done.is_left or (done.is_done and not done.suspension.holds)):
        raise typer.Exit(EXIT_WRONG)
