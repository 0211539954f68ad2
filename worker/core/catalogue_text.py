"""Reading the catalogue's CSV text: rates, models and tier multipliers, with exact errors.

Every function takes the text and the name of where it came from, and raises a
`ConfigurationError` that names the file, line and column, what was found and what is
expected. Reading files is the adapter's part.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Final

from worker.core.catalogue_rows import (
    ANY,
    BEDROCK_LAUNCH_MS,
    CONFIDENCE_OPERATOR,
    ROUTINGS,
    ModelEntry,
    RateRow,
    TierRule,
)
from worker.core.errors import ConfigurationError
from worker.core.model_id import Billing, resolve_model
from worker.core.money import MoneyError, parse_rate_to_atto
from worker.core.pricing import IMAGES, TIER_RESERVED, TIER_STANDARD, TIERS, TOKEN_UNITS

RATE_COLUMNS: Final = (
    "model",
    "routing",
    "region",
    "tier",
    "unit",
    "above_input_tokens",
    "usd",
    "per",
    "effective_from",
    "effective_to",
    "confidence",
    "sources",
    "note",
)
RATE_COLUMNS_REQUIRED: Final = ("model", "unit", "usd")
MODEL_COLUMNS: Final = ("model", "kind", "reason", "aliases")
TIER_COLUMNS: Final = ("tier", "multiplier", "source")

CONFIDENCES: Final = ("confirmed", "single-source", CONFIDENCE_OPERATOR)
TIERS_WITH_RATES: Final = tuple(tier for tier in TIERS if tier != TIER_RESERVED)

TOKENS_PER_PRICE: Final = 1_000_000
ABOVE_INPUT_TOKENS_MAX: Final = 10**9

GUARDRAIL_UNITS: Final = (
    "guardrail_topic_units",
    "guardrail_content_units",
    "guardrail_content_image_units",
    "guardrail_word_units",
    "guardrail_sensitive_information_units",
    "guardrail_sensitive_information_free_units",
    "guardrail_contextual_grounding_units",
    "guardrail_automated_reasoning_units",
)
KNOWN_UNITS: Final = (
    *TOKEN_UNITS,
    "audio_input_tokens",
    "audio_output_tokens",
    "image_input_tokens",
    IMAGES,
    "input_images",
    "video_seconds",
    "audio_seconds",
    "search_units",
    "requests",
    *GUARDRAIL_UNITS,
)
"""Units that rates are quoted in. Images may also have a size and a quality."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.:@_/-]{0,199}", re.ASCII)
_GEOGRAPHY: Final = r"[a-z]{2,4}(?:-(?:gov|iso[a-z]?|[a-z]{2}))?"
_REGION_NAME: Final = rf"{_GEOGRAPHY}-[a-z]{{3,12}}-[0-9]{{1,2}}"
_REGION = re.compile(rf"\*|{_REGION_NAME}|{_GEOGRAPHY}-\*", re.ASCII)
# How other tables write the model of a Region: `bedrock/us-east-1/anthropic.claude-v2`.
_MODEL_PLACE = re.compile(rf"(?:bedrock/)?(?:{_REGION_NAME}[./])?", re.ASCII)
_IMAGE_VARIANT = re.compile(rf"{IMAGES}/[0-9]{{1,6}}x[0-9]{{1,6}}(?:/[a-z0-9]{{1,32}})?", re.ASCII)
_UNIT = re.compile(r"[a-z][a-z0-9_]{0,63}(/[a-z0-9._-]{1,32}){0,3}", re.ASCII)
_WHOLE = re.compile(r"[0-9]{1,12}", re.ASCII)
_MULTIPLIER = re.compile(r"[0-9]{1,3}(\.[0-9]{1,6})?", re.ASCII)


class _FieldError(Exception):
    """A field that is not what its column holds; the row reader adds file and line."""

    def __init__(self, column: str, found: str, expected: str) -> None:
        super().__init__(expected)
        self.column = column
        self.found = found
        self.expected = expected


