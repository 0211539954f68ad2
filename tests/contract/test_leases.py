"""The contract of all stores of leases: conditional, and clear about what is there now."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.dynamodb import client, local_endpoint, localstack_endpoint, new_prefix
from tests.faults import FaultyClient
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_state import StateTable
from worker.adapters.kinesis_checkpoint import SHARD_END
from worker.adapters.kinesis_leases import DynamoLeases, Lease, LeaseStore, MemoryLeases

Test = Callable[[LeaseStore], Awaitable[None]]

LEASE = Lease("shardId-1", parents=("shardId-0", "shardId-9"), starts="4957")


@asynccontextmanager
async def _state_at(endpoint: str, *, share: float = 0.0) -> AsyncIterator[StateTable]:
    async with client(endpoint) as opened:
        given: Any = FaultyClient(opened, seed=4, share=share) if share else opened
        yield StateTable(new_prefix(), dynamo=Dynamo(given), create_tables=True)


@pytest.fixture(
    params=[
        "memory",
        "dynamodb",
        pytest.param("localstack", marks=pytest.mark.integration),
    ]
)
def run(request: pytest.FixtureRequest) -> Callable[[Test], None]:
    """Run a test on an empty store of each kind."""

    async def on_store(test: Test) -> None:
        if request.param == "memory":
            await test(MemoryLeases())
            return
        endpoint = local_endpoint() if request.param == "dynamodb" else localstack_endpoint()
        async with _state_at(endpoint) as table:
            other = DynamoLeases(table, "other")
            await other.add(Lease("shardId-of-another-stream"))
            await test(DynamoLeases(table, "calls"))
            assert await other.leases() == [Lease("shardId-of-another-stream")]

    return lambda test: asyncio.run(on_store(test))


def test_a_lease_is_added_once_and_read_back_whole(run: Callable[[Test], None]) -> None:
    async def test(store: LeaseStore) -> None:
        assert await store.leases() == []
        await store.add(LEASE)
        await store.add(Lease(LEASE.shard, "other", 5))
        assert await store.leases() == [LEASE]

    run(test)


def test_of_two_writers_the_first_wins_and_the_second_is_told(
    run: Callable[[Test], None],
) -> None:
    async def test(store: LeaseStore) -> None:
        await store.add(LEASE)
        first, second = LEASE.written(owner="first"), LEASE.written(owner="second")
        assert await store.write(LEASE, first) == first
        assert await store.write(LEASE, second) == first
        assert await store.leases() == [first]

    run(test)


def test_a_checkpoint_of_an_owner_that_lost_the_lease_is_refused(
    run: Callable[[Test], None],
) -> None:
    async def test(store: LeaseStore) -> None:
        await store.add(LEASE)
        mine = LEASE.written(owner="mine")
        await store.write(LEASE, mine)
        renewed = mine.written(owner="mine", checkpoint="500")
        assert await store.write(mine, renewed) == renewed
        stolen = renewed.written(owner="thief")
        assert await store.write(renewed, stolen) == stolen
        late = renewed.written(owner="mine", checkpoint="900")
        assert await store.write(renewed, late) == stolen
        assert (await store.leases())[0].checkpoint == "500"

    run(test)


def test_the_same_owner_must_know_the_version(run: Callable[[Test], None]) -> None:
    async def test(store: LeaseStore) -> None:
        await store.add(LEASE)
        mine = LEASE.written(owner="mine")
        await store.write(LEASE, mine)
        newer = mine.written(owner="mine", checkpoint="7")
        await store.write(mine, newer)
        assert await store.write(mine, mine.written(owner="mine", checkpoint="3")) == newer

    run(test)


def test_a_lease_is_removed_if_nobody_wrote_it(run: Callable[[Test], None]) -> None:
    async def test(store: LeaseStore) -> None:
        await store.add(LEASE)
        ended = LEASE.written(owner="", checkpoint=SHARD_END)
        await store.write(LEASE, ended)
        await store.remove(LEASE)
        assert await store.leases() == [ended]
        await store.remove(ended)
        await store.remove(ended)
        assert await store.leases() == []
        assert await store.write(ended, ended.written(owner="mine")) is None

    run(test)


def test_lost_answers_do_not_look_like_somebody_elses_writes() -> None:
    """A write that was made though its answer was lost comes back as what was wanted."""

    async def scenario() -> None:
        async with _state_at(local_endpoint(), share=0.5) as table:
            store = DynamoLeases(table, "calls")
            await store.add(LEASE)
            lease = LEASE
            for number in range(12):
                wanted = lease.written(owner="mine", checkpoint=str(number))
                assert await store.write(lease, wanted) == wanted
                lease = wanted
            assert await store.leases() == [lease]

    asyncio.run(scenario())
