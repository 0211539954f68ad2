"""People are told once of each thing, whatever keeps the outbox, however many tell."""

import asyncio
import contextlib
from collections import Counter

from tests.calls import asynchronous
from tests.contract.conftest import OpenState
from tests.unit.test_announcer import Clock, CrashedError, no_pause
from tests.unit.test_telling import CHANNELS, Channel, grace, notice
from worker.adapters.memory_bus import MemoryBus
from worker.announcer import Announcer, Teller
from worker.announcer.telling import CLAIM_MS
from worker.core.enforcement_names import telling_partition
from worker.core.errors import RefusedMessageError

NUMBER = 12


@asynchronous
async def test_many_announcers_and_tellers_at_once_tell_each_thing_once(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        clock, bus = Clock(), MemoryBus()
        channels = [Channel(name) for name in CHANNELS]
        await state.outbox.put([*(notice(number) for number in range(NUMBER)), grace()])
        announcers = [
            Announcer(state.outbox, bus, clock, channels=CHANNELS, pause=no_pause) for _ in range(3)
        ]
        await asyncio.gather(*(one.announce_due() for one in announcers))
        tellers = [
            Teller(state.outbox, channel, state.records, clock)
            for channel in channels
            for _ in range(3)
        ]
        for _ in range(10):
            done = await asyncio.gather(*(one.announce_due() for one in tellers))
            if not any(one.announced or one.waiting for one in done):
                break
        for channel in channels:
            assert len(channel.told) == NUMBER + 1
            assert set(Counter(channel.told).values()) == {1}
            assert await state.records.partition(telling_partition(channel.name)) == []
            about = await state.outbox.about(f"{channel.name}/budget/alice")
            assert Counter(one.state for one in about) == {"announced": NUMBER + 1}
        assert len(await state.outbox.about("budget/alice")) == NUMBER + 1


@asynchronous
async def test_a_teller_that_was_killed_is_followed_by_another(open_state: OpenState) -> None:
    async with open_state() as state:
        clock, channel = Clock(), Channel("sns")
        await state.outbox.put([notice(1)])
        await Announcer(
            state.outbox, MemoryBus(), clock, channels=["sns"], pause=no_pause
        ).announce_due()
        channel.faults = [CrashedError()]
        with contextlib.suppress(CrashedError):
            await Teller(state.outbox, channel, state.records, clock).announce_due()
        other = Teller(state.outbox, channel, state.records, clock)
        assert (await other.announce_due()).waiting == 1, "its claim holds"
        clock.at_ms += CLAIM_MS
        channel.faults = [RefusedMessageError("400")]
        assert (await other.announce_due()).failed == 1
        clock.at_ms += CLAIM_MS
        again = Teller(state.outbox, channel, state.records, clock)
        assert (await again.announce_due()).announced == 1
        assert channel.told == ["event-001"]
