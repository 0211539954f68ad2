import asyncio

from hypothesis import given
from hypothesis import strategies as st

from tests.calls import asynchronous
from worker.adapters.memory_source import MemorySource
from worker.ports import Delivery
from worker.runtime.batching import Batcher, BatchQueue


class Still:
    def now_ms(self) -> int:
        return 0


def delivery(number: int, size: int = 1, group: str = "") -> Delivery:
    return Delivery(b"x" * size, str(number), group=group)


def batcher(deliveries: int = 3, size: int = 100, linger: float = 1.0) -> Batcher:
    return Batcher(deliveries_max=deliveries, bytes_max=size, linger_seconds=linger)


def numbers(batch: list[Delivery]) -> list[int]:
    return [int(one.receipt) for one in batch]


def test_a_batch_is_due_when_the_first_has_waited() -> None:
    made = batcher()
    assert made.due_at(1) is None
    made.add(delivery(1), 10.0)
    made.add(delivery(2), 10.9)
    assert made.due_at(1) == 11.0
    assert made.take(10.99, 1) == []
    assert numbers(made.take(11.0, 1)) == [1, 2]
    assert made.take(99.0, 1) == []


def test_a_delivery_waits_the_longer_the_more_is_being_worked_on() -> None:
    made = batcher()
    made.add(delivery(1), 10.0)
    assert [made.due_at(in_flight) for in_flight in range(4)] == [10.0, 11.0, 12.0, 13.0]
    assert made.take(11.9, 2) == []
    assert numbers(made.take(10.0, 0)) == [1]


def test_a_batch_is_due_at_once_when_it_is_full_by_count_or_by_bytes() -> None:
    made = batcher()
    for number in range(4):
        made.add(delivery(number), 10.0)
    assert numbers(made.take(10.0, 1)) == [0, 1, 2]
    assert made.take(10.0, 1) == []
    made.add(delivery(4, 99), 10.0)
    assert numbers(made.take(10.0, 1)) == [3, 4]


def test_a_delivery_larger_than_the_bound_is_a_batch_of_its_own() -> None:
    made = batcher()
    made.add(delivery(1), 10.0)
    made.add(delivery(2, 101), 10.0)
    made.add(delivery(3), 10.0)
    assert [numbers(made.take(10.0, 1, at_once=True)) for _ in range(4)] == [[1], [2], [3], []]


def test_groups_are_held_back_in_order_and_go_on_afterwards() -> None:
    made = batcher(deliveries=2)
    for number in range(4):
        made.add(delivery(number, group="a"), 10.0)
    made.add(delivery(9, group="b"), 10.0)
    first = made.take(10.0, 1)
    assert numbers(first) == [0, 1]
    made.add(delivery(4, group="a"), 10.0)
    assert numbers(made.take(99.0, 1)) == [9]
    assert made.take(99.0, 1) == []
    assert len(made) == 3
    made.done(first)
    second = made.take(99.0, 1)
    assert numbers(second) == [2, 3]
    assert numbers(made.give_back("a")) == [4]
    made.done(second)
    assert len(made) == 0


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 60)), max_size=60),
    st.lists(st.booleans(), max_size=120),
)
def test_every_delivery_is_handed_out_once_and_groups_keep_their_order(
    sent: list[tuple[int, int]], choices: list[bool]
) -> None:
    """Group 0 is no group; whether to take or to end a batch next is anybody's choice."""
    made = batcher(deliveries=4, size=100)
    under_way: list[list[Delivery]] = []
    handed: list[Delivery] = []
    waiting = [
        delivery(number, size, group=f"group-{group}" if group else "")
        for number, (group, size) in enumerate(sent)
    ]
    choices = [*choices, *([True, False] * (2 * len(sent) + 2))]
    for at, takes in enumerate(choices):
        if waiting:
            made.add(waiting.pop(0), float(at))
        if takes:
            batch = made.take(float(at), 1, at_once=True)
            assert len(batch) <= 4
            assert len(batch) <= 1 or sum(len(one.body) for one in batch) <= 100
            busy = {one.group for other in under_way for one in other} - {""}
            assert busy.isdisjoint(one.group for one in batch)
            if batch:
                under_way.append(batch)
                handed += batch
        elif under_way:
            made.done(under_way.pop(0))
    while under_way or len(made):
        if under_way:
            made.done(under_way.pop(0))
        if batch := made.take(1e9, 1):
            under_way.append(batch)
            handed += batch
    assert sorted(numbers(handed)) == list(range(len(sent)))
    for group in {one.group for one in handed} - {""}:
        of_group = numbers([one for one in handed if one.group == group])
        assert of_group == sorted(of_group)


def queue(*names: str, linger: float = 0.0) -> tuple[BatchQueue, list[MemorySource]]:
    sources = [MemorySource(Still(), name=name) for name in names]
    return (
        BatchQueue(sources, deliveries_max=2, bytes_max=100, linger_seconds=linger),
        sources,
    )


@asynchronous
async def test_batches_hold_one_source_and_the_longest_due_comes_first() -> None:
    made, (a, b) = queue("a", "b")
    now = asyncio.get_running_loop().time()
    made.add(b, [delivery(1)], now - 2)
    made.add(a, [delivery(2), delivery(3), delivery(4)], now - 1)
    taken = [await made.take() for _ in range(3)]
    assert [(one.source.name, len(one.deliveries)) for one in taken if one] == [
        ("b", 1),
        ("a", 2),
        ("a", 1),
    ]


@asynchronous
async def test_what_comes_while_nothing_is_worked_on_does_not_linger() -> None:
    made, (a,) = queue("a", linger=1e6)
    loop = asyncio.get_running_loop()
    made.add(a, [delivery(1)], loop.time())
    first = await made.take()
    assert first is not None
    made.add(a, [delivery(2)], loop.time())
    waiting = asyncio.ensure_future(made.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    made.done(first)
    second = await waiting
    assert second is not None
    assert [numbers(list(one.deliveries)) for one in (first, second)] == [[1], [2]]


@asynchronous
async def test_finishing_hands_out_the_rest_without_lingering_then_nothing() -> None:
    made, (a,) = queue("a", linger=1e6)
    loop = asyncio.get_running_loop()
    made.add(a, [delivery(1, group="g")], loop.time())
    first = await made.take()
    assert first is not None
    assert numbers(list(first.deliveries)) == [1]
    made.add(a, [delivery(2), delivery(3, group="g")], loop.time())
    waiting = asyncio.ensure_future(made.take())
    await asyncio.sleep(0)
    assert not waiting.done()
    made.finish()
    second = await waiting
    assert second is not None
    assert numbers(list(second.deliveries)) == [2]
    last = asyncio.ensure_future(made.take())
    await asyncio.sleep(0)
    assert not last.done()  # its group is still being worked on
    made.done(first)
    batch = await last
    assert batch is not None
    assert numbers(list(batch.deliveries)) == [3]
    made.done(batch)
    made.done(second)
    assert await made.take() is None


@asynchronous
async def test_cut_off_nothing_is_handed_out_any_more() -> None:
    made, (a,) = queue("a")
    made.add(a, [delivery(1)], 0.0)
    made.cut_off()
    assert await made.take() is None
    assert [(one.name, numbers(rest)) for one, rest in made.give_back()] == [("a", [1])]
