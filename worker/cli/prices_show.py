"""The answer of `ledgerock prices show`: the rates of a model and their sources, or why none."""

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from worker.core.catalogue import Catalogue
from worker.core.catalogue_rows import RateRow
from worker.core.model_id import Billing, ModelReference, resolve_model
from worker.core.money import format_atto_usd
from worker.core.pricing import (
    GUARDRAIL_MODEL,
    RESERVED_TIER_REASON,
    TIER_RESERVED,
    TOKEN_UNITS,
    AppliedRate,
    RateCard,
)
from worker.core.report import iso_time

SUGGESTIONS_MAX: Final = 5
GUARDRAIL: Final = "guardrail_"
TOKENS_PER_PRICE: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: `routing` None means as the id says; `region` may be empty."""

    model_id: str
    region: str
    at_ms: int
    tier: str
    routing: str | None


def look_up(
    question: Question, catalogue: Catalogue, profile_model: Callable[[str], str | None]
) -> dict[str, Any]:
    """Answer a question, as the document that `--json` prints."""
    reference = resolve_model(question.model_id, question.region, profile_model)
    model = catalogue.canonical(reference.model)
    routing = question.routing or reference.routing
    by_token = reference.billing is Billing.TOKEN
    card = (
        catalogue.card(model, routing, reference.region, question.tier, question.at_ms)
        if by_token
        else None
    )
    known = catalogue.knows(model) or not (by_token or reference.billing is Billing.UNRECOGNISED)
    return {
        "model_id": question.model_id,
        "model": model,
        "kind": catalogue.kind(model),
        "known": known,
        "routing": routing,
        "geography": reference.geography or None,
        "region": reference.region or None,
        "service_tier": question.tier,
        "at": iso_time(question.at_ms),
        "rates": [] if card is None else list(_rates(card, catalogue)),
        "reason": _reason(reference, model, catalogue, question, card),
        "suggestions": [] if known else suggestions(model, catalogue),
    }


def _reason(
    reference: ModelReference,
    model: str,
    catalogue: Catalogue,
    question: Question,
    card: RateCard | None,
) -> str | None:
    if card is not None:
        return None
    if reference.reason:
        return reference.reason
    if question.tier == TIER_RESERVED:
        return RESERVED_TIER_REASON
    if reason := catalogue.reason(model):
        return reason
    if catalogue.model_rows(model):
        return f"no rate for model {model} at {iso_time(question.at_ms)}"
    return f"no rate for model {model}"


def suggestions(model: str, catalogue: Catalogue) -> list[str]:
    """Return known models whose ids look like `model`."""
    names = {name: entry.model for entry in catalogue.models.values() for name in entry.aliases}
    names |= {name: name for name in catalogue.models}
    folded = model.casefold()
    close = difflib.get_close_matches(folded, names, n=SUGGESTIONS_MAX, cutoff=0.6)
    within = sorted(name for name in names if len(folded) > 2 and folded in name.casefold())  # noqa: PLR2004 - shorter texts are in everything
    return list(dict.fromkeys(names[name] for name in (*close, *within)))[:SUGGESTIONS_MAX]


def _rates(card: RateCard, catalogue: Catalogue) -> Iterator[dict[str, Any]]:
    """Yield the rates: tokens first, long context after the base, guardrails last."""
    own = {row.unit for row in catalogue.model_rows(card.model)}

    def order(place: tuple[str, int]) -> tuple[object, ...]:
        unit, threshold = place
        rank = TOKEN_UNITS.index(unit) if unit in TOKEN_UNITS else len(TOKEN_UNITS)
        return (unit not in own, threshold, rank, unit)

    for unit, threshold in sorted(card.rates, key=order):
        applied = card.rates[unit, threshold]
        row = _row_of(applied, unit, threshold, card, catalogue)
        yield {
            "unit": unit,
            "above_input_tokens": threshold,
            "usd_per_unit": format_atto_usd(applied.rate_atto),
            "usd_per_million": (
                format_atto_usd(applied.rate_atto * TOKENS_PER_PRICE)
                if unit.endswith("_tokens")
                else None
            ),
            "source": applied.source,
            "confidence": applied.confidence,
            "effective_from": iso_time(applied.effective_from_ms),
            "effective_to": iso_time(row.effective_to_ms) if row else None,
            "note": (row.note or None) if row else None,
            "assumed": applied.assumed,
        }


def _row_of(
    applied: AppliedRate, unit: str, threshold: int, card: RateCard, catalogue: Catalogue
) -> RateRow | None:
    """Return the row that a rate was taken from, if it can be told; for its end and its note."""
    model = card.model if unit in {row.unit for row in catalogue.model_rows(card.model)} else None
    rows = [
        row
        for row in catalogue.model_rows(model or GUARDRAIL_MODEL)
        if row.unit == unit
        and row.above_input_tokens == threshold
        and row.effective_from_ms == applied.effective_from_ms
        and (row.sources or row.origin) == applied.source
        and (applied.assumed is not None or row.rate_atto == applied.rate_atto)
    ]
    same = {(row.effective_to_ms, row.note) for row in rows}
    return rows[0] if len(same) == 1 else None


def print_answer(answer: dict[str, Any]) -> None:
    """Print an answer for people."""
    from worker.cli.output import cells, console, printable, table

    out = console()
    place = answer["region"] or "any Region without rates of its own"
    kind = f" ({answer['kind']})" if answer["kind"] else ""
    out.print(f"{printable(answer['model'])}{kind}")
    out.print(f"{answer['routing']}, {place}, {answer['service_tier']} tier, at {answer['at']}")
    if not answer["rates"]:
        out.print(f"no rates: {printable(answer['reason'])}")
        if answer["suggestions"]:
            out.print("did you mean: " + ", ".join(answer["suggestions"]))
        elif not answer["known"]:
            out.print("add rates of your own in a CSV file: --prices FILE")
        return
    columns = table(("unit", "USD", "per", "valid", "confidence", "source"), right=("USD", "per"))
    beside = answer["model"] != GUARDRAIL_MODEL
    rates = [
        rate for rate in answer["rates"] if not (beside and rate["unit"].startswith(GUARDRAIL))
    ]
    for rate in rates:
        unit = rate["unit"]
        if rate["above_input_tokens"]:
            unit += f" above {rate['above_input_tokens']:,} tokens of context"
        per_million = rate["usd_per_million"] is not None
        columns.add_row(
            *cells(
                unit,
                rate["usd_per_million"] if per_million else rate["usd_per_unit"],
                "1M tokens" if per_million else "1",
                _validity(rate),
                rate["confidence"],
                rate["source"],
            )
        )
    out.print()
    out.print(columns)
    remarks = [rate["assumed"] and f"assumed: {rate['assumed']}" for rate in rates]
    remarks += _notes(rates)
    if len(rates) < len(answer["rates"]):
        remarks.append(
            f"guardrails are billed beside it: `ledgerock prices show {GUARDRAIL_MODEL}`"
        )
    for remark in dict.fromkeys(remark for remark in remarks if remark):
        out.print(f"* {printable(remark)}")


def _notes(rates: Sequence[dict[str, Any]]) -> list[str]:
    """Return the notes, each once, with the units that it is about."""
    units: dict[str, dict[str, None]] = {}
    for rate in rates:
        if rate["note"]:
            units.setdefault(rate["note"], {})[rate["unit"]] = None
    return [f"{', '.join(names)}: {note}" for note, names in units.items()]


def _validity(rate: dict[str, Any]) -> str:
    text = f"from {_date(rate['effective_from'])}"
    return f"{text} until {_date(rate['effective_to'])}" if rate["effective_to"] else text


def _date(text: str) -> str:
    return text.removesuffix("T00:00:00Z")
