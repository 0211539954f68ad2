"""The price catalogue: effective-dated rates, and how one is chosen for a call.

A rate is found by (model, routing, Region, tier, unit, long-context threshold) and the time
of the call. The most specific row in effect wins, in this order:

1. the operator's rows before the packaged ones: an operator's row with routing or Region `*`
   covers every routing or Region, and it decides more than its own key: a standard rate of the
   operator also decides the tiers of its unit (times the documented multiplier), and where the
   operator decides a unit, packaged long-context rates of it are not used;
2. a row of the Region (`eu-west-1`) before one of its geography (`eu-*`), before `*`;
3. a row of the routing before a row for any routing (`*`).

Where a tier has no row, the standard rate times the documented multiplier is used; where a
routing has none, the other routing's rate; where a model is priced by Region, but not for a
Region outside the commercial partition, the general rate. All are marked as assumptions.
Where no multiplier is documented, a packaged rate of the tier stays. AWS documentation:
"Service tiers for optimizing performance and cost", "Geographic and global cross-Region
inference".
"""

import hashlib
import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Final

import msgspec

from worker.core.catalogue_rows import (
    ANY,
    ROUTINGS,
    ModelEntry,
    ModelRates,
    RateKey,
    RateRow,
    TierRule,
)
from worker.core.errors import ConfigurationError
from worker.core.pricing import (
    GUARDRAIL_MODEL,
    TIER_RESERVED,
    TIER_STANDARD,
    TOKEN_UNITS,
    AppliedRate,
    RateCard,
    TokenRates,
)

CARDS_CACHED_MAX: Final = 4_096
"""Bound of the cache of resolved cards; keys hold caller-supplied text (model id, Region)."""

KIND_TEXT: Final = "text"
"""Kind of a model that is not listed and has rates for tokens in and out."""

_OTHER_PARTITION = re.compile(r"(?:cn|us-gov|(?:us|eu)-iso[a-z]?|eusc)-.*", re.ASCII)
"""Regions outside the commercial partition, which have price lists of their own."""

_CONTEXT_SUFFIX = re.compile(r":[0-9]{1,5}k", re.ASCII)


class _Found(msgspec.Struct, frozen=True, gc=False):
    row: RateRow
    rate_atto: int
    tier_reason: str | None = None
    routing_reason: str | None = None
    place_reason: str | None = None

    def reasons(self) -> tuple[str, ...]:
        """What is assumed in using the rate."""
        found = (self.tier_reason, self.routing_reason, self.place_reason)
        return tuple(reason for reason in found if reason)


