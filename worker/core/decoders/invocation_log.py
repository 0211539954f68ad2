"""Model invocation logs: the envelope, which carries the counts that AWS meters.

AWS documentation: "Monitor model invocation using CloudWatch Logs and Amazon S3". The path
through `try_decode` for a record without bodies is the hottest of the project: one typed
msgspec decode that skips everything not named here, and as few Python operations as possible
after it. Bodies stay undecoded slices until `bodies` looks into them.
"""

from typing import Final

import msgspec

from worker.core.decoders import fields
from worker.core.decoders.bodies import Envelope, itemise
from worker.core.decoders.fields import (
    EPOCH,
    MS_PER_MINUTE,
    OCCURRED_AT_MS_MAX,
    OCCURRED_AT_MS_MIN,
    FieldError,
    Instant,
    Quantity,
)
from worker.core.evidence import (
    ASSUMED_ROLE,
    NO_COUNTS,
    Counts,
    Evidence,
    EvidenceRank,
    Facts,
    Observation,
    SourceRank,
    descriptive_rank,
    split_session,
)
from worker.core.evidence import REQUEST_ID_LENGTH_MAX as LENGTH_MAX
from worker.core.memo import remember
from worker.core.results import Ignored, Malformed

SCHEMA_TYPE: Final = "ModelInvocationLog"
INTERNED_FACTS_MAX: Final = 30_000
"""Facts kept for reuse; beyond it the cache starts anew (memory stays bounded)."""

_RANK_SIGHTING: Final = int(EvidenceRank.SIGHTING)
_RANK_METERED: Final = int(EvidenceRank.METERED)
_RANK_ITEMISED: Final = int(EvidenceRank.ITEMISED)
_DESCRIPTIVE: Final = {
    rank: descriptive_rank(SourceRank.LOG, EvidenceRank(rank))
    for rank in (_RANK_SIGHTING, _RANK_METERED, _RANK_ITEMISED)
}
_NO_BODY: Final = msgspec.Raw()


class _Identity(msgspec.Struct, gc=False):
    arn: str | None = None


class _Input(msgspec.Struct, gc=False, rename="camel"):
    input_token_count: Quantity | None = None
    cache_read_input_token_count: Quantity | None = None
    cache_write_input_token_count: Quantity | None = None
    input_body_json: msgspec.Raw = _NO_BODY


class _Output(msgspec.Struct, gc=False, rename="camel"):
    output_token_count: Quantity | None = None
    output_body_json: msgspec.Raw = _NO_BODY
    output_image_width: msgspec.Raw = _NO_BODY
    output_image_height: msgspec.Raw = _NO_BODY
    output_video_duration_seconds: msgspec.Raw = _NO_BODY


class _Record(msgspec.Struct, gc=False, rename="camel"):
    """The fields of one record that are read. All may be absent or null."""

    schema_type: str | None = None
    timestamp: Instant | None = None
    account_id: str | None = None
    region: str | None = None
    inference_region: str | None = None
    request_id: str | None = None
    operation: str | None = None
    model_id: str | None = None
    identity: _Identity | None = None
    request_metadata: msgspec.Raw = _NO_BODY
    error_code: str | None = None
    input: _Input | None = None
    output: _Output | None = None
    # Seen beside `input` and `output` instead of inside them; accepted, not expected.
    input_token_count: Quantity | None = None
    output_token_count: Quantity | None = None
    cache_read_input_token_count: Quantity | None = None
    cache_write_input_token_count: Quantity | None = None


class _Probe(msgspec.Struct, gc=False, rename="camel"):
    """Just enough to tell what a refused record was meant to be."""

    schema_type: msgspec.Raw = _NO_BODY
    model_id: msgspec.Raw = _NO_BODY
    request_id: msgspec.Raw = _NO_BODY
    input: msgspec.Raw = _NO_BODY
    output: msgspec.Raw = _NO_BODY


_decode: Final = msgspec.json.Decoder(_Record).decode
_PROBE: Final = msgspec.json.Decoder(_Probe)
_NOTHING_IN: Final = _Input()
_NOTHING_OUT: Final = _Output()


