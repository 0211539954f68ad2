import base64
import gzip
import zlib
from typing import Any

import msgspec
import pytest

from tests.unit.core.decoders.payloads import (
    bridge_event,
    brief,
    cloudtrail_event,
    decode,
    invocation_log,
    log_key,
    log_line,
    notification,
    packed,
    payload,
    queue_event,
    s3_event,
    stream_event,
    subscription,
    text,
)
from worker.core.decoders import Limits
from worker.core.evidence import Observation
from worker.core.results import Ignored, Malformed, ObjectReference

LOG = text(invocation_log(1))
EVENT = text(cloudtrail_event(1))
BATCH = payload(subscription(LOG))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(LOG.encode(), id="bare log"),
        pytest.param(payload(cloudtrail_event(1)), id="bare CloudTrail event"),
        pytest.param(b"\xef\xbb\xbf" + LOG.encode(), id="byte order mark"),
        pytest.param(b"\n\n  " + LOG.encode() + b"\r\n\n", id="blank lines around"),
        pytest.param({"Records": [cloudtrail_event(1)]}, id="CloudTrail file"),
        pytest.param([invocation_log(1)], id="array"),
        pytest.param(payload(LOG), id="JSON in a JSON string"),
        pytest.param(BATCH, id="decoded subscription"),
        pytest.param(gzip.compress(BATCH), id="gzip"),
        pytest.param(zlib.compress(BATCH), id="zlib"),
        pytest.param(base64.b64encode(gzip.compress(BATCH)), id="base64 of gzip"),
        pytest.param(base64.b64encode(zlib.compress(BATCH)), id="base64 of zlib"),
        pytest.param({"awslogs": {"data": packed(subscription(LOG))}}, id="logs to Lambda"),
        pytest.param(
            {"awslogs": {"data": base64.b64encode(zlib.compress(BATCH)).decode()}},
            id="account policy, zlib",
        ),
        pytest.param(
            {
                "version": "1.0",
                "timestamp": "2026-11-20T12:00:00.000Z",
                "requestContext": {"requestId": "e4b4", "condition": "RetriesExhausted"},
                "requestPayload": {"awslogs": {"data": packed(subscription(LOG))}},
                "responseContext": {"statusCode": 200, "functionError": "Unhandled"},
                "responsePayload": {"errorMessage": "out of time"},
            },
            id="put aside by Lambda",
        ),
        pytest.param(subscription(EVENT), id="CloudTrail log group"),
        pytest.param(stream_event(gzip.compress(BATCH)), id="logs in Kinesis"),
        pytest.param(stream_event(BATCH), id="plain JSON in Kinesis"),
        pytest.param(queue_event(LOG), id="log in SQS"),
        pytest.param(queue_event(packed(subscription(LOG))), id="base64 in SQS"),
        pytest.param(queue_event(text(notification(LOG))), id="log in SNS in SQS"),
        pytest.param(
            {"Records": [{"EventSource": "aws:sns", "Sns": notification(LOG)}]}, id="SNS to Lambda"
        ),
        pytest.param(
            bridge_event("AWS API Call via CloudTrail", cloudtrail_event(1)), id="EventBridge"
        ),
        pytest.param(
            bridge_event("AWS Service Event via CloudTrail", cloudtrail_event(1)),
            id="EventBridge service event",
        ),
        pytest.param(
            queue_event(text(bridge_event("AWS API Call via CloudTrail", cloudtrail_event(1)))),
            id="EventBridge in SQS",
        ),
        pytest.param(
            [{"eventSource": "aws:kinesis", "data": base64.b64encode(LOG.encode()).decode()}],
            id="array of a pipe",
        ),
    ],
)
def test_one_call_is_found_in_every_wrapper(value: object) -> None:
    assert brief(decode(value)) == [(log_key(1), "")]


@pytest.mark.parametrize(
    "value, reason",
    [
        (subscription("CWL CONTROL MESSAGE: Checking health", kind="CONTROL_MESSAGE"), "control"),
        (subscription(), "without log events"),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "b"}, "S3 test event"),
        (bridge_event("EC2 Instance State-change Notification", None), "EC2"),
        (s3_event("a.json.gz", "ObjectRemoved:Delete"), "ObjectRemoved:Delete"),
        (s3_event("AWSLogs/1/CloudTrail-Digest/us-east-1/x.json.gz"), "digest"),
        ({"Type": "SubscriptionConfirmation", "Message": "You have chosen"}, "confirm"),
        ({"Records": []}, "no records"),
        ([], "no records"),
        (b"", "empty payload"),
        (b" \n\r\n\t", "empty payload"),
    ],
)
def test_what_is_no_call_by_design_is_ignored_with_a_reason(value: object, reason: str) -> None:
    (outcome,) = decode(value)
    assert isinstance(outcome, Ignored)
    assert reason in outcome.reason
    assert outcome.position.source == "somewhere"


