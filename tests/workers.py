"""Processes of `ledgerock worker` on LocalStack, and queues for them to work on."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final

from aiobotocore.session import get_session

from tests.dynamodb import ENVIRONMENT, ROOT, localstack_endpoint
from worker.traffic.profile import bench_profile
from worker.traffic.sums import TrafficSums
from worker.traffic.traffic import Traffic

WAIT_SECONDS: Final = 90
"""How long anything may take before a test fails; it is never waited out otherwise."""


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s in vain: {what}"
        time.sleep(0.1)


class WorkerProcess:
    """One process of the worker; its log goes to a file, and what it prints to another.

    Args:
        log: The file.
        settings: Variables of its environment.
        arguments: Of the command.
        endpoint: Of an emulator other than the shared LocalStack.
    """

    def __init__(
        self, log: Path, settings: dict[str, str], *arguments: str, endpoint: str = ""
    ) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self._log = log
        environment = {name: text for name, text in os.environ.items() if "LEDGEROCK" not in name}
        environment |= {
            **ENVIRONMENT,
            "AWS_ENDPOINT_URL": endpoint or localstack_endpoint(),
            "LEDGEROCK_QUARANTINE": f"{log}.quarantine",
            "LEDGEROCK_CREATE_TABLES": "1",
            "LEDGEROCK_HTTP_PORT": str(self._port),
            "LEDGEROCK_RESOLVE_PROFILES": "0",
            **settings,
        }
        self._output = log.with_name(f"{log.name}.output")
        with log.open("ab") as stderr, self._output.open("ab") as stdout:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker", "worker", *arguments],
                cwd=ROOT,
                env=environment,
                stdout=stdout,
                stderr=stderr,
            )

    def get(self, page: str) -> tuple[int, str]:
        """Return status and content of a page; 0 if nobody answers."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self._port}{page}", timeout=5
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def until_ready(self) -> None:
        wait_for(lambda: self.get("/readyz")[0] == 200, f"/readyz, log: {self.log_text()[-2000:]}")

    def ended(self) -> int:
        """Wait for its end; return the exit code."""
        try:
            return self.process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def log_text(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def output_lines(self) -> list[str]:
        """Return what it printed on stdout."""
        return self._output.read_text(encoding="utf-8").splitlines()

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_text().splitlines()]


@asynccontextmanager
async def aws(service: str) -> AsyncIterator[Any]:
    """Open a client of LocalStack."""
    context = get_session().create_client(
        service,
        endpoint_url=localstack_endpoint(),
        region_name=ENVIRONMENT["AWS_REGION"],
        aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
    )
    async with context as opened:
        yield opened


async def new_queue(sqs: Any) -> str:
    """Make a queue and return its URL."""
    answer = await sqs.create_queue(QueueName=f"worker-{uuid.uuid4().hex}")
    return str(answer["QueueUrl"])


async def send(sqs: Any, queue: str, bodies: Sequence[str]) -> None:
    for start in range(0, len(bodies), 10):
        entries = [
            {"Id": str(number), "MessageBody": body}
            for number, body in enumerate(bodies[start : start + 10])
        ]
        answer = await sqs.send_message_batch(QueueUrl=queue, Entries=entries)
        assert not answer.get("Failed")


async def messages_left(sqs: Any, queue: str) -> int:
    """Return how many messages there are, invisible ones included."""
    names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
    names.append("ApproximateNumberOfMessagesDelayed")
    answer = await sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=names)
    return sum(map(int, answer["Attributes"].values()))


def traffic(
    calls: int, seed: int, directory: Path, start: date | None = None
) -> tuple[list[str], TrafficSums, Path]:
    """Return message bodies of some log lines each, what they add up to, and the registry."""
    profile = bench_profile(calls, seed)
    if start is not None:
        profile = replace(profile, start=start.isoformat())
    made, sums = Traffic(profile), TrafficSums()
    lines = [line.decode() for line in made.lines(sums)]
    registry = directory / "registry.toml"
    registry.write_text(made.registry(), encoding="utf-8")
    return list(_bodies(lines)), sums, registry


def _bodies(lines: Sequence[str]) -> Iterator[str]:
    start, size = 0, 1
    while start < len(lines):
        yield "\n".join(lines[start : start + size])
        start, size = start + size, size % 7 + 1
