"""Announcing and telling in functions: measured, logged, and no channel in the way of another."""

import asyncio
from collections.abc import Mapping

from handlers.runtime import LOGGER, METER
from worker.announcer import Announced, Announcer, Teller
from worker.core.errors import ConfigurationError
from worker.telemetry import measure_announced, measure_told


async def announce(announcer: Announcer) -> Announced:
    """Announce what is due on the bus.

    Raises:
        ConfigurationError: There is no such bus or table, or no permission.
    """
    done = await announcer.announce_due()
    measure_announced(METER, done, is_of_all=True)
    _log(done, "not announced")
    return done


async def tell_people(tellers: Mapping[str, Teller]) -> bool:
    """Tell people what is due on every channel at once; return whether there is more to tell.

    What is wrong with one channel is an error in the log, and nobody else's concern.
    """
    looks = await asyncio.gather(*(_tell(name, teller) for name, teller in tellers.items()))
    return any(done.is_cut and not done.faults for done in looks)


async def _tell(name: str, teller: Teller) -> Announced:
    try:
        done = await teller.announce_due()
    except ConfigurationError as error:
        done = Announced(faults=[str(error)])
    measure_told(METER, name, done, is_of_all=True)
    _log(done, "nobody was told", channel=name)
    return done


def _log(done: Announced, message: str, **more: str) -> None:
    for fault in done.faults:
        LOGGER.error(message, extra={"reason": fault, **more})
