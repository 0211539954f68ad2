"""Log events outside of subscriptions: exports, command-line tools, queries, Firehose."""

import gzip
import json
from typing import Any

import pytest

from tests.unit.core.decoders.payloads import (
    brief,
    cloudtrail_event,
    decode,
    invocation_log,
    log_key,
    log_line,
    payload,
    subscription,
    text,
)
from worker.core.decoders import Decoder, Limits, ignored_object
from worker.core.results import Ignored, Malformed, Outcome

EVENT = text(cloudtrail_event(9))


def read(content: bytes, limits: Limits | None = None) -> list[Outcome]:
    """Read an object, cut in pieces that fall anywhere."""
    decoder = Decoder(limits or Limits())
    pieces = (content[start : start + 37] for start in range(0, len(content), 37))
    return [one for block in decoder.decode_stream(pieces, source="x") for one in block.outcomes]


def line(number: int) -> str:
    return log_line(number).decode()


def keys(*numbers: int) -> list[tuple[str, str]]:
    return [(log_key(number), "") for number in numbers]


def export(*messages: str, stamp: str = "2026-10-15T12:00:00.000Z ") -> bytes:
    return "".join(f"{stamp}{message}\n" for message in messages).encode()


# --- Exports ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "stamp",
    [
        "2026-10-15T12:00:00.000Z ",
        "2026-10-15T12:00:00Z ",
        "2026-10-15T12:00:00.123456+00:00 aws/bedrock/modelinvocations ",
        "2026-10-15T14:00:00 ",
    ],
)
def test_lines_of_an_export_begin_with_a_time(stamp: str) -> None:
    content = gzip.compress(export(line(1), EVENT, line(2), stamp=stamp))
    assert brief(read(content)) == keys(1, 9, 2)
    assert brief(decode(content)) == keys(1, 9, 2)
    assert brief(decode(export(line(1), stamp=stamp).strip())) == keys(1)


def test_a_message_of_an_export_may_span_lines() -> None:
    spread = json.dumps(invocation_log(1), indent=2)
    assert brief(read(export(spread, line(2), spread.replace("0001", "0003")))) == keys(1, 2, 3)


def test_prose_in_an_export_is_one_bad_record_a_line() -> None:
    content = export(line(1), "START RequestId: 5", line(2))
    outcomes = read(content)
    assert brief(outcomes) == [*keys(1), ("Malformed", "$"), *keys(2)]
    assert outcomes[1].position.line == 2  # type: ignore[union-attr]


def test_the_object_that_an_export_begins_with_is_no_log() -> None:
    assert ignored_object("exports/aws-logs-write-test") is not None
    assert ignored_object("exports/aws-logs-write-test/000000.gz") is None


# --- Command-line tools ----------------------------------------------------------------------


def filtered(*messages: str) -> dict[str, Any]:
    return {
        "events": [
            {
                "logStreamName": "aws/bedrock/modelinvocations",
                "timestamp": 1_790_000_000_000,
                "message": message,
                "ingestionTime": 1_790_000_000_100,
                "eventId": str(number),
            }
            for number, message in enumerate(messages)
        ],
        "searchedLogStreams": [],
    }


def looked_up(*events: str) -> dict[str, Any]:
    return {
        "Events": [
            {"EventId": str(number), "EventName": "InvokeModel", "CloudTrailEvent": event}
            for number, event in enumerate(events)
        ],
        "NextToken": "more",
    }


def queried(*messages: str) -> dict[str, Any]:
    return {
        "results": [
            [
                {"field": "@timestamp", "value": "2026-10-15 12:00:00.000"},
                {"field": "@message", "value": message},
                {"field": "@ptr", "value": "Cl8K"},
            ]
            for message in messages
        ],
        "status": "Complete",
    }


@pytest.mark.parametrize("indent", [None, 4])
@pytest.mark.parametrize(
    "document, path",
    [
        (filtered(line(1), "{}", line(2)), "$.events[1].message"),
        (queried(line(1), "{}", line(2)), "$.results[1]"),
        (
            [{"@timestamp": "t", "@message": message} for message in (line(1), "{}", line(2))],
            '$[1]["@message"]',
        ),
    ],
)
def test_what_tools_print_is_read_event_by_event(
    document: object, path: str, indent: int | None
) -> None:
    content = json.dumps(document, indent=indent).encode()
    expected = [*keys(1), ("Malformed", path), *keys(2)]
    assert brief(read(content)) == expected
    assert brief(decode(content)) == expected


