"""Telling events apart: a function that is wired to the wrong trigger says so at once."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any, Final

from worker.core.errors import ConfigurationError

KEYS_NAMED_MAX: Final = 8
TEXT_MAX: Final = 80

HANDLERS: Final = {
    "aws:sqs": "handlers.sqs.handler",
    "aws:kinesis": "handlers.kinesis.handler",
    "aws:dynamodb": "handlers.announcer.handler",
}
"""Which handler is for which records."""


class WrongEventError(ConfigurationError):
    """An event is not what its handler is for: the function is wired to another trigger."""


def records_of(event: object, source: str, handler: str, fields: tuple[str, ...]) -> list[Any]:
    """Return the records of an event source mapping's event.

    Args:
        event: What Lambda handed over.
        source: What each record's `eventSource` must be, such as `aws:sqs`.
        handler: Who asks, for the message.
        fields: What each record must have besides, or nothing could be reported on it.

    Raises:
        WrongEventError: It is another kind of event.
    """
    records = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(records, list):
        raise wrong_event(handler, f"Records[] of {source}", event)
    for number, record in enumerate(records):
        found = record.get("eventSource") if isinstance(record, Mapping) else None
        if found != source:
            raise wrong_event(handler, f"Records[{number}] of {source}", {"Records": [record]})
        missing = [name for name in fields if not record.get(name)]
        if missing:
            expected = f"Records[{number}] of {source} with {', '.join(missing)}"
            raise wrong_event(handler, expected, {"Records": [record]})
    return records


def wrong_event(handler: str, expected: str, event: object) -> WrongEventError:
    """Say what a handler expected, what it found, and which handler that is for."""
    found, better = _described(event)
    advice = f"; {better} is for those" if better and better != handler else ""
    return WrongEventError(
        f"{handler} expected {expected} and found {found}{advice}: point this function's trigger "
        "and its handler at one another"
    )


def unpacked(text: str) -> bytes:
    """Return what a text in base64 holds; one that is not is the decoder's to refuse."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text.encode(errors="surrogatepass")


def _described(event: object) -> tuple[str, str]:
    if not isinstance(event, Mapping):
        return f"a JSON {type(event).__name__}", ""
    records = event.get("Records")
    if isinstance(records, list) and records:
        first = records[0]
        if not isinstance(first, Mapping):
            return f"Records[] of {type(first).__name__}", ""
        source = str(first.get("eventSource") or first.get("EventSource") or "no eventSource")
        keys = f"a record of {_short(source)} with {_names(first)}"
        return keys, HANDLERS.get(source, "")
    if "awslogs" in event:
        return "a CloudWatch Logs subscription's awslogs", "handlers.cloudwatch_logs.handler"
    if "detail-type" in event:
        kind = str(event["detail-type"])
        scheduled = kind == "Scheduled Event"
        better = "handlers.announcer.handler" if scheduled else "handlers.eventbridge.handler"
        return f"an EventBridge event `{_short(kind)}`", better
    return f"an object with {_names(event)}", ""


def _names(event: Mapping[Any, Any]) -> str:
    names = [_short(str(name)) for name in event][:KEYS_NAMED_MAX]
    more = " …" if len(event) > KEYS_NAMED_MAX else ""
    return f"the keys {', '.join(names)}{more}" if names else "no keys"


def _short(text: str) -> str:
    return text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}…"
