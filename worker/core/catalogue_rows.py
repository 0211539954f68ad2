"""Rows of the price catalogue as they are parsed, and the index of one model's rows."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Final

import msgspec

from worker.core.errors import ConfigurationError

ANY: Final = "*"
ROUTINGS: Final = ("regional", "global")

BEDROCK_LAUNCH_MS: Final = 1_695_859_200_000
"""2023-09-28T00:00:00Z: Amazon Bedrock became generally available; nothing was billed before."""

CONFIDENCE_OPERATOR: Final = "operator"


class RateRow(msgspec.Struct, frozen=True, gc=False):
    """One row of the catalogue, parsed.

    Attributes:
        model: Canonical foundation-model id.
        routing: `regional`, `global` or `*`.
        region: AWS Region, the Regions of a geography (`eu-*`, `us-gov-*`), or `*`.
        tier: Service tier.
        unit: What is counted.
        above_input_tokens: Long-context threshold, 0 for the base rate.
        rate_atto: Atto-USD per unit.
        effective_from_ms: First instant of validity, epoch milliseconds UTC.
        effective_to_ms: First instant after it, or None while it is open.
        confidence: `confirmed`, `single-source` or `operator`.
        sources: Tables that list the rate, with their dates.
        note: Anything a reader should know, such as which of two figures was taken.
        origin: File and line.
        override: Whether the row is the operator's.
    """

    model: str
    routing: str
    region: str
    tier: str
    unit: str
    above_input_tokens: int
    rate_atto: int
    effective_from_ms: int
    effective_to_ms: int | None
    confidence: str
    sources: str
    note: str
    origin: str
    override: bool = False


class ModelEntry(msgspec.Struct, frozen=True, gc=False):
    """One model of the catalogue: its kind, why it has no rate (or ""), its other ids."""

    model: str
    kind: str
    reason: str
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TierRule:
    """A documented multiplier of the standard rate, used where a tier has no row of its own."""

    tier: str
    multiplier: Fraction
    source: str


RateKey = tuple[str, str, str, str, int]
"""(routing, region, tier, unit, above_input_tokens) within one model."""


class ModelRates:
    """The rows of one model, by key; override rows apart from packaged ones.

    `by_region` says whether any packaged row is for a Region or a geography.

    Raises:
        ConfigurationError: two rows of one key and kind overlap in time.
    """

    __slots__ = ("boundaries_ms", "by_region", "override", "packaged", "thresholds", "units")

    def __init__(self, rows: Iterable[RateRow]) -> None:
        self.packaged: dict[RateKey, list[RateRow]] = {}
        self.override: dict[RateKey, list[RateRow]] = {}
        boundaries = set()
        units: dict[str, None] = {}
        thresholds = set()
        for row in rows:
            table = self.override if row.override else self.packaged
            key = (row.routing, row.region, row.tier, row.unit, row.above_input_tokens)
            table.setdefault(key, []).append(row)
            boundaries.add(row.effective_from_ms)
            if row.effective_to_ms is not None:
                boundaries.add(row.effective_to_ms)
            units[row.unit] = None
            thresholds.add(row.above_input_tokens)
        self.boundaries_ms = tuple(sorted(boundaries))
        self.by_region = any(region != ANY for _, region, *_ in self.packaged)
        self.units = tuple(units)
        self.thresholds = tuple(sorted(thresholds))
        for key_rows in (*self.packaged.values(), *self.override.values()):
            if len(key_rows) > 1:
                _reject_overlap(key_rows)

    @staticmethod
    def find(
        table: Mapping[RateKey, Sequence[RateRow]], key: RateKey, at_ms: int
    ) -> RateRow | None:
        """The row of `table` in effect for a key, with its routing or with routing `*`."""
        routing, region, tier, unit, above = key
        for candidate in (routing, ANY):
            for row in table.get((candidate, region, tier, unit, above), ()):
                if row.effective_from_ms <= at_ms and (
                    row.effective_to_ms is None or at_ms < row.effective_to_ms
                ):
                    return row
        return None


def _reject_overlap(rows: list[RateRow]) -> None:
    ordered = sorted(rows, key=lambda row: row.effective_from_ms)
    for earlier, later in pairwise(ordered):
        if earlier.effective_to_ms is None or earlier.effective_to_ms > later.effective_from_ms:
            msg = (
                f"{later.origin}: overlaps in time with {earlier.origin} for {later.model}"
                f" {later.routing} {later.region} {later.tier} {later.unit}"
                f" above {later.above_input_tokens}; end the earlier row (effective_to) where"
                " the later one begins"
            )
            raise ConfigurationError(msg)
