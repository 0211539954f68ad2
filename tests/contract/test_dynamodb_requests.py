"""What the shared ledger asks DynamoDB for: never a whole table but to verify and to rebook all."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.calls import (
    ACCOUNT,
    DAY,
    MICRO,
    NOON,
    PRO,
    UNLISTED,
    asynchronous,
    book,
    call,
    poster,
    request_id,
)
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import FaultyClient
from worker import books
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.evidence import Counts
from worker.pipeline import Window
from worker.ports import Rebooking

POSTER = poster()
PLENTY = Counts(1_000, 500)
FIRST = NOON // DAY
PRICED_LATER = f"model,unit,usd\n{UNLISTED},input_tokens,2\n{UNLISTED},output_tokens,4\n"


@asynccontextmanager
async def _recorded() -> AsyncIterator[tuple[DynamoLedger, FaultyClient]]:
    """A ledger with 30 calls of 5 callers on 3 days, and a record of what it asks for."""
    async with client(local_endpoint()) as real:
        recorder = FaultyClient(real, share=0)
        ledger = DynamoLedger(new_prefix(), dynamo=Dynamo(recorder), create_tables=True)
        seen = [
            call(
                number,
                PLENTY,
                user=f"user{number % 5}",
                at_ms=NOON + number % 3 * DAY,
                model=(PRO, MICRO, UNLISTED)[number % 3],
            )
            for number in range(30)
        ]
        await book(ledger, POSTER, *seen)
        recorder.requests.clear()
        # Nothing that was learnt while booking may help reading.
        yield DynamoLedger(ledger._prefix, dynamo=Dynamo(recorder)), recorder


Work = Callable[[DynamoLedger], Awaitable[Any]]


async def _commit(ledger: DynamoLedger) -> None:
    await book(ledger, POSTER, *(call(number, Counts(1, 2, 3)) for number in range(20, 40)))


async def _rebook(ledger: DynamoLedger) -> None:
    [entry] = await ledger.find(request_id(2))
    later = poster(PRICED_LATER)
    await ledger.rebook([Rebooking(entry, later.rate(entry.evidence))])


async def _notes(ledger: DynamoLedger) -> None:
    await ledger.keep_progress("job", "place")
    assert await ledger.progress("job") == "place"
    await ledger.keep_progress("job", None)


async def _reports(ledger: DynamoLedger) -> None:
    for by in ("principal", "model", "team", "month"):
        report = await books.report(ledger, by, Window(NOON // DAY * DAY, None))
        assert report.total.calls == 30


async def _rebook_pending(ledger: DynamoLedger) -> None:
    done = await books.rebook(ledger, poster(PRICED_LATER), Window(), pending=True)
    assert (done.entries, done.rebooked) == (10, 10)


@pytest.mark.parametrize(
    "work",
    [
        _commit,
        _rebook,
        _notes,
        _reports,
        _rebook_pending,
        lambda ledger: ledger.find(request_id(1)),
        lambda ledger: ledger.balances(),
        lambda ledger: ledger.totals("model", FIRST, FIRST + 1),
        lambda ledger: ledger.principal_days(f"user/{ACCOUNT}/user1", FIRST, FIRST + 2),
        lambda ledger: ledger.wide_sums(FIRST, FIRST + 2),
    ],
    ids=["commit", "rebook", "notes", "reports", "pending", "find", "balances", "totals",
         "principal_days", "wide_sums"],
)  # fmt: skip
@asynchronous
async def test_no_table_is_scanned(work: Work) -> None:
    async with _recorded() as (ledger, recorder):
        await work(ledger)
        assert recorder.requests
        operations = {operation for operation, _ in recorder.requests}
        assert operations <= {
            "query",
            "get_item",
            "put_item",
            "delete_item",
            "batch_get_item",
            "batch_write_item",
            "transact_write_items",
        }


@asynchronous
async def test_a_payers_series_is_one_query_with_its_split_by_model() -> None:
    async with _recorded() as (ledger, recorder):
        series = await ledger.principal_days(f"user/{ACCOUNT}/user1", FIRST, FIRST + 2)
        assert sum(amounts.calls for _, amounts in series) == 6
        assert {leaf.day for leaf, _ in series} == {FIRST, FIRST + 1, FIRST + 2}
        assert {leaf.principal for leaf, _ in series} == {f"user/{ACCOUNT}/user1"}
        # The names of what the leaves hold are read once in a process.
        assert [operation for operation, _ in recorder.requests] == ["query", "batch_get_item"]
        recorder.requests.clear()
        assert await ledger.principal_days(f"user/{ACCOUNT}/user1", FIRST, FIRST + 2) == series
        assert [operation for operation, _ in recorder.requests] == ["query"]
        assert all(arguments.get("ConsistentRead") for _, arguments in recorder.requests)


@asynchronous
async def test_one_query_finds_a_request_and_one_the_wide_scopes_days() -> None:
    async with _recorded() as (ledger, recorder):
        [entry] = await ledger.find(request_id(4))
        assert entry.posting.leaf.principal == f"user/{ACCOUNT}/user4"
        assert [operation for operation, _ in recorder.requests][:1] == ["query"]
        recorder.requests.clear()
        sums = await ledger.wide_sums(FIRST, FIRST + 1)
        assert [operation for operation, _ in recorder.requests] == ["query"]
        assert (
            sum(value for name, value in sums.items() if name[0] == "a" and name[-1] == "n") == 20
        )


@asynchronous
async def test_the_index_of_pending_calls_holds_pending_calls_alone() -> None:
    async with _recorded() as (ledger, recorder):
        table = f"{ledger._prefix}-entries"
        held = await recorder._client.scan(TableName=table, IndexName="by-leaf")
        assert held["Count"] == 10
        await books.rebook(ledger, poster(PRICED_LATER), Window(), pending=True)
        held = await recorder._client.scan(TableName=table, IndexName="by-leaf")
        assert held["Count"] == 0
        assert (await ledger.totals("model"))[UNLISTED].unpriced_calls == 0
        assert not (await ledger.verify()).differences
