"""A worker on a stream of which some shard cannot be read, or falls behind."""

import asyncio

import pytest

from tests.calls import asynchronous
from tests.unit.runtime.made import Hand, Made, Source, make_impatient
from worker.core.errors import ConfigurationError, TransientError
from worker.ports import Stream
from worker.runtime.worker import Worker
from worker.settings import WorkerSettings

NAME = "kinesis:calls"


class Shards(Source):
    """A stream whose parts are as told."""

    fault: Exception | None = None
    behind_ms = 0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    make_impatient(monkeypatch)


class OnStream(Made):
    """A worker on a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.shards = Shards(self.clock, name=NAME)
        self.source = self.shards
        self.worker = Worker(
            books=self.pipeline,
            sources=[self.shards],
            settings=WorkerSettings(http_port=0, linger_ms=5, lag_seconds_max=60),
            clock=self.clock,
        )


def test_only_what_is_read_in_parts_is_a_stream() -> None:
    assert isinstance(Shards(Hand()), Stream)
    assert not isinstance(Source(Hand()), Stream)


@asynchronous
async def test_a_shard_that_may_not_be_read_makes_it_unhealthy_though_others_are_booked() -> None:
    made = OnStream()
    async with made.running():
        await made.until(lambda: made.worker.unready() == [])
        made.shards.fault = ConfigurationError("kinesis:GetRecords is denied")
        await made.until(made.worker.unhealthy)
        assert made.worker.unhealthy() == [f"{NAME}: kinesis:GetRecords is denied"]
        made.send(range(3))
        await made.until(lambda: len(made.source) == 0)
        polls = made.source.polls
        await made.until(lambda: made.source.polls > polls + 1)
        assert made.worker.unhealthy() != []
        made.shards.fault = None
        await made.until(lambda: made.worker.unready() == [])
    assert await made.calls() == 3


@asynchronous
async def test_a_shard_that_keeps_failing_makes_it_unready() -> None:
    made = OnStream()
    async with made.running():
        await made.until(lambda: made.worker.unready() == [])
        made.shards.fault = TransientError("throttled")
        await made.until(made.worker.unready)
        assert made.worker.unready() == [f"reading {NAME}: throttled", f"{NAME}: not reached"]
        assert made.worker.unhealthy() == []
        made.shards.fault = None
        await made.until(lambda: made.worker.unready() == [])


@asynchronous
async def test_how_far_a_stream_is_behind_is_measured_and_bounds_readiness() -> None:
    made = OnStream()
    async with made.running():
        await made.until(lambda: made.worker.unready() == [])
        made.shards.behind_ms = 61_000
        assert made.worker.unready() == [f"{NAME}: 61 s behind its newest record, more than 60"]
        assert made.worker.unhealthy() == []
        assert made.sample("source_behind_seconds", source=NAME) == 61
        made.shards.behind_ms = 60_000
        await asyncio.sleep(0)
        assert made.worker.unready() == []
