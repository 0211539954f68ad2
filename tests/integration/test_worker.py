"""`ledgerock worker` as a process, on real queues and tables of LocalStack."""

import asyncio
import random
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.calls import asynchronous
from tests.cloudwatch import seen, series_of
from tests.dynamodb import ledger_at, localstack_endpoint, new_prefix
from tests.records import line, log, poison
from tests.workers import WorkerProcess, aws, messages_left, new_queue, send, traffic, wait_for
from worker.core.ledger import Amounts

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def sample(text: str, name: str, **labels: str) -> float:
    [value] = [
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == name and one.labels == labels
    ]
    return value


async def total_of(prefix: str) -> Amounts:
    """Return what the books add up to, after `verify` found them sound."""
    async with ledger_at(localstack_endpoint(), prefix) as ledger:
        verification = await ledger.verify()
        assert (verification.differences, verification.unsettled) == ((), ())
        total = Amounts()
        for _, amounts in await ledger.balances():
            total.add(amounts)
    return total


@asynchronous
async def test_it_books_serves_its_pages_and_drains_on_sigterm(tmp_path: Path) -> None:
    prefix = new_prefix()
    async with aws("sqs") as sqs:
        queue = await new_queue(sqs)
        settings = {"LEDGEROCK_QUEUES": queue, "LEDGEROCK_BUS": f"file:{tmp_path}/events.jsonl"}
        process = WorkerProcess(tmp_path / "log", settings, "--ledger", f"dynamodb:{prefix}")
        try:
            await asyncio.to_thread(process.until_ready)
            assert process.get("/healthz") == (200, '{"status": "healthy", "reasons": []}')
            bodies = [line(log(number)).decode() for number in range(20)]
            await send(sqs, queue, [*bodies, *bodies[:5], line(poison(99)).decode()])
            name = f"sqs:{queue.rpartition('/')[2]}"

            def ended(result: str) -> float:
                text = process.get("/metrics")[1]
                families = text_string_to_metric_families(text)
                wanted = {"source": name, "result": result}
                samples = [one for family in families for one in family.samples]
                return sum(
                    one.value
                    for one in samples
                    if one.name == "ledgerock_deliveries_total" and one.labels == wanted
                )

            await asyncio.to_thread(
                wait_for, lambda: ended("acknowledged") >= 25, "25 acknowledged deliveries"
            )
            await asyncio.to_thread(wait_for, lambda: ended("quarantined") >= 1, "the poison")
            text = process.get("/metrics")[1]
            records = {
                result: sample(text, "ledgerock_records_total", result=result)
                for result in ("recorded", "duplicate", "quarantined")
            }
            # LocalStack may deliver a message twice, as SQS may.
            assert records["recorded"] == 20
            assert records["duplicate"] >= 5
            assert records["quarantined"] >= 1
            assert await asyncio.to_thread(process.terminate) == 0
        finally:
            process.kill()
        assert await messages_left(sqs, queue) == 0
        assert (await total_of(prefix)).calls == 20
        events = [one["event"] for one in process.log_lines()]
        assert events[0] == "starting"
        assert events[-1] == "stopped"


@asynchronous
async def test_a_burst_books_everything_prints_its_metrics_and_exits(tmp_path: Path) -> None:
    prefix, seed = new_prefix(), random.randrange(10**6)
    bodies, sums, registry = traffic(400, seed, tmp_path)
    async with aws("sqs") as sqs:
        queues = [await new_queue(sqs), await new_queue(sqs)]
        await send(sqs, queues[0], bodies)
        await send(sqs, queues[1], bodies[::2])
        settings = {
            "LEDGEROCK_QUEUES": ",".join(queues),
            "LEDGEROCK_REGISTRY": str(registry),
            "LEDGEROCK_METRICS": "emf",
            "POWERTOOLS_SERVICE_NAME": "ledgerock-dev",
        }
        arguments = ("--ledger", f"dynamodb:{prefix}", "--burst")
        process = WorkerProcess(tmp_path / "log", settings, *arguments)
        assert await asyncio.to_thread(process.ended) == 0, process.log_text()
        assert [await messages_left(sqs, queue) for queue in queues] == [0, 0]
    total = await total_of(prefix)
    assert (total.calls, total.cost_pico_usd) == (sums.calls, sums.cost_pico_usd), seed
    series = series_of(process.output_lines())

    def printed(name: str) -> float:
        return sum(seen(series, name, "ledgerock-dev") or [])

    assert printed("calls") == sums.calls
    assert printed("spend_usd") == pytest.approx(sums.cost_pico_usd / 10**12)
    # LocalStack may deliver a message twice, as SQS may.
    assert printed("deliveries") >= len(bodies) + len(bodies[::2])
    assert set(seen(series, "budgets", "ledgerock-dev", state="suspended") or []) == {0}


@asynchronous
async def test_sigterm_under_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    prefix, seed = new_prefix(), random.randrange(10**6)
    bodies, sums, registry = traffic(600, seed, tmp_path)
    async with aws("sqs") as sqs:
        queue = await new_queue(sqs)
        settings = {
            "LEDGEROCK_QUEUES": queue,
            "LEDGEROCK_REGISTRY": str(registry),
            "LEDGEROCK_VISIBILITY_SECONDS": "10",
        }
        arguments = ("--ledger", f"dynamodb:{prefix}")
        process = WorkerProcess(tmp_path / "first", settings, *arguments)
        try:
            await asyncio.to_thread(process.until_ready)
            await send(sqs, queue, bodies)
            assert await asyncio.to_thread(process.terminate) == 0, process.log_text()
        finally:
            process.kill()
        # What the first worker's last polls are handed, for as long as the queue goes on with
        # them, is visible again by then.
        async with asyncio.timeout(200):
            while await messages_left(sqs, queue):
                await asyncio.sleep(2)
                process = WorkerProcess(tmp_path / "more", settings, *arguments, "--burst")
                assert await asyncio.to_thread(process.ended) == 0, process.log_text()
    total = await total_of(prefix)
    assert (total.calls, total.cost_pico_usd) == (sums.calls, sums.cost_pico_usd), seed


@asynchronous
async def test_a_queue_that_is_not_there_is_said_at_the_start(tmp_path: Path) -> None:
    settings = {"LEDGEROCK_QUEUES": f"{localstack_endpoint()}/000000000000/nowhere"}
    ledger = f"sqlite:{tmp_path}/books.db"
    process = WorkerProcess(tmp_path / "log", settings, "--ledger", ledger)
    assert await asyncio.to_thread(process.ended) == 2
    assert "nowhere" in process.log_text().splitlines()[-1]
