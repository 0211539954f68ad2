"""From merged evidence to a posting: resolve the model, price it, attribute it.

A posting is a pure function of the evidence, the catalogue and the registry (promise 3). All
that does not depend on counts is worked out once for each (facts, stretch of time) and kept:
with the same few hundred callers and models coming back all day, a call costs one look-up and
one sum.
"""

from __future__ import annotations

from typing import Final

import msgspec

from worker.core.attribution import Attribution, attribute
from worker.core.catalogue import Catalogue
from worker.core.codec import intern_value
from worker.core.evidence import Counts, Evidence, EvidenceRank, Facts
from worker.core.job_outputs import NO_MODEL_REASON, TIER_BATCH, doubt
from worker.core.ledger import MS_PER_DAY, Basis, Leaf, Posting, Rated, Route, Status
from worker.core.model_id import Billing, ModelReference, resolve_model
from worker.core.pricing import (
    RESERVED_TIER_REASON,
    TIER_RESERVED,
    TIER_STANDARD,
    Charge,
    RateCard,
    charge,
)
from worker.core.registry import Registry

ROUTES_MAX: Final = 50_000
"""Routes kept at a time; attackers choose session names, so memory needs a bound."""

MS_PER_QUARTER_HOUR: Final = 900_000
"""Every time zone's offset is a multiple of this, so a local day never turns within one."""

TWO_SIDED_KINDS: Final = frozenset({"text"})
"""Kinds of model that always count both input and output."""

SCOPE_KINDS: Final = (
    "principal",
    "identity",
    "agent",
    "team",
    "application",
    "account",
    "model",
    "everything",
)
"""Scopes that a leaf belongs to; each may have a calendar of its own."""


class Terms(msgspec.Struct, frozen=True):
    """How a kind of call is charged: everything but its counts.

    Attributes:
        reference: The resolved model.
        model: Canonical model id, as reported.
        tier: Service tier; `standard` where the evidence names none.
        card: Its rates, or None.
        blocked: Set where no rate can apply: the status of such a call, and why.
        doubt: What is uncertain of every call on these terms, or empty.
    """

    reference: ModelReference
    model: str
    tier: str
    card: RateCard | None
    blocked: tuple[Status, str] | None
    doubt: str = ""


class _Plan(msgspec.Struct, frozen=True):
    """A route together with its terms. Holds on to `facts` so that its id stays taken."""

    facts: Facts
    route: Route
    terms: Terms


class Poster:
    """Works out postings under one catalogue and one registry.

    Args:
        catalogue: Prices by model and time.
        registry: Who is who, by time.
    """

    def __init__(self, catalogue: Catalogue, registry: Registry) -> None:
        """Fix the catalogue and registry for the poster's lifetime."""
        self._catalogue = catalogue
        self._registry = registry
        self._basis_value = Basis(catalogue.revision, registry.revision)
        self._basis = intern_value(self._basis_value)
        self._stretch_ms = MS_PER_QUARTER_HOUR if registry.has_calendars else MS_PER_DAY
        # Stretches within which a price or a registry fact changes are resolved call by call.
        self._volatile = {
            instant // self._stretch_ms
            for instant in (*catalogue.boundaries_ms, *registry.boundaries_ms)
            if instant % self._stretch_ms
        }
        self._plans: dict[tuple[int, int], _Plan] = {}

    @property
    def basis(self) -> Basis:
        """The revisions that postings are worked out under."""
        return self._basis_value

    def rate(self, evidence: Evidence) -> Rated:
        """Price and attribute one call."""
        stretch = evidence.occurred_at_ms // self._stretch_ms
        plan = self._plans.get((id(evidence.facts), stretch))
        if plan is None:
            plan = self._plan(evidence, stretch)
        return rate(plan.route, plan.terms, evidence)

    def post(self, evidence: Evidence) -> Posting:
        """Return the posting of one call."""
        return self.rate(evidence).posting()

    def terms(self, evidence: Evidence) -> Terms:
        """Return how a call is charged, for explanations."""
        return self._terms(evidence.facts, evidence.occurred_at_ms)

    def attribution(self, evidence: Evidence) -> Attribution:
        """Return who made a call and who pays, with the reason where that is in doubt."""
        return attribute(evidence.facts, evidence.occurred_at_ms, self._registry)

    def _plan(self, evidence: Evidence, stretch: int) -> _Plan:
        facts, at_ms = evidence.facts, evidence.occurred_at_ms
        terms = self._terms(facts, at_ms)
        leaf = self._leaf(facts, terms, at_ms)
        route = Route(
            leaf_value=leaf,
            basis_value=self._basis_value,
            facts=intern_value(facts),
            leaf=intern_value(leaf),
            basis=self._basis,
        )
        plan = _Plan(facts=facts, route=route, terms=terms)
        if stretch not in self._volatile:
            if len(self._plans) >= ROUTES_MAX:
                self._plans.clear()
            self._plans[(id(facts), stretch)] = plan
        return plan

    def _terms(self, facts: Facts, at_ms: int) -> Terms:
        reference = resolve_model(facts.model_id, facts.region, self._registry.profile_model)
        tier = facts.service_tier or TIER_STANDARD
        uncertain = doubt(facts) if facts.outputs else ""
        blocked = _blocked(reference, tier, facts)
        if blocked is not None:
            return Terms(reference, reference.model, tier, None, blocked, uncertain)
        model = self._catalogue.canonical(reference.model)
        card = self._catalogue.card(model, reference.routing, reference.region, tier, at_ms)
        if card is None:
            reason = self._catalogue.reason(model) or f"no rate for model {model}"
            blocked = (Status.UNPRICED, reason)
        return Terms(reference, model, tier, card, blocked, uncertain)

    def _leaf(self, facts: Facts, terms: Terms, at_ms: int) -> Leaf:
        who = attribute(facts, at_ms, self._registry)
        leaf = Leaf(
            principal=who.principal,
            identity=who.identity,
            agent=who.agent,
            team=who.team,
            application=who.application,
            account=facts.account,
            model=terms.model,
            day=at_ms // MS_PER_DAY,
        )
        if not self._registry.has_calendars:
            return leaf
        local_days = []
        for kind in SCOPE_KINDS:
            scope = "" if kind == "everything" else getattr(leaf, kind)
            day = self._registry.local_day(kind, scope, at_ms)
            if day != leaf.day:
                local_days.append((kind, day))
        return msgspec.structs.replace(leaf, local_days=tuple(sorted(local_days)))


