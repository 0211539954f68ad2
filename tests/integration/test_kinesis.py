"""The Kinesis source on LocalStack's streams and tables: shards split and merge, workers die."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.calls import asynchronous
from tests.dynamodb import client, localstack_endpoint, new_prefix
from tests.kinesis_readers import Reader, ended, receive_all, source_on
from tests.workers import aws
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_state import StateTable
from worker.adapters.kinesis_checkpoint import SHARD_END
from worker.adapters.kinesis_leases import NOBODY, DynamoLeases, Lease
from worker.adapters.kinesis_requests import KinesisStream
from worker.adapters.kinesis_shards import Limits
from worker.core.errors import ConfigurationError
from worker.ports import Delivery

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WAIT_SECONDS = 90
LIMITS = Limits(idle_seconds=0.3, retry_seconds=0.1)


@asynccontextmanager
async def a_stream(kinesis: Any, shards: int) -> AsyncIterator[str]:
    """Make a stream, and delete it afterwards: LocalStack has room for few shards."""
    name = f"calls-{uuid.uuid4().hex}"
    await kinesis.create_stream(StreamName=name, ShardCount=shards)
    await active(kinesis, name)
    try:
        yield name
    finally:
        await kinesis.delete_stream(StreamName=name)


async def active(kinesis: Any, name: str) -> None:
    waiter = kinesis.get_waiter("stream_exists")
    await waiter.wait(StreamName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 60})


@asynccontextmanager
async def leases_of(stream: str) -> AsyncIterator[DynamoLeases]:
    async with client(localstack_endpoint()) as opened:
        table = StateTable(new_prefix(), dynamo=Dynamo(opened), create_tables=True)
        yield DynamoLeases(table, stream)


async def put(kinesis: Any, stream: str, bodies: Iterable[bytes]) -> dict[bytes, str]:
    """Put records, spread over the shards; return the shard of each."""
    bodies = list(bodies)
    records = [{"Data": body, "PartitionKey": body.decode()} for body in bodies]
    answer = await kinesis.put_records(StreamName=stream, Records=records)
    assert answer["FailedRecordCount"] == 0
    return {body: one["ShardId"] for body, one in zip(bodies, answer["Records"], strict=True)}


async def shards_of(kinesis: Any, stream: str) -> dict[str, tuple[str, ...]]:
    listed = await KinesisStream(stream, kinesis).shards()
    return {shard.shard: shard.parents for shard in listed}


def texts(kind: str, count: int) -> list[bytes]:
    return [f"{kind}-{number}".encode() for number in range(count)]


async def by_shard(leases: DynamoLeases) -> dict[str, Lease]:
    return {lease.shard: lease for lease in await leases.leases()}


async def until_seen(readers: list[Reader], bodies: set[bytes]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not bodies <= set().union(*(reader.seen for reader in readers)):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@asynchronous
async def test_two_workers_follow_a_split_and_a_merge() -> None:
    async with (
        aws("kinesis") as kinesis,
        a_stream(kinesis, 2) as stream,
        leases_of(stream) as leases,
    ):
        order: list[bytes] = []
        readers = [
            Reader(source_on(kinesis, leases, stream=stream, lease_seconds=5, limits=LIMITS), order)
            for _ in range(2)
        ]
        placed = await put(kinesis, stream, texts("first", 100))
        await until_seen(readers, set(placed))

        one, other = await shards_of(kinesis, stream)
        described = await kinesis.list_shards(StreamName=stream)
        begins = int(described["Shards"][0]["HashKeyRange"]["StartingHashKey"])
        ends = int(described["Shards"][0]["HashKeyRange"]["EndingHashKey"])
        placed |= await put(kinesis, stream, texts("before-split", 50))
        await kinesis.split_shard(
            StreamName=stream, ShardToSplit=one, NewStartingHashKey=str((begins + ends) // 2)
        )
        await active(kinesis, stream)
        placed |= await put(kinesis, stream, texts("after-split", 50))
        await until_seen(readers, set(placed))

        children = [name for name, of in (await shards_of(kinesis, stream)).items() if one in of]
        assert len(children) == 2
        await kinesis.merge_shards(
            StreamName=stream, ShardToMerge=children[1], AdjacentShardToMerge=other
        )
        await active(kinesis, stream)
        placed |= await put(kinesis, stream, texts("after-merge", 50))
        await until_seen(readers, set(placed))
        for reader in readers:
            await reader.stop()

        topology = await shards_of(kinesis, stream)
        kept = await by_shard(leases)
        assert kept.keys() == topology.keys()
        [merged] = [name for name, of in topology.items() if len(of) == 2]
        assert set(topology[merged]) == {children[1], other}
        for name in (one, other, children[1]):
            assert kept[name].checkpoint == SHARD_END
        assert {lease.owner for lease in kept.values()} == {NOBODY}

        # Nothing of a child was seen before all of its parents.
        first_seen = {body: at for at, body in reversed(list(enumerate(order)))}
        for name, parents in topology.items():
            mine = [first_seen[body] for body, shard in placed.items() if shard == name]
            before = [first_seen[body] for body, shard in placed.items() if shard in parents]
            assert not mine or not before or max(before) < min(mine)


@asynchronous
async def test_a_restart_goes_on_at_the_checkpoints() -> None:
    async with (
        aws("kinesis") as kinesis,
        a_stream(kinesis, 2) as stream,
        leases_of(stream) as leases,
    ):
        first = await put(kinesis, stream, texts("first", 60))
        source = source_on(kinesis, leases, stream=stream, limits=LIMITS)
        deliveries = await receive_all(source, 60)
        assert {delivery.body for delivery in deliveries} == first.keys()
        assert all(delivery.sent_at_ms > 1_700_000_000_000 for delivery in deliveries)
        await source.settle([ended(delivery) for delivery in deliveries])
        async with asyncio.timeout(WAIT_SECONDS):
            while not await source.is_drained():
                await source.receive()
        await source.close()
        newest: dict[str, Delivery] = {first[delivery.body]: delivery for delivery in deliveries}
        kept = await by_shard(leases)
        for shard, delivery in newest.items():
            assert delivery.name == f"kinesis:{stream}/{shard}/{kept[shard].checkpoint}"

        second = await put(kinesis, stream, texts("second", 20))
        again = source_on(kinesis, leases, stream=stream, limits=LIMITS)
        more = await receive_all(again, 20)
        assert {delivery.body for delivery in more} == second.keys()
        assert len(more) == 20
        await again.close()


@asynchronous
async def test_a_killed_workers_records_are_taken_over() -> None:
    async with (
        aws("kinesis") as kinesis,
        a_stream(kinesis, 2) as stream,
        leases_of(stream) as leases,
    ):
        placed = await put(kinesis, stream, texts("first", 80))
        dying = source_on(kinesis, leases, stream=stream, lease_seconds=3, limits=LIMITS)
        deliveries = await receive_all(dying, 80)
        await dying.settle([ended(delivery) for delivery in deliveries[::3]])
        await Reader(dying).kill()
        heir = Reader(source_on(kinesis, leases, stream=stream, lease_seconds=3, limits=LIMITS))
        placed |= await put(kinesis, stream, texts("second", 20))
        unsettled = placed.keys() - {delivery.body for delivery in deliveries[::3]}
        await until_seen([heir], unsettled)
        await heir.stop()


@asynchronous
async def test_a_checkpoint_that_the_stream_does_not_know_begins_at_the_oldest_record() -> None:
    async with (
        aws("kinesis") as kinesis,
        a_stream(kinesis, 1) as stream,
        leases_of(stream) as leases,
    ):
        placed = await put(kinesis, stream, texts("first", 5))
        [listed] = await KinesisStream(stream, kinesis).shards()
        assert listed.starts
        await leases.add(Lease(listed.shard, checkpoint="7", starts=listed.starts))
        source = source_on(kinesis, leases, stream=stream, limits=LIMITS)
        deliveries = await receive_all(source, 5)
        assert {delivery.body for delivery in deliveries} == placed.keys()
        await source.close()


@asynchronous
async def test_a_stream_that_does_not_exist_is_the_operators_to_mend() -> None:
    async with aws("kinesis") as kinesis, leases_of("no-such-stream") as leases:
        source = source_on(kinesis, leases, stream="no-such-stream")
        with pytest.raises(ConfigurationError, match="no-such-stream"):
            await receive_all(source, 1)
        await source.close()
