"""What is due gets announced: at least once, under one id, whatever fails in between."""

import json
import random
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import NOON, asynchronous
from worker.adapters.memory_bus import MemoryBus
from worker.adapters.memory_state import MemoryOutbox
from worker.announcer import (
    BATCH_BYTES_MAX,
    BATCH_ENTRIES_MAX,
    Announced,
    Announcer,
    entry_bytes,
    fitting,
)
from worker.core.errors import ConfigurationError, TransientError
from worker.ports import BusEvent, Notice, NoticeState


class Clock:
    def __init__(self, now_ms: int = NOON) -> None:
        self.at_ms = now_ms

    def now_ms(self) -> int:
        return self.at_ms


class CrashedError(BaseException):
    """The process was killed here."""


class FaultyBus(MemoryBus):
    """Takes some events and not others, is not to be reached, or sees the process killed.

    Args:
        seed: Decides which.
        share: How many of the events are refused, how many requests fail.
        crashes: How often the process may be killed around a request.
    """

    def __init__(self, seed: int = 0, share: float = 0.0, crashes: int = 0) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._share = share
        self._crashes = crashes
        self.down = False
        self.refused: set[str] = set()
        self.sizes: list[int] = []

    async def publish(self, events: Sequence[BusEvent]) -> list[str]:
        self.sizes.append(len(events))
        assert sum(entry_bytes(one.detail_type, one.detail) for one in events) <= BATCH_BYTES_MAX
        if self.down or (self._share and self._random.random() < self._share / 3):
            raise TransientError("the bus cannot be reached")
        problems = ["" if self._takes(one) else "ThrottlingException: slow down" for one in events]
        before = self._random.random() < 0.5
        if self._crashes and before:
            self._crash()
        taken = [one for one, problem in zip(events, problems, strict=True) if not problem]
        await super().publish(taken)
        if self._crashes:
            self._crash()
        return problems

    def _takes(self, event: BusEvent) -> bool:
        return event_id(event) not in self.refused and self._random.random() >= self._share

    def _crash(self) -> None:
        if self._random.random() < 0.3:
            self._crashes -= 1
            raise CrashedError


class FaultyOutbox(MemoryOutbox):
    """The next `faults` settlements fail."""

    faults = 0

    async def settle(
        self, notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None = None
    ) -> bool:
        if self.faults:
            self.faults -= 1
            raise TransientError("the outbox is throttled")
        return await super().settle(notice, state, at_ms, detail)


def event_id(event: BusEvent) -> str:
    return str(json.loads(event.detail)["event_id"])


def notice(number: int, *, due_at_ms: int = NOON, text: str = "") -> Notice:
    detail = {"event_id": f"event-{number:03d}", "occurred_at": "2026-10-01T11:59:58Z", "m": text}
    return Notice(
        id=f"event-{number:03d}",
        detail_type="Budget Threshold Crossed",
        subject="budget/alice",
        detail=msgspec.Raw(msgspec.json.encode(detail)),
        state="pending",
        recorded_at_ms=NOON - 1000,
        due_at_ms=due_at_ms,
    )


async def no_pause(_seconds: float) -> None:
    pass


def announcer(outbox: MemoryOutbox, bus: MemoryBus, clock: Clock | None = None) -> Announcer:
    return Announcer(outbox, bus, clock or Clock(), pause=no_pause)


async def states(outbox: MemoryOutbox) -> Counter[str]:
    return Counter(one.state for one in await outbox.about("budget/alice"))


@asynchronous
async def test_what_is_due_is_announced_once_in_the_order_of_its_due_time() -> None:
    outbox, bus = MemoryOutbox(), FaultyBus()
    await outbox.put([notice(number, due_at_ms=NOON - number * 1000) for number in range(250)])
    await outbox.put([notice(900, due_at_ms=NOON + 1)])
    made = announcer(outbox, bus)
    assert await made.announce_due() == Announced(announced=250)
    assert [event_id(one) for one in bus.events] == [f"event-{n:03d}" for n in range(249, -1, -1)]
    assert max(bus.sizes) == BATCH_ENTRIES_MAX
    assert {one.occurred_at_ms for one in bus.events} == {NOON - 2000}
    assert await made.announce_due() == Announced()
    assert len(bus.events) == 250
    kept = {one.id: one for one in await outbox.about("budget/alice")}
    assert kept["event-000"].announced_at_ms == NOON
    assert kept["event-900"].state == "pending"


