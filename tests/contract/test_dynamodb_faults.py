"""The shared ledger under faults and concurrency: exact, and what it says it did is what it did."""

import asyncio
import itertools
import random
from typing import Any

import pytest

from tests.calls import asynchronous, call, fold, poster, request_id
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import FaultyClient, error
from tests.shared_books import (
    batches,
    book_all,
    differences,
    expected_books,
    observations,
    shuffled_twice,
)
from worker.adapters import dynamodb_requests
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.errors import ConfigurationError, LedgerCorruptError, RefusedError, TransientError
from worker.core.evidence import Counts

POSTER = poster()
PLENTY = Counts(1_000, 500)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_FIRST_SECONDS", 0.001)
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_LAST_SECONDS", 0.01)


def _ledger(prefix: str, faulty: Any, **options: Any) -> DynamoLedger:
    return DynamoLedger(prefix, dynamo=Dynamo(faulty), create_tables=True, **options)


@pytest.mark.parametrize(
    "writers, prefetch", [(2, True), (2, False), (4, True)], ids=["2", "2-blind", "4"]
)
@asynchronous
async def test_a_fifth_of_requests_failing_changes_nothing(writers: int, prefetch: bool) -> None:
    """Each record comes twice, shuffled over concurrent writers with ledgers of their own."""
    seed = random.randrange(10**6)
    calls, size = (1_000, 250) if writers == 4 else (600, 150)
    seen = observations(range(calls), seed)
    records = shuffled_twice(seen, seed)
    prefix = new_prefix()
    async with client(local_endpoint()) as real:
        faulty = [FaultyClient(real, seed + number) for number in range(writers)]
        ledgers = [_ledger(prefix, one, prefetch=prefetch) for one in faulty]
        done = await asyncio.gather(
            *(
                book_all(ledger, POSTER, batches(records[number::writers], size))
                for number, ledger in enumerate(ledgers)
            )
        )
        sound = _ledger(prefix, real)
        assert await differences(sound, await expected_books(POSTER, seen)) == [], seed
        verification = await sound.verify()
        assert (verification.differences, verification.unsettled) == ((), ())
        figures = list(itertools.chain.from_iterable(done))
        assert sum(one.recorded for one in figures) == calls
        total = sum(one.recorded + one.upgraded + one.duplicates for one in figures)
        assert total == len(records)
        # What the commits say that they posted is what the balances hold.
        posted: dict[Any, int] = {}
        for leaf, amounts in itertools.chain.from_iterable(one.postings for one in figures):
            posted[leaf] = posted.get(leaf, 0) + amounts.cost_pico_usd
        held = {leaf: amounts.cost_pico_usd for leaf, amounts in await sound.balances()}
        assert {leaf: cost for leaf, cost in posted.items() if cost} == {
            leaf: cost for leaf, cost in held.items() if cost
        }
        assert sum(one.faults.total() for one in faulty) > 10


@asynchronous
async def test_a_transaction_whose_answer_was_lost_is_sent_again_under_its_token() -> None:
    async with client(local_endpoint()) as real:
        faulty = _Scripted(real, ["lost", "conflict", "throttle", "conflict"])
        ledger = _ledger(new_prefix(), faulty)
        done = await ledger.commit(fold(POSTER, [call(1, PLENTY), call(2, PLENTY)]), POSTER)
        assert (done.recorded, done.duplicates) == (2, 0)
        assert sum(amounts.calls for _, amounts in done.postings) == 2
        assert len(faulty.sent) == 5
        assert len({sent["ClientRequestToken"] for sent in faulty.sent}) == 1
        assert all(sent["TransactItems"] == faulty.sent[0]["TransactItems"] for sent in faulty.sent)
        [(_, amounts)] = await ledger.balances()
        assert amounts.calls == 2


@asynchronous
async def test_a_balance_that_conflicts_is_spread_over_shards() -> None:
    async with client(local_endpoint()) as real:
        faulty = _Scripted(real, ["conflict"])
        ledger = _ledger(new_prefix(), faulty)
        await ledger.commit(fold(POSTER, [call(1, PLENTY)]), POSTER)
        first, second = faulty.sent
        assert first["ClientRequestToken"] != second["ClientRequestToken"]
        assert _payer_key(first) != _payer_key(second)
        await ledger.commit(fold(POSTER, [call(2, PLENTY)]), POSTER)
        assert _payer_key(faulty.sent[-1]) != _payer_key(first)
        [(_, amounts)] = await ledger.balances()
        assert amounts.calls == 2
        assert not (await ledger.verify()).differences


