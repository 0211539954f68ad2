"""What is kept beside the embedded ledger: in its file, whatever its age."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.calls import DAY, NOON, asynchronous, book, call, documents, poster
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.adapters.sqlite_records import SqliteRecords
from worker.adapters.sqlite_state import (
    TABLES,
    SqliteBudgets,
    SqliteNotes,
    SqliteOutbox,
    StateFile,
)
from worker.bootstrap import open_state
from worker.core.budget_terms import Budget, Scope, ScopeDays, ScopeKind
from worker.core.errors import ConfigurationError, TransientError
from worker.core.evidence import Counts
from worker.ports import Record
from worker.settings import Settings

POSTER = poster()
PLENTY = Counts(1_000, 500)
BUDGET = Budget("a", Scope("everything"), 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


class Hands:
    """A clock that stands where it is put."""

    def __init__(self, now_ms: int) -> None:
        self.at_ms = now_ms

    def now_ms(self) -> int:
        return self.at_ms


@pytest.fixture
def file(path: Path) -> Iterator[StateFile]:
    opened = StateFile(path)
    yield opened
    opened._connection.close()


@asynchronous
async def test_a_ledger_that_knows_no_budgets_yet_gets_their_tables(path: Path) -> None:
    ledger = SqliteLedger(path)
    await book(ledger, POSTER, call(1, PLENTY))
    before = await documents(ledger)
    tables = "SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name"
    own = ledger._connection.execute(tables).fetchall()
    version = ledger._connection.execute("PRAGMA user_version").fetchone()
    await ledger.close()
    for _ in range(2):
        state = StateFile(path)
        await SqliteBudgets(state).put(BUDGET)
        assert await SqliteBudgets(state).budgets() == [BUDGET]
        names = {"budget", "note", "notice", "profile", "record"}
        assert set(state.rows(tables)) == {*own, *((name,) for name in names)}
        await state.close()
    ledger = SqliteLedger(path)
    assert ledger._connection.execute("PRAGMA user_version").fetchone() == version
    await book(ledger, POSTER, call(1, PLENTY))
    assert await documents(ledger) == before
    assert (await ledger.verify()).differences == ()
    await ledger.close()


YESTERDAY = """
CREATE TABLE budget (name TEXT PRIMARY KEY, revision INTEGER NOT NULL, body TEXT NOT NULL)
WITHOUT ROWID;
CREATE TABLE notice (
  subject TEXT NOT NULL, id TEXT NOT NULL, state TEXT NOT NULL, due_at_ms INTEGER NOT NULL,
  recorded_at_ms INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (subject, id)
) WITHOUT ROWID;
CREATE INDEX notice_due ON notice (due_at_ms, subject, id) WHERE state = 'pending';
CREATE TABLE note (name TEXT PRIMARY KEY, note TEXT NOT NULL, keep_until_ms INTEGER NOT NULL)
WITHOUT ROWID;
CREATE INDEX note_expiry ON note (keep_until_ms);
CREATE TABLE profile (arn TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
INSERT INTO budget VALUES ('b', 2, '{"name":"b","scope":{"kind":"team","id":"x"},
  "limit_amount":7,"revision":2,"created_at_ms":1790856000000}');
INSERT INTO notice VALUES ('budget/b', 'e1', 'pending', 5, 6, '{"id":"e1","detail_type":"T",
  "subject":"budget/b","detail":{},"state":"pending","recorded_at_ms":6,"due_at_ms":5}')
"""
"""The state as versions before enforcement made it."""


@asynchronous
async def test_a_state_of_before_enforcement_gets_what_it_lacks_and_keeps_what_it_has(
    path: Path,
) -> None:
    await SqliteLedger(path).close()
    old = sqlite3.connect(path)
    old.executescript(YESTERDAY)
    old.close()
    settings = Settings(ledger=f"sqlite:{path}")
    budget = Budget("b", Scope("team", "x"), 7, revision=2, created_at_ms=1_790_856_000_000)
    for number in (1, 2):
        state = open_state(settings, must_exist=True)
        assert await state.budgets.budgets() == [budget]
        assert await state.budgets.changed(1_790_856_000_000) == [budget]
        assert await state.budgets.changed(1_790_856_000_001) == []
        [[pending]] = [chunk async for chunk in state.outbox.due(5)]
        assert (pending.id, pending.channel) == ("e1", "")
        copy = msgspec.structs.replace(pending, id=f"e{number}/sns", channel="sns")
        assert await state.outbox.put([copy]) == [copy]
        assert await state.records.write([Record("p", "a", b"{}", number)])
        await state.close()
    old = sqlite3.connect(path)
    due = "SELECT id FROM notice WHERE state = 'pending' AND due_at_ms <= 9"
    assert old.execute(due).fetchall() == [("e1",)], "an older worker sees no copies"
    old.execute("INSERT OR IGNORE INTO notice VALUES ('s', 'e3', 'late', 1, 1, '{}')")
    old.execute("INSERT INTO budget VALUES ('c', 1, '{}')")
    old.close()


@asynchronous
async def test_ledger_and_state_are_written_in_turn(path: Path) -> None:
    state = StateFile(path)
    ledger = SqliteLedger(path)
    budgets = SqliteBudgets(state)
    for number in range(1, 4):
        await book(ledger, POSTER, call(number, PLENTY))
        assert await budgets.put(Budget("a", Scope("everything"), number, revision=number))
    await state.close()
    assert (await ledger.verify()).entries == 3
    await ledger.close()


@asynchronous
async def test_what_another_process_locks_is_tried_again_later(path: Path) -> None:
    state = StateFile(path)
    state._connection.execute("PRAGMA busy_timeout = 10")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(TransientError, match="database is locked"):
        await SqliteBudgets(state).put(BUDGET)
    other.execute("ROLLBACK")
    other.close()
    assert await SqliteBudgets(state).put(BUDGET)
    await state.close()


def test_a_file_of_something_else_is_refused(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE budget (name TEXT)")
    other.close()
    with pytest.raises(ConfigurationError, match="not a ledger"):
        StateFile(path)


@asynchronous
async def test_notes_are_dropped_after_their_time_and_no_sooner(file: StateFile) -> None:
    clock = Hands(1_000)
    notes = SqliteNotes(file, clock)
    await notes.put("short", "1", keep_until_ms=2_000)
    await notes.put("long", "2", keep_until_ms=9_000)
    clock.at_ms = 2_000
    await notes.put("other", "3", keep_until_ms=9_000)
    assert await notes.get("short") == "1"
    clock.at_ms = 2_001
    await notes.put("other", "4", keep_until_ms=9_000)
    assert [await notes.get(name) for name in ("short", "long", "other")] == [None, "2", "4"]


# --- Cost of queries -------------------------------------------------------------------------


def _plans(file: StateFile | SqliteLedger, statements: list[str]) -> list[str]:
    run = file._connection.execute
    return [
        " | ".join(row[3] for row in run(f"EXPLAIN QUERY PLAN {statement}"))
        for statement in statements
        if statement.startswith("SELECT")
    ]


@asynchronous
async def test_due_notices_are_a_range_of_an_index(file: StateFile) -> None:
    statements: list[str] = []
    file._connection.set_trace_callback(statements.append)
    outbox = SqliteOutbox(file)
    assert [chunk async for chunk in outbox.due(1)] == []
    assert await outbox.about("budget/a") == []
    file._connection.set_trace_callback(None)
    due, about = _plans(file, statements)
    assert "SEARCH notice USING INDEX notice_due" in due
    assert "SEARCH notice USING PRIMARY KEY (subject=?)" in about
    assert "SCAN" not in due + about


@asynchronous
async def test_what_changed_waits_or_is_listed_is_a_range_of_an_index(file: StateFile) -> None:
    statements: list[str] = []
    file._connection.set_trace_callback(statements.append)
    records, budgets = SqliteRecords(file), SqliteBudgets(file)
    assert [chunk async for chunk in SqliteOutbox(file).due(1, "sns")] == []
    assert [chunk async for chunk in records.due("monitor", 9, from_ms=3)] == []
    assert await budgets.changed(7) == []
    assert await budgets.find("a") is None
    assert await records.partition("p", "2#", after="2#a", limit=3) == []
    assert await records.get("p", "a") is None
    file._connection.set_trace_callback(None)
    plans = _plans(file, statements)
    searches = [
        "notice USING INDEX notice_told (state=?",
        "record USING INDEX record_due (queue=? AND (due_at_ms,partition,name)>",
        "budget USING INDEX budget_changed",
        "budget USING PRIMARY KEY (name=?)",
        "record USING INDEX sqlite_autoindex_record_1 (partition=? AND name>? AND name<?)",
        "record USING INDEX sqlite_autoindex_record_1 (partition=? AND name=?)",
    ]
    assert len(plans) == len(searches)
    for plan, search in zip(plans, searches, strict=True):
        assert plan.startswith(f"SEARCH {search}")
        assert "SCAN" not in plan
        assert "TEMP" not in plan, "what is due comes in the index's own order"


@pytest.mark.parametrize(
    "kind, index", [("principal", "principal (principal=? AND day"), ("team", "day (day")]
)
@asynchronous
async def test_spend_is_read_from_ranges_of_indexes(
    path: Path, kind: ScopeKind, index: str
) -> None:
    ledger = SqliteLedger(path)
    calls = (call(n, PLENTY, user=f"u{n % 9}", at_ms=NOON + n * DAY) for n in range(90))
    await book(ledger, POSTER, *calls)
    statements: list[str] = []
    ledger._connection.set_trace_callback(statements.append)
    await ledger.spend([ScopeDays(Scope(kind, "x"), NOON // DAY, NOON // DAY + 30)])
    ledger._connection.set_trace_callback(None)
    plans = _plans(ledger, statements)
    assert len(plans) == 2
    assert all(f"SEARCH balance USING INDEX balance_by_{index}" in plan for plan in plans)
    await ledger.close()


@asynchronous
async def test_sums_beyond_64_bits_are_added_up_exactly(path: Path) -> None:
    ledger = SqliteLedger(path)
    calls = (call(n, PLENTY, at_ms=NOON + n * DAY) for n in range(6))
    await book(ledger, POSTER, *calls)
    huge = 2**62
    ledger._connection.execute("UPDATE balance SET input_tokens = ?", (huge,))
    [spent] = await ledger.spend([ScopeDays(Scope("everything"), 0, 999_999)])
    assert (spent.calls, spent.tokens) == (6, 6 * (huge + 500))
    await ledger.close()


# --- Opening ---------------------------------------------------------------------------------


@asynchronous
async def test_commands_on_what_is_there_make_no_file(path: Path) -> None:
    settings = Settings(ledger=f"sqlite:{path}")
    with pytest.raises(ConfigurationError, match="there is no such file"):
        open_state(settings, must_exist=True)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    with pytest.raises(ConfigurationError, match="memory"):
        open_state(Settings(ledger="memory"), must_exist=True)
    await open_state(settings).close()
    await open_state(settings, must_exist=True).close()


def test_making_the_tables_again_changes_nothing(file: StateFile) -> None:
    before = file.rows("SELECT sql FROM sqlite_master ORDER BY name")
    for statement in TABLES.split(";"):
        file.write(statement)
    assert file.rows("SELECT sql FROM sqlite_master ORDER BY name") == before
