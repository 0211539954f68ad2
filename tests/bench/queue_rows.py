"""The row on queues: from SQS to DynamoDB Local, ours against a plain worker."""

import asyncio
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tests.bench.dynamodb_child import CALLS, folded_lines
from tests.bench.measuring import expect_equal, judged, say, spread
from tests.bench.queue_engine import REGISTRY, fill, registered, run, with_copies
from tests.bench.workload import SEED
from tests.conftest import container_engine_problem
from tests.dynamodb import client, ledger_at, local_endpoint, new_prefix
from tests.workers import aws, messages_left, new_queue
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_state import StateTable
from worker.adapters.memory_ledger import MemoryLedger
from worker.core.batch import Batch
from worker.core.ledger import Amounts, Leaf
from worker.core.posting import Poster
from worker.traffic.profile import bench_profile
from worker.traffic.traffic import Traffic

MESSAGES: Final = 5_000
MESSAGES_QUICK: Final = 300
WARM_RECORDS: Final = 1_500
SIZE: Final = 500
BAR: Final = 1
"""Ours must not be slower. Section 9 sets no bar here; five times is that of commits alone."""

Balances = dict[Leaf, Amounts]


def queue_rows(rounds: int, *, quick: bool = False) -> dict[str, Any]:
    """Measure both workers in turn, each on a queue and in tables of its own."""
    problem = container_engine_problem()
    if problem is not None:
        return {"rows": [], "not_measured": problem}
    return asyncio.run(_rows(rounds, MESSAGES_QUICK if quick else MESSAGES))


async def _rows(rounds: int, messages: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ledgerock-bench-") as folder:
        traffic = Traffic(bench_profile(CALLS, SEED))
        poster = registered(traffic, Path(folder))
        lines = traffic.lines()
        warm = folded_lines(list(islice(lines, WARM_RECORDS)), SIZE, poster)
        bodies = with_copies(lines, messages)
        expected = await _expected(warm, bodies, poster)
        taken: dict[str, list[dict[str, Any]]] = {"ours": [], "plain": []}
        for number in range(rounds):
            for way, runs in taken.items():
                result = await _work(way, Path(folder), warm, bodies, poster)
                expect_equal(f"{way}: balances", result.pop("balances"), expected)
                say(f"queue, round {number + 1} of {rounds}: {way} {result['seconds']:.2f} s")
                runs.append(result)
    ratios = [
        plain["seconds"] / ours["seconds"]
        for ours, plain in zip(taken["ours"], taken["plain"], strict=True)
    ]
    name = "speed of a worker from SQS to DynamoDB Local / of one transaction per message"
    return {
        "rows": [judged(name, "at least", BAR, ratios)],
        "rounds": rounds,
        "messages": messages,
        "copies": messages - len(set(bodies)),
        "messages_per_second": {
            way: spread([messages / one["seconds"] for one in runs]) for way, runs in taken.items()
        },
        "cpu_seconds_of_the_process": {
            way: spread([one["cpu_seconds"] for one in runs]) for way, runs in taken.items()
        },
        "clock": "from the first receive to the last delete; start-up is left out",
        "agreement": "every balance of both and of a ledger in memory; verify finds both sound",
    }


async def _expected(warm: list[Batch], bodies: list[str], poster: Poster) -> Balances:
    """Book everything in memory."""
    ledger = MemoryLedger()
    lines = [body.encode() for body in bodies]
    for batch in (*warm, *folded_lines(lines, SIZE, poster)):
        await ledger.commit(batch, poster)
    return dict(await ledger.balances())


async def _work(
    way: str, folder: Path, warm: list[Batch], bodies: list[str], poster: Poster
) -> dict[str, Any]:
    """Have one of the workers book all messages."""
    prefix = await _tables(warm, poster)
    settings = {
        "AWS_ENDPOINT_URL_DYNAMODB": local_endpoint(),
        "LEDGEROCK_LEDGER": f"dynamodb:{prefix}",
        "LEDGEROCK_QUARANTINE": str(folder / "quarantine"),
        "LEDGEROCK_REGISTRY": str(folder / REGISTRY),
    }
    async with aws("sqs") as sqs:
        queue = await new_queue(sqs)
        await fill(sqs, queue, bodies)
        settings["LEDGEROCK_QUEUES"] = queue
        asked = {"queue": queue, "prefix": prefix, "registry": settings["LEDGEROCK_REGISTRY"]}
        module = {"ours": "worker_child", "plain": "plain_worker"}[way]
        result = await asyncio.to_thread(run, module, asked, settings, folder)
        expect_equal(f"{way}: messages left", await messages_left(sqs, queue), 0)
        await sqs.delete_queue(QueueUrl=queue)
    async with ledger_at(local_endpoint(), prefix) as ledger:
        verification = await ledger.verify()
        expect_equal(f"{way}: verify", (verification.differences, verification.unsettled), ((), ()))
        result["balances"] = dict(await ledger.balances())
    await _drop(prefix)
    return result


async def _tables(warm: list[Batch], poster: Poster) -> str:
    """Make the tables, and book what makes names, days and payers."""
    prefix = new_prefix()
    async with client(local_endpoint()) as opened:
        state = StateTable(prefix, dynamo=Dynamo(opened), create_tables=True)
        await state.partition("b")
    async with ledger_at(local_endpoint(), prefix) as ledger:
        for batch in warm:
            await ledger.commit(batch, poster)
    return prefix


async def _drop(prefix: str) -> None:
    async with client(local_endpoint()) as opened:
        for table in ("entries", "balances", "state"):
            await opened.delete_table(TableName=f"{prefix}-{table}")
