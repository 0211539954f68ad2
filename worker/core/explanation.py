"""Explaining payloads: what each call in them means and costs, as plain documents.

The figures come from the same `Poster` that books calls, so that an explanation never says
anything else than the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from worker.core.attribution import identity_of
from worker.core.directory import said
from worker.core.evidence import (
    Counts,
    Evidence,
    EvidenceRank,
    Facts,
    Observation,
    merge,
    split_call_key,
)
from worker.core.job_outputs import job_arn
from worker.core.ledger import Posting, Status
from worker.core.money import format_atto_usd, format_pico_usd
from worker.core.posting import Poster, Terms
from worker.core.pricing import ChargeLine, charge_lines
from worker.core.report import iso_time
from worker.core.results import (
    POSTABLE,
    Ignored,
    LifecycleSeen,
    Malformed,
    ObjectReference,
    Outcome,
    Position,
    ProfileSeen,
    RecordResult,
)

WITHOUT_COST = frozenset({Status.UNPRICED, Status.UNMETERED})
"""Statuses whose cost is unknown, which is not the same as zero."""

DETAILS = (
    "operation",
    "error_code",
    "inference_region",
    "identity_arn",
    "identity_type",
    "principal_id",
    "issuer_arn",
    "source_identity",
    "on_behalf_of",
    "invoked_by",
    "credential",
)
"""Facts that are shown where they are known."""


class Explanation:
    """Collects outcomes and explains them in the order in which they were first seen.

    Args:
        poster: Prices and attributes, as for booking.
    """

    def __init__(self, poster: Poster) -> None:
        """Start empty."""
        self._poster = poster
        self._calls: dict[str, Evidence] = {}
        self._items: list[str | dict[str, Any]] = []

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """Take in some outcomes; observations of one call are merged."""
        for outcome in outcomes:
            if not isinstance(outcome, Observation):
                self._items.append(explain_other(outcome))
            elif (known := self._calls.get(outcome.key)) is None:
                self._calls[outcome.key] = outcome.evidence
                self._items.append(outcome.key)
            else:
                self._calls[outcome.key] = merge(known, outcome.evidence)

    def documents(self) -> Iterator[dict[str, Any]]:
        """Yield one document for each call, and for each record that is none."""
        for item in self._items:
            yield self._explain(item) if isinstance(item, str) else item

    def _explain(self, key: str) -> dict[str, Any]:
        try:
            return explain_call(key, self._calls[key], self._poster)
        except Exception as error:  # noqa: BLE001 - booking quarantines such a call, alone
            expected = POSTABLE
            found = f"{type(error).__name__}: {error}"
            return explain_other(Malformed("$", expected, found, b"", position=Position(key)))


def explain_call(key: str, evidence: Evidence, poster: Poster) -> dict[str, Any]:
    """Explain one call: who, what, how much of it, and every rate that was used.

    Money is in exact decimal strings of USD; `cost_usd` is None where no cost is known, and
    `occurred_at` where no record said when. A batch job is named by its ARN once that is known.
    """
    call = split_call_key(key)
    facts = evidence.facts
    terms = poster.terms(evidence)
    posting = poster.post(evidence)
    lines = _lines(evidence, terms)
    unrated = sorted({line.unit for line in lines if line.rate_atto is None})
    is_job = call.namespace == "batch"
    document: dict[str, Any] = {
        "namespace": call.namespace,
        "account": facts.account if is_job else call.account,
        "request_id": job_arn(facts, call.request_id) if is_job else call.request_id,
        "occurred_at": iso_time(evidence.occurred_at_ms) if evidence.occurred_at_rank else None,
        "region": terms.reference.region,
        "identity": posting.leaf.identity,
        "principal": posting.leaf.principal,
        "model": terms.model,
        "model_id": facts.model_id,
        "routing": terms.reference.routing,
        "service_tier": terms.tier,
        "tokens": _tokens(evidence.counts),
        "units": dict(evidence.counts.units),
        "evidence": EvidenceRank(evidence.rank).name.lower(),
        "status": posting.status.value,
        "cost_usd": (
            None if posting.status in WITHOUT_COST else format_pico_usd(posting.cost_pico_usd)
        ),
        "rates": [_rate(line) for line in lines if line.rate_atto is not None],
        "reason": posting.reason,
    }
    if unrated:
        document["unrated_units"] = unrated
    if who := poster.attribution(evidence).reason:
        document["attribution_reason"] = who
    return document | _details(evidence.facts_with_session(), terms, posting)


def explain_other(
    outcome: Ignored | Malformed | ObjectReference | ProfileSeen | LifecycleSeen,
) -> dict[str, Any]:
    """Explain a record that is no call: what became of it, why, and where it stood."""
    if isinstance(outcome, Malformed):
        document: dict[str, Any] = {
            "result": RecordResult.QUARANTINED.value,
            "reason": outcome.reason,
            "path": outcome.path,
            "expected": outcome.expected,
            "found": outcome.found,
        }
        if outcome.position.path != "$":
            document["record"] = outcome.position.path
        return document | _place(outcome.position)
    if isinstance(outcome, Ignored):
        reason = outcome.reason
    elif isinstance(outcome, ProfileSeen):
        reason = f"says that {outcome.profile.arn} stands for {outcome.profile.model}"
    elif isinstance(outcome, LifecycleSeen):
        reason = f"says of {said(outcome.fact)}"
    else:
        reason = f"names s3://{outcome.bucket}/{outcome.key}, which is read on its own"
    return {
        "result": RecordResult.IGNORED.value,
        "reason": reason,
        "path": outcome.position.path,
    } | _place(outcome.position)


def _place(position: Position) -> dict[str, Any]:
    place: dict[str, Any] = {}
    if position.source:
        place["source"] = position.source
    if position.line:
        place["line"] = position.line
    return place


def _lines(evidence: Evidence, terms: Terms) -> tuple[ChargeLine, ...]:
    """Return what was charged; nothing is for a call without counts or without a card."""
    if evidence.rank == EvidenceRank.SIGHTING or terms.blocked is not None or terms.card is None:
        return ()
    return charge_lines(terms.card, evidence.counts)


def _rate(line: ChargeLine) -> dict[str, Any]:
    rate: dict[str, Any] = {
        "unit": line.unit,
        "quantity": line.quantity,
        "usd_per_unit": None if line.rate_atto is None else format_atto_usd(line.rate_atto),
        "source": line.source,
        "effective_from": iso_time(line.effective_from_ms),
        "confidence": line.confidence,
    }
    if line.assumed is not None:
        rate["assumed"] = line.assumed
    return rate


def _tokens(counts: Counts) -> dict[str, int | None]:
    return {
        "input_tokens": counts.input_tokens,
        "output_tokens": counts.output_tokens,
        "cache_read_tokens": counts.cache_read_tokens,
        "cache_write_5m_tokens": counts.cache_write_5m_tokens,
        "cache_write_1h_tokens": counts.cache_write_1h_tokens,
    }


def _details(facts: Facts, terms: Terms, posting: Posting) -> dict[str, Any]:
    """Return what is known beyond the contract's fields; unknown ones are left out."""
    leaf = posting.leaf
    known: dict[str, Any] = {
        "agent": leaf.agent,
        "team": leaf.team,
        "pool": leaf.pool,
        "application": leaf.application,
        "geography": terms.reference.geography,
        "session": identity_of(facts).session,
    }
    known |= {name: getattr(facts, name) for name in DETAILS}
    known["request_metadata"] = dict(facts.metadata)
    return {name: value for name, value in known.items() if value}
