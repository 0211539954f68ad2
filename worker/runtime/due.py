"""What the worker does besides booking, each when it is due: budgets, suspensions, who is who."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from worker.bootstrap import Booking
from worker.runtime.monitoring import Part
from worker.telemetry import Meter, measure_enforced, measure_monitored

_log = structlog.get_logger("worker.runtime.monitoring")


def due_parts(booking: Booking, meter: Callable[[], Meter]) -> dict[str, Part]:
    """Return the parts by name, in the order in which one makes work for the next.

    Args:
        booking: What they work with.
        meter: Returns what takes their figures.
    """

    async def directory() -> bool:
        await booking.pipeline.keep_up()
        return False

    async def tiers() -> bool:
        watch = booking.pipeline.directory
        return watch is not None and await watch.do_due()

    async def budgets() -> bool:
        done = await booking.monitor.run_due()
        measure_monitored(meter(), done)
        _say("budgets", done.faults)
        return bool(done)

    async def suspensions() -> bool:
        done = await booking.enforcing.enforcer.run_due()
        measure_enforced(meter(), done)
        _say("suspensions", done.faults)
        return done.is_cut

    return {
        "directory": directory,
        "tiers": tiers,
        "budgets": budgets,
        "suspensions": suspensions,
    }


def _say(part: str, faults: Sequence[str]) -> None:
    for fault in faults:
        _log.warning("due work failed", part=part, error=fault)
