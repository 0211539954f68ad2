"""Consistency rules of the price catalogue: what two careful readers would check by hand.

A finding is an `error` (a rate that must be wrong or cannot be used), a `warning` (a rate that
breaks a rule and nobody said why) or `info` (a rate that breaks a rule and whose note owns
up to it (`NOTE_PHRASES`), or whose deviation is rounding). Rows that overlap in time never get
here: the catalogue refuses to load them.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

from worker.core.catalogue import Catalogue
from worker.core.catalogue_rows import ANY, CONFIDENCE_OPERATOR, RateRow
from worker.core.money import format_atto_usd
from worker.core.pricing import TIER_STANDARD

Severity = Literal["error", "warning", "info"]

REGIONAL_OVER_GLOBAL: Final = Fraction(11, 10)
"""AWS documentation: "Amazon Bedrock pricing"; regional inference of recent models."""

CLAUDE_CACHE_RATIOS: Final[Mapping[str, Fraction]] = {
    "cache_read_tokens": Fraction(1, 10),
    "cache_write_5m_tokens": Fraction(5, 4),
    "cache_write_1h_tokens": Fraction(2),
}
"""Of the input rate (AWS documentation: "Prompt caching for faster model inference")."""

NOVA_CACHE_RATIOS: Final[Mapping[str, Fraction]] = {
    "cache_read_tokens": Fraction(1, 4),
    "cache_write_5m_tokens": Fraction(0),
}
"""Of the input rate, as the AWS Price List publishes them for Nova."""

NOTE_PHRASES: Final = ("deviates", "at no charge", "at $0")
"""What the note of a row says when its rate breaks a rule on purpose."""

AWS_REGIONS: Final = frozenset(
    {
        "af-south-1",
        "ap-east-1",
        "ap-east-2",
        "ap-northeast-1",
        "ap-northeast-2",
        "ap-northeast-3",
        "ap-south-1",
        "ap-south-2",
        "ap-southeast-1",
        "ap-southeast-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "ap-southeast-5",
        "ap-southeast-6",
        "ap-southeast-7",
        "ca-central-1",
        "ca-west-1",
        "eu-central-1",
        "eu-central-2",
        "eu-north-1",
        "eu-south-1",
        "eu-south-2",
        "eu-west-1",
        "eu-west-2",
        "eu-west-3",
        "il-central-1",
        "me-central-1",
        "me-south-1",
        "mx-central-1",
        "sa-east-1",
        "us-east-1",
        "us-east-2",
        "us-west-1",
        "us-west-2",
        "cn-north-1",
        "cn-northwest-1",
        "eusc-de-east-1",
        "us-gov-east-1",
        "us-gov-west-1",
        "us-iso-east-1",
        "us-iso-west-1",
        "us-isob-east-1",
        "us-isob-west-1",
        "eu-isoe-west-1",
        "us-isof-east-1",
        "us-isof-south-1",
    }
)
"""Regions of every partition, as botocore 1.43.117 lists them (its `partitions.json`)."""

REGION_SPREAD_MAX: Final = 10
TIER_ROUNDING: Final = Fraction(1, 5)
"""Prices of tiers are published with few decimals; a smaller deviation is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One rate that breaks a rule, or one fact of coverage.

    Attributes:
        severity: `error`, `warning` or `info`.
        rule: Name of the rule.
        model: The model it is about, or `` for the whole catalogue.
        origin: File and line of the row, or ``.
        message: What was found, what was expected.
    """

    severity: Severity
    rule: str
    model: str
    origin: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of the catalogue is known how well."""

    models: int
    models_with_rates: int
    models_with_reason: int
    rows: int
    rows_by_confidence: Mapping[str, int]


def coverage(catalogue: Catalogue) -> Coverage:
    """Count models by rates or reason, and rows by confidence."""
    with_rates = {catalogue.canonical(row.model) for row in catalogue.rows}
    listed = set(catalogue.models)
    return Coverage(
        models=len(listed | with_rates),
        models_with_rates=len(with_rates),
        models_with_reason=sum(
            bool(entry.reason) and entry.model not in with_rates
            for entry in catalogue.models.values()
        ),
        rows=len(catalogue.rows),
        rows_by_confidence=dict(Counter(row.confidence for row in catalogue.rows)),
    )


