"""`verify` and `rebook` on a real ledger."""

import json
import sqlite3
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ACCOUNT, ALICE, BEN, UNKNOWN, log, write, write_month

AGENT = f"agent/{ACCOUNT}/us-east-1/HELPDESK01"


@pytest.fixture
def booked(run: Run, folder: Path) -> Path:
    write_month(folder)
    run("replay", "logs")
    return folder


def test_a_sound_ledger_is_said_to_be_sound(run: Run, booked: Path) -> None:
    assert "sqlite:ledgerock.db is sound: 5 entries" in run("verify")
    document = json.loads(run("verify", "--json"))
    assert (document["sound"], document["entries"], document["differences"]) == (True, 5, [])


def test_a_balance_that_was_tampered_with_is_found(run: Run, booked: Path) -> None:
    with sqlite3.connect(booked / "ledgerock.db") as connection:
        changed = connection.execute(
            "UPDATE balance SET calls = calls + 1 WHERE principal = ? AND day = 20727", (ALICE,)
        )
        assert changed.rowcount == 1
    connection.close()
    text = run("verify", code=1)
    assert "is not sound: 1 balance differs from the entries" in text
    row = next(line for line in text.splitlines() if line.startswith(ALICE))
    assert row.split()[-4:] == ["2026-10-01", "calls", "2", "1"]
    (difference,) = json.loads(run("verify", "--json", code=1))["differences"]
    assert difference["leaf"]["principal"] == ALICE
    assert difference["leaf"]["day"] == "2026-10-01"
    assert (difference["balance"]["calls"], difference["entries"]["calls"]) == (2, 1)


def test_rebook_prices_what_had_no_price(run: Run, booked: Path) -> None:
    # 10 in and 20 out at USD 2 and 4 a million: 0.00002 + 0.00008 = 0.0001.
    (booked / "ours.csv").write_text(
        f"model,unit,usd\n{UNKNOWN},input_tokens,2\n{UNKNOWN},output_tokens,4\n"
    )
    arguments = ("rebook", "--prices", "ours.csv")
    planned = json.loads(run(*arguments, "--dry-run", "--json"))
    assert (planned["rebooked"], planned["cost_usd"], planned["dry_run"]) == (1, "0.0001", True)
    assert "unpriced" in run("report", "--by", "model")

    done = json.loads(run(*arguments, "--json"))
    assert (done["entries"], done["rebooked"], done["cost_usd"]) == (5, 1, "0.0001")
    (model,) = done["by_model"]
    assert model["key"] == UNKNOWN
    assert (model["before"]["cost_usd"], model["before"]["unpriced_calls"]) == ("0", 1)
    assert (model["after"]["cost_usd"], model["after"]["unpriced_calls"]) == ("0.0001", 0)
    total = json.loads(run("report", "--format", "json"))["total"]
    assert (total["cost_usd"], total["unpriced_calls"]) == ("0.025175", 0)
    run("verify")
    assert "nothing to rebook: 5 calls looked at" in run(*arguments)


def test_rebook_shows_before_and_after_to_people(run: Run, booked: Path) -> None:
    (booked / "ours.csv").write_text(f"model,unit,usd\n{UNKNOWN},output_tokens,4\n")
    text = run("rebook", "--prices", "ours.csv", "--dry-run")
    assert "1 of 5 calls would change: +$0.00008" in text
    row = next(line for line in text.splitlines() if line.startswith(UNKNOWN))
    assert row.split()[1:5] == ["1", "unknown", "1", "$0.00008"]
    assert "nothing was changed" in text


def test_rebook_attributes_anew(run: Run, booked: Path) -> None:
    (booked / "registry.toml").write_text(
        f"""
        [[principals]]
        match = "{BEN}"
        team = "support"
        """
    )
    moved = json.loads(run("rebook", "--registry", "registry.toml", "--json"))
    assert (moved["rebooked"], moved["cost_usd"]) == (3, "0")
    teams = json.loads(run("report", "--by", "team", "--format", "json"))["rows"]
    assert [(row["key"], row["cost_usd"]) for row in teams] == [
        ("", "0.021"),
        ("support", "0.004075"),
    ]


def test_rebook_does_not_forget_who_pays_unless_that_is_meant(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"arn:aws:sts::{ACCOUNT}:assumed-role/HelpdeskRole/session-1"
    write(folder / "one.json", log("r1", identity={"arn": role}))
    (folder / "registry.toml").write_text(
        f"""
        [[agents]]
        id = "{AGENT}"
        name = "helpdesk"
        role_arns = ["arn:aws:iam::{ACCOUNT}:role/HelpdeskRole"]
        """
    )
    run("replay", "one.json", "--registry", "registry.toml")
    assert AGENT in run("report")
    text = run("rebook", "--dry-run", error="no --registry was given")
    assert [line.split()[0] for line in text.splitlines() if "$0.0105" in line] == [
        AGENT,
        f"role/{ACCOUNT}/HelpdeskRole",
    ]
    before = run("report", "--format", "json")
    run("rebook", code=2, error="would be forgotten; give --registry FILE, or --no-registry")
    assert run("report", "--format", "json") == before
    both = ("rebook", "--registry", "registry.toml", "--no-registry")
    run(*both, code=2, error="not both")
    assert "nothing to rebook" in run("rebook", "--registry", "registry.toml")
    monkeypatch.setenv("LEDGEROCK_REGISTRY", "registry.toml")
    assert "nothing to rebook" in run("rebook")
    assert "1 of 1 call rebooked" in run("rebook", "--no-registry")
    assert AGENT not in run("report")


def test_rebook_keeps_to_its_window(run: Run, booked: Path) -> None:
    (booked / "ours.csv").write_text("model,unit,usd\namazon.nova-micro-v1:0,input_tokens,1\n")
    arguments = ("rebook", "--prices", "ours.csv", "--dry-run", "--json")
    assert json.loads(run(*arguments, "--until", "2026-11"))["rebooked"] == 0
    # 5,000 tokens at USD 1 instead of 0.035 a million: 0.005 - 0.000175.
    changed = json.loads(run(*arguments, "--since", "2026-11"))
    assert (changed["rebooked"], changed["cost_usd"]) == (1, "0.004825")


def test_rebook_cuts_no_figure_on_a_narrow_terminal(
    run: Run, booked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (booked / "ours.csv").write_text("model,unit,usd\namazon.nova-micro-v1:0,input_tokens,1\n")
    monkeypatch.setattr("worker.cli.output.WIDTH_UNKNOWN", 80)
    text = run("rebook", "--prices", "ours.csv", "--dry-run")
    row = next(line for line in text.splitlines() if line.startswith(BEN))
    assert row.split()[1:] == ["1", "$0.000315", "1", "$0.005140"]
