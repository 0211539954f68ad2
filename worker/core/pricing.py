"""What a call costs: rate cards resolved from the price catalogue, and charges made with them.

A `RateCard` holds every rate of one (model, routing, Region, service tier) at one time.
`charge` multiplies and adds integers and rounds once. A counted unit without a rate is named
in `unrated_units`; it is never priced at zero. Where a rate had to be derived (a tier without
rows of its own, a routing for which only the other one is published) the charge says so in
`assumed_reason`, and the call is an estimate.

Images are counted as `images`, `images/WxH` or `images/WxH/QUALITY`. A rate for a size is that
of a size class: it holds for every image of its quality with no more pixels than the class
(AWS documentation: "Amazon Bedrock pricing", up to 1024 x 1024, up to 2048 x 2048).
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from worker.core.evidence import Counts
from worker.core.money import format_atto_usd, round_half_even_to_pico

TOKEN_UNITS: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_5m_tokens",
    "cache_write_1h_tokens",
)
"""The disjoint token counts, in the order of every `TokenRates` tuple."""

TIER_STANDARD: Final = "standard"
TIER_RESERVED: Final = "reserved"
TIERS: Final = ("standard", "priority", "flex", "batch", "ultrafast", "reserved")
"""Service tiers that catalogue rows may name."""

GUARDRAIL_MODEL: Final = "amazon.bedrock-guardrail"
"""Pseudo model that owns the rates of guardrail units; every card includes them."""

RESERVED_TIER_REASON: Final = (
    "the reserved service tier is billed by committed tokens a minute, not by the tokens of a call"
)
"""Why a call on the reserved tier has no rate card (AWS documentation: "Service tiers")."""

IMAGES: Final = "images"
"""Unit of images; what more is known of them follows after slashes."""

_IMAGE_CLASS = re.compile(r"images/([0-9]{1,6})x([0-9]{1,6})/([a-z0-9]{1,32})", re.ASCII)
_VARIANT_PARTS_MAX: Final = 3
"""Parts of the most specific units; what a caller puts behind more slashes says nothing."""

TokenRates = tuple[int | None, int | None, int | None, int | None, int | None]
"""Atto-USD per token in the order of `TOKEN_UNITS`; None where there is no rate."""


class AppliedRate(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One rate of a card and where it comes from.

    Attributes:
        rate_atto: Atto-USD per unit.
        source: The tables and dates that the catalogue row names.
        effective_from_ms: Start of the row's validity, epoch milliseconds UTC.
        confidence: `confirmed`, `single-source`, or `operator` for override rows.
        assumed: Why this rate is an assumption, or None if it is published for this call.
    """

    rate_atto: int
    source: str
    effective_from_ms: int
    confidence: str
    assumed: str | None = None


class RateCard(msgspec.Struct, frozen=True, kw_only=True):
    """All rates of one (model, routing, Region, tier) during one interval of time.

    Attributes:
        model: Canonical foundation-model id.
        kind: `text`, `embedding`, `image`, ... as in the catalogue's list of models.
        routing: `regional` or `global`, as asked for.
        region: AWS Region, as asked for.
        tier: Service tier, as asked for.
        tokens: Rates below every long-context threshold.
        long_context: (threshold, rates) in ascending order; the rates apply to the whole call
            when its input, cache-read and cache-write tokens together exceed the threshold.
        units: Atto-USD per unit of everything that is not one of `TOKEN_UNITS`.
        rates: Source of every rate, by (unit, threshold); threshold 0 is the base rate.
        missing_tokens: Whether any entry of `tokens` is None.
        assumes: Whether any rate is an assumption; whether a call met one, its charge says.
        offers_1h_cache: Whether the model sells cache writes that live one hour.
        assumed_tier_reason: Why rates of this tier were derived, or None.
        assumed_routing_reason: Why rates of the other routing are used, or None.
    """

    model: str
    kind: str
    routing: str
    region: str
    tier: str
    tokens: TokenRates
    long_context: tuple[tuple[int, TokenRates], ...] = ()
    units: Mapping[str, int]
    rates: Mapping[tuple[str, int], AppliedRate]
    missing_tokens: bool
    assumes: bool
    offers_1h_cache: bool
    assumed_tier_reason: str | None = None
    assumed_routing_reason: str | None = None


class Charge(msgspec.Struct, frozen=True, gc=False):
    """The price of one call.

    Attributes:
        cost_pico_usd: Exact sum over the rated units, rounded half-even once.
        unrated_units: Units with a quantity above zero and no rate, sorted.
        rated: False if something was counted and none of it has a rate: the call is unpriced.
        assumed_reason: Why the charge is an estimate although every unit has a rate, or None.
    """

    cost_pico_usd: int
    unrated_units: tuple[str, ...] = ()
    rated: bool = True
    assumed_reason: str | None = None