_FactsKey = tuple[object, ...]


class InvocationLogDecoder:
    """Turns records of model invocation logs into observations.

    Pure but for caches: records of the same caller, model and place share one `Facts` object,
    so that whatever is worked out from it (price card, payer) is found by its identity.
    """

    __slots__ = ("_facts", "_facts_detailed")

    def __init__(self) -> None:
        self._facts: dict[_FactsKey, Facts] = {}
        # Apart, because metadata can differ in every record and would empty the cache above.
        self._facts_detailed: dict[_FactsKey, Facts] = {}

    def try_decode(self, raw: bytes | msgspec.Raw) -> Observation | Ignored | Malformed | None:
        """Return what a record says, or None if it is no model invocation log at all.

        Args:
            raw: One JSON value. Any bytes are safe.

        Returns:
            An observation; `Malformed` if it is a log with a field that cannot be accepted;
            None if it is not JSON or has another structure.
        """
        try:
            record = _decode(raw)
        except msgspec.ValidationError as error:
            return _refused(raw, str(error))
        except RecursionError:
            return self._try_decode_shallow(bytes(raw))
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        if record.schema_type != SCHEMA_TYPE and not _resembles_log(record):
            return None
        try:
            rank, counts, service_tier = _count(record)
            identity = record.identity
            arn, session = identity.arn if identity else None, ""
            if arn and ASSUMED_ROLE in arn:
                fields.checked_name(arn, fields.IDENTITY_LENGTH_MAX, "$.identity.arn")
                arn, session = split_session(arn)
            facts_key = (
                record.account_id,
                record.region,
                record.model_id,
                record.operation,
                arn,
                record.inference_region,
                rank,
            )
            if service_tier or record.request_metadata or record.error_code:
                facts = self._detailed_facts(record, arn, rank, service_tier, facts_key)
            else:
                known = self._facts.get(facts_key)
                if known is None:
                    known = _facts_of(record, arn, rank)
                    remember(self._facts, facts_key, known, INTERNED_FACTS_MAX)
                facts = known
            # Written out rather than called: next to half a microsecond for the typed decode,
            # every function call shows.
            request_id = record.request_id
            if not request_id or len(request_id) > LENGTH_MAX or not request_id.isprintable():
                request_id = fields.checked_request_id(request_id, "$.requestId")
            timestamp = record.timestamp or fields.no_time("$.timestamp")
            since = timestamp - EPOCH
            time_ms = since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
            if not time_ms % MS_PER_MINUTE or not (
                OCCURRED_AT_MS_MIN <= time_ms < OCCURRED_AT_MS_MAX
            ):
                time_ms = fields.epoch_ms(timestamp, "$.timestamp", raw)
        except FieldError as error:
            return fields.malformed(raw, error.path, error.expected, error.found)
        described = facts.model_id_rank
        evidence = Evidence(
            facts,
            time_ms,
            described,
            rank,
            counts,
            session=session,
            session_rank=described if session else 0,
        )
        return Observation(f"aws/{facts.account}/{request_id}", evidence)

    def _try_decode_shallow(self, raw: bytes) -> Observation | Ignored | Malformed | None:
        """Decode a record whose bodies are nested too deeply, without their depths."""
        shallow = fields.without_deep_values(raw)
        if len(shallow) >= len(raw):
            return None
        outcome = self.try_decode(shallow)
        if isinstance(outcome, Malformed):
            return fields.malformed(raw, outcome.path, outcome.expected, outcome.found)
        return outcome

    def _detailed_facts(
        self,
        record: _Record,
        arn: str | None,
        rank: int,
        service_tier: str,
        base_key: _FactsKey,
    ) -> Facts:
        metadata = fields.read_metadata(record.request_metadata)
        facts_key = (*base_key, service_tier, record.error_code, metadata)
        known = self._facts_detailed.get(facts_key)
        if known is None:
            known = _facts_of(record, arn, rank, service_tier, metadata)
            remember(self._facts_detailed, facts_key, known, INTERNED_FACTS_MAX)
        return known


