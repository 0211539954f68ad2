"""CloudWatch Logs subscriptions: the Lambda event, and the batch of log events inside it.

AWS documentation: "Log group-level subscription filters".
"""

import binascii
from typing import Final

import msgspec

from worker.core.decoders.envelopes import (
    DECODE_ERRORS,
    Envelope,
    Part,
    Shape,
    Unwrapped,
    absent,
    below,
    excerpt,
    malformed,
    text_of,
)
from worker.core.decoders.scan import array_elements
from worker.core.results import Ignored, Position


class _LogEvent(msgspec.Struct, frozen=True, gc=False):
    message: str


class _Data(msgspec.Struct, frozen=True, gc=False):
    data: str


_LOG_EVENTS: Final = msgspec.json.Decoder(list[_LogEvent])
_LOG_EVENT: Final = msgspec.json.Decoder(_LogEvent)
_DATA: Final = msgspec.json.Decoder(_Data)


def unwrap_lambda_event(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the payload of `{"awslogs": {"data": "<base64 of gzip or zlib>"}}`."""
    where = below(position, ".awslogs.data")
    try:
        data = binascii.a2b_base64(_DATA.decode(envelope.awslogs).data, strict_mode=True)
    except DECODE_ERRORS:
        yield malformed(
            where, envelope.awslogs, "base64 of a compressed payload", excerpt(envelope.awslogs)
        )
        return
    yield Part(where, data, Shape.BYTES)


def unwrap_batch(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the messages of a `DATA_MESSAGE`; a `CONTROL_MESSAGE` holds none."""
    kind = text_of(envelope.message_type)
    if kind == "CONTROL_MESSAGE":
        yield Ignored("CloudWatch Logs control message", position)
        return
    if kind != "DATA_MESSAGE":
        yield malformed(
            position,
            envelope.message_type,
            "DATA_MESSAGE or CONTROL_MESSAGE",
            excerpt(envelope.message_type),
            "$.messageType",
        )
        return
    where = below(position, ".logEvents")
    if absent(envelope.log_events):
        yield malformed(where, envelope.log_events, "an array of log events", "nothing")
        return
    try:
        events = _LOG_EVENTS.decode(envelope.log_events)
    except DECODE_ERRORS:
        yield from _unwrap_one_by_one(envelope.log_events, where)
        return
    if not events:
        yield Ignored("CloudWatch Logs message without log events", position)
    for index, event in enumerate(events):
        yield _part(event, below(where, f"[{index}].message"))


def _unwrap_one_by_one(log_events: msgspec.Raw, position: Position) -> Unwrapped:
    """Yield what can be read of log events of which at least one is broken."""
    try:
        for index, raw in enumerate(array_elements(log_events)):
            where = below(position, f"[{index}].message")
            try:
                yield _part(_LOG_EVENT.decode(raw), where)
            except DECODE_ERRORS:
                yield malformed(where, raw, "a log event with a text message", excerpt(raw))
    except DECODE_ERRORS:
        yield malformed(position, log_events, "an array of log events", excerpt(log_events))


def _part(event: _LogEvent, where: Position) -> Part:
    return Part(where, event.message.encode("utf-8", "replace"), Shape.BYTES)