def check_catalogue(catalogue: Catalogue) -> list[Finding]:
    """Apply every rule; findings are ordered by severity, then model and row."""
    by_model: dict[str, list[RateRow]] = defaultdict(list)
    for row in catalogue.rows:
        by_model[catalogue.canonical(row.model)].append(row)
    findings = list(_check_models(catalogue, by_model))
    known_regions = AWS_REGIONS | {row.region for row in catalogue.rows if not row.override}
    for model, rows in by_model.items():
        kind = catalogue.kind(model)
        peers = _Peers(rows)
        findings += _check_zero(rows)
        findings += _check_regions(rows, known_regions)
        findings += _check_region_spread(rows)
        findings += _check_routing_ratio(rows, peers)
        findings += _check_tier_ratio(catalogue, rows, peers)
        findings += _check_cache_ratio(rows, peers)
        if kind == "text":
            findings += _check_output_over_input(rows, peers)
    rank = {"error": 0, "warning": 1, "info": 2}
    return sorted(findings, key=lambda f: (rank[f.severity], f.model, f.rule, f.origin))


class _Peers:
    """Rows of one model, found by what they have in common with another row."""

    def __init__(self, rows: Sequence[RateRow]) -> None:
        self._rows: dict[tuple[object, ...], list[RateRow]] = defaultdict(list)
        for row in rows:
            key = (row.routing, row.region, row.tier, row.unit, row.above_input_tokens)
            self._rows[(*key, row.override)].append(row)

    def of(
        self,
        row: RateRow,
        *,
        routing: str | None = None,
        tier: str | None = None,
        unit: str | None = None,
    ) -> RateRow | None:
        """The row like `row` but for the given fields, in effect when `row` begins or later."""
        key = (routing or row.routing, row.region, tier or row.tier, unit or row.unit)
        for peer in self._rows.get((*key, row.above_input_tokens, row.override), ()):
            if peer.effective_to_ms is None or peer.effective_to_ms > row.effective_from_ms:
                return peer
        return None


def _check_models(
    catalogue: Catalogue, by_model: Mapping[str, Sequence[RateRow]]
) -> Iterator[Finding]:
    for entry in catalogue.models.values():
        if entry.model not in by_model and not entry.reason:
            message = "has neither rates nor a reason why it has none"
            yield _finding("error", "resolves", entry.model, "models.csv", message)
        elif entry.model in by_model and entry.reason:
            message = f"has rates and also a reason why it has none: {entry.reason}"
            severity: Severity = (
                "info" if any(row.override for row in by_model[entry.model]) else "error"
            )
            yield _finding(severity, "resolves", entry.model, "models.csv", message)
    for model, rows in by_model.items():
        if model not in catalogue.models:
            operator = all(row.confidence == CONFIDENCE_OPERATOR for row in rows)
            kind = catalogue.kind(model)
            taken = f"it is taken for a {kind} model" if kind else "its kind is unknown"
            message = f"has rates but is not in models.csv, so {taken}"
            severity = "info" if operator else "error"
            yield _finding(severity, "resolves", model, rows[0].origin, message)


def _check_zero(rows: Sequence[RateRow]) -> Iterator[Finding]:
    for row in rows:
        if row.rate_atto <= 0:
            message = f"{row.unit} costs {format_atto_usd(row.rate_atto)}, expected more than 0"
            yield _about(row, "above zero", "error", message)


def _check_regions(rows: Sequence[RateRow], known: AbstractSet[str]) -> Iterator[Finding]:
    """An operator's row for a Region that nobody lists is rather mistyped than ahead of AWS."""
    for row in rows:
        geography, anywhere, _ = row.region.partition(ANY)
        named = row.region in known or (
            anywhere and any(_geography(region) == geography for region in known)
        )
        if row.override and row.region != ANY and not named:
            message = f"{row.region} is not a known Region or geography; no call may ever be there"
            yield _finding("warning", "known Region", row.model, row.origin, message)


def _geography(region: str) -> str:
    """`us-gov-` of `us-gov-west-1`: what comes before the direction and number of a Region."""
    return region.rpartition("-")[0].rpartition("-")[0] + "-"


