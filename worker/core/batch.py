"""Fold before you write: a batch of observations as the least that a ledger must write.

`BatchBuilder` merges the observations of a batch call by call, works out each call's posting
once, and folds the postings by leaf. The result, a `Batch`, is folded as if every call in it
were new; it can be sent to the process that owns the ledger. There `reconcile` corrects it
against what is already booked: duplicates are taken out, better evidence replaces what was
there and posts the difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Final

import msgspec

from worker.core.codec import Bodies, decode_key, encode_body, encode_key
from worker.core.evidence import Evidence, Observation, merge
from worker.core.ledger import MS_PER_DAY, Amounts, Entry, Leaf, Rated, Status
from worker.core.model_id import PROFILE_RESOURCE
from worker.core.posting import Poster


class Part(msgspec.Struct, frozen=True, gc=False):
    """What the records of one call that name one day say of it, and how many they are."""

    evidence: Evidence
    records: int


class Batch(msgspec.Struct, gc=False):
    """Folded observations, ready to be booked.

    Attributes:
        bodies: Stored body of each call by stored key, as if the call were new.
        interned: Encodings of all values that the bodies and leaves name, by id.
        leaves: Folded amounts by leaf id, as if every call were new.
        repeats: For calls met more than once in the batch: how many further records there
            were, and how many of them improved the evidence.
        records: Observations folded in, those of failed calls left out.
        first_at_ms: Time of the oldest call, epoch milliseconds UTC; 0 if there is none.
        profiles: ARNs of application inference profiles that calls name and nobody knows.
        apart: For calls whose records name different UTC days: what they say by day, since a
            seal may be between these days (`core.seal`).
    """

    bodies: dict[bytes, bytes] = {}
    interned: dict[int, bytes] = {}
    leaves: dict[int, Amounts] = {}
    repeats: dict[bytes, tuple[int, int]] = {}
    records: int = 0
    first_at_ms: int = 0
    profiles: set[str] = set()
    apart: dict[bytes, dict[int, Part]] = {}

    def leaves_touched(self) -> list[Leaf]:
        """Return the leaves that its calls are posted to, as if every call were new."""
        bodies = Bodies(self.interned.get)
        return [bodies.leaf(leaf_id) for leaf_id in self.leaves]


class BatchBuilder:
    """Collects observations and folds them.

    Args:
        poster: Prices and attributes merged evidence.
    """

    def __init__(self, poster: Poster) -> None:
        """Start an empty batch."""
        self._poster = poster
        self._evidence: dict[str, Evidence] = {}
        self._repeats: dict[str, tuple[int, int]] = {}
        self._apart: dict[str, dict[int, Part]] = {}
        self._records = 0
        self._failures: list[tuple[str, Evidence, Exception]] = []

    def __len__(self) -> int:
        """Return the number of distinct calls collected."""
        return len(self._evidence)

    def add(self, observation: Observation) -> None:
        """Merge one observation in."""
        key, evidence = observation.key, observation.evidence
        self._records += 1
        known = self._evidence.setdefault(key, evidence)
        if known is evidence:
            return
        merged = merge(known, evidence)
        records, improvements = self._repeats.get(key, (0, 0))
        if key in self._apart or _day(known) != _day(evidence):
            # Until now all of them named the same day: that of what they are merged to.
            parts = self._apart.setdefault(key, {_day(known): Part(known, 1 + records)})
            same = parts.get(_day(evidence))
            parts[_day(evidence)] = (
                Part(evidence, 1)
                if same is None
                else Part(merge(same.evidence, evidence), same.records + 1)
            )
        if merged is known:
            self._repeats[key] = (records + 1, improvements)
        else:
            self._evidence[key] = merged
            self._repeats[key] = (records + 1, improvements + 1)

    def build(self) -> Batch:
        """Price, attribute and fold what was collected; the builder is empty afterwards."""
        batch = Batch(
            repeats={encode_key(key): counts for key, counts in self._repeats.items()},
            records=self._records,
            first_at_ms=min(
                (evidence.occurred_at_ms for evidence in self._evidence.values()), default=0
            ),
            apart={encode_key(key): parts for key, parts in self._apart.items()},
        )
        bodies, leaves, rate, apart = batch.bodies, batch.leaves, self._poster.rate, self._apart
        unresolved: set[int] = set()
        for key, evidence in self._evidence.items():
            try:
                rated = rate(evidence)
                if apart and key in apart:
                    self._rate_parts(apart[key])
            except Exception as error:  # noqa: BLE001 - one call must not spoil its batch
                self._failures.append((key, evidence, error))
                continue
            route = rated.route
            bodies[encode_key(key)] = encode_body(evidence, rated)
            amounts = leaves.get(route.leaf.id)
            if amounts is None:
                for interned in (route.facts, route.leaf, route.basis):
                    batch.interned[interned.id] = interned.encoded
                leaves[route.leaf.id] = amounts = Amounts()
                if route.leaf_value.model.startswith(PROFILE_RESOURCE):
                    unresolved.add(route.leaf.id)
            elif route.facts.id not in batch.interned:
                batch.interned[route.facts.id] = route.facts.encoded
            if unresolved and route.leaf.id in unresolved:
                batch.profiles.add(evidence.facts.model_id)
            _post(amounts, evidence, rated)
        for key, _, _ in self._failures:
            batch.records -= 1 + batch.repeats.pop(encode_key(key), (0, 0))[0]
        self._evidence, self._repeats, self._apart, self._records = {}, {}, {}, 0
        return batch

    def _rate_parts(self, parts: Mapping[int, Part]) -> None:
        """Rate what a seal may leave of a call, whatever its watermark, so that committing can."""
        left: Evidence | None = None
        # What is of no day is always left; of days, the last ones are.
        for day in sorted(parts, key=lambda day: (day > 0, -day)):
            left = parts[day].evidence if left is None else merge(left, parts[day].evidence)
            self._poster.rate(left)

    def take_failures(self) -> list[tuple[str, Evidence, Exception]]:
        """Return the calls of the last `build` whose pricing or attribution failed, and why."""
        failures, self._failures = self._failures, []
        return failures


def _day(evidence: Evidence) -> int:
    return evidence.occurred_at_ms // MS_PER_DAY


def _post(amounts: Amounts, evidence: Evidence, rated: Rated) -> None:
    """Add one call to its leaf; the same sums as `amounts_of`, without the allocation."""
    counts = evidence.counts
    amounts.calls += 1
    amounts.cost_pico_usd += rated.cost_pico_usd
    amounts.input_tokens += counts.input_tokens or 0
    amounts.output_tokens += counts.output_tokens or 0
    if counts.cache_read_tokens:
        amounts.cache_read_tokens += counts.cache_read_tokens
    if counts.cache_write_5m_tokens:
        amounts.cache_write_5m_tokens += counts.cache_write_5m_tokens
    if counts.cache_write_1h_tokens:
        amounts.cache_write_1h_tokens += counts.cache_write_1h_tokens
    status = rated.status
    if status is Status.PRICED:
        return
    if status is Status.ESTIMATED:
        amounts.estimated_pico_usd += rated.cost_pico_usd
        amounts.estimated_calls += 1
    elif status is Status.UNPRICED:
        amounts.unpriced_calls += 1
    elif status is Status.UNMETERED:
        amounts.unmetered_calls += 1
    else:
        amounts.failed_calls += 1


class Reconciled(msgspec.Struct, gc=False):
    """What a ledger must write for a batch, and what came of its records.

    Attributes:
        inserts: Bodies of calls that were unknown, by stored key.
        replacements: Bodies of known calls whose evidence got better, by stored key.
        leaves: What to add to each leaf; leaves whose amounts would be zero are left out.
        interned: Encodings of all values named above.
        recorded: Records that were the first sight of their call.
        upgraded: Records that improved known evidence.
        duplicates: Records that added nothing.
    """

    inserts: dict[bytes, bytes] = {}
    replacements: dict[bytes, bytes] = {}
    leaves: dict[int, Amounts] = {}
    interned: dict[int, bytes] = {}
    recorded: int = 0
    upgraded: int = 0
    duplicates: int = 0


REFOLD_SHARE: Final = 0.5
"""Above this share of known calls, folding the new ones anew beats subtracting the known."""


def reconcile(
    batch: Batch,
    known: Mapping[bytes, bytes],
    lookup: Callable[[int], bytes | None],
    poster: Poster,
) -> Reconciled:
    """Correct a batch against the entries that the ledger already holds.

    Args:
        batch: The folded batch. It is left as it was, so that a commit can be tried again.
        known: Stored bodies of those of the batch's calls that are already booked.
        lookup: Finds an interned value of the ledger by id.
        poster: Works out the posting of evidence that got better by merging.

    Returns:
        Everything to write, in one transaction, together with the results.

    Raises:
        LedgerCorruptError: A stored entry cannot be read.
    """
    result = Reconciled(interned=batch.interned, inserts=batch.bodies, leaves=batch.leaves)
    if not known:
        _count(result, batch)
        return result
    result.inserts, result.interned = dict(batch.bodies), dict(batch.interned)
    bodies = Bodies(lambda value_id: batch.interned.get(value_id) or lookup(value_id))
    correction = _Correction(batch, bodies, refold=len(known) > REFOLD_SHARE * len(batch.bodies))
    for key, stored in known.items():
        incoming = result.inserts.pop(key)
        correction.take_out(incoming)
        if incoming == stored:
            continue
        replacement = improve(key, stored, incoming, bodies, poster)
        if replacement is None:
            continue
        _, after, rated = replacement
        body = encode_body(after.evidence, rated, after.revision)
        correction.exchange(stored, body)
        result.replacements[key] = body
        for interned in (rated.route.facts, rated.route.leaf, rated.route.basis):
            result.interned[interned.id] = interned.encoded
    result.leaves = correction.leaves(result.inserts)
    _count(result, batch)
    return result


def improve(
    key: bytes, stored: bytes, incoming: bytes, bodies: Bodies, poster: Poster
) -> tuple[Entry, Entry, Rated] | None:
    """Merge a known entry with new evidence: before, after, and how it is rated now.

    None if the evidence adds nothing.
    """
    name = decode_key(key)
    before = bodies.entry(name, stored)
    merged = merge(before.evidence, bodies.entry(name, incoming).evidence)
    if merged is before.evidence:
        return None
    rated = poster.rate(merged)
    after = Entry(key=name, evidence=merged, posting=rated.posting(), revision=before.revision + 1)
    return before, after, rated


class _Correction:
    """The amounts of a batch's leaves, without the calls that are known already.

    Where few are known, their amounts are subtracted from those of the batch; where most are,
    the others are folded anew.
    """

    def __init__(self, batch: Batch, bodies: Bodies, *, refold: bool) -> None:
        self._bodies = bodies
        self._refold = refold
        self._deltas: dict[int, Amounts] = (
            {} if refold else {leaf: copy(amounts) for leaf, amounts in batch.leaves.items()}
        )

    def take_out(self, body: bytes) -> None:
        if not self._refold:
            leaf_id, amounts = self._bodies.amounts(body)
            self._deltas[leaf_id].subtract(amounts)

    def exchange(self, stored: bytes, body: bytes) -> None:
        leaf_id, amounts = self._bodies.amounts(stored)
        self._deltas.setdefault(leaf_id, Amounts()).subtract(amounts)
        leaf_id, amounts = self._bodies.amounts(body)
        self._deltas.setdefault(leaf_id, Amounts()).add(amounts)

    def leaves(self, inserts: Mapping[bytes, bytes]) -> dict[int, Amounts]:
        if self._refold:
            for body in inserts.values():
                leaf_id, amounts = self._bodies.amounts(body)
                self._deltas.setdefault(leaf_id, Amounts()).add(amounts)
        return {leaf: amounts for leaf, amounts in self._deltas.items() if not amounts.is_zero()}


def _count(result: Reconciled, batch: Batch) -> None:
    """Give every record of the batch its one result.

    Of a new call the first record is recorded and each improving one upgrades it; of a known
    call at most one record is said to have upgraded it, however many did so between them.
    """
    inserts = result.inserts
    result.recorded = len(inserts)
    in_batch = sum(improved for key, (_, improved) in batch.repeats.items() if key in inserts)
    result.upgraded = in_batch + len(result.replacements)
    result.duplicates = batch.records - result.recorded - result.upgraded
