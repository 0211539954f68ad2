"""From merged evidence to a posting: resolve the model, price it, attribute it.

A posting is a pure function of the evidence, the catalogue and the registry (promise 3). All
that does not depend on counts is worked out once for each (facts, stretch of time) and kept:
with the same few hundred callers and models coming back all day, a call costs one look-up and
one sum.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Final

import msgspec

from worker.core.attribution import Attribution, attribute, session_decides
from worker.core.catalogue import Catalogue
from worker.core.codec import intern_value
from worker.core.evidence import QUANTITY_MAX, Counts, Evidence, EvidenceRank, Facts
from worker.core.job_outputs import NO_MODEL_REASON, TIER_BATCH, doubt
from worker.core.ledger import MS_PER_DAY, Basis, Interned, Leaf, Posting, Rated, Route, Status
from worker.core.memo import remember
from worker.core.model_id import (
    Billing,
    ModelReference,
    resolve_model,
)
from worker.core.money import ATTO_PER_PICO
from worker.core.pricing import (
    RESERVED_TIER_REASON,
    TIER_RESERVED,
    TIER_STANDARD,
    Charge,
    RateCard,
    charge,
)
from worker.core.registry import Registry

PLANS_MAX: Final = 30_000
"""Plans kept at a time, by facts and stretch of time."""

TERMS_MAX: Final = 5_000
PAYERS_MAX: Final = 20_000
LEAVES_MAX: Final = 30_000
"""Further bounds of what is remembered; callers choose session names and model ids."""

_METERED: Final = int(EvidenceRank.METERED)
_PRICED: Final = Status.PRICED

MS_PER_QUARTER_HOUR: Final = 900_000
"""Every time zone's offset is a multiple of this, so a local day never turns within one."""

TWO_SIDED_KINDS: Final = frozenset({"text"})
"""Kinds of model that always count both input and output."""

