"""What every source promises: nothing is lost, what ended does not come again, order is kept."""

import pytest

from tests.calls import asynchronous
from tests.sources import KINDS, Open, SourceHandle, received
from worker.core.results import DeliveryResult
from worker.ports import Delivery, Processed

pytestmark = pytest.mark.timeout(180)

every_kind = pytest.mark.parametrize("opening", KINDS)


def ended(delivery: Delivery, result: DeliveryResult = DeliveryResult.ACKNOWLEDGED) -> Processed:
    return Processed(delivery.receipt, result, 1)


def deferred(delivery: Delivery) -> Processed:
    return ended(delivery, DeliveryResult.DEFERRED)


def bodies(deliveries: list[Delivery]) -> list[bytes]:
    return sorted(one.body for one in deliveries)


async def drained(handle: SourceHandle) -> bool:
    """Whether nothing comes any more, however long one waits."""
    await handle.pass_time()
    return await handle.source.is_drained()


@every_kind
@asynchronous
async def test_deliveries_say_what_they_are(opening: Open) -> None:
    async with opening() as handle:
        await handle.send(['{"é": 1}'.encode()])
        [delivery] = await received(handle, 1)
        assert delivery.body == '{"é": 1}'.encode()
        assert delivery.receipt
        assert delivery.source == handle.source.name
        assert delivery.name.startswith(f"{handle.source.name}/")
        assert delivery.attempts == 1
        assert delivery.sent_at_ms > 1_700_000_000_000


@every_kind
@asynchronous
async def test_what_ended_does_not_come_again(opening: Open) -> None:
    async with opening() as handle:
        sent = [b"%d" % number for number in range(25)]
        await handle.send(sent)
        found = await received(handle, 25)
        assert bodies(found) == sorted(sent)
        assert len({one.receipt for one in found}) == len({one.name for one in found}) == 25
        results = (DeliveryResult.ACKNOWLEDGED, DeliveryResult.QUARANTINED)
        await handle.source.settle([ended(one, results[at % 2]) for at, one in enumerate(found)])
        assert await drained(handle)


@every_kind
@asynchronous
async def test_what_was_deferred_comes_again(opening: Open) -> None:
    async with opening() as handle:
        await handle.send([b"1", b"2", b"3"])
        found = await received(handle, 3)
        await handle.source.settle(
            [deferred(one) if one.body == b"3" else ended(one) for one in found]
        )
        [again] = await received(handle, 1)
        assert (again.body, again.attempts) == (b"3", 2)
        [before] = [one for one in found if one.body == b"3"]
        assert again.name == before.name
        assert again.receipt != before.receipt
        await handle.source.settle([ended(again)])
        assert await drained(handle)


@every_kind
@asynchronous
async def test_what_was_never_settled_comes_again(opening: Open) -> None:
    async with opening() as handle:
        if not handle.hides:
            pytest.skip("comes again once the lease of its shard has run out")
        await handle.send([b"1", b"2"])
        first = await received(handle, 2)
        again = await received(handle, 2)
        assert bodies(again) == [b"1", b"2"]
        assert {one.attempts for one in again} == {2}
        # Whoever was late does no harm.
        await handle.source.extend([one.receipt for one in first])
        await handle.source.settle([ended(one) for one in again])
        await handle.source.settle([deferred(one) for one in first])
        assert await drained(handle)


@every_kind
@asynchronous
async def test_an_empty_source_is_drained(opening: Open) -> None:
    async with opening() as handle:
        assert await handle.source.is_drained()
        assert list(await handle.source.receive()) == []
        await handle.send([b"1"])
        assert not await handle.source.is_drained()
        [delivery] = await received(handle, 1)
        await handle.source.settle([ended(delivery)])
        await handle.source.settle([])
        await handle.source.extend([])
        assert await handle.source.is_drained()


@every_kind
@asynchronous
async def test_a_group_comes_in_its_order_also_after_a_deferral(opening: Open) -> None:
    async with opening() as handle:
        if not handle.ordered:
            pytest.skip("keeps no order")
        sent = [b"%d" % number for number in range(5)]
        await handle.send(sent, group="tenant")
        found = await received(handle, 5)
        assert [one.body for one in found] == sent
        assert {one.group for one in found} == {"tenant"}
        # Settled back to front, and one of them deferred.
        for delivery in reversed(found):
            one = deferred(delivery) if delivery.body == b"2" else ended(delivery)
            await handle.source.settle([one])
        again = await received(handle, 3)
        assert [one.body for one in again] == sent[2:]
        await handle.source.settle([ended(one) for one in again])
        assert await drained(handle)


@every_kind
@asynchronous
async def test_groups_do_not_wait_for_each_other(opening: Open) -> None:
    async with opening() as handle:
        if not handle.ordered:
            pytest.skip("keeps no order")
        await handle.send([b"a1"], group="a")
        [first] = await received(handle, 1)
        await handle.send([b"b1"], group="b")
        [other] = await received_of(handle, b"b1")
        await handle.source.settle([ended(first), ended(other)])
        assert await drained(handle)


async def received_of(handle: SourceHandle, body: bytes) -> list[Delivery]:
    """Receive without letting time pass, so that nothing else becomes due meanwhile."""
    for _ in range(30):
        found = [one for one in await handle.source.receive() if one.body == body]
        if found:
            return found
    return []
