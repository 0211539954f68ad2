"""People hear of each thing once: whoever crashes, however many tell, whatever a channel does."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from tests.calls import NOON, asynchronous
from tests.events import checked
from tests.unit.test_announcer import Clock, CrashedError, no_pause
from worker.adapters.memory_bus import MemoryBus
from worker.adapters.memory_channel import MemoryChannel
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryOutbox
from worker.announcer import Announced, Announcer, Teller
from worker.announcer.telling import CLAIM_MS, LOOK_SECONDS, REFUSED_TRIES_MAX, UNTOLD_AGE_MS_MAX
from worker.core.budget_events import grace_started
from worker.core.budget_periods import period_at
from worker.core.budget_terms import Budget, Scope
from worker.core.enforcement_names import telling_partition
from worker.core.errors import ConfigurationError, RefusedMessageError, TransientError
from worker.core.people import Message
from worker.core.registry import EMPTY_REGISTRY
from worker.pipeline.notices import notice_of
from worker.ports import Notice

CHANNELS = ("sns", "webhook")
THRESHOLD = "Budget Threshold Crossed"


def notice(number: int, detail_type: str = THRESHOLD, **more: Any) -> Notice:
    event_id = f"event-{number:03d}"
    detail = {
        "event_id": event_id,
        "occurred_at": "2026-10-01T11:59:58Z",
        "highest_of_jump": True,
        "late": False,
        "message": f"event number {number}",
        **more,
    }
    return Notice(
        id=event_id,
        detail_type=detail_type,
        subject="budget/alice",
        detail=msgspec.Raw(msgspec.json.encode(detail)),
        state="pending",
        recorded_at_ms=NOON - 1000,
    )


class Channel(MemoryChannel):
    """Does as it is told: raises what is next in `faults`, None for nothing."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.faults: list[BaseException | None] = []
        self.tried: list[str] = []
        self.always: BaseException | None = None

    async def tell(self, message: Message) -> None:
        self.tried.append(message.event_id)
        await asyncio.sleep(0)
        fault = self.faults.pop(0) if self.faults else self.always
        if fault is not None:
            raise fault
        await super().tell(message)

    @property
    def told(self) -> list[str]:
        return [one.event_id for one in self.messages]


class World:
    """An outbox, a bus, two channels, and whoever announces and tells."""

    def __init__(self) -> None:
        self.outbox, self.records = MemoryOutbox(), MemoryRecords()
        self.bus, self.clock = MemoryBus(), Clock()
        self.channels = {name: Channel(name) for name in CHANNELS}
        self.seconds = 0.0

    def announcer(self) -> Announcer:
        return Announcer(self.outbox, self.bus, self.clock, channels=CHANNELS, pause=no_pause)

    def teller(self, name: str = "sns") -> Teller:
        return Teller(
            self.outbox,
            self.channels[name],
            self.records,
            self.clock,
            monotonic=lambda: self.seconds,
        )

    async def announced(self, *notices: Notice) -> None:
        await self.outbox.put(notices)
        assert (await self.announcer().announce_due()).faults == []

    async def states(self, name: str) -> Counter[str]:
        return Counter(one.state for one in await self.outbox.about(f"{name}/budget/alice"))

    async def claims(self) -> int:
        return sum([len(await self.records.partition(telling_partition(one))) for one in CHANNELS])


@asynchronous
async def test_what_the_bus_took_is_told_once_on_each_channel() -> None:
    world = World()
    await world.announced(notice(1), notice(2))
    for name in CHANNELS:
        teller = world.teller(name)
        assert await teller.announce_due() == Announced(announced=2)
        assert await teller.announce_due() == Announced()
        assert sorted(world.channels[name].told) == ["event-001", "event-002"]
        assert await world.states(name) == {"announced": 2}
    assert await world.claims() == 0
    assert [one.id for one in await world.outbox.about("budget/alice")] == [
        "event-001",
        "event-002",
    ], "copies stand beside what they were made of, and in no list of it"


