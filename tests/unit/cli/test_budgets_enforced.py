"""Budgets that suspend, in any unit and over any window, on the command line."""

import asyncio
from pathlib import Path

import pytest

from tests.unit.cli.budget_books import ALICES, NOW_MS, book_now, listed, put, shown
from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ALICE, SONNET_3
from worker.adapters.clock import SystemClock
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.adapters.sqlite_records import SqliteRecords
from worker.adapters.sqlite_state import SqliteBudgets, SqliteOutbox, StateFile
from worker.core.registry import EMPTY_REGISTRY
from worker.monitor import Monitor
from worker.pipeline.budget_looks import KNOWN_MS, LATER_MS
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.suspensions import Suspensions


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand still, so that no period turns while a test runs."""
    monkeypatch.setattr(SystemClock, "now_ms", lambda _self: NOW_MS)


class Worker:
    """What a worker does beside the command line: it announces, and monitors."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path, self.now = folder / "ledgerock.db", NOW_MS
        monkeypatch.setattr(SystemClock, "now_ms", lambda _self: self.now)

    def now_ms(self) -> int:
        return self.now

    def work(self, seconds: int = 0) -> list[str]:
        """Let time pass, monitor and announce; return who is held, and by which budgets."""
        self.now += seconds * 1_000
        return asyncio.run(self._work())

    async def _work(self) -> list[str]:
        file, ledger = StateFile(self.path), SqliteLedger(self.path)
        try:
            records, outbox = SqliteRecords(file), SqliteOutbox(file)
            budgets = SqliteBudgets(file)
            holds = Suspensions(records=records, outbox=outbox, clock=self)
            watch = BudgetWatch(
                ledger=ledger,
                budgets=budgets,
                outbox=outbox,
                records=records,
                clock=self,
                registry=lambda: EMPTY_REGISTRY,
            )
            monitor = Monitor(
                budgets=budgets,
                watch=watch,
                holds=holds,
                outbox=outbox,
                clock=self,
                registry=lambda: EMPTY_REGISTRY,
            )
            assert not (await monitor.run_due()).failed
            async for notices in outbox.due(self.now):
                for notice in notices:
                    await outbox.settle(notice, "announced", self.now)
            return [hold.budget for hold in (await holds.get(ALICE)).holds]
        finally:
            await file.close()
            await ledger.close()


ENFORCED = ("--scope", ALICES, "--limit", "0.01", "--action", "suspend", "--grace", "2h")


def test_a_changed_limit_acts_at_once_in_both_directions(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(folder, monkeypatch)
    book_now(run, folder, "1")
    done = put(run, "a", *ENFORCED)["budget"]
    assert (done["action"], done["grace_seconds"], done["state"]) == (
        "suspend",
        7_200,
        "grace_period",
    )
    assert done["deadline"] is None
    assert worker.work() == worker.work(1) == []
    assert shown(run, "a")["deadline"] == "2026-11-22T14:00:00Z"
    text = run("budgets", "show", "a")
    assert "action:     suspend, 2 hours after that is told" in text
    assert "state:      grace period until 2026-11-22T14:00:00Z" in text
    assert worker.work(7_200) == ["a"]
    assert (shown(run, "a")["state"], listed(run)[0]["state"]) == ("suspended", "suspended")
    assert "1 budget, 1 exceeded" in run("budgets", "list")
    assert put(run, "a", "--limit", "1")["budget"]["state"] == "ok"
    assert worker.work() == []
    assert put(run, "a", "--limit", "0.01")["budget"]["state"] == "grace_period"


@pytest.mark.parametrize("change", [("remove", "a"), ("set", "a", "--action", "notify")])
def test_a_budget_that_suspends_no_longer_lets_go_at_once(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, ...]
) -> None:
    worker = Worker(folder, monkeypatch)
    book_now(run, folder, "1")
    put(run, "a", *ENFORCED, "--grace", "0")
    worker.work()
    assert worker.work() == ["a"]
    run("budgets", *change)
    assert asyncio.run(holds_of(worker)) == 0
    assert worker.work() == []


