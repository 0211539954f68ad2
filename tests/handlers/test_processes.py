"""One process, many invocations: what is opened once, what a deadline leaves, what is measured."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from handlers import cloudwatch_logs, eventbridge, kinesis, runtime, sqs
from handlers.booking import attempts_since
from handlers.measures import EmbeddedMeter
from handlers.opening import open_function
from handlers.runtime import DeferredError, FailedError, Process
from tests.handlers.conftest import Start
from tests.handlers.lambdas import (
    ScriptedPipeline,
    awslogs_event,
    context,
    failures,
    kinesis_event,
    message_id,
    object_event,
    opener,
    scripted,
    sequence_number,
    sqs_event,
)
from tests.records import line, log, poison
from worker.adapters.clock import SystemClock
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.bootstrap import Booking
from worker.core.errors import ConfigurationError, TransientError
from worker.pipeline import Step
from worker.ports import Delivery
from worker.telemetry import METRICS


class Stuck(ScriptedPipeline):
    """Never gets done with some deliveries, until it is told that time is up."""

    async def steps(
        self, deliveries: Sequence[Delivery], *, deadline: float | None = None
    ) -> AsyncGenerator[Step, None]:
        async for step in super().steps(deliveries, deadline=deadline):
            if self.script.get(step.processed[0].receipt) == "Deferred":
                try:
                    async with asyncio.timeout_at(deadline):
                        await asyncio.Event().wait()
                except TimeoutError:
                    yield step
            else:
                yield step


def metrics(text: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in text.splitlines() if '"_aws"' in row]


# --- Opening ---------------------------------------------------------------------------------


def test_parts_are_opened_once_and_on_one_loop(start: Start) -> None:
    loops: list[Any] = []

    class Noting(ScriptedPipeline):
        async def steps(
            self, deliveries: Sequence[Delivery], *, deadline: float | None = None
        ) -> AsyncGenerator[Step, None]:
            loops.append(asyncio.get_running_loop())
            async for step in super().steps(deliveries, deadline=deadline):
                yield step

    opened: list[int] = []
    start(opener(scripted(Noting()), opened))
    for _ in range(3):
        sqs.handler(sqs_event("{}"), context())
        kinesis.handler(kinesis_event(b"{}"), context())
    assert opened == [1]
    assert len(loops) == 6
    assert len(set(map(id, loops))) == 1


def test_an_invocation_that_cannot_open_leaves_it_to_the_next(start: Start) -> None:
    tries: list[int] = []

    @asynccontextmanager
    async def opening() -> AsyncIterator[Booking]:
        tries.append(1)
        if len(tries) == 1:
            raise TransientError("the Parameter Store is busy")
        yield scripted(ScriptedPipeline())

    start(opening)
    with pytest.raises(TransientError, match="busy"):
        sqs.handler(sqs_event("{}"), context())
    assert failures(sqs.handler(sqs_event("{}"), context())) == []
    assert failures(sqs.handler(sqs_event("{}"), context())) == []
    assert len(tries) == 2


def test_opening_takes_no_longer_than_there_is_time(start: Start) -> None:
    @asynccontextmanager
    async def opening() -> AsyncIterator[Booking]:
        await asyncio.Event().wait()
        yield scripted(ScriptedPipeline())

    start(opening)
    with pytest.raises(DeferredError, match="before anything was begun"):
        sqs.handler(sqs_event("{}"), context(seconds=0.05))


@pytest.mark.parametrize(
    "environment, problem",
    [
        ({"LEDGEROCK_LEDGER": "memory"}, "memory is lost with its process"),
        ({}, "no disk that outlives it; say .* s3://BUCKET/PREFIX"),
        ({"LEDGEROCK_LEDGER": "dynamodb:prod"}, "no disk that outlives it"),
    ],
)
def test_what_would_end_with_the_process_is_refused(
    start: Start, environment: dict[str, str], problem: str
) -> None:
    start(lambda: open_function(environment))
    with pytest.raises(ConfigurationError, match=problem):
        sqs.handler(sqs_event("{}"), context())


# --- Deadlines -------------------------------------------------------------------------------


def test_what_cannot_be_finished_in_time_comes_again(start: Start) -> None:
    start(opener(scripted(Stuck({message_id(1): "Deferred"}))))
    event = sqs_event("{}", "{}", "{}")
    assert failures(sqs.handler(event, context(seconds=0.2))) == [message_id(1)]


def test_no_slice_is_begun_without_time(start: Start) -> None:
    pipeline = Stuck({sequence_number(2): "Deferred"})
    start(opener(scripted(pipeline, LEDGEROCK_BATCH_DELIVERIES_MAX="1")))
    event = kinesis_event(*[b"{}"] * 5)
    assert failures(kinesis.handler(event, context(seconds=0.2))) == [sequence_number(2)]
    assert len(pipeline.seen) == 3
    pipeline = Stuck({message_id(1): "Deferred"})
    start(opener(scripted(pipeline, LEDGEROCK_BATCH_DELIVERIES_MAX="1")))
    answer = sqs.handler(sqs_event(*["{}"] * 4), context(seconds=0.2))
    assert failures(answer) == [message_id(1), message_id(2), message_id(3)]
    assert len(pipeline.seen) == 2


def test_an_invocation_without_any_time_defers_everything(start: Start) -> None:
    pipeline = ScriptedPipeline()
    process = start(opener(scripted(pipeline)))
    sqs.handler(sqs_event("{}"), context())
    assert failures(sqs.handler(sqs_event("{}", "{}"), context(seconds=0))) == [
        message_id(0),
        message_id(1),
    ]
    assert len(pipeline.seen) == 1
    assert not process.is_cold


@pytest.mark.parametrize(
    "handler, event",
    [
        (cloudwatch_logs.handler, awslogs_event(log(1))),
        (eventbridge.handler, object_event("logs", "a.json.gz")),
    ],
)
def test_an_asynchronous_invocation_that_is_deferred_raises(
    start: Start, handler: Any, event: Any
) -> None:
    """Only an error makes Lambda invoke again; there is no one to take a partial answer."""

    class Deferring(ScriptedPipeline):
        async def steps(
            self, deliveries: Sequence[Delivery], *, deadline: float | None = None
        ) -> AsyncGenerator[Step, None]:
            self.script = {one.receipt: "Deferred" for one in deliveries}
            async for step in super().steps(deliveries, deadline=deadline):
                yield step

    start(opener(scripted(Deferring())))
    with pytest.raises(DeferredError, match="must come again"):
        handler(event, context())
    start(opener(scripted(ScriptedPipeline())))
    assert handler(event, context()) is None


def test_time_stands_for_attempts_where_nobody_counts_them() -> None:
    now_ms = SystemClock().now_ms()
    ages = [0, 30_000, 61_000, 600_500, -60_000, 86_400_000]
    assert [attempts_since(now_ms - age) for age in ages] == [1, 1, 2, 11, 1, 50]
    assert attempts_since(0) == 1


# --- Measuring -------------------------------------------------------------------------------


def test_metrics_have_the_names_of_the_table_and_their_values(
    start: Start, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environment = {
        "LEDGEROCK_LEDGER": f"sqlite:{tmp_path}/ledger.db",
        "LEDGEROCK_RESOLVE_PROFILES": "0",
    }
    start(lambda: open_function(environment))
    bodies = [line(log(1)), line(log(2)), line(poison(3))]
    assert failures(sqs.handler(sqs_event(*bodies), context())) == []
    first = metrics(capsys.readouterr().out)
    assert failures(sqs.handler(sqs_event(*bodies), context())) == []
    second = metrics(capsys.readouterr().out)
    assert [sum("ColdStart" in one for one in rows) for rows in (first, second)] == [1, 0]
    for rows, fresh in ((first, "recorded"), (second, "duplicate")):
        found: dict[Any, Any] = {}
        for row in rows:
            [described] = row["_aws"]["CloudWatchMetrics"]
            assert described["Namespace"] == "Ledgerock"
            for metric in described["Metrics"]:
                name = metric["Name"]
                if name == "ColdStart":
                    continue
                assert metric["Unit"] == METRICS[name].unit
                labels = METRICS[name].labels
                assert set(described["Dimensions"][0]) == {*labels, "service"}
                found[(name, *(row[label] for label in labels))] = row[name]
        assert found["records", fresh] == [2]
        assert found["records", "quarantined"] == [1]
        assert found["deliveries", "sqs:ledgerock-calls", "acknowledged"] == [2]
        assert found["deliveries", "sqs:ledgerock-calls", "quarantined"] == [1]
        assert len(found["delivery_age_seconds",]) == 3
        assert len(found["commit_seconds",]) == 1


def test_metrics_are_printed_when_an_invocation_fails_too(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    class Failing(ScriptedPipeline):
        async def steps(
            self, deliveries: Sequence[Delivery], *, deadline: float | None = None
        ) -> AsyncGenerator[Step, None]:
            async for step in super().steps(deliveries, deadline=deadline):
                yield step
            raise RuntimeError("half-way")

    start(opener(scripted(Failing())))
    with pytest.raises(FailedError):
        sqs.handler(sqs_event("{}"), context())
    counted = [one for one in metrics(capsys.readouterr().out) if "deliveries" in one]
    assert [one["deliveries"] for one in counted] == [[1]]


def test_more_values_than_one_line_holds_are_all_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    meter = EmbeddedMeter()
    for number in range(250):
        meter.observe("commit_seconds", number)
    meter.set("breaker_open", 1)
    meter.set("breaker_open", 0)
    meter.flush()
    rows = metrics(capsys.readouterr().out)
    assert [value for row in rows for value in row.get("commit_seconds", [])] == list(range(250))
    assert [row["breaker_open"] for row in rows if "breaker_open" in row] == [[0]]
    meter.flush()
    assert capsys.readouterr().out == ""


# --- Tracing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header, traced",
    [
        ("", False),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=557abcec3ee5a047;Sampled=0", False),
        ("Root=1-5759e988-bd862e3fe1be46a994272793;Parent=557abcec3ee5a047;Sampled=1", True),
    ],
)
def test_only_what_is_sampled_is_traced(header: str, traced: bool) -> None:
    assert runtime.is_traced({"_X_AMZN_TRACE_ID": header}) is traced


def test_a_ledger_in_a_file_is_closed_with_the_process(tmp_path: Path) -> None:
    file = tmp_path / "ledger.db"
    environment = {"LEDGEROCK_LEDGER": f"sqlite:{file}", "LEDGEROCK_RESOLVE_PROFILES": "0"}
    process = Process(lambda: open_function(environment))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtime, "PROCESS", process)
        sqs.handler(sqs_event(line(log(1))), context())
        process.close()
        sqs.handler(sqs_event(line(log(1)), line(log(2))), context())
        process.close()
    ledger = SqliteLedger(file)
    verified = asyncio.run(_verified(ledger))
    assert (verified.entries, verified.differences) == (2, ())


async def _verified(ledger: SqliteLedger) -> Any:
    try:
        return await ledger.verify()
    finally:
        await ledger.close()
