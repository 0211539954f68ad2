"""Products of the AWS Price List, read as quotes: rates by model, routing, Region, tier and unit.

A product either becomes a `Quote`, or is `Skipped` for a reason that the mapping states, or is
`Unknown`: nothing about it is guessed. What is read of a product (AWS documentation: "Using the
AWS Price List Query API"):

- the model from `servicename` ("Claude Sonnet 4.5 (Amazon Bedrock Edition)") or from the head of
  `usagetype`, with which `model` and `titanModel` must not disagree;
- the unit, the routing and the tier from `usagetype` and `inferenceType`, which must not
  contradict each other, and from `feature` and `service_tier`: batch prices may say "Input tokens"
  and nothing else;
- the Region from `regionCode`, and the date from the offer's `effectiveDate`;
- what the price is for from the unit of its dimension, which is a thousand tokens, a million, or
  "Units" with a description that says a million.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from worker.core.catalogue import Catalogue
from worker.core.catalogue_text import parse_instant
from worker.core.money import MoneyError, format_atto_usd, parse_rate_to_atto
from worker.core.price_list_map import (
    FreeRule,
    Modifier,
    PriceListMap,
    RowRule,
    Words,
    normal_name,
    words,
)
from worker.core.pricing import TIER_STANDARD, TIERS

MARKETPLACE: Final = "AmazonBedrockFoundationModels"
EDITION: Final = "(Amazon Bedrock Edition)"
PER_MILLION: Final = 1_000_000

_USAGE_TYPE = re.compile(
    r"(?:[A-Z]{2,4}[0-9]{0,2}-)?(?:MP:)?(?:[A-Z]{2,4}[0-9]{0,2}_)?(.+?)(?:-Units)?", re.ASCII
)
_REGION_CODE = re.compile(r"[a-z]{2,4}(-[a-z]{2,5})?-[a-z]{3,12}-[0-9]{1,2}", re.ASCII)
_MILLION = re.compile(r"\bmillion|\b1\s?m\b", re.ASCII | re.IGNORECASE)


class Quote(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A rate as the Price List has it.

    Attributes:
        model: Canonical model id.
        routing: `regional` or `global`.
        region: AWS Region.
        tier: Service tier.
        unit: What is counted.
        above_input_tokens: Long-context threshold, 0 for the base rate.
        rate_atto: Atto-USD per unit.
        effective_from_ms: The offer's date, epoch milliseconds UTC, or None if it has none.
        skus: Products that say so.
        note: What a reader of the row should know, or ``.
        mantle: Whether the product is one of the bedrock-mantle endpoint.
    """

    model: str
    routing: str
    region: str
    tier: str
    unit: str
    above_input_tokens: int
    rate_atto: int
    effective_from_ms: int | None
    skus: tuple[str, ...]
    note: str = ""
    mantle: bool = False

    @property
    def key(self) -> tuple[str, str, str, str, str, int]:
        """What the rate is for."""
        return (
            self.model,
            self.routing,
            self.region,
            self.tier,
            self.unit,
            self.above_input_tokens,
        )


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """A product that is no rate, and why."""

    sku: str
    reason: str


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """A product that the mapping does not explain: what is not understood, and all it says."""

    sku: str
    problem: str
    fields: Mapping[str, str]


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What a set of products says; `products` counts them all."""

    products: int
    quotes: Sequence[Quote]
    skipped: Sequence[Skipped]
    unknown: Sequence[Unknown]


class _NotUnderstoodError(Exception):
    """Something about a product that the mapping does not explain."""


class _Meaning(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    model: str
    routing: str
    tier: str
    unit: str
    above_input_tokens: int
    mantle: bool = False


class _Measure(msgspec.Struct, frozen=True, gc=False):
    unit: str
    head: Words
    modifiers: tuple[Modifier, ...]


def read_products(
    documents: Iterable[object], price_map: PriceListMap, catalogue: Catalogue
) -> Reading:
    """Read products (the decoded items of a GetProducts `PriceList`) as quotes.

    Products that say the same rate are one quote. A price of the bedrock-mantle endpoint counts
    only where bedrock-runtime has none of its own; two other prices of one rate are unknown.
    """
    reader = _Reader(price_map, catalogue)
    quotes: list[Quote] = []
    skipped: list[Skipped] = []
    unknown: list[Unknown] = []
    seen: dict[str, object] = {}
    products = 0
    for document in documents:
        products += 1
        fields = product_fields(document)
        sku = fields.get("sku", "")
        if sku and seen.setdefault(sku, document) is not document and seen[sku] == document:
            skipped.append(Skipped(sku, "listed twice"))
            continue
        try:
            result = reader.read(document, fields)
        except _NotUnderstoodError as error:
            unknown.append(Unknown(sku, str(error), fields))
            continue
        if isinstance(result, Quote):
            quotes.append(result)
        else:
            skipped.append(result)
    merged, shadowed, conflicts = _merge(quotes)
    return Reading(products, merged, [*skipped, *shadowed], [*unknown, *conflicts])


def product_fields(document: object) -> dict[str, str]:
    """Everything a product says that rules may look at, by field; empty values are left out."""
    product = _mapping(document, "product")
    attributes = {
        name: value
        for name, value in _mapping(product, "attributes").items()
        if isinstance(value, str)
    }
    fields = {**attributes, "sku": _text(product, "sku")}
    fields.setdefault("servicecode", _text(document, "serviceCode"))
    for dimension in _dimensions(document):
        fields["unit"] = _text(dimension, "unit")
        fields["description"] = _text(dimension, "description")
    return {name: value for name, value in fields.items() if value}


class _Reader:
    """Reads one product after another; knows the mapping and the names of the catalogue."""

    def __init__(self, price_map: PriceListMap, catalogue: Catalogue) -> None:
        self._map = price_map
        self._catalogue = catalogue
        known: dict[str, set[str]] = defaultdict(set)
        for entry in catalogue.models.values():
            for name in (entry.model, *entry.aliases):
                known[normal_name(name)].add(entry.model)
        unambiguous = {name: min(models) for name, models in known.items() if len(models) == 1}
        self._names = {**unambiguous, **price_map.names}

    def read(self, document: object, fields: Mapping[str, str]) -> Quote | Skipped:
        sku = fields.get("sku", "")
        if not sku:
            raise _NotUnderstoodError("is no product with a SKU")
        row = self._row(fields)
        if row is None:
            for pattern, rule in self._map.skip:
                if pattern.search(fields.get(rule.field, "")):
                    return Skipped(sku, rule.reason)
            meaning = self._meaning(fields)
        else:
            model = self._catalogue.canonical(row.model)
            meaning = _Meaning(
                model=model,
                routing=row.routing,
                tier=row.tier,
                unit=row.unit,
                above_input_tokens=row.above_input_tokens,
            )
        if meaning.tier not in TIERS:
            raise _NotUnderstoodError(f"the mapping names no tier of ours: {meaning.tier!r}")
        region = fields.get("regionCode", "")
        if not _REGION_CODE.fullmatch(region):
            raise _NotUnderstoodError(f"regionCode {region!r} is no AWS Region")
        usd, effective_from_ms = _price(document)
        rate_atto = self._rate(usd, meaning.unit, fields)
        free = None if rate_atto else self._free(meaning)
        return Quote(
            model=meaning.model,
            routing=meaning.routing,
            region=region,
            tier=meaning.tier,
            unit=meaning.unit,
            above_input_tokens=meaning.above_input_tokens,
            rate_atto=rate_atto,
            effective_from_ms=effective_from_ms,
            skus=(sku,),
            note=free.note if free else "",
            mantle=meaning.mantle,
        )

    def _row(self, fields: Mapping[str, str]) -> RowRule | None:
        for patterns, row in self._map.rows:
            if all(pattern.fullmatch(fields.get(field, "")) for field, pattern in patterns.items()):
                return row
        return None

    def _meaning(self, fields: Mapping[str, str]) -> _Meaning:
        measure = self._measure(fields)
        model = self._model(fields, measure.head)
        modifiers = list(measure.modifiers)
        for field in ("feature", "service_tier"):
            value = fields.get(field, "")
            modifiers += self._modifiers(words(value), f"{field} {value!r}")
        routings = {modifier.routing for modifier in modifiers if modifier.routing}
        tiers = {modifier.tier for modifier in modifiers if modifier.tier}
        for name, values in (("routing", routings), ("tier", tiers)):
            if len(values) > 1:
                found = " and ".join(sorted(values))
                raise _NotUnderstoodError(f"says more than one {name}: {found}")
        above = 0
        if any(modifier.long_context for modifier in modifiers):
            above = self._threshold(model)
        return _Meaning(
            model=model,
            routing=min(routings, default="regional"),
            tier=min(tiers, default=TIER_STANDARD),
            unit=measure.unit,
            above_input_tokens=above,
            mantle=any(modifier.mantle for modifier in modifiers),
        )

    def _measure(self, fields: Mapping[str, str]) -> _Measure:
        """What is counted, by the usage type, the inference type or the description."""
        found: list[_Measure] = []
        if usage := fields.get("usagetype"):
            match = _USAGE_TYPE.fullmatch(usage)
            core = match[1] if match else usage
            found.append(self._parse(words(core), f"usagetype {usage!r}"))
        if inference := fields.get("inferenceType"):
            found.append(self._parse_bare(inference, f"inferenceType {inference!r}"))
        if not found:
            description = fields.get("description", "").rpartition("|")[2]
            if not description:
                raise _NotUnderstoodError("has neither usagetype nor inferenceType nor description")
            found.append(self._parse_bare(description, f"description {description!r}"))
        if len({measure.unit for measure in found}) > 1:
            units = " and ".join(measure.unit for measure in found)
            raise _NotUnderstoodError(f"usagetype and inferenceType count different units: {units}")
        modifiers = tuple(modifier for measure in found for modifier in measure.modifiers)
        return _Measure(found[0].unit, found[0].head, modifiers)

    def _parse_bare(self, text: str, place: str) -> _Measure:
        measure = self._parse(words(text), place)
        if measure.head:
            raise _NotUnderstoodError(f"{place}: {' '.join(measure.head)!r} is not in the map")
        return measure

    def _parse(self, text: Words, place: str) -> _Measure:
        """Find the longest dimension in a text; before it stands a name, around it modifiers."""
        for size in range(min(self._map.words_max, len(text)), 0, -1):
            for start in range(len(text) - size, -1, -1):
                unit = self._map.dimensions.get(text[start : start + size])
                if unit is None:
                    continue
                after = self._modifiers(text[start + size :], place)
                head, before = self._strip(text[:start])
                return _Measure(unit, head, (*before, *after))
        raise _NotUnderstoodError(f"{place}: counts nothing that is in the map")

    def _modifiers(self, text: Words, place: str) -> list[Modifier]:
        rest, modifiers = self._strip(text)
        if rest:
            raise _NotUnderstoodError(f"{place}: {' '.join(rest)!r} is not in the map")
        return modifiers

    def _strip(self, text: Words) -> tuple[Words, list[Modifier]]:
        """Take modifiers off the end of a text, the longest first."""
        modifiers: list[Modifier] = []
        while text:
            for size in range(min(self._map.words_max, len(text)), 0, -1):
                modifier = self._map.modifiers.get(text[-size:])
                if modifier is not None:
                    modifiers.append(modifier)
                    text = text[:-size]
                    break
            else:
                break
        return text, modifiers

    def _model(self, fields: Mapping[str, str], head: Words) -> str:
        names = [fields.get("model", ""), fields.get("titanModel", "")]
        service = fields.get("servicename", "")
        if EDITION in service:
            names.append(service.replace(EDITION, ""))
        elif fields.get("servicecode") == MARKETPLACE:
            names.append(service)
        found = {name: self._named(name) for name in names if name}
        if head:
            name = "-".join(head)
            found[name] = self._named(name)
            if found[name] is None:
                raise _NotUnderstoodError(f"no model is named {name!r} in the map")
        models = sorted({model for model in found.values() if model})
        if len(models) > 1:
            raise _NotUnderstoodError(f"names more than one model: {' and '.join(models)}")
        if not models:
            name = next(iter(found), "")
            raise _NotUnderstoodError(
                f"no model is named {name!r} in the map" if name else "names no model"
            )
        return models[0]

    def _named(self, name: str) -> str | None:
        model = self._names.get(normal_name(name))
        return None if model is None else self._catalogue.canonical(model)

    def _threshold(self, model: str) -> int:
        """The long-context threshold, which the Price List does not say, from the catalogue."""
        rows = self._catalogue.model_rows(model)
        thresholds = {row.above_input_tokens for row in rows if row.above_input_tokens}
        if len(thresholds) != 1:
            raise _NotUnderstoodError(
                f"a long-context price, and the catalogue has {len(thresholds)} thresholds of"
                f" {model}; spell it out in a [[row]] with above_input_tokens"
            )
        return thresholds.pop()

    def _rate(self, usd: str, unit: str, fields: Mapping[str, str]) -> int:
        named = fields.get("unit", "")
        tokens = unit.endswith("_tokens")
        if named.casefold() == "units":
            description = fields.get("description", "")
            if tokens and description and not _MILLION.search(description):
                raise _NotUnderstoodError(f"'Units' of what? {description!r} says no million")
            per = PER_MILLION if tokens else 1
        else:
            found = self._map.units.get(words(named))
            if found is None or tokens != named.casefold().endswith(("token", "tokens")):
                raise _NotUnderstoodError(f"a price per {named!r} of {unit}")
            per = found
        try:
            rate_atto = parse_rate_to_atto(usd, per)
        except MoneyError as error:
            raise _NotUnderstoodError(f"price: {error}") from error
        if rate_atto < 0:
            raise _NotUnderstoodError(f"a price below $0: {usd}")
        return rate_atto

    def _free(self, meaning: _Meaning) -> FreeRule:
        for pattern, rule in self._map.free:
            if rule.unit == meaning.unit and pattern.fullmatch(meaning.model):
                return rule
        message = f"a price of $0 of {meaning.unit}, and the map does not say that it is meant"
        raise _NotUnderstoodError(message)


def _price(document: object) -> tuple[str, int | None]:
    """The one price in USD of a product, and the date of its offer."""
    terms = list(_mapping(_mapping(document, "terms"), "OnDemand").values())
    if len(terms) != 1:
        raise _NotUnderstoodError(f"has {len(terms)} on-demand offers, expected one")
    dimensions = _dimensions(document)
    if len(dimensions) != 1 or _text(dimensions[0], "beginRange") not in ("", "0"):
        raise _NotUnderstoodError(f"has {len(dimensions)} price brackets, expected one from 0 on")
    usd = _text(_mapping(dimensions[0], "pricePerUnit"), "USD")
    if not usd:
        raise _NotUnderstoodError("has no price in USD")
    date = _text(terms[0], "effectiveDate")
    try:
        return usd, parse_instant(date) if date else None
    except (ValueError, OverflowError) as error:
        raise _NotUnderstoodError(f"effectiveDate {date!r} is no date") from error


def _merge(quotes: Iterable[Quote]) -> tuple[list[Quote], list[Skipped], list[Unknown]]:
    by_key: dict[tuple[str, str, str, str, str, int], list[Quote]] = defaultdict(list)
    for quote in quotes:
        by_key[quote.key].append(quote)
    merged: list[Quote] = []
    shadowed: list[Skipped] = []
    conflicts: list[Unknown] = []
    for same in by_key.values():
        runtime = [quote for quote in same if not quote.mantle]
        chosen = runtime or same
        if runtime:
            reason = "bedrock-mantle: bedrock-runtime has a price of its own for the same rate"
            shadowed += [Skipped(quote.skus[0], reason) for quote in same if quote.mantle]
        skus = tuple(sorted(quote.skus[0] for quote in chosen))
        if len({quote.rate_atto for quote in chosen}) > 1:
            conflicts += [_conflict(quote, chosen) for quote in chosen]
            continue
        dates = [q.effective_from_ms for q in chosen if q.effective_from_ms is not None]
        merged.append(
            msgspec.structs.replace(
                chosen[0], skus=skus, effective_from_ms=min(dates, default=None)
            )
        )
    return sorted(merged, key=lambda quote: quote.key), shadowed, conflicts


def _conflict(quote: Quote, quotes: Sequence[Quote]) -> Unknown:
    prices = ", ".join(f"{q.skus[0]} ${format_atto_usd(q.rate_atto)}" for q in quotes)
    fields = {
        "model": quote.model,
        "routing": quote.routing,
        "regionCode": quote.region,
        "service_tier": quote.tier,
        "unit": quote.unit,
    }
    return Unknown(quote.skus[0], f"different prices of one rate: {prices} a unit", fields)


def _dimensions(document: object) -> list[Mapping[str, Any]]:
    return [
        dimension
        for term in _mapping(_mapping(document, "terms"), "OnDemand").values()
        for dimension in _mapping(term, "priceDimensions").values()
        if isinstance(dimension, dict)
    ]


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _text(value: object, name: str) -> str:
    inner = value.get(name) if isinstance(value, dict) else None
    return inner if isinstance(inner, str) else ""
