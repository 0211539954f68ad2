"""What is known of a call: observations, and how they merge into one body of evidence.

Several records describe one call: an invocation log (all counts), a CloudTrail API event
(who called, perhaps some tokens), a stream-completion event (tokens, keyed by the parent
request), a twin with no counts at all. Each becomes an `Evidence`; `merge` joins any number
of them, in any order and with any repetition, into the same value. It is a product of small
lattices: every field is kept from the best-ranked record that has it, ties are settled by a
canonical order of the values, and `conflicting` remembers that equally ranked records
disagreed on counts.

Nothing here prices or attributes; that is done from merged evidence alone, so that balances
cannot depend on the order in which records arrived.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

QUANTITY_MAX: Final = 10**12
"""Largest believable count of one unit in one call; decoders quarantine what exceeds it."""

REQUEST_ID_LENGTH_MAX: Final = 128
"""Longest request id that is accepted; AWS sends UUIDs of 36 characters."""


UNKNOWN_ACCOUNT: Final = "-"
"""Stands for an account that the evidence does not name. Sorts before every account id."""

OUTPUTS_MAX: Final = 256
"""Most output objects of one batch job that are kept; the first by name if there are more."""


class EvidenceRank(IntEnum):
    """How much a record proves about the *counts* of a call; more is better."""

    SIGHTING = 0
    """The call was seen, without counts."""
    REPORTED = 1
    """An application's own word."""
    PARTIAL = 2
    """CloudTrail tokens: input and output, never cache counts."""
    METERED = 3
    """Invocation-log counts."""
    ITEMISED = 4
    """Invocation-log counts with detail from the bodies (cache TTL split, images, tier)."""


class SourceRank(IntEnum):
    """Whose word counts for descriptive fields (time, Region, model, ...); more is better."""

    REPORT = 0
    """An application reporting through the API."""
    COMPLETION = 1
    """CloudTrail stream-completion service event: no request parameters."""
    API_EVENT = 2
    """CloudTrail API event."""
    LOG = 3
    """Model invocation log."""


RANKS_PER_SOURCE: Final = 8


def descriptive_rank(source: SourceRank, evidence: EvidenceRank) -> int:
    """Rank of a record's descriptive fields: its source first, then how much it proves.

    Always at least 1 when `source` is not `REPORT`; 0 is reserved for "field absent".
    """
    return source * RANKS_PER_SOURCE + evidence + 1


