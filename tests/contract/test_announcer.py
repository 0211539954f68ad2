"""The announcer on every outbox: crashes in between, two at a time, nothing lost."""

import asyncio
import json
from collections import Counter

from tests.calls import DAY, NOON, UNLISTED, asynchronous, book, call, poster
from tests.contract.conftest import Open, OpenState
from tests.events import checked_all
from tests.unit.test_announcer import Clock, CrashedError, FaultyBus, event_id, no_pause, notice
from worker.adapters.memory_bus import MemoryBus
from worker.adapters.memory_state import MemoryOutbox
from worker.announcer import Announced, Announcer
from worker.core.evidence import Counts
from worker.pipeline.usage import SETTLING_MS, UsageWatch
from worker.ports import Outbox

NUMBER = 104
"""More than an outbox yields at a time."""


async def states(outbox: Outbox) -> Counter[str]:
    return Counter(one.state for one in await outbox.about("budget/alice"))


@asynchronous
async def test_whatever_crashes_every_notice_is_announced_under_one_id(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        bus = FaultyBus(seed=4, share=0.2, crashes=3)
        announcer = Announcer(state.outbox, bus, Clock(), pause=no_pause)
        written = [notice(number, due_at_ms=NOON - number % 7) for number in range(NUMBER)]
        await state.outbox.put(written)
        for _ in range(100):
            try:
                await announcer.announce_due()
            except CrashedError:
                announcer = Announcer(state.outbox, bus, Clock(), pause=no_pause)
            if await states(state.outbox) == {"announced": NUMBER}:
                break
        assert await states(state.outbox) == {"announced": NUMBER}
        assert {event_id(one) for one in bus.events} == {one.id for one in written}
        assert await announcer.announce_due() == Announced()


@asynchronous
async def test_two_announcers_at_once_miss_nothing(open_state: OpenState) -> None:
    async with open_state() as state:
        bus = MemoryBus()
        written = await state.outbox.put([notice(number) for number in range(40)])
        announcers = [Announcer(state.outbox, bus, Clock(), pause=no_pause) for _ in range(2)]
        done = await asyncio.gather(
            *(one.announce_due() for one in announcers), announcers[0].announce(written)
        )
        assert all(one.failed == 0 and not one.faults for one in done)
        times = Counter(map(event_id, bus.events))
        assert set(times) == {one.id for one in written}
        assert max(times.values()) <= 2
        assert await states(state.outbox) == {"announced": 40}


@asynchronous
async def test_uncharged_usage_is_counted_in_every_ledger(open_ledger: Open) -> None:
    counts = Counts(input_tokens=100, output_tokens=10)
    async with open_ledger() as ledger:
        outbox, clock, bus = MemoryOutbox(), Clock(), MemoryBus()
        [committed] = await book(ledger, poster(), call(1, counts, model=UNLISTED))
        await UsageWatch(outbox=outbox, clock=clock).look(committed.postings, [])
        await book(ledger, poster(), call(2, counts, model=UNLISTED), call(3, at_ms=NOON - DAY))
        clock.at_ms += SETTLING_MS
        announcer = Announcer(outbox, bus, clock, ledger, pause=no_pause)
        assert await announcer.announce_due() == Announced(announced=1)
        [detail] = checked_all(bus.events)
        assert detail["calls"] == 2
        [kept] = await outbox.about("usage/2026-10-01")
        assert json.loads(bytes(kept.detail)) == detail, "what was announced is what is kept"
