"""EventBridge: a rule invokes this, asynchronously.

The rules match CloudTrail's events, new objects in S3 and changes of batch jobs.
"""

import json
from datetime import datetime
from typing import Final

from aws_lambda_powertools.utilities.data_classes import EventBridgeEvent

from handlers.booking import attempts_since, book_one
from handlers.events import wrong_event
from handlers.runtime import Answer, Event, Invocation, handler_of
from worker.ports import Delivery

NAME: Final = "handlers.eventbridge.handler"


async def _work(event: Event, invocation: Invocation) -> Answer:
    """Book one event.

    An object that it names is read here, for as long as there is time. An error that is raised
    makes Lambda invoke again with the same event, twice by default, which goes on where the
    object was left; after that the event goes to the function's destination on failure.
    """
    if not isinstance(event, dict) or not isinstance(event.get("detail-type"), str):
        raise wrong_event(NAME, "an EventBridge event with detail-type", event)
    typed = EventBridgeEvent(event)
    name = f"eventbridge:{event.get('id') or invocation.request_id}"
    # As ASCII: every text that JSON can hold survives, even one that UTF-8 cannot.
    body = json.dumps(typed.raw_event, separators=(",", ":")).encode()
    sent_at_ms = _sent_at_ms(str(event.get("time")))
    delivery = Delivery(
        body,
        receipt=name,
        name=name,
        attempts=attempts_since(sent_at_ms),
        sent_at_ms=sent_at_ms,
        source="eventbridge",
    )
    await book_one(invocation, delivery)
    return None


def _sent_at_ms(text: str) -> int:
    try:
        return int(datetime.fromisoformat(text).timestamp() * 1000)
    except ValueError:
        return 0


handler = handler_of(_work)
