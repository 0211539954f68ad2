"""Verifying and rebooking the shared ledger while others write to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.calls import ACCOUNT, DAY, NOON, PRO, asynchronous, book, call, fold, poster, snapshot
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import FaultyClient
from worker import books
from worker.adapters import dynamodb_reading
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.pace import Pace
from worker.core.evidence import Counts
from worker.pipeline import Window

POSTER = poster()
PLENTY = Counts(1_000, 500)
DEARER = f"model,unit,usd\n{PRO},input_tokens,9\n"


@asynccontextmanager
async def _two() -> AsyncIterator[tuple[DynamoLedger, DynamoLedger, Any]]:
    """Two processes' ledgers on the same tables, and the client under them."""
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        first = DynamoLedger(prefix, dynamo=Dynamo(real), create_tables=True)
        await book(first, POSTER, *(call(number, PLENTY) for number in range(40)))
        yield first, DynamoLedger(prefix, dynamo=Dynamo(real)), real


async def _add(real: Any, prefix: str, key: dict[str, str], name: str, value: int) -> None:
    await real.update_item(
        TableName=f"{prefix}-balances",
        Key={part: {"S": text} for part, text in key.items()},
        UpdateExpression=f"ADD {name} :v",
        ExpressionAttributeValues={":v": {"N": str(value)}},
    )


async def _item(real: Any, prefix: str, pk: str) -> dict[str, Any]:
    answer = await real.query(
        TableName=f"{prefix}-balances",
        KeyConditionExpression="pk = :p",
        ExpressionAttributeValues={":p": {"S": pk}},
    )
    item: dict[str, Any] = answer["Items"][0]
    return item


@asynchronous
async def test_a_tampered_balance_is_found_and_told() -> None:
    async with _two() as (ledger, _, real):
        for pk, letter, figure in (
            (f"p#user/{ACCOUNT}/alice", "b", "cost_pico_usd"),
            ("w", "n", "calls"),
        ):
            item = await _item(real, ledger._prefix, pk)
            name = next(name for name in item if name[-1] == letter and len(name) == 15)
            key = {"pk": pk, "sk": item["sk"]["S"]}
            await _add(real, ledger._prefix, key, name, 7)
            [found] = (await ledger.verify()).differences
            assert found.balance is not None
            assert found.entries is not None
            assert getattr(found.balance, figure) - getattr(found.entries, figure) == 7
            await _add(real, ledger._prefix, key, name, -7)
        assert not (await ledger.verify()).differences


@asynchronous
async def test_an_entry_without_its_balance_is_found() -> None:
    async with _two() as (ledger, _, real):
        item = await _item(real, ledger._prefix, f"p#user/{ACCOUNT}/alice")
        key = {"pk": item["pk"], "sk": item["sk"]}
        await real.delete_item(TableName=f"{ledger._prefix}-balances", Key=key)
        [found] = (await ledger.verify()).differences
        assert (found.leaf.principal, found.balance) == (f"user/{ACCOUNT}/alice", None)
        assert found.entries is not None
        assert found.entries.calls == 40


@asynchronous
async def test_an_index_that_lags_behind_makes_no_difference() -> None:
    """A global secondary index follows its table after a moment; verifying does not rely on it."""
    async with _two() as (ledger, _, _real):

        async def nothing(_partition: str) -> list[dict[str, Any]]:
            return []

        ledger._payers = nothing  # type: ignore[assignment]
        verification = await ledger.verify()
        assert verification.differences == ()