@pytest.mark.parametrize(
    "value, expected, found",
    [
        ({"hello": 1, "world": 2}, "a model invocation log", "keys hello, world"),
        ({}, "a model invocation log", "an empty object"),
        (
            {"eventSource": "aws:dynamodb", "eventName": "INSERT", "eventVersion": "1.1"},
            "a model invocation log",
            "keys eventSource, eventName, eventVersion",
        ),
        (b"hello", "JSON", "hello"),
        (b"42", "JSON", "42"),
        (b"null", "JSON", "null"),
        (b'{"a":', "one JSON value", '{"a":'),
        (b'{"a":NaN}', "one JSON value", '{"a":NaN}'),
        (b'{"a":"\xff\xfe"}', "UTF-8", "byte sequence at 6"),
        ('{"a":1}'.encode("utf-16"), "UTF-8", "UTF-16"),
        ({"Records": None}, "an array", "null"),
        ({"Records": {"a": 1}}, "an array", '{"a":1}'),
        ({"awslogs": {"data": "!!"}}, "base64", '{"data":"!!"}'),
        ({"awslogs": {}}, "base64", "{}"),
        (bridge_event("AWS API Call via CloudTrail", None), "an object", "null"),
        (bridge_event("AWS API Call via CloudTrail", "x"), "an object", '"x"'),
        (bridge_event("Object Created", {"bucket": {}}), "bucket.name", "name"),
        ({"detail-type": 7, "detail": {}}, "detail-type", "7"),
        ({"messageType": "OTHER", "logEvents": []}, "DATA_MESSAGE", '"OTHER"'),
        (subscription() | {"logEvents": None}, "an array of log events", "nothing"),
        (subscription() | {"logEvents": 5}, "an array of log events", "5"),
        (b"\xf3\x89\x9a\xc2 whatever", "an aggregated record and its MD5", "13 bytes"),
        (gzip.compress(BATCH)[:-9], "a complete gzip stream", "its end missing"),
        (gzip.compress(BATCH) + b"junk", "a complete gzip stream", "no gzip member"),
        ({"Type": "Notification", "Message": 3}, "the text of a message", "3"),
        ({"Type": "Notification", "Message": "hello"}, "JSON", "hello"),
    ],
)
def test_what_cannot_be_understood_says_why(value: object, expected: str, found: str) -> None:
    (outcome,) = decode(value)
    assert isinstance(outcome, Malformed)
    assert expected in outcome.expected
    assert found in outcome.found
    assert outcome.position.source == "somewhere"
    assert outcome.body


def test_a_bad_record_never_spoils_its_siblings_in_a_queue_event() -> None:
    event: dict[str, Any] = queue_event(LOG, "nonsense", text(invocation_log(2)), "{}")
    event["Records"][3]["body"] = 12
    event["Records"] += [None, "x", {"eventSource": "aws:sqs"}, *queue_event(EVENT)["Records"]]
    assert brief(decode(event)) == [
        (log_key(1), ""),
        ("Malformed", "$.Records[1].body"),
        (log_key(2), ""),
        ("Malformed", "$.Records[3].body"),
        ("Malformed", "$.Records[4]"),
        ("Malformed", "$.Records[5]"),
        ("Malformed", "$.Records[6].body"),
        (log_key(1), ""),
    ]


def test_a_bad_log_event_never_spoils_its_siblings() -> None:
    batch = subscription(LOG, "START of something\nwith two lines", "", text(invocation_log(2)))
    batch["logEvents"] += [{"message": 5}, None, {"message": EVENT}]
    assert brief(decode(batch)) == [
        (log_key(1), ""),
        ("Malformed", "$.logEvents[1].message"),
        ("Ignored", "$.logEvents[2].message"),
        (log_key(2), ""),
        ("Malformed", "$.logEvents[4].message"),
        ("Malformed", "$.logEvents[5].message"),
        (log_key(1), ""),
    ]


def test_a_bad_event_never_spoils_its_siblings_in_a_cloudtrail_file() -> None:
    broken = cloudtrail_event(2, userIdentity=5, eventTime=[])
    file = {"Records": [cloudtrail_event(1), broken, {"odd": 1}, cloudtrail_event(3)]}
    first, second, third, fourth = decode(file)
    assert isinstance(first, Observation)
    assert isinstance(second, Malformed)
    assert second.position.path == "$.Records[1]"
    assert msgspec.json.decode(second.body) == broken
    assert isinstance(third, Malformed)
    assert third.position.path == "$.Records[2]"
    assert isinstance(fourth, Observation)


def test_paths_lead_through_all_wrappers() -> None:
    inner = subscription(LOG, "nonsense")
    event = queue_event("{}", text(notification(packed(inner))))
    assert brief(decode(event))[1:] == [
        (log_key(1), ""),
        ("Malformed", "$.Records[1].body.Message.logEvents[1].message"),
    ]


def test_several_values_in_a_message_are_numbered_in_the_path() -> None:
    body = f"{LOG}\n{{}}\n{{}}{{}}\n"
    assert brief(decode(queue_event(body))) == [
        (log_key(1), ""),
        ("Malformed", "$.Records[0].body:2"),
        ("Malformed", "$.Records[0].body:3"),
        ("Malformed", "$.Records[0].body:3#1"),
    ]