@asynchronous
async def test_what_was_just_written_is_announced_without_a_look_at_what_is_due() -> None:
    outbox, bus = MemoryOutbox(), FaultyBus()
    new = await outbox.put([notice(1), notice(2, due_at_ms=NOON + 1)])
    new.append(msgspec.structs.replace(notice(3), state="late"))
    made = announcer(outbox, bus)
    assert await made.announce(new) == Announced(announced=1)
    assert [event_id(one) for one in bus.events] == ["event-001"]
    # A look that read the notice before it was settled does not announce it again.
    assert await made.announce(new) == Announced()
    assert len(bus.events) == 1


@asynchronous
async def test_what_is_due_at_once_is_announced_in_the_order_of_its_writing() -> None:
    bus = MemoryBus()
    written = [
        msgspec.structs.replace(notice(number, due_at_ms=0), recorded_at_ms=NOON - number)
        for number in range(5)
    ]
    await announcer(MemoryOutbox(), bus).announce(written)
    assert [event_id(one) for one in bus.events] == [f"event-{n:03d}" for n in range(4, -1, -1)]


@asynchronous
async def test_an_event_that_the_bus_refuses_holds_up_no_other() -> None:
    outbox, bus = MemoryOutbox(), FaultyBus()
    bus.refused = {"event-004"}
    await outbox.put([notice(number, due_at_ms=NOON - 60_000) for number in range(25)])
    made = announcer(outbox, bus)
    assert await made.announce_due() == Announced(
        announced=24, failed=1, oldest_wait_ms=60_000, faults=["ThrottlingException: slow down"]
    )
    assert await states(outbox) == {"announced": 24, "pending": 1}
    bus.refused = set()
    assert await made.announce_due() == Announced(announced=1)
    assert Counter(map(event_id, bus.events)) == dict.fromkeys(
        [f"event-{number:03d}" for number in range(25)], 1
    )


@asynchronous
async def test_a_bus_that_is_down_leaves_everything_pending_until_it_is_up() -> None:
    outbox, bus, clock = MemoryOutbox(), FaultyBus(), Clock()
    bus.down = True
    await outbox.put([notice(number) for number in range(120)])
    made = announcer(outbox, bus, clock)
    for minute in range(5):
        clock.at_ms = NOON + minute * 60_000
        figures = await made.announce_due()
        assert figures.announced == 0
        assert figures.failed > 0
        assert figures.oldest_wait_ms == minute * 60_000
        assert figures.faults == ["the bus cannot be reached"]
    assert len(bus.sizes) == 5  # one request tells that it is down
    bus.down = False
    assert (await made.announce_due()).announced == 120
    assert await states(outbox) == {"announced": 120}


@asynchronous
async def test_a_missing_bus_is_said_and_loses_nothing() -> None:
    class NoBus(MemoryBus):
        async def publish(self, events: Sequence[BusEvent]) -> list[str]:
            raise ConfigurationError(f"{len(events)} events, but no such bus")

    outbox, bus = MemoryOutbox(), MemoryBus()
    await outbox.put([notice(1)])
    with pytest.raises(ConfigurationError, match="no such bus"):
        await announcer(outbox, NoBus()).announce_due()
    made = announcer(outbox, bus)
    assert (await made.announce_due()).announced == 1


@asynchronous
async def test_what_was_announced_but_not_settled_is_only_settled_by_the_same_process() -> None:
    outbox, bus = FaultyOutbox(), FaultyBus()
    outbox.faults = 1
    await outbox.put([notice(1), notice(2)])
    made = announcer(outbox, bus)
    assert await made.announce_due() == Announced(announced=2, faults=["the outbox is throttled"])
    assert await states(outbox) == {"announced": 1, "pending": 1}
    assert await made.announce_due() == Announced()
    assert await states(outbox) == {"announced": 2}
    assert len(bus.events) == 2


@asynchronous
async def test_an_outbox_that_cannot_be_settled_is_no_crash() -> None:
    outbox, bus = FaultyOutbox(), FaultyBus()
    await outbox.put([notice(1)])
    made = announcer(outbox, bus)
    outbox.faults = 2
    await made.announce_due()
    assert (await made.announce_due()).faults == ["the outbox is throttled"]
    await made.announce_due()
    assert await states(outbox) == {"announced": 1}
    assert len(bus.events) == 1


