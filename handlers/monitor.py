"""The monitor: a schedule invokes this, every minute."""

import asyncio
from typing import Final

from handlers.events import wrong_event
from handlers.runtime import LOGGER, METER, Answer, DeferredError, Event, Invocation, handler_of
from handlers.telling import announce, tell_people
from worker.bootstrap import Booking, due_parts
from worker.core.errors import TransientError

NAME: Final = "handlers.monitor.handler"
SCHEDULED: Final = "Scheduled Event"
PAUSE_SECONDS: Final = 2.0
"""Between two looks of one invocation, so that what one announced the next can act upon."""


async def _work(event: Event, invocation: Invocation) -> Answer:
    """Do what is due about budgets, suspend and restore, announce; until nothing is left to do.

    It looks at what is due alone, through an index. Several may run at once. What there is no
    time for, the next schedule does.

    Raises:
        DeferredError: Something that is due cannot be read now; everything else was done.
        ConfigurationError: Something is set wrongly; everything else was done.
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
    """Do everything once, whatever fails; return whether something more may be due because of it.

    Raises:
        Exception: The first that a part raised, once all others have had their turn.
    """
    parts = due_parts(booking, lambda: METER, _say)
    if booking.announcer is not None:
        announcer = booking.announcer

        async def announcing() -> bool:
            await announce(announcer)
            return False

        parts["announcing"] = announcing
    parts["telling"] = lambda: tell_people(booking.tellers)
    more, failed = False, []
    for name, part in parts.items():
        try:
            more = await part() or more
        except Exception as error:  # noqa: BLE001 - the others have their turn first
            _say(name, str(error) or type(error).__name__)
            failed.append(error)
    if failed:
        raise failed[0]
    return more


def _say(part: str, fault: str) -> None:
    LOGGER.warning("due work failed", extra={"part": part, "reason": fault})


handler = handler_of(_work)
