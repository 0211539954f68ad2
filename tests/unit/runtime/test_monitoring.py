import asyncio

from tests.calls import asynchronous
from worker.core.errors import TransientError
from worker.runtime.breaker import Breaker
from worker.runtime.health import Health
from worker.runtime.holding import Holdings
from worker.runtime.monitoring import Monitoring


def health() -> Health:
    return Health(
        breaker=Breaker(),
        holdings=Holdings(deliveries_max=1, bytes_max=1),
        sources=(),
        lag_seconds_max=60,
    )


async def until(ran: list[str], times: int) -> None:
    while len(ran) < times:  # noqa: ASYNC110 - the loop under test turns meanwhile
        await asyncio.sleep(0)


@asynchronous
async def test_parts_run_in_order_and_again_while_there_is_more() -> None:
    ran: list[str] = []

    async def monitor() -> bool:
        ran.append("monitor")
        return len(ran) < 3

    async def enforce() -> None:
        ran.append("enforce")

    monitoring = Monitoring({"monitor": monitor, "enforce": enforce}, seconds=3600, health=health())
    before = monitoring.has_looked
    running = asyncio.create_task(monitoring.run())
    await until(ran, 4)
    assert (before, monitoring.has_looked) == (False, True)
    assert ran == ["monitor", "enforce", "monitor", "enforce"]
    await asyncio.sleep(0)
    monitoring.wake()
    await until(ran, 6)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


@asynchronous
async def test_a_part_that_fails_holds_up_no_other_and_waits_before_its_next_try() -> None:
    ran: list[str] = []

    async def broken() -> None:
        ran.append("broken")
        raise TransientError("throttled")

    async def sound() -> None:
        ran.append("sound")

    well = health()
    monitoring = Monitoring({"broken": broken, "sound": sound}, seconds=60, health=well)
    await monitoring.run_once()
    await monitoring.run_once()
    assert ran == ["broken", "sound", "sound"]


@asynchronous
async def test_an_error_nobody_expects_ends_nothing_but_is_seen() -> None:
    ran: list[str] = []

    async def broken() -> None:
        ran.append("broken")
        raise ZeroDivisionError

    monitoring = Monitoring({"broken": broken}, seconds=0, health=health())
    for _ in range(20):
        await monitoring.run_once()
    assert len(ran) == 20
    assert monitoring.is_failing