@given(seed=st.integers(0, 2**32), number=st.integers(1, 60), crashes=st.integers(0, 6))
@asynchronous
async def test_every_notice_is_announced_under_one_id_whatever_crashes(
    seed: int, number: int, crashes: int
) -> None:
    outbox, bus = MemoryOutbox(), FaultyBus(seed, share=0.3, crashes=crashes)
    written = [notice(one, due_at_ms=NOON - one % 7) for one in range(number)]
    await outbox.put(written)
    made = announcer(outbox, bus)
    for _ in range(1000):
        try:
            await made.announce_due()
        except CrashedError:
            made = announcer(outbox, bus)  # a new process, which remembers nothing
        if set(await states(outbox)) == {"announced"}:
            break
    assert await states(outbox) == {"announced": number}
    times = Counter(map(event_id, bus.events))
    assert set(times) == {one.id for one in written}
    assert max(bus.sizes) <= BATCH_ENTRIES_MAX
    if not crashes:
        assert set(times.values()) == {1}


@given(seed=st.integers(0, 2**32), number=st.integers(1, 40))
@asynchronous
async def test_two_announcers_miss_nothing_and_agree_on_ids(seed: int, number: int) -> None:
    outbox, bus = MemoryOutbox(), FaultyBus(seed, share=0.3)
    written = await outbox.put([notice(one) for one in range(number)])
    announcers = [announcer(outbox, bus), announcer(outbox, bus)]
    turns = random.Random(seed)
    for _ in range(1000):
        await turns.choice(announcers).announce(turns.sample(written, k=min(5, number)))
        await turns.choice(announcers).announce_due()
        if set(await states(outbox)) == {"announced"}:
            break
    assert await states(outbox) == {"announced": number}
    times = Counter(map(event_id, bus.events))
    assert set(times) == {one.id for one in written}
    assert max(times.values()) <= 2


@asynchronous
async def test_large_events_share_no_request_and_too_large_ones_are_cut() -> None:
    outbox, bus = MemoryOutbox(), FaultyBus()
    large, too_large = "\U0001f4b8" * 40_000, "\U0001f4b8" * 90_000
    await outbox.put([notice(1), notice(2, text=large), notice(3, text=large)])
    await outbox.put([notice(4, text=too_large), notice(5)])
    assert await announcer(outbox, bus).announce_due() == Announced(announced=5)
    texts = {event_id(one): json.loads(one.detail)["m"] for one in bus.events}
    assert texts["event-002"] == large
    assert texts["event-004"] == "\U0001f4b8" * 255 + "…"
    assert bus.sizes == [2, 3]
    kept = {one.id: one.detail for one in await outbox.about("budget/alice")}
    assert json.loads(bytes(kept["event-004"]))["m"] == texts["event-004"]


@asynchronous
async def test_what_cannot_be_cut_enough_is_given_up_with_its_reason_and_holds_up_nothing() -> None:
    outbox, bus = MemoryOutbox(), FaultyBus()
    endless = msgspec.Raw(msgspec.json.encode(["\U0001f4b8"] * 100_000))
    await outbox.put([msgspec.structs.replace(notice(1), detail=endless), notice(2)])
    figures = await announcer(outbox, bus).announce_due()
    assert (figures.announced, figures.lapsed) == (1, 1)
    assert figures.faults == ["event-001: too large to be announced, whatever is cut"]
    assert await states(outbox) == {"announced": 1, "lapsed": 1}


@given(st.text(st.sampled_from("aé€\U0001f4b8"), max_size=300), st.integers(200, 1200))
def test_what_fits_is_left_alone_and_what_does_not_is_cut_until_it_fits(
    text: str, times: int
) -> None:
    detail = msgspec.json.encode({"event_id": "one", "texts": [text * times]})
    size = 14 + len("ledgerock") + len("Usage Unpriced") + len(detail)
    assert entry_bytes("Usage Unpriced", detail) == size
    fitted = fitting("Usage Unpriced", detail)
    assert fitted is not None
    assert (fitted == detail) == (size <= BATCH_BYTES_MAX)
    assert entry_bytes("Usage Unpriced", fitted) <= BATCH_BYTES_MAX
    assert json.loads(fitted)["event_id"] == "one"
