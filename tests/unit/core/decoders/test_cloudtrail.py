import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.attribution import attribute
from worker.core.decoders import cloudtrail
from worker.core.decoders.cloudtrail import CloudTrailDecoder
from worker.core.decoders.invocation_log import InvocationLogDecoder
from worker.core.evidence import Counts, EvidenceRank, Observation, merge
from worker.core.registry import EMPTY_REGISTRY
from worker.core.results import Ignored, LifecycleSeen, Malformed, ProfileSeen

ROLE = "arn:aws:iam::444455556666:role/teams/support-desk"
SESSION = "arn:aws:sts::444455556666:assumed-role/support-desk/case-1"
BEDROCK = "bedrock.amazonaws.com"
LONG_RESOURCE = {"type": cloudtrail.MODEL_RESOURCE, "ARN": "a" * 2049}
CALL = "7d1f0000-0000-4000-8000-000000000001"


def event(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "eventVersion": "1.11",
        "userIdentity": {
            "type": "AssumedRole",
            "principalId": "AROAORCHARDEXAMPLE02:case-1",
            "arn": SESSION,
            "sessionContext": {
                "sessionIssuer": {"type": "Role", "arn": ROLE},
                "sourceIdentity": "ada",
            },
            "onBehalfOf": {"userId": "person-1"},
            "invokedBy": "svc.amazonaws.com",
        },
        "eventTime": "2026-05-01T10:00:01Z",
        "eventSource": "bedrock.amazonaws.com",
        "eventName": "ConverseStream",
        "awsRegion": "eu-west-1",
        "requestParameters": {"modelId": "eu.amazon.nova-lite-v1:0"},
        "requestID": CALL,
        "errorCode": None,
        "eventType": "AwsApiCall",
        "recipientAccountId": "444455556666",
        "additionalEventData": {"inputTokens": 5, "outputTokens": 6, "inferenceRegion": "eu-x"},
        "serviceEventDetails": None,
        "resources": [{"type": "AWS::Bedrock::Model", "ARN": "arn:m"}],
    }
    return base | changes


def completion(entries: Any, **changes: Any) -> dict[str, Any]:
    details = {"parentRequestId": CALL, "AdditionalEventData": {"additionalEntries": entries}}
    return event(
        eventType="AwsServiceEvent",
        requestID="another",
        requestParameters=None,
        additionalEventData=None,
        eventTime="2026-05-01T10:00:09Z",
        serviceEventDetails=details,
        **changes,
    )


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def decode(value: Any) -> Observation | Ignored | Malformed | ProfileSeen | LifecycleSeen:
    return CloudTrailDecoder().decode(encode(value))


def observe(value: dict[str, Any]) -> Observation:
    outcome = decode(value)
    assert isinstance(outcome, Observation), outcome
    return outcome


@pytest.mark.parametrize(
    "entries",
    [
        {"inputTokens": 7, "outputTokens": 8},
        {"inputTokens": "7", "outputTokens": "8", "other": {"deep": [1]}},
        [{"key": "inputTokens", "value": 7}, {"key": "outputTokens", "value": "8"}],
        [None, {"key": "x", "value": True}, {"key": None}, {"key": "inputTokens", "value": 7},
         {"key": "outputTokens", "value": 8, "extra": []}],
    ],
)  # fmt: skip
def test_completion_entries_in_every_seen_shape(entries: Any) -> None:
    observation = observe(completion(entries))
    assert observation.key == f"aws/444455556666/{CALL}"
    assert observation.evidence.counts == Counts(7, 8)
    assert observation.evidence.rank == EvidenceRank.PARTIAL
    assert observation.evidence.facts.model_id == "arn:m"


@pytest.mark.parametrize("entries", [None, {}, []])
def test_a_completion_without_tokens_is_a_sighting(entries: Any) -> None:
    observation = observe(completion(entries))
    assert observation.evidence.rank == EvidenceRank.SIGHTING
    assert observation.evidence.counts == Counts()


def test_a_time_of_many_decimals_is_not_rounded_into_the_next_month() -> None:
    found = observe(event(eventTime="2026-10-31T23:59:59.9999999Z")).evidence.occurred_at_ms
    assert found == observe(event(eventTime="2026-11-01T00:00:00Z")).evidence.occurred_at_ms - 1


def test_metadata_that_is_no_text_is_left_out() -> None:
    request = {"model": "openai.gpt-oss-120b", "metadata": {"team": "orchard", "retry": 3}}
    found = observe(
        event(
            eventSource="bedrock-mantle.amazonaws.com",
            eventName="CreateInference",
            requestParameters=request,
        )
    )
    assert found.evidence.facts.metadata == (("team", "orchard"),)


