"""A worker that prints its metrics for CloudWatch, as a task on Fargate does."""

import asyncio
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.calls import asynchronous
from tests.cloudwatch import Series, seen, series_of
from tests.records import line, poison
from tests.unit.runtime.made import Made, make_impatient
from worker.core.errors import ConfigurationError
from worker.runtime.worker import Worker


@pytest.fixture(autouse=True)
def logged(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What the worker logs, while its pauses are short."""
    make_impatient(monkeypatch)
    with capture_logs() as entries:
        yield entries


class Printed:
    """What was printed so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.text = ""

    def series(self) -> Series:
        self.text += self._capsys.readouterr().out
        return series_of(self.text.splitlines())

    def total(self, name: str, **labels: str) -> float:
        return sum(seen(self.series(), name, "ledgerock-dev", **labels) or [])


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Printed:
    return Printed(capsys)


@asynchronous
async def test_what_was_measured_is_printed_when_it_drains(printed: Printed) -> None:
    made = Made(metrics="emf", metrics_service="ledgerock-dev")
    made.send([*range(30), *range(10)])
    made.source.send(line(poison(99)))
    async with made.running():
        await made.until(lambda: len(made.source) == 0)
        assert printed.series() == {}, "a minute is not over"
    assert printed.total("calls") == 30
    assert printed.total("records") == 41
    assert printed.total("records", result="duplicate") == 10
    assert printed.total("records", result="quarantined") == 1
    assert printed.total("deliveries", result="acknowledged") == 40
    ledger = sum(amounts.cost_pico_usd for _, amounts in await made.ledger.balances())
    assert ledger > 0
    assert printed.total("spend_usd") == pytest.approx(ledger / 10**12, abs=1e-12)
    series = printed.series()
    assert seen(series, "breaker_open", "ledgerock-dev") == [0]
    assert len(seen(series, "delivery_age_seconds", "ledgerock-dev") or []) == 41
    assert made.worker.metrics() is None


@asynchronous
async def test_it_prints_every_minute_and_nothing_twice(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runtime.worker.METRICS_SECONDS", 0.01)
    made = Made(metrics="both", metrics_service="ledgerock-dev")
    async with made.running():
        made.send(range(3))
        await made.until(lambda: printed.total("calls") == 3)
        made.send(range(8))
        await made.until(lambda: printed.total("calls") == 8)
        await made.until(
            lambda: len(seen(printed.series(), "breaker_open", "ledgerock-dev") or []) > 20
        )
    assert printed.total("calls") == 8
    assert made.sample("calls_total") == 8


@asynchronous
async def test_without_the_setting_nothing_is_printed(printed: Printed) -> None:
    made = Made()
    made.send(range(3))
    async with made.running():
        await made.until(lambda: len(made.source) == 0)
    assert printed.series() == {}
    assert printed.text == ""


@asynchronous
async def test_a_worker_that_fails_prints_what_it_did_before(
    printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_worker: Worker) -> int:
        raise ConfigurationError("the queue is gone")

    monkeypatch.setattr(Worker, "_drain", fail)
    made = Made(metrics="emf", metrics_service="ledgerock-dev")
    made.send(range(3))
    task = asyncio.ensure_future(made.worker.run())
    await made.until(lambda: len(made.source) == 0)
    made.worker.stop()
    with pytest.raises(ConfigurationError, match="the queue is gone"):
        await task
    assert printed.total("calls") == 3


@asynchronous
async def test_a_log_that_nobody_takes_stops_no_booking(
    monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    class Broken:
        def write(self, _text: str) -> int:
            raise BrokenPipeError("nobody reads")

    monkeypatch.setattr("worker.runtime.worker.METRICS_SECONDS", 0.01)
    made = Made(metrics="emf")
    made.send(range(3))
    with monkeypatch.context() as patch:
        stdout: Any = Broken()
        patch.setattr(sys, "stdout", stdout)
        async with made.running() as task:
            await made.until(lambda: any("cannot be printed" in one["event"] for one in logged))
            made.send(range(3, 5))
            await made.until(lambda: len(made.source) == 0)
    assert task.result() == 0
    assert await made.calls() == 5
