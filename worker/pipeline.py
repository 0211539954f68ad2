"""The one way from deliveries to the ledger: decode, fold, commit, quarantine, acknowledge.

`Digester` is the pure half: it turns outcomes of the decoders into a folded batch and lists of
what was ignored or malformed. It runs wherever decoding runs, in a replay's child processes as
well. `Pipeline` is the half that does I/O; the container worker, the Lambda handlers and the
replay all book through it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from worker.core.batch import Batch, BatchBuilder
from worker.core.decoders import Decoder
from worker.core.decoders.fields import QUARANTINED_BODY_BYTES_MAX
from worker.core.errors import TransientError
from worker.core.evidence import Evidence, Observation
from worker.core.posting import Poster
from worker.core.results import (
    POSTABLE,
    DeliveryResult,
    Ignored,
    Malformed,
    ObjectReference,
    Outcome,
    Position,
)
from worker.ports import Committed, Ledger, Quarantine

REASONS_MAX: Final = 1_000
"""Different reasons for ignoring records that are told apart in one digest."""


class Window(msgspec.Struct, frozen=True):
    """A half-open range of event time, epoch milliseconds UTC; None leaves an end open."""

    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, at_ms: int) -> bool:
        """Whether an event at `at_ms` lies in the window."""
        return (self.since_ms is None or at_ms >= self.since_ms) and (
            self.until_ms is None or at_ms < self.until_ms
        )

    @property
    def is_open(self) -> bool:
        """Whether the window holds every event."""
        return self.since_ms is None and self.until_ms is None


class Delivery(msgspec.Struct, frozen=True):
    """What a source hands over at once.

    Attributes:
        body: The payload.
        receipt: The source's handle for acknowledging it; also names it in reasons.
    """

    body: bytes
    receipt: str = ""


class Processed(msgspec.Struct, frozen=True):
    """How one delivery ended.

    Attributes:
        receipt: The delivery's receipt.
        result: Whether it may be acknowledged.
        records: Records decoded in it.
        ignored: Records that are no calls.
        quarantined: Records that were put aside.
        reason: Why it was deferred; otherwise empty.
    """

    receipt: str
    result: DeliveryResult
    records: int
    ignored: int = 0
    quarantined: int = 0
    reason: str = ""


class Digest(msgspec.Struct, gc=False):
    """Decoded and folded records, ready to be booked.

    Attributes:
        batch: The calls.
        records: Records decoded, of every kind.
        ignored: Records that are no calls.
        ignored_reasons: How many were ignored for which reason.
        malformed: Records for the quarantine.
        references: Objects named by notifications; the transport fetches them.
        unpostable: Keys of calls whose pricing or attribution failed; they are in `malformed`.
    """

    batch: Batch
    records: int
    ignored: int
    ignored_reasons: dict[str, int]
    malformed: list[Malformed]
    references: list[ObjectReference]
    unpostable: frozenset[str] = frozenset()

    @property
    def quarantined(self) -> int:
        """Records put aside; several of one call that cannot be posted are kept as one."""
        return self.records - self.ignored - self.batch.records


class Digester:
    """Collects outcomes and folds them.

    Args:
        poster: Prices and attributes.
        window: Calls outside it are ignored.
    """

    def __init__(self, poster: Poster, window: Window | None = None) -> None:
        """Start empty."""
        self._builder = BatchBuilder(poster)
        self._window = None if window is None or window.is_open else window
        self._reset()

    def _reset(self) -> None:
        self._records = 0
        self._ignored: dict[str, int] = {}
        self._malformed: list[Malformed] = []
        self._references: list[ObjectReference] = []

    def is_full(self, calls_max: int, malformed_max: int) -> bool:
        """Whether as many distinct calls, or other records that are kept, are collected."""
        others = len(self._malformed) + len(self._references)
        return len(self._builder) >= calls_max or others >= malformed_max

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take in the outcomes of some records."""
        add = self._builder.add
        window = self._window
        count = 0
        for outcome in outcomes:
            count += 1
            if isinstance(outcome, Observation):
                # What names no time (a batch job's manifest) may belong to any: rank 0.
                if (
                    window is None
                    or window.holds(outcome.evidence.occurred_at_ms)
                    or not outcome.evidence.occurred_at_rank
                ):
                    add(outcome)
                else:
                    self._ignore("outside of --since and --until")
            elif isinstance(outcome, Ignored):
                self._ignore(outcome.reason)
            elif isinstance(outcome, Malformed):
                self._malformed.append(outcome)
            else:
                self._references.append(outcome)
                self._ignore("names an S3 object, which is read on its own")
        self._records += count

    def _ignore(self, reason: str) -> None:
        if reason not in self._ignored and len(self._ignored) >= REASONS_MAX:
            reason = "other reasons"
        self._ignored[reason] = self._ignored.get(reason, 0) + 1

    def digest(self) -> Digest:
        """Fold what was collected; the digester is empty afterwards."""
        batch = self._builder.build()
        failures = self._builder.take_failures()
        digest = Digest(
            batch=batch,
            records=self._records,
            ignored=sum(self._ignored.values()),
            ignored_reasons=self._ignored,
            malformed=[*self._malformed, *map(_unpostable, failures)],
            references=self._references,
            unpostable=frozenset(key for key, _, _ in failures),
        )
        self._reset()
        return digest


