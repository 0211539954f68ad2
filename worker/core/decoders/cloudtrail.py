"""CloudTrail events of the Bedrock runtime: who called, and sometimes how many tokens.

AWS documentation: "Monitor Amazon Bedrock API calls using CloudTrail" and "CloudTrail
userIdentity element". Two kinds of events describe a call. The *API event* knows the caller
and the model, and of calls that do not stream perhaps the tokens. The *completion event*
(`AwsServiceEvent`) follows a stream, names the call by `parentRequestId` and has its tokens.
Neither has cache counts, so both rank below an invocation log.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from worker.core.decoders import fields
from worker.core.decoders.agent_events import decode_agent_event, is_agent_event
from worker.core.decoders.fields import FieldError, Instant
from worker.core.decoders.iam_events import IAM_EVENTS, IAM_SOURCE, decode_iam_event
from worker.core.decoders.profiles import CREATE_PROFILE, decode_profile
from worker.core.evidence import (
    NO_COUNTS,
    QUANTITY_MAX,
    Counts,
    Evidence,
    EvidenceRank,
    Facts,
    Observation,
    SourceRank,
    call_key,
    descriptive_rank,
    split_session,
)
from worker.core.job_outputs import CREATE_JOB, TIER_BATCH, job_key, parse_job_arn
from worker.core.memo import remember
from worker.core.results import Ignored, LifecycleSeen, Malformed, ProfileSeen

RUNTIME_SOURCE: Final = "bedrock.amazonaws.com"
RUNTIME_EVENTS: Final = frozenset(
    {
        "InvokeModel",
        "InvokeModelWithResponseStream",
        "Converse",
        "ConverseStream",
        "InvokeModelWithBidirectionalStream",
        "StartAsyncInvoke",
    }
)
MANTLE_SOURCE: Final = "bedrock-mantle.amazonaws.com"
MANTLE_EVENT: Final = "CreateInference"
SERVICE_EVENT: Final = "AwsServiceEvent"
MODEL_RESOURCE: Final = "AWS::Bedrock::Model"
BEARER: Final = "bearer"
INTERNED_FACTS_MAX: Final = 30_000
DIGITS_MAX: Final = 18
"""Longest numeric text that is read as a count."""

_ABSENT: Final = msgspec.Raw()
_SESSION_IDENTITIES: Final = frozenset({"AssumedRole", "FederatedUser"})

_Count = int | str | None
_Flag = bool | str | None


class _Header(msgspec.Struct, gc=False, rename="camel"):
    event_source: str | None = None
    event_name: str | None = None
    event_type: str | None = None
    event_category: str | None = None


class _Issuer(msgspec.Struct, gc=False, rename="camel"):
    arn: str | None = None
    type: str | None = None


class _Session(msgspec.Struct, gc=False, rename="camel"):
    session_issuer: _Issuer | None = None
    source_identity: str | None = None


class _OnBehalfOf(msgspec.Struct, gc=False, rename="camel"):
    user_id: str | None = None


class _Identity(msgspec.Struct, gc=False, rename="camel"):
    type: str | None = None
    principal_id: str | None = None
    arn: str | None = None
    invoked_by: str | None = None
    session_context: _Session | None = None
    on_behalf_of: _OnBehalfOf | None = None


class _Request(msgspec.Struct, gc=False):
    """`requestParameters` of both services."""

    model_id: str | None = msgspec.field(name="modelId", default=None)
    model: str | None = None
    service_tier: str | None = None
    metadata: msgspec.Raw = _ABSENT
    call_with_bearer_token: _Flag = msgspec.field(name="callWithBearerToken", default=None)


class _Additional(msgspec.Struct, gc=False, rename="camel"):
    """`additionalEventData`, and what completion events nest in its like."""

    input_tokens: _Count = None
    output_tokens: _Count = None
    inference_region: str | None = None
    call_with_bearer_token: _Flag = None
    additional_entries: msgspec.Raw = _ABSENT


class _Details(msgspec.Struct, gc=False):
    """`serviceEventDetails`; AWS writes `AdditionalEventData` with a capital letter here."""

    parent_request_id: str | None = msgspec.field(name="parentRequestId", default=None)
    capital: _Additional | None = msgspec.field(name="AdditionalEventData", default=None)
    small: _Additional | None = msgspec.field(name="additionalEventData", default=None)


class _Response(msgspec.Struct, gc=False):
    """`responseElements` of the creation of a batch job."""

    job_arn: str | None = msgspec.field(name="jobArn", default=None)


class _Resource(msgspec.Struct, gc=False):
    type: str | None = None
    arn: str | None = msgspec.field(name="ARN", default=None)


class _Event(msgspec.Struct, gc=False):
    event_time: Instant | None = msgspec.field(name="eventTime", default=None)
    region: str | None = msgspec.field(name="awsRegion", default=None)
    account: str | None = msgspec.field(name="recipientAccountId", default=None)
    request_id: str | None = msgspec.field(name="requestID", default=None)
    error_code: str | None = msgspec.field(name="errorCode", default=None)
    identity: _Identity | None = msgspec.field(name="userIdentity", default=None)
    request: _Request | None = msgspec.field(name="requestParameters", default=None)
    additional: _Additional | None = msgspec.field(name="additionalEventData", default=None)
    details: _Details | None = msgspec.field(name="serviceEventDetails", default=None)
    resources: list[_Resource | None] | None = None
    response: _Response | None = msgspec.field(name="responseElements", default=None)


class _Entry(msgspec.Struct, gc=False):
    """One of `additionalEntries` where they are a list."""

    key: str | None = None
    value: int | str | float | bool | None = None


_decode_header: Final = msgspec.json.Decoder(_Header).decode
_decode_event: Final = msgspec.json.Decoder(_Event).decode
_decode_entries_object: Final = msgspec.json.Decoder(_Additional).decode
_decode_entries_list: Final = msgspec.json.Decoder(list[_Entry | None]).decode
_NO_IDENTITY: Final = _Identity()
_NO_REQUEST: Final = _Request()
_NO_ADDITIONAL: Final = _Additional()
_NO_SESSION: Final = _Session()
_NO_RESPONSE: Final = _Response()
_NO_ISSUER: Final = _Issuer()


CloudTrailOutcome = Observation | Ignored | Malformed | ProfileSeen | LifecycleSeen


class _Caller(NamedTuple):
    """Who called, as far as only CloudTrail knows: ranked as one, see `Facts`."""

    identity_type: str
    principal_id: str
    issuer_arn: str
    source_identity: str
    on_behalf_of: str
    invoked_by: str


class CloudTrailDecoder:
    """Turns CloudTrail events into observations. Pure but for a cache of equal facts."""

    __slots__ = ("_facts",)

    def __init__(self) -> None:
        self._facts: dict[tuple[object, ...], Facts] = {}

    def decode(self, raw: bytes | msgspec.Raw) -> CloudTrailOutcome:
        """Return what one CloudTrail event says.

        Args:
            raw: One event object, as in the `Records` of a log file or the `detail` of an
                EventBridge event. Any bytes are safe.

        Returns:
            An observation for runtime calls; `ProfileSeen` for the creation of an application
            inference profile; `LifecycleSeen` for what happens to users, roles, keys and agents;
            `Ignored` with a reason for every other event; `Malformed` if it is one of the first
            three with a field that cannot be accepted.
        """
        try:
            header = _decode_header(raw)
            source, name = header.event_source, header.event_name
            if source == RUNTIME_SOURCE and name == CREATE_JOB:
                return self._observe_job(header, _decode_event(raw), raw)
            told = _decoder_of(source, name)
            if told is not None:
                return told(raw)
            reason = _no_call_reason(header)
            if reason:
                return Ignored(reason)
            return self._observe(header, _decode_event(raw), raw)
        except FieldError as error:
            return fields.malformed(raw, error.path, error.expected, error.found)
        except msgspec.ValidationError as error:
            refused = fields.field_error(raw, str(error))
            return fields.malformed(raw, refused.path, refused.expected, refused.found)
        except RecursionError:
            return fields.malformed(raw, "$", "a CloudTrail event", "JSON nested too deeply")
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            found = fields.shorten(str(error), fields.NAME_LENGTH_MAX)
            return fields.malformed(raw, "$", "a CloudTrail event in JSON", found)

    def _observe(self, header: _Header, event: _Event, raw: bytes | msgspec.Raw) -> Observation:
        event_time = event.event_time or fields.no_time("$.eventTime")
        occurred_at_ms = fields.epoch_ms(event_time, "$.eventTime", raw)
        account = fields.checked_account(event.account, "$.recipientAccountId")
        completion = _is_completion(header, event)
        if completion:
            source = SourceRank.COMPLETION
            parent = event.details.parent_request_id if event.details else None
            path = "$.serviceEventDetails.parentRequestId"
            request_id = fields.checked_request_id(parent, path)
        else:
            source = SourceRank.API_EVENT
            request_id = fields.checked_request_id(event.request_id, "$.requestID")
        counts, inference_region, bearer = _additional(event)
        if header.event_source == MANTLE_SOURCE:
            counts = NO_COUNTS
        rank = EvidenceRank.SIGHTING if counts == NO_COUNTS else EvidenceRank.PARTIAL
        described = descriptive_rank(source, rank)
        facts = _facts_of(header, event, account, described)
        if inference_region or bearer:
            facts = msgspec.structs.replace(
                facts,
                inference_region=inference_region,
                inference_region_rank=described if inference_region else 0,
                credential=BEARER if bearer else facts.credential,
            )
        arn, session = split_session(facts.identity_arn)
        facts = self._interned(msgspec.structs.replace(facts, identity_arn=arn))
        evidence = Evidence(
            facts,
            occurred_at_ms,
            described,
            int(rank),
            counts,
            session=session,
            session_rank=described if session else 0,
        )
        return Observation(call_key("aws", account, request_id), evidence)

    def _observe_job(
        self, header: _Header, event: _Event, raw: bytes | msgspec.Raw
    ) -> Observation | Ignored:
        """Return who created a batch inference job, of which model. Its counts come later."""
        if event.error_code:
            return Ignored(f"{CREATE_JOB} that failed: {fields.cut(event.error_code)}")
        event_time = event.event_time or fields.no_time("$.eventTime")
        occurred_at_ms = fields.epoch_ms(event_time, "$.eventTime", raw)
        answer = event.response or _NO_RESPONSE
        arn = parse_job_arn(answer.job_arn or "")
        if arn is None:
            found = fields.quote(answer.job_arn) if answer.job_arn else fields.NOTHING
            raise FieldError("$.responseElements.jobArn", "the ARN of a batch job", found)
        described = descriptive_rank(SourceRank.API_EVENT, EvidenceRank.SIGHTING)
        bearer = _additional(event)[2]
        facts = msgspec.structs.replace(
            _facts_of(header, event, arn.account, described),
            region=arn.region,
            region_rank=described,
            service_tier=TIER_BATCH,
            service_tier_rank=described,
            credential=BEARER if bearer else "",
        )
        caller, session = split_session(facts.identity_arn)
        evidence = Evidence(
            self._interned(msgspec.structs.replace(facts, identity_arn=caller)),
            occurred_at_ms,
            described,
            int(EvidenceRank.SIGHTING),
            session=session,
            session_rank=described if session else 0,
        )
        return Observation(job_key(arn.job_id), evidence)

    def _interned(self, facts: Facts) -> Facts:
        facts_key = msgspec.structs.astuple(facts)
        known = self._facts.get(facts_key)
        if known is not None:
            return known
        return remember(self._facts, facts_key, facts, INTERNED_FACTS_MAX)


def _decoder_of(
    source: str | None, name: str | None
) -> Callable[[bytes | msgspec.Raw], ProfileSeen | LifecycleSeen | Ignored] | None:
    """Return what decodes an event that is no call and says something all the same."""
    if source == RUNTIME_SOURCE and name == CREATE_PROFILE:
        return decode_profile
    if source == IAM_SOURCE and name in IAM_EVENTS:
        return decode_iam_event
    return decode_agent_event if is_agent_event(source, name) else None


def _no_call_reason(header: _Header) -> str:
    """Why an event is no model call, or an empty text if it is one."""
    source, name = header.event_source, header.event_name
    category = header.event_category
    if category == "Insight" or header.event_type == "AwsCloudTrailInsight":
        return f"CloudTrail Insights event {_shown(name)} of {_shown(source)}"
    if (source == RUNTIME_SOURCE and name in RUNTIME_EVENTS) or (
        source == MANTLE_SOURCE and name == MANTLE_EVENT
    ):
        return ""
    if category == "Data":
        return f"CloudTrail data event {_shown(name)} of {_shown(source)}"
    if header.event_type == SERVICE_EVENT:
        return f"CloudTrail service event {_shown(name)} of {_shown(source)}"
    return f"CloudTrail control-plane event {_shown(name)} of {_shown(source)}"


def _shown(name: str | None) -> str:
    return fields.shorten(name, fields.FOUND_LENGTH_MAX) if name else "(unnamed)"


def _is_completion(header: _Header, event: _Event) -> bool:
    return header.event_type == SERVICE_EVENT or bool(
        event.details and event.details.parent_request_id
    )


def _additional(event: _Event) -> tuple[Counts, str, bool]:
    """Return tokens, inference Region and whether an API key signed, wherever they stand."""
    places: list[tuple[str, _Additional]] = []
    details = event.details
    for path, place in (
        ("$.serviceEventDetails.AdditionalEventData", details.capital if details else None),
        ("$.serviceEventDetails.additionalEventData", details.small if details else None),
        ("$.additionalEventData", event.additional),
    ):
        if place is None:
            continue
        if place.additional_entries:
            nested = f"{path}.additionalEntries"
            places.append((nested, _entries(place.additional_entries, nested)))
        places.append((path, place))
    input_tokens: int | None = None
    output_tokens: int | None = None
    inference_region = ""
    request = event.request or _NO_REQUEST
    bearer = _is_set(request.call_with_bearer_token)
    for path, place in places:
        if input_tokens is None:
            input_tokens = _count(place.input_tokens, f"{path}.inputTokens")
        if output_tokens is None:
            output_tokens = _count(place.output_tokens, f"{path}.outputTokens")
        inference_region = inference_region or fields.cut(
            place.inference_region, fields.REGION_LENGTH_MAX
        )
        bearer = bearer or _is_set(place.call_with_bearer_token)
    if input_tokens is None and output_tokens is None:
        return NO_COUNTS, inference_region, bearer
    return Counts(input_tokens, output_tokens), inference_region, bearer


def _entries(raw: msgspec.Raw, path: str) -> _Additional:
    """Read `additionalEntries`: an object, or a list of keys and values."""
    text = bytes(raw)
    if text == b"null":
        return _NO_ADDITIONAL
    try:
        if not text.startswith(b"["):
            return _decode_entries_object(text)
        values = {
            entry.key: entry.value for entry in _decode_entries_list(text) if entry is not None
        }
        known = ("inputTokens", "outputTokens", "inferenceRegion", "callWithBearerToken")
        chosen = {name: values[name] for name in known if values.get(name) is not None}
        return msgspec.convert(chosen, _Additional)
    except msgspec.ValidationError as error:
        raise fields.field_error(text, str(error), path) from error


def _count(value: _Count, path: str) -> int | None:
    """Return a token count that may be written as a text of digits."""
    if value is None or value == "":
        return None
    count = value
    if isinstance(count, str) and len(count) <= DIGITS_MAX and count.isascii() and count.isdigit():
        count = int(count)
    if isinstance(count, int) and 0 <= count <= QUANTITY_MAX:
        return count
    raise FieldError(path, f"a count from 0 to {QUANTITY_MAX}", fields.quote(value))


def _is_set(flag: _Flag) -> bool:
    return flag is True or (isinstance(flag, str) and flag.lower() == "true")


def _facts_of(header: _Header, event: _Event, account: str, described: int) -> Facts:
    request = event.request or _NO_REQUEST
    region = fields.checked_name(event.region, fields.REGION_LENGTH_MAX, "$.awsRegion")
    model_id = _model_id(header, event)
    identity = event.identity or _NO_IDENTITY
    identity_arn = fields.checked_name(
        identity.arn, fields.IDENTITY_LENGTH_MAX, "$.userIdentity.arn"
    )
    error_code = fields.cut(event.error_code)
    tier = fields.service_tier(request.service_tier)
    metadata = fields.read_metadata(request.metadata)
    caller = _caller(identity)
    return Facts(
        account=account,
        region=region,
        region_rank=described if region else 0,
        model_id=model_id,
        model_id_rank=described if model_id else 0,
        operation=header.event_name or "",
        operation_rank=described,
        identity_arn=identity_arn,
        identity_arn_rank=described if identity_arn else 0,
        service_tier=tier,
        service_tier_rank=described if tier else 0,
        error_code=error_code,
        error_code_rank=described if error_code else 0,
        metadata=metadata,
        metadata_rank=described if metadata else 0,
        identity_type=caller.identity_type,
        principal_id=caller.principal_id,
        issuer_arn=caller.issuer_arn,
        source_identity=caller.source_identity,
        on_behalf_of=caller.on_behalf_of,
        invoked_by=caller.invoked_by,
        caller_rank=described if any(caller) else 0,
    )


def _caller(identity: _Identity) -> _Caller:
    session = identity.session_context or _NO_SESSION
    return _Caller(
        identity_type=fields.cut(identity.type),
        principal_id=_principal_id(identity),
        issuer_arn=_issuer_arn(identity, session.session_issuer or _NO_ISSUER),
        source_identity=fields.cut(session.source_identity),
        on_behalf_of=fields.cut(identity.on_behalf_of.user_id if identity.on_behalf_of else None),
        invoked_by=fields.cut(identity.invoked_by),
    )


def _model_id(header: _Header, event: _Event) -> str:
    """The model as asked for, else the model resource (completions have no parameters)."""
    request = event.request or _NO_REQUEST
    if header.event_source == MANTLE_SOURCE:
        path = "$.requestParameters.model"
        return fields.checked_name(request.model, fields.MODEL_ID_LENGTH_MAX, path)
    if request.model_id:
        path = "$.requestParameters.modelId"
        return fields.checked_name(request.model_id, fields.MODEL_ID_LENGTH_MAX, path)
    for index, resource in enumerate(event.resources or ()):
        if resource is not None and resource.type == MODEL_RESOURCE and resource.arn:
            path = f"$.resources[{index}].ARN"
            return fields.checked_name(resource.arn, fields.MODEL_ID_LENGTH_MAX, path)
    return ""


def _principal_id(identity: _Identity) -> str:
    """The unique id without the session name, which callers choose."""
    principal_id = identity.principal_id or ""
    if identity.type in _SESSION_IDENTITIES:
        principal_id = principal_id.partition(":")[0]
    return fields.cut(principal_id)


def _issuer_arn(identity: _Identity, issuer: _Issuer) -> str:
    """The role behind a session; federated users have an IAM user there, which is no role."""
    if identity.type != "AssumedRole" and issuer.type != "Role":
        return ""
    path = "$.userIdentity.sessionContext.sessionIssuer.arn"
    return fields.checked_name(issuer.arn, fields.IDENTITY_LENGTH_MAX, path)
