"""Sealing a file: a process that dies at any step, and others that have the file open."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.calls import DAY, NOON, PRO, asynchronous, book, call, entries, poster, snapshot
from tests.sealing import TODAY, long_after, told
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.codec import encode_key
from worker.core.errors import LedgerockError
from worker.core.evidence import Counts
from worker.core.seal import KEPT_DAYS

__all__ = ["long_after"]

POSTER = poster()
PLENTY = Counts(1_000, 500)
LONG_AGO = NOON - (KEPT_DAYS + 2) * DAY
NOW = NOON + 30 * DAY


class DiesError(LedgerockError):
    """The process is no more."""


class Mortal(SqliteLedger):
    """A process that dies before, or after, its n-th transaction."""

    left = 1_000
    made = False

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.left -= 1
        if self.left == 0 and not self.made:
            raise DiesError("killed")
        with super()._transaction():
            yield
        if self.left == 0:
            raise DiesError("killed")

    def _write_anew(self) -> None:
        if self.left <= 0:
            raise DiesError("killed")
        super()._write_anew()


async def _filled(path: Path) -> SqliteLedger:
    ledger = SqliteLedger(path)
    seen = [call(n, PLENTY, at_ms=LONG_AGO, user=f"user{n}") for n in range(5)]
    await book(ledger, POSTER, *seen, call(9, PLENTY, at_ms=NOON))
    return ledger


@pytest.mark.parametrize("made", [False, True], ids=["before", "after"])
@asynchronous
async def test_what_dies_at_any_step_is_completed_by_the_next(tmp_path: Path, made: bool) -> None:
    deaths = 0
    for step in range(1, 20):
        path = tmp_path / f"{step}.db"
        ledger = await _filled(path)
        before = await snapshot(ledger)
        mortal = Mortal(path)
        mortal.left, mortal.made = step, made
        try:
            await mortal.seal(TODAY)
            await mortal.expire(0, NOW)
        except DiesError:
            deaths += 1
        else:
            # The seal, that entries go, the entries, what only they named, the file written anew.
            assert deaths == 5
            return
        finally:
            await mortal.close()
        assert (await ledger.verify()).differences == ()
        await ledger.seal(TODAY)
        await ledger.expire(0, NOW)
        verification = await ledger.verify()
        assert (verification.entries, verification.sealed, verification.gone) == (1, 5, 5)
        assert verification.differences == ()
        assert await snapshot(ledger) == before
        await ledger.close()
        assert b"user3" in path.read_bytes()  # in its balance
        assert b":user/user3" not in path.read_bytes()
    pytest.fail("it never came to an end")


@asynchronous
async def test_the_file_is_written_anew_though_all_that_entries_named_is_used(
    tmp_path: Path,
) -> None:
    """Also by the next who comes, if whoever removed them died before."""
    path = tmp_path / "ledger.db"
    ledger = SqliteLedger(path)
    old = [call(n, PLENTY, at_ms=LONG_AGO) for n in range(500)]
    await book(ledger, POSTER, *old, call(900, PLENTY, at_ms=NOON))
    await ledger.seal(TODAY)
    await ledger.close()
    assert all(_key_of(one.key) in path.read_bytes() for one in old)
    mortal = Mortal(path)
    mortal.left, mortal.made = 3, True
    with pytest.raises(DiesError):
        await mortal.expire(0, NOW)
    await mortal.close()
    ledger = SqliteLedger(path)
    assert await ledger.expire(0, NOW) == 0
    assert ledger._connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    assert await ledger.progress("remains") is None
    await ledger.close()
    content = path.read_bytes()
    assert not any(_key_of(one.key) in content for one in old)


def _key_of(key: str) -> bytes:
    return encode_key(key)[1:]


@asynchronous
async def test_who_has_the_file_open_stores_anew_what_went_with_entries(tmp_path: Path) -> None:
    """What only entries named that are gone is not believed to be there by anybody."""
    path = tmp_path / "ledger.db"
    worker, other = SqliteLedger(path), SqliteLedger(path)
    await book(worker, POSTER, call(1, PLENTY, at_ms=LONG_AGO))
    await other.seal(TODAY)
    assert await other.expire(0, NOW) == 1
    # Of the same facts as the call whose entry is gone.
    [done] = await book(worker, POSTER, call(2, PLENTY, at_ms=NOON))
    assert told(done) == (1, 0, 0, 0)
    for ledger in (worker, other):
        [entry] = (await entries(ledger)).values()
        assert entry.evidence.facts.model_id == PRO
        assert (await ledger.verify()).differences == ()
        await ledger.close()


@asynchronous
async def test_a_dry_run_heeds_the_seal_and_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    ledger = await _filled(path)
    await ledger.seal(TODAY)
    await ledger.close()
    content = path.read_bytes()
    dry = SqliteLedger(path, discard=True)
    [done] = await book(dry, POSTER, call(20, PLENTY, at_ms=LONG_AGO), call(21, PLENTY))
    assert told(done) == (1, 0, 0, 1)
    await dry.close()
    assert path.read_bytes() == content