@asynchronous
async def test_only_the_highest_of_a_jump_is_told_and_nothing_late() -> None:
    world = World()
    await world.announced(
        notice(70, highest_of_jump=False),
        notice(90, highest_of_jump=False),
        notice(100),
        notice(101, late=True),
        notice(200, "Usage Unpriced"),
        notice(201, "Budget Initialized"),
        notice(202, "Principal Suspension Required"),
    )
    assert len(world.bus.events) == 7
    await world.teller().announce_due()
    assert world.channels["sns"].told == ["event-100"]


@asynchronous
async def test_nobody_hears_of_what_the_bus_did_not_take() -> None:
    class Down(MemoryBus):
        async def publish(self, _events: Any) -> list[str]:
            raise TransientError("the bus is down")

    world = World()
    await world.outbox.put([notice(1)])
    broken = Announcer(world.outbox, Down(), world.clock, channels=CHANNELS, pause=no_pause)
    assert (await broken.announce_due()).failed == 1
    assert await world.teller().announce_due() == Announced()


@asynchronous
async def test_a_channel_that_is_down_holds_up_no_other() -> None:
    world = World()
    await world.announced(*(notice(number) for number in range(5)))
    world.channels["webhook"].always = TransientError("webhook at example.com: it answered 503")
    down, up = world.teller("webhook"), world.teller("sns")
    for _ in range(3):
        done = await down.announce_due()
        assert (done.announced, done.failed, done.faults) == (
            0,
            1,
            ["webhook at example.com: it answered 503"],
        )
    assert world.channels["webhook"].tried == ["event-000"] * 3, "one try says that it is down"
    assert await up.announce_due() == Announced(announced=5)
    world.channels["webhook"].always = None
    assert await down.announce_due() == Announced(announced=5)
    assert await world.claims() == 0


