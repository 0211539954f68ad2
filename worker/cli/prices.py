"""`ledgerock prices`: look rates up, test the catalogue, bring it up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from worker.cli import prices_update
from worker.cli.group import EXIT_WRONG
from worker.cli.options import JsonOption, PricesOption, RegistryOption, read_settings
from worker.cli.times import parse_time
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.core.catalogue import Catalogue
    from worker.core.registry import Registry

FINDINGS_SHOWN: Final = 30

app = typer.Typer(
    help="Look rates up, test the price catalogue, bring it up to date.",
    no_args_is_help=True,
    rich_markup_mode=None,
    epilog="Example: ledgerock prices show global.anthropic.claude-sonnet-4-5-20250929-v1:0",
)

TIME_HELP: Final = "When; prices change. Default: now. Example: --at 2026-10-01"


@app.command(
    epilog="Example: ledgerock prices show us.anthropic.claude-sonnet-4-20250514-v1:0 "
    "--region us-east-1 --at 2026-10-01"
)
def show(
    model_id: Annotated[
        str,
        typer.Argument(
            metavar="MODEL_ID",
            help="As logs have it: a model id, an inference profile, or an ARN of either.",
        ),
    ],
    region: Annotated[
        str,
        typer.Option(
            "--region",
            metavar="REGION",
            help="The calling Region. Default: that of the ARN, else the general rates. "
            "Example: --region eu-west-1",
        ),
    ] = "",
    at: Annotated[
        int | None, typer.Option("--at", metavar="TIME", parser=parse_time, help=TIME_HELP)
    ] = None,
    tier: Annotated[
        str,
        typer.Option("--tier", metavar="TIER", help="Service tier. Example: --tier batch"),
    ] = "standard",
    routing: Annotated[
        str | None,
        typer.Option(
            "--routing", metavar="ROUTING", help="regional or global. Default: as the id says."
        ),
    ] = None,
    registry: RegistryOption = None,
    prices: PricesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the rates of a model, with their sources and dates.

    Exits with 1 if the catalogue does not know the model.
    """
    from worker.adapters.clock import SystemClock
    from worker.cli.output import print_json
    from worker.cli.prices_show import Question, look_up, print_answer
    from worker.core.catalogue_rows import ROUTINGS
    from worker.core.pricing import TIERS

    settings = read_settings(registry=registry, prices=prices)
    question = Question(
        model_id=model_id,
        region=region,
        at_ms=SystemClock().now_ms() if at is None else at,
        tier=_choice("--tier", tier, TIERS),
        routing=None if routing is None else _choice("--routing", routing, ROUTINGS),
    )
    catalogue = _catalogue(settings)
    answer = look_up(question, catalogue, _registry(settings).profile_model)
    if as_json:
        print_json(answer)
    else:
        print_answer(answer)
    if not answer["known"]:
        raise typer.Exit(EXIT_WRONG)


def _choice(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        message = f"{option} {value!r}: give one of {', '.join(allowed)}"
        raise typer.BadParameter(message)
    return value


def _catalogue(settings: Settings) -> Catalogue:
    from worker.adapters.catalogue_files import load_catalogue

    return load_catalogue(settings.prices)


def _registry(settings: Settings) -> Registry:
    from worker.adapters.registry_file import load_registry
    from worker.core.registry import EMPTY_REGISTRY

    return EMPTY_REGISTRY if settings.registry is None else load_registry(settings.registry)


@app.command(epilog="Example: ledgerock prices check --prices ours.csv")
def check(prices: PricesOption = None, as_json: JsonOption = False) -> None:
    """Test the catalogue: consistency rules, coverage, and a comparison with genai-prices.

    Exits with 1 if a rate must be wrong (a finding of severity error). Deviations that the
    catalogue explains in its notes, and rates that genai-prices has otherwise, are reported.
    """
    from worker.adapters.clock import SystemClock
    from worker.cli.output import print_json
    from worker.cli.prices_check import check_document, compare, print_check
    from worker.core.catalogue_check import check_catalogue, coverage
    from worker.core.report import iso_time

    catalogue = _catalogue(read_settings(prices=prices))
    at_ms = SystemClock().now_ms()
    document = {"at": iso_time(at_ms)} | check_document(
        catalogue.revision,
        check_catalogue(catalogue),
        coverage(catalogue),
        compare(catalogue, at_ms),
    )
    if as_json:
        print_json(document)
    else:
        print_check(document, FINDINGS_SHOWN)
    if document["errors"]:
        raise typer.Exit(EXIT_WRONG)


prices_update.register(app)
