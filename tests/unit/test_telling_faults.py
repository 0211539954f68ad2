"""Killed between any two writes, throttled anywhere: people hear, and not twice without a crash."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import asynchronous
from tests.unit.test_announcer import CrashedError, no_pause
from tests.unit.test_telling import CHANNELS, World, notice
from worker.announcer import Announcer, Teller
from worker.announcer.telling import CLAIM_MS
from worker.core.errors import RefusedMessageError, TransientError


class Fuse:
    """Kills the process before or after the write with this number."""

    def __init__(self, blows_at: int) -> None:
        self.left = blows_at

    def burn(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise CrashedError


class Crashing:
    """Everything of a part that changes anything, each a place where the process may be killed."""

    def __init__(self, part: Any, fuse: Fuse, *methods: str) -> None:
        self._part, self._fuse, self._methods = part, fuse, methods

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name not in self._methods:
            return found

        async def guarded(*arguments: Any, **named: Any) -> Any:
            self._fuse.burn()
            done = await found(*arguments, **named)
            self._fuse.burn()
            return done

        return guarded


async def lives(world: World, fuse: Fuse) -> None:
    """Announce and tell everything in a process that the fuse kills."""
    outbox: Any = Crashing(world.outbox, fuse, "put", "settle")
    records: Any = Crashing(world.records, fuse, "write", "remove")
    bus: Any = Crashing(world.bus, fuse, "publish")
    announcer = Announcer(outbox, bus, world.clock, channels=CHANNELS, pause=no_pause)
    await announcer.announce_due()
    for name in CHANNELS:
        channel: Any = Crashing(world.channels[name], fuse, "tell")
        await Teller(outbox, channel, records, world.clock).announce_due()


@pytest.mark.parametrize("blows_at", range(23))
@asynchronous
async def test_killed_between_any_two_writes_everybody_hears_and_twice_only_if_told_before(
    blows_at: int,
) -> None:
    world = World()
    await world.outbox.put([notice(1)])
    fuse = Fuse(blows_at)
    try:
        await lives(world, fuse)
    except CrashedError:
        pass
    else:
        assert blows_at == 22, "the last is a run without a crash"
    told_before = {name: len(world.channels[name].told) for name in CHANNELS}
    settled_before = {name: await world.states(name) for name in CHANNELS}
    await lives(world, Fuse(-1))
    # What was claimed by the process that was killed waits until the claim expires.
    world.clock.at_ms += CLAIM_MS
    await lives(world, Fuse(-1))
    for name in CHANNELS:
        times = len(world.channels[name].told)
        is_open = told_before[name] and settled_before[name] != {"announced": 1}
        assert times == (2 if is_open else 1), (name, told_before, settled_before)
        assert await world.states(name) == {"announced": 1}
    assert {json.loads(one.detail)["event_id"] for one in world.bus.events} == {"event-001"}
    assert len(world.bus.events) <= 2


@given(crashes=st.lists(st.integers(0, 60), max_size=4), minutes=st.integers(1, 3))
def test_however_often_it_is_killed_people_hear_of_each_once_and_once_more_for_each_crash(
    crashes: list[int], minutes: int
) -> None:
    async def story() -> None:
        world = World()
        numbers = range(3)
        await world.outbox.put([notice(number) for number in numbers])
        for blows_at in crashes:
            with contextlib.suppress(CrashedError):
                await lives(world, Fuse(blows_at))
            world.clock.at_ms += minutes * CLAIM_MS
        await lives(world, Fuse(-1))
        for name in CHANNELS:
            told = Counter(world.channels[name].told)
            assert set(told) == {f"event-{number:03d}" for number in numbers}
            assert sum(told.values()) <= len(numbers) + len(crashes)
            assert await world.states(name) == {"announced": len(numbers)}

    asyncio.run(story())


class Failing:
    """A part whose methods fail now and then, before they have done anything."""

    def __init__(self, part: Any, chance: Callable[[], bool], *methods: str) -> None:
        self._part, self._chance, self._methods = part, chance, methods

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if name not in self._methods:
            return found

        async def guarded(*arguments: Any, **named: Any) -> Any:
            if self._chance():
                raise TransientError(f"{name} is throttled")
            return await found(*arguments, **named)

        return guarded


@given(seed=st.integers(0, 10**6), refused=st.integers(0, 3))
def test_whatever_is_throttled_people_hear_of_each_exactly_once(seed: int, refused: int) -> None:
    async def story() -> None:
        world, chance = World(), Random(seed)
        await world.announced(*(notice(number) for number in range(4)))

        def fails() -> bool:
            return chance.random() < 0.3

        outbox: Any = Failing(world.outbox, fails, "settle", "find")
        records: Any = Failing(world.records, fails, "write", "get", "remove")
        channel: Any = Failing(world.channels["sns"], fails, "tell")
        world.channels["sns"].faults = [RefusedMessageError("400")] * refused
        tellers = [Teller(outbox, channel, records, world.clock) for _ in range(2)]
        copies = await world.outbox.about("sns/budget/alice")
        for _ in range(400):
            for teller in tellers:
                done = await teller.announce_due()
                done.lapsed += (await teller.announce(copies)).lapsed
                assert done.lapsed == 0
            world.clock.at_ms += 3_000
            if await world.states("sns") == {"announced": 4}:
                break
        told = Counter(world.channels["sns"].told)
        assert told == {f"event-00{number}": 1 for number in range(4)}

    asyncio.run(story())
