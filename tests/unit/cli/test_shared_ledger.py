"""The command line on the shared ledger, from an empty endpoint to sound books."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.dynamodb import client, environment_of, local_endpoint, new_prefix
from tests.unit.cli.conftest import Run
from worker.core.ledger import Leaf
from worker.ports import Verification
from worker.traffic.profile import demo_profile
from worker.traffic.traffic import Traffic


@pytest.fixture
def ledger(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in environment_of(local_endpoint()).items():
        monkeypatch.setenv(name, value)
    Traffic(demo_profile(seed=5, calls=60)).write(folder / "demo")
    return f"dynamodb:{new_prefix()}"


def test_from_missing_tables_to_sound_books(
    run: Run, folder: Path, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = ("--ledger", ledger)
    run("replay", "demo/logs", *named, code=2, error="LEDGEROCK_CREATE_TABLES=1")
    monkeypatch.setenv("LEDGEROCK_CREATE_TABLES", "1")
    booked = json.loads(run("replay", "demo/logs", *named, "--json"))
    assert booked["recorded"] > 50
    assert (folder / "ledgerock.quarantine").is_dir()
    report = json.loads(run("report", *named, "--format", "json"))
    assert report["total"]["cost_usd"] == booked["cost_usd"]
    proof = json.loads(run("verify", *named, "--json"))
    assert (proof["sound"], proof["differences"], proof["unsettled"]) == (True, [], [])
    assert proof["entries"] == booked["calls"]
    done = json.loads(run("rebook", *named, "--pending", "--json"))
    assert done["entries"] == report["total"]["unpriced_calls"] + report["total"]["unmetered_calls"]
    asyncio.run(_tamper(ledger.removeprefix("dynamodb:")))
    assert "is not sound" in run("verify", *named, code=1)


async def _tamper(prefix: str) -> None:
    async with client(local_endpoint()) as opened:
        table = f"{prefix}-balances"
        items = (await opened.scan(TableName=table))["Items"]
        payer = next(item for item in items if item["pk"]["S"].startswith("p#"))
        name = next(name for name in payer if len(name) == 15 and name[-1] == "b")
        await opened.update_item(
            TableName=table,
            Key={"pk": payer["pk"], "sk": payer["sk"]},
            UpdateExpression=f"ADD {name} :one",
            ExpressionAttributeValues={":one": {"N": "1"}},
        )


def test_what_never_held_still_is_said_and_is_no_failure(
    run: Run, ledger: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaf = Leaf("user/1/busy", "user/1/busy", "", "", "", "1", "m", 20_000)

    async def verify(_self: object) -> Verification:
        return Verification(9, 3, (), (leaf,))

    monkeypatch.setattr("worker.adapters.dynamodb_reading.DynamoBooks.verify", verify)
    text = " ".join(run("verify", "--ledger", ledger).split())
    assert "unsettled: 1 balance kept being written to" in text
    assert "every balance that held still is the sum of its entries" in text
    document = json.loads(run("verify", "--ledger", ledger, "--json"))
    assert document["sound"] is True
    assert [one["principal"] for one in document["unsettled"]] == ["user/1/busy"]
