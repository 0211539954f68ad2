"""Sealed books: what verify finds in them, what may be gone of them, what nothing changes."""

import pytest

from tests.calls import DAY, HOUR, NOON, asynchronous, book, call, entries, poster
from tests.contract.conftest import Open
from tests.sealing import TODAY, FixedClock, client_of, let_go, long_after
from worker import books
from worker.adapters import dynamodb_items as items
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.codec import encode_key
from worker.core.errors import ConfigurationError
from worker.core.evidence import Counts
from worker.core.ledger import MS_PER_DAY
from worker.core.registry import PrincipalFact, Registry
from worker.pipeline import Window
from worker.ports import Ledger

__all__ = ["long_after"]

POSTER = poster()
PLENTY = Counts(1_000, 500)
LONG_AGO = NOON - 20 * DAY
NOW = NOON + 30 * DAY


async def _lose(ledger: Ledger, key: str) -> None:
    """Remove an entry behind the ledger's back."""
    stored = encode_key(key)
    if isinstance(ledger, MemoryLedger):
        del ledger._bodies_by_key[stored]
    elif isinstance(ledger, SqliteLedger):
        ledger._connection.execute("DELETE FROM entry WHERE key = ?", (stored,))
    else:
        assert isinstance(ledger, DynamoLedger)
        key_of = items.entry_key(stored)
        await client_of(ledger).delete_item(TableName=ledger._entries, Key=key_of)


async def _put_body(ledger: Ledger, key: str, body: bytes) -> None:
    """Put another body in an entry's place behind the ledger's back."""
    stored = encode_key(key)
    if isinstance(ledger, MemoryLedger):
        ledger._bodies_by_key[stored] = body
    elif isinstance(ledger, SqliteLedger):
        ledger._connection.execute("UPDATE entry SET body = ? WHERE key = ?", (body, stored))
    else:
        assert isinstance(ledger, DynamoLedger)
        await client_of(ledger).update_item(
            TableName=ledger._entries,
            Key=items.entry_key(stored),
            UpdateExpression="SET b = :b",
            ExpressionAttributeValues={":b": {"B": body}},
        )


