import asyncio
import multiprocessing
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.calls import (
    ACCOUNT,
    DAY,
    MICRO,
    NOON,
    PRO,
    asynchronous,
    book,
    call,
    entries,
    fold,
    poster,
    request_id,
    snapshot,
)
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.adapters.sqlite_schema import APPLICATION_ID, SCHEMA_VERSION
from worker.books import rebook
from worker.core.batch import Batch
from worker.core.errors import (
    ConfigurationError,
    LedgerCorruptError,
    LedgerockError,
    TransientError,
)
from worker.core.evidence import Counts
from worker.core.ledger import Amounts
from worker.core.registry import Pool, Registry
from worker.pipeline import Window

POSTER = poster()
PLENTY = Counts(1_000, 500)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqliteLedger]:
    made = SqliteLedger(path)
    yield made
    asyncio.run(made.close())


def edit(path: Path, statement: str, *values: Any) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement, values).rowcount != 0


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


# --- Opening ---------------------------------------------------------------------------------


@asynchronous
async def test_a_ledger_is_durable_and_marked_as_one(path: Path) -> None:
    ledger = SqliteLedger(path)
    await book(ledger, POSTER, call(1, PLENTY))
    await ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    ledger = SqliteLedger(path)
    assert list(await entries(ledger)) == [call(1).key]
    assert ledger._connection.execute("PRAGMA synchronous").fetchone() == (2,)
    await ledger.close()


async def _before_pools(path: Path) -> list[Any]:
    """Make a ledger as version 1 wrote it; return its balances."""
    ledger = SqliteLedger(path)
    await book(ledger, POSTER, call(1, PLENTY), call(2, PLENTY, user="bob"))
    balances = await ledger.balances()
    await ledger.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE balance DROP COLUMN pool")
        connection.execute("DROP TABLE sealed")
        connection.execute("PRAGMA user_version = 1")
    return balances


@asynchronous
async def test_a_ledger_of_before_there_were_pools_keeps_its_sums_and_goes_on(path: Path) -> None:
    before = await _before_pools(path)
    pooled = poster(registry=Registry(pools=[Pool("trials", "user/*/bob")]))
    for _ in range(2):
        ledger = SqliteLedger(path)
        assert await ledger.balances() == before
        assert not (await ledger.verify()).differences
        await ledger.close()
    ledger = SqliteLedger(path)
    await book(ledger, pooled, call(2, PLENTY, user="bob"), call(3, PLENTY, user="bob"))
    assert (await rebook(ledger, pooled, Window())).rebooked == 1
    totals = await ledger.totals("pool")
    assert {pool: amounts.calls for pool, amounts in totals.items()} == {"": 1, "trials": 2}
    assert not (await ledger.verify()).differences
    await ledger.close()


def test_a_dry_run_leaves_a_ledger_of_before_there_were_pools_as_it_was(path: Path) -> None:
    before = asyncio.run(_before_pools(path))
    content = path.read_bytes()
    ledger = SqliteLedger(path, discard=True)
    assert asyncio.run(ledger.balances()) == before
    asyncio.run(ledger.close())
    assert path.read_bytes() == content


def _text(path: Path) -> None:
    path.write_text("not a database, but long enough to look at: " * 50)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE balance (leaf_id INTEGER PRIMARY KEY)")


def _newer(path: Path) -> None:
    asyncio.run(SqliteLedger(path).close())
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")