async def holds_of(worker: Worker) -> int:
    """Return how many holds there are, before any monitor ran."""
    file = StateFile(worker.path)
    try:
        holds = Suspensions(records=SqliteRecords(file), outbox=SqliteOutbox(file), clock=worker)
        return len((await holds.get(ALICE)).holds)
    finally:
        await file.close()


def test_what_rebooking_moves_over_a_limit_is_found(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(folder, monkeypatch)
    book_now(run, folder, "1")
    put(run, "a", "--scope", ALICES, "--limit", "0.02", "--thresholds", "100")
    worker.work(KNOWN_MS // 1_000)
    # 1,000 tokens in at USD 20 a million: 0.02, and 500 out.
    (folder / "ours.csv").write_text(f"model,unit,usd\n{SONNET_3},input_tokens,20\n")
    run("rebook", "--prices", "ours.csv", "--json")
    assert shown(run, "a")["crossings"] == []
    worker.work(LATER_MS // 1_000)
    [crossing] = shown(run, "a")["crossings"]
    assert (crossing["threshold"], crossing["spent_usd"]) == (100, "0.0275")


def test_limits_count_tokens_and_requests(run: Run, folder: Path) -> None:
    book_now(run, folder, "1", "2")
    done = put(run, "calls", "--scope", ALICES, "--limit", "2", "--unit", "requests")
    budget = done["budget"]
    assert (budget["unit"], budget["limit"], budget["spent"]) == ("requests", "2", "2")
    assert (budget["limit_usd"], budget["spent_usd"]) == (None, None)
    assert [one["spent"] for one in done["crossings"]] == ["2", "2", "2"]
    named = ("--scope", "everything", "--limit", "1000000", "--unit", "tokens", "--forecast")
    tokens = put(run, "tokens", *named)["budget"]
    assert (tokens["spent"], tokens["forecast"]) == ("3000", True)
    assert "2 requests" in run("budgets", "list")
    assert "spent 2 requests of 2 requests" in run("budgets", "set", "calls")
    assert not put(run, "tokens", "--no-forecast")["budget"]["forecast"]
    run("budgets", "set", "tokens", "--unit", "usd", code=2, error="--unit usd needs a --limit")


def test_a_rolling_window_ends_today(run: Run, folder: Path) -> None:
    book_now(run, folder, "1")
    named = ("--scope", ALICES, "--limit", "0.0105", "--period", "rolling-14-day")
    budget = put(run, "a", *named)["budget"]
    assert (budget["first_day"], budget["last_day"]) == ("2026-11-09", "2026-11-22")
    assert (budget["anchor"], budget["state"]) == (None, "exceeded")
    assert len(shown(run, "a")["crossings"]) == 3


@pytest.mark.parametrize(
    "arguments,error",
    [
        (("set", "a", "--scope", "everything", "--limit", "1", "--unit", "eur"), "--unit eur"),
        (("set", "a", "--scope", "everything", "--limit", "1", "--action", "x"), "--action x"),
        (("set", "a", *ENFORCED, "--grace", "soon"), "'soon' is no duration"),
        (("set", "a", *ENFORCED, "--grace", "32d"), "the grace period is 2764800 seconds"),
        (("set", "a", *ENFORCED, "--scope", "everything"), "can only notify"),
        (("set", "a", *ENFORCED, "--period", "rolling-7-day"), "a rolling window only notifies"),
        (("set", "a", *ENFORCED, "--unit", "requests"), "give a whole number of requests"),
        (
            ("set", "a", "--scope", "everything", "--limit", "1", "--period", "rolling-0-day"),
            "'rolling-0-day' is none",
        ),
    ],
)
def test_terms_that_cannot_be_are_refused(run: Run, arguments: tuple[str, ...], error: str) -> None:
    run("budgets", *arguments, code=2, error=error)
