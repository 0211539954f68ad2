"""The state table: its items, and what is known after faults and lost answers."""

import asyncio
import json
import random
from typing import Any

import pytest

from tests.calls import PRO, asynchronous, book, call, poster
from tests.contract.test_outbox import NOW, due, notice
from tests.dynamodb import client, environment_of, local_endpoint, new_prefix
from tests.faults import FaultyClient
from worker.adapters import dynamodb_requests
from worker.adapters.dynamodb_budgets import DynamoBudgets
from worker.adapters.dynamodb_notes import DynamoNotes
from worker.adapters.dynamodb_outbox import DynamoOutbox
from worker.adapters.dynamodb_profiles import DynamoProfiles
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_state import DUE_INDEX, EXPIRES, StateTable, bounded
from worker.adapters.memory_state import MemoryBudgets, MemoryOutbox, MemoryProfiles
from worker.bootstrap import open_ledger, open_state
from worker.core.budget_terms import Budget, Scope, ScopeDays
from worker.core.errors import ConfigurationError, TransientError
from worker.core.evidence import Counts
from worker.core.registry import ApplicationProfile
from worker.core.spend import Spend
from worker.settings import Settings


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_LAST_SECONDS", 0.01)


def _table(prefix: str, made_by: Any, *, create_tables: bool = True) -> StateTable:
    return StateTable(prefix, dynamo=Dynamo(made_by), create_tables=create_tables)


def _reached_by(table: StateTable, client_: Any) -> StateTable:
    """Return the same table behind another client."""
    return _table(table.name.removesuffix("-state"), client_, create_tables=False)


class LostAnswers(FaultyClient):
    """Makes some requests, and loses the answers to each of them once."""

    def __init__(self, real: Any, *operations: str) -> None:
        super().__init__(real)
        self._operations = set(operations)
        self._seen: list[tuple[str, Any]] = []

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._client, operation)
        if operation not in self._operations:
            return method

        async def request(**arguments: Any) -> Any:
            if (operation, arguments) in self._seen:
                return await method(**arguments)
            self._seen.append((operation, arguments))
            self.faults["lost_answer"] += 1
            return await self._lost_answer(operation, method, arguments)

        return request


# --- The table -------------------------------------------------------------------------------


@asynchronous
async def test_the_table_is_made_once_and_lets_items_expire() -> None:
    prefix = new_prefix()
    async with client(local_endpoint()) as real:
        tables = [_table(prefix, real) for _ in range(4)]
        await asyncio.gather(*(table.prepare() for table in tables))
        description = (await real.describe_table(TableName=f"{prefix}-state"))["Table"]
        assert description["TableStatus"] == "ACTIVE"
        assert description["StreamSpecification"]["StreamEnabled"] is True
        [index] = description["GlobalSecondaryIndexes"]
        assert index["IndexName"] == DUE_INDEX
        answer = await real.describe_time_to_live(TableName=f"{prefix}-state")
        expiry = answer["TimeToLiveDescription"]
        assert (expiry["TimeToLiveStatus"], expiry["AttributeName"]) == ("ENABLED", EXPIRES)


@asynchronous
async def test_a_missing_table_is_named() -> None:
    prefix = new_prefix()
    async with client(local_endpoint()) as real:
        budgets = DynamoBudgets(_table(prefix, real, create_tables=False))
        with pytest.raises(ConfigurationError, match=f"no table {prefix}-state.*CREATE_TABLES"):
            await budgets.budgets()


def test_names_too_long_for_a_key_are_cut_and_told_apart() -> None:
    assert bounded("short", 900) == "short"
    assert bounded("ä" * 450, 900) == "ä" * 450
    long = [bounded("ä" * 450 + end, 900) for end in ("1", "2")]
    assert len(set(long)) == 2
    assert all(len(name.encode()) <= 900 for name in long)


