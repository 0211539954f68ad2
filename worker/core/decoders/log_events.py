"""Log events and API events outside of a subscription: what command-line tools and exports give.

* `aws logs filter-log-events`, `get-log-events`: `{"events": [{"timestamp", "message"}]}`
* CloudWatch Logs Insights: `{"results": [[{"field": "@message", "value"}]]}`, or as exported
  from the console `[{"@timestamp", "@message"}]`
* `aws cloudtrail lookup-events`: `{"Events": [{"EventId", "CloudTrailEvent": "<json>"}]}`
* exports to S3 (AWS documentation: "Exporting log data to Amazon S3") and `aws logs tail`: lines
  that begin with a time

Each event is recognised by itself as well, however it was picked out of its list.
"""

import re
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
from worker.core.results import Ignored, Malformed, Position

LINE_TIME: Final = re.compile(
    rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:[.,]\d{1,9})?(?:Z|[+-]\d\d:?\d\d)? "
    rb"(?:[^\s{\[\"]{1,512} )?(?=[{\[])",
)
"""What stands before the JSON of a line: a time, and of `aws logs tail` the stream's name."""

MESSAGE_FIELD: Final = "@message"


class _Field(msgspec.Struct, gc=False):
    field: str | None = None
    value: str | None = None


_decode_row: Final = msgspec.json.Decoder(list[_Field]).decode


def is_log_event(envelope: Envelope) -> bool:
    """Whether this is one log event by itself."""
    return not absent(envelope.message) and not (
        absent(envelope.timestamp) and absent(envelope.ingestion_time)
    )


def unwrap_log_event(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the message of one log event."""
    yield _message(envelope.message, below(position, ".message"))


def unwrap_query_event(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the message of one row of a query, as the console exports it."""
    yield _message(envelope.query_message, below(position, '["@message"]'))


def unwrap_lookup_event(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the CloudTrail event of one that was looked up."""
    where = below(position, ".CloudTrailEvent")
    text = text_of(envelope.lookup_event)
    if text is None:
        found = excerpt(envelope.lookup_event)
        yield malformed(where, envelope.lookup_event, "the text of a CloudTrail event", found)
        return
    yield Part(where, text.encode("utf-8", "replace"), Shape.CLOUDTRAIL)


def unwrap_query(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the messages of a query's results."""
    where = below(position, ".results")
    index = -1
    try:
        for index, row in enumerate(array_elements(envelope.query_results)):
            yield _row(row, below(where, f"[{index}]"))
    except DECODE_ERRORS:
        found = excerpt(envelope.query_results)
        yield malformed(where, envelope.query_results, "an array of rows", found)
        return
    if index < 0:
        yield Ignored("query without results", position)


def _row(row: msgspec.Raw | bytes, where: Position) -> Part | Malformed:
    expected = f"a row with the field {MESSAGE_FIELD}"
    try:
        values = {field.field: field.value for field in _decode_row(row)}
    except DECODE_ERRORS:
        values = {}
    message = values.get(MESSAGE_FIELD)
    if message is None:
        return malformed(where, row, expected, excerpt(row))
    return Part(where, message.encode("utf-8", "replace"), Shape.BYTES)


def _message(raw: msgspec.Raw, where: Position) -> Part:
    """Take a message: a text, or (as some tools write it) the JSON that the text held."""
    text = text_of(raw)
    content = bytes(raw) if text is None else text.encode("utf-8", "replace")
    return Part(where, content, Shape.BYTES)
