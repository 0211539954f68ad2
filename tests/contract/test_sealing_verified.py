"""Verifying sealed books: an entry that had to be there and is not, or is another one, is found."""

from tests.calls import DAY, NOON, asynchronous, book, call, poster
from tests.contract.conftest import Open
from tests.sealing import TODAY, client_of
from worker.adapters import dynamodb_items as items
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.codec import encode_key
from worker.core.evidence import Counts
from worker.ports import Ledger

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
