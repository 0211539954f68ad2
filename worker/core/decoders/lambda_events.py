"""Elements of `Records`: SQS messages and Kinesis records, as Lambda hands them over.

AWS documentation: "Using Lambda with Amazon SQS", "Using Lambda with Kinesis Data Streams".
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
    below,
    excerpt,
    malformed,
    text_of,
)
from worker.core.results import Position


class _Kinesis(msgspec.Struct, frozen=True, gc=False):
    data: str


_KINESIS: Final = msgspec.json.Decoder(_Kinesis)
_DATA: Final = msgspec.json.Decoder(str)


def unwrap_queue_message(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the body of an SQS message."""
    where = below(position, ".body")
    text = text_of(envelope.body)
    if text is None:
        yield malformed(where, envelope.body, "the text of a message", excerpt(envelope.body))
        return
    yield Part(where, text.encode("utf-8", "replace"), Shape.BYTES)


def unwrap_stream_record(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the data of a Kinesis record; EventBridge Pipes put it one level higher."""
    flat = bool(len(envelope.data))
    where = below(position, ".data" if flat else ".kinesis.data")
    raw = envelope.data if flat else envelope.kinesis
    try:
        text = _DATA.decode(raw) if flat else _KINESIS.decode(raw).data
        data = binascii.a2b_base64(text, strict_mode=True)
    except DECODE_ERRORS:
        yield malformed(where, raw, "base64 of a Kinesis record", excerpt(raw))
        return
    yield Part(where, data, Shape.BYTES)


def unwrap_failed_invocation(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the event that Lambda put aside because a function had failed at it.

    AWS documentation: "Capturing records of Lambda asynchronous invocations".
    """
    yield Part(below(position, ".requestPayload"), bytes(envelope.request_payload), Shape.BYTES)
