"""What one commit did, and which deliveries ended with it."""

from __future__ import annotations

import msgspec

from worker.core.results import ObjectReference, Outcome
from worker.pipeline.ending import is_malformed
from worker.ports import Delivery, Processed


class Figures(msgspec.Struct, gc=False):
    """What one commit did.

    Attributes:
        records: Records decoded; the sum of the five results below.
        recorded: First sight of a call.
        upgraded: Better evidence of a known call.
        duplicates: Nothing new.
        ignored: No calls, and calls that a seal holds (`core.seal`).
        quarantined: Not understood, kept aside.
        unpriced_calls: Calls without a rate, net.
        unmetered_calls: Calls without counts, net.
        cost_pico_usd: What was added to the spend, net; also by rebooking meanwhile.
        crossings: Thresholds newly found crossed.
        first_at_ms: Time of the oldest call among them, epoch milliseconds UTC; 0 for none.
        commit_seconds: How long the commit took.
        references: Records among the ignored that only name objects.
    """

    records: int = 0
    recorded: int = 0
    upgraded: int = 0
    duplicates: int = 0
    ignored: int = 0
    quarantined: int = 0
    unpriced_calls: int = 0
    unmetered_calls: int = 0
    cost_pico_usd: int = 0
    crossings: int = 0
    first_at_ms: int = 0
    commit_seconds: float = 0.0
    references: int = 0


class Decoded(msgspec.Struct, frozen=True):
    """A delivery and what it holds."""

    delivery: Delivery
    outcomes: list[Outcome]

    @property
    def names_objects(self) -> bool:
        """Whether any of its records is a notification."""
        return any(isinstance(outcome, ObjectReference) for outcome in self.outcomes)

    def holds_malformed(self, unpostable: frozenset[str]) -> bool:
        """Whether any of its records has to be put aside."""
        return any(is_malformed(outcome, unpostable) for outcome in self.outcomes)


class Step(msgspec.Struct):
    """What came of one commit: the deliveries that ended with it, and its figures.

    A delivery that names objects ends with the last of its commits.

    Attributes:
        processed: How deliveries ended.
        figures: What the commit did.
        error: Why it failed, if it did: all its deliveries are deferred.
    """

    processed: list[Processed]
    figures: Figures
    error: Exception | None = None

    def waits_for(self, decoded: Decoded) -> bool:
        """Whether a delivery of this commit has not ended with it."""
        receipt = decoded.delivery.receipt
        return decoded.names_objects and all(one.receipt != receipt for one in self.processed)
