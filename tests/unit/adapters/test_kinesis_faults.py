"""One worker on a stream that fails it: throttles, expired positions, lost answers, lost leases."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from tests.kinesis_readers import (
    Reader,
    ended,
    receive_all,
    source_on,
    until,
)
from tests.kinesis_stub import StubStream, client_error
from worker.adapters.kinesis_checkpoint import SHARD_END
from worker.adapters.kinesis_leases import Lease, MemoryLeases
from worker.adapters.kinesis_source import KinesisSource
from worker.core.errors import ConfigurationError, TransientError
from worker.ports import Stream

SHARD = "shardId-000000000000"


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def bodies(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_an_iterator_that_expired_is_replaced_where_it_stood() -> None:
    async def scenario() -> None:
        stream = StubStream()
        sequences = stream.put(SHARD, *bodies(3))
        source = source_on(stream)
        await receive_all(source, 3)
        stream.expire_iterators()
        stream.put(SHARD, b"3")
        assert [one.body for one in await receive_all(source, 1)] == [b"3"]
        assert stream.iterators[-1] == (SHARD, "AFTER_SEQUENCE_NUMBER", sequences[-1])
        await source.close()

    run(scenario)


def test_a_checkpoint_that_was_trimmed_away_begins_at_the_oldest_record() -> None:
    async def scenario() -> None:
        stream, leases = StubStream(), MemoryLeases()
        sequences = stream.put(SHARD, *bodies(5))
        source = source_on(stream, leases)
        deliveries = await receive_all(source, 5)
        await source.settle([ended(deliveries[0])])
        await source.close()
        stream.trim(SHARD, sequences[2])
        again = source_on(stream, leases)
        assert [one.body for one in await receive_all(again, 2)] == [b"3", b"4"]
        await again.close()

    run(scenario)


@pytest.mark.parametrize(
    "operation, fault",
    [
        ("get_records", "ProvisionedThroughputExceededException"),
        ("get_records", "KMSThrottlingException"),
        ("get_records", "InternalFailure"),
        ("get_records", "ExpiredIteratorException"),
        ("get_records", "InvalidArgumentException"),
        ("get_records", "ResourceNotFoundException"),
        ("get_records", ConnectionResetError("reset")),
        ("get_shard_iterator", "ProvisionedThroughputExceededException"),
        ("get_shard_iterator", "ResourceNotFoundException"),
        ("get_shard_iterator", ConnectionResetError("reset")),
        ("list_shards", "LimitExceededException"),
        ("list_shards", ConnectionResetError("reset")),
    ],
)
def test_passing_faults_lose_nothing_and_repeat_nothing(
    operation: str, fault: str | Exception
) -> None:
    async def scenario() -> None:
        stream = StubStream()
        stream.put(SHARD, *bodies(3))
        stream.fail(operation, fault, fault)
        reader = Reader(source_on(stream, lease_seconds=0.4))
        await until(lambda: len(reader.seen) == 3)
        stream.put(SHARD, b"3")
        await until(lambda: len(reader.seen) == 4)
        await reader.stop()
        assert reader.order == bodies(4)

    run(scenario)


def test_a_passing_fault_is_told_when_there_is_nothing_else() -> None:
    async def scenario() -> None:
        stream = StubStream()
        stream.fail("list_shards", "LimitExceededException")
        source = source_on(stream)
        with pytest.raises(TransientError, match="kinesis:ListShards"):
            await source.receive()
        await source.close()

    run(scenario)


@pytest.mark.parametrize(
    "operation, code, told",
    [
        ("list_shards", "ResourceNotFoundException", "LEDGEROCK_STREAMS"),
        ("list_shards", "AccessDeniedException", "kinesis:ListShards"),
        ("get_shard_iterator", "AccessDeniedException", "kinesis:GetShardIterator"),
        ("get_records", "KMSAccessDeniedException", "kinesis:GetRecords"),
    ],
)
def test_what_the_operator_must_mend_is_told(operation: str, code: str, told: str) -> None:
    async def scenario() -> None:
        stream = StubStream()
        stream.fail(operation, code)
        source = source_on(stream)
        with pytest.raises(ConfigurationError, match=told):
            await source.receive()
        await source.close()

    run(scenario)


@pytest.mark.parametrize("code", ["AccessDeniedException", "LimitExceededException"])
def test_the_fault_of_a_shard_stands_until_a_request_of_its_own_succeeds(
    monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    monkeypatch.setattr("worker.adapters.kinesis_shards.BACKOFF_LAST_SECONDS", 0.01)
    monkeypatch.setattr("worker.adapters.kinesis_source.WAIT_SECONDS", 0.05)

    class OneOfTwo(StubStream):
        is_failing = True

        async def get_shard_iterator(self, **arguments: Any) -> dict[str, Any]:
            if self.is_failing and arguments["ShardId"] == SHARD:
                raise client_error(code, "GetShardIterator")
            return await super().get_shard_iterator(**arguments)

    async def scenario() -> None:
        stream = OneOfTwo(shards=2)
        source = source_on(stream)
        other = "shardId-000000000001"
        assert isinstance(source, Stream)
        stream.put(SHARD, b"failing")
        for number in range(3):
            stream.put(other, b"%d" % number)
            with suppress(ConfigurationError):
                assert [one.body for one in await receive_all(source, 1)] == [b"%d" % number]
            await until(lambda: source.fault)
            assert "GetShardIterator" in str(source.fault)
        stream.is_failing = False
        await until(lambda: source.fault is None)
        await source.close()

    run(scenario)


def test_the_fault_of_the_leases_stands_until_they_can_be_looked_at() -> None:
    async def scenario() -> None:
        stream = StubStream()
        stream.fail("list_shards", *["LimitExceededException"] * 2)
        source = source_on(stream, lease_seconds=0.1)
        with suppress(TransientError):
            await source.receive()
        await until(lambda: source.fault)
        await until(lambda: source.fault is None)
        await source.close()

    run(scenario)


def test_a_stream_made_anew_is_read_from_its_beginning() -> None:
    async def scenario() -> None:
        leases = MemoryLeases()
        await leases.add(Lease(SHARD, "gone", 9, SHARD_END, starts="4711"))
        stream = StubStream()
        stream.put(SHARD, b"new")
        source = source_on(stream, leases)
        [delivery] = await receive_all(source, 1)
        assert delivery.body == b"new"
        await source.close()

    run(scenario)


def test_a_lease_taken_by_a_request_whose_answer_was_lost_is_found_again() -> None:
    class LostOnce(MemoryLeases):
        is_lost = False

        async def write(self, before: Lease, after: Lease) -> Lease | None:
            found = await super().write(before, after)
            if not self.is_lost:
                self.is_lost = True
                raise TransientError("the answer was lost")
            return found

    async def scenario() -> None:
        stream = StubStream()
        stream.put(SHARD, b"payload")
        source = source_on(stream, LostOnce(), lease_seconds=0.4)
        with pytest.raises(TransientError, match="lost"):
            await source.receive()
        assert len(await receive_all(source, 1)) == 1
        await source.close()

    run(scenario)


def test_a_renewal_whose_answer_was_lost_keeps_the_shard() -> None:
    class LostOften(MemoryLeases):
        writes = 0

        async def write(self, before: Lease, after: Lease) -> Lease | None:
            found = await super().write(before, after)
            self.writes += 1
            if self.writes % 2 == 0:
                raise TransientError("the answer was lost")
            return found

    async def scenario() -> None:
        stream, leases = StubStream(), LostOften()
        sequences = stream.put(SHARD, *bodies(20))
        source = source_on(stream, leases, lease_seconds=0.3)
        source._holder.start()
        await until(lambda: source._holder.shards)
        held = set(source._holder.shards)
        first, *others = await receive_all(source, 20)
        await source.settle([ended(one) for one in others])
        writes = leases.writes
        await until(lambda: leases.writes > writes + 4)
        await source.settle([ended(first)])
        await until(lambda: leases._leases[SHARD].checkpoint == sequences[-1])
        assert set(source._holder.shards) == held  # never dropped
        await source.close()

    run(scenario)


def test_records_are_not_handed_over_once_others_might_have_the_shard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Stuck(MemoryLeases):
        is_stuck = False

        async def write(self, before: Lease, after: Lease) -> Lease | None:
            if self.is_stuck:
                raise TransientError("unreachable")
            return await super().write(before, after)

    monkeypatch.setattr("worker.adapters.kinesis_source.WAIT_SECONDS", 0.05)

    async def scenario() -> None:
        stream, leases = StubStream(), Stuck()
        stream.put(SHARD, b"0")
        source = source_on(stream, leases, lease_seconds=0.4)
        await receive_all(source, 1)
        leases.is_stuck = True
        [shard] = source._holder.shards.values()
        await until(lambda: not source._holder.is_held(shard))
        stream.put(SHARD, b"1")
        await until(lambda: shard.ready)
        with pytest.raises(TransientError, match="unreachable"):
            await source.receive()
        assert [one.body for one in shard.ready] == [b"1"]
        leases.is_stuck = False  # nobody took it: the lease can be renewed still
        assert [one.body for one in await receive_all(source, 1)] == [b"1"]
        await source.close()

    run(scenario)


def test_a_bug_in_a_task_is_not_hidden() -> None:
    async def scenario() -> None:
        stream = StubStream()
        stream.fail("list_shards", ZeroDivisionError("bug"))
        source = source_on(stream)
        with pytest.raises(RuntimeError, match="bug"):
            await source.receive()
        await source.close()

    run(scenario)


def test_what_ended_a_task_is_raised_whatever_else_comes() -> None:
    async def scenario() -> None:
        stream = StubStream(shards=2)
        source = source_on(stream)
        stream.fail("get_records", KeyError("Records"))
        await until_fatal(source)
        stream.put(SHARD, b"1")
        stream.put("shardId-000000000001", b"1")
        stream.fail("list_shards", "LimitExceededException")
        await until(lambda: any(shard.ready for shard in source._holder.shards.values()))
        source._holder._told(TransientError("throttled"), "round")
        for _ in range(3):
            with pytest.raises(RuntimeError, match="Records"):
                await source.receive()
        with pytest.raises(RuntimeError, match="Records"):
            await source.is_drained()
        await source.close()

    async def until_fatal(source: KinesisSource) -> None:
        source._holder.start()
        await until(lambda: source.fault)

    run(scenario)
