"""What `ledgerock prices check` found, for scripts and for people."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from worker.core.catalogue import Catalogue
from worker.core.catalogue_check import Coverage, Finding
from worker.core.errors import ConfigurationError

if TYPE_CHECKING:
    from worker.adapters.genai_prices_reference import Differential

NOT_INSTALLED: Final = (
    "that package is not installed; `make setup` installs it in a checkout, "
    "`pip install genai-prices` elsewhere"
)


def compare(catalogue: Catalogue, at_ms: int) -> "Differential | str":
    """Compare the catalogue with genai-prices, or say why that is not possible here."""
    from worker.adapters.genai_prices_reference import GenaiPricesReference

    try:
        reference = GenaiPricesReference()
    except ConfigurationError as error:
        if isinstance(error.__cause__, ImportError):
            return NOT_INSTALLED
        return str(error)
    return reference.differential(catalogue, at_ms)


def check_document(
    revision: str,
    findings: Sequence[Finding],
    coverage: Coverage,
    differential: "Differential | str",
) -> dict[str, Any]:
    """Return everything as the document that `--json` prints."""
    severities = Counter(finding.severity for finding in findings)
    return {
        "catalogue_revision": revision,
        "errors": severities["error"],
        "warnings": severities["warning"],
        "infos": severities["info"],
        "findings": [asdict(finding) for finding in findings],
        "coverage": asdict(coverage),
        "differential": _differential_document(differential),
    }


def _differential_document(differential: "Differential | str") -> dict[str, Any]:
    if isinstance(differential, str):
        return {"ran": False, "reason": differential}
    return {
        "ran": True,
        "package": f"genai-prices {differential.version}",
        "probes": differential.probes,
        "agreeing": differential.probes - len(differential.differences),
        "explained": sum(item.explanation is not None for item in differential.differences),
        "differences": [asdict(difference) for difference in differential.differences],
        "unknown": [
            {"model": model, "routing": routing} for model, routing in differential.unknown
        ],
    }


def print_check(document: dict[str, Any], shown_max: int) -> None:
    """Print a check for people: the worst first."""
    from worker.cli.output import cells, console, count, table

    out = console()
    covered = document["coverage"]
    confidences = ", ".join(
        f"{number:,} {name}" for name, number in sorted(covered["rows_by_confidence"].items())
    )
    out.print(
        f"{count(covered['models'])} models: {count(covered['models_with_rates'])} with rates, "
        f"{count(covered['models_with_reason'])} with a reason why they have none; "
        f"{count(covered['rows'])} rates ({confidences}); revision "
        f"{document['catalogue_revision']}"
    )
    out.print(
        f"{count(document['errors'])} errors, {count(document['warnings'])} warnings, "
        f"{count(document['infos'])} explained deviations"
    )
    worth = [finding for finding in document["findings"] if finding["severity"] != "info"]
    if worth:
        columns = table(("severity", "model", "rule", "where", "what"))
        for finding in worth[:shown_max]:
            names = ("severity", "model", "rule", "origin", "message")
            columns.add_row(*cells(*(finding[name] for name in names)))
        out.print(columns)
        if len(worth) > shown_max:
            out.print(f"and {count(len(worth) - shown_max)} more; --json has them all")
    _print_differential(document["differential"], shown_max)


def _print_differential(differential: dict[str, Any], shown_max: int) -> None:
    from worker.cli.output import cells, console, count, table

    out = console()
    if not differential["ran"]:
        out.print(f"not compared with genai-prices: {differential['reason']}")
        return
    out.print(
        f"compared with {differential['package']}: {count(differential['agreeing'])} of "
        f"{count(differential['probes'])} probes agree to the last digit, "
        f"{count(differential['explained'])} differ where the catalogue has another source, "
        f"{count(len(differential['unknown']))} models and routings unknown to it"
    )
    unexplained = [item for item in differential["differences"] if item["explanation"] is None]
    if not unexplained:
        return
    names = ("model", "routing", "unit", "catalogue_usd", "reference_usd")
    columns = table((*names[:3], "catalogue USD", "genai-prices USD"))
    for difference in unexplained[:shown_max]:
        columns.add_row(*cells(*(difference[name] for name in names)))
    out.print(columns)
    if len(unexplained) > shown_max:
        out.print(f"and {count(len(unexplained) - shown_max)} more; --json has them all")
