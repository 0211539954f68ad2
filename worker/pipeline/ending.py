"""What becomes of one delivery: what it holds, and how it ends."""

from __future__ import annotations

import msgspec

from worker.core.decoders import Decoder
from worker.core.evidence import Observation
from worker.core.posting import Poster
from worker.core.results import (
    DeliveryResult,
    Ignored,
    LifecycleSeen,
    Malformed,
    ObjectReference,
    Outcome,
    Position,
    ProfileSeen,
)
from worker.pipeline.digest import Digest, Digester, undecodable
from worker.ports import Delivery, Processed

OUT_OF_TIME = "out of time; what was booked stays booked"


def remade(digest: Digest, poster: Poster) -> Digest:
    """Return a digest of the same records under another poster."""
    digester = Digester(poster)
    digester.add(digest.outcomes)
    made = digester.digest()
    made.outcomes = digest.outcomes
    made.known_at = digest.known_at
    return made


def deferred(receipt: str, outcomes: list[Outcome], error: Exception) -> Processed:
    """Return that a delivery must come again, and why."""
    reason = OUT_OF_TIME if isinstance(error, TimeoutError) else str(error)
    return Processed(receipt, DeliveryResult.DEFERRED, len(outcomes), reason=reason)


def processed(receipt: str, outcomes: list[Outcome], unpostable: frozenset[str]) -> Processed:
    """Return how a delivery ended whose records were booked, ignored or put aside."""
    quarantined = sum(is_malformed(outcome, unpostable) for outcome in outcomes)
    ignored = sum(
        isinstance(outcome, Ignored | ObjectReference | ProfileSeen | LifecycleSeen)
        for outcome in outcomes
    )
    nothing_else = quarantined == len(outcomes) > 0
    result = DeliveryResult.QUARANTINED if nothing_else else DeliveryResult.ACKNOWLEDGED
    return Processed(receipt, result, len(outcomes), ignored, quarantined)


def is_malformed(outcome: Outcome, unpostable: frozenset[str]) -> bool:
    """Whether a record is put aside: not understood, or a call that cannot be posted."""
    return isinstance(outcome, Malformed) or (
        isinstance(outcome, Observation) and outcome.key in unpostable
    )


def decode_delivery(decoder: Decoder, delivery: Delivery) -> list[Outcome]:
    """Decode a delivery; whatever the decoder does, there is an outcome."""
    name = delivery.name or delivery.receipt
    try:
        outcomes = list(decoder.decode(delivery.body, source=name))
    except Exception as error:  # noqa: BLE001 - one delivery must not hold up the others
        outcomes = [undecodable(error, delivery.body, Position(name))]
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Malformed) and outcome.truncated:
            # A queue keeps no copy: the delivery is put aside whole, once, for the redrive.
            outcomes[index] = msgspec.structs.replace(outcome, body=delivery.body, truncated=False)
            break
    return outcomes
