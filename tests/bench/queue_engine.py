"""Queues of LocalStack for the bench: made, filled, and worked on by processes of their own."""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

from prometheus_client.parser import text_string_to_metric_families

from tests.bench.measuring import CHILD_TIMEOUT_SECONDS, ROOT, DisagreementError
from tests.bench.workload import SEED
from tests.dynamodb import ENVIRONMENT, localstack_endpoint
from tests.workers import WorkerProcess, wait_for
from worker.bootstrap import make_poster
from worker.core.posting import Poster
from worker.settings import Settings
from worker.traffic.traffic import Traffic

SENT_AT_ONCE: Final = 10
"""Messages in one request (API reference: SendMessageBatch)."""
SENDERS: Final = 8
COPIES_SHARE: Final = 0.1
REGISTRY: Final = "registry.toml"


def with_copies(lines: Iterator[bytes], messages: int) -> list[str]:
    """Return message bodies of one log line each, a tenth of them copies of earlier ones.

    What is copied already in `lines` is taken once: the copies are spread over everything that
    comes after their first sight, near and far.
    """
    copies = int(messages * COPIES_SHARE)
    distinct: dict[bytes, None] = {}
    for line in lines:
        distinct[line] = None
        if len(distinct) == messages - copies:
            break
    chance = random.Random(SEED)
    once = list(distinct)
    placed = [(float(number), line) for number, line in enumerate(once)]
    for _ in range(copies):
        number = chance.randrange(len(once))
        placed.append((chance.uniform(number, len(once)), once[number]))
    placed.sort(key=lambda one: one[0])
    return [line.decode() for _, line in placed]


def registered(traffic: Traffic, directory: Path) -> Poster:
    """Write the registry that the traffic presumes; return what prices with it."""
    registry = directory / REGISTRY
    registry.write_text(traffic.registry(), encoding="utf-8")
    return make_poster(Settings(ledger="memory", registry=registry))


async def fill(sqs: Any, queue: str, bodies: Sequence[str]) -> None:
    """Send messages as fast as the engine takes them; their order is nearly kept."""
    waiting = iter(bodies)

    async def sender() -> None:
        while chunk := list(islice(waiting, SENT_AT_ONCE)):
            await send_batch(sqs, queue, chunk)

    await asyncio.gather(*(sender() for _ in range(SENDERS)))


async def send_batch(sqs: Any, queue: str, bodies: Sequence[str]) -> None:
    """Send up to ten messages in one request."""
    entries = [{"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)]
    sent = await sqs.send_message_batch(QueueUrl=queue, Entries=entries)
    if sent.get("Failed"):
        raise RuntimeError(f"the queue refused messages: {sent['Failed'][:2]}")


def settled(worker: WorkerProcess) -> int:
    """Return how many deliveries ended well, by the worker's own count."""
    families = text_string_to_metric_families(worker.get("/metrics")[1])
    samples = (one for family in families for one in family.samples)
    return int(
        sum(
            one.value
            for one in samples
            if one.name == "ledgerock_deliveries_total" and one.labels["result"] == "acknowledged"
        )
    )


async def until_settled(worker: WorkerProcess, deliveries: int) -> None:
    """Wait until so many deliveries ended well since the worker began."""
    await asyncio.to_thread(
        wait_for, lambda: settled(worker) >= deliveries, f"{deliveries} deliveries settled"
    )


def environment(settings: dict[str, str]) -> dict[str, str]:
    """Return the environment of a process on LocalStack: these settings, else the defaults."""
    kept = {name: text for name, text in os.environ.items() if "LEDGEROCK" not in name}
    return {
        **kept,
        **ENVIRONMENT,
        "AWS_ENDPOINT_URL": localstack_endpoint(),
        "LEDGEROCK_HTTP_PORT": str(free_port()),
        **settings,
    }


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def run(
    module: str, asked: dict[str, str], settings: dict[str, str], directory: Path
) -> dict[str, Any]:
    """Run a child of the bench in an environment of its own; its log goes to a file.

    Raises:
        RuntimeError: It failed.
        DisagreementError: It ended with something left.
    """
    log = directory / "log"
    with log.open("wb") as errors:
        child = subprocess.run(
            [sys.executable, "-m", f"tests.bench.{module}", json.dumps(asked)],
            cwd=ROOT,
            env=environment(settings),
            stdout=subprocess.PIPE,
            stderr=errors,
            timeout=CHILD_TIMEOUT_SECONDS,
            check=False,
        )
    if child.returncode != 0:
        end = log.read_text(encoding="utf-8", errors="replace")[-2_000:]
        raise RuntimeError(f"tests.bench.{module} failed: exit code {child.returncode}: {end}")
    result: dict[str, Any] = json.loads(child.stdout)
    if result.get("code", 0) != 0:
        raise DisagreementError(f"{module} ended with {result['code']}: see {log}")
    return result