class EvidenceRecord(msgspec.Struct, frozen=True, tag="LedgerockEvidence", tag_field="schemaType"):
    """Decoded evidence as a record of its own.

    Quarantine keeps this of a call that could be decoded but not posted.
    """

    key: str
    evidence: Evidence


def _unpostable(failure: tuple[str, Evidence, Exception]) -> Malformed:
    """Keep a call whose pricing or attribution failed; its evidence can be redriven."""
    key, evidence, error = failure
    return Malformed(
        path="$",
        expected=POSTABLE,
        found=f"{type(error).__name__}: {error}",
        body=msgspec.json.encode(EvidenceRecord(key, evidence)),
        position=Position(source=key),
    )


class Pipeline:
    """Books what deliveries hold.

    Args:
        ledger: Where calls are booked.
        quarantine: Where malformed records are kept.
        decoder: Reads payloads.
        poster: Prices and attributes.
    """

    def __init__(
        self, *, ledger: Ledger, quarantine: Quarantine, decoder: Decoder, poster: Poster
    ) -> None:
        """Put the parts together."""
        self.ledger = ledger
        self.quarantine = quarantine
        self.decoder = decoder
        self.poster = poster

    async def process(self, deliveries: Sequence[Delivery]) -> list[Processed]:
        """Book some deliveries together, as one transaction of the ledger.

        Returns:
            How each ended, in order. When the ledger or the quarantine has a passing fault,
            all are deferred: nothing may be acknowledged, everything may come again.
        """
        digester = Digester(self.poster)
        shares = []
        for delivery in deliveries:
            outcomes = self._decode(delivery)
            digester.add(outcomes)
            shares.append((delivery.receipt, outcomes))
        digest = digester.digest()
        try:
            await self.book(digest)
        except TransientError as error:
            return [
                Processed(receipt, DeliveryResult.DEFERRED, len(outcomes), reason=str(error))
                for receipt, outcomes in shares
            ]
        return [_processed(receipt, outcomes, digest.unpostable) for receipt, outcomes in shares]

    def _decode(self, delivery: Delivery) -> list[Outcome]:
        try:
            return list(self.decoder.decode(delivery.body, source=delivery.receipt))
        except Exception as error:  # noqa: BLE001 - one delivery must not hold up the others
            return [undecodable(error, delivery.body, Position(delivery.receipt))]

    async def book(self, digest: Digest) -> Committed:
        """Book a digest: its calls in the ledger, its malformed records in quarantine.

        Raises:
            TransientError: A passing fault; booking the same records again is safe.
        """
        # The commit comes last, so that an attempt that fails has told of no bookings.
        if digest.malformed:
            await self.quarantine.put(digest.malformed)
        return await self.ledger.commit(digest.batch, self.poster)


def undecodable(error: Exception, body: bytes, position: Position) -> Malformed:
    """Keep what a decoder failed on, which it should never do."""
    return Malformed(
        path="$",
        expected="something that can be decoded or refused",
        found=f"{type(error).__name__}: {error}",
        body=body[:QUARANTINED_BODY_BYTES_MAX],
        truncated=len(body) > QUARANTINED_BODY_BYTES_MAX,
        position=position,
    )


def _processed(receipt: str, outcomes: list[Outcome], unpostable: frozenset[str]) -> Processed:
    quarantined = sum(
        isinstance(outcome, Malformed)
        or (isinstance(outcome, Observation) and outcome.key in unpostable)
        for outcome in outcomes
    )
    ignored = sum(isinstance(outcome, Ignored | ObjectReference) for outcome in outcomes)
    nothing_else = quarantined == len(outcomes) > 0
    result = DeliveryResult.QUARANTINED if nothing_else else DeliveryResult.ACKNOWLEDGED
    return Processed(receipt, result, len(outcomes), ignored, quarantined)
