"""Who takes which lease: fair shares, parents first, the dead told from the living."""

import asyncio
import random
from collections import Counter

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.adapters.kinesis_checkpoint import SHARD_END
from worker.adapters.kinesis_leases import (
    NOBODY,
    Lease,
    LeaseWatch,
    MemoryLeases,
    plan,
    readable,
)


class Time:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def watch_of(*leases: Lease, worker: str = "me") -> tuple[LeaseWatch, Time]:
    time = Time()
    watch = LeaseWatch(worker, 20, time)
    watch.look(leases)
    return watch, time


def test_a_lease_without_owner_is_free_at_once() -> None:
    watch, _ = watch_of(Lease("a"))
    assert watch.is_free(Lease("a"))
    assert not watch.is_kept_by_others(Lease("a"))


def test_a_lease_whose_version_stands_still_is_free_after_its_time() -> None:
    lease = Lease("a", "other", 7)
    watch, time = watch_of(lease)
    time.now += 19.9
    watch.look([lease])
    assert not watch.is_free(lease)
    assert not watch.is_kept_by_others(lease)  # it may be dead for all we know
    time.now += 0.1
    watch.look([lease])
    assert watch.is_free(lease)


def test_a_lease_whose_version_moves_is_never_free() -> None:
    lease = Lease("a", "other", 7)
    watch, time = watch_of(lease)
    for _ in range(10):
        time.now += 15
        lease = lease.written(owner="other")
        watch.look([lease])
        assert not watch.is_free(lease)
        assert watch.is_kept_by_others(lease)


def test_a_lease_that_changed_hands_must_be_renewed_before_its_owner_counts_as_alive() -> None:
    lease = Lease("a", "other", 7)
    watch, _ = watch_of(lease)
    lease = lease.written(owner="third")
    watch.look([lease])
    assert not watch.is_kept_by_others(lease)
    assert not watch.is_free(lease)


def test_an_own_lease_is_neither_free_nor_others() -> None:
    lease = Lease("a", "me", 7)
    watch, time = watch_of(lease)
    time.now += 1_000
    watch.look([lease])
    assert not watch.is_free(lease)
    assert not watch.is_kept_by_others(lease)


def test_a_lease_never_looked_at_is_not_free() -> None:
    watch, _ = watch_of()
    assert not watch.is_free(Lease("a", "other"))


@pytest.mark.parametrize(
    "parents, expected",
    [
        pytest.param([Lease("p1"), Lease("p2")], ["p1", "p2"], id="none at its end"),
        pytest.param(
            [Lease("p1", checkpoint=SHARD_END), Lease("p2", "other", 3, "17")],
            ["p2"],
            id="one at its end",
        ),
        pytest.param(
            [Lease("p1", checkpoint=SHARD_END), Lease("p2", checkpoint=SHARD_END)],
            ["child"],
            id="both at their end",
        ),
    ],
)
def test_a_child_is_read_after_all_its_parents(parents: list[Lease], expected: list[str]) -> None:
    leases = [*parents, Lease("child", parents=("p1", "p2"))]
    assert [one.shard for one in readable(leases, ["p1", "p2", "child"])] == expected


def test_a_parent_whose_lease_is_not_made_yet_holds_its_child_back() -> None:
    child = Lease("child", parents=("parent",))
    assert readable([child], ["parent", "child"]) == []
    assert readable([child], ["child"]) == [child]  # the parent has expired


def test_a_shard_that_is_not_listed_is_not_read() -> None:
    assert readable([Lease("gone")], ["other"]) == []


def test_a_worker_alone_takes_everything() -> None:
    leases = [Lease(f"s{number}") for number in range(5)]
    watch, _ = watch_of(*leases)
    assert set(plan(leases, "me", watch).take) == set(leases)


def test_of_two_workers_each_takes_half() -> None:
    mine = [Lease("m", "me")]
    theirs = [Lease(f"t{number}", "other") for number in range(2)]
    free = [Lease(f"f{number}") for number in range(2)]
    watch, _ = watch_of(*mine, *theirs, *free)
    planned = plan([*mine, *theirs, *free], "me", watch)
    assert len(planned.take) == 2
    assert planned.steal is None


def test_one_is_stolen_at_a_time_and_from_the_busiest() -> None:
    leases = [Lease(f"a{number}", "a") for number in range(3)]
    leases += [Lease(f"b{number}", "b") for number in range(2)]
    watch, _ = watch_of(*leases)
    planned = plan(leases, "me", watch)
    assert planned.take == ()
    assert planned.steal is not None
    assert planned.steal.owner == "a"


def test_nothing_is_stolen_to_and_fro() -> None:
    leases = [Lease("a1", "a"), Lease("a2", "a"), Lease("m1", "me")]
    watch, _ = watch_of(*leases)
    assert plan(leases, "me", watch).steal is None


@given(
    shards=st.integers(1, 30),
    workers=st.integers(1, 8),
    died=st.integers(0, 3),
    seed=st.integers(0, 10**6),
)
def test_workers_come_within_one_shard_of_each_other(
    shards: int, workers: int, died: int, seed: int
) -> None:
    """Whatever was held before by the living and the dead, and in whatever order they look."""
    chance = random.Random(seed)
    names = [f"w{number}" for number in range(workers)]
    owners = [NOBODY, *names, *(f"dead{number}" for number in range(died))]
    leases = {f"s{number}": Lease(f"s{number}", chance.choice(owners)) for number in range(shards)}
    time = Time()
    watches = {name: LeaseWatch(name, 20, time) for name in names}
    for _ in range(2 * shards + 6):
        for name in chance.sample(names, workers):
            watches[name].look(leases.values())
            planned = plan(list(leases.values()), name, watches[name])
            for lease in (*planned.take, *([planned.steal] if planned.steal else [])):
                leases[lease.shard] = lease.written(owner=name)
        for shard, lease in leases.items():
            if lease.owner in names:
                leases[shard] = lease.written(owner=lease.owner)
        time.now += 5
    loads = Counter(lease.owner for lease in leases.values())
    held = [loads[name] for name in names]
    assert sum(held) == shards
    assert max(held) - min(held) <= 1


def test_leases_in_memory_are_written_under_the_condition() -> None:
    async def scenario() -> None:
        store = MemoryLeases()
        await store.add(Lease("a"))
        mine = Lease("a").written(owner="me")
        assert await store.write(Lease("a"), mine) == mine
        assert await store.write(Lease("a"), Lease("a").written(owner="other")) == mine
        assert msgspec.structs.replace(mine, version=2) == mine.written(owner="me")

    asyncio.run(scenario())
