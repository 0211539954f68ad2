"""A second opinion on the catalogue: the same calls priced by the genai-prices package.

The package is optional (`pip install 'ledgerock[prices]'`) and is used by `ledgerock prices
check` alone. It knows no Regions, no service tiers and no units but tokens, so the comparison
covers standard rates of token units in us-east-1, regional and global, one unit at a time and
once in every long-context bracket.
"""

import importlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import msgspec

from worker.core.catalogue import Catalogue
from worker.core.catalogue_rows import ROUTINGS
from worker.core.errors import ConfigurationError
from worker.core.evidence import Counts
from worker.core.money import PICO_PER_USD, format_pico_usd
from worker.core.pricing import TIER_STANDARD, TOKEN_UNITS, RateCard, charge

PACKAGE: Final = "genai_prices"
REGION: Final = "us-east-1"
"""The Region whose prices the package lists."""

TOKENS_PER_PROBE: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One probe on which the catalogue and the package disagree.

    Attributes:
        model: The model.
        routing: `regional` or `global`.
        unit: The token unit that was probed.
        above_input_tokens: The long-context threshold that was exceeded, or 0.
        catalogue_usd: Decimal USD by the catalogue.
        reference_usd: Decimal USD by the package.
        explanation: The sources of the catalogue's rate, where the package is not among them:
            it has no rate of its own here and charges another one. None if it has.
    """

    model: str
    routing: str
    unit: str
    above_input_tokens: int
    catalogue_usd: str
    reference_usd: str
    explanation: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Differential:
    """Outcome of a comparison.

    Attributes:
        version: Version of the package.
        probes: Calls that both priced.
        differences: Those on which they disagree.
        unknown: (model, routing) pairs that the package does not know.
    """

    version: str
    probes: int
    differences: tuple[Difference, ...]
    unknown: tuple[tuple[str, str], ...]


class GenaiPricesReference:
    """The package's price of a call."""

    def __init__(self) -> None:
        """Import the package.

        Raises:
            ConfigurationError: it is not installed.
        """
        try:
            self._package: Any = importlib.import_module(PACKAGE)
            self.version = importlib.metadata.version("genai-prices")
        except (ImportError, importlib.metadata.PackageNotFoundError) as error:
            message = (
                "the differential needs the package genai-prices, which is not installed;"
                " install it with: pip install 'ledgerock[prices]'"
            )
            raise ConfigurationError(message) from error

    def price(self, model_id: str, counts: Counts, at_ms: int) -> Decimal | None:
        """The price in USD of token counts, or None if the package does not know the model.

        The package counts cached tokens as part of the input; Bedrock's counts are disjoint.
        """
        written = counts.cache_write_5m_tokens + counts.cache_write_1h_tokens
        usage = self._package.Usage(
            input_tokens=(counts.input_tokens or 0) + counts.cache_read_tokens + written,
            cache_read_tokens=counts.cache_read_tokens,
            cache_write_tokens=written,
            cache_write_1h_tokens=counts.cache_write_1h_tokens,
            output_tokens=counts.output_tokens or 0,
        )
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
        try:
            calculation = self._package.calc_price(
                usage, model_ref=model_id, provider_id="aws", genai_request_timestamp=moment
            )
        except LookupError:
            return None
        return Decimal(calculation.total_price)

    def differential(self, catalogue: Catalogue, at_ms: int) -> Differential:
        """Compare every standard token rate of the catalogue with the package's."""
        probes = 0
        differences = []
        unknown = []
        for model in sorted({catalogue.canonical(row.model) for row in catalogue.rows}):
            for routing in ROUTINGS:
                card = catalogue.card(model, routing, REGION, TIER_STANDARD, at_ms)
                if card is None or not _lists(card, "input_tokens"):
                    continue
                model_id = self._known_id(model, routing, at_ms)
                if model_id is None:
                    unknown.append((model, routing))
                    continue
                for unit, threshold, counts in _probes(card):
                    theirs = self.price(model_id, counts, at_ms)
                    if theirs is None:
                        continue
                    probes += 1
                    ours = charge(card, counts).cost_pico_usd
                    if ours == theirs * PICO_PER_USD:
                        continue
                    differences.append(
                        Difference(
                            model=model,
                            routing=routing,
                            unit=unit,
                            above_input_tokens=threshold,
                            catalogue_usd=format_pico_usd(ours),
                            reference_usd=f"{theirs.normalize():f}",
                            explanation=_explanation(card, unit, threshold),
                        )
                    )
        return Differential(
            version=self.version,
            probes=probes,
            differences=tuple(differences),
            unknown=tuple(unknown),
        )

    def _known_id(self, model: str, routing: str, at_ms: int) -> str | None:
        """The id under which the package knows a model: bare, or with a geography."""
        candidates = (model, f"us.{model}") if routing == "regional" else (f"global.{model}",)
        probe = Counts(input_tokens=TOKENS_PER_PROBE)
        for candidate in candidates:
            if self.price(candidate, probe, at_ms) is not None:
                return candidate
        return None


def _probes(card: RateCard) -> Iterator[tuple[str, int, Counts]]:
    """(unit, threshold, call) for every token unit, below and above every threshold."""
    for threshold in (0, *(bracket[0] for bracket in card.long_context)):
        # Above a threshold the input alone reaches it; the unit is added to that.
        base = Counts(input_tokens=threshold + 1 if threshold else 0)
        for unit in TOKEN_UNITS:
            if _lists(card, unit):
                added = (getattr(base, unit) or 0) + TOKENS_PER_PROBE
                yield unit, threshold, msgspec.structs.replace(base, **{unit: added})


def _lists(card: RateCard, unit: str) -> bool:
    """Whether a unit has a rate of its own here, not one assumed from elsewhere."""
    applied = card.rates.get((unit, 0))
    return applied is not None and applied.assumed is None


def _explanation(card: RateCard, unit: str, threshold: int) -> str | None:
    """Where the catalogue's rate comes from, if not from the package."""
    applied = card.rates.get((unit, threshold)) or card.rates[unit, 0]
    return None if "genai-prices" in applied.source else applied.source
