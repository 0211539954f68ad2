"""What there is to do besides booking, each when it is due: budgets, suspensions, who is who."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from worker.bootstrap.booking import Booking
from worker.telemetry import Meter, measure_enforced, measure_monitored, measure_states

Part = Callable[[], Awaitable[bool]]
"""One kind of due work; returns whether it may have made more work due."""

Say = Callable[[str, str], None]
"""Is told which part could not do something, and why."""


def due_parts(booking: Booking, meter: Callable[[], Meter], say: Say) -> dict[str, Part]:
    """Return the parts by name, in the order in which one makes work for the next.

    None may hold up the others by failing: whoever runs them sees to that.

    Args:
        booking: What they work with.
        meter: Returns what takes their figures.
        say: Is told what failed without ending a part.
    """

    async def directory() -> bool:
        await booking.pipeline.keep_up()
        return False

    async def budgets() -> bool:
        done = await booking.monitor.run_due()
        measure_monitored(meter(), done)
        for fault in done.faults:
            say("budgets", fault)
        return bool(done)

    async def suspensions() -> bool:
        done = await booking.enforcing.enforcer.run_due()
        measure_enforced(meter(), done)
        for fault in done.faults:
            say("suspensions", fault)
        return done.is_cut

    async def tiers() -> bool:
        watch = booking.pipeline.directory
        if watch is None:
            return False
        more = await watch.do_due()
        for fault in watch.faults:
            say("tiers", fault)
        return more

    async def census() -> bool:
        counts = await booking.census.count_due()
        if counts is not None:
            measure_states(meter(), counts)
        return False

    return {
        "directory": directory,
        "budgets": budgets,
        "suspensions": suspensions,
        "tiers": tiers,
        "census": census,
    }
