"""A running worker and what can go wrong around it; the books are exact afterwards."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.calls import DAY, HOUR, NOON, asynchronous
from tests.dynamodb import local_endpoint, localstack_endpoint
from tests.fault_proxy import FaultProxy
from tests.integration.emulator import (
    Noting,
    Running,
    TickingClock,
    place_at,
    queue_source,
    running,
    serving,
    settings_of,
    until,
    use,
)
from tests.integration.loads import (
    CALL_PICO_USD,
    check,
    figures,
    load,
    logged,
    settings_for,
    subscribed,
)
from tests.records import line, log, poison
from tests.workers import WorkerProcess
from worker.core.budget_terms import Budget, Scope
from worker.core.results import DeliveryResult
from worker.pipeline import Digest, Step
from worker.ports import Committed, Delivery

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

THRESHOLDS: Final = (70, 90, 100)
MINUTE: Final = 60_000


@pytest.fixture(autouse=True)
def _emulated(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, local_endpoint())


# --- Workers that are in no hurry ---------------------------------------------------------------


class Gated:
    """Books nothing before it is let."""

    def __init__(self, books: Noting) -> None:
        self._books = books
        self.waiting = 0
        self.let = asyncio.Event()

    @property
    def fault(self) -> str:
        return self._books.fault

    async def book(self, digest: Digest) -> Committed:
        return await self._books.book(digest)

    async def probe(self) -> None:
        await self._books.probe()

    async def steps(
        self, deliveries: Sequence[Delivery], *, deadline: float | None = None
    ) -> AsyncGenerator[Step, None]:
        self.waiting += len(deliveries)
        await self.let.wait()
        async for step in self._books.steps(deliveries, deadline=deadline):
            yield step


# --- Several workers ----------------------------------------------------------------------------


@asynchronous
async def test_two_workers_share_a_queue_of_duplicates_in_any_order(tmp_path: Path) -> None:
    given = load(300, tmp_path)
    async with place_at(local_endpoint(), tmp_path) as place, AsyncExitStack() as stack:
        queue = await place.queue()
        settings = settings_for(place, given, queues=(queue,), batch_deliveries_max=10)
        workers = [await stack.enter_async_context(running(settings)) for _ in range(2)]
        # Both have something in hand before the rest comes.
        sent = 0
        bodies = given.shuffled(3)
        while sent < 20 or not all(one.books.ended for one in workers):
            await place.send(queue, bodies[sent % len(bodies) :][:10])
            sent += 10
            await asyncio.sleep(0.05)
        await place.send(queue, bodies[sent:] if sent < len(bodies) else [])
        await place.until_booked(given.sums.calls, queue)
        await check(place, given.sums)


@asynchronous
async def test_a_third_of_all_requests_fails_for_two_workers_on_a_queue_and_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = load(80, tmp_path)
    proxy = FaultProxy(local_endpoint(), localstack_endpoint(), 0.3, given.seed)
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(place_at(local_endpoint(), tmp_path))
        await place.make_bus()
        queue, stream = await place.queue(), await place.stream(2)
        address = await stack.enter_async_context(serving(proxy))
        use(monkeypatch, address, address)
        settings = settings_for(
            place, given, queues=(queue,), streams=(stream,), visibility_seconds=4
        )
        await place.set_budget(given.budget("all", 95))
        for _ in range(2):
            await stack.enter_async_context(running(settings))
        bodies = given.shuffled(2)
        await place.send(queue, bodies[::2])
        await place.put(stream, subscribed(bodies[1::2]))
        await place.until_booked(given.sums.calls, queue)
        await place.until_announced({("all", 70), ("all", 90)})
        await check(place, given.sums)
        failed = sum(count for kind, count in proxy.counts.items() if kind != "requests")
        assert failed > 0.15 * proxy.counts["requests"]
        proxy.share = 0.0


@asynchronous
async def test_a_stream_is_split_and_merged_under_two_workers(tmp_path: Path) -> None:
    given = load(150, tmp_path)
    async with place_at(local_endpoint(), tmp_path) as place, AsyncExitStack() as stack:
        stream = await place.stream(2)
        settings = settings_for(place, given, streams=(stream,), lease_seconds=3)
        for _ in range(2):
            await stack.enter_async_context(running(settings))
        bodies = subscribed(given.shuffled(2))
        third = len(bodies) // 3
        await place.put(stream, bodies[:third])

        listed = (await place.kinesis.list_shards(StreamName=stream))["Shards"]
        begins, ends = (
            int(listed[0]["HashKeyRange"][f"{which}HashKey"]) for which in ("Starting", "Ending")
        )
        await place.kinesis.split_shard(
            StreamName=stream,
            ShardToSplit=listed[0]["ShardId"],
            NewStartingHashKey=str((begins + ends) // 2),
        )
        await place.active(stream)
        await place.put(stream, bodies[third : 2 * third])

        shards = (await place.kinesis.list_shards(StreamName=stream))["Shards"]
        upper = next(
            one["ShardId"]
            for one in shards
            if one.get("ParentShardId") == listed[0]["ShardId"]
            and int(one["HashKeyRange"]["EndingHashKey"]) == ends
        )
        await place.kinesis.merge_shards(
            StreamName=stream, ShardToMerge=upper, AdjacentShardToMerge=listed[1]["ShardId"]
        )
        await place.active(stream)
        await place.put(stream, bodies[2 * third :])
        await place.until_booked(given.sums.calls)
        await check(place, given.sums)


@asynchronous
async def test_sigterm_under_load_drains_and_leaves_the_rest_to_the_other(tmp_path: Path) -> None:
    given = load(150, tmp_path)
    async with place_at(localstack_endpoint(), tmp_path) as place:
        queue, stream = await place.queue(), await place.stream(2)
        settings = {
            "AWS_ENDPOINT_URL_DYNAMODB": localstack_endpoint(),
            "LEDGEROCK_LEDGER": f"dynamodb:{place.prefix}",
            "LEDGEROCK_REGISTRY": str(given.registry),
            "LEDGEROCK_QUARANTINE": str(tmp_path / "quarantine"),
            "LEDGEROCK_QUEUES": queue,
            "LEDGEROCK_STREAMS": stream,
            "LEDGEROCK_VISIBILITY_SECONDS": "5",
            "LEDGEROCK_LEASE_SECONDS": "5",
        }
        first, second = (WorkerProcess(tmp_path / name, settings) for name in ("1", "2"))
        try:
            for process in (first, second):
                await asyncio.to_thread(process.until_ready)
            bodies = given.shuffled(2)
            half = len(bodies) // 2
            await place.send(queue, bodies[:half:2])
            await place.put(stream, subscribed(bodies[1:half:2]))
            ending = asyncio.create_task(asyncio.to_thread(first.terminate))
            await place.send(queue, bodies[half::2])
            await place.put(stream, subscribed(bodies[half + 1 :: 2]))
            assert await ending == 0, first.log_text()
            await place.until_booked(given.sums.calls, queue)
            assert await asyncio.to_thread(second.terminate) == 0, second.log_text()
        finally:
            first.kill()
            second.kill()
        await check(place, given.sums)


# --- Poison -------------------------------------------------------------------------------------


@asynchronous
async def test_poison_within_a_stream_holds_up_nothing(tmp_path: Path) -> None:
    bodies = logged(range(60))
    bodies[25], bodies[26] = line(poison(25)), line(poison(26))
    async with place_at(local_endpoint(), tmp_path) as place:
        stream = await place.stream()
        await place.put(stream, bodies, key="one shard")
        settings = settings_of(
            place, streams=(stream,), batch_deliveries_max=10, batches_in_flight=1
        )
        async with running(settings) as one:
            await place.until_booked(58)
            assert len(await one.quarantined()) == 2
            assert one.worker.breaker.state(0.0) == "closed"
        # All in its order and at the first attempt, the poison with its neighbours.
        booked = [delivery for batch in one.books.batches for delivery in batch]
        assert [delivery.body for delivery in booked] == bodies
        assert [ended.receipt for ended in one.books.ended] == [it.receipt for it in booked]
        aside = {25: DeliveryResult.QUARANTINED, 26: DeliveryResult.QUARANTINED}
        assert [ended.result for ended in one.books.ended] == [
            aside.get(number, DeliveryResult.ACKNOWLEDGED) for number in range(len(bodies))
        ]
        assert len(one.books.batches) >= 6
        # The checkpoint is behind the last record: nothing comes again.
        await place.put(stream, logged([99]), key="one shard")
        async with running(settings) as again:
            await place.until_booked(59)
        assert [it.body for batch in again.books.batches for it in batch] == logged([99])
        assert (await place.verified()).cost_pico_usd == 59 * CALL_PICO_USD


@pytest.mark.parametrize("fifo", [False, True], ids=["standard", "fifo"])
@asynchronous
async def test_a_lone_poison_message_is_put_aside_once(fifo: bool, tmp_path: Path) -> None:
    async with place_at(local_endpoint(), tmp_path) as place:
        queue = await place.queue(fifo=fifo)
        async with running(settings_of(place, queues=(queue,))) as one:
            await place.send(queue, [line(poison(1))])

            async def is_gone() -> bool:
                return bool(one.books.ended) and not await place.messages_left(queue)

            await until(is_gone, "the poison is gone")
            assert await one.quarantined() == [line(poison(1))]
            assert one.worker.breaker.state(0.0) == "closed"
            assert one.worker.unhealthy() == []
            # What comes behind it is booked.
            await place.send(queue, logged([2]))
            await place.until_booked(1, queue)
            assert [ended.result for ended in one.books.ended] == [
                DeliveryResult.QUARANTINED,
                DeliveryResult.ACKNOWLEDGED,
            ]
            assert len(await one.quarantined()) == 1
        assert (await place.verified()).calls == 1


# --- Time ---------------------------------------------------------------------------------------


@asynchronous
async def test_what_takes_long_to_commit_stays_hidden(tmp_path: Path) -> None:
    async with place_at(local_endpoint(), tmp_path) as place, AsyncExitStack() as stack:
        queue = await place.queue()
        settings = settings_of(place, queues=(queue,), visibility_seconds=3)
        gates: list[Gated] = []
        slow = await stack.enter_async_context(running(settings, wrap=_gated(gates)))
        [gate] = gates
        extended = _note_extensions(slow)
        sent_at = time.monotonic()
        await place.send(queue, logged(range(8)))
        await until(_async(lambda: gate.waiting == 8), "everything is in hand")
        other = await stack.enter_async_context(running(settings))
        await until(_async(lambda: len(extended) >= 5), "it was prolonged for longer than hidden")
        taken = [delivery for batch in other.books.batches for delivery in batch]
        # Unless this machine stood still, so that it was prolonged too late.
        begun = [sent_at, *(at for at, _ in extended)]
        assert not taken or any(
            done - before > 3 for before, (_, done) in zip(begun, extended, strict=False)
        )
        gate.let.set()
        await place.until_booked(8, queue)
        assert (await place.verified()).cost_pico_usd == 8 * CALL_PICO_USD


@asynchronous
async def test_what_became_visible_while_it_was_committed_is_booked_once(tmp_path: Path) -> None:
    async with place_at(local_endpoint(), tmp_path) as place, AsyncExitStack() as stack:
        queue = await place.queue()
        settings = settings_of(
            place,
            queues=(queue,),
            visibility_seconds=2,
            receivers=1,
            batches_in_flight=1,
            batch_deliveries_max=4,
        )
        gates: list[Gated] = []
        slow = await stack.enter_async_context(running(settings, wrap=_gated(gates)))
        [gate] = gates
        _note_extensions(slow, in_vain=True)
        await place.send(queue, logged(range(8)))
        # As much as it may hold: what is visible again is left to the other.
        await until(_async(lambda: len(slow.worker.holdings) == 8), "everything is in hand")
        other = await stack.enter_async_context(running(settings))
        await place.until_booked(8)
        gate.let.set()
        await place.until_booked(8, queue)
        await until(_async(lambda: len(slow.books.ended) >= 8), "the slow one is done as well")
        assert {it.attempts > 1 for batch in other.books.batches for it in batch} == {True}
        assert (await place.verified()).cost_pico_usd == 8 * CALL_PICO_USD


def _gated(gates: list[Gated]) -> Callable[[Noting], Gated]:
    def wrap(books: Noting) -> Gated:
        gates.append(Gated(books))
        return gates[-1]

    return wrap


def _async(condition: Callable[[], object]) -> Callable[[], Awaitable[bool]]:
    async def is_so() -> bool:
        return bool(condition())

    return is_so


def _note_extensions(one: Running, *, in_vain: bool = False) -> list[tuple[float, float]]:
    """Note when something was prolonged, from and until; or have it never get through."""
    source = queue_source(one)
    extend = source.extend
    noted: list[tuple[float, float]] = []

    async def extending(receipts: Sequence[str]) -> None:
        begun = time.monotonic()
        if not in_vain:
            await extend(receipts)
        noted.append((begun, time.monotonic()))

    source.extend = extending  # type: ignore[method-assign]
    return noted


@asynchronous
async def test_a_clock_that_is_wrong_changes_only_what_is_late(tmp_path: Path) -> None:
    """Calls of the half hour before midnight: seen before it, by a fast clock after it."""
    last_minutes = NOON + 12 * HOUR - 30 * MINUTE
    bodies = [line(log(number, at_ms=last_minutes + number * MINUTE)) for number in range(20)]
    hours = (0, 1, -1)
    async with place_at(local_endpoint(), tmp_path) as first, AsyncExitStack() as stack:
        places = [first.another() for _ in hours]
        totals, crossings = [], []
        for place, ahead in zip(places, hours, strict=True):
            await place.make_bus()
            queue = await place.queue()
            clock = TickingClock(last_minutes + 20 * MINUTE + ahead * HOUR)
            settings = settings_of(place, queues=(queue,))
            limit = 20 * CALL_PICO_USD
            await place.set_budget(Budget("day", Scope("everything"), limit, period="daily"))
            one = await stack.enter_async_context(running(settings, clock=clock))
            await place.send(queue, bodies)
            await place.until_booked(20, queue)
            totals.append(figures(await place.verified()))
            assert (await place.ledger.totals("day")).keys() == {str(NOON // DAY)}
            expected = set() if ahead == 1 else {("day", one) for one in THRESHOLDS}
            await place.until_announced(expected)
            notices = await one.notices("day")
            crossings.append({notice.id for notice in notices})
            assert {it.state for it in notices} == {"late" if ahead == 1 else "announced"}
        assert totals == [totals[0]] * 3
        assert crossings == [crossings[0]] * 3
        assert len(crossings[0]) == 3


@asynchronous
async def test_workers_whose_clocks_disagree_share_a_queue_and_a_stream(tmp_path: Path) -> None:
    given = load(100, tmp_path)
    async with place_at(local_endpoint(), tmp_path) as place, AsyncExitStack() as stack:
        await place.make_bus()
        queue, stream = await place.queue(), await place.stream(2)
        settings = settings_for(place, given, queues=(queue,), streams=(stream,))
        await place.set_budget(given.budget("all", 75))
        for ahead in (HOUR, -HOUR):
            await stack.enter_async_context(running(settings, clock=TickingClock(NOON + ahead)))
        bodies = given.shuffled(2)
        await place.send(queue, bodies[::2])
        await place.put(stream, subscribed(bodies[1::2]))
        await place.until_booked(given.sums.calls, queue)
        await place.until_announced({("all", 70)})
        await check(place, given.sums)


# --- The bus is down ----------------------------------------------------------------------------


@pytest.mark.parametrize("restarted", [False, True], ids=["waiting", "restarted"])
@asynchronous
async def test_metering_goes_on_while_the_bus_is_down(
    restarted: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = FaultProxy(local_endpoint(), localstack_endpoint(), 0.0, 1)
    expected = {(name, threshold) for name in ("a", "b") for threshold in THRESHOLDS}
    expected -= {("b", 100)}
    async with AsyncExitStack() as stack:
        place = await stack.enter_async_context(place_at(local_endpoint(), tmp_path))
        await place.make_bus()
        queue = await place.queue()
        use(monkeypatch, local_endpoint(), await stack.enter_async_context(serving(proxy)))
        settings = settings_of(place, queues=(queue,))
        for name, calls in (("a", 20), ("b", 22)):
            limit = calls * CALL_PICO_USD
            await place.set_budget(Budget(name, Scope("everything"), limit, period="daily"))
        async with running(settings, clock=TickingClock(NOON + HOUR)) as one:
            await place.send(queue, logged(range(10)))
            await place.until_booked(10, queue)
            proxy.down = "AWSEvents"
            await place.send(queue, logged(range(10, 20)))
            await place.until_booked(20, queue)
            await until(
                _async(lambda: proxy.counts.total() > proxy.counts["requests"]),
                "the bus was tried in vain",
            )
            assert {it.state for name in "ab" for it in await one.notices(name)} == {"pending"}
            assert await place.crossings() == {}
            assert one.worker.unhealthy() == []
            if not restarted:
                proxy.down = ""
                await place.until_announced(expected)
        if restarted:
            proxy.down = ""
            async with running(settings, clock=TickingClock(NOON + 2 * HOUR)) as one:
                await place.until_announced(expected)

                async def are_settled() -> bool:
                    notices = [it for name in "ab" for it in await one.notices(name)]
                    return {it.state for it in notices} == {"announced"}

                await until(are_settled, "all are known to be announced")
        assert (await place.verified()).cost_pico_usd == 20 * CALL_PICO_USD