class Counts(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Disjoint quantities of one call.

    Token counts never overlap: `input_tokens` excludes everything read from or written to
    the prompt cache (AWS documentation: "Prompt caching for faster model inference").
    `None` means that the record did not carry the count, which is not the same as zero.

    Attributes:
        input_tokens: Non-cached input tokens, or None if absent.
        output_tokens: Output tokens, or None if absent.
        cache_read_tokens: Tokens read from the cache.
        cache_write_5m_tokens: Tokens written with five minutes to live, and those whose time
            to live is unknown (`cache_write_ttl_known` is then False).
        cache_write_1h_tokens: Tokens written with one hour to live.
        cache_write_ttl_known: Whether the split of the two writes was reported.
        units: Other quantities, sorted by unit, e.g. `(("images/1024x1024/standard", 2),)`.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_ttl_known: bool = False
    units: tuple[tuple[str, int], ...] = ()


NO_COUNTS: Final = Counts()


class OutputSums(NamedTuple):
    """What one output object of a batch inference job adds up to.

    Attributes:
        records: Lines, or records processed by the job if this is its manifest.
        errors: Those of them that failed.
        uncounted: Those of them that name no token counts.
        input_tokens: Sum over the others.
        output_tokens: Sum over the others.
    """

    records: int
    errors: int
    uncounted: int
    input_tokens: int
    output_tokens: int


class Facts(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The descriptive side of the evidence: who called what, where. Shared by many calls.

    Every ranked field `x` has `x_rank`, 0 when absent. The fields below `metadata` are only
    ever known from CloudTrail; empty means unknown. Those from `identity_type` to `invoked_by`
    describe one caller: they come from one record, that of `caller_rank`, and never mix.

    Attributes:
        account: The account of the call: part of its key, but of a batch job's, so nearly
            always equal when merging.
        region: The calling Region, which sets the price.
        model_id: The model id or ARN as received.
        operation: `InvokeModel`, `Converse`, ...
        identity_arn: The signed caller's ARN; without the session name, which stands in the
            evidence, so that a role's thousands of sessions share their facts.
        service_tier: `standard`, `priority`, `flex`, `batch`, `reserved`; empty if unknown.
        error_code: AWS error code; empty when the call did not fail.
        inference_region: Where the model ran, if elsewhere. Informs, never prices.
        metadata: The caller's `requestMetadata`, sorted by key. Untrusted.
        identity_type: CloudTrail `userIdentity.type`.
        principal_id: CloudTrail unique id (`AIDA...`, `AROA...`), without the session name.
        issuer_arn: Full ARN (with path) of the role behind a session.
        source_identity: `sts:SourceIdentity` of the session.
        on_behalf_of: Identity Center user id.
        invoked_by: AWS service that made the call.
        credential: `bearer` if the call was made with a Bedrock API key.
        outputs: Of a batch inference job, the sums of its output objects, sorted by name (see
            `worker.core.job_outputs`).
        caller_rank: Rank of the record that describes the caller, 0 if none does.
    """

    account: str
    region: str = ""
    region_rank: int = 0
    model_id: str = ""
    model_id_rank: int = 0
    operation: str = ""
    operation_rank: int = 0
    identity_arn: str = ""
    identity_arn_rank: int = 0
    service_tier: str = ""
    service_tier_rank: int = 0
    error_code: str = ""
    error_code_rank: int = 0
    inference_region: str = ""
    inference_region_rank: int = 0
    metadata: tuple[tuple[str, str], ...] = ()
    metadata_rank: int = 0
    identity_type: str = ""
    principal_id: str = ""
    issuer_arn: str = ""
    source_identity: str = ""
    on_behalf_of: str = ""
    invoked_by: str = ""
    credential: str = ""
    outputs: tuple[tuple[str, OutputSums], ...] = ()
    caller_rank: int = 0


class Evidence(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Everything known of one call. Merging two of them is associative and commutative.

    Attributes:
        facts: Descriptive fields.
        occurred_at_ms: Event time, epoch milliseconds UTC.
        occurred_at_rank: Rank of the record that the time came from; 0 if no record had one.
        rank: How much is proven about the counts (an `EvidenceRank`).
        counts: The best-ranked counts.
        conflicting: Records of that same rank disagreed; the larger counts were kept. Counts
            of nothing disagree with none: they give way, as no counts at all would.
        session: The name of the role's session that made the call, or empty. Caller's words.
        session_rank: Rank of the record that the session came from, 0 if there is none.
    """

    facts: Facts
    occurred_at_ms: int
    occurred_at_rank: int
    rank: int
    counts: Counts = NO_COUNTS
    conflicting: bool = False
    session: str = ""
    session_rank: int = 0

    def facts_with_session(self) -> Facts:
        """Return the facts with the caller's ARN as it was received."""
        if not self.session:
            return self.facts
        arn = f"{self.facts.identity_arn}/{self.session}"
        return msgspec.structs.replace(self.facts, identity_arn=arn)


class Observation(msgspec.Struct, frozen=True, gc=False):
    """What one record says of one call.

    Attributes:
        key: The call's key, see `call_key`.
        evidence: What the record proves.
    """

    key: str
    evidence: Evidence


class CallKey(NamedTuple):
    """The parts of a call's key."""

    namespace: str
    account: str
    request_id: str


def call_key(namespace: str, account: str, request_id: str) -> str:
    """Return the key of a call: `aws/111122223333/<request id>`.

    Args:
        namespace: `aws`, `batch` (the request id is then the last segment of the job's ARN:
            its manifest knows no more) or `api`.
        account: The calling account; never contains a slash. `UNKNOWN_ACCOUNT` for batch jobs,
            which are known by their id alone.
        request_id: What AWS calls `requestId` in logs and `requestID` in CloudTrail.
    """
    return f"{namespace}/{account}/{request_id}"


def split_call_key(key: str) -> CallKey:
    """Undo `call_key`."""
    namespace, account, request_id = key.split("/", 2)
    return CallKey(namespace, account, request_id)


ASSUMED_ROLE: Final = ":assumed-role/"


def split_session(arn: str) -> tuple[str, str]:
    """Split a caller's ARN into what names the role and the session's name.

    `arn:aws:sts::111122223333:assumed-role/Gateway/run-1` becomes the ARN up to `Gateway`, and
    `run-1`; the ARN of anybody else has no session. AWS allows no slash in either name;
    whatever follows the first one is the session's.
    """
    role_at = arn.find(ASSUMED_ROLE)
    cut = -1 if role_at < 0 else arn.find("/", role_at + len(ASSUMED_ROLE))
    if cut < 0:
        return arn, ""
    return arn[:cut], arn[cut + 1 :]


_RANKED_FIELDS: Final = (
    "region",
    "model_id",
    "operation",
    "identity_arn",
    "service_tier",
    "error_code",
    "inference_region",
    "metadata",
)
_CALLER_FIELDS: Final = (
    "caller_rank",
    "identity_type",
    "principal_id",
    "issuer_arn",
    "source_identity",
    "on_behalf_of",
    "invoked_by",
)
"""Merged as one value, their rank first: half of one record's caller and half of another's, such
as the service that reports the end of a stream, would be a caller who never was."""


def merge(left: Evidence, right: Evidence) -> Evidence:
    """Join two bodies of evidence of the same call.

    Commutative, associative and idempotent; `left` itself is returned when `right` adds
    nothing, so `merge(a, b) is a` tells a duplicate.
    """
    if left == right:
        return left
    facts = merge_facts(left.facts, right.facts)
    rank, counts, conflicting = _merge_counts(left, right)
    occurred_at_rank, occurred_at_ms = _better_time(left, right)
    session_rank, session = max(
        (left.session_rank, left.session), (right.session_rank, right.session)
    )
    merged = Evidence(
        facts=facts,
        occurred_at_ms=occurred_at_ms,
        occurred_at_rank=occurred_at_rank,
        rank=rank,
        counts=counts,
        conflicting=conflicting,
        session=session,
        session_rank=session_rank,
    )
    return left if merged == left else merged


def merge_facts(left: Facts, right: Facts) -> Facts:
    """Join descriptive fields: higher rank wins, then the greater value.

    Fields are joined one by one, but for those that describe the caller, which stay together.
    """
    if left is right or left == right:
        return left
    changes: dict[str, object] = {}
    for name in _RANKED_FIELDS:
        mine = (getattr(left, f"{name}_rank"), getattr(left, name))
        theirs = (getattr(right, f"{name}_rank"), getattr(right, name))
        if theirs > mine:
            changes[f"{name}_rank"], changes[name] = theirs
    my_caller = tuple(getattr(left, name) for name in _CALLER_FIELDS)
    their_caller = tuple(getattr(right, name) for name in _CALLER_FIELDS)
    if their_caller > my_caller:
        changes.update(zip(_CALLER_FIELDS, their_caller, strict=True))
    if right.credential > left.credential:
        changes["credential"] = right.credential
    # Keys of one call share the account, but for batch jobs; the merge is total regardless.
    if right.account > left.account:
        changes["account"] = right.account
    if right.outputs and right.outputs != left.outputs:
        changes["outputs"] = _merge_outputs(left.outputs, right.outputs)
    return msgspec.structs.replace(left, **changes) if changes else left


def _merge_outputs(
    left: tuple[tuple[str, OutputSums], ...], right: tuple[tuple[str, OutputSums], ...]
) -> tuple[tuple[str, OutputSums], ...]:
    """Join by name, the greater sums of each; the first `OUTPUTS_MAX` names are kept."""
    joined = dict(left)
    for name, sums in right:
        joined[name] = max(sums, joined.get(name, sums))
    return tuple(sorted(joined.items())[:OUTPUTS_MAX])


def _merge_counts(left: Evidence, right: Evidence) -> tuple[int, Counts, bool]:
    if left.rank != right.rank:
        best = left if left.rank > right.rank else right
        return best.rank, best.counts, best.conflicting
    if left.counts == right.counts:
        return left.rank, left.counts, left.conflicting or right.conflicting
    larger = max(left.counts, right.counts, key=counts_order)
    # True if two different counts of something met, in whatever order all were merged: what is
    # kept on either side is the largest, hence a count of something if there was one.
    disagree = has_quantity(left.counts) and has_quantity(right.counts)
    return left.rank, larger, disagree or left.conflicting or right.conflicting


def has_quantity(counts: Counts) -> bool:
    """Whether anything at all was counted, as opposed to zeros and absent counts."""
    return bool(
        counts.input_tokens
        or counts.output_tokens
        or counts.cache_read_tokens
        or counts.cache_write_5m_tokens
        or counts.cache_write_1h_tokens
        or any(quantity for _unit, quantity in counts.units)
    )


def counts_order(counts: Counts) -> tuple[object, ...]:
    """Sort key that decides between different counts of one rank: the larger wins.

    Something is more than nothing; then ordered by output, input, one-hour writes, five-minute
    writes, reads, then the rest, so that any two different values compare unequal (a total order
    keeps the merge commutative).
    """
    return (
        has_quantity(counts),
        -1 if counts.output_tokens is None else counts.output_tokens,
        -1 if counts.input_tokens is None else counts.input_tokens,
        counts.cache_write_1h_tokens,
        counts.cache_write_5m_tokens,
        counts.cache_read_tokens,
        counts.units,
        counts.cache_write_ttl_known,
    )


def _better_time(left: Evidence, right: Evidence) -> tuple[int, int]:
    """Return (rank, time): the better-ranked record's time, the earlier one between equals."""
    if left.occurred_at_rank != right.occurred_at_rank:
        best = left if left.occurred_at_rank > right.occurred_at_rank else right
        return best.occurred_at_rank, best.occurred_at_ms
    return left.occurred_at_rank, min(left.occurred_at_ms, right.occurred_at_ms)