@asynchronous
async def test_ledger_and_state_are_made_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for local use: nothing but the environment says where they are."""
    for name, value in environment_of(local_endpoint()).items():
        monkeypatch.setenv(name, value)
    environment = {"LEDGEROCK_CREATE_TABLES": "1", "LEDGEROCK_TABLE_PREFIX": new_prefix()}
    settings = Settings.read(environment, ledger="dynamodb")
    ledger, state = open_ledger(settings), open_state(settings)
    try:
        await book(ledger, poster(), call(1, Counts(1_000, 500)))
        assert await state.outbox.put([notice(1)]) == [notice(1)]
        days = ScopeDays(Scope("model", PRO), 0, 999_999)
        assert await ledger.spend([days]) == [Spend(1, 2_400_000_000, 1_500)]
        assert not (await ledger.verify()).differences
    finally:
        await state.close()
        await ledger.close()


# --- Items -----------------------------------------------------------------------------------


@asynchronous
async def test_only_pending_notices_are_in_the_index() -> None:
    async with client(local_endpoint()) as real:
        table = _table(new_prefix(), real)
        outbox = DynamoOutbox(table)
        await outbox.put([notice(1), notice(2), notice(3, state="late"), notice(4)])
        await outbox.settle(notice(1), "announced", NOW)
        await outbox.settle(notice(2), "lapsed", NOW)
        listed = await real.scan(TableName=table.name, IndexName=DUE_INDEX)
        [item] = listed["Items"]
        assert item["sk"] == {"S": "e4"}


@asynchronous
async def test_an_index_that_lags_behind_announces_nothing_twice() -> None:
    async with client(local_endpoint()) as real:
        table = _table(new_prefix(), real)
        outbox = DynamoOutbox(table)
        await outbox.put([notice(1), notice(2)])
        stale = [keys async for keys in table.due("announce", NOW, 10)]
        assert len(stale[0]) == 2
        await outbox.settle(notice(1), "announced", NOW)

        async def as_it_was(*_arguments: Any) -> Any:
            for keys in stale:
                yield [*keys, {"pk": {"S": "s#gone"}, "sk": {"S": "e9"}}]

        table.due = as_it_was  # type: ignore[method-assign,assignment]
        assert await due(outbox) == [notice(2)]


@asynchronous
async def test_notes_expire_no_sooner_than_they_may() -> None:
    async with client(local_endpoint()) as real:
        table = _table(new_prefix(), real)
        far_ms = 4_000_000_000_001
        await DynamoNotes(table).put("s3://bucket/key", "7", keep_until_ms=far_ms)
        [item] = await table.partition("o#s3://bucket/key")
        assert int(item[EXPIRES]["N"]) * 1_000 >= far_ms
        assert int(item[EXPIRES]["N"]) * 1_000 < far_ms + 1_000


@asynchronous
async def test_nothing_but_notes_ever_expires() -> None:
    async with client(local_endpoint()) as real:
        table = _table(new_prefix(), real)
        await DynamoBudgets(table).put(Budget("a", Scope("everything"), 1))
        await DynamoOutbox(table).put([notice(1)])
        await DynamoProfiles(table).learn([ApplicationProfile("arn", PRO)])
        items = (await real.scan(TableName=table.name))["Items"]
        assert len(items) == 3
        assert not any(EXPIRES in item for item in items)


# --- Lost answers ----------------------------------------------------------------------------


@asynchronous
async def test_what_was_written_though_its_answer_was_lost_is_known_to_be_ours() -> None:
    async with client(local_endpoint()) as real:
        losing = LostAnswers(real, "put_item", "update_item")
        table = _table(new_prefix(), losing)
        outbox, budgets = DynamoOutbox(table), DynamoBudgets(table)
        one = notice(1)
        assert await outbox.put([one]) == [one], "it is new, though the second request found it"
        assert await outbox.put([one]) == []
        assert await outbox.settle(one, "announced", NOW, b"{}")
        assert not await outbox.settle(one, "announced", NOW, b"{}")
        budget = Budget("a", Scope("everything"), 1)
        assert await budgets.put(budget)
        assert not await budgets.put(budget)
        assert await DynamoProfiles(table).learn([ApplicationProfile("arn", PRO)]) == 1
        assert losing.faults["lost_answer"] >= 7


@asynchronous
async def test_a_notice_is_kept_when_all_answers_are_lost() -> None:
    """The put fails; what it wrote is there, is announced, and is not new when put again."""
    async with client(local_endpoint()) as real:
        table = _table(new_prefix(), FaultyClient(real))
        await table.prepare()
        faulty = _AllLost(real)
        with pytest.raises(TransientError):
            await DynamoOutbox(_reached_by(table, faulty)).put([notice(1)])
        sound = DynamoOutbox(_reached_by(table, real))
        assert await due(sound) == [notice(1)]
        assert await sound.put([notice(1)]) == []


class _AllLost(FaultyClient):
    """Makes every write, and loses all answers."""

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._client, operation)

        async def request(**arguments: Any) -> Any:
            try:
                return await self._lost_answer(operation, method, arguments)
            except self._client.exceptions.ConditionalCheckFailedException:
                return await self._throttle(operation, method, arguments)

        return request


@asynchronous
async def test_failing_requests_change_no_answer() -> None:
    """The same steps in memory and on a bad connection: every answer is the same."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    async with client(local_endpoint()) as real:
        faulty = FaultyClient(real, seed, share=0.15)
        table = _table(new_prefix(), faulty)
        outbox, memory = DynamoOutbox(table), MemoryOutbox()
        budgets, few = DynamoBudgets(table), MemoryBudgets()
        profiles, known = DynamoProfiles(table), MemoryProfiles()
        for step in range(30):
            some = [notice(chance.randrange(25), due_at_ms=step) for _ in range(3)]
            assert await outbox.put(some) == await memory.put(some), seed
            one = chance.choice(some)
            detail = json.dumps(step).encode()
            settled = [await box.settle(one, "announced", step, detail) for box in (outbox, memory)]
            assert settled[0] == settled[1], seed
            budget = Budget(
                "a", Scope("everything"), step, revision=chance.randrange(step // 4, 10)
            )
            assert await budgets.put(budget) == await few.put(budget), seed
            tags = (("k", "v"),) if chance.random() < 0.3 else ()
            profile = ApplicationProfile(f"arn{chance.randrange(9)}", PRO, tags=tags)
            assert await profiles.learn([profile]) == await known.learn([profile]), seed
        assert await outbox.about("budget/a") == await memory.about("budget/a"), seed
        assert await due(outbox) == await due(memory), seed
        assert await budgets.budgets() == await few.budgets(), seed
        assert await profiles.profiles() == await known.profiles(), seed
        assert faulty.faults.total() > 5, seed