def parse_rates(text: str, origin: str, *, override: bool = False) -> list[RateRow]:
    """Parse rate rows.

    Args:
        text: CSV with a header. Only `model`, `unit` and `usd` are required; missing or empty
            columns mean routing `*`, region `*`, tier standard, threshold 0, price per million
            for units ending in `_tokens` and per unit otherwise, valid since 2023-09-28, open.
        origin: Name of the file, for messages.
        override: The rows are the operator's and win over packaged ones. They must name models
            and units in a way that some call can have, or they would never be used.

    Raises:
        ConfigurationError: a malformed header, row or field; in an operator's row also a model
            that is not the bare id of a foundation model, or a unit that is not known.
    """
    default_confidence = CONFIDENCE_OPERATOR if override else "single-source"
    rows = []
    for line, fields in _records(text, origin, RATE_COLUMNS, RATE_COLUMNS_REQUIRED):
        place = f"{origin}:{line}"
        try:
            rows.append(_rate_row(fields, place, default_confidence, override=override))
        except _FieldError as error:
            raise _failure(place, error.column, error.found, error.expected) from error
    return rows


def parse_models(text: str, origin: str) -> list[ModelEntry]:
    """Parse the list of models: `model,kind,reason,aliases` (aliases separated by `;`).

    Raises:
        ConfigurationError: a malformed header or row, or a model listed twice.
    """
    entries: dict[str, ModelEntry] = {}
    for line, fields in _records(text, origin, MODEL_COLUMNS, ("model", "kind")):
        place = f"{origin}:{line}"
        model, kind, reason, aliases = (fields[column] for column in MODEL_COLUMNS)
        if not _MODEL.fullmatch(model):
            raise _failure(place, "model", model, "a model id")
        if not kind:
            raise _failure(place, "kind", kind, "what the model makes, such as text or image")
        if model in entries:
            raise _failure(place, "model", model, "each model once")
        names = tuple(alias for alias in aliases.split(";") if alias)
        for alias in names:
            if not _MODEL.fullmatch(alias):
                raise _failure(place, "aliases", alias, "model ids separated by ;")
        entries[model] = ModelEntry(model, kind, reason, names)
    return list(entries.values())


def parse_tiers(text: str, origin: str) -> list[TierRule]:
    """Parse the documented multipliers of service tiers: `tier,multiplier,source`.

    Raises:
        ConfigurationError: a malformed header or row, or a tier listed twice.
    """
    rules: dict[str, TierRule] = {}
    for line, fields in _records(text, origin, TIER_COLUMNS, ("tier", "multiplier")):
        place = f"{origin}:{line}"
        tier, multiplier, source = (fields[column] for column in TIER_COLUMNS)
        if tier not in TIERS_WITH_RATES or tier in rules:
            raise _failure(place, "tier", tier, f"one of {', '.join(TIERS_WITH_RATES)}, once")
        if not _MULTIPLIER.fullmatch(multiplier) or not Fraction(multiplier):
            raise _failure(place, "multiplier", multiplier, "a decimal above 0 such as 0.5")
        rules[tier] = TierRule(tier=tier, multiplier=Fraction(multiplier), source=source)
    return list(rules.values())


def parse_instant(text: str) -> int:
    """Read an ISO date (midnight UTC) or instant (UTC unless it has an offset) as epoch ms.

    Raises:
        ValueError: not an ISO date or instant.
    """
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return (instant - _EPOCH) // timedelta(milliseconds=1)