@asynchronous
async def test_an_entry_is_missed_where_nothing_was_ever_let_go(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        one, two = (call(n, PLENTY, at_ms=LONG_AGO) for n in (1, 2))
        await book(ledger, POSTER, one, two)
        await ledger.seal(TODAY)
        await _lose(ledger, one.key)
        [found] = (await ledger.verify()).differences
        assert found.entries is not None
        assert found.sealed is not None
        assert (found.entries.calls, found.sealed.calls) == (1, 2)
        await _lose(ledger, two.key)
        [found] = (await ledger.verify()).differences
        assert (found.entries, found.seal_day) == (None, TODAY)


@asynchronous
async def test_an_entry_is_missed_of_the_days_that_are_always_kept(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        one, two = (call(n, PLENTY, at_ms=NOON - 2 * DAY) for n in (1, 2))
        await book(ledger, POSTER, one, two)
        await ledger.seal(TODAY)
        await ledger.expire(0, NOW)
        assert (await ledger.verify()).differences == ()
        await _lose(ledger, one.key)
        [found] = (await ledger.verify()).differences
        assert found.leaf.day == TODAY - 2


@asynchronous
async def test_entries_that_are_left_add_up_to_no_more_than_all_did(open_ledger: Open) -> None:
    """Of two one is gone, as it may be; the other costs a thousand times what it did."""
    async with open_ledger() as ledger:
        one, two = (call(n, PLENTY, at_ms=LONG_AGO) for n in (1, 2))
        await book(ledger, POSTER, one, two)
        await ledger.seal(TODAY)
        await ledger.expire(0, NOW)
        if isinstance(ledger, DynamoLedger):
            await _lose(ledger, one.key)  # an embedded ledger removed both itself
        assert (await ledger.verify()).differences == ()
        other = MemoryLedger()
        dear = Counts(1_000_000, 500_000)
        await book(other, POSTER, call(2, dear, at_ms=LONG_AGO))
        body = other._bodies_by_key[encode_key(two.key)]
        if isinstance(ledger, MemoryLedger):
            ledger._interned.update(other._interned)
        elif isinstance(ledger, SqliteLedger):
            ledger._connection.executemany(
                "INSERT OR IGNORE INTO interned VALUES (?, ?)", other._interned.items()
            )
            ledger._connection.execute(
                "INSERT INTO entry VALUES (?, ?)", (encode_key(two.key), b"")
            )
        await _put_body(ledger, two.key, body)
        assert [one.leaf.day for one in (await ledger.verify()).differences] == [TODAY - 20]


@asynchronous
async def test_what_may_be_gone_is_told_by_the_age_that_was_given(open_ledger: Open) -> None:
    """Entries of 20 days ago that stay for 400 days: none is gone, and each is missed."""
    async with open_ledger() as ledger:
        clock = FixedClock(NOW)
        if isinstance(ledger, DynamoLedger):
            ledger._clock = clock
        midnight = (TODAY - 20) * MS_PER_DAY
        one, two = (
            call(1, PLENTY, at_ms=midnight + HOUR),
            call(2, PLENTY, at_ms=midnight + 13 * HOUR),
        )
        await book(ledger, POSTER, one, two)
        await ledger.seal(TODAY)
        await ledger.expire(400, NOW)
        assert await let_go(ledger, client_of(ledger), NOW) == 0
        assert (await ledger.seal_in_force()).expired_day <= TODAY - 20
        report = await books.report(ledger, "model", Window(midnight + 12 * HOUR, None))
        assert report.total.calls == 1
        # A day before they go, and on the day itself.
        clock.at_ms = midnight + 399 * DAY
        assert (await ledger.seal_in_force()).expired_day <= TODAY - 20
        assert len(await entries(ledger)) == 2
        clock.at_ms = midnight + 400 * DAY + 2 * HOUR
        await ledger.expire(400, clock.at_ms)
        await let_go(ledger, client_of(ledger), clock.at_ms)
        assert len(await entries(ledger)) == 1
        assert (await ledger.seal_in_force()).expired_day == TODAY - 19
        assert (await ledger.verify()).differences == ()


@asynchronous
async def test_entries_that_go_by_and_by_may_be_gone_without_another_command(
    open_ledger: Open,
) -> None:
    async with open_ledger() as ledger:
        if not isinstance(ledger, DynamoLedger):
            return  # what is embedded removes entries on command
        clock = FixedClock(NOW)
        ledger._clock = clock
        await book(
            ledger, POSTER, *[call(n, PLENTY, at_ms=NOON - 20 * DAY + n * HOUR) for n in range(2)]
        )
        await ledger.seal(TODAY)
        await ledger.expire(400, NOW)
        clock.at_ms = NOON + 380 * DAY
        assert await let_go(ledger, client_of(ledger), clock.at_ms) == 1
        assert (await ledger.seal_in_force()).expired_day == TODAY - 19
        verification = await ledger.verify()
        assert (verification.differences, verification.gone) == ((), 1)


@asynchronous
async def test_what_is_too_recent_is_not_sealed_by_any_ledger(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await book(ledger, POSTER, call(1, PLENTY))
        with pytest.raises(ConfigurationError, match="cannot be sealed before 2026-11-01"):
            await ledger.seal(TODAY + 24)  # at noon of 2026-10-31, a month later
        assert (await ledger.seal_in_force()).day == 0
        assert (await ledger.seal(TODAY + 23)).is_complete


@asynchronous
async def test_mapped_principals_of_sealed_days_stay_with_who_paid(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        seen = [call(n, PLENTY, at_ms=NOON - (n // 2) * DAY) for n in range(1, 4)]
        await book(ledger, POSTER, *seen)
        await ledger.seal(TODAY)
        team = poster(registry=Registry(principals=[PrincipalFact("user/*", team="search")]))
        assert (await books.rebook(ledger, team, Window())).sealed == 2
        totals = await ledger.totals("team")
        assert {name: amounts.calls for name, amounts in totals.items()} == {"": 2, "search": 1}
