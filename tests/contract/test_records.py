"""One contract for all keepers of records: versions follow one another, what is due is found."""

import asyncio

import msgspec
import pytest

from tests.calls import asynchronous
from tests.contract.conftest import OpenState
from worker.ports import Record, Records

NOW = 1_790_856_000_000


def record(name: str = "a", version: int = 1, *, partition: str = "p", **more: object) -> Record:
    body = f'{{"{version}":1}}'.encode()
    fields = {"body": body, **more}
    return msgspec.convert(
        {"partition": partition, "name": name, "version": version, **fields}, Record
    )


def following(before: Record, **more: object) -> Record:
    return msgspec.structs.replace(before, version=before.version + 1, **more)


async def due(records: Records, queue: str, until_ms: int = NOW, from_ms: int = 0) -> list[Record]:
    chunks = records.due(queue, until_ms, from_ms=from_ms)
    return [one async for chunk in chunks for one in chunk]


async def names(records: Records, *arguments: str, **more: object) -> list[str]:
    found = await records.partition("p", *arguments, **more)  # type: ignore[arg-type]
    return [one.name for one in found]


@asynchronous
async def test_a_record_is_what_was_written_last(open_state: OpenState) -> None:
    async with open_state() as state:
        assert await state.records.get("p", "a") is None
        first = record(body=bytes(range(256)), queue="enforce", due_at_ms=NOW)
        assert await state.records.write([first])
        assert await state.records.get("p", "a") == first
        second = following(first, body=b"", queue="")
        assert await state.records.write([second])
        assert await state.records.get("p", "a") == second
        assert await state.records.get("p", "b") is None
        assert await state.records.get("q", "a") is None
        assert await state.records.write([])


@asynchronous
async def test_only_the_next_version_is_written(open_state: OpenState) -> None:
    async with open_state() as state:
        first, second = record(), record(version=2)
        assert not await state.records.write([second]), "nothing to follow"
        assert await state.records.get("p", "a") is None
        assert await state.records.write([first])
        for wrong in (first, record(version=3), record(version=10)):
            assert not await state.records.write([wrong])
        assert await state.records.write([second])
        for wrong in (first, second):
            assert not await state.records.write([wrong])
        assert await state.records.get("p", "a") == second


@asynchronous
async def test_records_are_written_all_or_none(open_state: OpenState) -> None:
    async with open_state() as state:
        kept = record("kept", queue="monitor", due_at_ms=5)
        assert await state.records.write([kept])
        others = [record("b"), record("c", partition="q"), record("d", version=2)]
        assert not await state.records.write(others), "the last one follows nothing"
        assert not await state.records.write([record("b"), kept])
        assert await state.records.partition("q") == []
        assert await names(state.records) == ["kept"]
        together = [record("b"), record("c", partition="q"), following(kept, queue="")]
        assert await state.records.write(together)
        found = await state.records.get_many([(one.partition, one.name) for one in together])
        assert found == {(one.partition, one.name): one for one in together}
        assert await due(state.records, "monitor") == []


@asynchronous
async def test_fifty_records_and_many_bytes_are_written_at_once(open_state: OpenState) -> None:
    async with open_state() as state:
        fifty = [record(f"{number:02}", body=bytes(12_000)) for number in range(50)]
        assert await state.records.write(fifty)
        assert await state.records.partition("p") == fifty
        large = record("large", body=b"x" * 300_000)
        assert await state.records.write([large])
        assert await state.records.get("p", "large") == large


@pytest.mark.parametrize(
    "wrong",
    [
        [record(str(number)) for number in range(51)],
        [record(), record(version=2)],
        [record("")],
        [record(partition="")],
        [record(version=0)],
        [record(body=bytes(300_001))],
        [record(str(number), body=bytes(300_000)) for number in range(3)],
    ],
    ids=["many", "twice", "no-name", "no-partition", "no-version", "large", "large-together"],
)
@asynchronous
async def test_what_no_keeper_could_write_is_refused(
    open_state: OpenState, wrong: list[Record]
) -> None:
    async with open_state() as state:
        with pytest.raises(ValueError, match=r"record|bodies"):
            await state.records.write(wrong)


ODD = [
    "user/111122223333/alice",
    "user/111122223333/al%2Fice",
    "user/1111%",
    "user_1111",
    "a#b",
    "a b\t\n",
    "'; --",
    "ä",
    "\u00e4\u0301",
    "日本",
    "\U0001f600",
    "\uffee",
    "#",
    "0" * 1_000,
    "é" * 500,
    "0" * 999 + "1",
]