def _resembles_log(record: _Record) -> bool:
    """Whether a record without a schema type has the parts of an invocation log."""
    return bool(
        not record.schema_type
        and record.model_id
        and record.request_id
        and (record.input is not None or record.output is not None)
    )


def _count(record: _Record) -> tuple[int, Counts, str]:
    """Return the evidence rank, the counts, and the service tier if the output body names one."""
    source = record.input or _NOTHING_IN
    result = record.output or _NOTHING_OUT
    input_tokens = source.input_token_count
    output_tokens = result.output_token_count
    cache_read = source.cache_read_input_token_count
    cache_write = source.cache_write_input_token_count
    if input_tokens is None:
        input_tokens = record.input_token_count
    if output_tokens is None:
        output_tokens = record.output_token_count
    if cache_read is None:
        cache_read = record.cache_read_input_token_count
    if cache_write is None:
        cache_write = record.cache_write_input_token_count
    if result.output_body_json or source.input_body_json or result.output_video_duration_seconds:
        envelope = Envelope(
            model_id=record.model_id or "",
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            cache_read_tokens=cache_read,
            cache_write_tokens=cache_write,
            image_width=result.output_image_width,
            image_height=result.output_image_height,
            video_duration_seconds=result.output_video_duration_seconds,
            failed=bool(record.error_code),
        )
        itemised = itemise(envelope, source.input_body_json, result.output_body_json)
        if itemised is not None:
            counted = itemised.counts != NO_COUNTS
            rank = _RANK_ITEMISED if counted else _RANK_SIGHTING
            return rank, itemised.counts, itemised.service_tier
    if input_tokens is None and output_tokens is None and not cache_read and not cache_write:
        return _RANK_SIGHTING, NO_COUNTS, ""
    return _RANK_METERED, Counts(input_tokens, output_tokens, cache_read or 0, cache_write or 0), ""


def _facts_of(
    record: _Record,
    arn: str | None,
    rank: int,
    service_tier: str = "",
    metadata: tuple[tuple[str, str], ...] = (),
) -> Facts:
    """Check the descriptive fields and return them with their ranks.

    Raises:
        FieldError: A field that decides key, price or payer cannot be accepted.
    """
    described = _DESCRIPTIVE[rank]
    region = fields.checked_name(record.region, fields.REGION_LENGTH_MAX, "$.region")
    model_id = fields.required_name(
        record.model_id, fields.MODEL_ID_LENGTH_MAX, "$.modelId", "a model id"
    )
    operation = fields.checked_name(record.operation, fields.NAME_LENGTH_MAX, "$.operation")
    identity_arn = fields.checked_name(arn, fields.IDENTITY_LENGTH_MAX, "$.identity.arn")
    inference_region = fields.cut(record.inference_region, fields.REGION_LENGTH_MAX)
    error_code = fields.cut(record.error_code)
    return Facts(
        account=fields.checked_account(record.account_id, "$.accountId"),
        region=region,
        region_rank=described if region else 0,
        model_id=model_id,
        model_id_rank=described,
        operation=operation,
        operation_rank=described if operation else 0,
        identity_arn=identity_arn,
        identity_arn_rank=described if identity_arn else 0,
        service_tier=service_tier,
        service_tier_rank=described if service_tier else 0,
        error_code=error_code,
        error_code_rank=described if error_code else 0,
        inference_region=inference_region,
        inference_region_rank=described if inference_region else 0,
        metadata=metadata,
        metadata_rank=described if metadata else 0,
    )


def _refused(raw: bytes | msgspec.Raw, message: str) -> Malformed | None:
    """Say why a record was refused, or None if it was never meant to be an invocation log."""
    try:
        probe = _PROBE.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    schema_type = bytes(probe.schema_type)
    if schema_type not in {b"", b"null"}:
        if schema_type != b'"ModelInvocationLog"':
            return None
    elif not (probe.model_id and probe.request_id and (probe.input or probe.output)):
        return None
    error = fields.field_error(raw, message)
    return fields.malformed(raw, error.path, error.expected, error.found)
