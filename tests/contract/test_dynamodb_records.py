"""Records in the state table: what is known of a write after faults, and what reading costs."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.calls import asynchronous
from tests.contract.test_dynamodb_state import LostAnswers
from tests.contract.test_outbox import due as due_notices
from tests.contract.test_outbox import notice
from tests.contract.test_records import due, following, record
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import FaultyClient, error
from worker.adapters import dynamodb_requests
from worker.adapters.dynamodb_budgets import DynamoBudgets
from worker.adapters.dynamodb_outbox import DynamoOutbox
from worker.adapters.dynamodb_records import DynamoRecords
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_state import DUE_INDEX, StateTable
from worker.adapters.memory_records import MemoryRecords
from worker.core.budget_terms import Budget, Scope
from worker.core.errors import LedgerockError, TransientError
from worker.ports import Record


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_LAST_SECONDS", 0.01)


def table_of(client_: Any, prefix: str | None = None) -> StateTable:
    return StateTable(prefix or new_prefix(), dynamo=Dynamo(client_), create_tables=True)


class Meddling(FaultyClient):
    """Lets something happen at the first transaction: before it is made, or once it was."""

    def __init__(self, real: Any, then: Callable[..., Any]) -> None:
        super().__init__(real, share=0)
        self._then: Callable[..., Any] | None = then
        self.sent: list[dict[str, Any]] = []

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._client, operation)
        if operation != "transact_write_items":
            return method

        async def request(**arguments: Any) -> Any:
            self.sent.append(arguments)
            then, self._then = self._then, None
            if then is None:
                return await method(**arguments)
            await then(method, arguments)
            return await self._timeout_before(operation, method, arguments)

        return request


# --- Lost answers ----------------------------------------------------------------------------


@asynchronous
async def test_what_was_written_though_its_answer_was_lost_is_known_to_be_written() -> None:
    async with client(local_endpoint()) as real:
        losing = LostAnswers(real, "transact_write_items")
        records = DynamoRecords(table_of(losing))
        first, other = record(), record("b")
        assert await records.write([first])
        assert not await records.write([first])
        assert await records.write([following(first), other])
        assert not await records.write([following(first), following(other)])
        assert not await records.remove(first)
        assert await records.remove(other)
        assert not await records.remove(other)
        assert losing.faults["lost_answer"] == 7


@asynchronous
async def test_a_write_counts_as_made_though_others_wrote_the_next_version_by_then() -> None:
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        others = DynamoRecords(table_of(real, prefix))
        first = record()

        async def overwritten(method: Any, arguments: Any) -> None:
            await method(**arguments)
            assert await others.write([following(first)])

        async def removed(method: Any, arguments: Any) -> None:
            await method(**arguments)
            assert await others.write([record("c", 2)])

        meddling = Meddling(real, overwritten)
        assert await DynamoRecords(table_of(meddling, prefix)).write([first])
        assert [one["ClientRequestToken"] for one in meddling.sent] == [
            meddling.sent[0]["ClientRequestToken"]
        ] * 2
        assert await others.get("p", "a") == following(first)
        assert await DynamoRecords(table_of(Meddling(real, removed), prefix)).write([record("c")])


@asynchronous
async def test_a_write_that_was_not_made_is_not_taken_for_the_one_of_others() -> None:
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        others = DynamoRecords(table_of(real, prefix))
        ours, theirs = record(body=b"ours"), record(body=b"theirs")

        async def overtaken(_method: Any, _arguments: Any) -> None:
            assert await others.write([theirs])

        assert not await DynamoRecords(table_of(Meddling(real, overtaken), prefix)).write([ours])
        assert await others.get("p", "a") == theirs


@asynchronous
async def test_a_service_that_forgot_the_request_token_still_finds_the_write_its_own() -> None:
    class Forgetting(LostAnswers):
        def __getattr__(self, operation: str) -> Any:
            request = super().__getattr__(operation)
            if operation != "transact_write_items":
                return request

            async def forgotten(**arguments: Any) -> Any:
                method = getattr(self._client, operation)
                if self.faults["lost_answer"]:
                    changed = {**arguments, "ClientRequestToken": new_prefix()}
                    return await method(**changed)
                return await request(**arguments)

            return forgotten

    async with client(local_endpoint()) as real:
        records = DynamoRecords(table_of(Forgetting(real, "transact_write_items")))
        assert await records.write([record(), record("b")])


# --- Cancelled transactions ------------------------------------------------------------------


class Cancelling(FaultyClient):
    """Cancels the first transactions, each for the reasons that it is given."""

    def __init__(self, real: Any, *scripts: list[str]) -> None:
        super().__init__(real, share=0)
        self.scripts = list(scripts)

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._client, operation)
        if operation != "transact_write_items":
            return method

        async def request(**arguments: Any) -> Any:
            if not self.scripts:
                return await method(**arguments)
            failed = error("TransactionCanceledException", operation)
            codes = self.scripts.pop(0)
            failed.response["CancellationReasons"] = [
                {"Code": code, "Message": "injected"} for code in codes
            ]
            raise failed

        return request


@asynchronous
async def test_conflicts_and_throttles_are_tried_again_and_failed_conditions_are_not() -> None:
    async with client(local_endpoint()) as real:
        passing = [["TransactionConflict", "None"], ["None", "ThrottlingError"]]
        cancelling = Cancelling(real, *passing)
        records = DynamoRecords(table_of(cancelling))
        assert await records.write([record(), record("b")])
        cancelling.scripts = [["TransactionConflict", "ConditionalCheckFailed"]]
        assert not await records.write([record("c"), record("d")])
        assert await records.get("p", "c") is None


@asynchronous
async def test_what_stays_cancelled_ends_in_an_error_that_says_why() -> None:
    async with client(local_endpoint()) as real:
        cancelling = Cancelling(real, *[["TransactionConflict"]] * 10)
        records = DynamoRecords(table_of(cancelling))
        with pytest.raises(TransientError, match="cancelled 10 times"):
            await records.write([record()])
        cancelling.scripts = [["ValidationError"]]
        with pytest.raises(LedgerockError, match=r"refused .* ValidationError: injected"):
            await records.write([record()])
        assert await records.write([record()])


@asynchronous
async def test_failing_requests_change_no_answer() -> None:
    """The same steps in memory and on a bad connection: every answer is the same."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    async with client(local_endpoint()) as real:
        faulty = FaultyClient(real, seed, share=0.15)
        records, memory = DynamoRecords(table_of(faulty)), MemoryRecords()
        for step in range(60):
            some = [
                record(
                    name,
                    chance.randrange(1, 4),
                    body=str(step).encode(),
                    queue=chance.choice(["", "enforce"]),
                    due_at_ms=step,
                )
                for name in chance.sample("abcd", chance.randrange(1, 3))
            ]
            assert await records.write(some) == await memory.write(some), seed
            if chance.random() < 0.2:
                one = some[0]
                assert await records.remove(one) == await memory.remove(one), seed
        assert await records.partition("p") == await memory.partition("p"), seed
        keys = [("p", name) for name in "abcdef"]
        assert await records.get_many(keys) == await memory.get_many(keys), seed
        assert await due(records, "enforce") == await due(memory, "enforce"), seed
        assert faulty.faults.total() > 5, seed