@asynchronous
async def test_what_others_write_meanwhile_is_no_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody books, and betters what is booked, for as long as the books are verified."""
    monkeypatch.setattr(dynamodb_reading, "SCAN_PAGE", 10)
    async with _two() as (ledger, other, _):
        await book(ledger, POSTER, call(90, PLENTY, user="quiet", at_ms=NOON + DAY))
        done = asyncio.Event()
        written = 0

        async def write() -> None:
            nonlocal written
            while not done.is_set():
                written += 1
                better = [call(number, Counts(1_000, 500, written)) for number in range(0, 40, 3)]
                fresh = call(1_000 + written, PLENTY, user=f"user{written % 3}")
                await other.commit(fold(POSTER, [*better, fresh]), POSTER)

        writer = asyncio.create_task(write())
        verification = await ledger.verify()
        done.set()
        await writer
        assert written > 1
        assert verification.differences == ()
        assert verification.unsettled
        assert "quiet" not in str(verification.unsettled)
        verification = await ledger.verify()
        assert (verification.differences, verification.unsettled) == ((), ())


@asynchronous
async def test_a_tampered_balance_is_found_while_others_write() -> None:
    async with _two() as (ledger, other, real):
        await book(ledger, POSTER, call(90, PLENTY, user="quiet", at_ms=NOON + DAY))
        item = await _item(real, ledger._prefix, f"p#user/{ACCOUNT}/quiet")
        name = next(name for name in item if name[-1] == "a" and len(name) == 15)
        key = {"pk": item["pk"]["S"], "sk": item["sk"]["S"]}
        await _add(real, ledger._prefix, key, name, 1)
        done = asyncio.Event()

        async def write() -> None:
            number = 1_000
            while not done.is_set():
                number += 1
                await other.commit(fold(POSTER, [call(number, PLENTY)]), POSTER)

        writer = asyncio.create_task(write())
        verification = await ledger.verify()
        done.set()
        await writer
        assert [found.leaf.principal for found in verification.differences] == [
            f"user/{ACCOUNT}/quiet"
        ]


@asynchronous
async def test_rebooking_while_others_write_ends_where_a_fresh_replay_would() -> None:
    async with _two() as (ledger, other, _):
        dearer = poster(DEARER)
        better = [call(number, Counts(1_000, 500, 4_000)) for number in range(0, 40, 2)]

        async def write() -> None:
            for observation in better:
                await other.commit(fold(dearer, [observation]), dearer)

        writer = asyncio.create_task(write())
        await books.rebook(ledger, dearer, Window())
        await writer
        await books.rebook(ledger, dearer, Window())
        memory = MemoryLedger()
        await book(memory, dearer, *(call(number, PLENTY) for number in range(40)), *better)
        assert await snapshot(ledger) == await snapshot(memory)
        assert not (await ledger.verify()).differences


@asynchronous
async def test_an_interrupted_rebooking_is_taken_up_where_it_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dynamodb_reading, "SCAN_PAGE", 10)
    async with _two() as (ledger, other, _):
        dearer = poster(DEARER)

        def stop(entries: int) -> None:
            if entries >= 20:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            await books.rebook(ledger, dearer, Window(), on_progress=stop)
        assert not (await ledger.verify()).differences
        rest = await books.rebook(other, dearer, Window())
        # DynamoDB Local's order puts what was replaced last, so that it is met again.
        assert (rest.resumed, rest.rebooked) == (True, 20)
        [(_, amounts)] = await ledger.balances()
        # 1,000 x 9 + 500 x 3.2 USD a million, 40 times
        assert amounts.cost_pico_usd == 40 * 10_600_000_000
        assert not (await ledger.verify()).differences


def test_reading_everything_keeps_to_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    now = 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now
        waited.append(seconds)
        now += seconds

    monkeypatch.setattr("worker.adapters.pace.asyncio.sleep", sleep)
    monkeypatch.setattr("worker.adapters.pace.time.monotonic", lambda: now)

    async def read() -> None:
        pace = Pace(50)
        assert (pace.page(1_000), pace.page(20)) == (50, 20)
        for _ in range(5):
            await pace.take(50)
        assert sum(waited) == pytest.approx(4)
        await Pace(None).take(10**9)

    asyncio.run(read())
    assert sum(waited) == pytest.approx(4)


@asynchronous
async def test_a_paced_ledger_reads_small_pages() -> None:
    async with _two() as (ledger, _, real):
        recorder = FaultyClient(real, share=0)
        paced = DynamoLedger(ledger._prefix, dynamo=Dynamo(recorder), entries_per_second=400)
        assert (await paced.verify()).entries == 40
        limits = {sent["Limit"] for operation, sent in recorder.requests if operation == "scan"}
        assert limits == {400}
