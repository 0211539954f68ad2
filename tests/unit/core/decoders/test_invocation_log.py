import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.core.decoders import fields, invocation_log
from worker.core.decoders.invocation_log import InvocationLogDecoder
from worker.core.evidence import NO_COUNTS, QUANTITY_MAX, EvidenceRank, Observation, merge
from worker.core.results import Malformed

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def record(**changes: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "schemaType": "ModelInvocationLog",
        "timestamp": "2026-05-01T10:00:00Z",
        "accountId": "444455556666",
        "region": "eu-west-1",
        "requestId": "7d1f0000-0000-4000-8000-000000000001",
        "operation": "Converse",
        "modelId": "eu.amazon.nova-lite-v1:0",
        "identity": {"arn": "arn:aws:iam::444455556666:user/growers/ada"},
        "input": {"inputTokenCount": 11, "cacheReadInputTokenCount": 0},
        "output": {"outputTokenCount": 22},
    }
    return base | changes


def encode(value: Any) -> bytes:
    return json.dumps(value).encode()


def observe(value: dict[str, Any]) -> Observation:
    outcome = InvocationLogDecoder().try_decode(encode(value))
    assert isinstance(outcome, Observation), outcome
    return outcome


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"not json",
        b"{",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"messageType": "DATA_MESSAGE", "timestamp": 5}',
        b'{"schemaType": "SomethingElse", "modelId": "m", "requestId": "r", "input": {}}',
        b'{"schemaType": "SomethingElse", "accountId": 5}',
        b'{"schemaType": ["ModelInvocationLog"]}',
        b'{"modelId": "m", "requestId": "r"}',
        b'{"modelId": "m", "input": {}, "output": {}}',
        b'{"eventSource": "bedrock.amazonaws.com", "input": 5}',
    ],
)
def test_other_structures_are_left_to_others(raw: bytes) -> None:
    assert InvocationLogDecoder().try_decode(raw) is None


def test_a_raw_slice_is_read_like_bytes() -> None:
    raw = encode(record())
    slices = msgspec.json.decode(b"[" + raw + b"]", type=list[msgspec.Raw])
    decoder = InvocationLogDecoder()
    assert decoder.try_decode(slices[0]) == decoder.try_decode(raw)


def test_records_of_one_caller_and_model_share_their_facts() -> None:
    decoder = InvocationLogDecoder()
    first = decoder.try_decode(encode(record()))
    second = decoder.try_decode(encode(record(requestId="another", input={"inputTokenCount": 1})))
    third = decoder.try_decode(encode(record(operation="InvokeModel")))
    assert isinstance(first, Observation)
    assert isinstance(second, Observation)
    assert isinstance(third, Observation)
    assert first.evidence.facts is second.evidence.facts
    assert first.evidence.facts is not third.evidence.facts


def test_records_with_metadata_share_their_facts_too() -> None:
    decoder = InvocationLogDecoder()
    outcomes = [
        decoder.try_decode(encode(record(requestMetadata={"team": team})))
        for team in ("orchard", "orchard", "meadow")
    ]
    facts = [outcome.evidence.facts for outcome in outcomes if isinstance(outcome, Observation)]
    assert facts[0] is facts[1]
    assert facts[2].metadata == (("team", "meadow"),)


def test_the_cache_of_facts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invocation_log, "INTERNED_FACTS_MAX", 3)
    decoder = InvocationLogDecoder()
    for number in range(10):
        decoder.try_decode(encode(record(region=f"region-{number}")))
        decoder.try_decode(encode(record(requestMetadata={"n": str(number)})))
    assert len(decoder._facts) <= 3
    assert len(decoder._facts_detailed) <= 3