class ChargeLine(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """One unit of a charge: `quantity` times `rate_atto` (None where there is no rate)."""

    unit: str
    quantity: int
    rate_atto: int | None
    source: str | None
    effective_from_ms: int | None
    confidence: str | None
    assumed: str | None


def charge(card: RateCard, counts: Counts) -> Charge:
    """Price `counts` with `card`: exact integer sum in atto-USD, rounded half-even once.

    Absent counts (None) add nothing; whether that makes the call an estimate is the caller's
    to say, because it depends on the evidence.
    """
    if counts.units or card.assumes:
        return _charge_by_line(card, counts)
    rate_in, rate_out, rate_read, rate_5m, rate_1h = (
        _token_rates(card, counts)[1] if card.long_context else card.tokens
    )
    tokens_in = counts.input_tokens or 0
    tokens_out = counts.output_tokens or 0
    tokens_read = counts.cache_read_tokens
    tokens_5m = counts.cache_write_5m_tokens
    tokens_1h = counts.cache_write_1h_tokens
    if card.missing_tokens and (
        (rate_in is None and tokens_in)
        or (rate_out is None and tokens_out)
        or (rate_read is None and tokens_read)
        or (rate_5m is None and tokens_5m)
        or (rate_1h is None and tokens_1h)
    ):
        return _charge_by_line(card, counts)
    atto = (
        tokens_in * (rate_in or 0)
        + tokens_out * (rate_out or 0)
        + tokens_read * (rate_read or 0)
        + tokens_5m * (rate_5m or 0)
        + tokens_1h * (rate_1h or 0)
    )
    return Charge(round_half_even_to_pico(atto))


def charge_lines(card: RateCard, counts: Counts) -> tuple[ChargeLine, ...]:
    """The units of a charge with their rates and sources, in the order they are counted.

    Units with quantity zero are left out.
    """
    threshold, _ = _token_rates(card, counts)
    lines = []
    for unit, quantity in zip(TOKEN_UNITS, _token_counts(counts), strict=True):
        if quantity:
            lines.append(_line(unit, quantity, _token_source(card, unit, threshold)))
    for unit, quantity in counts.units:
        if quantity:
            key, assumed = find_unit(card, unit)
            lines.append(_line(unit, quantity, card.rates.get((key, 0)), assumed))
    return tuple(lines)


def find_unit(card: RateCard, unit: str) -> tuple[str, str | None]:
    """The unit of `card` that prices `unit`, and what is assumed in using it, or None.

    `images/640x480/standard` is priced by its own row; else by the smallest size class of its
    quality with at least as many pixels; else, being larger than all of them, by the largest,
    which is an assumption; else by `images/640x480`; else by `images`. The last is an
    assumption where the card has size classes, for then the price depends on what is not known.
    Other variants fall back to the more general unit. Without any, the unit itself is returned.
    """
    if unit in card.units and unit != IMAGES:
        return unit, None
    image = _IMAGE_CLASS.fullmatch(unit)
    found = _size_class(card, image) if image else None
    if found is not None:
        return found
    candidate = _more_general(card, unit)
    if candidate is None:
        return unit, None
    if candidate == IMAGES and any(_IMAGE_CLASS.fullmatch(known) for known in card.units):
        usd = format_atto_usd(card.units[IMAGES])
        return IMAGES, f"image size or quality unknown, priced at {usd} USD an image"
    return candidate, None


def _more_general(card: RateCard, unit: str) -> str | None:
    parts = unit.split("/", _VARIANT_PARTS_MAX)[:_VARIANT_PARTS_MAX]
    for length in range(len(parts), 0, -1):
        candidate = "/".join(parts[:length])
        if candidate in card.units:
            return candidate
    return None


def _size_class(card: RateCard, image: re.Match[str]) -> tuple[str, str | None] | None:
    """The size class of an image, and what is assumed; None if its quality has no classes."""
    pixels = int(image[1]) * int(image[2])
    classes = []
    for known in card.units:
        size = _IMAGE_CLASS.fullmatch(known)
        if size and size[3] == image[3]:
            classes.append((int(size[1]) * int(size[2]), known))
    if not classes:
        return None
    holding = [place for place in classes if place[0] >= pixels]
    if holding:
        return min(holding)[1], None
    largest = max(classes)[1]
    return largest, f"image larger than any size that is listed, priced as {largest}"


def _charge_by_line(card: RateCard, counts: Counts) -> Charge:
    atto = 0
    rated = False
    unrated = set()
    assumed: dict[str, None] = {}
    lines = charge_lines(card, counts)
    for line in lines:
        if line.rate_atto is None:
            unrated.add(line.unit)
            continue
        rated = True
        atto += line.quantity * line.rate_atto
        if line.assumed is not None:
            assumed[line.assumed] = None
    return Charge(
        round_half_even_to_pico(atto),
        tuple(sorted(unrated)),
        rated or not lines,
        "; ".join(assumed) or None,
    )


def _token_counts(counts: Counts) -> tuple[int, int, int, int, int]:
    return (
        counts.input_tokens or 0,
        counts.output_tokens or 0,
        counts.cache_read_tokens,
        counts.cache_write_5m_tokens,
        counts.cache_write_1h_tokens,
    )


def _token_rates(card: RateCard, counts: Counts) -> tuple[int, TokenRates]:
    """The bracket of a call: (threshold, rates); threshold 0 is the base.

    All that the model reads counts towards a bracket, cached or not.
    """
    chosen = (0, card.tokens)
    if card.long_context:
        context_tokens = (
            (counts.input_tokens or 0)
            + counts.cache_read_tokens
            + counts.cache_write_5m_tokens
            + counts.cache_write_1h_tokens
        )
        for bracket in card.long_context:
            if context_tokens <= bracket[0]:
                break
            chosen = bracket
    return chosen


def _token_source(card: RateCard, unit: str, threshold: int) -> AppliedRate | None:
    """The rate of a token unit in a bracket; a bracket without its own inherits the lower."""
    for lower in sorted((bracket[0] for bracket in card.long_context), reverse=True):
        if lower <= threshold and (unit, lower) in card.rates:
            return card.rates[unit, lower]
    return card.rates.get((unit, 0))


def _line(
    unit: str, quantity: int, applied: AppliedRate | None, assumed: str | None = None
) -> ChargeLine:
    reasons = [reason for reason in (assumed, applied.assumed if applied else None) if reason]
    return ChargeLine(
        unit=unit,
        quantity=quantity,
        rate_atto=applied.rate_atto if applied else None,
        source=applied.source if applied else None,
        effective_from_ms=applied.effective_from_ms if applied else None,
        confidence=applied.confidence if applied else None,
        assumed="; ".join(reasons) or None,
    )