def test_call_completion_and_log_are_one_call() -> None:
    call = observe(event(additionalEventData=None))
    done = observe(completion({"inputTokens": 11, "outputTokens": 22}))
    log = InvocationLogDecoder().try_decode(
        encode(
            {
                "schemaType": "ModelInvocationLog",
                "timestamp": "2026-05-01T10:00:00Z",
                "accountId": "444455556666",
                "region": "eu-west-1",
                "requestId": CALL,
                "operation": "ConverseStream",
                "modelId": "eu.amazon.nova-lite-v1:0",
                "identity": {"arn": SESSION},
                "input": {"inputTokenCount": 11, "cacheReadInputTokenCount": 100},
                "output": {"outputTokenCount": 22},
            }
        )
    )
    assert isinstance(log, Observation)
    assert call.key == done.key == log.key

    streamed = merge(done.evidence, call.evidence)
    assert streamed.counts == Counts(11, 22)
    assert streamed.facts.model_id == "eu.amazon.nova-lite-v1:0"
    assert streamed.occurred_at_ms == call.evidence.occurred_at_ms

    everything = merge(log.evidence, streamed)
    assert everything.counts == Counts(11, 22, 100)
    assert everything.occurred_at_ms == log.evidence.occurred_at_ms
    assert everything.facts.principal_id == "AROAORCHARDEXAMPLE02"
    assert everything.facts.issuer_arn == ROLE


@pytest.mark.parametrize(
    "identity, payer",
    [
        ({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "a1b2-c3"}},
         "federated/444455556666/IdentityCenterUser%3Aa1b2-c3"),
        ({"type": "AssumedRole", "principalId": "AROAX:s", "arn": SESSION},
         "role/444455556666/support-desk"),
        ({"type": "AWSService", "invokedBy": "athena.amazonaws.com"},
         "service/athena.amazonaws.com"),
    ],
)  # fmt: skip
def test_the_service_that_reports_the_end_of_a_stream_is_not_the_caller(
    identity: dict[str, Any], payer: str
) -> None:
    reporter = {"accountId": "444455556666", "invokedBy": BEDROCK}
    call = observe(event(userIdentity=identity, additionalEventData=None)).evidence
    done = observe(completion({"inputTokens": 1}, userIdentity=reporter)).evidence
    assert done.facts.caller_rank < call.facts.caller_rank
    for both in (merge(call, done), merge(done, call)):
        assert attribute(both.facts, 0, EMPTY_REGISTRY).principal == payer


def test_an_event_that_describes_no_caller_has_no_rank_for_one() -> None:
    facts = observe(event(userIdentity={"accountId": "444455556666"})).evidence.facts
    assert facts.caller_rank == 0


@pytest.mark.parametrize(
    "flag, credential",
    [(True, "bearer"), ("true", "bearer"), (False, ""), ("false", ""), (None, "")],
)
def test_use_of_an_api_key_is_marked(flag: Any, credential: str) -> None:
    facts = observe(event(additionalEventData={"callWithBearerToken": flag})).evidence.facts
    assert facts.credential == credential


def test_tokens_of_the_compatible_endpoint_are_not_believed() -> None:
    observation = observe(
        event(
            eventSource="bedrock-mantle.amazonaws.com",
            eventName="CreateInference",
            requestParameters={"model": "openai.gpt-oss-120b", "service_tier": "default"},
        )
    )
    assert observation.evidence.rank == EvidenceRank.SIGHTING
    assert observation.evidence.facts.model_id == "openai.gpt-oss-120b"
    assert observation.evidence.facts.service_tier == "standard"


