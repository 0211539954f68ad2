"""The entry of the `ledgerock` command: all commands, and what their errors become.

Exit codes: 0 done; 1 something is wrong with the books, the prices or the outside; 2 bad
arguments or configuration; 130 interrupted. Results go to stdout, everything else to stderr.
"""

from typing import Annotated

import typer

from worker import __version__
from worker.cli import (
    budgets,
    doctor,
    explain,
    keys,
    prices,
    principals,
    quarantine,
    rebook,
    replay,
    report,
    restore,
    seal,
    suspend,
    verify,
)
from worker.cli import worker as worker_command
from worker.cli.group import SpeakingGroup

app = typer.Typer(
    name="ledgerock",
    cls=SpeakingGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start with: ledgerock replay LOGS, then: ledgerock report",
)
for module in (replay, explain, report, verify, rebook, seal, suspend, restore):
    module.register(app)
for module in (worker_command, doctor):
    module.register(app)
app.add_typer(budgets.app, name="budgets")
app.add_typer(keys.app, name="keys")
app.add_typer(prices.app, name="prices")
app.add_typer(principals.app, name="principals")
app.add_typer(quarantine.app, name="quarantine")


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"ledgerock {__version__}")
        raise typer.Exit


@app.callback()
def ledgerock(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Count what every user and agent spends on Amazon Bedrock, exactly and once.

    The ledger is sqlite:ledgerock.db in this folder unless --ledger or LEDGEROCK_LEDGER names
    another; LEDGEROCK_REGISTRY, LEDGEROCK_PRICES and LEDGEROCK_QUARANTINE stand for the options
    of these names.
    """


def main() -> None:
    """Run the command line."""
    app(prog_name="ledgerock")
