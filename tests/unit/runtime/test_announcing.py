"""Rounds of the bus and of channels: each on its own, the bus first at the end."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.calls import asynchronous
from tests.unit.runtime.made import WAIT_SECONDS, Made, make_impatient
from tests.unit.test_telling import Channel, notice
from worker.announcer import Announced
from worker.core.errors import ConfigurationError, TransientError
from worker.ports import Notice
from worker.runtime import announcing
from worker.runtime.announcing import Announcing
from worker.runtime.breaker import Breaker
from worker.runtime.health import Health
from worker.runtime.holding import Holdings
from worker.runtime.metrics import PrometheusMeter
from worker.runtime.rounds import UNEXPECTED_MAX

DOWN = "webhook at example.com: not reached (TimeoutError)"


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    monkeypatch.setattr(announcing, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(announcing, "BACKOFF_LAST_SECONDS", 0.01)
    with capture_logs() as entries:
        yield entries


class Part:
    """Announces, or tells: does what is next in `answers`, then what is in `always`."""

    def __init__(self, name: str, events: list[str], always: Any = None) -> None:
        self.name = name
        self.events = events
        self.answers: list[Any] = []
        self.always = always
        self.fresh: list[str] = []
        self.looks = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def announce(self, notices: Sequence[Notice]) -> Announced:
        self.fresh += [one.id for one in notices]
        return Announced(announced=len(notices))

    async def announce_due(self) -> Announced:
        self.looks += 1
        await self.gate.wait()
        self.events.append(self.name)
        answer = self.answers.pop(0) if self.answers else self.always
        if isinstance(answer, Exception):
            raise answer
        return answer or Announced()


class World:
    def __init__(self, bus_is_there: bool = True) -> None:
        self.events: list[str] = []
        self.bus = Part("bus", self.events)
        self.sns, self.webhook = Part("sns", self.events), Part("webhook", self.events)
        self.meter = PrometheusMeter()
        holdings = Holdings(deliveries_max=1, bytes_max=1)
        self.health = Health(breaker=Breaker(), holdings=holdings, sources=(), lag_seconds_max=900)
        self.announcing = Announcing(
            announcer=self.bus if bus_is_there else None,
            health=self.health,
            meter=self.meter,
            tellers={"sns": self.sns, "webhook": self.webhook},
        )

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            while not condition():  # noqa: ASYNC110 - of anything
                await asyncio.sleep(0.001)

    def unready(self) -> list[str]:
        return self.health.unready(0.0, 0)

    def sample(self, name: str, channel: str) -> float | None:
        return self.meter.registry.get_sample_value(f"ledgerock_{name}", {"channel": channel})


@asynchronous
async def test_a_channel_that_is_down_holds_up_neither_the_others_nor_readiness(
    logged: list[Any],
) -> None:
    world = World()
    world.webhook.always = Announced(failed=1, oldest_wait_ms=7_000, faults=[DOWN])
    run = asyncio.ensure_future(world.announcing.run())
    await world.until(lambda: min(world.webhook.looks, world.sns.looks, world.bus.looks) >= 3)
    assert world.unready() == []
    assert {one["part"] for one in logged} == {"telling webhook"}
    assert {one["error"] for one in logged} == {DOWN}
    world.announcing.end()
    await run
    assert world.sample("people_failed_total", "webhook") == world.webhook.looks
    assert world.sample("people_oldest_pending_seconds", "webhook") == 7
    assert world.sample("people_failed_total", "sns") is None


@asynchronous
async def test_a_channel_that_hangs_holds_up_nothing() -> None:
    world = World()
    world.webhook.gate.clear()
    run = asyncio.ensure_future(world.announcing.run())
    await world.until(lambda: min(world.sns.looks, world.bus.looks) >= 3)
    assert world.webhook.looks == 1
    world.webhook.gate.set()
    world.announcing.end()
    await run


@asynchronous
async def test_at_the_end_the_bus_comes_first_and_a_dead_channel_is_not_asked_again() -> None:
    world = World()
    world.webhook.always = Announced(failed=1, faults=[DOWN])
    run = asyncio.ensure_future(world.announcing.run())
    await world.until(lambda: min(world.webhook.looks, world.sns.looks, world.bus.looks) >= 2)
    world.bus.gate.clear()
    world.announcing.end()
    looks = world.bus.looks
    await world.until(lambda: world.bus.looks > looks)
    before = world.sns.looks
    world.events.clear()
    world.bus.gate.set()
    await run
    assert world.sns.looks > before
    last = [one for one in world.events if one != "webhook"]
    assert last.index("bus") < len(last) - 1
    assert last[-1] == "sns"


@asynchronous
async def test_what_was_just_written_goes_where_it_belongs() -> None:
    world = World()
    run = asyncio.ensure_future(world.announcing.run())
    await world.until(lambda: world.bus.looks and world.sns.looks and world.webhook.looks)
    copies = [msgspec.structs.replace(notice(2), channel=name) for name in ("sns", "telegraph")]
    world.announcing.tell([notice(1), *copies])
    await world.until(lambda: world.bus.fresh and world.sns.fresh)
    world.announcing.end()
    await run
    assert (world.bus.fresh, world.sns.fresh, world.webhook.fresh) == (
        ["event-001"],
        ["event-002"],
        [],
    )
    assert world.sample("people_told_total", "sns") == 1


@asynchronous
async def test_a_look_that_was_cut_goes_on_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcing, "ROUND_SECONDS", 1_000.0)
    world = World()
    world.sns.answers = [Announced(announced=5, is_cut=True) for _ in range(10)]
    run = asyncio.ensure_future(world.announcing.run())
    await world.until(lambda: world.sns.looks == 11)
    world.announcing.end()
    await run
    assert world.sample("people_told_total", "sns") == 50


@asynchronous
async def test_nothing_is_left_when_only_a_dead_channel_has_some() -> None:
    world = World()
    assert await world.announcing.announce_due()
    world.webhook.answers = [Announced(failed=1, faults=[DOWN])]
    world.sns.answers = [ConfigurationError("no such topic")]
    assert await world.announcing.announce_due(), "a burst ends all the same"
    world.sns.answers = [Announced(announced=9, is_cut=True)]
    assert not await world.announcing.announce_due()
    world.bus.answers = [Announced(failed=1)]
    assert not await world.announcing.announce_due()
    world.bus.answers = [TransientError("down")]
    with pytest.raises(TransientError):
        await world.announcing.announce_due()


@asynchronous
async def test_an_error_nobody_expected_ends_the_worker_only_if_it_stays(
    logged: list[Any],
) -> None:
    world = World()
    world.sns.answers = [ValueError("x")] * (UNEXPECTED_MAX - 1)
    run = asyncio.ensure_future(world.announcing.run())
    await world.until(lambda: world.sns.looks > UNEXPECTED_MAX)
    assert not run.done()
    world.sns.answers = [ValueError("x")] * UNEXPECTED_MAX
    with pytest.raises(ExceptionGroup) as raised:
        await asyncio.wait_for(run, WAIT_SECONDS)
    assert isinstance(raised.value.exceptions[0], ValueError)


@asynchronous
async def test_without_a_bus_of_its_own_a_worker_still_tells() -> None:
    world = World(bus_is_there=False)
    run = asyncio.ensure_future(world.announcing.run())
    await world.until(lambda: world.sns.looks >= 2)
    world.announcing.end()
    await run
    assert world.bus.looks == 0


# --- In a worker ------------------------------------------------------------------------------


@asynchronous
async def test_a_crossing_is_told_at_once_though_another_channel_is_dead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make_impatient(monkeypatch)
    sns, webhook = Channel("sns"), Channel("webhook")
    webhook.always = TransientError(DOWN)
    made = Made(channels=[sns, webhook])
    await made.set_budget(limit_amount=1)
    made.send(range(5))
    async with made.running() as task:
        await made.until(lambda: sns.told and webhook.tried)
        await made.until(lambda: made.sample("people_failed_total", channel="webhook") > 2)
        assert not any(DOWN in one for one in made.worker.unready())
    assert task.result() == 0, "it drains in time"
    [one] = sns.messages
    assert json.loads(one.detail)["threshold"] == 100, "of three thresholds the highest"
    assert len(made.bus.events) == 3
    assert set(webhook.tried) == {one.event_id}
    assert made.sample("people_told_total", channel="sns") == 1


@asynchronous
async def test_a_burst_ends_though_a_channel_is_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    make_impatient(monkeypatch)
    webhook = Channel("webhook")
    webhook.always = TransientError(DOWN)
    made = Made(burst=True, channels=[webhook])
    await made.set_budget(limit_amount=1)
    made.send(range(3))
    async with made.running() as task:
        await asyncio.wait_for(asyncio.shield(task), WAIT_SECONDS)
    assert task.result() == 0
    [waiting] = await made.outbox.about("webhook/budget/all")
    assert waiting.state == "pending", "the next run tells it"