class Catalogue:
    """Rates, models and tier rules, resolved into rate cards.

    Attributes:
        revision: Hash of everything that decides a price: equal content has an equal revision,
            whatever the order of rows; a reworded note or source does not change it.
        boundaries_ms: Every instant at which any rate begins or ends, ascending. Most begin at
            `BEDROCK_LAUNCH_MS`, before which there are none, so that it is one of them.
        rows: All rows, in the order given.
        models: Models by canonical id.
        tiers: Tier rules by tier.
    """

    def __init__(
        self,
        rows: Sequence[RateRow],
        models: Iterable[ModelEntry],
        tiers: Iterable[TierRule],
    ) -> None:
        """Index the rows.

        Raises:
            ConfigurationError: rows of one key overlap in time, or an alias means two models.
        """
        self.rows: Final = tuple(rows)
        self.models: Final[Mapping[str, ModelEntry]] = {entry.model: entry for entry in models}
        self.tiers: Final[Mapping[str, TierRule]] = {rule.tier: rule for rule in tiers}
        self._aliases = _index_aliases(self.models)
        by_model: dict[str, list[RateRow]] = defaultdict(list)
        for row in self.rows:
            by_model[self._aliases.get(row.model, row.model)].append(row)
        self._rates = {model: ModelRates(rows) for model, rows in by_model.items()}
        # Every card includes the guardrail rates, so it also ends where one of those does.
        guardrail = self._rates.get(GUARDRAIL_MODEL)
        shared = guardrail.boundaries_ms if guardrail else ()
        self._boundaries_ms = {
            model: tuple(sorted({*rates.boundaries_ms, *shared}))
            for model, rates in self._rates.items()
        }
        self.boundaries_ms: Final = tuple(
            sorted({instant for rates in self._rates.values() for instant in rates.boundaries_ms})
        )
        self.revision: Final = _revision(self.rows, self.models, self.tiers)
        self._cards: dict[tuple[str, str, str, str, int], RateCard | None] = {}

    def canonical(self, model: str) -> str:
        """Resolve an alias to the canonical model id; an unknown id is returned as it is.

        A context-length suffix (`amazon.nova-pro-v1:0:300k`) names the same model.
        """
        if model in self.models or model in self._rates:
            return model
        resolved = self._aliases.get(model)
        if resolved is not None:
            return resolved
        head, separator, tail = model.rpartition(":")
        if separator and _CONTEXT_SUFFIX.fullmatch(":" + tail):
            return self.canonical(head) if self.knows(head) else model
        return model

    def knows(self, model: str) -> bool:
        """Whether the id or alias is listed, with rates or with a reason why it has none."""
        return model in self.models or model in self._rates or model in self._aliases

    def kind(self, model: str) -> str | None:
        """What a model makes (`text`, `image`, ...), or None if that is not known.

        A model that is not listed makes text if it has rates for both input and output tokens.
        """
        model = self.canonical(model)
        entry = self.models.get(model)
        if entry is not None:
            return entry.kind
        rates = self._rates.get(model)
        two_sided = rates is not None and {"input_tokens", "output_tokens"} <= {*rates.units}
        return KIND_TEXT if two_sided else None

    def reason(self, model: str) -> str | None:
        """Why a listed model has no rate, or None."""
        entry = self.models.get(self.canonical(model))
        return (entry.reason or None) if entry else None

    def model_rows(self, model: str) -> tuple[RateRow, ...]:
        """Every row of a model at any time, packaged and override, in file order."""
        canonical = self.canonical(model)
        return tuple(row for row in self.rows if self.canonical(row.model) == canonical)

    def card(self, model: str, routing: str, region: str, tier: str, at_ms: int) -> RateCard | None:
        """The rates of a call at its time, or None if there are none (the call is unpriced).

        Args:
            model: Foundation-model id or alias, without geography prefix.
            routing: `regional` or `global`.
            region: The calling AWS Region.
            tier: Service tier; `` and `default` mean `standard`. `reserved` has no card (see
                `pricing.RESERVED_TIER_REASON`).
            at_ms: When the call happened, epoch milliseconds UTC.
        """
        rates = self._rates.get(model)
        if rates is None:
            model = self.canonical(model)
            rates = self._rates.get(model)
            if rates is None:
                return None
        if tier in ("", "default"):
            tier = TIER_STANDARD
        interval = bisect_right(self._boundaries_ms[model], at_ms)
        key = (model, routing, region, tier, interval)
        try:
            return self._cards[key]
        except KeyError:
            pass
        card = None if tier == TIER_RESERVED else self._resolve(model, rates, key, at_ms)
        if len(self._cards) >= CARDS_CACHED_MAX:
            self._cards.clear()
        self._cards[key] = card
        return card

    def _resolve(
        self,
        model: str,
        rates: ModelRates,
        key: tuple[str, str, str, str, int],
        at_ms: int,
    ) -> RateCard | None:
        _, routing, region, tier, _ = key
        found: dict[tuple[str, int], _Found] = {}
        owned: set[str] = set()
        for threshold in rates.thresholds:
            for unit in rates.units:
                place = (routing, region, tier, unit, threshold)
                # An operator's rate holds for every length above its threshold, unless the
                # operator has a rate for a longer context as well.
                hit = self._find(rates, place, at_ms, own=unit in owned)
                if hit is not None:
                    found[unit, threshold] = _less_specific(hit, found.get((unit, 0)))
                    if hit.row.override:
                        owned.add(unit)
        if not found:
            return None
        self._add_guardrails(found, region, at_ms)
        tokens = _bracket(found, 0, (None, None, None, None, None))
        brackets = []
        previous = tokens
        for threshold in rates.thresholds[1:] if rates.thresholds[0] == 0 else rates.thresholds:
            if any((unit, threshold) in found for unit in TOKEN_UNITS):
                previous = _bracket(found, threshold, previous)
                brackets.append((threshold, previous))
        return RateCard(
            model=model,
            kind=self.kind(model) or "",
            routing=routing,
            region=region,
            tier=tier,
            tokens=tokens,
            long_context=tuple(brackets),
            units={
                unit: hit.rate_atto for (unit, _), hit in found.items() if unit not in TOKEN_UNITS
            },
            rates={place: _applied(hit) for place, hit in found.items()},
            missing_tokens=None in tokens,
            assumes=any(hit.reasons() for hit in found.values()),
            offers_1h_cache=tokens[4] is not None,
            assumed_tier_reason=_first(hit.tier_reason for hit in found.values()),
            assumed_routing_reason=_first(hit.routing_reason for hit in found.values()),
        )

    def _add_guardrails(
        self, found: dict[tuple[str, int], _Found], region: str, at_ms: int
    ) -> None:
        """Guardrail units are billed beside any model, at one price for every service tier."""
        rates = self._rates.get(GUARDRAIL_MODEL)
        for unit in rates.units if rates else ():
            hit = rates and self._find(rates, (ANY, region, TIER_STANDARD, unit, 0), at_ms)
            if hit:
                found.setdefault((unit, 0), hit)

    def _find(
        self, rates: ModelRates, key: RateKey, at_ms: int, *, own: bool = False
    ) -> _Found | None:
        """The rate of a key, by the routing asked for or else the other; `own`: operator's only."""
        routing, region, *_ = key
        for candidate in (routing, *(other for other in ROUTINGS if other != routing)):
            hit = self._find_routing(rates, (candidate, *key[1:]), at_ms, own=own)
            if hit is None:
                continue
            if candidate != routing:
                reason = f"no {routing} rate is listed; the {candidate} rate is used"
                hit = msgspec.structs.replace(hit, routing_reason=reason)
            if rates.by_region and hit.row.region == ANY and not hit.row.override:
                hit = _outside_commercial(hit, region)
            return hit
        return None

    def _find_routing(
        self, rates: ModelRates, key: RateKey, at_ms: int, *, own: bool
    ) -> _Found | None:
        mine = self._find_in(rates.override, key, at_ms)
        if own or (mine is not None and (mine.tier_reason is None or key[2] in self.tiers)):
            return mine
        listed = self._find_in(rates.packaged, key, at_ms)
        if mine is None:
            return listed
        # The operator has a standard rate, and nobody publishes what the tier costs relative to
        # it: a published rate of the tier says more than the standard rate would.
        return listed if listed is not None and listed.tier_reason is None else mine

    def _find_in(
        self, table: Mapping[RateKey, Sequence[RateRow]], key: RateKey, at_ms: int
    ) -> _Found | None:
        """The rate of a key in the operator's rows or in the packaged ones, one routing only."""
        routing, region, tier, unit, above = key
        for place in _places(region):
            row = ModelRates.find(table, (routing, place, tier, unit, above), at_ms)
            if row is not None:
                return _Found(row, row.rate_atto)
            # A Region with a standard rate of its own has no use for the general rate of the
            # tier, so its standard rate is scaled before the general rows are looked at.
            if tier != TIER_STANDARD:
                row = ModelRates.find(table, (routing, place, TIER_STANDARD, unit, above), at_ms)
                if row is not None:
                    return self._scaled(row, tier)
        return None

    def _scaled(self, row: RateRow, tier: str) -> _Found:
        rule = self.tiers.get(tier)
        if rule is None:
            reason = (
                f"no {tier} rate is listed and no multiplier is known; the standard rate is used"
            )
            return _Found(row, row.rate_atto, reason)
        # Atto-USD are fine enough for every documented multiplier; a rate with all 18 decimals
        # used is rounded half-even to the atto.
        rate_atto = round(Fraction(row.rate_atto) * rule.multiplier)
        reason = f"no {tier} rate is listed; the standard rate times {rule.multiplier} is used"
        return _Found(row, rate_atto, reason)