_NOT_BY_TOKEN: Final = frozenset({Billing.PROVISIONED, Billing.IMPORTED, Billing.CUSTOM_DEPLOYMENT})


def _blocked(reference: ModelReference, tier: str, facts: Facts) -> tuple[Status, str] | None:
    """Say why a kind of call cannot be priced by its counts, if so."""
    if reference.billing in _NOT_BY_TOKEN:
        return Status.UNMETERED, reference.reason
    if reference.billing is not Billing.TOKEN:
        unnamed = tier == TIER_BATCH and not facts.model_id
        return Status.UNPRICED, NO_MODEL_REASON if unnamed else reference.reason
    if tier == TIER_RESERVED:
        return Status.UNMETERED, RESERVED_TIER_REASON
    return None


def rate(route: Route, terms: Terms, evidence: Evidence) -> Rated:
    """Charge one call on given terms; every status of a call is decided here."""
    facts = evidence.facts
    if evidence.rank == EvidenceRank.SIGHTING:
        if facts.error_code:
            return Rated(route, 0, Status.FAILED, f"failed: {facts.error_code}")
        if terms.blocked is not None and terms.blocked[0] is Status.UNMETERED:
            return Rated(route, 0, Status.UNMETERED, terms.blocked[1])
        return Rated(route, 0, Status.UNMETERED, terms.doubt or NO_COUNTS_REASON)
    if terms.blocked is not None or terms.card is None:
        status, reason = terms.blocked or (Status.UNPRICED, f"no rate for model {terms.model}")
        return Rated(route, 0, status, reason)
    counts = evidence.counts
    charged = charge(terms.card, counts)
    if (
        evidence.rank >= EvidenceRank.METERED
        and not evidence.conflicting
        and charged.rated
        and not charged.unrated_units
        and not terms.doubt
        and charged.assumed_reason is None
        and counts.input_tokens is not None
        and counts.output_tokens is not None
        and not counts.cache_write_5m_tokens
        and not counts.cache_read_tokens
    ):
        return Rated(route, charged.cost_pico_usd, Status.PRICED)
    if not charged.rated:
        units = ", ".join(charged.unrated_units)
        return Rated(route, 0, Status.UNPRICED, f"no rate for {units} of {terms.model}")
    reasons = _assumptions(terms.card, charged, evidence)
    if terms.doubt:
        reasons.append(terms.doubt)
    status = Status.ESTIMATED if reasons else Status.PRICED
    return Rated(route, charged.cost_pico_usd, status, "; ".join(reasons))


NO_COUNTS_REASON: Final = "no counts: the call was seen, its usage was not"


def _assumptions(card: RateCard, charged: Charge, evidence: Evidence) -> list[str]:
    """List, for people, everything that a charge takes for granted."""
    counts = evidence.counts
    reasons: list[str] = []
    if evidence.rank == EvidenceRank.PARTIAL:
        reasons.append("counts from CloudTrail alone, which never carry cache use")
    elif evidence.rank == EvidenceRank.REPORTED:
        reasons.append("counts as reported by the application")
    if evidence.conflicting:
        reasons.append("conflicting counts: the larger were taken")
    if card.kind in TWO_SIDED_KINDS:
        if counts.input_tokens is None:
            reasons.append("no input count")
        elif counts.output_tokens is None:
            reasons.append("no output count")
    if counts.cache_write_5m_tokens and not counts.cache_write_ttl_known and card.offers_1h_cache:
        reasons.append("cache writes of unknown time to live, priced at five minutes")
    if _may_include_cached(card, evidence.facts, counts):
        reasons.append("input tokens of this stream may include cached ones")
    if charged.unrated_units:
        reasons.append(f"no rate for {', '.join(charged.unrated_units)}")
    if charged.assumed_reason is not None:
        reasons.append(charged.assumed_reason)
    return reasons


def _may_include_cached(card: RateCard, facts: Facts, counts: Counts) -> bool:
    """Whether the input count of an OpenAI stream looks as if it contained its cached tokens.

    Measured on ConverseStream of `openai.gpt-5.6`: 4,995 input with 4,993 written to the cache,
    where the same request without streaming reported 2 input tokens.
    """
    cached = counts.cache_read_tokens + counts.cache_write_5m_tokens + counts.cache_write_1h_tokens
    return (
        cached > 0
        and (counts.input_tokens or 0) >= cached
        and card.model.startswith("openai.")
        and facts.operation.endswith("Stream")
    )