def _records(
    text: str, origin: str, columns: tuple[str, ...], required: tuple[str, ...]
) -> Iterator[tuple[int, Mapping[str, str]]]:
    """Yield (line number, field by column); absent columns are empty, blank lines skipped."""
    reader = csv.reader(text.removeprefix("\ufeff").splitlines(), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        _check_header(header, origin, columns, required)
        absent = {column: "" for column in columns if column not in header}
        width = len(header)
        for record in reader:
            if not record or (record[0].startswith("#")):
                continue
            if len(record) != width:
                place = f"{origin}:{reader.line_num}"
                raise _failure(place, "row", f"{len(record)} fields", f"{width} fields")
            yield reader.line_num, absent | dict(zip(header, record, strict=True))
    except csv.Error as error:
        message = f"{origin}:{reader.line_num}: not valid CSV ({error}); quote fields with commas"
        raise ConfigurationError(message) from error


def _check_header(
    header: list[str], origin: str, columns: tuple[str, ...], required: tuple[str, ...]
) -> None:
    place = f"{origin}:1"
    for name in header:
        if name not in columns:
            raise _failure(place, "header", name, f"columns among {', '.join(columns)}")
    if len(set(header)) != len(header):
        raise _failure(place, "header", ",".join(header), "each column once")
    for name in required:
        if name not in header:
            raise _failure(place, "header", ",".join(header), f"a column {name}")


def _rate_row(
    fields: Mapping[str, str], place: str, default_confidence: str, *, override: bool
) -> RateRow:
    unit = fields["unit"].strip()
    above = _above(fields["above_input_tokens"].strip(), unit)
    begins = _instant("effective_from", fields["effective_from"].strip()) or BEDROCK_LAUNCH_MS
    ends = _instant("effective_to", fields["effective_to"].strip())
    if ends is not None and ends <= begins:
        raise _FieldError("effective_to", fields["effective_to"], "a time after effective_from")
    return RateRow(
        _model(fields["model"].strip(), override=override),
        _choice("routing", fields["routing"].strip() or ANY, (*ROUTINGS, ANY)),
        _region(fields["region"].strip() or ANY),
        _choice("tier", fields["tier"].strip() or TIER_STANDARD, TIERS_WITH_RATES),
        _unit(unit, override=override),
        above,
        _rate(fields["usd"].strip(), fields["per"].strip(), unit),
        begins,
        ends,
        _choice("confidence", fields["confidence"].strip() or default_confidence, CONFIDENCES),
        fields["sources"],
        fields["note"],
        place,
        override,
    )


def _choice(column: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise _FieldError(column, value, f"one of {', '.join(allowed)}")
    return value


def _matching(column: str, value: str, pattern: re.Pattern[str], expected: str) -> str:
    if not pattern.fullmatch(value):
        raise _FieldError(column, value, expected)
    return value


@lru_cache(maxsize=256)
def _region(value: str) -> str:
    return _matching("region", value, _REGION, "an AWS Region, a geography such as eu-*, or *")


@lru_cache(maxsize=256)
def _model(value: str, *, override: bool) -> str:
    """Check a model id; an operator's must be what `resolve_model` makes of a call's model."""
    if not override or not value:
        return _matching("model", value, _MODEL, "a model id")
    bare = resolve_model(_MODEL_PLACE.sub("", value, count=1), "", lambda _: None)
    if bare.billing is Billing.TOKEN and bare.model == value:
        return _matching("model", value, _MODEL, "a model id")
    expected = "the id of a foundation model such as amazon.nova-pro-v1:0"
    if bare.billing is Billing.TOKEN:
        expected = (
            f"{bare.model!r}: the model's id alone; where it holds is said by the columns routing"
            " and region"
        )
    elif bare.reason:
        expected += f" ({bare.reason})"
    raise _FieldError("model", value, expected)


@lru_cache(maxsize=256)
def _unit(value: str, *, override: bool) -> str:
    expected = "a unit such as input_tokens or images/1024x1024"
    _matching("unit", value, _UNIT, expected)
    if override and value not in KNOWN_UNITS and not _IMAGE_VARIANT.fullmatch(value):
        expected = f"one of {', '.join(KNOWN_UNITS)}, {IMAGES}/WxH, {IMAGES}/WxH/QUALITY"
        raise _FieldError("unit", value, expected)
    return value


@lru_cache(maxsize=4096)
def _rate(usd: str, per: str, unit: str) -> int:
    if not per:
        units = TOKENS_PER_PRICE if unit.endswith("_tokens") else 1
    elif _WHOLE.fullmatch(per) and int(per):
        units = int(per)
    else:
        raise _FieldError("per", per, "a whole number of units of at least 1")
    try:
        rate_atto = parse_rate_to_atto(usd, units)
    except MoneyError as error:
        raise _FieldError("usd", usd, f"a price in USD that is exact per unit: {error}") from error
    if rate_atto < 0:
        raise _FieldError("usd", usd, "a price of at least 0")
    return rate_atto


def _above(value: str, unit: str) -> int:
    if value in ("", "0"):
        return 0
    if not _WHOLE.fullmatch(value) or int(value) > ABOVE_INPUT_TOKENS_MAX:
        expected = f"a number of tokens from 0 to {ABOVE_INPUT_TOKENS_MAX}"
        raise _FieldError("above_input_tokens", value, expected)
    if unit not in TOKEN_UNITS and int(value):
        expected = f"0, because only {', '.join(TOKEN_UNITS)} have long-context rates"
        raise _FieldError("above_input_tokens", value, expected)
    return int(value)


@lru_cache(maxsize=256)
def _instant(column: str, value: str) -> int | None:
    if not value:
        return None
    try:
        return parse_instant(value)
    except (ValueError, OverflowError) as error:
        expected = "an ISO date or time such as 2026-08-21 or 2026-08-21T00:00:00Z"
        raise _FieldError(column, value, expected) from error


def _failure(place: str, column: str, found: str, expected: str) -> ConfigurationError:
    return ConfigurationError(f"{place}: {column}: found {found[:80]!r}, expected {expected}")
