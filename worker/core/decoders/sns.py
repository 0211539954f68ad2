"""SNS: a notification as the body of a message, and an element of a Lambda event.

AWS documentation: "Amazon SNS message and JSON formats".
"""

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
from worker.core.results import Ignored, Malformed, Position

_CONFIRMATIONS: Final = frozenset({"SubscriptionConfirmation", "UnsubscribeConfirmation"})


class _Sns(msgspec.Struct, frozen=True, gc=False):
    message: msgspec.Raw = msgspec.field(name="Message")


_SNS: Final = msgspec.json.Decoder(_Sns)


def unwrap_notification(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the message of `{"Type": "Notification", "Message": "..."}`."""
    kind = text_of(envelope.topic_type)
    if kind in _CONFIRMATIONS:
        yield Ignored(f"SNS {kind}: confirm or end the subscription by hand", position)
        return
    yield _message(envelope.topic_message, below(position, ".Message"))


def unwrap_record(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the message of an element of a Lambda event, `{"EventSource": "aws:sns", "Sns": …}`."""
    where = below(position, ".Sns.Message")
    try:
        message = _SNS.decode(envelope.sns).message
    except DECODE_ERRORS:
        yield malformed(where, envelope.sns, "the text of a message", excerpt(envelope.sns))
        return
    yield _message(message, where)


def _message(raw: msgspec.Raw, position: Position) -> Part | Malformed:
    text = text_of(raw)
    if text is None:
        return malformed(position, raw, "the text of a message", excerpt(raw))
    return Part(position, text.encode("utf-8", "replace"), Shape.BYTES)
