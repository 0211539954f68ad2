"""The journal of a shared ledger: what it costs, what it remembers, and that it disturbs nobody."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.calls import ACCOUNT, DAY, HOUR, NOON, asynchronous, book, call, poster
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import FaultyClient
from worker.adapters import dynamodb_items as items
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.budget_terms import Scope, ScopeDays
from worker.core.errors import TransientError
from worker.core.evidence import Counts, Observation
from worker.core.journal import JOURNAL_DAYS

POSTER = poster()
PLENTY = Counts(1_000, 500)
TODAY = NOON // DAY
ROLE = f"role/{ACCOUNT}/Bot"


class Hands:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.at_ms = NOON

    def now_ms(self) -> int:
        return self.at_ms


def _by(role: str, number: int, at_ms: int = NOON) -> Observation:
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/s"
    return call(number, PLENTY, at_ms=at_ms, identity_arn=arn)


@asynccontextmanager
async def _opened(prefix: str = "") -> AsyncIterator[tuple[DynamoLedger, FaultyClient, Hands]]:
    async with client(local_endpoint()) as real:
        asked, clock = FaultyClient(real, share=0), Hands()
        dynamo = Dynamo(asked)
        prefix = prefix or new_prefix()
        yield DynamoLedger(prefix, dynamo=dynamo, create_tables=True, clock=clock), asked, clock


async def _booked(ledger: DynamoLedger, *identities: str, from_ms: int = NOON) -> list[str]:
    return [entry.key async for page in ledger.booked(identities, from_ms) for entry in page]


async def _journal(ledger: DynamoLedger, asked: FaultyClient) -> list[items.Item]:
    """Return all items of the journal, as only a test may look for them."""
    found = await asked._client.scan(TableName=items.balances_table(ledger._prefix))
    return [item for item in found["Items"] if item["pk"]["S"].startswith("j#")]


@asynchronous
async def test_finding_calls_takes_as_many_requests_whatever_others_did() -> None:
    async with _opened() as (ledger, asked, _):
        await book(ledger, POSTER, *(_by("Bot", number) for number in range(3)))
        asked.requests.clear()
        assert len(await _booked(ledger, ROLE)) == 3
        alone = [operation for operation, _ in asked.requests]
        # What is sealed; a day before it was booked, that day and the next; and the entries,
        # three at once.
        assert alone == ["get_item", "query", "query", "batch_get_item", "query"]
        for batch in range(3):
            first = 100 * (batch + 1)
            others = (_by(f"R{number % 40}", number) for number in range(first, first + 100))
            await book(ledger, POSTER, *others)
        asked.requests.clear()
        assert len(await _booked(ledger, ROLE)) == 3
        assert [operation for operation, _ in asked.requests] == alone
        [read] = [got for operation, got in asked.requests if operation == "batch_get_item"]
        assert len(read["RequestItems"][items.entries_table(ledger._prefix)]["Keys"]) == 3
        assert all(got.get("ConsistentRead", True) for _, got in asked.requests)


@asynchronous
async def test_a_commit_notes_its_calls_in_one_request_and_a_duplicate_in_none() -> None:
    async with _opened() as (ledger, asked, _):
        await book(ledger, POSTER, _by("Bot", 999))  # makes the day and the names known
        asked.requests.clear()
        seen = [_by(f"R{number % 9}", number) for number in range(60)]
        await book(ledger, POSTER, *seen)
        names = [operation for operation, _ in asked.requests]
        # Names of the nine roles that are new, and the journal.
        assert names.count("batch_write_item") == 2
        assert names.index("transact_write_items") > max(
            place for place, name in enumerate(names) if name == "batch_write_item"
        )
        before = await _journal(ledger, asked)
        assert len(before) <= 1 + 8
        asked.requests.clear()
        await book(ledger, POSTER, *seen)
        assert "batch_write_item" not in [operation for operation, _ in asked.requests]
        assert await _journal(ledger, asked) == before


@asynchronous
async def test_the_journal_is_in_the_way_of_nothing() -> None:
    async with _opened() as (ledger, asked, _):
        await book(ledger, POSTER, *(_by(f"R{number}", number) for number in range(12)))
        assert await _journal(ledger, asked)
        everything = [ScopeDays(Scope("everything"), TODAY, TODAY)]
        said = await ledger.balances(), await ledger.verify(), await ledger.spend(everything)
        for item in await _journal(ledger, asked):
            key = {"pk": item["pk"], "sk": item["sk"]}
            await asked._client.delete_item(TableName=f"{ledger._prefix}-balances", Key=key)
        again = await ledger.balances(), await ledger.verify(), await ledger.spend(everything)
        assert again == said
        assert (said[1].entries, said[1].differences) == (12, ())


@asynchronous
async def test_notes_expire_after_the_days_that_the_journal_goes_back() -> None:
    async with _opened() as (ledger, asked, clock):
        await book(ledger, POSTER, _by("Bot", 1))
        [note] = await _journal(ledger, asked)
        expires_ms = int(note["x"]["N"]) * 1_000
        assert NOON + JOURNAL_DAYS * DAY < expires_ms <= NOON + (JOURNAL_DAYS + 2) * DAY
        described = await asked._client.describe_time_to_live(
            TableName=items.balances_table(ledger._prefix)
        )
        assert described["TimeToLiveDescription"] == {
            "AttributeName": "x",
            "TimeToLiveStatus": "ENABLED",
        }
        clock.at_ms = NOON + JOURNAL_DAYS * DAY
        assert await _booked(ledger, ROLE, from_ms=0) == [call(1).key]
        clock.at_ms += 1
        assert await _booked(ledger, ROLE, from_ms=0) == []


@pytest.mark.parametrize("skew_ms", [-23 * HOUR, 0, 23 * HOUR])
@asynchronous
async def test_clocks_may_differ_by_a_day(skew_ms: int) -> None:
    prefix = new_prefix()
    async with _opened(prefix) as (writer, _, clock):
        clock.at_ms = NOON + skew_ms
        await book(writer, POSTER, _by("Bot", 1))
        async with _opened(prefix) as (reader, _, _):
            assert await _booked(reader, ROLE) == [call(1).key]


@asynchronous
async def test_calls_that_were_noted_and_never_booked_are_passed_over() -> None:
    async with _opened() as (ledger, asked, _):
        await book(ledger, POSTER, _by("Bot", 1))
        transact = asked._client.transact_write_items

        async def killed(**_arguments: object) -> None:
            message = "killed"
            raise TransientError(message)

        asked._client.transact_write_items = killed
        with pytest.raises(TransientError, match="killed"):
            await book(ledger, POSTER, _by("Bot", 2))
        asked._client.transact_write_items = transact
        assert len(await _journal(ledger, asked)) == 2
        assert await _booked(ledger, ROLE) == [call(1).key]
        assert not (await ledger.verify()).differences
        await book(ledger, POSTER, _by("Bot", 2))
        assert sorted(set(await _booked(ledger, ROLE))) == [call(1).key, call(2).key]


@asynchronous
async def test_a_dry_run_notes_nothing() -> None:
    prefix = new_prefix()
    async with _opened(prefix) as (ledger, asked, _):
        await ledger.progress("")  # makes the tables
        dry = DynamoLedger(prefix, dynamo=Dynamo(asked), discard=True)
        await book(dry, POSTER, _by("Bot", 1))
        assert await _journal(ledger, asked) == []
