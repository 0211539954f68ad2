import json
from typing import Any

import msgspec
import pytest

from worker.core.decoders.bodies import Envelope, Itemised, itemise
from worker.core.evidence import QUANTITY_MAX, Counts

ABSENT = msgspec.Raw()
CLAUDE = "anthropic.claude-sonnet-4-5-20250929-v1:0"


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(json.dumps(value).encode())


def envelope(model_id: str = CLAUDE, **values: Any) -> Envelope:
    counts: dict[str, Any] = dict.fromkeys(
        ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    )
    return Envelope(model_id=model_id, **(counts | values))


def counts(response: Any, request: Any = None, **values: Any) -> Counts:
    itemised = itemise(envelope(**values), raw(request), raw(response))
    assert itemised is not None
    return itemised.counts


def tier(response: Any, request: Any = None) -> str:
    itemised = itemise(envelope(), raw(request), raw(response))
    return itemised.service_tier if itemised else "nothing"


@pytest.mark.parametrize(
    "body", [None, {}, [], "", "[DONE]", "{", 5, True, ["[DONE]", None, 1.5], {"usage": None}]
)
def test_bodies_that_say_nothing_add_nothing(body: Any) -> None:
    assert itemise(envelope(), raw(body), raw(body)) is None
    assert itemise(envelope(), ABSENT, raw(body)) is None
    assert itemise(envelope(), ABSENT, ABSENT) is None


def test_the_envelope_wins_over_the_body() -> None:
    body = {"usage": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 3}}
    found = counts(body, input_tokens=10, output_tokens=20, cache_read_tokens=30)
    assert found == Counts(input_tokens=10, output_tokens=20, cache_read_tokens=30)


def test_the_body_fills_what_the_envelope_lacks() -> None:
    body = {"usage": {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 3}}
    assert counts(body, input_tokens=10) == Counts(10, 2, 3)


