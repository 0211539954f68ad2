"""Several workers on one stream: shares, takeovers, thefts, and shards that split and merge."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.kinesis_readers import Reader, ended, receive_all, source_on, until
from tests.kinesis_stub import StubStream
from worker.adapters.kinesis_checkpoint import SHARD_END
from worker.adapters.kinesis_leases import NOBODY, MemoryLeases

LEASE_SECONDS = 0.5


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def filled(shards: int, records: int) -> tuple[StubStream, set[bytes]]:
    """Return a stream with as many records in each shard, and all payloads."""
    stream = StubStream(shards=shards)
    payloads = set()
    for name in stream.shards:
        mine = [f"{name}/{number}".encode() for number in range(records)]
        stream.put(name, *mine)
        payloads.update(mine)
    return stream, payloads


def test_two_workers_share_the_shards_and_miss_nothing() -> None:
    async def scenario() -> None:
        stream, payloads = filled(4, 50)
        leases = MemoryLeases()
        one = Reader(source_on(stream, leases, lease_seconds=LEASE_SECONDS))
        await until(lambda: len(one.held) == 4)
        other = Reader(source_on(stream, leases, lease_seconds=LEASE_SECONDS))
        await until(lambda: len(one.held) == len(other.held) == 2)
        await until(lambda: one.held | other.held == set(stream.shards))
        await until(lambda: one.seen.keys() | other.seen.keys() == payloads)
        await one.stop()
        await until(lambda: len(other.held) == 4)  # released, so nothing had to expire
        await other.stop()

    run(scenario)


def test_a_worker_that_closes_hands_over_where_it_stood() -> None:
    async def scenario() -> None:
        stream, payloads = filled(3, 20)
        leases = MemoryLeases()
        first = Reader(source_on(stream, leases))
        await until(lambda: first.seen.keys() == payloads)
        await first.stop()
        assert {lease.owner for lease in await leases.leases()} == {NOBODY}
        second = Reader(source_on(stream, leases))
        stream.put("shardId-000000000001", b"new")
        await until(lambda: second.seen)
        await second.stop()
        assert second.order == [b"new"]

    run(scenario)


def test_a_killed_workers_shards_are_taken_over_at_its_checkpoint() -> None:
    async def scenario() -> None:
        stream, payloads = filled(2, 40)
        leases = MemoryLeases()
        dead = Reader(source_on(stream, leases, lease_seconds=LEASE_SECONDS))
        await until(lambda: dead.seen.keys() == payloads)
        await until(
            lambda: all(
                lease.checkpoint == str(stream.shards[lease.shard].records[-1].number)
                for lease in leases._leases.values()
            )
        )
        await dead.kill()
        more = {b"x", b"y"}
        for name, body in zip(stream.shards, more, strict=True):
            stream.put(name, body)
        heir = Reader(source_on(stream, leases, lease_seconds=LEASE_SECONDS))
        await until(lambda: heir.seen.keys() >= more)
        assert heir.seen.keys() == more
        await heir.stop()

    run(scenario)


def test_what_a_killed_worker_had_not_settled_comes_again() -> None:
    async def scenario() -> None:
        stream, payloads = filled(2, 40)
        leases = MemoryLeases()
        dying = source_on(stream, leases, lease_seconds=LEASE_SECONDS)
        deliveries = await receive_all(dying, 80)
        await dying.settle([ended(one) for one in deliveries[::2]])
        reader = Reader(dying)  # settles nothing that was received before
        await reader.kill()
        heir = Reader(source_on(stream, leases, lease_seconds=LEASE_SECONDS))
        await until(lambda: heir.seen.keys() >= {one.body for one in deliveries[1::2]})
        await heir.stop()
        assert heir.seen.keys() <= payloads

    run(scenario)


def test_settling_after_the_shard_was_taken_changes_nothing() -> None:
    async def scenario() -> None:
        stream, _ = filled(1, 10)
        leases = MemoryLeases()
        slow = source_on(stream, leases)
        deliveries = await receive_all(slow, 10)
        [lease] = await leases.leases()
        thief = lease.written(owner="thief")
        assert await leases.write(lease, thief) == thief
        await slow.settle([ended(one) for one in deliveries])
        await until(lambda: not slow._holder.shards)  # its checkpoint was refused
        await slow.settle([ended(one) for one in deliveries])
        assert slow._holder._room.bytes == 0
        await slow.close()
        assert await leases.leases() == [thief]

    run(scenario)


def test_a_shard_that_was_lost_and_won_back_is_read_from_its_checkpoint() -> None:
    async def scenario() -> None:
        stream, _ = filled(1, 10)
        leases = MemoryLeases()
        source = source_on(stream, leases, lease_seconds=LEASE_SECONDS)
        before = await receive_all(source, 10)
        [lease] = await leases.leases()
        thief = lease.written(owner="thief")
        await leases.write(lease, thief)
        await leases.write(thief, thief.written(owner=NOBODY))
        after = await receive_all(source, 10)
        assert [one.name for one in after] == [one.name for one in before]
        assert not {one.receipt for one in after} & {one.receipt for one in before}
        await source.settle([ended(one) for one in before])  # of a holding that is over
        [shard] = source._holder.shards.values()
        assert shard.unsettled == 10
        await source.close()

    run(scenario)


def test_children_of_a_split_come_after_their_parent() -> None:
    async def scenario() -> None:
        stream, _ = filled(1, 30)
        [parent] = stream.shards
        leases, order = MemoryLeases(), list[bytes]()
        children = stream.split(parent)
        for child in children:
            stream.put(child, *[f"{child}/{number}".encode() for number in range(30)])
        readers = [
            Reader(source_on(stream, leases, lease_seconds=LEASE_SECONDS), order) for _ in range(2)
        ]
        await until(lambda: len(set(order)) == 90)
        last_of_parent = max(at for at, body in enumerate(order) if parent.encode() in body)
        first_of_children = min(at for at, body in enumerate(order) if parent.encode() not in body)
        assert last_of_parent < first_of_children
        await until(lambda: leases._leases[parent].checkpoint == SHARD_END)
        for reader in readers:
            await reader.stop()

    run(scenario)


def test_a_child_waits_until_all_of_its_parent_is_settled() -> None:
    async def scenario() -> None:
        stream, _ = filled(2, 3)
        one, other = stream.shards
        leases = MemoryLeases()
        source = source_on(stream, leases, lease_seconds=LEASE_SECONDS)
        deliveries = await receive_all(source, 6)
        child = stream.merge(one, other)
        stream.put(child, b"child")
        stuck = deliveries.pop()
        await source.settle([ended(delivery) for delivery in deliveries])
        finished = one if other in stuck.name else other
        await until(lambda: leases._leases[finished].checkpoint == SHARD_END)
        rounds = stream.requests["list_shards"]
        await until(lambda: stream.requests["list_shards"] > rounds + 3)
        assert leases._leases[child].owner == NOBODY
        await source.settle([ended(stuck)])
        [delivery] = await receive_all(source, 1)
        assert delivery.body == b"child"
        assert {leases._leases[name].checkpoint for name in (one, other)} == {SHARD_END}
        await source.close()

    run(scenario)


def test_splits_and_merges_and_kills_lose_nothing() -> None:
    async def scenario() -> None:
        stream, payloads = filled(2, 20)
        leases, order = MemoryLeases(), list[bytes]()

        def fresh() -> Reader:
            return Reader(source_on(stream, leases, lease_seconds=LEASE_SECONDS), order)

        def put(shards: list[str]) -> None:
            for shard in shards:
                mine = [f"{shard}/{number}".encode() for number in range(20)]
                stream.put(shard, *mine)
                payloads.update(mine)

        one, other = fresh(), fresh()
        await until(lambda: len(set(order)) > 10)
        first, second = stream.shards
        halves = stream.split(first)
        put(halves)
        await one.kill()
        one = fresh()
        await until(lambda: any(halves[0].encode() in body for body in order))
        merged = stream.merge(halves[1], second)
        put([merged])
        await other.kill()
        last = stream.split(merged)
        put(last)
        await until(lambda: set(order) == payloads)
        await one.stop()
        for child, parents in {
            halves[0]: [first],
            halves[1]: [first],
            merged: [halves[1], second],
            last[0]: [merged],
            last[1]: [merged],
        }.items():
            begins = min(at for at, body in enumerate(order) if child.encode() in body)
            for parent in parents:
                first_seen = [body for body in order[:begins] if parent.encode() in body]
                assert len(set(first_seen)) == 20, f"{child} was read before all of {parent}"

    run(scenario)


def test_leases_of_shards_that_expired_are_removed() -> None:
    async def scenario() -> None:
        stream, _ = filled(1, 3)
        [parent] = stream.shards
        leases = MemoryLeases()
        reader = Reader(source_on(stream, leases, lease_seconds=LEASE_SECONDS))
        children = stream.split(parent)
        await until(lambda: reader.held == set(children))
        stream.shards[parent].is_expired = True
        await until(lambda: leases._leases.keys() == set(children))
        await reader.stop()

    run(scenario)


def test_a_shard_that_expires_while_it_is_held_gives_way_to_its_children() -> None:
    async def scenario() -> None:
        stream, _ = filled(1, 3)
        [parent] = stream.shards
        leases = MemoryLeases()
        source = source_on(stream, leases, lease_seconds=LEASE_SECONDS)
        deliveries = await receive_all(source, 3)
        children = stream.split(parent)
        stream.put(children[0], b"child")
        stream.shards[parent].is_expired = True
        await source.settle([ended(one) for one in deliveries])  # can be settled still
        [delivery] = await receive_all(source, 1)
        assert delivery.body == b"child"
        await until(lambda: leases._leases.keys() == set(children))
        await source.close()

    run(scenario)