@asynchronous
async def test_a_message_that_is_refused_holds_up_no_other_and_is_given_up_after_some_tries() -> (
    None
):
    world = World()
    await world.announced(notice(1), notice(2))
    channel = world.channels["sns"]
    channel.faults = [RefusedMessageError("400"), None]
    first = await world.teller().announce_due()
    assert (first.announced, first.failed) == (1, 1)
    assert first.faults == ["sns: event-001@sns: 400"]
    assert channel.told == ["event-002"]
    channel.always = RefusedMessageError("400")
    waits = []
    for _ in range(1000):
        # A worker that was started just now knows how often it was tried before.
        before = len(channel.tried)
        done = await world.teller().announce_due()
        if len(channel.tried) > before:
            waits.append((world.clock.at_ms - NOON) // 60_000)
        if done.lapsed:
            assert done.faults[-1] == "event-001@sns: given up; nobody was told through sns"
            break
        world.clock.at_ms += 60_000
    assert waits == [1, 3, 7, 15, 31]
    assert len(channel.tried) == REFUSED_TRIES_MAX + 1
    assert await world.states("sns") == {"announced": 1, "lapsed": 1}
    assert await world.claims() == 0


@asynchronous
async def test_a_message_of_days_ago_is_no_news() -> None:
    world = World()
    await world.announced(notice(1))
    world.channels["sns"].always = TransientError("down")
    teller = world.teller()
    world.clock.at_ms = NOON + UNTOLD_AGE_MS_MAX - 1
    assert (await teller.announce_due()).lapsed == 0
    world.clock.at_ms += 1
    assert (await teller.announce_due()).lapsed == 1
    assert await world.states("sns") == {"lapsed": 1}


@asynchronous
async def test_a_channel_is_left_alone_for_as_long_as_it_asks() -> None:
    world = World()
    await world.announced(notice(1))
    channel, teller = world.channels["webhook"], world.teller("webhook")
    channel.faults = [TransientError("it answered 429", retry_after_seconds=30)]
    assert (await teller.announce_due()).failed == 1
    world.clock.at_ms += 29_999
    assert (await teller.announce_due()).faults == ["it answered 429"]
    assert len(channel.tried) == 1
    world.clock.at_ms += 1
    assert (await teller.announce_due()).announced == 1
    channel.faults = [TransientError("it answered 503", retry_after_seconds=1e9)]
    await world.announced(notice(2))
    await teller.announce_due()
    world.clock.at_ms += 3_600_000
    assert (await teller.announce_due()).announced == 1, "an hour is the longest"


@asynchronous
async def test_an_error_nobody_expected_of_one_message_ends_nothing() -> None:
    world = World()
    await world.announced(notice(1), notice(2))
    world.channels["sns"].faults = [ValueError("secret text"), None]
    done = await world.teller().announce_due()
    assert (done.announced, done.failed) == (1, 1)
    assert done.faults == ["sns: event-001@sns: ValueError"]


@asynchronous
async def test_a_missing_topic_is_said_and_loses_nothing() -> None:
    world = World()
    await world.announced(notice(1))
    world.channels["sns"].faults = [ConfigurationError("no such topic")]
    with pytest.raises(ConfigurationError, match="no such topic"):
        await world.teller().announce_due()
    assert await world.teller().announce_due() == Announced(announced=1)


@asynchronous
async def test_a_look_ends_in_time() -> None:
    world = World()
    await world.announced(*(notice(number) for number in range(4)))

    class Slow(Channel):
        async def tell(self, message: Message) -> None:
            world.seconds += LOOK_SECONDS / 2
            await super().tell(message)

    world.channels["sns"] = Slow("sns")
    teller = world.teller()
    assert await teller.announce_due() == Announced(announced=2, is_cut=True)
    assert await teller.announce_due() == Announced(announced=2)


@asynchronous
async def test_many_workers_tell_each_message_once() -> None:
    world = World()
    copies = [notice(number) for number in range(30)]
    await world.announced(*copies)
    await asyncio.gather(*(world.teller("webhook").announce_due() for _ in range(5)))
    await world.teller("webhook").announce_due()
    assert Counter(world.channels["webhook"].told) == {one.id: 1 for one in copies}


@asynchronous
async def test_a_look_of_before_it_was_told_does_not_tell_it_again() -> None:
    world = World()
    await world.announced(notice(1))
    seen = [one async for chunk in world.outbox.due(NOON, "sns") for one in chunk]
    assert await world.teller().announce_due() == Announced(announced=1)
    assert await world.teller().announce(seen) == Announced()
    assert world.channels["sns"].told == ["event-001"]
    assert await world.claims() == 0


@asynchronous
async def test_what_was_told_but_not_settled_is_only_settled() -> None:
    class Faulty(MemoryOutbox):
        faults = 1

        async def settle(self, *arguments: Any, **named: Any) -> bool:
            if self.faults and arguments[0].channel:
                self.faults -= 1
                raise TransientError("the outbox is throttled")
            return await super().settle(*arguments, **named)

    world = World()
    world.outbox = Faulty()
    await world.announced(notice(1))
    teller = world.teller()
    assert await teller.announce_due() == Announced(announced=1, faults=["the outbox is throttled"])
    world.clock.at_ms += CLAIM_MS * 2
    assert await teller.announce_due() == Announced()
    assert world.channels["sns"].told == ["event-001"]
    assert await world.states("sns") == {"announced": 1}
    assert await world.claims() == 0


@asynchronous
async def test_an_outbox_that_cannot_be_read_is_said() -> None:
    class Down(MemoryOutbox):
        async def due(self, now_ms: int, channel: str = "") -> AsyncIterator[Sequence[Notice]]:
            async for notices in super().due(now_ms + 1, channel):
                yield notices
            raise TransientError(f"nothing can be read of {channel} at {now_ms}")

    world = World()
    world.outbox = Down()
    assert (await world.teller().announce_due()).faults == [f"nothing can be read of sns at {NOON}"]


@asynchronous
async def test_what_others_have_in_hand_is_left_to_them() -> None:
    world = World()
    await world.announced(notice(1))
    channel = world.channels["sns"]
    channel.faults = [TransientError("429", retry_after_seconds=5)]
    teller = world.teller()
    await teller.announce_due()
    copies = await world.outbox.about("sns/budget/alice")
    assert (await teller.announce(copies)).faults == ["429"], "nor is what is fresh told meanwhile"
    world.clock.at_ms += 5_000
    gate = asyncio.Event()

    class Slow(Channel):
        async def tell(self, message: Message) -> None:
            await gate.wait()
            await super().tell(message)

    world.channels["sns"] = slow = Slow("sns")
    first, other = world.teller(), world.teller()
    under_way = asyncio.ensure_future(first.announce_due())
    for _ in range(20):
        await asyncio.sleep(0)
    assert await first.announce(copies) == Announced(), "it has it in hand"
    assert await other.announce(copies) == Announced(waiting=1), "it sees the claim"
    assert await other.announce(copies) == Announced(waiting=1), "and remembers it"
    gate.set()
    assert (await under_way).announced == 1
    assert slow.told == ["event-001"]


# --- Grace periods ----------------------------------------------------------------------------


def grace(seconds: int = 3600) -> Notice:
    budget = Budget(
        name="alice",
        scope=Scope("principal", "user/111122223333/alice"),
        limit_amount=20 * 10**12,
        action="suspend",
        grace_seconds=seconds,
    )
    period = period_at(budget, NOON, EMPTY_REGISTRY)
    event = grace_started(budget, period, 205 * 10**11, NOON)
    return notice_of(event, NOON)


@asynchronous
async def test_a_grace_period_counts_from_its_announcement_for_everybody() -> None:
    world = World()
    await world.outbox.put([grace()])
    world.clock.at_ms = NOON + 7 * 60_000
    await world.announcer().announce_due()
    await world.teller().announce_due()
    [kept] = await world.outbox.about("budget/alice")
    deadline = "2026-10-01T13:07:00.000Z"
    assert kept.announced_at_ms == NOON + 7 * 60_000
    for detail in (
        kept.detail,
        world.bus.events[0].detail,
        world.channels["sns"].messages[0].detail,
    ):
        assert checked(kept.detail_type, bytes(detail))["deadline"] == deadline
    assert deadline in json.loads(bytes(kept.detail))["message"]
    assert "suspension at 2026-10-01 13:07:00 UTC" in world.channels["sns"].messages[0].subject


@asynchronous
async def test_an_announcement_that_was_cut_short_gives_people_the_deadline_that_holds() -> None:
    class Dying(MemoryOutbox):
        dies = True

        async def settle(self, *arguments: Any, **named: Any) -> bool:
            if self.dies:
                raise CrashedError
            return await super().settle(*arguments, **named)

    world = World()
    world.outbox = outbox = Dying()
    await outbox.put([grace()])
    with pytest.raises(CrashedError):
        await world.announcer().announce_due()
    # The copies are there, but nobody knows yet until when.
    assert await world.teller().announce_due() == Announced(waiting=1)
    outbox.dies = False
    world.clock.at_ms += 600_000
    await world.announcer().announce_due()
    assert await world.teller().announce_due() == Announced(announced=1)
    [kept] = await outbox.about("budget/alice")
    [told] = world.channels["sns"].messages
    assert json.loads(told.detail)["deadline"] == "2026-10-01T13:10:00.000Z"
    assert json.loads(told.detail) == json.loads(bytes(kept.detail))
    assert kept.announced_at_ms == NOON + 600_000


@asynchronous
async def test_a_grace_period_of_no_length_is_told_by_the_suspension_that_follows() -> None:
    world = World()
    await world.announced(grace(seconds=0))
    assert len(world.bus.events) == 1
    assert await world.teller().announce_due() == Announced()


@asynchronous
async def test_a_malformed_grace_period_holds_up_nothing() -> None:
    world = World()
    await world.outbox.put([notice(1, "Budget Grace Period Started"), notice(2)])
    done = await world.announcer().announce_due()
    assert (done.announced, done.failed) == (1, 1)
