"""One worker on a stream: delivery, checkpoints, deferral, backpressure, draining."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import pytest

from tests.kinesis_readers import (
    QUICK,
    ended,
    kill,
    receive_all,
    source_on,
    until,
)
from tests.kinesis_stub import ARRIVED_MS, StubStream
from worker.adapters.kinesis_leases import NOBODY, MemoryLeases
from worker.adapters.kinesis_source import DELIVERIES_MAX
from worker.core.results import DeliveryResult

DEFERRED = DeliveryResult.DEFERRED
SHARD = "shardId-000000000000"


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def bodies(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def checkpoint(leases: MemoryLeases, shard: str = SHARD) -> str:
    return next(lease.checkpoint for lease in await leases.leases() if lease.shard == shard)


def test_a_record_becomes_a_delivery() -> None:
    async def scenario() -> None:
        stream = StubStream()
        [sequence] = stream.put(SHARD, b"payload")
        source = source_on(stream)
        [delivery] = await receive_all(source, 1)
        assert delivery.body == b"payload"
        assert delivery.name == f"kinesis:calls/{SHARD}/{sequence}"
        assert delivery.source == source.name == "kinesis:calls"
        assert delivery.sent_at_ms == ARRIVED_MS
        assert (delivery.group, delivery.attempts) == ("", 1)
        await source.extend([delivery.receipt])
        await source.close()

    run(scenario)


def test_a_stream_may_be_named_by_its_arn() -> None:
    async def scenario() -> None:
        stream = StubStream()
        stream.put(SHARD, b"payload")
        arn = "arn:aws:kinesis:eu-west-1:111122223333:stream/calls"
        source = source_on(stream, stream=arn)
        assert source.name == "kinesis:calls"
        assert len(await receive_all(source, 1)) == 1
        await source.close()

    run(scenario)


def test_nothing_to_receive_is_an_empty_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.adapters.kinesis_source.WAIT_SECONDS", 0.05)

    async def scenario() -> None:
        source = source_on(StubStream())
        assert await source.receive() == []
        await source.close()
        assert await source.receive() == []
        assert await source.is_drained()

    run(scenario)


def test_a_checkpoint_stays_before_the_first_unsettled_record() -> None:
    async def scenario() -> None:
        stream, leases = StubStream(), MemoryLeases()
        sequences = stream.put(SHARD, *bodies(4))
        source = source_on(stream, leases, lease_seconds=0.3)
        deliveries = await receive_all(source, 4)
        await source.settle([ended(deliveries[at]) for at in (0, 2, 3)])
        await until(lambda: leases._leases[SHARD].checkpoint == sequences[0])
        version = leases._leases[SHARD].version
        await until(lambda: leases._leases[SHARD].version > version + 1)  # renewed meanwhile
        assert await checkpoint(leases) == sequences[0]
        await source.settle([ended(deliveries[1])])
        await until(lambda: leases._leases[SHARD].checkpoint == sequences[3])
        await source.close()

    run(scenario)


def test_closing_writes_the_checkpoint_and_a_successor_goes_on_there() -> None:
    async def scenario() -> None:
        stream, leases = StubStream(), MemoryLeases()
        sequences = stream.put(SHARD, *bodies(10))
        source = source_on(stream, leases)
        deliveries = await receive_all(source, 10)
        await source.settle([ended(delivery) for delivery in deliveries[:6]])
        await source.close()
        [lease] = await leases.leases()
        assert (lease.owner, lease.checkpoint) == (NOBODY, sequences[5])
        again = source_on(stream, leases)
        assert [one.body for one in await receive_all(again, 4)] == bodies(10)[6:]
        await again.close()

    run(scenario)


def test_a_quarantined_delivery_is_settled() -> None:
    async def scenario() -> None:
        stream, leases = StubStream(), MemoryLeases()
        [sequence] = stream.put(SHARD, b"poison")
        source = source_on(stream, leases)
        [delivery] = await receive_all(source, 1)
        await source.settle([ended(delivery, DeliveryResult.QUARANTINED)])
        await source.close()
        assert await checkpoint(leases) == sequence

    run(scenario)


def test_a_deferred_record_comes_again_and_its_neighbours_do_not() -> None:
    async def scenario() -> None:
        stream, leases = StubStream(), MemoryLeases()
        sequences = stream.put(SHARD, *bodies(3))
        source = source_on(stream, leases)
        deliveries = await receive_all(source, 3)
        results = [DeliveryResult.ACKNOWLEDGED, DEFERRED, DeliveryResult.ACKNOWLEDGED]
        await source.settle(
            [ended(one, result) for one, result in zip(deliveries, results, strict=True)]
        )
        more = stream.put(SHARD, b"later")  # is not held up
        seen = await receive_all(source, 2)
        again = next(one for one in seen if one.body == b"1")
        assert again.attempts == 2
        assert {one.body for one in seen} == {b"1", b"later"}
        await source.settle([ended(again, DEFERRED), ended(deliveries[1])])  # the last is too late
        [third] = await receive_all(source, 1)
        assert (third.body, third.attempts) == (b"1", 3)
        await source.settle([ended(one) for one in seen if one.body == b"later"])
        assert (
            source._holder.shards[third.receipt.partition(":")[0]].tracker.checkpoint
            == (sequences[0])
        )
        await source.settle([ended(third)])
        await source.close()
        assert await checkpoint(leases) == more[0]

    run(scenario)


def test_settling_twice_or_something_unknown_changes_nothing() -> None:
    async def scenario() -> None:
        stream, leases = StubStream(), MemoryLeases()
        sequences = stream.put(SHARD, *bodies(2))
        source = source_on(stream, leases)
        first, second = await receive_all(source, 2)
        await source.settle([ended(first), ended(first), ended(first, DEFERRED)])
        await source.settle([ended(msgspec.structs.replace(second, receipt="no-such:7"))])
        await source.settle([ended(msgspec.structs.replace(second, receipt=f"{SHARD}@9:7:1"))])
        await source.close()
        assert await checkpoint(leases) == sequences[0]

    run(scenario)


def test_deferring_twice_delivers_again_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.adapters.kinesis_source.WAIT_SECONDS", 0.1)

    async def scenario() -> None:
        stream = StubStream()
        stream.put(SHARD, b"0")
        source = source_on(stream)
        [delivery] = await receive_all(source, 1)
        await source.settle([ended(delivery, DEFERRED), ended(delivery, DEFERRED)])
        assert [one.attempts for one in await receive_all(source, 1)] == [2]
        assert await source.receive() == []
        await source.close()

    run(scenario)


def test_reading_pauses_while_too_much_is_unsettled() -> None:
    async def scenario() -> None:
        stream = StubStream()
        stream.put(SHARD, *bodies(30))
        limits = msgspec.structs.replace(QUICK, records_per_request=4, unsettled_max=10)
        source = source_on(stream, limits=limits)
        deliveries = await receive_all(source, 10)
        [shard] = source._holder.shards.values()
        polls = stream.requests["get_records"]
        await source.settle([ended(one, DEFERRED) for one in deliveries[:1]])
        [again] = await receive_all(source, 1)  # time has passed, and nothing else was read
        assert again.body == b"0"
        assert (shard.unsettled, stream.requests["get_records"]) == (10, polls)
        await source.settle([ended(one) for one in deliveries[1:4]])
        more = await receive_all(source, 3)
        assert [one.body for one in more] == [b"10", b"11", b"12"]
        assert shard.unsettled == 10
        await source.close()

    run(scenario)


def test_reading_pauses_while_too_many_bytes_are_held_and_goes_on() -> None:
    async def scenario() -> None:
        stream = StubStream(shards=2)
        for name in stream.shards:
            stream.put(name, *[b"x" * 100] * 10)
        limits = msgspec.structs.replace(QUICK, records_per_request=1, bytes_max=300)
        source = source_on(stream, limits=limits)
        held = 0
        received = 0
        while received < 20:
            deliveries = await receive_all(source, 1)
            received += len(deliveries)
            held = max(held, source._holder._room.bytes)
            await source.settle([ended(one) for one in deliveries])
        assert held <= 400
        assert source._holder._room.bytes == 0
        await source.close()

    run(scenario)


def test_a_record_that_is_never_settled_bounds_how_far_a_shard_is_read() -> None:
    async def scenario() -> None:
        stream = StubStream()
        stream.put(SHARD, *bodies(50))
        limits = msgspec.structs.replace(QUICK, records_per_request=5, span_max=20)
        source = source_on(stream, limits=limits)
        [stuck, *others] = await receive_all(source, 5)
        await source.settle([ended(one) for one in others])
        for _ in range(3):
            await source.settle([ended(one) for one in await receive_all(source, 5)])
        [shard] = source._holder.shards.values()
        assert (shard.space, shard.unsettled) == (0, 1)
        await source.settle([ended(stuck)])
        assert len(await receive_all(source, 5)) == 5
        await source.close()

    run(scenario)


def test_shards_are_handed_over_in_turn() -> None:
    async def scenario() -> None:
        stream = StubStream(shards=2)
        one, other = stream.shards
        stream.put(one, *bodies(DELIVERIES_MAX * 2))
        stream.put(other, b"other")
        source = source_on(stream)
        source._holder.start()
        await until(lambda: sum(len(s.ready) for s in source._holder.shards.values()) == 1_001)
        first = [*await source.receive(), *await source.receive()]
        assert b"other" in {one.body for one in first}
        assert len(first) <= 2 * DELIVERIES_MAX
        await source.close()

    run(scenario)


def test_drained_is_only_what_was_read_to_its_newest_record_and_settled() -> None:
    async def scenario() -> None:
        stream = StubStream(shards=3)
        for name in stream.shards:
            stream.put(name, *bodies(5))
        source = source_on(stream)
        deliveries = await receive_all(source, 15)
        assert not await source.is_drained()
        await source.settle([ended(one) for one in deliveries])
        assert await source.is_drained()
        stream.put(SHARD, b"more")
        assert not await source.is_drained()
        await source.settle([ended(one) for one in await receive_all(source, 1)])
        assert source.behind_ms == 0
        assert await source.is_drained()
        await source.close()

    run(scenario)


def test_the_children_of_a_shard_must_be_drained_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.adapters.kinesis_source.WAIT_SECONDS", 0.05)

    async def scenario() -> None:
        stream = StubStream()
        stream.put(SHARD, *bodies(3))
        source = source_on(stream, lease_seconds=1)
        await source.settle([ended(one) for one in await receive_all(source, 3)])
        assert await source.is_drained()
        for child in stream.split(SHARD):
            stream.put(child, b"child")
        received = []
        while not await source.is_drained():
            received += [*await source.receive()]
            await source.settle([ended(one) for one in received])
        assert [one.body for one in received] == [b"child", b"child"]
        await source.close()

    run(scenario)


def test_what_a_dead_worker_held_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.adapters.kinesis_source.WAIT_SECONDS", 0.05)

    async def scenario() -> None:
        stream, leases = StubStream(), MemoryLeases()
        stream.put(SHARD, b"payload")
        dead = source_on(stream, leases, lease_seconds=0.5)
        await receive_all(dead, 1)
        kill(dead)
        source = source_on(stream, leases, lease_seconds=0.5)
        received = []
        while not await source.is_drained():
            received += [*await source.receive()]
            await source.settle([ended(one) for one in received])
        assert [one.body for one in received] == [b"payload"]
        await source.close()

    run(scenario)