def _places(region: str) -> tuple[str, ...]:
    """Where a row may be for a Region: `us-gov-west-1`, `us-gov-*`, `*`."""
    geography, _, _ = region.rpartition("-")
    geography, separator, _ = geography.rpartition("-")
    return (region, f"{geography}-*", ANY) if separator else (region, ANY)


def _less_specific(hit: _Found, base: _Found | None) -> _Found:
    """Mark a long-context rate that is listed for fewer places than the base rate is."""
    if base is None or hit.routing_reason or not _is_less_specific(hit.row, base.row):
        return hit
    if hit.row.override and not base.row.override:
        return hit
    reason = f"no long-context rate is listed for {base.row.region}; the general one is used"
    return msgspec.structs.replace(hit, place_reason=reason)


def _is_less_specific(row: RateRow, other: RateRow) -> bool:
    """Whether `row`, of the same call as `other`, is for more places: `*`, `eu-*`, `eu-west-1`."""
    if row.region == other.region:
        return False
    return row.region == ANY or (row.region.endswith(ANY) and not other.region.endswith(ANY))


def _outside_commercial(hit: _Found, region: str) -> _Found:
    """Mark a general rate that is used in a Region with a price list of its own."""
    if not _OTHER_PARTITION.fullmatch(region):
        return hit
    reason = f"no rate for Region {region}; the general one is used"
    return msgspec.structs.replace(hit, place_reason=reason)