@asynchronous
async def test_odd_and_long_names_are_told_apart_and_in_order(open_state: OpenState) -> None:
    async with open_state() as state:
        many = [record(name, body=name.encode()) for name in ODD]
        for one in many:
            assert await state.records.write([one])
        for partition in ODD:
            assert await state.records.write([record("n", partition=partition)])
        assert await state.records.partition("p") == sorted(many, key=lambda one: one.name)
        found = await state.records.get_many([("p", name) for name in [*ODD, "none"]])
        assert found == {("p", one.name): one for one in many}
        for partition in ODD:
            assert await state.records.partition(partition) == [record("n", partition=partition)]
        assert await names(state.records, "user/1111%") == ["user/1111%"]
        assert await names(state.records, "user_") == ["user_1111"]
        assert await names(state.records, "0" * 999) == ["0" * 1_000, "0" * 999 + "1"]
        assert await names(state.records, "", after="0" * 1_000, limit=1) == ["0" * 999 + "1"]


@asynchronous
async def test_names_and_partitions_longer_than_any_key_are_told_apart(
    open_state: OpenState,
) -> None:
    async with open_state() as state:
        longer = "ü" * 1_500
        many = [record(longer + end, partition=longer + end) for end in "123"]
        assert await state.records.write(many)
        for one in many:
            assert await state.records.get(one.partition, one.name) == one
            assert await state.records.partition(one.partition, longer) == [one]
            assert await state.records.partition(one.partition, longer + "x") == []
            assert await state.records.partition(one.partition, after=one.name) == []
        assert await state.records.remove(many[1])
        assert await state.records.get(many[1].partition, many[1].name) is None


@asynchronous
async def test_a_partition_is_listed_by_name_from_where_it_is_asked(open_state: OpenState) -> None:
    async with open_state() as state:
        kept = ["0010", "0020", "0020#alice", "0020#bob", "0020$", "0030", "head"]
        for name in [*kept[::-1]]:
            assert await state.records.write([record(name)])
        assert await state.records.write([record("0020#carol", partition="p2")])
        assert await names(state.records) == kept
        assert await names(state.records, "0020") == kept[1:5]
        assert await names(state.records, "0020#") == kept[2:4]
        assert await names(state.records, "0020#", after="0020#alice") == ["0020#bob"]
        assert await names(state.records, "0020#", after="0020#", limit=1) == ["0020#alice"]
        assert await names(state.records, "0020#", after="0010") == kept[2:4]
        assert await names(state.records, "0020#", after="0030") == []
        assert await names(state.records, "0020#", after="0020#bob") == []
        assert await names(state.records, "", after="0020$") == ["0030", "head"]
        assert await names(state.records, "", after="0020", limit=2) == kept[2:4]
        assert await names(state.records, "", limit=100) == kept
        assert await names(state.records, "", limit=0) == []
        assert await names(state.records, "x") == []
        assert await state.records.partition("none") == []


@asynchronous
async def test_what_is_due_is_found_the_longest_due_first(open_state: OpenState) -> None:
    async with open_state() as state:
        at_ms = [NOW, NOW - 5, 0, NOW - 5_000, NOW - 3]
        waiting = [
            record(str(number), partition=f"p{number % 2}", queue="enforce", due_at_ms=due_ms)
            for number, due_ms in enumerate(at_ms)
        ]
        others = [
            record("later", queue="enforce", due_at_ms=NOW + 1),
            record("other", queue="monitor", due_at_ms=1),
            record("idle", due_at_ms=1),
        ]
        assert await state.records.write([*waiting, *others])
        ordered = sorted(waiting, key=lambda one: one.due_at_ms)
        assert await due(state.records, "enforce") == ordered
        assert await due(state.records, "enforce", NOW + 1) == [*ordered, others[0]]
        assert await due(state.records, "enforce", from_ms=NOW - 5) == ordered[2:]
        assert await due(state.records, "enforce", NOW - 5, from_ms=NOW - 5) == [waiting[1]]
        assert await due(state.records, "enforce", 5, from_ms=6) == []
        assert await due(state.records, "monitor") == [others[1]]
        assert await due(state.records, "none") == []


@asynchronous
async def test_what_is_done_or_removed_is_due_no_more(open_state: OpenState) -> None:
    async with open_state() as state:
        done, moved, removed = (
            record(name, queue="enforce", due_at_ms=1) for name in ("done", "moved", "removed")
        )
        assert await state.records.write([done, moved, removed])
        assert await state.records.write(
            [following(done, queue="", due_at_ms=0), following(moved, queue="monitor", due_at_ms=7)]
        )
        assert await state.records.remove(removed)
        assert await due(state.records, "enforce") == []
        assert await due(state.records, "monitor") == [
            following(moved, queue="monitor", due_at_ms=7)
        ]


