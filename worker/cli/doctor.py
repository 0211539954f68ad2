"""`ledgerock doctor`: what is wrong in an account or environment, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli.group import EXIT_WRONG
from worker.cli.options import (
    JsonOption,
    LedgerOption,
    QuarantineOption,
    lasting,
    read_settings,
)

if TYPE_CHECKING:
    from worker.core.doctor import Diagnosis
    from worker.settings import Settings


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(epilog="Example: ledgerock doctor --stage-path /ledgerock/dev")(doctor)


def doctor(
    stage_path: Annotated[
        str,
        typer.Option(
            "--stage-path",
            metavar="/PREFIX/STAGE",
            envvar="LEDGEROCK_SSM_PATH",
            help="Examine a deployed stage, by the path of its parameters. Default: what the "
            "environment names. Example: --stage-path /ledgerock/prod",
        ),
    ] = "",
    ledger: LedgerOption = None,
    quarantine: QuarantineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with an account or environment, why it matters and what mends it.

    Only reads, and changes nothing. Exits with 1 if anything is wrong or could not be looked at;
    warnings are allowed.
    """
    from worker.cli.doctor_output import diagnosis_document, print_diagnosis
    from worker.cli.output import print_json
    from worker.cli.running import run

    settings = lasting(
        read_settings(ledger=ledger, quarantine=quarantine), "there is nothing to examine"
    )
    diagnosis = run(_examined(settings, stage_path))
    if as_json:
        print_json(diagnosis_document(diagnosis))
    else:
        print_diagnosis(diagnosis)
    if not diagnosis.is_well:
        raise typer.Exit(EXIT_WRONG)


async def _examined(settings: Settings, stage_path: str) -> Diagnosis:
    import os

    from worker.bootstrap.doctor import open_patient
    from worker.doctor import examine

    async with open_patient(settings, os.environ, stage_path=stage_path) as patient:
        return await examine(patient)
