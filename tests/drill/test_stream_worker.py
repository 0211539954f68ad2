"""Two workers on a queue and a stream: everything three times, in random order, with a fifth of
the requests failing and a worker killed every few seconds. Exact afterwards."""

import asyncio
import gzip
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import boto3
import pytest

from tests.dynamodb import (
    ENVIRONMENT,
    ROOT,
    ledger_at,
    local_endpoint,
    localstack_endpoint,
    new_prefix,
)
from tests.events import checked_event
from worker.core.ledger import Amounts
from worker.traffic.profile import TrafficProfile
from worker.traffic.sums import Total, TrafficSums, usd
from worker.traffic.traffic import Traffic

CALLS: Final = int(os.environ.get("LEDGEROCK_DRILL_CALLS", "100000"))
TIMES: Final = 3
SHARE: Final = 0.2
KILL_SECONDS: Final = (3.0, 7.0)
KILLED_SHARE: Final = 0.97
"""From here on nobody is killed: the last messages might meet none but workers that die."""
FINISH_SECONDS: Final = 1_500
MESSAGE_BYTES_MAX: Final = 150_000
MESSAGE_LINES_MAX: Final = 250
SHARDS: Final = 3
WORKERS: Final = 2
THRESHOLDS: Final = (70, 90, 100)
DAYS: Final = 2

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_800)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Everything in emulated AWS that one drill uses."""

    name: str
    prefix: str
    queue: str
    collector: str
    dynamodb: str
    aws: str

    def client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.aws, region_name="us-east-1")


def test_two_workers_that_are_killed_and_failed_are_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in ENVIRONMENT.items():
        monkeypatch.setenv(name, text)
    seed = random.randrange(10**6)
    print(f"{seed=}")  # noqa: T201 - to make it happen again
    traffic = Traffic(_profile(seed))
    sums = TrafficSums()
    lines = list(traffic.lines(sums))
    (tmp_path / "registry.toml").write_text(traffic.registry(), encoding="utf-8")
    place = _place()
    expected = _set_budgets(place, sums, tmp_path)
    with _proxy(place, seed) as proxy:
        workers = Workers(place, proxy, tmp_path, random.Random(seed))
        feeding = threading.Thread(target=_feed, args=(place, lines, seed))
        feeding.start()
        try:
            kills = workers.kill_until(
                lambda: not feeding.is_alive() and _calls(place) >= KILLED_SHARE * sums.calls
            )
            feeding.join()
            # What killed workers held comes again once it is visible, to workers that may stay.
            _wait_until_done(place, sums)
            announced = _collect(place, expected)
            faults = json.load(urllib.request.urlopen(f"{proxy}/faults"))
            urllib.request.urlopen(f"{proxy}/share", b"0").close()
            assert workers.stop() == [0] * WORKERS
        finally:
            workers.kill_all()
    print(f"{kills=} {faults=} {workers.seconds=:.0f}")  # noqa: T201
    asyncio.run(_check(place, sums))
    assert {key: len(ids) for key, ids in announced.items()} == dict.fromkeys(expected, 1)
    failed = sum(count for kind, count in faults.items() if kind != "requests")
    assert failed > 0.15 * faults["requests"]
    assert kills >= 5


def _profile(seed: int) -> TrafficProfile:
    first = datetime.now(UTC).date() - timedelta(days=DAYS)
    return TrafficProfile(name="drill", seed=seed, calls=CALLS, start=first.isoformat(), days=DAYS)


# --- The place ---------------------------------------------------------------------------------


def _place() -> Place:
    name = f"drill-{new_prefix()[:12]}"
    aws, dynamodb = localstack_endpoint(), local_endpoint()
    sqs = boto3.client("sqs", endpoint_url=aws, region_name="us-east-1")
    queue = sqs.create_queue(QueueName=name, Attributes={"VisibilityTimeout": "20"})["QueueUrl"]
    collector = sqs.create_queue(QueueName=f"{name}-events")["QueueUrl"]
    place = Place(
        name=name,
        prefix=new_prefix(),
        queue=queue,
        collector=collector,
        dynamodb=dynamodb,
        aws=aws,
    )
    kinesis = place.client("kinesis")
    kinesis.create_stream(StreamName=name, ShardCount=SHARDS)
    kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
    events = place.client("events")
    events.create_event_bus(Name=name)
    pattern = json.dumps({"source": ["ledgerock"]})
    events.put_rule(Name=name, EventBusName=name, EventPattern=pattern)
    arn = sqs.get_queue_attributes(QueueUrl=collector, AttributeNames=["QueueArn"])
    target = {"Id": "collector", "Arn": arn["Attributes"]["QueueArn"]}
    events.put_targets(Rule=name, EventBusName=name, Targets=[target])
    return place


def _environment(place: Place, folder: Path, *, dynamodb: str, aws: str) -> dict[str, str]:
    return {
        **os.environ,
        **ENVIRONMENT,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
        "AWS_ENDPOINT_URL": aws,
        "AWS_ENDPOINT_URL_DYNAMODB": dynamodb,
        "LEDGEROCK_LEDGER": f"dynamodb:{place.prefix}",
        "LEDGEROCK_CREATE_TABLES": "1",
        "LEDGEROCK_REGISTRY": str(folder / "registry.toml"),
        "LEDGEROCK_QUARANTINE": str(folder / "quarantine"),
        "LEDGEROCK_QUEUES": place.queue,
        "LEDGEROCK_STREAMS": place.name,
        "LEDGEROCK_BUS": place.name,
        "LEDGEROCK_HTTP_PORT": "0",
        "LEDGEROCK_VISIBILITY_SECONDS": "20",
        "LEDGEROCK_LEASE_SECONDS": "6",
        "LEDGEROCK_RESOLVE_PROFILES": "0",
    }


def _ledgerock(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "worker", *arguments]


def _set_budgets(place: Place, sums: TrafficSums, folder: Path) -> set[tuple[str, int]]:
    """Set budgets that will end below, between and above their thresholds; return crossings."""
    spent: dict[str, Total] = {"everything": sums.total}
    spent |= {f"team/{name}": total for name, total in sorted(sums.by_team.items())[:8]}
    spent |= {f"model/{name}": total for name, total in sorted(sums.by_model.items())[:4]}
    busiest = sorted(sums.by_principal.items(), key=lambda item: -item[1].cost_pico_usd)
    spent |= {f"principal/{name}": total for name, total in busiest[:8]}
    environment = _environment(place, folder, dynamodb=place.dynamodb, aws=place.aws)
    anchor = (datetime.now(UTC).date() - timedelta(days=30)).isoformat()
    expected = set()
    shares = (65, 80, 95, 140)
    for number, (scope, total) in enumerate(sorted(spent.items())):
        limit = total.cost_pico_usd * 100 // shares[number % len(shares)]
        name = f"budget-{number}"
        options = ("--limit", usd(limit), "--period", "366-day", "--anchor", anchor)
        subprocess.run(
            _ledgerock("budgets", "set", name, "--scope", scope, *options),
            env=environment,
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        expected |= {
            (name, threshold)
            for threshold in THRESHOLDS
            if total.cost_pico_usd * 100 >= limit * threshold
        }
    return expected


@contextmanager
def _proxy(place: Place, seed: int) -> Iterator[str]:
    task = {"dynamodb": place.dynamodb, "others": place.aws, "share": SHARE, "seed": seed}
    command = [sys.executable, "-m", "tests.fault_proxy", json.dumps(task)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as proxy:
        assert proxy.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(proxy.stdout.readline())}"
        finally:
            proxy.kill()


# --- What is delivered -------------------------------------------------------------------------


def _feed(place: Place, lines: Sequence[bytes], seed: int) -> None:
    """Deliver every record three times, shuffled, in batches over queue and stream."""
    dice = random.Random(seed)
    records = [line for line in lines for _ in range(TIMES)]
    dice.shuffle(records)
    sqs, kinesis = place.client("sqs"), place.client("kinesis")
    for batch in _batches(records):
        if dice.random() < 0.5:
            sqs.send_message(QueueUrl=place.queue, MessageBody=b"\n".join(batch).decode())
        else:
            kinesis.put_record(
                StreamName=place.name, Data=_subscription(batch), PartitionKey=str(dice.random())
            )


def _batches(records: Sequence[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for record in records:
        if batch and (size + len(record) > MESSAGE_BYTES_MAX or len(batch) == MESSAGE_LINES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record)
    yield batch


def _subscription(records: Sequence[bytes]) -> bytes:
    """A record as a subscription of CloudWatch Logs puts it into a stream."""
    batch = {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "bedrock",
        "logStream": "aws/bedrock/modelinvocations",
        "subscriptionFilters": ["all"],
        "logEvents": [
            {"id": f"{number:056d}", "timestamp": 1, "message": record.decode()}
            for number, record in enumerate(records)
        ],
    }
    return gzip.compress(json.dumps(batch).encode(), 1)


# --- The workers -------------------------------------------------------------------------------


class Workers:
    """Two workers; whichever dies is started again."""

    def __init__(self, place: Place, proxy: str, folder: Path, dice: random.Random) -> None:
        self._environment = _environment(place, folder, dynamodb=proxy, aws=proxy)
        self._folder, self._dice = folder, dice
        self._log = (folder / "workers.log").open("ab")
        self._running = [self._start() for _ in range(WORKERS)]
        self._started = time.monotonic()
        self.seconds = 0.0

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            _ledgerock("worker"),
            env=self._environment,
            cwd=self._folder,
            stdout=self._log,
            stderr=self._log,
        )

    def kill_until(self, is_done: Any) -> int:
        """Kill one every few seconds, until everything is done; return how often."""
        kills = 0
        deadline = time.monotonic() + FINISH_SECONDS
        while not is_done():
            assert time.monotonic() < deadline, self.last_words()
            time.sleep(self._dice.uniform(*KILL_SECONDS))
            slot = self._dice.randrange(WORKERS)
            self._running[slot].kill()
            self._running[slot].wait()
            self._running[slot] = self._start()
            kills += 1
        self.seconds = time.monotonic() - self._started
        return kills

    def stop(self) -> list[int]:
        """Ask them to end, and return their exit codes."""
        time.sleep(5)  # A worker that was started just now has to get as far as listening.
        for worker in self._running:
            worker.send_signal(signal.SIGTERM)
        return [worker.wait(timeout=60) for worker in self._running]

    def kill_all(self) -> None:
        for worker in self._running:
            worker.kill()
            worker.wait()
        self._log.close()

    def last_words(self) -> str:
        return (self._folder / "workers.log").read_text(errors="replace")[-5_000:]


VISIBLE: Final = "ApproximateNumberOfMessages"
HELD: Final = "ApproximateNumberOfMessagesNotVisible"


def _messages(place: Place, *kinds: str) -> int:
    answer = place.client("sqs").get_queue_attributes(
        QueueUrl=place.queue, AttributeNames=list(kinds)
    )
    return sum(int(count) for count in answer["Attributes"].values())


def _wait_until_done(place: Place, sums: TrafficSums) -> None:
    """Wait until every call is booked and the queue is empty."""
    deadline = time.monotonic() + FINISH_SECONDS
    while _messages(place, VISIBLE, HELD) or _calls(place) != sums.calls:
        left = f"{sums.calls - _calls(place)} calls are missing"
        assert time.monotonic() < deadline, f"{_messages(place, VISIBLE, HELD)} messages, {left}"
        time.sleep(1)


def _calls(place: Place) -> int:
    """Count the calls that are booked."""

    async def count() -> int:
        async with ledger_at(place.dynamodb, place.prefix) as ledger:
            return sum(amounts.calls for amounts in (await ledger.totals("account")).values())

    return asyncio.run(count())


# --- What must have come of it -------------------------------------------------------------------


def _collect(place: Place, expected: set[tuple[str, int]]) -> dict[tuple[str, int], set[str]]:
    """Wait for all crossings on the bus; return the event ids of each."""
    sqs = place.client("sqs")
    found: dict[tuple[str, int], set[str]] = {}
    deadline = time.monotonic() + 120
    quiet = 0
    while time.monotonic() < deadline and (quiet < 3 or found.keys() != expected):
        answer = sqs.receive_message(
            QueueUrl=place.collector, MaxNumberOfMessages=10, WaitTimeSeconds=1
        )
        messages = answer.get("Messages", ())
        quiet = 0 if messages else quiet + 1
        for message in messages:
            event = json.loads(message["Body"])
            sqs.delete_message(QueueUrl=place.collector, ReceiptHandle=message["ReceiptHandle"])
            detail = checked_event(event)
            if event["detail-type"] == "Budget Threshold Crossed":
                key = detail["budget"]["name"], detail["threshold"]
                found.setdefault(key, set()).add(detail["event_id"])
    return found


async def _check(place: Place, sums: TrafficSums) -> None:
    """Compare the books with the generator's own sums, to the last pico-dollar."""
    async with ledger_at(place.dynamodb, place.prefix) as ledger:
        verification = await ledger.verify()
        assert (verification.entries, verification.differences) == (sums.calls, ())
        assert verification.unsettled == ()
        for field, wanted in (
            ("principal", sums.by_principal),
            ("account", sums.by_account),
            ("model", sums.by_model),
            ("team", sums.by_team),
        ):
            found = await ledger.totals(field)
            found.pop("", None)
            assert {key: _figures(amounts) for key, amounts in found.items()} == {
                key: _figures(total) for key, total in wanted.items()
            }


def _figures(total: Amounts | Total) -> tuple[int, ...]:
    return (
        total.calls,
        total.cost_pico_usd,
        total.input_tokens,
        total.output_tokens,
        total.cache_read_tokens,
        total.cache_write_5m_tokens,
        total.cache_write_1h_tokens,
        total.unpriced_calls,
    )
