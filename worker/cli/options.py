"""Options that several commands share."""

import os
import shlex
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from worker.cli.times import parse_time
from worker.core.errors import ConfigurationError
from worker.settings import LEDGER_DEFAULT, Settings

Choice = TypeVar("Choice", bound=StrEnum)

LedgerOption = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        metavar="LEDGER",
        help="sqlite:FILE, dynamodb, dynamodb:PREFIX (of the tables' names) or memory. "
        "Default: sqlite:ledgerock.db. Example: --ledger sqlite:/data/bedrock.db",
    ),
]
RegistryOption = Annotated[
    Path | None,
    typer.Option(
        "--registry",
        metavar="FILE",
        help="Agents, teams, applications and trust rules. Example: --registry registry.toml",
    ),
]
PricesOption = Annotated[
    Path | None,
    typer.Option(
        "--prices",
        metavar="FILE",
        help="Price rows of your own, which win over the packaged ones. Example: --prices ours.csv",
    ),
]
QuarantineOption = Annotated[
    str | None,
    typer.Option(
        "--quarantine",
        metavar="DIR|s3://BUCKET/PREFIX",
        help="Where records wait that were not understood. Default: beside the ledger. "
        "Example: --quarantine /data/quarantine",
    ),
]
SinceOption = Annotated[
    int | None,
    typer.Option(
        "--since",
        metavar="TIME",
        parser=parse_time,
        help="Calls from this time on, UTC unless it has an offset. "
        "Examples: --since 2026-10, --since 2026-10-01T12:00:00+02:00",
    ),
]
UntilOption = Annotated[
    int | None,
    typer.Option(
        "--until",
        metavar="TIME",
        parser=parse_time,
        help="Calls before this time, which is not included. Example: --until 2026-11-01",
    ),
]
JsonOption = Annotated[
    bool,
    typer.Option("--json", help="Print one JSON document on stdout and nothing else."),
]


def one_of(choices: type[Choice]) -> Callable[[str], Choice]:
    """Return a parser of an option that is one of some words."""

    def parse(text: str) -> Choice:
        try:
            return choices(text)
        except ValueError as error:
            message = f"{text!r} is none of {', '.join(choices)}"
            raise typer.BadParameter(message) from error

    return parse


def read_settings(
    *,
    ledger: str | None = None,
    registry: Path | None = None,
    prices: Path | None = None,
    quarantine: str | None = None,
) -> Settings:
    """Join options and environment."""
    return Settings.read(
        os.environ, ledger=ledger, registry=registry, prices=prices, quarantine=quarantine
    )


def lasting(settings: Settings, lost: str) -> Settings:
    """Return the settings of a command that needs a ledger which outlives it.

    Args:
        settings: Name the ledger.
        lost: What is gone with a ledger that does not: `its budgets with it`.

    Raises:
        ConfigurationError: The ledger is kept nowhere.
    """
    if not settings.is_kept:
        message = (
            f"--ledger {settings.ledger} is gone with this command, and {lost}; "
            "name one that is kept, such as --ledger sqlite:ledgerock.db"
        )
        raise ConfigurationError(message)
    return settings


def ledger_option(settings: Settings) -> str:
    """Return ` --ledger ...` for commands that are suggested, where it is not the default."""
    return "" if settings.ledger == LEDGER_DEFAULT else f" --ledger {shlex.quote(settings.ledger)}"


def quarantine_option(settings: Settings) -> str:
    """Return ` --quarantine ...` for commands that are suggested, where one was given."""
    where = settings.quarantine
    return "" if where is None else f" --quarantine {shlex.quote(str(where))}"