@asynchronous
async def test_many_come_in_chunks_and_may_be_done_meanwhile(open_state: OpenState) -> None:
    async with open_state() as state:
        many = [
            record(str(number), partition=f"p{number % 7}", queue="monitor", due_at_ms=number)
            for number in range(230)
        ]
        for start in range(0, len(many), 50):
            assert await state.records.write(many[start : start + 50])
        sizes = []
        found: list[Record] = []
        async for chunk in state.records.due("monitor", NOW):
            sizes.append(len(chunk))
            found += chunk
            half = [following(one, queue="") for one in chunk[::2]]
            assert await state.records.write(half)
        assert found == many
        assert max(sizes) <= 100
        assert await due(state.records, "monitor") == [
            one for one in many if one.due_at_ms % 100 % 2 == 1
        ]


@asynchronous
async def test_many_are_read_at_once(open_state: OpenState) -> None:
    async with open_state() as state:
        many = [record(f"{number:03}") for number in range(150)]
        for start in range(0, len(many), 50):
            assert await state.records.write(many[start : start + 50])
        keys = [("p", f"{number:03}") for number in range(0, 300, 2)]
        found = await state.records.get_many([*keys, *keys])
        assert sorted(found.values(), key=lambda one: one.name) == many[::2]
        assert await state.records.get_many([]) == {}


@asynchronous
async def test_a_record_is_removed_as_long_as_it_is_what_was_read(open_state: OpenState) -> None:
    async with open_state() as state:
        first = record()
        second = following(first)
        assert not await state.records.remove(first), "there is none"
        assert await state.records.write([first])
        assert await state.records.write([second])
        assert not await state.records.remove(first), "it changed"
        assert await state.records.get("p", "a") == second
        assert await state.records.remove(second)
        assert not await state.records.remove(second)
        assert await state.records.partition("p") == []
        assert not await state.records.write([following(second)])
        assert await state.records.write([first]), "it begins anew"


@asynchronous
async def test_of_several_who_write_a_version_one_wins(open_state: OpenState) -> None:
    async with open_state() as state:
        for version in (1, 2, 3):
            rivals = [record(version=version, body=str(rival).encode()) for rival in range(8)]
            won = await asyncio.gather(*(state.records.write([rival]) for rival in rivals))
            assert won.count(True) == 1
            assert await state.records.get("p", "a") == rivals[won.index(True)]


@asynchronous
async def test_of_several_who_share_one_record_one_writes_all_of_its_own(
    open_state: OpenState,
) -> None:
    """Each writes an entry of its own and the head that all share, as an append-only log does."""
    async with open_state() as state:
        for version in (1, 2, 3):
            rivals = [
                [record(f"{rival}-{version}"), record("head", version, body=str(rival).encode())]
                for rival in range(6)
            ]
            won = await asyncio.gather(*(state.records.write(rival) for rival in rivals))
            assert won.count(True) == 1
            head = await state.records.get("p", "head")
            assert head == rivals[won.index(True)][1]
        assert len(await names(state.records)) == 4


@asynchronous
async def test_records_outlive_the_process(open_kept_state: OpenState) -> None:
    kept = record(queue="enforce", due_at_ms=3)
    async with open_kept_state() as state:
        assert await state.records.write([kept])
    async with open_kept_state() as state:
        assert await state.records.get("p", "a") == kept
        assert await due(state.records, "enforce") == [kept]
        assert not await state.records.write([kept])


@asynchronous
async def test_two_processes_race_for_the_same_records(open_kept_state: OpenState) -> None:
    async with open_kept_state() as one, open_kept_state() as other:
        for version in range(1, 5):
            won = await asyncio.gather(
                *(
                    state.records.write(
                        [record(name, version, body=name.encode()), record("head", version)]
                    )
                    for state, name in ((one, "a"), (other, "b"))
                )
            )
            assert won.count(True) == 1
            behind = other if won[0] else one
            name = "b" if won[0] else "a"
            assert not await behind.records.write([record(name, version), record("head", version)])
            # The loser's own record stays behind its version otherwise.
            assert await behind.records.write([record(name, version)])
        assert await one.records.partition("p") == await other.records.partition("p")
        assert [one.version for one in await one.records.partition("p")] == [4, 4, 4]
