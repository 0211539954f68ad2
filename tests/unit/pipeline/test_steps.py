"""How a batch of deliveries is worked off: in commits of bounded size, objects side by side."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from tests.calls import NOON, PRO, asynchronous, entries, poster
from tests.notifications import BUCKET, naming
from tests.records import line, log, poison
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_objects import MemoryObject, MemoryObjectReader
from worker.adapters.memory_state import MemoryNotes, MemoryProfiles
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.batch import Batch
from worker.core.decoders import Decoder
from worker.core.errors import TransientError
from worker.core.ledger import Entry
from worker.core.posting import Poster
from worker.core.registry import ApplicationProfile
from worker.core.results import DeliveryResult, Malformed, ObjectReference
from worker.pipeline import Pipeline
from worker.pipeline import pipeline as pipeline_module
from worker.pipeline.ending import decode_delivery
from worker.pipeline.objects import ObjectBooks
from worker.pipeline.profiles import ProfileWatch
from worker.ports import Committed, Delivery


class Still:
    def now_ms(self) -> int:
        return NOON


class FullQuarantine(MemoryQuarantine):
    """Takes nothing as long as it is full."""

    is_full = True

    async def put(self, records: Any) -> list[str]:
        if self.is_full:
            raise TransientError("the bucket says SlowDown")
        return await super().put(records)


class FailingAfter(MemoryLedger):
    """Makes some commits, then fails."""

    commits = 1

    async def commit(self, batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        if not self.commits:
            raise TransientError("throttled")
        self.commits -= 1
        return await super().commit(batch, poster, touched=touched)


class Stuck(MemoryObjectReader):
    """Never finishes to open one of its objects."""

    stuck = ""

    async def open(self, reference: ObjectReference) -> MemoryObject:
        if reference.key == self.stuck:
            await asyncio.get_running_loop().create_future()
        return await super().open(reference)


def pipeline(**parts: Any) -> Pipeline:
    made: dict[str, Any] = {
        "ledger": MemoryLedger(),
        "quarantine": MemoryQuarantine(Still()),
        "decoder": Decoder(),
        "poster": poster(),
    }
    return Pipeline(**{**made, **parts})


def logs(receipt: str, *numbers: int) -> Delivery:
    return Delivery(b"\n".join(line(log(number)) for number in numbers), receipt)


async def steps(made: Pipeline, *deliveries: Delivery) -> list[list[tuple[str, str]]]:
    return [
        [(one.receipt, one.result.value) for one in step.processed]
        async for step in made.steps(deliveries)
    ]


@asynchronous
async def test_a_batch_of_many_calls_is_booked_in_several_commits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline_module, "GROUP_CALLS", 3)
    made = pipeline()
    ended = await steps(made, logs("a", 1, 2), logs("b", 3, 4, 5), logs("c", 6), logs("d", 7))
    acknowledged = DeliveryResult.ACKNOWLEDGED.value
    assert ended == [
        [("a", acknowledged), ("b", acknowledged)],
        [("c", acknowledged), ("d", acknowledged)],
    ]
    assert len(await entries(made.ledger)) == 7


@asynchronous
async def test_what_comes_after_a_commit_that_failed_is_deferred_undecoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline_module, "GROUP_CALLS", 1)
    made = pipeline(ledger=FailingAfter())
    ended: dict[str, str] = {}
    for step in await steps(made, logs("a", 1), logs("b", 2), logs("c", 3)):
        ended |= dict(step)
    assert ended == {"a": "Acknowledged", "b": "Deferred", "c": "Deferred"}
    assert len(await entries(made.ledger)) == 1


@asynchronous
async def test_a_quarantine_that_is_full_holds_up_poison_alone() -> None:
    full = FullQuarantine(Still())
    made = pipeline(quarantine=full)
    mixed = Delivery(line(log(2)) + b"\n" + line(poison(3)), "b")
    [ended] = await steps(made, logs("a", 1), mixed, Delivery(b"{", "c"))
    assert dict(ended) == {"a": "Acknowledged", "b": "Deferred", "c": "Deferred"}
    # The call beside the poison is booked: it comes again as a duplicate.
    assert len(await entries(made.ledger)) == 2
    assert "SlowDown" in made.fault
    full.is_full = False
    [ended] = await steps(made, mixed, Delivery(b"{", "c"))
    assert dict(ended) == {"b": "Acknowledged", "c": "Quarantined"}
    assert len(await entries(made.ledger)) == 2
    assert len([item async for item in full.items()]) == 2


def _with_objects(**contents: bytes) -> tuple[Pipeline, Stuck]:
    reader = Stuck({f"s3://{BUCKET}/{name}": content for name, content in contents.items()})
    objects = ObjectBooks(reader=reader, notes=MemoryNotes(), clock=Still())
    return pipeline(objects=objects), reader


@asynchronous
async def test_an_object_that_takes_long_holds_up_no_other() -> None:
    made, reader = _with_objects(a=line(log(1)), b=line(log(2)), c=line(log(3)))
    reader.stuck = "a"
    deliveries = [naming(name, receipt=name) for name in "abc"]
    ended: set[str] = set()
    async with aclosing(made.steps([*deliveries, logs("d", 4)])) as found:
        async for step in found:
            ended |= {one.receipt for one in step.processed}
            if ended == {"b", "c", "d"}:
                break
    assert len(await entries(made.ledger)) == 3
    # Closed early, nothing goes on behind.
    assert asyncio.all_tasks() == {asyncio.current_task()}


@asynchronous
async def test_an_object_is_not_waited_for_beyond_the_deadline() -> None:
    made, reader = _with_objects(a=line(log(1)), b=line(log(2)))
    reader.stuck = "a"
    deliveries = [naming(name, receipt=name) for name in "ab"]
    deadline = asyncio.get_running_loop().time() + 0.2
    ended = [
        one async for step in made.steps(deliveries, deadline=deadline) for one in step.processed
    ]
    assert {one.receipt: one.result.value for one in ended} == {
        "a": "Deferred",
        "b": "Acknowledged",
    }


@asynchronous
async def test_a_large_body_is_decoded_beside_the_loop_and_never_by_two_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipeline_module, "THREAD_BYTES", 100)
    threads: list[str] = []
    inside = threading.Lock()
    decode = decode_delivery

    def watched(decoder: Decoder, delivery: Delivery) -> list[Any]:
        threads.append(threading.current_thread().name)
        assert inside.acquire(blocking=False)
        try:
            return decode(decoder, delivery)
        finally:
            inside.release()

    monkeypatch.setattr(pipeline_module, "decode_delivery", watched)
    made = pipeline()
    batches = [[logs(f"{batch}-{one}", batch * 10 + one) for one in range(5)] for batch in range(4)]
    done = [asyncio.ensure_future(made.process(batch)) for batch in batches]
    await asyncio.sleep(0)
    done[0].cancel()
    await asyncio.gather(*done, return_exceptions=True)
    assert threading.main_thread().name not in threads
    ended = await made.process([one for batch in batches for one in batch])
    assert {one.result for one in ended} == {DeliveryResult.ACKNOWLEDGED}
    assert len(await entries(made.ledger)) == 20


@asynchronous
async def test_what_a_queue_sends_too_large_to_keep_in_part_is_kept_whole() -> None:
    body = b'{"schemaType": "ModelInvocationLog", "pad": "' + b"x" * 400_000 + b'"}'
    made = pipeline()
    [ended] = await made.process([Delivery(body, "a")])
    assert ended.result is DeliveryResult.QUARANTINED
    [item] = [item async for item in made.quarantine.items()]
    assert isinstance(item.record, Malformed)
    assert (item.record.body, item.record.truncated) == (body, False)


PROFILE = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/a1"


class Blind(MemoryLedger):
    """Its index of pending calls is behind."""

    async def pending(self, **_narrowed: Any) -> AsyncIterator[Sequence[Entry]]:
        nothing: list[Sequence[Entry]] = []
        for one in nothing:
            yield one


class Bedrock:
    async def profile(self, arn: str) -> ApplicationProfile | None:
        return ApplicationProfile(arn=arn, model=PRO, application="shop")

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("in_object", [False, True])
@pytest.mark.parametrize("by_event", [False, True])
@asynchronous
async def test_a_profile_is_found_out_about_before_its_calls_are_booked(
    in_object: bool, by_event: bool
) -> None:
    ledger, store = Blind(), MemoryProfiles()
    called = line(log(1, model=PROFILE))
    reader = MemoryObjectReader({f"s3://{BUCKET}/a": called})
    made = pipeline(
        ledger=ledger,
        profiles=ProfileWatch(ledger=ledger, store=store, source=None if by_event else Bedrock()),
        objects=ObjectBooks(reader=reader, notes=MemoryNotes(), clock=Still()),
    )
    if by_event:  # another worker was told
        await store.learn([ApplicationProfile(arn=PROFILE, model=PRO, application="shop")])
    await made.process([naming("a") if in_object else Delivery(called, "a")])
    [(leaf, amounts)] = await ledger.balances()
    assert (leaf.application, leaf.model, amounts.unpriced_calls) == ("shop", PRO, 0)
    # 1,000 tokens in and 500 out, at 0.8 and 3.2 USD a million.
    assert amounts.cost_pico_usd == 2_400_000_000
