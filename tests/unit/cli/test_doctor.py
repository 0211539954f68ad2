"""`ledgerock doctor` on a ledger in a file, without AWS; what it prints, its exit codes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.budget_books import book_now
from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import log, write
from worker.adapters.clock import SystemClock
from worker.settings import ENFORCEMENT_ENVIRONMENT, WORKER_ENVIRONMENT

NOW_MS = 1_795_348_800_000
"""2026-11-22T12:00:00Z."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SystemClock, "now_ms", lambda _self: NOW_MS)
    for name in (*WORKER_ENVIRONMENT.values(), *ENFORCEMENT_ENVIRONMENT.values()):
        monkeypatch.delenv(name, raising=False)
    for name in ("LEDGEROCK_SSM_PATH", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def examined(run: Run, *arguments: str, code: int = 0) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run("doctor", "--json", *arguments, code=code))
    return document


def ill(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {
        one["check"]: (one["verdict"], one["what"])
        for one in document["findings"]
        if one["verdict"] != "ok"
    }


def test_a_laptop_with_booked_calls_is_well(run: Run, folder: Path) -> None:
    book_now(run, folder, "r1", "r2")
    before = (folder / "ledgerock.db").read_bytes()
    document = examined(run)
    assert (document["patient"], document["well"]) == ("sqlite:ledgerock.db", True)
    assert document["counts"] == {
        "wrong": 0,
        "unknown": 0,
        "warning": 0,
        "ok": len(document["findings"]),
    }
    assert [one["what"].partition(":")[0] for one in document["unchecked"]] == [
        "what was deployed",
        "AWS",
    ]
    assert {"prices", "quarantine", "announcer", "monitor", "keys"} <= {
        one["check"] for one in document["findings"]
    }
    assert (folder / "ledgerock.db").read_bytes() == before
    assert not (folder / "ledgerock.db.quarantine").exists()


def test_unpriced_calls_and_quarantined_records_are_wrong(run: Run, folder: Path) -> None:
    write(
        folder / "logs" / "now.json",
        log("r1", at="2026-11-22T11:00:00Z"),
        log("r2", "acme.unheard-of-v1:0", at="2026-11-22T11:00:00Z"),
        log("r3", "acme.unheard-of-v1:0", at="2026-10-01T11:00:00Z"),
        {"schemaType": "ModelInvocationLog", "timestamp": "nonsense"},
    )
    run("replay", "logs")
    document = examined(run, code=1)
    assert ill(document) == {
        "prices": ("wrong", "1 calls of acme.unheard-of-v1:0 have no price"),
        "quarantine": ("wrong", "1 records are in quarantine"),
    }
    [mend] = [one["mend"] for one in document["findings"] if one["check"] == "quarantine"]
    assert mend == (
        "ledgerock quarantine list --ledger sqlite:ledgerock.db; "
        "ledgerock quarantine redrive --all --ledger sqlite:ledgerock.db"
    )
    run(*mend.partition(";")[0].split()[1:])


def test_people_read_what_is_wrong_why_and_what_mends_it(run: Run, folder: Path) -> None:
    book_now(run, folder, "r1")
    text = run("doctor", "--ledger", "sqlite:other.db", code=1)
    lines = text.splitlines()
    assert lines[0] == "USAGE"
    assert lines[1] == (
        "  wrong   sqlite:other.db: other.db: there is no such file: nothing was booked yet"
    )
    assert lines[2].startswith("          why   nothing is booked")
    assert lines[3] == "          mend  ledgerock replay LOGS --ledger sqlite:other.db"
    assert lines[-1] == "sqlite:other.db is not well: 1 wrong, 1 well"
    assert not (folder / "other.db").exists()


def test_enforcement_that_nobody_announces_for_is_wrong(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book_now(run, folder, "r1")
    monkeypatch.setenv("LEDGEROCK_ENFORCEMENT", "worker")
    monkeypatch.setenv("LEDGEROCK_OWN_ROLES", "worker")
    found = [one["what"] for one in examined(run, code=1)["findings"] if one["verdict"] == "wrong"]
    assert len(found) == 2
    assert any(one.startswith("enforcement is on (worker), and nobody announces") for one in found)
    assert any(one.startswith("LEDGEROCK_OWN_ROLES: ") for one in found)


@pytest.mark.parametrize(
    "arguments, error",
    [
        (("--stage-path", "ledgerock/dev"), "give the path of a stage's parameters"),
        (("--stage-path", "/dev"), "give the path of a stage's parameters"),
        (("--ledger", "oracle:x"), "no such ledger"),
        (("--ledger", "dynamodb:a b"), "the table prefix 'a b' will not do"),
        (("--ledger", "memory"), "and there is nothing to examine"),
        (("--stage-path", "/ledgerock/dev"), "--stage-path /ledgerock/dev: "),
    ],
)
def test_wrong_arguments_exit_with_two(run: Run, arguments: tuple[str, ...], error: str) -> None:
    run("doctor", *arguments, code=2, error=error)


def test_what_the_environment_names_is_unknown_without_credentials(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book_now(run, folder, "r1")
    monkeypatch.setenv("LEDGEROCK_QUEUES", "https://sqs.eu-west-1.amazonaws.com/1/events")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(folder / "none"))
    found = ill(examined(run, code=1))
    assert {name: verdict for name, (verdict, _) in found.items()} == dict.fromkeys(
        ("credentials", "invocation-logging", "queue", "queue-lag", "permissions"), "unknown"
    )
    assert "there are no usable AWS credentials" in found["queue"][1]


@pytest.mark.usefixtures("folder")
def test_text_that_callers_chose_does_not_reach_the_terminal_raw(run: Run, folder: Path) -> None:
    write(
        folder / "logs" / "now.json",
        log("r1", "acme.\x1b[31mred-v1:0", at="2026-11-22T11:00:00Z"),
    )
    run("replay", "logs")
    text = run("doctor", code=1)
    assert "\x1b" not in text
    assert "1 calls of acme." in text