def _bracket(
    found: Mapping[tuple[str, int], _Found], threshold: int, inherited: TokenRates
) -> TokenRates:
    rates = [
        found[unit, threshold].rate_atto if (unit, threshold) in found else below
        for unit, below in zip(TOKEN_UNITS, inherited, strict=True)
    ]
    return (rates[0], rates[1], rates[2], rates[3], rates[4])


def _applied(hit: _Found) -> AppliedRate:
    return AppliedRate(
        rate_atto=hit.rate_atto,
        source=hit.row.sources or hit.row.origin,
        effective_from_ms=hit.row.effective_from_ms,
        confidence=hit.row.confidence,
        assumed="; ".join(hit.reasons()) or None,
    )


def _first(reasons: Iterable[str | None]) -> str | None:
    return next((reason for reason in reasons if reason), None)


def _index_aliases(models: Mapping[str, ModelEntry]) -> dict[str, str]:
    aliases: dict[str, str] = {}
    for entry in models.values():
        for alias in entry.aliases:
            taken = entry.model if alias in models else aliases.get(alias, entry.model)
            if alias in models or taken != entry.model:
                other = alias if alias in models else taken
                msg = (
                    f"models: alias {alias!r} of {entry.model!r} already means {other!r};"
                    " an alias must mean one model"
                )
                raise ConfigurationError(msg)
            aliases[alias] = entry.model
    return aliases


def _revision(
    rows: Sequence[RateRow],
    models: Mapping[str, ModelEntry],
    tiers: Mapping[str, TierRule],
) -> str:
    lines = [
        f"{row.model},{row.routing},{row.region},{row.tier},{row.unit},{row.above_input_tokens},"
        f"{row.rate_atto},{row.effective_from_ms},{row.effective_to_ms},{row.override}"
        for row in rows
    ]
    lines += [
        f"model,{entry.model},{entry.kind},{bool(entry.reason)},{sorted(entry.aliases)}"
        for entry in models.values()
    ]
    lines += [f"tier,{rule.tier},{rule.multiplier}" for rule in tiers.values()]
    digest = hashlib.sha256("\n".join(sorted(lines)).encode())
    return digest.hexdigest()[:16]