def _payer_key(sent: dict[str, Any]) -> Any:
    keys = [item["Update"]["Key"] for item in sent["TransactItems"] if "Update" in item]
    [key] = [key for key in keys if key["pk"]["S"].startswith("p#")]
    return key


class _Scripted(FaultyClient):
    """Fails the first transactions as it is told."""

    def __init__(self, real: Any, script: list[str]) -> None:
        super().__init__(real, share=0)
        self._script = script
        self.sent: list[dict[str, Any]] = []

    def __getattr__(self, operation: str) -> Any:
        method = super().__getattr__(operation)
        if operation != "transact_write_items":
            return method

        async def request(**arguments: Any) -> Any:
            self.sent.append(arguments)
            match self._script.pop(0) if self._script else "":
                case "lost":
                    return await self._lost_answer(operation, method, arguments)
                case "conflict":
                    reasons = [
                        {"Code": "TransactionConflict" if "Update" in item else "None"}
                        for item in arguments["TransactItems"]
                    ]
                    failed = error("TransactionCanceledException", operation)
                    failed.response["CancellationReasons"] = reasons
                    raise failed
                case "throttle":
                    raise error("ThrottlingException", operation)
                case "":
                    return await method(**arguments)
                case code:
                    raise error(code, operation)

        return request


@asynchronous
async def test_faults_that_stay_end_in_a_passing_error_and_leave_no_half() -> None:
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        broken = _ledger(prefix, _Scripted(real, ["ThrottlingException"] * 100))
        batch = fold(POSTER, [call(1, PLENTY)])
        with pytest.raises(TransientError, match="failed 10 times"):
            await broken.commit(batch, POSTER)
        conflicting = _ledger(prefix, _Scripted(real, ["conflict"] * 100))
        with pytest.raises(TransientError, match="conflicts or throttles"):
            await conflicting.commit(batch, POSTER)
        sound = _ledger(prefix, real)
        assert await sound.find(request_id(1)) == []
        assert await sound.balances() == []
        assert (await sound.commit(batch, POSTER)).recorded == 1


@asynchronous
async def test_requests_that_cannot_succeed_are_not_repeated() -> None:
    async with client(local_endpoint()) as real:
        for code, kind in (
            ("ValidationException", RefusedError),
            ("IdempotentParameterMismatchException", LedgerCorruptError),
            ("AccessDeniedException", ConfigurationError),
        ):
            faulty = _Scripted(real, [code] * 100)
            with pytest.raises(kind):
                await _ledger(new_prefix(), faulty).commit(fold(POSTER, [call(1)]), POSTER)
            assert len(faulty.sent) == 1
        missing = DynamoLedger(new_prefix(), dynamo=Dynamo(real))
        with pytest.raises(ConfigurationError, match="LEDGEROCK_CREATE_TABLES"):
            await missing.commit(fold(POSTER, [call(1)]), POSTER)


@asynchronous
async def test_rebooking_leaves_out_only_what_moved_meanwhile() -> None:
    """One entry that moved cancels its transaction; the others are rebooked all the same."""
    from worker.ports import Rebooking  # noqa: PLC0415

    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        ledger, other = _ledger(prefix, real), _ledger(prefix, real)
        seen = [call(number, PLENTY) for number in range(50)]
        await ledger.commit(fold(POSTER, seen), POSTER)
        dearer = poster("model,unit,usd\namazon.nova-pro-v1:0,input_tokens,9\n")
        found = [entry async for page in ledger.scan() for entry in page]
        stale = [Rebooking(entry, dearer.rate(entry.evidence)) for entry in found]
        read = ledger._items_of

        async def overtaken(keys: list[bytes]) -> dict[bytes, Any]:
            bodies = await read(keys)
            better = call(7, Counts(1_000, 500, 4_000))
            await other.commit(fold(POSTER, [better]), POSTER)
            return bodies

        ledger._items_of = overtaken  # type: ignore[method-assign]
        assert await ledger.rebook(stale) == 49
        assert not (await other.verify()).differences