def test_the_last_delta_of_a_stream_counts() -> None:
    stream = [
        {"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}},
        {"type": "message_delta", "usage": {"output_tokens": 900}},
        {"type": "message_delta", "usage": {"output_tokens": 2000}},
    ]
    assert counts(stream) == Counts(9, 2000)
    assert counts(stream, input_tokens=9, output_tokens=2000) == Counts(9, 2000)


def test_a_provisional_output_count_is_no_count() -> None:
    stream = [{"message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}]
    assert counts(stream) == Counts(9, None)


def test_a_zero_at_the_end_of_a_stream_does_not_erase_input() -> None:
    stream = [
        {"message": {"usage": {"input_tokens": 9, "cache_read_input_tokens": 4}}},
        {"usage": {"input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 5}},
    ]
    assert counts(stream) == Counts(9, 5, 4)


@pytest.mark.parametrize(
    "write_5m, write_1h, total, expected",
    [
        (30, 70, 100, (30, 70, True)),
        (30, 70, None, (30, 70, True)),
        (0, 100, 100, (0, 100, True)),
        (100, None, 100, (100, 0, True)),
        (30, 70, 90, (20, 70, False)),  # the total stands
        (30, 70, 50, (0, 50, False)),  # no more of the dear part than there is in all
        (30, 70, 200, (130, 70, False)),
        (None, None, 100, (100, 0, False)),
        (0, 0, 0, (0, 0, False)),  # nothing written, nothing to know
        (30, 70, 0, (0, 0, False)),
    ],
)
def test_the_split_of_cache_writes_fits_their_total(
    write_5m: int | None,
    write_1h: int | None,
    total: int | None,
    expected: tuple[int, int, bool],
) -> None:
    body = {
        "usage": {
            "input_tokens": 1,
            "output_tokens": 1,
            "cache_creation": {
                "ephemeral_5m_input_tokens": write_5m,
                "ephemeral_1h_input_tokens": write_1h,
            },
        }
    }
    found = counts(body, cache_write_tokens=total)
    split = (
        found.cache_write_5m_tokens,
        found.cache_write_1h_tokens,
        found.cache_write_ttl_known,
    )
    assert split == expected


def test_an_unknown_time_to_live_leaves_the_split_unknown() -> None:
    details = [{"ttl": "1h", "inputTokens": 5}, {"ttl": "24h", "inputTokens": 5}]
    body = {"usage": {"inputTokens": 1, "cacheWriteInputTokens": 10, "cacheDetails": details}}
    assert counts(body) == Counts(1, cache_write_5m_tokens=10)


def test_cached_tokens_come_out_of_an_inclusive_count_once() -> None:
    body = {
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 40},
        }
    }
    assert counts(body) == Counts(60, 5, 40)
    # An envelope that agrees after the subtraction gets the cached part.
    assert counts(body, input_tokens=60) == Counts(60, 5, 40)
    # One that includes the cached part is not charged for it twice, nor in full.
    assert counts(body, input_tokens=100) == Counts(60, 5, 40)
    # Unless it counts the cached part itself: then the envelope stands.
    assert counts(body, input_tokens=100, cache_read_tokens=0) == Counts(100, 5, 0)
    assert counts(body, input_tokens=100, cache_read_tokens=7) == Counts(100, 5, 7)
    # So must not metrics that repeat the inclusive count.
    metrics = {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 100, "outputTokenCount": 5}}
    assert counts([body, metrics]) == Counts(60, 5, 40)


def test_more_cached_than_there_was_is_not_subtracted() -> None:
    details = {"cached_tokens": 101}
    body = {"usage": {"input_tokens": 100, "output_tokens": 5, "input_tokens_details": details}}
    assert counts(body) == Counts(100, 5, 0)


@pytest.mark.parametrize(
    "value, expected",
    [
        ("default", "standard"),
        ("standard", "standard"),
        ("PRIORITY", "priority"),
        ("flex", "flex"),
        ("reserved", "reserved"),
        ("batch", "batch"),
        ("Turbo", "turbo"),
        ({"type": "flex"}, "flex"),
        ("auto", "nothing"),
        ("", "nothing"),
        ({"type": None}, "nothing"),
        (5, "nothing"),
    ],
)
def test_service_tiers_have_the_names_of_the_catalogue(value: Any, expected: str) -> None:
    assert tier({"serviceTier": value}) == expected
    assert tier({"service_tier": value}) == expected
    assert tier({"usage": {"service_tier": value}}) == expected


@pytest.mark.parametrize("name", ["reserved", "flex", "priority", "standard", "Turbo"])
@pytest.mark.parametrize("response", [None, {}, {"content": []}, {"serviceTier": None}])
def test_a_tier_that_only_the_request_names_is_ignored(name: str, response: Any) -> None:
    for value in (name, {"type": name}):
        assert tier(response, {"service_tier": value}) == "nothing"
        assert tier(response, {"serviceTier": value}) == "nothing"
    assert tier({"service_tier": "default"}, {"service_tier": name}) == "standard"


def test_the_tier_of_a_claude_stream_stands_in_the_usage_of_its_first_message() -> None:
    started = {"usage": {"input_tokens": 9, "output_tokens": 1, "service_tier": "priority"}}
    stream = [
        {"type": "message_start", "message": started},
        {"type": "message_delta", "usage": {"output_tokens": 900}},
    ]
    found = itemise(envelope(), ABSENT, raw(stream))
    assert found == Itemised(Counts(9, 900), service_tier="priority")


@pytest.mark.parametrize(
    "documents, units", [(0, 1), (1, 1), (100, 1), (101, 2), (200, 2), (1000, 10)]
)
def test_a_search_unit_covers_a_hundred_documents(documents: int, units: int) -> None:
    request = {"query": "q", "documents": [{"text": "d"}] * documents}
    found = counts({"results": []}, request, model_id="cohere.rerank-v3-5:0")
    assert found.units == (("search_units", units),)


@pytest.mark.parametrize("response", [None, {}, {"message": "too many"}, {"results": []}])
def test_a_failed_search_is_no_search(response: Any) -> None:
    failed = envelope(model_id="cohere.rerank-v3-5:0", failed=True)
    assert itemise(failed, raw({"documents": ["d"] * 101}), raw(response)) is None


def test_a_search_that_has_results_is_one_whatever_error_followed() -> None:
    request = {"documents": ["d"] * 101}
    found = counts({"results": [{}]}, request, model_id="cohere.rerank-v3-5:0", failed=True)
    assert found.units == (("search_units", 2),)


def test_a_search_whose_response_was_not_delivered_is_sized_by_its_request() -> None:
    found = counts(None, {"documents": ["d"] * 101}, model_id="cohere.rerank-v3-5:0")
    assert found.units == (("search_units", 2),)


def test_billed_search_units_outrank_counting() -> None:
    body = {"results": [], "meta": {"billed_units": {"search_units": 3}}}
    found = counts(body, {"documents": ["d"]}, model_id="cohere.rerank-v3-5:0")
    assert found.units == (("search_units", 3),)


def test_results_of_other_models_are_no_searches() -> None:
    assert counts({"results": [{"tokenCount": 4}]}, {"documents": ["d"]}) == Counts(None, 4)


CANVAS = "amazon.nova-canvas-v1:0"
TITAN = "amazon.titan-image-generator-v2:0"
XL_0, XL_1 = "stability.stable-diffusion-xl-v0", "stability.stable-diffusion-xl-v1"
REMOVAL = {"taskType": "BACKGROUND_REMOVAL", "backgroundRemovalParams": {"image": "aGk="}}
INPAINTING = {"taskType": "INPAINTING", "imageGenerationConfig": {"quality": "premium"}}
SIZED = {"imageGenerationConfig": {"width": 512, "height": 768, "quality": "premium"}}


@pytest.mark.parametrize(
    "request_body, unit",
    [
        ({}, "images/1024x1024/standard"),
        ({"taskType": "TEXT_IMAGE"}, "images/1024x1024/standard"),
        ({"taskType": ["BACKGROUND_REMOVAL"]}, "images/1024x1024/standard"),
        ({"imageGenerationConfig": {"quality": "PREMIUM"}}, "images/1024x1024/premium"),
        ({"imageGenerationConfig": {"width": 512, "height": 768}}, "images/512x768/standard"),
        ({"imageGenerationConfig": {"width": 512}}, "images/512x1024/standard"),
        (json.dumps(SIZED), "images/512x768/premium"),
        ({"imageGenerationConfig": {"width": "wide"}}, "images/1024x1024/standard"),
        ({"imageGenerationConfig": {"quality": "a/b"}}, "images/1024x1024"),
        ({"imageGenerationConfig": None}, "images/1024x1024/standard"),
        ({"width": 512, "height": 512, "steps": 51}, "images/1024x1024/standard"),
        (SIZED | {"taskType": "INPAINTING"}, "images/512x768/premium"),
        (REMOVAL, "images"),
        (INPAINTING, "images"),
        (None, "images"),
        ([], "images"),
        ("cut of", "images"),
    ],
)
@pytest.mark.parametrize("model_id", [CANVAS, TITAN, "us." + CANVAS])
def test_images_are_counted_by_size_and_quality(
    request_body: Any, unit: str, model_id: str
) -> None:
    found = counts({"images": ["a", "b"]}, request_body, model_id=model_id)
    assert found.units == ((unit, 2),)


@pytest.mark.parametrize(
    "request_body, unit",
    [
        ({}, "images/2048x1024/standard"),
        (REMOVAL, "images/2048x1024/standard"),
        (INPAINTING, "images/2048x1024/premium"),
        (SIZED, "images/512x768/premium"),
        (None, "images/2048x1024"),
    ],
)
def test_the_logged_size_stands_in_for_one_not_asked_for(request_body: Any, unit: str) -> None:
    sizes = {"image_width": raw(2048), "image_height": raw(1024)}
    found = counts({"images": ["a"]}, request_body, model_id=CANVAS, **sizes)
    assert found.units == ((unit, 1),)


@pytest.mark.parametrize(
    "model_id, request_body, unit",
    [
        (XL_1, {}, "images/1024x1024/standard"),
        (XL_0, {}, "images/512x512/standard"),
        (XL_1, {"steps": 50}, "images/1024x1024/standard"),
        (XL_1, {"steps": 51}, "images/1024x1024/premium"),
        (XL_1, {"steps": "51"}, "images/1024x1024/standard"),
        (XL_1, {"width": 1344, "height": 768, "steps": 30}, "images/1344x768/standard"),
        (XL_0, {"width": 1024, "height": 512, "steps": 150}, "images/1024x512/premium"),
        (XL_0, {"width": -1, "height": 10**9}, "images/512x512/standard"),
        (XL_1, None, "images"),
    ],
)
def test_images_of_stable_diffusion_xl_go_by_size_and_steps(
    model_id: str, request_body: Any, unit: str
) -> None:
    body = {"result": "success", "artifacts": [{"base64": "aGk="}, {"base64": "aG8="}]}
    assert counts(body, request_body, model_id=model_id).units == ((unit, 2),)


def test_other_models_have_one_kind_of_image() -> None:
    request = {"prompt": "a boat", "width": 2048, "height": 2048, "steps": 99}
    sizes = {"image_width": raw(2048), "image_height": raw(1024)}
    model_id = "stability.stable-image-ultra-v1:1"
    found = counts({"images": ["a"]}, request, model_id=model_id, **sizes)
    assert found.units == (("images", 1),)


def test_no_image_is_known_to_be_none() -> None:
    assert counts({"images": []}, model_id="stability.sd3-5-large-v1:0").units == (("images", 0),)


def test_artifacts_are_images() -> None:
    body = {"result": "success", "artifacts": [{"base64": "aGk="}, {"base64": "aG8="}]}
    assert counts(body, model_id="stability.stable-diffusion-xl-v1").units == (("images", 2),)


def test_guardrail_units_of_every_assessment_add_up() -> None:
    def assessment(units: int) -> dict[str, Any]:
        return {"invocationMetrics": {"usage": {"topicPolicyUnits": units, "unknownUnits": 9}}}

    converse = {
        "trace": {
            "guardrail": {
                "inputAssessment": {"one": assessment(1), "two": assessment(2)},
                "outputAssessments": {"one": [assessment(4), None], "two": [assessment(8)]},
            }
        }
    }
    native = {
        "amazon-bedrock-trace": {
            "guardrail": {"input": {"one": assessment(16)}, "outputs": [{"one": assessment(32)}]}
        }
    }
    alone = {"amazon-bedrock-guardrailAssessment": assessment(64)}
    by_id = {"amazon-bedrock-guardrailAssessment": {"one": assessment(128)}}
    assert counts(converse).units == (("guardrail_topic_units", 15),)
    assert counts(native).units == (("guardrail_topic_units", 48),)
    assert counts([alone, by_id, "[DONE]"]).units == (("guardrail_topic_units", 192),)


def test_only_a_blocked_request_without_counts_is_known_to_be_free() -> None:
    blocked = {"amazon-bedrock-guardrailAction": "INTERVENED"}
    assert counts(blocked) == Counts(0, 0)
    assert counts(blocked, input_tokens=70, output_tokens=209) == Counts(70, 209)
    assert itemise(envelope(), ABSENT, raw({"amazon-bedrock-guardrailAction": "NONE"})) is None


def test_a_sum_beyond_belief_is_capped() -> None:
    usage = {"usage": {"topicPolicyUnits": QUANTITY_MAX}}
    assessments = {"g": [{"invocationMetrics": usage}] * 3}
    body = {"trace": {"guardrail": {"outputAssessments": assessments}}}
    assert counts(body).units == (("guardrail_topic_units", QUANTITY_MAX),)
    titan = {"results": [{"tokenCount": QUANTITY_MAX}] * 3}
    assert counts(titan).output_tokens == QUANTITY_MAX


@pytest.mark.parametrize("seconds, units", [(0, 0), (5, 5), (5.04, 6), (6.0, 6)])
def test_seconds_of_video_are_rounded_up(seconds: float, units: int) -> None:
    itemised = itemise(envelope(video_duration_seconds=raw(seconds)), ABSENT, ABSENT)
    assert itemised == Itemised(Counts(units=(("video_seconds", units),)))


def test_one_strange_chunk_does_not_spoil_the_others() -> None:
    stream = [[], {"usage": "?"}, {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}, [[]]]
    assert counts(stream) == Counts(3, 4)


def test_a_body_may_be_a_text_holding_json() -> None:
    assert counts(json.dumps([{"usage": {"inputTokens": 3, "outputTokens": 4}}])) == Counts(3, 4)


def test_the_metadata_chunk_of_a_converse_stream_is_read_whole() -> None:
    assessment = {"invocationMetrics": {"usage": {"wordPolicyUnits": 2}}}
    metadata = {
        "usage": {"inputTokens": 3, "outputTokens": 4},
        "serviceTier": {"type": "flex"},
        "trace": {"guardrail": {"inputAssessment": {"g": assessment}}},
    }
    stream = [{"contentBlockDelta": {"delta": {"text": "x"}}}, {"metadata": metadata}]
    itemised = itemise(envelope(), ABSENT, raw(stream))
    assert itemised is not None
    assert itemised.counts == Counts(3, 4, units=(("guardrail_word_units", 2),))
    assert itemised.service_tier == "flex"


def test_a_delta_may_carry_the_usage_at_the_end() -> None:
    usage = {"billed_units": {"input_tokens": 3, "output_tokens": 4}, "tokens": {}}
    stream = [
        {"type": "content-delta", "delta": {"message": {"content": {"text": '"usage"'}}}},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage}},
    ]
    assert counts(stream) == Counts(3, 4)


@pytest.mark.parametrize(
    "chunk",
    [
        {"message": 5},
        {"metadata": [1]},
        {"response": "x"},
        {"meta": {"billed_units": 5}},
        {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 1.5}},
        {"amazon-bedrock-invocationMetrics": None},
        {"amazon-bedrock-guardrailAssessment": 5},
        {"amazon-bedrock-trace": {"guardrail": {"input": 5}}},
        {"prompt_token_count": -1},
        {"serviceTier": []},
        {"images": {"a": 1}},
    ],
)
def test_a_part_of_an_unexpected_shape_adds_nothing(chunk: Any) -> None:
    assert itemise(envelope(), ABSENT, raw(chunk)) is None
    good = {"usage": {"input_tokens": 1, "output_tokens": 2}}
    assert counts([chunk, good]) == Counts(1, 2)
    assert counts(chunk | good) == Counts(1, 2)
