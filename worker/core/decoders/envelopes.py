"""What all wrappers share: one look at the top level that tells them apart, and their parts."""

from collections.abc import Iterator
from enum import IntEnum
from typing import Final, NamedTuple

import msgspec

from worker.core.decoders.fields import QUARANTINED_BODY_BYTES_MAX
from worker.core.results import Malformed, Outcome, Position

DECODE_ERRORS: Final = (msgspec.MsgspecError, ValueError, RecursionError)
"""What msgspec raises on input that it cannot read, whatever the input is.

Invalid UTF-8 and lone surrogates are `ValueError`s, brackets nested too deeply a
`RecursionError`.
"""

_ABSENT: Final = msgspec.Raw()
_FOUND_CHARACTERS_MAX: Final = 80
_KEYS_SHOWN_MAX: Final = 12


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """The keys, at the top level of a JSON object, that tell wrappers apart. All undecoded.

    An absent key is an empty `msgspec.Raw`. The keys of an element of `Records` are here too,
    so that an element can also stand alone or in a bare array.
    """

    records: msgspec.Raw = msgspec.field(name="Records", default=_ABSENT)
    awslogs: msgspec.Raw = _ABSENT
    request_context: msgspec.Raw = msgspec.field(name="requestContext", default=_ABSENT)
    request_payload: msgspec.Raw = msgspec.field(name="requestPayload", default=_ABSENT)
    message_type: msgspec.Raw = msgspec.field(name="messageType", default=_ABSENT)
    log_events: msgspec.Raw = msgspec.field(name="logEvents", default=_ABSENT)
    topic_type: msgspec.Raw = msgspec.field(name="Type", default=_ABSENT)
    topic_message: msgspec.Raw = msgspec.field(name="Message", default=_ABSENT)
    detail_type: msgspec.Raw = msgspec.field(name="detail-type", default=_ABSENT)
    detail: msgspec.Raw = _ABSENT
    test_event: msgspec.Raw = msgspec.field(name="Event", default=_ABSENT)
    event_source: msgspec.Raw = msgspec.field(name="eventSource", default=_ABSENT)
    event_name: msgspec.Raw = msgspec.field(name="eventName", default=_ABSENT)
    event_version: msgspec.Raw = msgspec.field(name="eventVersion", default=_ABSENT)
    user_identity: msgspec.Raw = msgspec.field(name="userIdentity", default=_ABSENT)
    topic_source: msgspec.Raw = msgspec.field(name="EventSource", default=_ABSENT)
    body: msgspec.Raw = _ABSENT
    kinesis: msgspec.Raw = _ABSENT
    data: msgspec.Raw = _ABSENT
    s3: msgspec.Raw = _ABSENT
    sns: msgspec.Raw = msgspec.field(name="Sns", default=_ABSENT)
    time: msgspec.Raw = _ABSENT
    events: msgspec.Raw = _ABSENT
    message: msgspec.Raw = _ABSENT
    timestamp: msgspec.Raw = _ABSENT
    ingestion_time: msgspec.Raw = msgspec.field(name="ingestionTime", default=_ABSENT)
    query_results: msgspec.Raw = msgspec.field(name="results", default=_ABSENT)
    query_message: msgspec.Raw = msgspec.field(name="@message", default=_ABSENT)
    looked_up: msgspec.Raw = msgspec.field(name="Events", default=_ABSENT)
    lookup_event: msgspec.Raw = msgspec.field(name="CloudTrailEvent", default=_ABSENT)
    record_id: msgspec.Raw = msgspec.field(name="recordId", default=_ABSENT)
    model_input: msgspec.Raw = msgspec.field(name="modelInput", default=_ABSENT)
    model_output: msgspec.Raw = msgspec.field(name="modelOutput", default=_ABSENT)
    error: msgspec.Raw = _ABSENT
    total_record_count: msgspec.Raw = msgspec.field(name="totalRecordCount", default=_ABSENT)
    processed_record_count: msgspec.Raw = msgspec.field(
        name="processedRecordCount", default=_ABSENT
    )
    quarantined_at_ms: msgspec.Raw = _ABSENT


class Shape(IntEnum):
    """How a part is to be read."""

    JSON = 0
    """One JSON value whose syntax is known to be right."""
    BYTES = 1
    """Anything: compressed, base64, JSON, lines of JSON."""
    CLOUDTRAIL = 2
    """One CloudTrail event."""


class Part(NamedTuple):
    """Something inside a wrapper that is a record, or another wrapper.

    Attributes:
        position: Where it stands.
        payload: Its bytes.
        shape: How to read them.
    """

    position: Position
    payload: bytes | msgspec.Raw
    shape: Shape


Unwrapped = Iterator[Part | Outcome]
"""What a wrapper's decoder yields: parts to go on with, and outcomes already."""


def below(position: Position, path: str) -> Position:
    """Return the position of something at `path` (`.body`, `[3]`) below `position`."""
    return Position(position.source, position.line, position.path + path)


def excerpt(raw: bytes | msgspec.Raw) -> str:
    """Return the beginning of a value, for people, on one line."""
    text = bytes(memoryview(raw)[: _FOUND_CHARACTERS_MAX + 1]).decode("utf-8", "replace")
    text = " ".join(text.split())
    if not text:
        return "nothing"
    printable = "".join(character if character.isprintable() else "?" for character in text)
    if len(printable) <= _FOUND_CHARACTERS_MAX:
        return printable
    return printable[: _FOUND_CHARACTERS_MAX - 1] + "…"


def top_level_keys(raw: bytes | msgspec.Raw) -> str:
    """Return the keys of a JSON object, for people, or an excerpt of another value."""
    try:
        keys = list(msgspec.json.decode(raw, type=dict[str, msgspec.Raw]))
    except DECODE_ERRORS:
        return excerpt(raw)
    if not keys:
        return "an empty object"
    shown = ", ".join(excerpt(key.encode("utf-8", "replace")) for key in keys[:_KEYS_SHOWN_MAX])
    return f"keys {shown}{', …' if len(keys) > _KEYS_SHOWN_MAX else ''}"


def malformed(
    position: Position,
    payload: bytes | msgspec.Raw,
    expected: str,
    found: str,
    path: str = "$",
) -> Malformed:
    """Return the outcome of a record that is not what it should be.

    Args:
        position: Where the record stands.
        payload: The record; cut when it is larger than quarantine takes.
        expected: What was expected.
        found: What was there instead.
        path: Where within the record, a JSON path.
    """
    body = bytes(memoryview(payload)[:QUARANTINED_BODY_BYTES_MAX])
    return Malformed(path, expected, found, body, len(body) < len(payload), position)


def absent(raw: msgspec.Raw) -> bool:
    """Whether a key was missing or null."""
    return not len(raw) or raw == _NULL


_NULL: Final = msgspec.Raw(b"null")
_STRING: Final = msgspec.json.Decoder(str)


def text_of(raw: msgspec.Raw) -> str | None:
    """Return a JSON string's text, or None for anything else."""
    try:
        return _STRING.decode(raw)
    except DECODE_ERRORS:
        return None