@asynchronous
async def test_appending_on_a_bad_connection_neither_loses_nor_forks() -> None:
    """Several append entries behind one head; each that is told of its success is there."""

    async def append(records: DynamoRecords, mine: str) -> int:
        while True:
            head = await records.get("p", "head")
            number = (0 if head is None else head.version) + 1
            entry = record(f"{number:04}", body=mine.encode())
            if await records.write([entry, record("head", number)]):
                return number

    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        seed = random.randrange(10**6)
        writers = [
            DynamoRecords(table_of(FaultyClient(real, seed + number, share=0.2), prefix))
            for number in range(4)
        ]
        texts = [f"{writer}-{number}" for writer in range(4) for number in range(4)]
        numbers = await asyncio.gather(*(append(writers[int(text[0])], text) for text in texts))
        sound = DynamoRecords(table_of(real, prefix))
        found = (await sound.partition("p"))[:-1]
        assert {one.name: one.body.decode() for one in found} == {
            f"{number:04}": text for number, text in zip(numbers, texts, strict=True)
        }, seed
        assert sorted(numbers) == list(range(1, 17)), seed


# --- Reading ---------------------------------------------------------------------------------


@asynchronous
async def test_an_index_that_lags_behind_yields_nothing_that_is_done() -> None:
    async with client(local_endpoint()) as real:
        table = table_of(real)
        records = DynamoRecords(table)
        many = [record(name, queue="enforce", due_at_ms=5) for name in "abcd"]
        assert await records.write(many)
        stale = [keys async for keys in table.due("enforce", 9, 10)]
        done, moved, later = (
            following(many[0], queue=""),
            following(many[1], queue="monitor"),
            following(many[2], due_at_ms=10),
        )
        assert await records.write([done, moved, later])

        async def as_it_was(*_arguments: Any, **_more: Any) -> Any:
            for keys in stale:
                yield [*keys, {"pk": {"S": "r#gone"}, "sk": {"S": "e9"}}]

        table.due = as_it_was  # type: ignore[method-assign]
        assert await due(records, "enforce", 9) == [many[3]]


