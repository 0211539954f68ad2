"""Telling sources that what is in hand is still being worked on."""

from __future__ import annotations

import asyncio

import structlog

from worker.core.errors import ConfigurationError, TransientError
from worker.ports import Source
from worker.runtime.health import Health
from worker.runtime.holding import Holdings

_log = structlog.get_logger("worker.runtime.heartbeat")


async def keep_extending(
    source: Source, holdings: Holdings, health: Health, *, visibility_seconds: float
) -> None:
    """Extend what is in hand of a source, at a third of the time that it hides a delivery.

    What is younger than that third is left alone: it will have been extended, or settled, by two
    thirds of its time.
    """
    loop = asyncio.get_running_loop()
    interval = visibility_seconds / 3
    part = f"extending {source.name}"
    at = loop.time()
    while True:
        at = max(at + interval, loop.time())
        await asyncio.sleep(at - loop.time())
        receipts = holdings.receipts(source.name, loop.time() - interval)
        if not receipts:
            continue
        try:
            await source.extend(receipts)
        except (TransientError, ConfigurationError) as error:
            # They may be received once more meanwhile, which books nothing twice.
            _log.warning("extending failed", source=source.name, error=str(error))
            health.warning(part, str(error))
        else:
            health.warning(part, None)