@pytest.mark.parametrize(
    "change, path",
    [
        ({"eventTime": "2026-05-01T10:00:01"}, "$.eventTime"),
        ({"eventTime": None}, "$.eventTime"),
        ({"recipientAccountId": None}, "$.recipientAccountId"),
        ({"recipientAccountId": 444455556666}, "$.recipientAccountId"),
        ({"requestID": None}, "$.requestID"),
        ({"requestID": "a\tb"}, "$.requestID"),
        ({"awsRegion": ["eu-west-1"]}, "$.awsRegion"),
        ({"userIdentity": "root"}, "$.userIdentity"),
        ({"userIdentity": {"arn": "a" * 2049}}, "$.userIdentity.arn"),
        ({"requestParameters": {"modelId": 5}}, "$.requestParameters.modelId"),
        ({"requestParameters": {"modelId": "m" * 2049}}, "$.requestParameters.modelId"),
        ({"additionalEventData": {"inputTokens": -1}}, "$.additionalEventData.inputTokens"),
        ({"additionalEventData": {"outputTokens": 1.5}}, "$.additionalEventData.outputTokens"),
        ({"additionalEventData": {"outputTokens": "9" * 13}}, "$.additionalEventData.outputTokens"),
        ({"additionalEventData": {"outputTokens": "²"}}, "$.additionalEventData.outputTokens"),
        (
            {"eventType": "AwsServiceEvent", "serviceEventDetails": {}},
            "$.serviceEventDetails.parentRequestId",
        ),
        (
            {"requestParameters": None, "resources": [None, LONG_RESOURCE]},
            "$.resources[1].ARN",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_accepted_is_named(change: dict[str, Any], path: str) -> None:
    outcome = decode(event(**change))
    assert isinstance(outcome, Malformed)
    assert outcome.path == path
    assert outcome.reason.isprintable()


def test_a_type_error_inside_entries_is_named_with_its_full_path() -> None:
    outcome = decode(completion([{"key": "inputTokens", "value": []}]))
    assert isinstance(outcome, Malformed)
    path = "$.serviceEventDetails.AdditionalEventData.additionalEntries"
    assert outcome.path == f"{path}[0].value"
    assert outcome.found == "array []"


@pytest.mark.parametrize(
    "source, name, category, reason",
    [
        (
            "iam.amazonaws.com",
            "CreateGroup",
            "Management",
            "control-plane event CreateGroup of iam",
        ),
        (BEDROCK, "ListAsyncInvokes", None, "control-plane event ListAsyncInvokes of bedrock"),
        (BEDROCK, "InvokeAgent", "Data", "data event InvokeAgent of bedrock"),
        ("other.amazonaws.com", "InvokeModel", "Data", "data event InvokeModel of other"),
        (BEDROCK, "InvokeModel", "Insight", "Insights event InvokeModel of bedrock"),
    ],
)
def test_other_events_are_ignored_by_name(
    source: str, name: str, category: str | None, reason: str
) -> None:
    # Whatever else they hold is none of our business, so it cannot be malformed.
    changes = {"eventSource": source, "eventName": name, "eventCategory": category}
    outcome = decode(event(**changes, eventTime=5, userIdentity=[]))
    assert outcome == Ignored(f"CloudTrail {reason}.amazonaws.com")


def test_strange_names_of_events_are_shown_safely() -> None:
    nameless = decode(event(eventSource=None, eventName=None))
    assert nameless == Ignored("CloudTrail control-plane event (unnamed) of (unnamed)")
    strange = decode(event(eventSource="s" * 200, eventName="a\nb"))
    assert strange == Ignored(f"CloudTrail control-plane event a?b of {'s' * 79}…")


def test_events_of_one_caller_share_their_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = CloudTrailDecoder()
    first = decoder.decode(encode(event()))
    second = decoder.decode(encode(event(requestID="other", eventTime="2026-05-02T00:00:00Z")))
    assert isinstance(first, Observation)
    assert isinstance(second, Observation)
    assert first.evidence.facts is second.evidence.facts
    monkeypatch.setattr(cloudtrail, "INTERNED_FACTS_MAX", 2)
    for number in range(5):
        decoder.decode(encode(event(awsRegion=f"region-{number}")))
    assert len(decoder._facts) <= 2


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
BASES = [event(), completion({"inputTokens": 1}), completion([{"key": "inputTokens", "value": 1}])]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else []
    if isinstance(value, list):
        keys = list(range(len(value)))
    return [path, *(found for key in keys for found in _paths(value[key], (*path, key)))]


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], new)
    return copy


@given(st.sampled_from(BASES), st.data())
def test_a_mutated_event_has_one_outcome(base: dict[str, Any], data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(_paths(base)))
    outcome = decode(_replaced(base, path, data.draw(JSON_VALUES)))
    assert isinstance(outcome, Observation | Ignored | Malformed)
    if isinstance(outcome, Malformed):
        assert outcome.path.startswith("$")
        assert outcome.expected
        assert outcome.found


@given(st.binary(max_size=200))
def test_no_bytes_raise(raw: bytes) -> None:
    assert isinstance(CloudTrailDecoder().decode(raw), Malformed | Ignored)


@pytest.mark.parametrize("raw", [b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"", b"[]"])
def test_what_is_no_event_is_malformed(raw: bytes) -> None:
    outcome = CloudTrailDecoder().decode(raw)
    assert isinstance(outcome, Malformed)
    assert outcome.path == "$"