def test_events_that_were_looked_up_are_cloudtrail_events() -> None:
    other = text(cloudtrail_event(7, eventName="GetFoundationModel"))
    outcomes = read(json.dumps(looked_up(EVENT, other), indent=4).encode())
    assert brief(outcomes) == [*keys(9), ("Ignored", "$.Events[1].CloudTrailEvent")]
    assert brief(decode({"EventId": "1", "CloudTrailEvent": EVENT})) == keys(9)
    (refused,) = decode({"EventId": "1", "CloudTrailEvent": 5})
    assert isinstance(refused, Malformed)


def test_an_event_picked_out_of_its_list_is_read_by_itself() -> None:
    lines = b"\n".join(payload(event) for event in filtered(line(1), line(2))["events"])
    assert brief(read(lines)) == keys(1, 2)


def test_an_exported_query_may_hold_messages_as_json() -> None:
    assert brief(decode([{"@timestamp": "t", "@message": invocation_log(1)}])) == keys(1)


def test_a_list_longer_than_memory_allows_is_read_event_by_event() -> None:
    limits = Limits(line_bytes_max=4_000, block_bytes=1_000)
    messages = [line(number) for number in range(40)]
    for document in (filtered(*messages), {"Events": filtered(*messages)["events"]}):
        for indent in (None, 4):
            content = json.dumps(document, indent=indent).encode()
            assert brief(read(content, limits)) == keys(*range(40))


@pytest.mark.parametrize(
    "document, result",
    [
        ({"events": [], "nextForwardToken": "f/1"}, "Ignored"),
        ({"Events": []}, "Ignored"),
        ({"results": [], "status": "Complete"}, "Ignored"),
        ({"events": 5}, "Malformed"),
        ({"results": {"a": 1}}, "Malformed"),
        ({"results": [[{"field": "@timestamp", "value": "t"}]]}, "Malformed"),
    ],
)
def test_lists_without_events_say_so(document: object, result: str) -> None:
    ((kind, _),) = brief(decode(document))
    assert kind == result


# --- Firehose --------------------------------------------------------------------------------

CONTROL = subscription("CWL CONTROL MESSAGE: Checking health", kind="CONTROL_MESSAGE")
BATCHES = [CONTROL, subscription(line(1), EVENT), subscription(line(2)), subscription(line(3))]
IN_BATCHES = [("Ignored", "$"), *keys(1, 9, 2, 3)]


def test_firehose_joins_gzip_members_without_line_breaks() -> None:
    content = b"".join(gzip.compress(payload(batch)) for batch in BATCHES)
    assert brief(read(content)) == IN_BATCHES
    assert brief(decode(content)) == IN_BATCHES


def test_firehose_may_compress_what_came_compressed() -> None:
    content = gzip.compress(b"".join(gzip.compress(payload(batch)) for batch in BATCHES))
    assert brief(read(content)) == IN_BATCHES
    assert brief(decode(content)) == IN_BATCHES
    assert brief(read(gzip.compress(content))) == IN_BATCHES


def test_firehose_that_decompresses_joins_the_batches() -> None:
    content = b"".join(payload(batch) for batch in BATCHES)
    assert brief(read(content)) == IN_BATCHES
    assert brief(read(content.replace(b'}{"messageType"', b'}\n{"messageType"'))) == IN_BATCHES
    assert brief(read(gzip.compress(content))) == IN_BATCHES


def test_firehose_that_extracts_messages_joins_them_with_or_without_line_breaks() -> None:
    messages = [line(1), EVENT, line(2)]
    assert brief(read("".join(messages).encode())) == keys(1, 9, 2)
    assert brief(read("\n".join(messages).encode())) == keys(1, 9, 2)


def test_joined_batches_longer_than_memory_allows_are_read_one_by_one() -> None:
    content = b"".join(payload(subscription(line(number))) for number in range(60))
    limits = Limits(line_bytes_max=4_000, block_bytes=1_000)
    assert brief(read(content, limits)) == keys(*range(60))
    assert brief(read(gzip.compress(gzip.compress(content)), limits)) == keys(*range(60))


def test_damage_in_an_inner_layer_keeps_what_came_before() -> None:
    inner = gzip.compress(export(line(1), line(2)))
    outcomes = read(gzip.compress(inner + inner[:30]))
    assert brief(outcomes)[:2] == keys(1, 2)
    fault = outcomes[-1]
    assert isinstance(fault, Malformed)
    assert fault.expected == "a complete gzip stream"


def test_damage_in_the_outer_layer_is_told_once() -> None:
    members = b"".join(gzip.compress(export(line(number))) for number in range(400))
    content = gzip.compress(members, compresslevel=0)
    outcomes = read(content[: len(content) // 2])
    assert sum(isinstance(outcome, Malformed) for outcome in outcomes) == 1
    assert not any(isinstance(outcome, Ignored) for outcome in outcomes)
    assert len(outcomes) > 100
