"""The announcer: a schedule invokes this, and the stream of the state table does."""

import asyncio
from typing import Final

from aws_lambda_powertools.utilities.data_classes import DynamoDBStreamEvent
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import (
    DynamoDBRecordEventName,
)

from handlers.events import records_of, wrong_event
from handlers.runtime import LOGGER, Answer, Event, Invocation, handler_of
from handlers.telling import announce, tell_people
from worker.announcer import Announcer
from worker.core.errors import ConfigurationError

NAME: Final = "handlers.announcer.handler"
SCHEDULED: Final = "Scheduled Event"
INDEX_SECONDS: Final = 0.5
"""How long after a notice was written an index may not know of it yet; usually much shorter."""


async def _work(event: Event, invocation: Invocation) -> Answer:
    """Announce what is due, and tell people of it, until nothing is left or time is short.

    The stream only makes it sooner. No record of it is ever reported as failed: what could not be
    announced stays pending, and the next schedule tries again, whereas a failed record would hold
    up its shard. An error that nobody expected is raised all the same, to be seen.
    """
    is_scheduled = isinstance(event, dict) and event.get("detail-type") == SCHEDULED
    if not is_scheduled:
        expected = ("eventID", "dynamodb")
        if not isinstance(event, dict) or "Records" not in event:
            raise wrong_event(NAME, f"`{SCHEDULED}` or Records[] of aws:dynamodb", event)
        records_of(event, "aws:dynamodb", NAME, expected)
        # A notice is written once and changed when it is announced: that is no news.
        names = {record.event_name for record in DynamoDBStreamEvent(event).records}
        if DynamoDBRecordEventName.INSERT not in names:
            return {"batchItemFailures": []}
    booking = await invocation.open()
    if booking.announcer is None:
        raise ConfigurationError("LEDGEROCK_BUS: no bus is set to announce on; name it")
    try:
        async with asyncio.timeout_at(invocation.deadline):
            await _announce(booking.announcer, look_twice=not is_scheduled)
            while await tell_people(booking.tellers):
                pass
    except TimeoutError:
        LOGGER.warning("out of time; what is pending is announced by the next schedule")
    return None if is_scheduled else {"batchItemFailures": []}


async def _announce(announcer: Announcer, *, look_twice: bool) -> None:
    """Announce what is due, and what became due meanwhile."""
    while True:
        done = await announce(announcer)
        if done.failed or done.faults:
            return
        if not done.announced:
            if not look_twice:
                return
            look_twice = False
            await asyncio.sleep(INDEX_SECONDS)


handler = handler_of(_work)
