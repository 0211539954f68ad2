import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.calls import asynchronous
from tests.records import line, log, poison
from tests.unit.runtime.made import Made, make_impatient
from worker.core.errors import ConfigurationError, TransientError
from worker.ports import Delivery
from worker.runtime.holding import Holdings


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the worker logs, while its pauses are short."""
    make_impatient(monkeypatch)
    with capture_logs() as entries:
        yield entries


@asynchronous
async def test_everything_is_booked_once_settled_and_counted() -> None:
    made = Made()
    made.send([*range(30), *range(10)])
    made.source.send(line(poison(99)))
    async with made.running() as task:
        await made.until(lambda: len(made.source) == 0)
    assert task.result() == 0
    assert await made.calls() == 30
    count = made.sample
    assert count("records_total", result="recorded") == 30
    assert count("records_total", result="duplicate") == 10
    assert count("records_total", result="quarantined") == 1
    assert count("deliveries_total", source="memory:queue", result="acknowledged") == 40
    assert count("deliveries_total", source="memory:queue", result="quarantined") == 1
    assert count("delivery_age_seconds_count") == 41
    assert count("deliveries_in_flight") == 0
    assert count("commit_seconds_count") >= 1
    assert made.source.is_closed


@asynchronous
async def test_receivers_stop_polling_while_the_ledger_is_slow() -> None:
    made = Made(batch_deliveries_max=2, batches_in_flight=1, receivers=2)
    made.ledger.let.clear()
    made.send(range(60))
    async with made.running():
        await made.until(lambda: len(made.worker.holdings) >= 4)
        # Bound of 4, and what two polls of ten bring that were under way.
        await made.until(lambda: made.ledger.waiting == 1)
        polls, held = made.source.polls, len(made.worker.holdings)
        assert held <= 4 + 2 * 10
        for _ in range(50):
            await asyncio.sleep(0)
        assert (made.source.polls, len(made.worker.holdings)) == (polls, held)
        made.ledger.let.set()
        await made.until(lambda: len(made.source) == 0)
    assert await made.calls() == 60


def test_holdings_are_bounded_by_bytes_and_take_nothing_twice() -> None:
    held = Holdings(deliveries_max=100, bytes_max=10)
    one = Delivery(b"12345", "a")
    assert held.add("s", [one, one], 1.0, 7) == [one]
    assert held.add("s", [one], 2.0, 7) == []
    assert held._room.is_set()
    held.add("s", [Delivery(b"12345", "b", sent_at_ms=3)], 2.0, 7)
    assert not held._room.is_set()
    assert held.oldest_ms() == 3
    assert held.receipts("s", 1.5) == ["a"]
    assert [one.since_ms for one in held.release("s", ["b", "c"])] == [3]
    assert held._room.is_set()
    assert (len(held), held.received) == (1, 2)


@asynchronous
async def test_a_throttled_ledger_defers_and_is_unhealthy_until_it_recovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.runtime.health.CANNOT_COMMIT_SECONDS", 0.0)
    made = Made()
    made.ledger.faults = [TransientError("throttled") for _ in range(5)]
    made.send(range(5))
    async with made.running():
        await made.until(lambda: made.source.deferred)
        assert set(made.source.deferred) == {"throttled"}
        await made.until(lambda: any("throttled" in one for one in made.worker.unhealthy()))

        def come_again() -> bool:
            made.clock.at_ms += 1_000
            return len(made.source) == 0

        await made.until(come_again)
        assert made.worker.unhealthy() == []
    assert await made.calls() == 5


@asynchronous
async def test_a_burst_ends_by_itself_once_everything_is_booked_and_announced() -> None:
    made = Made(burst=True)
    await made.set_budget()
    made.bus.is_down = True
    made.send(range(7))
    async with made.running() as task:
        await made.until(lambda: len(made.source) == 0)
        await made.until(lambda: made.sample("notices_failed_total") > 0)
        assert not task.done()
        made.bus.is_down = False
        async with asyncio.timeout(20):
            assert await task == 0
    assert await made.calls() == 7
    thresholds = [json.loads(one.detail)["threshold"] for one in made.bus.events]
    assert len(thresholds) == len(set(map(str, thresholds))) == 3


@asynchronous
async def test_while_the_bus_is_down_metering_goes_on_and_all_is_announced_once() -> None:
    made = Made()
    await made.set_budget()
    made.bus.is_down = True
    async with made.running():
        for number in range(5):
            made.send([number])
            await made.until(lambda: len(made.source) == 0)
        await made.until(lambda: made.sample("notices_failed_total") >= 3)
        assert await made.calls() == 5
        assert made.worker.unhealthy() == []
        assert any("the bus is down" in one for one in made.worker.unready())
        made.bus.is_down = False
        await made.until(lambda: len(made.bus.events) == 3)
    assert made.sample("notices_announced_total") == len(made.bus.events) == 3
    assert made.sample("crossings_total") == 3
    assert made.sample("call_to_crossing_seconds_count") == 3


@asynchronous
async def test_a_bad_deploy_opens_the_breaker_which_stops_polling_until_a_try_succeeds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.runtime.breaker.REST_SECONDS", 1e6)
    made = Made(batch_deliveries_max=10)
    made.worker.breaker._rest_seconds = 1e6
    for number in range(300):
        made.source.send(line(poison(number)))
    async with made.running():
        await made.until(made.worker.unhealthy)
        assert "the breaker is open" in made.worker.unhealthy()[0]
        await made.until(lambda: len(made.worker.holdings) == 0)
        left, polls = len(made.source), made.source.polls
        assert left > 100
        for _ in range(50):
            await asyncio.sleep(0)
        # Each receiver may have been in the middle of a poll.
        assert made.source.polls <= polls + 2
        assert made.sample("breaker_open") == 1.0
        assert made.sample("quarantined_share") == 1.0
        made.source._messages.clear()
        made.send([1])
        made.worker.breaker._rest_seconds = 0.0
        await made.until(lambda: len(made.source) == 0)
        await made.until(lambda: made.worker.unhealthy() == [])
        assert made.sample("breaker_open") == 0.0
    assert await made.calls() == 1


@asynchronous
async def test_in_hand_deliveries_are_extended_while_the_work_is_slow() -> None:
    made = Made(visibility_seconds=1)
    made.ledger.let.clear()
    made.send([1])
    async with made.running():
        await made.until(lambda: len(made.source.extended) >= 2)
        assert set(made.source.extended) == {"memory:queue/1#1"}
        made.ledger.let.set()
        await made.until(lambda: len(made.source) == 0)


# --- Ending ----------------------------------------------------------------------------------


@asynchronous
async def test_stopping_finishes_what_is_in_hand() -> None:
    made = Made()
    made.ledger.let.clear()
    made.send(range(5))
    async with made.running() as task:
        await made.until(lambda: made.ledger.waiting)
        made.worker.stop()
        await made.until(lambda: "stopping" in made.worker.unready())
        made.ledger.let.set()
        assert await task == 0
    assert len(made.source) == 0
    assert made.source.is_closed


@asynchronous
async def test_what_cannot_be_finished_in_time_is_deferred() -> None:
    made = Made(drain_seconds=1, batch_deliveries_max=1, batches_in_flight=1)
    made.ledger.let.clear()
    made.send(range(3))
    async with made.running() as task:
        await made.until(lambda: made.ledger.waiting)
        await made.until(lambda: len(made.worker.holdings) == 3)
        made.worker.stop()
        assert await task == 0
    assert len(made.source.deferred) == len(made.source) == 3
    assert await made.calls() == 0


@asynchronous
async def test_stopped_twice_it_ends_at_once_and_leaves_the_rest() -> None:
    made = Made(drain_seconds=1_000)
    made.ledger.let.clear()
    made.send(range(3))
    async with made.running() as task:
        await made.until(lambda: made.ledger.waiting)
        made.worker.stop()
        made.worker.stop()
        assert await task == 1
    assert len(made.source) == 3
    assert made.source.deferred == []


@asynchronous
async def test_a_task_that_crashes_ends_the_worker(logged: list[Any]) -> None:
    made = Made()
    made.source.faults = [RuntimeError("a bug")]
    async with made.running() as task:
        assert await task == 1
    assert made.source.is_closed
    [said] = [one for one in logged if one["log_level"] == "critical"]
    assert (said["event"], str(said["exc_info"])) == ("the worker fails", "a bug")


@asynchronous
async def test_an_error_nobody_expected_is_isolated_and_ends_the_worker_if_it_repeats() -> None:
    made = Made()
    made.ledger.faults = [RuntimeError("a bug")]
    made.send(range(3))
    async with made.running() as task:
        await made.until(lambda: len(made.source) == 0)
        assert made.sample("batches_failed_total") == 1
        made.ledger.faults = [RuntimeError("a bug") for _ in range(50)]
        made.send(range(3, 20))
        assert await task == 1
    # That of three, then five deliveries alone, each of a batch that failed before.
    assert 1 + 5 < made.sample("batches_failed_total") <= 1 + 2 * 5
    assert await made.calls() == 3


@asynchronous
async def test_a_source_that_cannot_be_used_ends_the_worker_at_the_start_only() -> None:
    made = Made()
    made.source.faults = [ConfigurationError("no such queue")]
    with pytest.raises(ConfigurationError, match="no such queue"):
        await made.worker.run()
    made = Made(receivers=1)
    async with made.running():
        await made.until(lambda: made.source.polls > 2)
        made.source.faults = [ConfigurationError("access denied") for _ in range(3)]
        await made.until(lambda: made.worker.unhealthy() == ["memory:queue: access denied"])
        made.send([1])
        await made.until(lambda: len(made.source) == 0)
        assert made.worker.unhealthy() == []
    assert made.sample("receives_failed_total", source="memory:queue") == 3


@asynchronous
async def test_passing_faults_of_a_source_are_waited_out() -> None:
    made = Made()
    made.source.faults = [TransientError("no route") for _ in range(4)]
    made.send([1])
    async with made.running():
        await made.until(lambda: len(made.source) == 0)
        await made.until(lambda: made.worker.unready() == [])
    assert made.sample("receives_failed_total", source="memory:queue") == 4


@asynchronous
async def test_a_ledger_that_cannot_be_used_ends_the_worker_with_its_reason() -> None:
    made = Made()
    made.ledger.faults = [ConfigurationError("there is no table")]
    made.send([1])
    with pytest.raises(ConfigurationError, match="there is no table"):
        await made.worker.run()
    assert len(made.source) == 1


@asynchronous
async def test_fifo_groups_end_in_their_order_even_when_one_is_deferred() -> None:
    made = Made(batch_deliveries_max=2)
    made.ledger.faults = [TransientError("throttled")]
    for group in "ab":
        made.send(range(4), group=group)
    made.send([9])
    order: list[str] = []
    async with made.running():

        def come_again() -> bool:
            made.clock.at_ms += 500
            for number in range(1, 10):
                name = str(number)
                if number not in made.source._messages and name not in order:
                    order.append(name)
            return len(made.source) == 0

        await made.until(come_again)
    assert [one for one in order if int(one) <= 4] == ["1", "2", "3", "4"]
    assert [one for one in order if 4 < int(one) <= 8] == ["5", "6", "7", "8"]
    assert made.source.given_up.total() == 0
    assert await made.calls() == 5


@asynchronous
async def test_lag_makes_it_unready_but_not_unhealthy() -> None:
    made = Made(lag_seconds_max=60)
    made.ledger.let.clear()
    made.source.send(line(log(1)))
    async with made.running():
        await made.until(lambda: made.ledger.waiting and made.worker.unready() == [])
        made.clock.at_ms += 61_000
        assert made.worker.unready() == ["the oldest delivery in hand is 61 s old, more than 60"]
        assert made.worker.unhealthy() == []
        made.ledger.let.set()
        await made.until(lambda: made.worker.unready() == [])