SCOPE_KINDS: Final = (
    "principal",
    "identity",
    "agent",
    "team",
    "pool",
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


class _FlatRates(msgspec.Struct, frozen=True, gc=False):
    """Rates of the plainest calls: no cache writes, no units, no long context.

    Pico-USD per token; whole, so that nothing needs rounding. `cache_read` is None where the
    card has no such rate or where cached tokens need a second look.
    """

    input: int
    output: int
    cache_read: int | None
    prompt_tokens_max: int


class _Plan(msgspec.Struct, frozen=True, gc=False):
    """A route together with its terms. Holds on to `facts` so that its id stays taken."""

    facts: Facts
    route: Route
    terms: Terms
    flat: _FlatRates | None
    by_session: bool


class Poster:
    """Works out postings under one catalogue and one registry.

    What a call costs per token depends on few of its facts, and who pays on few others, so
    each is remembered by exactly what it depends on, and the two together by the identity of
    the facts object, which decoders share between calls.

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
        self._boundaries = sorted({*catalogue.boundaries_ms, *registry.boundaries_ms})
        # Stretches of time within which a price or a fact of the registry changes.
        self._volatile = {
            instant // self._stretch_ms
            for instant in self._boundaries
            if instant % self._stretch_ms
        }
        self._plans: dict[tuple[int, int, int, str], _Plan] = {}
        self._terms_known: dict[tuple[str, str, str, int], Terms] = {}
        self._payers: dict[tuple[object, ...], Attribution] = {}
        self._same_payer: dict[Attribution, Attribution] = {}
        self._leaves: dict[tuple[object, ...], tuple[Attribution, Leaf, Interned]] = {}
        self._facts: dict[int, tuple[Facts, Interned]] = {}

    @property
    def catalogue(self) -> Catalogue:
        """The prices that postings are worked out with."""
        return self._catalogue

    @property
    def registry(self) -> Registry:
        """The registry that postings are worked out with."""
        return self._registry

    @property
    def basis(self) -> Basis:
        """The revisions that postings are worked out under."""
        return self._basis_value

    def rate(self, evidence: Evidence) -> Rated:
        """Price and attribute one call."""
        at_ms = evidence.occurred_at_ms
        stretch = at_ms // self._stretch_ms
        epoch = self._epoch(at_ms) if stretch in self._volatile else 0
        plan = self._plans.get((id(evidence.facts), stretch, epoch, ""))
        if plan is None:
            plan = self._plan(evidence.facts, evidence.facts, at_ms)
            remember(self._plans, (id(evidence.facts), stretch, epoch, ""), plan, PLANS_MAX)
        if plan.by_session and evidence.session:
            key = (id(evidence.facts), stretch, epoch, evidence.session)
            plan = self._plans.get(key) or remember(
                self._plans,
                key,
                self._plan(evidence.facts, evidence.facts_with_session(), at_ms),
                PLANS_MAX,
            )
        flat = plan.flat
        if flat is not None and evidence.rank >= _METERED and not evidence.conflicting:
            counts = evidence.counts
            tokens_in, tokens_out = counts.input_tokens, counts.output_tokens
            cached = counts.cache_read_tokens
            if (
                tokens_in is not None
                and tokens_out is not None
                and not counts.cache_write_5m_tokens
                and not counts.cache_write_1h_tokens
                and not counts.units
                and tokens_in + cached <= flat.prompt_tokens_max
            ):
                cost = tokens_in * flat.input + tokens_out * flat.output
                if not cached:
                    return Rated(plan.route, cost, _PRICED)
                if flat.cache_read is not None:
                    return Rated(plan.route, cost + cached * flat.cache_read, _PRICED)
        return rate(plan.route, plan.terms, evidence)

    def _epoch(self, at_ms: int) -> int:
        """Number the stretches between all changes of prices and registry."""
        return bisect_right(self._boundaries, at_ms)

    def post(self, evidence: Evidence) -> Posting:
        """Return the posting of one call."""
        return self.rate(evidence).posting()

    def terms(self, evidence: Evidence) -> Terms:
        """Return how a call is charged, for explanations."""
        return self._terms(evidence.facts, evidence.occurred_at_ms)

    def attribution(self, evidence: Evidence) -> Attribution:
        """Return who made a call and who pays, with the reason where that is in doubt."""
        return attribute(evidence.facts_with_session(), evidence.occurred_at_ms, self._registry)

    def _plan(self, facts: Facts, caller: Facts, at_ms: int) -> _Plan:
        """Plan for some facts; `caller` is the same, with the session name if that decides."""
        terms = self._terms(facts, at_ms)
        leaf, leaf_interned = self._leaf(caller, terms, at_ms)
        interned = self._facts.get(id(facts))
        if interned is None:
            interned = (facts, intern_value(facts))
            remember(self._facts, id(facts), interned, PLANS_MAX)
        route = Route(
            leaf_value=leaf,
            basis_value=self._basis_value,
            facts=interned[1],
            leaf=leaf_interned,
            basis=self._basis,
        )
        return _Plan(
            facts=facts,
            route=route,
            terms=terms,
            flat=_flat_rates(terms),
            by_session=session_decides(facts, at_ms, self._registry),
        )

    def _terms(self, facts: Facts, at_ms: int) -> Terms:
        key = (facts.model_id, facts.region, facts.service_tier, self._epoch(at_ms))
        known = self._terms_known.get(key)
        if known is not None and not facts.outputs:
            return known
        reference = resolve_model(facts.model_id, facts.region, self._registry.profile_model)
        tier = facts.service_tier or TIER_STANDARD
        blocked = _blocked(reference, tier, facts)
        model, card = reference.model, None
        if blocked is None:
            model = self._catalogue.canonical(reference.model)
            card = self._catalogue.card(model, reference.routing, reference.region, tier, at_ms)
            if card is None:
                reason = self._catalogue.reason(model) or f"no rate for model {model}"
                blocked = (Status.UNPRICED, reason)
        if facts.outputs:
            # What a batch job's outputs say is its own; no other call shares these terms.
            return Terms(reference, model, tier, card, blocked, doubt(facts))
        terms = Terms(reference, model, tier, card, blocked)
        return remember(self._terms_known, key, terms, TERMS_MAX)

    def _payer(self, facts: Facts, at_ms: int) -> Attribution:
        """Attribute, or remember; everything that `attribute` looks at is in the key."""
        key = (
            facts.identity_arn,
            facts.account,
            facts.model_id if "application-inference-profile" in facts.model_id else "",
            facts.metadata,
            facts.identity_type,
            facts.principal_id,
            facts.issuer_arn,
            facts.on_behalf_of,
            facts.invoked_by,
            self._epoch(at_ms),
        )
        known = self._payers.get(key)
        if known is not None:
            return known
        who = attribute(facts, at_ms, self._registry)
        # Thousands of sessions of one role are one payer: let them share the object.
        who = self._same_payer.get(who) or remember(self._same_payer, who, who, PAYERS_MAX)
        return remember(self._payers, key, who, PAYERS_MAX)

    def _leaf(self, facts: Facts, terms: Terms, at_ms: int) -> tuple[Leaf, Interned]:
        who = self._payer(facts, at_ms)
        day = at_ms // MS_PER_DAY
        # One payer is one object (see `_payer`), which the value keeps alive: ids tell them apart.
        key = (id(who), facts.account, terms.model, day, at_ms // self._stretch_ms)
        known = self._leaves.get(key)
        if known is not None:
            return known[1:]
        leaf = Leaf(
            principal=who.principal,
            identity=who.identity,
            agent=who.agent,
            team=who.team,
            application=who.application,
            account=facts.account,
            model=terms.model,
            day=day,
            pool=who.pool,
        )
        if self._registry.has_calendars:
            leaf = msgspec.structs.replace(leaf, local_days=self._local_days(leaf, at_ms))
        return remember(self._leaves, key, (who, leaf, intern_value(leaf)), LEAVES_MAX)[1:]

    def _local_days(self, leaf: Leaf, at_ms: int) -> tuple[tuple[str, int], ...]:
        local_days = []
        for kind in SCOPE_KINDS:
            scope = "" if kind == "everything" else getattr(leaf, kind)
            day = self._registry.local_day(kind, scope, at_ms)
            if day != leaf.day:
                local_days.append((kind, day))
        return tuple(sorted(local_days))


def _flat_rates(terms: Terms) -> _FlatRates | None:
    """Return the rates of the plainest calls, if whole pico-USD say them exactly."""
    card = terms.card
    if terms.blocked is not None or card is None or card.assumes or terms.doubt:
        return None
    rate_in, rate_out, rate_read = card.tokens[:3]
    if rate_in is None or rate_out is None or rate_in % ATTO_PER_PICO or rate_out % ATTO_PER_PICO:
        return None
    second_look = rate_read is None or rate_read % ATTO_PER_PICO or _counts_may_overlap(card)
    return _FlatRates(
        input=rate_in // ATTO_PER_PICO,
        output=rate_out // ATTO_PER_PICO,
        cache_read=None if rate_read is None or second_look else rate_read // ATTO_PER_PICO,
        prompt_tokens_max=card.long_context[0][0] if card.long_context else QUANTITY_MAX * 2,
    )


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


def _counts_may_overlap(card: RateCard) -> bool:
    """Whether a model's streams have been seen to count cached tokens as input too."""
    return card.model.startswith("openai.")


def _may_include_cached(card: RateCard, facts: Facts, counts: Counts) -> bool:
    """Whether the input count of an OpenAI stream looks as if it contained its cached tokens.

    Measured on ConverseStream of `openai.gpt-5.6`: 4,995 input with 4,993 written to the cache,
    where the same request without streaming reported 2 input tokens.
    """
    cached = counts.cache_read_tokens + counts.cache_write_5m_tokens + counts.cache_write_1h_tokens
    return (
        cached > 0
        and (counts.input_tokens or 0) >= cached
        and _counts_may_overlap(card)
        and facts.operation.endswith("Stream")
    )
