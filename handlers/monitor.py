"""The monitor: a schedule invokes this, every minute."""

import asyncio
from typing import Final

from handlers.events import wrong_event
from handlers.runtime import LOGGER, METER, Answer, DeferredError, Event, Invocation, handler_of
from handlers.telling import announce, tell_people
from worker.bootstrap import Booking
from worker.core.errors import TransientError
from worker.telemetry import measure_enforced, measure_monitored

NAME: Final = "handlers.monitor.handler"
SCHEDULED: Final = "Scheduled Event"
PAUSE_SECONDS: Final = 2.0
"""Between two looks of one invocation, so that what one announced the next can act upon."""


async def _work(event: Event, invocation: Invocation) -> Answer:
    """Do what is due about budgets, suspend and restore, announce; until nothing is left to do.

    It looks at what is due alone, through an index. Several may run at once. What there is no
    time for, the next schedule does.

    Raises:
        DeferredError: What is due cannot be read now.
    """
    if not isinstance(event, dict) or event.get("detail-type") != SCHEDULED:
        raise wrong_event(NAME, f"`{SCHEDULED}`", event)
    booking = await invocation.open()
    try:
        async with asyncio.timeout_at(invocation.deadline):
            while await _round(booking):  # noqa: ASYNC110 - others have no event to set
                await asyncio.sleep(PAUSE_SECONDS)
    except TimeoutError:
        LOGGER.warning("out of time; what is due is done by the next schedule")
    except TransientError as error:
        raise DeferredError(f"what is due cannot be read: {error}") from error
    return None


async def _round(booking: Booking) -> bool:
    """Do everything once; return whether something more may be due because of it."""
    await booking.pipeline.keep_up()
    directory = booking.pipeline.directory
    is_more_to_give = directory is not None and await directory.do_due()
    done = await booking.monitor.run_due()
    measure_monitored(METER, done)
    enforced = await booking.enforcing.enforcer.run_due()
    measure_enforced(METER, enforced)
    for fault in (*done.faults, *enforced.faults):
        LOGGER.warning("due work failed", extra={"reason": fault})
    if booking.announcer is not None:
        await announce(booking.announcer)
    is_more_to_tell = await tell_people(booking.tellers)
    return is_more_to_give or bool(done) or enforced.is_cut or is_more_to_tell


handler = handler_of(_work)
