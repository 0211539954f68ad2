"""The announcer: a schedule invokes this, and the stream of the state table does."""

import asyncio
from typing import Final

from aws_lambda_powertools.utilities.data_classes import DynamoDBStreamEvent
from aws_lambda_powertools.utilities.data_classes.dynamo_db_stream_event import (
    DynamoDBRecordEventName,
)

from handlers.events import records_of, wrong_event
from handlers.runtime import LOGGER, METER, Answer, DeferredError, Event, Invocation, handler_of
from worker.announcer import Announced, Announcer
from worker.bootstrap import Booking
from worker.core.errors import ConfigurationError, TransientError

NAME: Final = "handlers.announcer.handler"
SCHEDULED: Final = "Scheduled Event"
INDEX_SECONDS: Final = 0.5
"""How long after a notice was written an index may not know of it yet; usually much shorter."""


async def _work(event: Event, invocation: Invocation) -> Answer:
    """Announce what is due, until nothing is or time is short.

    The schedule also looks at all budgets: what a commit wrote down nobody misses, but a budget
    set in mid-period may be over its limit before anybody calls again.

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
            if is_scheduled and await _look_at_all(booking):
                await _announce(booking.announcer, look_twice=True)
    except TimeoutError:
        LOGGER.warning("out of time; what is pending is announced by the next schedule")
    return None if is_scheduled else {"batchItemFailures": []}


async def _look_at_all(booking: Booking) -> int:
    """Look at all budgets; return how many crossings were new."""
    try:
        found = await booking.budgets.look_at_all()
    except TransientError as error:
        raise DeferredError(f"budgets could not be looked at: {error}") from error
    if found:
        METER.add("crossings", len(found))
    return len(found)


async def _announce(announcer: Announcer, *, look_twice: bool) -> None:
    """Announce what is due, and what became due meanwhile."""
    while True:
        done = await announcer.announce_due()
        _measure(done)
        if done.failed or done.faults:
            return
        if not done.announced:
            if not look_twice:
                return
            look_twice = False
            await asyncio.sleep(INDEX_SECONDS)


def _measure(done: Announced) -> None:
    if done.announced:
        METER.add("notices_announced", done.announced)
    if done.failed:
        METER.add("notices_failed", done.failed)
    METER.set("notices_oldest_pending_seconds", done.oldest_wait_ms / 1000)
    for fault in done.faults:
        LOGGER.error("not announced", extra={"reason": fault})


handler = handler_of(_work)
