"""`ledgerock replay s3://...`, against a server that speaks S3."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ALICE, lines, log, write
from tests.unit.core.decoders.payloads import (
    batch_job_created,
    batch_line,
    batch_manifest,
    payload,
)
from worker.adapters.clock import SystemClock
from worker.adapters.quarantine_s3 import S3Quarantine
from worker.core.results import Malformed, Position
from worker.pipeline.objects import no_log

LOGS = "AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    # Servers of one process share what they hold.
    urlopen(Request(f"{endpoint}/moto-api/reset", method="POST")).close()
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    try:
        client = boto3.client("s3")
        client.create_bucket(Bucket="call-logs")
        yield lambda key, body: client.put_object(Bucket="call-logs", Key=key, Body=body)
    finally:
        server.stop()


def replay(run: Run, *arguments: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("replay", *arguments, "--json"))
    return document


def test_a_bucket_is_replayed_in_children_beside_files_and_once(
    run: Run, folder: Path, bucket: Any
) -> None:
    for day in range(1, 6):
        content = lines(log(f"r{day}", at=f"2026-10-0{day}T12:00:00Z"))
        bucket(f"{LOGS}/10/0{day}/12/x.json.gz", gzip.compress(content))
    bucket(f"{LOGS}/10/05/12/data/r5_input.json.gz", b"no record")
    bucket(f"{LOGS}/10/05/12/y.json", lines(log("r5", at="2026-10-05T12:00:00Z"), "nonsense"))
    write(folder / "more" / "z.json", log("r1", at="2026-10-01T12:00:00Z"), log("r9"))

    done = replay(run, "s3://call-logs", "more", "--jobs", "2")
    assert (done["deliveries"], done["records"], done["calls"]) == (8, 10, 6)
    assert (done["recorded"], done["duplicates"], done["quarantined"]) == (6, 2, 1)
    # Six calls of 0.0105.
    assert done["cost_usd"] == "0.063"
    assert done["by_principal"][0]["key"] == ALICE

    again = replay(run, "more", "s3://call-logs/AWSLogs/", "--jobs", "1")
    assert (again["recorded"], again["cost_usd"]) == (0, "0")
    (item,) = json.loads(run("quarantine", "list", "--json"))["items"]
    assert item["source"] == f"s3://call-logs/{LOGS}/10/05/12/y.json"


def test_only_partitions_of_the_window_are_read(run: Run, bucket: Any) -> None:
    for day in ("01", "05", "09"):
        at = f"2026-10-{day}T12:00:00Z"
        bucket(f"{LOGS}/10/{day}/12/x.json", lines(log(f"r{day}", at=at)))
    window = ("--since", "2026-10-05", "--until", "2026-10-06", "--jobs", "1")
    done = replay(run, "s3://call-logs", *window)
    assert (done["deliveries"], done["recorded"], done["cost_usd"]) == (1, 1, "0.0105")


def test_a_batch_job_is_one_call_of_half_the_price(run: Run, bucket: Any) -> None:
    created = {"Records": [batch_job_created()]}
    bucket("results/abcdefghwxyz/manifest.json.out", payload(batch_manifest(2, 2_000, 500)))
    bucket("results/abcdefghwxyz/a.jsonl.out", payload(batch_line(1)))
    done = replay(run, "s3://call-logs/results", "--jobs", "1")
    assert (done["calls"], done["recorded"], done["unpriced"]) == (1, 1, 1)
    assert done["cost_usd"] == "0"
    bucket("trail/x.json.gz", gzip.compress(payload(created)))
    done = replay(run, "s3://call-logs/trail", "--jobs", "1")
    # 2,000 x $0.40 and 500 x $1.60 a million.
    assert (done["upgraded"], done["unpriced"], done["cost_usd"]) == (1, -1, "0.0016")
    run("verify")


def test_a_bucket_or_folder_that_is_not_there_is_said(run: Run, bucket: Any) -> None:
    bucket("a.json", lines(log("r1")))
    run("replay", "s3://call-logs/b", code=2, error="s3://call-logs/b: no object")
    run("replay", "s3://nobodys", code=2, error="s3://nobodys: there is no such bucket")


NOTIFIED = "notified.json"


def notification(key: str) -> bytes:
    """S3's own message, as a queue's poison would be kept."""
    stored = {"bucket": {"name": "call-logs"}, "object": {"key": key, "size": 1}}
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": stored,
    }
    return json.dumps({"Records": [record]}).encode()


def quarantine(body: bytes, *, source: str, truncated: bool = False) -> None:
    """Put something aside in S3, as the worker does."""
    record = Malformed(
        path="$",
        expected="a readable object",
        found="nothing",
        body=body,
        truncated=truncated,
        position=Position(source),
    )
    put_aside(record)


def put_aside(record: Malformed) -> None:
    async def put() -> None:
        kept = S3Quarantine("s3://call-logs/aside", SystemClock())
        try:
            await kept.put([record])
        finally:
            await kept.close()

    asyncio.run(put())


@pytest.mark.parametrize("by_name", [False, True])
def test_an_object_that_was_missing_is_redriven_once_it_is_there(
    run: Run, bucket: Any, by_name: bool
) -> None:
    aside = ("--quarantine", "s3://call-logs/aside")
    bucket("a.json", lines(log("r1")))
    replay(run, "s3://call-logs/a.json", *aside)
    source = f"s3://call-logs/{NOTIFIED}"
    body = b"" if by_name else notification(NOTIFIED)
    quarantine(body, source=source if by_name else "sqs:q/1", truncated=by_name)

    def redriven() -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            run("quarantine", "redrive", "--all", "--json", *aside)
        )
        return document

    [item] = redriven()["items"]
    assert (item["result"], item["recorded"]) == ("Quarantined", 0)
    assert "notified.json" in item["reason"]
    bucket(NOTIFIED, lines(log("r2"), log("r3")))
    [item] = redriven()["items"]
    assert (item["result"], item["recorded"]) == ("Booked", 2)
    assert redriven()["items"] == []
    assert json.loads(run("report", "--format", "json"))["total"]["calls"] == 3


def test_an_object_that_is_no_log_stays_one_item_until_it_is_a_log(run: Run, bucket: Any) -> None:
    aside = ("--quarantine", "s3://call-logs/aside")
    bucket("a.json", lines(log("r1")))
    replay(run, "s3://call-logs/a.json", *aside)
    bucket("list.csv", lines(*(f"bucket,key,{number}" for number in range(300))))
    record = no_log("s3://call-logs/list.csv", "bucket,key,0")
    put_aside(record)

    def redriven() -> Any:
        document = json.loads(run("quarantine", "redrive", "--all", "--json", *aside))
        return document["items"]

    [item] = redriven()
    assert (item["result"], item["recorded"]) == ("Quarantined", 0)
    assert "expected log records, found bucket,key,0" in item["reason"]
    assert json.loads(run("quarantine", "list", "--json", *aside))["count"] == 1
    bucket("list.csv", lines(log("r2")))
    [item] = redriven()
    assert (item["result"], item["recorded"]) == ("Booked", 1)
    assert redriven() == []


def test_a_quarantine_beside_the_logs_is_not_replayed(run: Run, bucket: Any) -> None:
    aside = ("--quarantine", "s3://call-logs/aside")
    bucket("a.json", lines(log("r1"), "nonsense"))
    assert replay(run, "s3://call-logs", *aside)["quarantined"] == 1
    again = replay(run, "s3://call-logs", *aside)
    assert (again["deliveries"], again["ignored"]) == (2, 1)
    assert json.loads(run("quarantine", "list", "--json", *aside))["count"] == 1


def test_a_quarantine_in_s3_is_listed_shown_and_dropped(run: Run, bucket: Any) -> None:
    aside = ("--quarantine", "s3://call-logs/aside")
    bucket("a.json", lines(log("r1"), "nonsense"))
    assert replay(run, "s3://call-logs/a.json", *aside)["quarantined"] == 1
    (item,) = json.loads(run("quarantine", "list", "--json", *aside))["items"]
    assert item["source"] == "s3://call-logs/a.json"
    assert "nonsense" in run("quarantine", "show", item["id"][:6], *aside)
    run("quarantine", "drop", item["id"], *aside)
    assert json.loads(run("quarantine", "list", "--json", *aside))["count"] == 0
