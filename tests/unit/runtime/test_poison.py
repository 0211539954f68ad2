"""Deliveries that cannot be booked, and most of what comes being poison: the worker goes on."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from structlog.testing import capture_logs

from tests.calls import asynchronous, call, fold, poster
from tests.notifications import BUCKET, notification
from tests.records import line, log, poison
from tests.unit.runtime.made import Made, make_impatient
from worker.adapters.memory_objects import MemoryObjectReader
from worker.adapters.memory_state import MemoryNotes
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.batch import Batch
from worker.core.errors import LedgerCorruptError, RefusedError, TransientError
from worker.core.posting import Poster
from worker.core.results import Malformed
from worker.pipeline.objects import ObjectBooks
from worker.ports import Committed


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    make_impatient(monkeypatch)
    with capture_logs():  # to print a traceback takes a second
        yield


def refuse(
    made: Made, monkeypatch: pytest.MonkeyPatch, numbers: set[int], error: Exception
) -> None:
    """Have the ledger fail with whatever holds some calls."""
    keys = {key for number in numbers for key in fold(poster(), [call(number)]).bodies}
    commit = made.ledger.commit

    async def strict(batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        if not keys.isdisjoint(batch.bodies):
            raise error
        return await commit(batch, poster, touched=touched)

    monkeypatch.setattr(made.ledger, "commit", strict)


async def put_aside(made: Made) -> list[Malformed]:
    return [one.record async for one in made.pipeline.quarantine.items()]


def come_again(made: Made) -> bool:
    made.clock.at_ms += 1_000
    return len(made.source) == 0


@asynchronous
async def test_what_the_ledger_refuses_is_put_aside_and_its_neighbours_are_booked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Made()
    refuse(made, monkeypatch, {3, 7}, RefusedError("too large"))
    made.send(range(10))
    async with made.running() as task:
        await made.until(lambda: len(made.source) == 0)
        assert not task.done()
    assert await made.calls() == 8
    assert made.source.deferred == []
    found = await put_aside(made)
    assert sorted(one.body for one in found) == [line(log(3)), line(log(7))]
    assert {one.found for one in found} == {"RefusedError: too large"}
    assert made.sample("batches_failed_total") == 0
    assert made.sample("deliveries_total", source="memory:queue", result="quarantined") == 2
    assert made.sample("records_total", result="quarantined") == 2


@asynchronous
async def test_one_delivery_on_a_quiet_queue_that_always_fails_does_not_end_the_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made = Made()
    refuse(made, monkeypatch, {1}, LedgerCorruptError("an entry cannot be read"))
    made.send([1])
    async with made.running() as task:
        await made.until(lambda: come_again(made) or task.done())
        assert not task.done()
    [found] = await put_aside(made)
    assert found.found == "LedgerCorruptError: an entry cannot be read"
    assert len(made.source.deferred) == 2


@asynchronous
async def test_an_error_that_hits_everything_ends_the_worker_and_quarantines_nothing() -> None:
    made = Made()
    made.ledger.faults = [RuntimeError("a bug") for _ in range(100)]
    made.send(range(20))
    async with made.running() as task:
        assert await task == 1
    assert await put_aside(made) == []
    assert len(made.source) == 20
    assert await made.calls() == 0


@asynchronous
async def test_a_group_goes_on_behind_what_was_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made(batch_deliveries_max=2)
    refuse(made, monkeypatch, {1}, ValueError("a bug"))
    made.send(range(4), group="a")
    made.send([9])
    async with made.running():
        await made.until(lambda: come_again(made))
    assert await made.calls() == 4
    assert [one.body for one in await put_aside(made)] == [line(log(1))]
    assert made.source.given_up.total() == 0


@asynchronous
async def test_an_open_breaker_stops_the_batch_that_opened_it() -> None:
    made = Made(batch_deliveries_max=500, batches_in_flight=1, receivers=1, linger_ms=300)
    garbage = b"\n".join(line(poison(number)) for number in range(50))
    keys = [f"k{number}" for number in range(100)]
    contents = {f"s3://{BUCKET}/{key}": garbage for key in keys}
    made.pipeline.objects = ObjectBooks(
        reader=MemoryObjectReader(contents), notes=MemoryNotes(), clock=made.clock
    )
    for key in keys:
        made.source.send(notification(key))
    breaker = made.worker.breaker
    async with made.running():
        await made.until(lambda: breaker.state(asyncio.get_running_loop().time()) == "open")
        await made.until(lambda: len(made.worker.holdings) == 0)
        assert made.sample("deliveries_total", source="memory:queue", result="acknowledged") <= 20
        assert set(made.source.deferred) == {"the breaker is open"}
    assert len(made.source) >= 80


@asynchronous
async def test_a_fault_that_passed_does_not_leave_a_quiet_worker_unhealthy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Faulty(MemoryQuarantine):
        faults = 1

        async def put(self, records: Sequence[Malformed]) -> list[str]:
            if self.faults:
                self.faults -= 1
                raise TransientError("SlowDown")
            return await super().put(records)

    monkeypatch.setattr("worker.runtime.health.CANNOT_COMMIT_SECONDS", 0.0)
    made = Made()
    made.pipeline.quarantine = Faulty(made.clock)
    made.source.send(line(poison(1)))
    async with made.running():
        await made.until(made.worker.unhealthy)
        await made.until(lambda: come_again(made))
        await made.until(lambda: made.worker.unhealthy() == [])


@asynchronous
async def test_a_quiet_worker_asks_whether_the_ledger_answers_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.runtime.health.CANNOT_COMMIT_SECONDS", 0.0)
    monkeypatch.setattr("worker.runtime.worker.PROBE_SECONDS", 0.01)
    made = Made()
    made.ledger.faults = [TransientError("throttled")]
    made.ledger.let.clear()
    made.send([1])
    async with made.running():
        await made.until(lambda: made.ledger.waiting)
        made.source._messages.clear()  # somebody else's by now
        made.source._receipts.clear()
        made.ledger.let.set()
        await made.until(lambda: made.source.deferred)
        await made.until(lambda: made.worker.unhealthy() == [] and not made.pipeline.fault)
    assert made.source.deferred == ["throttled"]
