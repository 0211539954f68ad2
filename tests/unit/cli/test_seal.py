"""`seal`, and what other commands say of what is sealed; on a real ledger."""

import asyncio
import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ALICE, SONNET_3, UNKNOWN, log, write, write_month
from worker.adapters.clock import SystemClock
from worker.bootstrap import open_quarantine
from worker.core.results import Malformed
from worker.core.seal import REASON
from worker.settings import Settings


@pytest.fixture
def booked(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four calls of October 2026 and one of November, looked at on 2027-01-15."""
    _it_is(monkeypatch, 2027, 1, 15)
    write_month(folder)
    run("replay", "logs")
    return folder


def _it_is(monkeypatch: pytest.MonkeyPatch, year: int, month: int, day: int) -> None:
    now_ms = int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1_000
    monkeypatch.setattr(SystemClock, "now_ms", lambda _self: now_ms)


def test_a_month_is_sealed_for_people(run: Run, booked: Path) -> None:
    planned = run("seal", "2026-10", "--dry-run")
    assert "everything before 2026-11-01 00:00 UTC would be sealed" in planned
    assert "nothing was changed" in planned
    text = run("seal", "2026-10")
    assert "before 2026-11-01 00:00 UTC is sealed, earlier periods included" in text
    # 0.021 + 0.00376 of October; the call of November and that without a price cost nothing here.
    assert "newly sealed: 4 balances of 4 calls, $0.02476" in text
    again = run("seal", "2026-10-31")
    assert again.splitlines()[0] == (
        "nothing to seal: everything before 2026-11-01 00:00 UTC is sealed already"
    )
    verified = run("verify")
    assert "4 balances of them sealed, as their seals say; 0 calls have no entry" in verified


def test_a_seal_as_a_document(run: Run, booked: Path) -> None:
    planned = json.loads(run("seal", "2026-10", "--dry-run", "--json", "--expire-after", "30"))
    assert (planned["dry_run"], planned["changed"], planned["entries_expired"]) == (True, True, 4)
    done = json.loads(run("seal", "2026-10", "--json"))
    assert (done["sealed_before"], done["sealed_before_previously"]) == (
        "2026-11-01T00:00:00Z",
        None,
    )
    assert (done["balances"], done["calls"], done["cost_usd"]) == (4, 4, "0.02476")
    assert (done["expire_after_days"], done["entries_kept_from"]) == (None, None)
    again = json.loads(run("seal", "2026", "--json"))
    assert again["sealed_before_previously"] == "2026-11-01T00:00:00Z"
    assert (again["calls"], again["cost_usd"]) == (1, "0.000315")
    nothing = json.loads(run("seal", "2025", "--json"))
    assert (nothing["changed"], nothing["sealed_before"]) == (False, "2027-01-01T00:00:00Z")


def test_sealed_calls_are_ignored_by_replays_and_left_by_rebook(run: Run, booked: Path) -> None:
    run("seal", "2026-10")
    before = run("report", "--format", "json")
    write(booked / "late" / "a.json", log("r9", at="2026-10-05T00:00:00Z"), log("r1"))
    done = json.loads(run("replay", "late", "--json"))
    assert (done["recorded"], done["duplicates"], done["ignored"]) == (0, 0, 2)
    assert "2 ignored: sealed: it happened before the watermark" in run("replay", "late")
    (booked / "ours.csv").write_text(
        f"model,unit,usd\n{UNKNOWN},input_tokens,2\n{UNKNOWN},output_tokens,4\n"
    )
    rebooked = json.loads(run("rebook", "--prices", "ours.csv", "--json"))
    assert (rebooked["rebooked"], rebooked["sealed"]) == (0, 1)
    assert rebooked["sealed_before"] == "2026-11-01T00:00:00Z"
    text = run("rebook", "--prices", "ours.csv")
    assert "passed over: 1 call from before 2026-11-01, sealed for good" in text
    assert run("report", "--format", "json") == before


def test_entries_go_and_balances_stay(run: Run, booked: Path) -> None:
    before = run("report", "--format", "json")
    text = run("seal", "2026-10", "--expire-after", "90")
    assert "4 entries removed: sealed, and older than 90 days" in text
    assert "entries from 2026-10-25 on (7 days before the watermark)" in text
    assert run("report", "--format", "json") == before
    verified = json.loads(run("verify", "--json"))
    assert (verified["sound"], verified["entries"]) == (True, 1)
    assert (verified["sealed_balances"], verified["sealed_calls_gone"]) == (4, 4)
    run(
        *("report", "--since", "2026-10-01T06:00"),
        code=2,
        error="of 2026-10-01 only the whole day is known; give bounds at midnight UTC",
    )
    # What only these entries named is gone from the file as well.
    assert ALICE in _bytes(booked)
    assert "arn:aws:iam::111122223333:user/alice" not in _bytes(booked)


def _bytes(folder: Path) -> str:
    return (folder / "ledgerock.db").read_bytes().decode("latin-1")


def test_verify_names_the_balance_and_its_seal(run: Run, booked: Path) -> None:
    run("seal", "2026-10")
    with sqlite3.connect(booked / "ledgerock.db") as connection:
        connection.execute(
            "UPDATE balance SET calls = calls + 1 WHERE principal = ? AND day = 20727", (ALICE,)
        )
    connection.close()
    text = run("verify", code=1)
    assert "1 balance differs from the entries, or from what a seal says" in text
    row = next(line for line in text.splitlines() if line.startswith(ALICE))
    assert row.split()[1:] == [SONNET_3, "2026-10-01", "calls", "2", "1", "2026-11-01", "1"]
    (difference,) = json.loads(run("verify", "--json", code=1))["differences"]
    assert (difference["seal"], difference["sealed"]["calls"]) == ("2026-11-01", 1)


@pytest.mark.parametrize(
    "period,problem",
    [
        ("2027-01-09", "2027-01-09 cannot be sealed before 2027-01-17"),
        ("2027-01", "2027-01 cannot be sealed before 2027-02-08"),
        ("2027", "2027 cannot be sealed before 2028-01-08"),
        ("9999-11", "9999-11 cannot be sealed before 9999-12-08"),
        ("9999-12-25", "9999-12-25 cannot be sealed before 9999-12-31"),
        ("9999-12-31", "is no period"),
        ("2026-13", "'2026-13' is no period; give a year, a month or a day in UTC"),
        ("2026-02-30", "is no period"),
        ("October", "is no period"),
        ("1969", "before there were any calls"),
    ],
)
def test_periods_that_are_none_or_not_over_yet_are_refused(
    run: Run, booked: Path, period: str, problem: str
) -> None:
    run("seal", period, code=2, error=problem)
    assert json.loads(run("seal", "2025", "--json"))["sealed_before"] == "2026-01-01T00:00:00Z"


def test_a_period_may_be_sealed_once_it_is_over_for_seven_days(run: Run, booked: Path) -> None:
    assert (
        json.loads(run("seal", "2027-01-07", "--json"))["sealed_before"] == "2027-01-08T00:00:00Z"
    )


def test_a_ledger_that_does_not_last_cannot_be_sealed(run: Run, folder: Path) -> None:
    run("seal", "2025", "--ledger", "memory", code=2, error="lives for one replay only")
    for days in ("-1", "36501"):
        run("seal", "2025", "--expire-after", days, code=2)
    assert list(folder.iterdir()) == []


def test_quarantined_calls_that_are_sealed_meanwhile_are_said_to_be_ignored(
    run: Run, booked: Path
) -> None:
    run("seal", "2026-10")
    body = json.dumps(log("r10", at="2026-10-06T00:00:00Z")).encode()
    record = Malformed("$", "what an earlier version knew", "what this one knows", body)
    quarantine = open_quarantine(Settings.read({}))
    asyncio.run(quarantine.put([record]))
    done = json.loads(run("quarantine", "redrive", "--all", "--json"))
    assert (done["booked"], done["ignored"]) == (0, 1)
    assert REASON in {one["reason"] for one in done["items"]}


def test_the_page_says_that_sealed_calls_may_be_gone(run: Run, booked: Path) -> None:
    note = "Single calls from before 2026-10-17"  # 90 days before now
    run("seal", "2026-10")
    assert note not in run("report", "--format", "html")
    run("seal", "2026-10", "--expire-after", "90")
    page = run("report", "--format", "html")
    assert note in page
    assert "though no sum leaves them out" in page
    assert note not in run("report", "--format", "html", "--since", "2026-11")


@pytest.mark.parametrize(
    "since,until",
    [
        ("2026-11-02T06:00", "2026-11-20T06:00"),
        ("2026-11-02T00:00+02:00", "2026-12-02T00:00+02:00"),
    ],
)
def test_a_page_of_days_that_are_not_sealed_needs_none_of_the_period_before(
    run: Run, booked: Path, since: str, until: str
) -> None:
    note = "not compared with the period before"
    bounds = ("--since", since, "--until", until)
    run("seal", "2026-10")
    assert note not in run("report", "--format", "html", *bounds)
    run("seal", "2026-10", "--expire-after", "0")
    assert note in run("report", "--format", "html", *bounds)
    run("report", *bounds)
    error = "only the whole day is known; give bounds at midnight UTC"
    run("report", "--format", "html", "--since", "2026-10-02T06:00", code=2, error=error)


def test_calls_without_a_price_or_counts_are_told_before_they_are_sealed(
    run: Run, booked: Path
) -> None:
    planned = run("seal", "2026-10", "--dry-run")
    assert (
        "of them 1 call unpriced would stay so for good; price them first: ledgerock rebook"
    ) in planned
    document = json.loads(run("seal", "2026-10", "--dry-run", "--json"))
    assert (document["unpriced_calls"], document["unmetered_calls"]) == (1, 0)
    assert "of them 1 call unpriced stay so for good" in run("seal", "2026-10")
    assert "of them" not in run("seal", "2026")
