"""The row on the worker's memory: one process, weighed after some messages and after thrice that.

From SQS on LocalStack to DynamoDB Local, with default settings; each message holds ten records
of the workload in time order, so that callers, models and days are all met.
"""

import asyncio
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final

from tests.bench.dynamodb_child import CALLS
from tests.bench.measuring import judged, say
from tests.bench.queue_engine import REGISTRY, fill, registered, settled, until_settled
from tests.bench.rows import RSS_BAR_BYTES, RSS_GROWTH_BAR
from tests.bench.workload import SEED
from tests.conftest import container_engine_problem
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.workers import WorkerProcess, aws, new_queue
from worker.traffic.profile import bench_profile
from worker.traffic.traffic import Traffic

MESSAGES: Final = 2_000
MESSAGES_QUICK: Final = 100
RECORDS_A_MESSAGE: Final = 10
TIMES: Final = (1, 3)
CHUNK: Final = 500
"""Messages that are sent before the worker has booked them all: a queue, not its memory, holds
what is to come."""
STATUS: Final = Path("/proc/self/status")


def worker_rows(*, quick: bool = False) -> dict[str, Any]:
    """Weigh the worker."""
    problem = container_engine_problem()
    if not STATUS.exists():
        problem = "this system does not tell what a process holds"
    if problem is not None:
        return {"rows": [], "not_measured": problem}
    return asyncio.run(_rows(MESSAGES_QUICK if quick else MESSAGES))


async def _rows(messages: int) -> dict[str, Any]:
    prefix, found = new_prefix(), dict[int, dict[str, int]]()
    with tempfile.TemporaryDirectory(prefix="ledgerock-bench-") as folder:
        traffic = Traffic(bench_profile(CALLS, SEED))
        registered(traffic, Path(folder))
        async with aws("sqs") as sqs:
            queue = await new_queue(sqs)
            worker = _worker(Path(folder), prefix, queue)
            try:
                await asyncio.to_thread(worker.until_ready)
                empty = _weigh(worker.process.pid)
                bodies = _bodies(traffic.lines())
                for times in TIMES:
                    await _book(worker, sqs, queue, bodies, times * messages)
                    records = times * messages * RECORDS_A_MESSAGE
                    found[records] = _weigh(worker.process.pid)
                    say(f"worker: {records:,} records, {found[records]}")
            finally:
                worker.terminate()
                await sqs.delete_queue(QueueUrl=queue)
    async with client(local_endpoint()) as opened:
        for table in ("entries", "balances", "state"):
            await opened.delete_table(TableName=f"{prefix}-{table}")
    (before, _), (most, largest) = found.items()
    peak, growth = largest["peak_rss_bytes"], largest["rss_bytes"] / found[before]["rss_bytes"]
    name = f"memory of the worker, {most:,} records"
    return {
        "rows": [
            judged(f"peak {name} / 200 MB", "at most", 1, [peak / RSS_BAR_BYTES]),
            judged(f"{name} / {before:,}", "at most", RSS_GROWTH_BAR, [growth]),
        ],
        "before_the_first": empty,
        "after_records": found,
    }


def _worker(folder: Path, prefix: str, queue: str) -> WorkerProcess:
    settings = {
        "AWS_ENDPOINT_URL_DYNAMODB": local_endpoint(),
        "LEDGEROCK_LEDGER": f"dynamodb:{prefix}",
        "LEDGEROCK_QUEUES": queue,
        "LEDGEROCK_QUARANTINE": str(folder / "quarantine"),
        "LEDGEROCK_REGISTRY": str(folder / REGISTRY),
        "LEDGEROCK_RESOLVE_PROFILES": "",  # as it is by default
    }
    return WorkerProcess(folder / "log", settings)


def _bodies(lines: Iterator[bytes]) -> Iterator[str]:
    while chunk := list(islice(lines, RECORDS_A_MESSAGE)):
        yield b"\n".join(chunk).decode()


async def _book(
    worker: WorkerProcess, sqs: Any, queue: str, bodies: Iterator[str], total: int
) -> None:
    """Send until so many messages have been booked altogether."""
    while (done := settled(worker)) < total:
        chunk = list(islice(bodies, min(CHUNK, total - done)))
        await fill(sqs, queue, chunk)
        await until_settled(worker, done + len(chunk))


def _weigh(process: int) -> dict[str, int]:
    """Return what a process holds, and held at most."""
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    facts = dict(line.split(":", 1) for line in status.splitlines())
    names = {"rss_bytes": "VmRSS", "peak_rss_bytes": "VmHWM"}
    return {name: int(facts[fact].split()[0]) * 1024 for name, fact in names.items()}