def _directory(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize(
    "make,expected",
    [
        (_text, "file is not a database"),
        (_foreign, "an SQLite file of something else"),
        (_newer, "upgrade ledgerock"),
        (_directory, "unable to open database file"),
    ],
)
@pytest.mark.parametrize("discard", [False, True])
def test_what_is_no_ledger_is_refused_by_name_and_left_alone(
    path: Path, make: Callable[[Path], None], expected: str, discard: bool
) -> None:
    make(path)
    content = path.read_bytes() if path.is_file() else None
    with pytest.raises(ConfigurationError, match=expected) as raised:
        SqliteLedger(path, discard=discard)
    assert str(path) in str(raised.value)
    assert (path.read_bytes() if path.is_file() else None) == content


@pytest.mark.parametrize("place", ["missing/ledger.db", "file/ledger.db"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="in a folder that does") as raised:
        SqliteLedger(tmp_path / place)
    assert place in str(raised.value)


# --- Faults ----------------------------------------------------------------------------------


@asynchronous
async def test_a_disk_that_is_full_leaves_nothing_and_can_be_retried(
    path: Path, ledger: SqliteLedger
) -> None:
    await book(ledger, POSTER, call(0, PLENTY))
    before = dump(path)
    batch = fold(POSTER, [call(0), *(call(n, PLENTY, user=f"u{n}") for n in range(1, 2_000))])
    written = repr(batch)
    run = ledger._connection.execute
    pages = run("PRAGMA page_count").fetchone()[0]
    run(f"PRAGMA max_page_count = {pages + 20}")
    for _ in range(2):
        with pytest.raises(TransientError, match="full"):
            await ledger.commit(batch, POSTER)
        assert dump(path) == before
    assert repr(batch) == written
    run("PRAGMA max_page_count = 1000000")
    done = await ledger.commit(batch, POSTER)
    assert (done.recorded, done.duplicates) == (1_999, 1)
    assert not (await ledger.verify()).differences


@pytest.mark.parametrize("table", ["entry", "interned", "balance"])
@asynchronous
async def test_a_failure_in_the_middle_leaves_nothing(
    path: Path, ledger: SqliteLedger, table: str
) -> None:
    await book(ledger, POSTER, call(1, PLENTY))
    run = ledger._connection.execute
    run(f"CREATE TRIGGER fault BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'injected'); END")
    before = dump(path)
    batch = fold(POSTER, [call(1), call(2, PLENTY, user="bob"), call(3, PLENTY)])
    with pytest.raises(LedgerockError, match="injected"):
        await ledger.commit(batch, POSTER)
    assert dump(path) == before
    run("DROP TRIGGER fault")
    done = await ledger.commit(batch, POSTER)
    assert (done.recorded, done.duplicates) == (2, 1)
    assert not (await ledger.verify()).differences


@asynchronous
async def test_a_ledger_that_somebody_else_holds_is_a_passing_fault(
    path: Path, ledger: SqliteLedger
) -> None:
    ledger._connection.execute("PRAGMA busy_timeout = 10")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TransientError, match="locked"):
            await book(ledger, POSTER, call(1, PLENTY))
        other.execute("ROLLBACK")
    [done] = await book(ledger, POSTER, call(1, PLENTY))
    assert done.recorded == 1


@asynchronous
async def test_two_values_with_one_id_are_refused(path: Path, ledger: SqliteLedger) -> None:
    batch = fold(POSTER, [call(1, PLENTY)])
    value_id = next(iter(batch.interned))
    edit(path, "INSERT INTO interned VALUES (?, ?)", value_id, b"L other")
    with pytest.raises(LedgerCorruptError, match=f"share the id {value_id}"):
        await ledger.commit(batch, POSTER)
    assert await entries(ledger) == {}


async def _fill(ledger: SqliteLedger, column: str, value: int) -> None:
    await book(ledger, POSTER, call(1, PLENTY))
    ledger._connection.execute(f"UPDATE balance SET {column} = ?", (value,))


@pytest.mark.parametrize(
    "column", ["calls", "input_tokens", "output_tokens", "cost_usd", "estimated_usd"]
)
@asynchronous
async def test_a_sum_beyond_64_bits_is_refused_and_never_becomes_a_float(
    path: Path, ledger: SqliteLedger, column: str
) -> None:
    await _fill(ledger, column, 2**63 - 1)
    before = dump(path)
    dear = poster(f"model,unit,usd,per\n{PRO},input_tokens,1,1\n")
    with pytest.raises(LedgerCorruptError, match="nothing of this batch was booked"):
        await book(ledger, dear, call(2, PLENTY, conflicting=True))
    assert dump(path) == before


@asynchronous
async def test_totals_beyond_64_bits_are_exact(path: Path, ledger: SqliteLedger) -> None:
    await book(ledger, POSTER, call(1, PLENTY), call(2, PLENTY, user="bob"))
    ledger._connection.execute("UPDATE balance SET cost_usd = ?", (2**62,))
    totals = await ledger.totals("account")
    assert totals[ACCOUNT].cost_pico_usd == 2 * (2**62 * 10**12 + 2_400_000_000)
    ledger._connection.execute("UPDATE balance SET cost_usd = ?", (2**63 - 1,))
    totals = await ledger.totals("account")
    assert totals[ACCOUNT].cost_pico_usd == 2 * ((2**63 - 1) * 10**12 + 2_400_000_000)


# --- Verifying -------------------------------------------------------------------------------

EXTRA_BALANCE = """
INSERT INTO balance SELECT 7, principal, identity, agent, team, application, account, 'extra', day,
    pool, calls, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens,
    cache_write_1h_tokens, estimated_calls, unpriced_calls, unmetered_calls, failed_calls,
    cost_usd, cost_pico, estimated_usd, estimated_pico
FROM balance WHERE model = ?
"""


@pytest.mark.parametrize(
    "statement,values",
    [
        ("UPDATE balance SET cost_pico = cost_pico + 1 WHERE model = ?", (PRO,)),
        ("UPDATE balance SET cost_usd = cost_usd - 1 WHERE model = ?", (PRO,)),
        ("UPDATE balance SET calls = 0 WHERE model = ?", (PRO,)),
        ("UPDATE balance SET principal = 'user/1/mallory' WHERE model = ?", (PRO,)),
        ("UPDATE balance SET day = day - 1 WHERE model = ?", (PRO,)),
        ("DELETE FROM balance WHERE model = ?", (PRO,)),
        ("DELETE FROM entry WHERE key = (SELECT min(key) FROM entry WHERE ? != '')", (PRO,)),
        (
            EXTRA_BALANCE,
            (PRO,),
        ),
    ],
)
@asynchronous
async def test_verify_finds_tampering(
    path: Path, ledger: SqliteLedger, statement: str, values: tuple[Any, ...]
) -> None:
    await book(ledger, POSTER, call(1, PLENTY), call(2, PLENTY), call(3, PLENTY, model=MICRO))
    sound = await ledger.verify()
    assert (sound.entries, sound.balances, sound.differences) == (3, 2, ())
    edit(path, statement, *values)
    found = (await ledger.verify()).differences
    assert 1 <= len(found) <= 2
    assert all(one.balance != one.entries for one in found)
    assert all(one.leaf.model in (PRO, "extra") for one in found)


@asynchronous
async def test_verify_says_what_is_there_and_what_should_be(
    path: Path, ledger: SqliteLedger
) -> None:
    await book(ledger, POSTER, call(1, PLENTY))
    edit(path, "UPDATE balance SET calls = 5")
    [difference] = (await ledger.verify()).differences
    assert difference.balance == Amounts(5, 2_400_000_000, 1_000, 500)
    assert difference.entries == Amounts(1, 2_400_000_000, 1_000, 500)
    edit(path, "DELETE FROM balance")
    [difference] = (await ledger.verify()).differences
    assert (difference.balance, difference.leaf.model) == (None, PRO)


@asynchronous
async def test_a_damaged_entry_is_reported_as_such(path: Path, ledger: SqliteLedger) -> None:
    await book(ledger, POSTER, call(1, PLENTY))
    edit(path, "UPDATE entry SET body = x'c1'")
    with pytest.raises(LedgerCorruptError, match="cannot be read"):
        await ledger.verify()


PAGE_BYTES = 4_096


@asynchronous
async def test_a_damaged_file_is_reported_as_such_by_everything(path: Path) -> None:
    ledger = SqliteLedger(path)
    await book(ledger, POSTER, *(call(n, PLENTY, user=f"u{n}") for n in range(400)))
    await ledger.close()
    damage(path)
    ledger = SqliteLedger(path)
    readings: list[Callable[[], Any]] = [
        ledger.verify,
        ledger.balances,
        lambda: ledger.totals("model"),
        lambda: entries(ledger),
        lambda: ledger.find(request_id(1)),
        lambda: ledger.progress("rebook"),
        lambda: book(ledger, POSTER, call(1, PLENTY)),
        lambda: ledger.keep_progress("rebook", "x"),
        lambda: ledger.replace_progress("rebook", None, "x"),
    ]
    for reading in readings:
        with pytest.raises(LedgerCorruptError, match="from a backup"):
            await reading()
    await ledger.close()


def damage(path: Path) -> None:
    """Overwrite every page but the first, which names the tables."""
    content = path.read_bytes()
    path.write_bytes(content[:PAGE_BYTES] + b"\xff" * (len(content) - PAGE_BYTES))


# --- Dry runs --------------------------------------------------------------------------------


@asynchronous
async def test_a_dry_run_sees_its_own_bookings_and_keeps_none(path: Path) -> None:
    ledger = SqliteLedger(path)
    await book(ledger, POSTER, call(1, PLENTY))
    await ledger.close()
    before = dump(path)
    dry = SqliteLedger(path, discard=True)
    [done] = await book(dry, POSTER, call(1, PLENTY), call(2, PLENTY))
    assert (done.recorded, done.duplicates) == (1, 1)
    [again] = await book(dry, POSTER, call(2, PLENTY))
    assert again.duplicates == 1
    assert (await dry.verify()).entries == 2
    await dry.close()
    assert dump(path) == before
    assert sorted(one.name for one in path.parent.iterdir()) == ["ledger.db"]


@asynchronous
async def test_a_dry_run_makes_no_file(path: Path) -> None:
    dry = SqliteLedger(path, discard=True)
    [done] = await book(dry, POSTER, call(1, PLENTY))
    assert done.recorded == 1
    await dry.close()
    assert list(path.parent.iterdir()) == []


def test_a_dry_run_leaves_an_empty_file_empty(path: Path) -> None:
    path.touch()
    dry = SqliteLedger(path, discard=True)
    asyncio.run(dry.commit(_batch(), POSTER))
    asyncio.run(dry.close())
    assert path.read_bytes() == b""


@asynchronous
async def test_a_dry_run_on_a_full_disk_keeps_nothing_either(path: Path) -> None:
    ledger = SqliteLedger(path)
    await book(ledger, POSTER, call(0, PLENTY))
    await ledger.close()
    before = dump(path)
    dry = SqliteLedger(path, discard=True)
    run = dry._connection.execute
    pages = run("PRAGMA page_count").fetchone()[0]
    run(f"PRAGMA max_page_count = {pages + 20}")
    batch = fold(POSTER, [call(number, PLENTY, user=f"u{number}") for number in range(2_000)])
    for _ in range(3):
        with pytest.raises(LedgerockError):
            await dry.commit(batch, POSTER)
    run("ROLLBACK") if dry._connection.in_transaction else None
    with pytest.raises(LedgerockError, match="dry run cannot go on"):
        await book(dry, POSTER, call(1, PLENTY))
    await dry.close()
    assert dump(path) == before


# --- Processes -------------------------------------------------------------------------------


def _batch() -> Batch:
    return fold(POSTER, [call(number, PLENTY, user=f"u{number % 7}") for number in range(60)])


def _commit_in_process(path: Path, start: Any, results: Any) -> None:
    start.wait(30)
    ledger = SqliteLedger(path)
    done = asyncio.run(ledger.commit(_batch(), POSTER))
    asyncio.run(ledger.close())
    results.put((done.recorded, sum(amounts.calls for _, amounts in done.postings)))


def test_processes_that_book_the_same_calls_at_once_book_them_once(path: Path) -> None:
    """The ledger is new, too: one of them makes it, all of them use it."""
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=_commit_in_process, args=(path, start, results)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    figures = [results.get(timeout=40) for _ in processes]
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    results.close()
    assert sorted(figures) == [(0, 0), (0, 0), (60, 60)]
    ledger = SqliteLedger(path)
    assert (asyncio.run(ledger.totals("account")))[ACCOUNT].calls == 60
    assert not asyncio.run(ledger.verify()).differences
    asyncio.run(ledger.close())


@asynchronous
async def test_two_connections_see_each_others_bookings(path: Path) -> None:
    one, other = SqliteLedger(path), SqliteLedger(path)
    await book(one, POSTER, call(1, PLENTY))
    [done] = await book(other, POSTER, call(1), call(2, PLENTY))
    assert (done.recorded, done.duplicates) == (1, 1)
    assert await snapshot(one) == await snapshot(other)
    for ledger in (one, other):
        await ledger.close()


# --- Cost of queries -------------------------------------------------------------------------


def _plan(ledger: SqliteLedger, statement: str, *values: Any) -> str:
    rows = ledger._connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
    return " | ".join(row[3] for row in rows)


@asynchronous
async def test_queries_use_keys_and_indexes(ledger: SqliteLedger) -> None:
    await book(
        ledger, POSTER, *(call(n, PLENTY, user=f"u{n}", at_ms=NOON + n * DAY) for n in range(30))
    )
    statements: list[str] = []
    ledger._connection.set_trace_callback(statements.append)
    await ledger.find(request_id(1))
    await ledger.totals("principal", NOON // DAY, NOON // DAY + 3)
    ledger._connection.set_trace_callback(None)
    find, totals = (one for one in statements if one.startswith("SELECT key") or "sum" in one)
    assert _plan(ledger, find) == "SEARCH entry USING PRIMARY KEY (key>? AND key<?)"
    assert "SEARCH balance USING INDEX balance_by" in _plan(ledger, totals)
    series = _plan(
        ledger, "SELECT * FROM balance WHERE principal = ? AND day BETWEEN ? AND ?", "p", 1, 2
    )
    assert series == (
        "SEARCH balance USING INDEX balance_by_principal (principal=? AND day>? AND day<?)"
    )
