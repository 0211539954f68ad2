"""The whole pipeline in containers, through the commands that the README tells a person to type."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.dynamodb import ENVIRONMENT
from tests.events import checked_event
from tools.laptop import names
from worker.core.events import BUDGET_THRESHOLD_CROSSED

ROOT = Path(__file__).resolve().parents[2]
BUILD_AND_START_SECONDS = 420
STEP_SECONDS = 180

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(BUILD_AND_START_SECONDS + 3 * STEP_SECONDS),
]


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, each another one."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@dataclass(frozen=True, slots=True)
class Laptop:
    """A pipeline of this test run's own: another project, other ports, images of this checkout."""

    project: str
    environment: dict[str, str]

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.environment['LEDGEROCK_LOCALSTACK_PORT']}"

    def run(self, *command: str, seconds: int = STEP_SECONDS) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )

    def make(self, *arguments: str, seconds: int = STEP_SECONDS) -> str:
        """Run make on the interpreter of the tests, whatever it may think of its age."""
        stamps = [f"--old-file={sys.prefix}/.stamp{kind}" for kind in ("", "-runtime")]
        make = ["make", "--no-print-directory", *stamps, f"VENV={sys.prefix}"]
        ran = self.run(*make, f"PROJECT={self.project}", *arguments, seconds=seconds)
        assert ran.returncode == 0, f"make {' '.join(arguments)}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def ledgerock(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "worker", *arguments, "--ledger", "dynamodb")

    def containers(self) -> list[str]:
        label = f"label=com.docker.compose.project={self.project}"
        listed = self.run("docker", "ps", "--all", "--filter", label, "--format", "{{.Names}}")
        return listed.stdout.split()


@pytest.fixture
def laptop() -> Iterator[Laptop]:
    localstack, worker = free_ports(2)
    # The coverage of a pipeline is not this process's business.
    environment = {name: text for name, text in os.environ.items() if "COV" not in name}
    checkout = hashlib.sha256(str(ROOT).encode()).hexdigest()[:8]
    environment |= ENVIRONMENT | {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{localstack}",
        "LEDGEROCK_IMAGE": f"ledgerock-test-{checkout}",
        "LEDGEROCK_LOCALSTACK_PORT": str(localstack),
        "LEDGEROCK_WORKER_PORT": str(worker),
        "LEDGEROCK_TRAFFIC_RATE": "10",
    }
    made = Laptop(f"ledgerock-test-{uuid.uuid4().hex[:8]}", environment)
    try:
        made.make("up", seconds=BUILD_AND_START_SECONDS)
        yield made
    finally:
        made.make("down")
        assert made.containers() == []


def test_it_shows_spend_and_crossings_and_books_a_load_exactly(laptop: Laptop) -> None:
    spend_and_the_first_crossing_show_by_themselves(laptop)
    what_is_sent_is_booked_and_announced(laptop)
    what_is_announced_keeps_to_its_schema(laptop)
    the_books_verify(laptop)


def spend_and_the_first_crossing_show_by_themselves(laptop: Laptop) -> None:
    shown = ""
    for _ in range(20):
        shown = laptop.make("watch", "SECONDS=3")
        if "Budget Threshold Crossed" in shown:
            break
    assert "Budget Threshold Crossed" in shown
    assert "agent/111122223333/us-east-1/SUPPORTBOT" in shown
    assert "anthropic.claude-sonnet-4-5-20250929-v1:0" in shown


def what_is_sent_is_booked_and_announced(laptop: Laptop) -> None:
    report: dict[str, Any] = json.loads(
        laptop.make("load", "RATE=12", "SECONDS=8", "LOAD_ARGUMENTS=--json --seed 7")
    )
    assert report["exact"], report["losses"]
    assert report["sent"]["calls"] == report["booked"]["calls"] == 96
    assert report["sent"]["cost_usd"] == report["booked"]["cost_usd"]
    assert report["sent"]["duplicates"] > 0
    assert report["lag_seconds"]["samples"] > 0
    assert report["lag_seconds"]["missing"] == 0
    crossings = report["crossings"]
    assert crossings["reached"] > 0
    assert crossings["announced"] == crossings["reached"] <= crossings["ids"]
    assert report["worker"]["deliveries"]["acknowledged"] > 0
    assert report["worker"]["records"].get("quarantined", 0) == 0


def what_is_announced_keeps_to_its_schema(laptop: Laptop) -> None:
    sqs = boto3.client(
        "sqs",
        endpoint_url=laptop.endpoint,
        region_name=ENVIRONMENT["AWS_REGION"],
        aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
    )
    collector = sqs.get_queue_url(QueueName=names.ANNOUNCED)["QueueUrl"].split("/", 3)[-1]
    found: dict[str, str] = {}
    deadline = time.monotonic() + STEP_SECONDS
    # What others have just looked at is hidden for some seconds.
    while time.monotonic() < deadline and BUDGET_THRESHOLD_CROSSED not in found.values():
        answer = sqs.receive_message(
            QueueUrl=f"{laptop.endpoint}/{collector}",
            MaxNumberOfMessages=10,
            WaitTimeSeconds=1,
        )
        for message in answer.get("Messages", ()):
            event = json.loads(message["Body"])
            checked_event(event)
            found[message["MessageId"]] = event["detail-type"]
    sqs.close()
    assert BUDGET_THRESHOLD_CROSSED in found.values()


def the_books_verify(laptop: Laptop) -> None:
    # Nothing may move while the books are compared.
    stopped = laptop.run("docker", "stop", f"{laptop.project}_traffic_1")
    if stopped.returncode:  # the second version of compose joins names with dashes
        stopped = laptop.run("docker", "stop", f"{laptop.project}-traffic-1")
    assert stopped.returncode == 0, stopped.stderr
    verified = laptop.ledgerock("verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    budgets = laptop.ledgerock("budgets", "list", "--json")
    assert "exceeded" in budgets.stdout, budgets.stdout + budgets.stderr