@given(
    st.datetimes(
        min_value=datetime(2023, 1, 1),  # noqa: DTZ001
        max_value=datetime(2099, 12, 31, 23, 59, 59, 999_999),  # noqa: DTZ001
        timezones=st.just(UTC),
    )
)
@example(datetime(2026, 5, 1, 10, 0, 0, 999_999, tzinfo=UTC))
@example(datetime(2099, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
def test_times_are_exact_to_the_millisecond(instant: datetime) -> None:
    expected = (instant - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    assert observe(record(timestamp=instant.isoformat())).evidence.occurred_at_ms == expected


@pytest.mark.parametrize(
    "written, kept",
    [
        ("2026-10-31T23:59:59.9999999Z", "2026-10-31T23:59:59.999Z"),
        ("2026-10-31T23:59:59.999999999+00:00", "2026-10-31T23:59:59.999Z"),
        ("2099-12-31T23:59:59.9999999Z", "2099-12-31T23:59:59.999Z"),
        ("2026-11-01T01:59:59.9999995+02:00", "2026-10-31T23:59:59.999Z"),
        ("2026-10-31T23:59:59.9999994Z", "2026-10-31T23:59:59.999Z"),
        ("2026-11-01T00:00:00.0009991Z", "2026-11-01T00:00:00Z"),
        ("2026-11-01T00:00:00.0000000Z", "2026-11-01T00:00:00Z"),
        ("2026-11-01T00:00:00Z", "2026-11-01T00:00:00Z"),
    ],
)
def test_no_rounding_carries_a_time_into_the_next_minute(written: str, kept: str) -> None:
    expected = datetime.fromisoformat(kept) - datetime(1970, 1, 1, tzinfo=UTC)
    found = observe(record(timestamp=written)).evidence.occurred_at_ms
    assert found == expected // timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "timestamp, found",
    [
        ("2026-13-01T00:00:00Z", '"2026-13-01T00:00:00Z"'),
        ("yesterday", '"yesterday"'),
        ("2026-05-01T10:00:00", '"2026-05-01T10:00:00"'),
        (1777629600, "int 1777629600"),
        (None, "nothing"),
    ],
)
def test_what_is_no_time_is_refused_in_plain_words(timestamp: Any, found: str) -> None:
    outcome = InvocationLogDecoder().try_decode(encode(record(timestamp=timestamp)))
    assert isinstance(outcome, Malformed)
    assert (outcome.path, outcome.expected, outcome.found) == (
        "$.timestamp",
        "an RFC 3339 time with an offset",
        found,
    )


@pytest.mark.parametrize(
    "metadata, kept",
    [
        ({"team": "orchard", "retry": 3, "ids": ["a"], "deep": {"a": "b"}, "x": None, "y": True},
         (("team", "orchard"),)),
        ({"team": 5}, ()),
        (["team"], ()),
        ("team", ()),
        (None, ()),
        ({}, ()),
    ],
)  # fmt: skip
def test_metadata_that_is_no_text_is_left_out(
    metadata: Any, kept: tuple[tuple[str, str], ...]
) -> None:
    found = observe(record(requestMetadata=metadata)).evidence
    assert found.facts.metadata == kept
    assert found.counts.output_tokens == 22


def test_a_failed_search_is_a_sighting_whatever_was_asked_for() -> None:
    asked = {"inputBodyJson": {"documents": ["d"] * 101, "service_tier": "priority"}}
    failed = record(
        modelId="cohere.rerank-v3-5:0", errorCode="ThrottlingException", input=asked, output=None
    )
    evidence = observe(failed).evidence
    assert (evidence.rank, evidence.counts) == (EvidenceRank.SIGHTING, NO_COUNTS)
    assert evidence.facts.error_code == "ThrottlingException"


def test_a_twin_without_counts_has_no_tier_to_give_to_the_call() -> None:
    body = {"service_tier": "reserved", "serviceTier": {"type": "flex"}}
    twin = observe(record(input={"inputBodyJson": body}, output={})).evidence
    assert (twin.rank, twin.facts.service_tier) == (EvidenceRank.SIGHTING, "")
    assert merge(twin, observe(record()).evidence).facts.service_tier == ""


@pytest.mark.parametrize("timestamp", ["2022-12-31T23:59:59.999Z", "2100-01-01T00:00:00Z"])
def test_times_beyond_belief_are_refused(timestamp: str) -> None:
    outcome = InvocationLogDecoder().try_decode(encode(record(timestamp=timestamp)))
    assert isinstance(outcome, Malformed)
    assert outcome.path == "$.timestamp"


@pytest.mark.parametrize(
    "change, path",
    [
        ({"accountId": "a" * 65}, "$.accountId"),
        ({"accountId": "4444\n5555"}, "$.accountId"),
        ({"accountId": ""}, "$.accountId"),
        ({"requestId": "r" * 129}, "$.requestId"),
        ({"requestId": "r\x00"}, "$.requestId"),
        ({"requestId": ""}, "$.requestId"),
        ({"modelId": None}, "$.modelId"),
        ({"modelId": "m" * 2049}, "$.modelId"),
        ({"region": "r" * 65}, "$.region"),
        ({"operation": "o" * 257}, "$.operation"),
        ({"identity": {"arn": "a" * 2049}}, "$.identity.arn"),
        ({"identity": {"arn": 5}}, "$.identity.arn"),
        ({"identity": []}, "$.identity"),
        ({"input": "x"}, "$.input"),
        ({"timestamp": None}, "$.timestamp"),
        ({"timestamp": "yesterday"}, "$.timestamp"),
        ({"timestamp": 1_777_000_000}, "$.timestamp"),
        ({"output": {"outputTokenCount": True}}, "$.output.outputTokenCount"),
        ({"output": {"outputTokenCount": 10**30}}, "$.output.outputTokenCount"),
    ],
)
def test_what_cannot_be_accepted_is_named(change: dict[str, Any], path: str) -> None:
    raw = encode(record(**change))
    outcome = InvocationLogDecoder().try_decode(raw)
    assert isinstance(outcome, Malformed)
    assert outcome.path == path
    assert outcome.body == raw
    assert outcome.reason.isprintable()
    assert len(outcome.reason) < 300


def test_a_refused_value_is_quoted_shortened() -> None:
    outcome = InvocationLogDecoder().try_decode(encode(record(accountId="/" * 5000)))
    assert isinstance(outcome, Malformed)
    assert len(outcome.found) == fields.FOUND_LENGTH_MAX
    assert outcome.found.endswith("…")


def test_the_body_of_a_refused_record_is_cut() -> None:
    padding = "x" * fields.QUARANTINED_BODY_BYTES_MAX
    raw = encode(record(accountId=5, input={"inputBodyJson": padding}))
    outcome = InvocationLogDecoder().try_decode(raw)
    assert isinstance(outcome, Malformed)
    assert outcome.truncated
    assert outcome.body == raw[: fields.QUARANTINED_BODY_BYTES_MAX]
    assert outcome.found == "int 5"


def test_metadata_beyond_the_limits_is_cut_not_refused() -> None:
    pairs: dict[str, str | None] = {f"key-{number:02}": "v" * 300 for number in range(20)}
    pairs["key-00"] = None
    metadata = observe(record(requestMetadata=pairs)).evidence.facts.metadata
    assert [key for key, _ in metadata] == [f"key-{number:02}" for number in range(1, 17)]
    assert {len(value) for _, value in metadata} == {256}


def test_missing_identity_and_region_leave_them_unknown() -> None:
    facts = observe(record(identity=None, region="", operation=None)).evidence.facts
    assert (facts.identity_arn, facts.identity_arn_rank) == ("", 0)
    assert (facts.region, facts.region_rank) == ("", 0)
    assert (facts.operation, facts.operation_rank) == ("", 0)


def test_an_empty_twin_never_hides_the_counts() -> None:
    twin = observe(record(input={}, output={}))
    rich = observe(record())
    assert twin.evidence.rank == EvidenceRank.SIGHTING
    assert twin.key == rich.key
    for merged in (merge(twin.evidence, rich.evidence), merge(rich.evidence, twin.evidence)):
        assert merged.counts == rich.evidence.counts


def test_zero_counts_are_counts() -> None:
    evidence = observe(
        record(input={"inputTokenCount": 0}, output={"outputTokenCount": 0})
    ).evidence
    assert evidence.rank == EvidenceRank.METERED
    assert (evidence.counts.input_tokens, evidence.counts.output_tokens) == (0, 0)


@pytest.mark.parametrize("depth", [65, 5000, 100_000])
def test_bodies_nested_however_deep_cannot_hide_a_call(depth: int) -> None:
    body = b"[" * depth + b'"]\\"{"' + b"]" * depth
    raw = encode(record(input={"inputTokenCount": 7, "inputBodyJson": "@"}))
    outcome = InvocationLogDecoder().try_decode(raw.replace(b'"@"', body))
    assert isinstance(outcome, Observation)
    assert outcome.evidence.counts.input_tokens == 7
    assert outcome.evidence.counts.output_tokens == 22


def test_a_refused_record_nested_too_deep_is_kept_as_it_came() -> None:
    body = b"[" * 5000 + b"]" * 5000
    raw = encode(record(accountId="", input={"inputBodyJson": "@"})).replace(b'"@"', body)
    outcome = InvocationLogDecoder().try_decode(raw)
    assert isinstance(outcome, Malformed)
    assert outcome.body == raw


@given(st.binary(max_size=200))
def test_no_bytes_raise(raw: bytes) -> None:
    assert InvocationLogDecoder().try_decode(raw) is None


@given(JSON_VALUES)
def test_no_json_raises(value: Any) -> None:
    assert isinstance(InvocationLogDecoder().try_decode(encode(value)), Malformed | None)


def _paths(value: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [path, *(found for key in value for found in _paths(value[key], (*path, key)))]


def _replaced(value: Any, path: tuple[str, ...], new: Any) -> Any:
    if not path:
        return new
    return value | {path[0]: _replaced(value[path[0]], path[1:], new)}


RICH = record(
    inferenceRegion="eu-north-1",
    requestMetadata={"team": "orchard"},
    errorCode="ModelErrorException",
    input={
        "inputTokenCount": 11,
        "cacheReadInputTokenCount": 1,
        "cacheWriteInputTokenCount": 2,
        "inputBodyJson": {"serviceTier": {"type": "flex"}, "documents": ["a"]},
    },
    output={
        "outputTokenCount": 22,
        "outputImageWidth": 5,
        "outputVideoDurationSeconds": 1.5,
        "outputBodyJson": {
            "usage": {"inputTokens": 11, "outputTokens": 22, "cacheDetails": []},
            "images": ["x"],
            "trace": {"guardrail": {"inputAssessment": {"g": {"invocationMetrics": {}}}}},
        },
    },
)


@given(st.data())
def test_a_mutated_record_has_one_outcome(data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(_paths(RICH)))
    text = json.dumps(_replaced(RICH, path, data.draw(JSON_VALUES)))
    outcome = InvocationLogDecoder().try_decode(text.encode())
    # What is still JSON and says that it is a log is either understood or refused.
    if path and path != ("schemaType",) and "NaN" not in text and "Infinity" not in text:
        assert isinstance(outcome, Observation | Malformed)
    else:
        assert outcome is None or isinstance(outcome, Observation | Malformed)


@given(st.data())
def test_a_damaged_line_has_one_outcome(data: st.DataObject) -> None:
    raw = bytearray(encode(RICH))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    for line in (bytes(raw), bytes(raw[:cut])):
        outcome = InvocationLogDecoder().try_decode(line)
        assert outcome is None or isinstance(outcome, Observation | Malformed)


def _any_count() -> st.SearchStrategy[int | None]:
    return st.none() | st.integers(0, QUANTITY_MAX)


BODY_WORDS = st.sampled_from(
    [
        "usage", "message", "delta", "response", "metadata", "meta", "results", "images",
        "artifacts", "trace", "guardrail", "serviceTier", "service_tier", "type", "billed_units",
        "inputTokens", "outputTokens", "input_tokens", "output_tokens", "cacheDetails", "ttl",
        "prompt_tokens", "completion_tokens", "prompt_tokens_details", "input_tokens_details",
        "cached_tokens", "cache_creation", "ephemeral_1h_input_tokens", "invocationMetrics",
        "amazon-bedrock-invocationMetrics", "amazon-bedrock-guardrailAction", "inputTokenCount",
        "amazon-bedrock-trace", "inputAssessment", "outputs", "topicPolicyUnits", "documents",
        "imageGenerationConfig", "inputTextTokenCount", "prompt_token_count", "tokenCount",
    ]
)  # fmt: skip
LIKELY_BODIES = st.recursive(
    st.none()
    | st.integers(-5, 2 * QUANTITY_MAX)
    | st.floats()
    | st.sampled_from(["INTERVENED", "5m", "1h", "flex", "[DONE]", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(BODY_WORDS, inner, max_size=5),
    max_leaves=20,
)


@given(
    st.tuples(_any_count(), _any_count(), _any_count(), _any_count()),
    LIKELY_BODIES,
    LIKELY_BODIES,
    st.sampled_from(["cohere.rerank-v3-5:0", "amazon.nova-canvas-v1:0", "m"]),
    st.booleans(),
)
def test_counts_of_the_envelope_survive_any_body(
    counts: tuple[int | None, int | None, int | None, int | None],
    request_body: Any,
    response_body: Any,
    model_id: str,
    as_text: bool,
) -> None:
    shape: Callable[[Any], Any] = json.dumps if as_text else lambda value: value
    evidence = observe_lenient(
        record(
            modelId=model_id,
            input={
                "inputTokenCount": counts[0],
                "cacheReadInputTokenCount": counts[2],
                "cacheWriteInputTokenCount": counts[3],
                "inputBodyJson": shape(request_body),
            },
            output={"outputTokenCount": counts[1], "outputBodyJson": shape(response_body)},
        )
    )
    if evidence is None:
        return
    found = evidence.evidence.counts
    writes = found.cache_write_5m_tokens + found.cache_write_1h_tokens
    kept = (found.input_tokens, found.output_tokens, found.cache_read_tokens, writes)
    for place, (sent, got) in enumerate(zip(counts, kept, strict=True)):
        # A body may prove that the input includes what was read from the cache.
        split = place == 0 and counts[2] is None and sent == (got or 0) + found.cache_read_tokens
        assert sent is None or sent == got or split
        assert got is None or 0 <= got <= QUANTITY_MAX
    assert found.cache_write_5m_tokens >= 0
    assert not (found.cache_write_ttl_known and writes == 0)
    assert list(found.units) == sorted(found.units)


def observe_lenient(value: dict[str, Any]) -> Observation | None:
    """The observation, or None where Python wrote what is not JSON (NaN, Infinity)."""
    text = json.dumps(value)
    outcome = InvocationLogDecoder().try_decode(text.encode())
    if outcome is None:
        assert "NaN" in text or "Infinity" in text
        return None
    assert isinstance(outcome, Observation), outcome
    return outcome
