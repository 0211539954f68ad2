"""The pure half of the pipeline: outcomes of the decoders, collected and folded.

It runs wherever decoding runs, in a replay's child processes as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from worker.core.batch import Batch, BatchBuilder
from worker.core.decoders.fields import QUARANTINED_BODY_BYTES_MAX
from worker.core.evidence import Evidence, Observation
from worker.core.posting import Poster
from worker.core.results import (
    POSTABLE,
    Ignored,
    LifecycleSeen,
    Malformed,
    ObjectReference,
    Outcome,
    Position,
    ProfileSeen,
)

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


class Digest(msgspec.Struct, gc=False):
    """Decoded and folded records, ready to be booked.

    Attributes:
        batch: The calls.
        records: Records decoded, of every kind.
        ignored: Records that are no calls.
        ignored_reasons: How many were ignored for which reason.
        malformed: Records for the quarantine.
        references: Objects named by notifications; the transport fetches them.
        profiles: What events told of application inference profiles.
        first_at_ms: Time of the oldest call, epoch milliseconds UTC; 0 if there is none.
        outcomes: What it was made of, where calls name profiles that nobody knows and it may
            have to be made again.
        unpostable: Keys of calls whose pricing or attribution failed; they are in `malformed`.
        lifecycle: What events told of users, roles, keys and agents.
        known_at: Since when all that others had learned before was known to what it was made
            with, seconds (`DirectoryWatch.asked_at`); None if nobody says.
    """

    batch: Batch
    records: int
    ignored: int
    ignored_reasons: dict[str, int]
    malformed: list[Malformed]
    references: list[ObjectReference]
    profiles: list[ProfileSeen] = []
    first_at_ms: int = 0
    outcomes: list[Outcome] = []
    unpostable: frozenset[str] = frozenset()
    lifecycle: list[LifecycleSeen] = []
    known_at: float | None = None

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
        self._profiles: list[ProfileSeen] = []
        self._lifecycle: list[LifecycleSeen] = []

    def is_full(self, calls_max: int, malformed_max: int) -> bool:
        """Whether as many distinct calls, or other records that are kept, are collected."""
        others = len(self._malformed) + len(self._references) + len(self._lifecycle)
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
            elif isinstance(outcome, ObjectReference):
                self._references.append(outcome)
                self._ignore("names an S3 object, which is read on its own")
            elif isinstance(outcome, LifecycleSeen):
                self._lifecycle.append(outcome)
                self._ignore("says something of a user, a role, a key or an agent")
            else:
                self._profiles.append(outcome)
                self._ignore("says what an application inference profile stands for")
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
            profiles=self._profiles,
            first_at_ms=batch.first_at_ms,
            unpostable=frozenset(key for key, _, _ in failures),
            lifecycle=self._lifecycle,
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
