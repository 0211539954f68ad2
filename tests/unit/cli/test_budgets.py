import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.dynamodb import environment_of, local_endpoint, new_prefix
from tests.unit.cli.budget_books import ALICES, NOW, NOW_MS, book_now, listed, put, shown
from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import log, write
from worker.adapters.clock import SystemClock
from worker.adapters.file_bus import FileBus
from worker.adapters.sqlite_state import SqliteBudgets, SqliteOutbox, StateFile
from worker.cli import budgets_set
from worker.core.budget_terms import Budget, Scope
from worker.core.errors import TransientError

REGISTRY = """
[[principals]]
match = "user/111122223333/alice"
team = "research"

[[calendars]]
scope = "team/research"
time_zone = "Pacific/Apia"
"""


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand still, so that no period turns while a test runs."""
    monkeypatch.setattr(SystemClock, "now_ms", lambda _self: NOW_MS)


def test_a_budget_is_made_before_anything_is_booked(run: Run, folder: Path) -> None:
    done = put(run, "research", "--scope", "team/research", "--limit", "500.000000000001")
    assert (done["result"], done["crossings"]) == ("created", [])
    budget = done["budget"]
    assert budget == {
        "name": "research",
        "scope": "team/research",
        "limit_usd": "500.000000000001",
        "limit": "500.000000000001",
        "unit": "usd",
        "action": "notify",
        "grace_seconds": 0,
        "forecast": False,
        "origin": None,
        "period": "monthly",
        "anchor": None,
        "thresholds": [70, 90, 100],
        "revision": 1,
        "created_at": NOW,
        "removed": False,
        "first_day": "2026-11-01",
        "last_day": "2026-11-30",
        "start": "2026-11-01T00:00:00Z",
        "end": "2026-12-01T00:00:00Z",
        "time_zone": "UTC",
        "spent_usd": "0",
        "spent": "0",
        "percent": "0",
        "state": "ok",
        "deadline": None,
    }
    assert listed(run) == [budget]
    assert (folder / "ledgerock.db").exists()


def test_a_budget_made_in_mid_period_says_what_is_spent_already(run: Run, folder: Path) -> None:
    book_now(run, folder, "r1", "r2")
    done = put(run, "alice", "--scope", ALICES, "--limit", "0.0233", "--thresholds", "50,90,120")
    assert done["budget"]["spent_usd"] == "0.021"
    assert (done["budget"]["percent"], done["budget"]["state"]) == ("90.1287", "critical")
    assert [(one["threshold"], one["level"], one["state"]) for one in done["crossings"]] == [
        (50, "warning", "pending"),
        (90, "critical", "pending"),
    ]
    assert shown(run, "alice")["crossings"] == done["crossings"]
    again = put(run, "alice", "--limit", "0.0233")
    assert (again["result"], again["crossings"]) == ("unchanged", [])
    assert again["budget"] == done["budget"]


def test_what_is_not_given_stays_and_a_change_is_a_new_revision(run: Run, folder: Path) -> None:
    book_now(run, folder, "r1")
    put(run, "a", "--scope", ALICES, "--limit", "0.021", "--period", "weekly", "--thresholds", "50")
    done = put(run, "a", "--limit", "0.0105")
    budget = done["budget"]
    assert (done["result"], budget["revision"], budget["limit_usd"]) == ("changed", 2, "0.0105")
    assert (budget["scope"], budget["period"], budget["thresholds"]) == (ALICES, "weekly", [50])
    assert budget["state"] == "exceeded"
    crossings = shown(run, "a")["crossings"]
    assert [(one["revision"], one["threshold"]) for one in crossings] == [(1, 50), (2, 50)]
    assert len({one["event_id"] for one in crossings}) == 2


def test_n_day_periods_begin_today_or_where_they_are_anchored(run: Run) -> None:
    first = put(run, "a", "--scope", "everything", "--limit", "1", "--period", "14-day")["budget"]
    assert (first["anchor"], first["first_day"]) == ("2026-11-22", "2026-11-22")
    moved = put(run, "a", "--anchor", "2026-11-02")
    assert (moved["result"], moved["budget"]["anchor"]) == ("changed", "2026-11-02")
    assert put(run, "a", "--period", "14-day")["result"] == "unchanged"
    monthly = put(run, "a", "--period", "monthly")["budget"]
    assert (monthly["period"], monthly["anchor"]) == ("monthly", None)


def test_the_registry_says_whose_days_count(run: Run, folder: Path) -> None:
    (folder / "registry.toml").write_text(REGISTRY)
    named = ("--registry", "registry.toml")
    done = put(run, "team", "--scope", "team/research", "--limit", "1", "--period", "daily", *named)
    assert done["budget"]["time_zone"] == "Pacific/Apia"
    assert done["budget"]["start"] == "2026-11-22T11:00:00Z"
    assert listed(run, *named)[0]["time_zone"] == "Pacific/Apia"
    assert "Pacific/Apia" in run("budgets", "show", "team", *named)


def test_the_list_says_how_every_budget_stands(run: Run, folder: Path) -> None:
    book_now(run, folder, "r1")
    put(run, "b", "--scope", "everything", "--limit", "1")
    put(run, "a", "--scope", ALICES, "--limit", "0.0105")
    put(run, "c", "--scope", "everything", "--limit", "1")
    run("budgets", "remove", "c")
    assert [(one["name"], one["state"]) for one in listed(run)] == [("a", "exceeded"), ("b", "ok")]
    text = run("budgets", "list")
    [a, b] = [line.split() for line in text.splitlines() if line.startswith(("a ", "b "))]
    assert a[1] == ALICES
    assert (a[-1], b[-1]) == ("exceeded", "ok")
    assert "100%" in a
    assert "1.0%" in b
    assert "2 budgets, 1 exceeded" in text


def test_one_budget_is_shown_to_people(run: Run, folder: Path) -> None:
    book_now(run, folder, "r1")
    text = run("budgets", "set", "a", "--scope", ALICES, "--limit", "0.015")
    assert f"a is set: {ALICES} may spend $0.015, monthly; thresholds 70 %, 90 %, 100 %" in text
    assert "spent $0.0105 of $0.015 (70%) from" in text
    assert "* 70 % is crossed (warning); pending" in text
    text = run("budgets", "show", "a")
    assert "budget:     a, revision 1" in text
    assert "state:      warning" in text
    assert "70 %" in text
    assert "pending" in text
    run("budgets", "set", "b", "--scope", "everything", "--limit", "5", "--period", "2-day")
    text = run("budgets", "show", "b")
    assert "no threshold was ever crossed" in text
    assert "anchor:" in text


def test_a_removed_budget_is_gone_and_comes_back_as_a_later_revision(
    run: Run, folder: Path
) -> None:
    book_now(run, folder, "r1")
    put(run, "a", "--scope", ALICES, "--limit", "0.0105", "--period", "daily")
    done = json.loads(run("budgets", "remove", "a", "--json"))
    assert (done["result"], done["budget"]["revision"], done["budget"]["removed"]) == (
        "removed",
        2,
        True,
    )
    assert json.loads(run("budgets", "remove", "a", "--json"))["result"] == "unchanged"
    assert run("budgets", "remove", "a") == "a was removed already\n"
    assert listed(run) == []
    assert "there are no budgets" in run("budgets", "list")
    gone = shown(run, "a")
    assert (gone["removed"], len(gone["crossings"])) == (True, 3)
    assert "spent_usd" not in gone
    assert "state:      removed" in run("budgets", "show", "a")
    run("budgets", "set", "a", "--limit", "1", code=2, error="there is no budget a yet")
    back = put(run, "a", "--scope", "everything", "--limit", "0.0105")
    assert (back["result"], back["budget"]["revision"]) == ("created", 3)
    assert (back["budget"]["period"], len(back["crossings"])) == ("monthly", 3)
    assert len(shown(run, "a")["crossings"]) == 6


def test_a_new_budget_is_announced_as_well(run: Run, folder: Path) -> None:
    put(run, "a", "--scope", "everything", "--limit", "1")
    put(run, "a", "--limit", "2")
    run("budgets", "remove", "a")
    put(run, "a", "--scope", "everything", "--limit", "2")
    assert asyncio.run(_initialized(folder)) == [1, 4]


async def _initialized(folder: Path) -> list[int]:
    file = StateFile(folder / "ledgerock.db")
    notices = await SqliteOutbox(file).about("budget/a")
    await file.close()
    assert {one.detail_type for one in notices} == {"Budget Initialized"}
    return sorted(json.loads(bytes(one.detail))["budget"]["revision"] for one in notices)


def test_a_race_is_run_again(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(run, "a", "--scope", "everything", "--limit", "1")
    real, times = SqliteBudgets.put, 0

    async def overtaken(self: SqliteBudgets, budget: Budget) -> bool:
        nonlocal times
        times += 1
        if times == 1:
            other = Budget("a", Scope("everything"), 3 * 10**12, revision=2)
            assert await real(self, other)
        return await real(self, budget)

    monkeypatch.setattr(SqliteBudgets, "put", overtaken)
    done = put(run, "a", "--limit", "2")
    assert (done["budget"]["revision"], done["budget"]["limit_usd"]) == (3, "2")


def test_who_is_never_first_is_told_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    put(run, "a", "--scope", "everything", "--limit", "1")

    async def late(self: SqliteBudgets, budget: Budget) -> bool:
        return False

    monkeypatch.setattr(SqliteBudgets, "put", late)
    monkeypatch.setattr(budgets_set, "ATTEMPTS", 3)
    for command in (("set", "a", "--limit", "2"), ("remove", "a")):
        run("budgets", *command, code=1, error="others are changing it at the same time")


@pytest.mark.parametrize(
    "arguments,error",
    [
        (("set", "a b", "--scope", "everything", "--limit", "1"), "the budget name 'a b'"),
        (("set", "a", "--limit", "1"), "give --scope and --limit"),
        (("set", "a", "--scope", "everything"), "give --scope and --limit"),
        (("set", "a", "--scope", "team", "--limit", "1"), "the scope 'team' is none"),
        (("set", "a", "--scope", "everything", "--limit", "5e2"), "--limit"),
        (("set", "a", "--scope", "everything", "--limit", "nan"), "--limit"),
        (("set", "a", "--scope", "everything", "--limit", "0"), "the limit is 0 USD"),
        (("set", "a", "--scope", "everything", "--limit=-1"), "the limit is -1 USD"),
        (("set", "a", "--scope", "everything", "--limit", "0.0000000000001"), "12 decimals"),
        (("set", "a", "--scope", "everything", "--limit", "1", "--period", "x"), "'x' is none"),
        (
            ("set", "a", "--scope", "everything", "--limit", "1", "--anchor", "2026-11-02"),
            "only an N-day period has an anchor",
        ),
        (("set", "a", "--scope", "everything", "--limit", "1", "--anchor", "11/2"), "no date"),
        (("set", "a", "--scope", "everything", "--limit", "1", "--anchor", "2026-02-30"), "time"),
        (
            ("set", "a", "--scope", "everything", "--limit", "1", "--thresholds", "90,70"),
            "ascending",
        ),
        (
            ("set", "a", "--scope", "everything", "--limit", "1", "--thresholds", "7.5"),
            "--thresholds",
        ),
        (
            ("set", "a", "--scope", "everything", "--limit", "1", "--ledger", "memory"),
            "--ledger memory",
        ),
        (("list", "--ledger", "memory"), "--ledger memory"),
        (("list",), "there is no such file"),
        (("show", "a"), "there is no such file"),
        (("remove", "a"), "there is no such file"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    run: Run, folder: Path, arguments: tuple[str, ...], error: str
) -> None:
    assert run("budgets", *arguments, code=2, error=error) == ""
    if (folder / "ledgerock.db").exists():
        assert listed(run) == []


def test_unknown_names_are_refused(run: Run) -> None:
    put(run, "a", "--scope", "everything", "--limit", "1")
    for command in ("show", "remove"):
        run("budgets", command, "b", code=2, error="b: no such budget")


# --- Replays -----------------------------------------------------------------------------------


@pytest.fixture
def bus(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    path = folder / "events.jsonl"
    monkeypatch.setenv("LEDGEROCK_BUS", f"file:{path}")
    return path


def events(bus: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bus.read_text().splitlines()]


def write_both(folder: Path) -> None:
    """Write a call of now and one of a month that is over; 0.0105 each."""
    write(folder / "logs" / "a.json", log("old", at="2025-10-01T12:00:00Z"), log("new", at=NOW))


def test_a_plain_replay_writes_down_what_is_late_and_nothing_else(
    run: Run, folder: Path, bus: Path
) -> None:
    put(run, "a", "--scope", ALICES, "--limit", "0.0105", "--thresholds", "100")
    write_both(folder)
    document = json.loads(run("replay", "logs", "--json"))
    assert "crossings" not in document
    [crossing] = shown(run, "a")["crossings"]
    assert (crossing["first_day"], crossing["state"]) == ("2025-10-01", "late")
    assert not bus.exists()


def test_a_replay_announces_where_it_is_asked_to(run: Run, folder: Path, bus: Path) -> None:
    put(run, "a", "--scope", ALICES, "--limit", "0.0105", "--thresholds", "100")
    write_both(folder)
    text = run("replay", "logs", "--announce")
    assert "2 thresholds newly crossed" in text
    assert "2 events announced" in text
    states = {one["first_day"]: one["state"] for one in shown(run, "a")["crossings"]}
    assert states.pop("2025-10-01") == "late"
    assert list(states.values()) == ["announced"]
    assert sorted(event["detail-type"] for event in events(bus)) == [
        "Budget Initialized",
        "Budget Threshold Crossed",
    ]
    assert "announced 20" in run("budgets", "show", "a")
    again = json.loads(run("replay", "logs", "--announce", "--json"))
    assert (again["crossings"], again["announced"], again["unannounced"]) == (0, 0, 0)
    assert len(events(bus)) == 2


def test_a_dry_run_finds_nothing_and_announces_nothing(run: Run, folder: Path, bus: Path) -> None:
    put(run, "a", "--scope", ALICES, "--limit", "0.0105")
    write_both(folder)
    run("replay", "logs", "--announce", "--dry-run")
    assert shown(run, "a")["crossings"] == []
    assert not bus.exists()


def test_a_bus_that_fails_is_said_and_makes_up_for_it_later(
    run: Run, folder: Path, bus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(run, "a", "--scope", ALICES, "--limit", "0.0105", "--thresholds", "100")
    write_both(folder)

    async def fail(*_arguments: object) -> list[str]:
        raise TransientError("the bus is on strike")

    with monkeypatch.context() as patch:
        patch.setattr(FileBus, "publish", fail)
        text = run("replay", "logs", "--announce", "--json", code=1, error="the bus is on strike")
    document = json.loads(text)
    assert (document["recorded"], document["announced"], document["unannounced"]) == (2, 0, 2)
    done = json.loads(run("replay", "logs", "--announce", "--json"))
    assert (done["recorded"], done["announced"]) == (0, 2)


def test_a_budget_may_announce_at_once(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book_now(run, folder, "r1")
    named = ("a", "--scope", ALICES, "--limit", "0.0105", "--thresholds", "100")

    async def fail(*_arguments: object) -> list[str]:
        raise TransientError("the bus is on strike")

    with monkeypatch.context() as patch:
        patch.setattr(FileBus, "publish", fail)
        run("budgets", "set", *named, "--bus", "file:e.jsonl", code=1, error="is on strike")
    assert [one["state"] for one in shown(run, "a")["crossings"]] == ["pending"]
    assert put(run, *named, "--bus", "file:e.jsonl")["result"] == "unchanged"
    assert len(events(folder / "e.jsonl")) == 2
    assert [one["state"] for one in shown(run, "a")["crossings"]] == ["announced"]
    done = put(run, "a", "--limit", "0.01", "--bus", "file:e.jsonl")
    assert [one["state"] for one in done["crossings"]] == ["announced"]
    assert len(events(folder / "e.jsonl")) == 3


def test_announcing_needs_a_bus_and_a_ledger(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LEDGEROCK_BUS", raising=False)
    write_both(folder)
    run("replay", "logs", "--announce", code=2, error="there is no bus to announce on")
    run("replay", "logs", "--announce", "--ledger", "memory", code=2, error="keeps no budgets")


def test_a_look_that_fails_in_passing_is_made_again_and_counts_stay_right(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(run, "a", "--scope", ALICES, "--limit", "0.0105")
    write_both(folder)
    real, faults = SqliteOutbox.put, 2

    async def throttled(self: SqliteOutbox, notices: Any) -> Any:
        nonlocal faults
        if faults:
            faults -= 1
            raise TransientError("locked")
        return await real(self, notices)

    monkeypatch.setattr(SqliteOutbox, "put", throttled)
    monkeypatch.setattr("worker.replay.budgets.RETRY_SECONDS", 0)
    done = json.loads(run("replay", "logs", "--json"))
    assert (done["recorded"], done["duplicates"], faults) == (2, 0, 0)
    assert len(shown(run, "a")["crossings"]) == 3


# --- The shared ledger -------------------------------------------------------------------------


def test_budgets_on_the_shared_ledger(
    run: Run, folder: Path, bus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(local_endpoint()).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LEDGEROCK_LEDGER", f"dynamodb:{new_prefix()}")
    named = ("--scope", ALICES, "--limit", "0.0105", "--thresholds", "100")
    run("budgets", "set", "a", *named, code=2, error="LEDGEROCK_CREATE_TABLES=1")
    monkeypatch.setenv("LEDGEROCK_CREATE_TABLES", "1")
    assert put(run, "a", *named)["result"] == "created"
    write_both(folder)
    done = json.loads(run("replay", "logs", "--announce", "--json"))
    assert (done["crossings"], done["announced"], done["unannounced"]) == (2, 2, 0)
    budget = shown(run, "a")
    assert (budget["spent_usd"], budget["state"]) == ("0.0105", "exceeded")
    assert sorted(one["state"] for one in budget["crossings"]) == ["announced", "late"]
    assert len(events(bus)) == 2
