import gzip
import hashlib

import pytest

from tests.unit.core.decoders.payloads import (
    aggregate,
    brief,
    decode,
    field,
    log_key,
    log_line,
    payload,
    stream_event,
    subscription,
    user_record,
)
from worker.core.decoders.aggregates import AGGREGATE_MAGIC, AggregateError, user_records
from worker.core.results import Ignored, Malformed


def test_each_user_record_is_decoded_by_what_it_holds() -> None:
    batch = gzip.compress(payload(subscription(log_line(3).decode(), log_line(4).decode())))
    event = stream_event(aggregate(log_line(1), log_line(2), batch), log_line(5))
    assert brief(decode(event)) == [(log_key(number), "") for number in range(1, 6)]


def test_a_bad_user_record_is_named_by_its_number_and_spoils_no_other() -> None:
    outcomes = decode(stream_event(aggregate(log_line(1), b"nonsense", log_line(2))))
    assert brief(outcomes) == [
        (log_key(1), ""),
        ("Malformed", "$.Records[0].kinesis.data#1"),
        (log_key(2), ""),
    ]
    assert isinstance(outcomes[1], Malformed)
    assert outcomes[1].body == b"nonsense"


@pytest.mark.parametrize("at", [4, 40, -17, -16, -1])
def test_damage_anywhere_is_found_by_the_digest(at: int) -> None:
    packed = bytearray(aggregate(log_line(1), log_line(2)))
    packed[at] ^= 1
    (outcome,) = decode(bytes(packed))
    assert isinstance(outcome, Malformed)
    assert "MD5" in outcome.expected
    assert outcome.body == bytes(packed)


@pytest.mark.parametrize(
    "message, expected, found",
    [
        (b"\x1a\x05abc", "5 bytes of field 3", "3 bytes"),
        (b"\x1a", "a number", "the end"),
        (b"\x02\x00", "a field", "field number 0"),
        (b"\x1b\x00", "a field", "wire type 3"),
        (b"\x18\x01", "a user record of a length", "a number"),
        (b"\x08" + b"\xff" * 10, "at most 64 bits", "a longer one"),
        (user_record(b"x") + b"\x1a\xff\xff\xff\xff\x0f", "4,294,967,295 bytes", "0 bytes"),
    ],
)
def test_a_message_that_is_no_aggregate_says_where_it_is_wrong(
    message: bytes, expected: str, found: str
) -> None:
    outcome = decode(aggregate(message=message))[-1]
    assert isinstance(outcome, Malformed)
    assert expected in outcome.expected
    assert found in outcome.found


def test_records_before_a_fault_are_kept() -> None:
    outcomes = decode(aggregate(message=user_record(log_line(1)) + b"\x1a\x05abc"))
    assert brief(outcomes) == [(log_key(1), ""), ("Malformed", "$")]


def test_unknown_fields_are_skipped_and_the_last_data_counts() -> None:
    twice = field(3, b"first") + field(3, b"last")
    message = b"\x79" + b"\0" * 8 + b"\x7d" + b"\0" * 4 + field(9, b"new") + field(3, twice)
    assert list(user_records(aggregate(message=message))) == [b"last"]


def test_a_user_record_without_data_is_refused_alone() -> None:
    message = field(3, b"\x08\x00") + field(3, b"\x1a\x7f") + user_record(log_line(1))
    outcomes = decode(aggregate(message=message))
    assert brief(outcomes) == [("Malformed", "$#0"), ("Malformed", "$#1"), (log_key(1), "")]


def test_an_aggregate_may_be_empty() -> None:
    (outcome,) = decode(aggregate())
    assert isinstance(outcome, Ignored)
    assert outcome.reason == "aggregated record without user records"


def test_aggregates_inside_each_other_end_at_the_bound_of_wrappers() -> None:
    packed = log_line(1)
    for _ in range(20):
        packed = aggregate(packed)
    (outcome,) = decode(packed)
    assert isinstance(outcome, Malformed)
    assert "wrappers" in outcome.expected


def test_nothing_is_yielded_of_an_aggregate_of_the_wrong_digest() -> None:
    packed = AGGREGATE_MAGIC + user_record(b"x") + hashlib.md5(b"y").digest()
    with pytest.raises(AggregateError):
        next(user_records(packed))