def test_a_malformed_record_keeps_the_whole_wrapper_for_the_redrive() -> None:
    event = bridge_event("Object Created", {"bucket": 1})
    (outcome,) = decode(event)
    assert isinstance(outcome, Malformed)
    assert msgspec.json.decode(outcome.body) == event


@pytest.mark.parametrize(
    "encoded, key",
    [
        ("AWSLogs/1/logs/2026+10/a%2Bb.json.gz", "AWSLogs/1/logs/2026 10/a+b.json.gz"),
        ("plain.json", "plain.json"),
    ],
)
def test_keys_of_s3_notifications_are_decoded(encoded: str, key: str) -> None:
    (outcome,) = decode(queue_event(text(notification(text(s3_event(encoded))))))
    assert isinstance(outcome, ObjectReference)
    assert (outcome.bucket, outcome.key, outcome.version_id) == ("call-logs", key, "v1")
    assert outcome.size_bytes == 1024
    assert outcome.position.path == "$.Records[0].body.Message.Records[0]"


def test_keys_of_eventbridge_notifications_are_plain() -> None:
    detail = {
        "bucket": {"name": "call-logs"},
        "object": {"key": "2026+10/a%20b.json.gz", "size": 5, "etag": "x", "version-id": "v2"},
        "reason": "PutObject",
    }
    (outcome,) = decode(bridge_event("Object Created", detail))
    assert isinstance(outcome, ObjectReference)
    assert (outcome.key, outcome.version_id) == ("2026+10/a%20b.json.gz", "v2")


def test_objects_that_hold_no_records_are_ignored_where_they_are_announced() -> None:
    key = "AWSLogs/1/BedrockModelInvocationLogs/us-east-1/2026/10/05/12/data/0d1f_input.json.gz"
    (from_s3,) = decode(s3_event(key))
    detail = {"bucket": {"name": "call-logs"}, "object": {"key": key}}
    (from_bridge,) = decode(bridge_event("Object Created", detail))
    for outcome in (from_s3, from_bridge):
        assert isinstance(outcome, Ignored)
        assert "body kept beside" in outcome.reason


def test_wrappers_may_not_be_nested_without_end() -> None:
    value = LOG
    for _ in range(6):
        value = text(notification(value))
    assert brief(decode(value.encode())) == [(log_key(1), "")]
    for _ in range(6):
        value = text(notification(value))
    (outcome,) = decode(value.encode())
    assert isinstance(outcome, Malformed)
    assert "at most 8 wrappers" in outcome.expected
    (outcome,) = decode(b"[" * 200_000)
    assert isinstance(outcome, Malformed)


def test_compression_inside_compression_is_bounded() -> None:
    data = LOG.encode()
    for _ in range(12):
        data = gzip.compress(data)
    (outcome,) = decode(data)
    assert isinstance(outcome, Malformed)
    assert "at most 8 wrappers" in outcome.expected


def test_too_many_records_are_refused_with_the_bound() -> None:
    limits = Limits(records_max=3)
    file = {"Records": [cloudtrail_event(number) for number in range(5)]}
    outcomes = decode(file, limits)
    assert len(outcomes) == 4
    assert isinstance(outcomes[3], Malformed)
    assert outcomes[3].expected == "at most 3 records at once"
    lines = b"\n".join(log_line(number) for number in range(5))
    assert isinstance(decode(lines, limits)[-1], Malformed)


@pytest.mark.parametrize("value", ["{}", "{a}", "[]"])
def test_joined_values_without_end_are_refused_with_the_bound(value: str) -> None:
    for line_bytes_max in (4_000, 1_000_000):
        limits = Limits(records_max=100, line_bytes_max=line_bytes_max, block_bytes=1_000)
        outcomes = decode((value * 5_000).encode(), limits)
        assert 100 <= len(outcomes) <= 103
        last = outcomes[-1]
        assert isinstance(last, Malformed)
        assert last.expected == "at most 100 records at once"


def test_a_message_that_inflates_too_far_is_refused() -> None:
    lines = b"\n".join(log_line(number) for number in range(50))
    limits = Limits(message_bytes_max=len(lines) - 10)
    outcomes = decode(gzip.compress(lines), limits)
    assert len([o for o in outcomes if isinstance(o, Observation)]) == 49
    refused = outcomes[-1]
    assert isinstance(refused, Malformed)
    assert f"{len(lines) - 10:,} bytes" in refused.expected


def test_a_large_array_is_taken_apart_element_by_element() -> None:
    file = {"Records": [*(cloudtrail_event(number) for number in range(2_000)), 5, None, "a]b"]}
    raw = payload(file)
    assert len(raw) > 1024 * 1024
    outcomes = decode(raw)
    assert [key for key, _ in brief(outcomes)[:2_000]] == [log_key(n) for n in range(2_000)]
    assert brief(outcomes)[2_000:] == [
        ("Malformed", "$.Records[2000]"),
        ("Malformed", "$.Records[2001]"),
        ("Malformed", "$.Records[2002]"),
    ]


def test_a_large_body_is_cut_for_quarantine() -> None:
    (outcome,) = decode({"odd": "x" * 300_000})
    assert isinstance(outcome, Malformed)
    assert len(outcome.body) == 262_144
    assert outcome.truncated
