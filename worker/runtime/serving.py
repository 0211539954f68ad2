"""The process around a worker: what it works with, its signals, its first log line."""

from __future__ import annotations

import asyncio
import os
import signal

import structlog

from worker import __version__
from worker.adapters.clock import SystemClock
from worker.bootstrap import Booking, due_parts, open_worker
from worker.runtime.worker import Worker
from worker.settings import Settings

_log = structlog.get_logger("worker")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def serve(settings: Settings, *, burst: bool = False) -> int:
    """Work until SIGTERM or SIGINT, or in a burst until nothing is left; return the exit code.

    Raises:
        ConfigurationError: A setting is wrong, or something cannot be used at all.
    """
    async with open_worker(settings, burst=burst) as parts:
        booking = parts.booking
        worker = Worker(
            books=booking.pipeline,
            sources=parts.sources,
            settings=settings.worker,
            clock=SystemClock(),
            announcer=booking.announcer,
            tellers=booking.tellers,
            due=due_parts(booking, lambda: worker.meter, _say),
            due_seconds=settings.enforcement.monitor_seconds,
            check=lambda: _check(booking),
            requests=() if booking.dynamo is None else (booking.dynamo,),
            burst=burst,
        )
        booking.outbox.tell = worker.announcing.tell
        _log.info(
            "starting",
            version=__version__,
            process=os.getpid(),
            burst=burst,
            settings=settings.shown(),
        )
        if settings.enforcement.acts != "off" and booking.announcer is None:
            _log.warning(
                "nobody announces here: unless another worker or function does, no grace period "
                "begins and nobody is suspended; set LEDGEROCK_BUS or a channel"
            )
        loop = asyncio.get_running_loop()
        for one in SIGNALS:
            loop.add_signal_handler(one, worker.stop, one.name)
        try:
            code = await worker.run()
        finally:
            for one in SIGNALS:
                loop.remove_signal_handler(one)
    return code


async def _check(booking: Booking) -> None:
    """Reach the ledger and the state beside it; whatever is missing is said at the start."""
    await booking.pipeline.ledger.progress("worker")
    await booking.state.notes.get("worker")
    await booking.state.budgets.find("worker")


def _say(part: str, fault: str) -> None:
    _log.warning("due work failed", part=part, error=fault)
