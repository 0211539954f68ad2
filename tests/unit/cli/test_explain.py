import gzip
import json
import os
from pathlib import Path
from typing import Any

import msgspec

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ALICE, SONNET_3, UNKNOWN, lines, log


def documents(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_call_from_standard_input_is_explained_in_full(run: Run) -> None:
    (call,) = documents(run("explain", stdin=lines(log("r1"))))
    rates = call.pop("rates")
    assert call == {
        "namespace": "aws",
        "account": "111122223333",
        "request_id": "r1",
        "occurred_at": "2026-10-01T12:00:00Z",
        "region": "us-east-1",
        "identity": ALICE,
        "principal": ALICE,
        "model": SONNET_3,
        "model_id": SONNET_3,
        "routing": "regional",
        "service_tier": "standard",
        "tokens": {
            "input_tokens": 1_000,
            "output_tokens": 500,
            "cache_read_tokens": 0,
            "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 0,
        },
        "units": {},
        "evidence": "metered",
        "status": "priced",
        "cost_usd": "0.0105",
        "reason": "",
        "operation": "Converse",
        "identity_arn": "arn:aws:iam::111122223333:user/alice",
    }
    assert [(rate["unit"], rate["quantity"], rate["usd_per_unit"]) for rate in rates] == [
        ("input_tokens", 1_000, "0.000003"),
        ("output_tokens", 500, "0.000015"),
    ]
    assert all(rate["source"] and rate["effective_from"] for rate in rates)


def test_records_of_one_call_become_one_document_in_the_order_first_seen(
    run: Run, folder: Path
) -> None:
    twin = log("r1", tokens=(None, None))
    content = lines(twin, log("r2"), log("r1"), "oops")
    (folder / "log.json.gz").write_bytes(gzip.compress(content))
    first, second, third = documents(run("explain", "log.json.gz"))
    assert (first["request_id"], first["cost_usd"], first["evidence"]) == (
        "r1",
        "0.0105",
        "metered",
    )
    assert second["request_id"] == "r2"
    assert third["result"] == "Quarantined"
    assert third["path"] == "$"
    assert (third["source"], third["line"]) == ("log.json.gz", 4)


def test_several_files_are_explained_together(run: Run, folder: Path) -> None:
    (folder / "twin.json").write_bytes(lines(log("r1", tokens=(None, None))))
    (folder / "log.json").write_bytes(lines(log("r1"), log("r2")))
    calls = documents(run("explain", "twin.json", "log.json"))
    assert [(call["request_id"], call["evidence"]) for call in calls] == [
        ("r1", "metered"),
        ("r2", "metered"),
    ]


def test_an_event_that_is_no_call_is_ignored_with_the_reason(run: Run) -> None:
    event = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "logs"}
    (document,) = documents(run("explain", "-", stdin=lines(event)))
    assert document["result"] == "Ignored"
    assert document["reason"]
    assert document["path"] == "$"


def test_prices_of_ones_own_are_used(run: Run, folder: Path) -> None:
    unpriced = lines(log("r1", UNKNOWN, (1_000_000, 1_000_000)))
    (before,) = documents(run("explain", stdin=unpriced))
    assert (before["status"], before["cost_usd"]) == ("unpriced", None)
    (folder / "ours.csv").write_text(
        f"model,unit,usd\n{UNKNOWN},input_tokens,0.5\n{UNKNOWN},output_tokens,1.25\n"
    )
    (after,) = documents(run("explain", "--prices", "ours.csv", stdin=unpriced))
    assert (after["status"], after["cost_usd"]) == ("priced", "1.75")


def test_text_of_callers_cannot_reach_the_terminal_as_commands(run: Run) -> None:
    record = log("r1", requestMetadata={"note": "\x1b[2J\u009bgone"})
    text = run("explain", stdin=lines(record))
    assert text.isascii()
    assert "\x1b" not in text
    assert documents(text)[0]["request_metadata"] == {"note": "\x1b[2J\u009bgone"}


def test_a_file_that_cannot_be_read_is_said(run: Run, folder: Path) -> None:
    run("explain", "none.json", code=2, error="none.json: cannot be read")
    (folder / "logs").mkdir()
    run("explain", "logs", code=2, error="logs: cannot be read")


def test_names_of_files_that_are_no_unicode_leave_the_json_readable(run: Run, folder: Path) -> None:
    name = os.fsdecode(b"caf\xe9.json")
    (folder / name).write_bytes(b"not JSON at all")
    text = run("explain", name)
    assert json.loads(text)["source"] == "caf\\udce9.json"
    text.encode("utf-8")
    assert msgspec.json.decode(text)["source"] == "caf\\udce9.json"