def _check_region_spread(rows: Sequence[RateRow]) -> Iterator[Finding]:
    """No Region is ten times as dear as another."""
    groups: dict[tuple[object, ...], list[RateRow]] = defaultdict(list)
    for row in rows:
        if row.rate_atto > 0:
            key = (row.tier, row.unit, row.above_input_tokens, row.routing)
            groups[key].append(row)
    for group in groups.values():
        low = min(group, key=lambda row: row.rate_atto)
        for row in group:
            if row.region != low.region and row.rate_atto > REGION_SPREAD_MAX * low.rate_atto:
                message = (
                    f"{row.unit} in {row.region} costs more than {REGION_SPREAD_MAX} x"
                    f" what it costs in {low.region} ({low.origin})"
                )
                yield _about(row, "Region spread", "warning", message)


def _check_routing_ratio(rows: Sequence[RateRow], peers: _Peers) -> Iterator[Finding]:
    for row in rows:
        if row.routing != "regional" or row.region != ANY:
            continue
        other = peers.of(row, routing="global")
        if other is not None:
            yield from _ratio(row, other, REGIONAL_OVER_GLOBAL, "regional over global")


def _check_tier_ratio(
    catalogue: Catalogue, rows: Sequence[RateRow], peers: _Peers
) -> Iterator[Finding]:
    for row in rows:
        rule = catalogue.tiers.get(row.tier)
        standard = peers.of(row, tier=TIER_STANDARD) if rule else None
        if rule and standard and standard.rate_atto:
            ratio = Fraction(row.rate_atto, standard.rate_atto)
            off = abs(ratio / rule.multiplier - 1)
            name = f"{row.tier} over standard"
            for finding in _ratio(row, standard, rule.multiplier, name):
                rounding = off <= TIER_ROUNDING
                yield _about(row, name, "info", finding.message) if rounding else finding


def _check_cache_ratio(rows: Sequence[RateRow], peers: _Peers) -> Iterator[Finding]:
    for row in rows:
        if row.model.startswith("anthropic.claude"):
            ratios = CLAUDE_CACHE_RATIOS
        elif row.model.startswith("amazon.nova"):
            ratios = NOVA_CACHE_RATIOS
        else:
            continue
        tokens = peers.of(row, unit="input_tokens") if row.unit in ratios else None
        if tokens is not None:
            name = f"{row.unit} over input_tokens"
            yield from _ratio(row, tokens, ratios[row.unit], name)


def _check_output_over_input(rows: Sequence[RateRow], peers: _Peers) -> Iterator[Finding]:
    for row in rows:
        if row.unit != "output_tokens":
            continue
        tokens = peers.of(row, unit="input_tokens")
        if tokens is not None and tokens.rate_atto > row.rate_atto:
            message = f"output costs less than input ({tokens.origin})"
            yield _about(row, "output at least input", "warning", message)


def _ratio(row: RateRow, base: RateRow, expected: Fraction, name: str) -> Iterator[Finding]:
    if row.rate_atto * expected.denominator == base.rate_atto * expected.numerator:
        return
    found = Fraction(row.rate_atto, base.rate_atto) if base.rate_atto else Fraction(0)
    message = (
        f"{row.unit} at {row.routing} {row.region} {row.tier} is {float(found):.4g} x"
        f" {base.origin}, expected {float(expected):.4g} x"
    )
    yield _about(row, name, "warning", message)


def _about(row: RateRow, rule: str, severity: Severity, message: str) -> Finding:
    """A finding on a row, `info` where the row's note owns up to the deviation.

    A note about something else (another table's figure) explains nothing. A price that has
    ended was true in its day beside prices that have changed since.
    """
    if any(phrase in row.note for phrase in NOTE_PHRASES) or row.effective_to_ms is not None:
        message = f"{message}; {row.note or 'the price has ended'}"
        return _finding("info", rule, row.model, row.origin, message)
    return _finding(severity, rule, row.model, row.origin, message)


def _finding(severity: Severity, rule: str, model: str, origin: str, message: str) -> Finding:
    return Finding(severity=severity, rule=rule, model=model, origin=origin, message=message)