@asynchronous
async def test_only_what_waits_is_in_the_index() -> None:
    async with client(local_endpoint()) as real:
        table = table_of(real)
        records = DynamoRecords(table)
        waiting, done = record(queue="enforce", due_at_ms=5), record("b", queue="enforce")
        assert await records.write([waiting, done, record("c", due_at_ms=7)])
        assert await records.write([following(done, queue="", due_at_ms=9)])
        listed = await real.scan(TableName=table.name, IndexName=DUE_INDEX)
        assert [item["sk"]["S"] for item in listed["Items"]] == ["a"]


@asynchronous
async def test_records_collide_with_nothing_else_in_the_table() -> None:
    async with client(local_endpoint()) as real:
        table = table_of(real)
        records, budgets, outbox = DynamoRecords(table), DynamoBudgets(table), DynamoOutbox(table)
        budget, one = Budget("a", Scope("everything"), 1), notice(1)
        assert await budgets.put(budget)
        assert await outbox.put([one]) == [one]
        for partition, name in (("b", "a"), ("s#budget/a", "e1"), ("r#b", "a")):
            assert await records.write([record(name, partition=partition)])
        assert await budgets.budgets() == [budget]
        assert await outbox.about("budget/a") == [one]
        assert await due_notices(outbox) == [one]
        assert await records.partition("b") == [record("a", partition="b")]


@asynchronous
async def test_one_budget_that_changed_is_found_without_reading_the_others() -> None:
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        budgets = DynamoBudgets(table_of(real, prefix))
        kept = [
            Budget(f"b{number:03}", Scope("everything"), 1, created_at_ms=number)
            for number in range(150)
        ]
        await asyncio.gather(*(budgets.put(budget) for budget in kept))
        changed = msgspec.structs.replace(kept[7], revision=2, created_at_ms=1_000)
        assert await budgets.put(changed)
        seen = FaultyClient(real, share=0)
        table = StateTable(prefix, dynamo=Dynamo(seen))
        assert await DynamoBudgets(table).changed(900) == [changed]
        [(query, asked), (read, wanted)] = seen.requests
        assert (query, asked["IndexName"], read) == ("query", DUE_INDEX, "batch_get_item")
        assert len(wanted["RequestItems"][table.name]["Keys"]) == 1
        known = {one.name: one for one in (*kept, changed)}
        assert await DynamoBudgets(table).changed(0, known) == []
        assert [kind for kind, _ in seen.requests[2:]] == ["query"], "nothing is read"
        assert await DynamoBudgets(table).find("b008") == kept[8]
        assert await DynamoBudgets(table).changed(2_000) == []


@asynchronous
async def test_a_range_of_a_partition_is_asked_for_and_nothing_else() -> None:
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        records = DynamoRecords(table_of(real, prefix))
        many = [record(f"{number:04}#x", body=bytes(10_000)) for number in range(48)]
        assert await records.write(many)
        answers: list[int] = []

        class Counting(FaultyClient):
            def __getattr__(self, operation: str) -> Any:
                method = getattr(self._client, operation)

                async def request(**arguments: Any) -> Any:
                    answer = await method(**arguments)
                    answers.append(answer.get("ScannedCount", 0))
                    return answer

                return request

        counted = DynamoRecords(StateTable(prefix, dynamo=Dynamo(Counting(real))))
        found: list[Record] = []
        for beginning, after, limit in (("0007", "", None), ("004", "0044#x", None), ("", "", 3)):
            found += await counted.partition("p", beginning, after=after, limit=limit)
        assert found == [many[7], *many[45:], *many[:3]]
        assert sum(answers) <= len(found) + 1
