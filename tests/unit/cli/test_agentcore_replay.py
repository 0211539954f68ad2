"""Replays learn who is who as the worker does; commands know what was learned."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.calls import ACCOUNT
from tests.lifecycle import AGENT, ROLE, create_runtime, create_user, delete_user, tag_user
from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import log, write

NOON_MS = 1_790_856_000_000
CALLER = {"arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/scout-role/s-1"}
TRAIL = {
    "Records": [
        create_runtime(1, at_ms=NOON_MS),
        create_user(2, at_ms=NOON_MS - 9_000),
        delete_user(3, at_ms=NOON_MS - 8_000),
        create_user(4, unique_id="AIDATWO", at_ms=NOON_MS - 7_000),
        tag_user(5, {"ledgerock:team": "research"}, at_ms=NOON_MS + 1_000),
    ]
}
LOGS = [
    log("r1", identity=CALLER, at="2026-10-01T11:59:59Z"),  # before the agent was there
    log("r2", identity=CALLER, at="2026-10-01T12:00:00Z"),
    log("r3", identity=CALLER, at="2026-10-01T12:00:05Z"),
    log("r4", at="2026-10-01T11:59:51Z"),  # the first alice
    log("r5", at="2026-10-01T12:00:01Z"),  # the second one, in a team by now
]
# Each call is 0.0105 USD.
PRINCIPALS = {
    AGENT: "0.021",
    ROLE: "0.0105",
    f"user/{ACCOUNT}/alice": "0.0105",
    f"user/{ACCOUNT}/alice/AIDATWO": "0.0105",
}


def rows(run: Run, by: str, *more: str) -> dict[str, str]:
    found: list[dict[str, Any]] = json.loads(run("report", "--by", by, "--format", "json", *more))[
        "rows"
    ]
    return {row["key"]: row["cost_usd"] for row in found}


@pytest.mark.parametrize("order", [("trail", "logs"), ("logs", "trail")], ids=str)
def test_agentcore_events_of_a_replay_say_whose_calls_are_in_any_order(
    run: Run, folder: Path, order: tuple[str, str]
) -> None:
    write(folder / "logs" / "1.json", *LOGS)
    write(folder / "trail" / "1.json", TRAIL)
    for name in order:
        run("replay", name)
    assert rows(run, "principal") == PRINCIPALS
    assert rows(run, "team")["research"] == "0.0105"
    run("verify")
    # A rebooking knows all of it, and so does a second time.
    assert json.loads(run("rebook", "--json"))["rebooked"] == 0
    again = json.loads(run("replay", "logs", "trail", "--json"))
    assert (again["recorded"], again["cost_usd"]) == (0, "0")
    # A fresh replay of the same, all at once, gives the same books.
    fresh = json.loads(run("replay", "logs", "trail", "--json", "--ledger", "sqlite:fresh.db"))
    assert fresh["cost_usd"] == "0.0525"
    assert {one["key"]: one["cost_usd"] for one in fresh["by_principal"]} == PRINCIPALS
    assert rows(run, "principal", "--ledger", "sqlite:fresh.db") == PRINCIPALS


def test_agentcore_events_of_a_replay_into_memory_count_too(run: Run, folder: Path) -> None:
    write(folder / "logs" / "1.json", *LOGS)
    write(folder / "trail" / "1.json", TRAIL)
    found = json.loads(run("replay", "logs", "trail", "--json", "--ledger", "memory"))
    costs = {one["key"]: one["cost_usd"] for one in found["by_principal"]}
    assert {key: cost for key, cost in costs.items() if cost != "0"} == PRINCIPALS


def test_agentcore_and_keys_may_be_switched_off(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGEROCK_AGENTS", "0")
    monkeypatch.setenv("LEDGEROCK_KEYS", "0")
    write(folder / "logs" / "1.json", *LOGS)
    write(folder / "trail" / "1.json", TRAIL)
    run("replay", "trail", "logs")
    assert rows(run, "principal") == {ROLE: "0.0315", f"user/{ACCOUNT}/alice": "0.021"}


def test_agentcore_events_are_explained(run: Run, folder: Path) -> None:
    write(folder / "trail.json", TRAIL)
    found = [json.loads(line) for line in run("explain", "trail.json").splitlines()]
    assert [one["result"] for one in found] == ["Ignored"] * 5
    assert found[0]["reason"].startswith(f"says of {AGENT}: created, with role arn:aws:iam::")
    assert found[0]["path"] == "$.Records[0]"
    assert found[2]["reason"] == f"says of user/{ACCOUNT}/alice: deleted"
    assert found[4]["reason"] == (f"says of user/{ACCOUNT}/alice: tagged ledgerock:team=research")
