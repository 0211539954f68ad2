"""Sealing the shared ledger while requests of others are in its way."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.calls import DAY, NOON, asynchronous, call, fold, poster
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import error
from tests.sealing import TODAY, FixedClock
from worker.adapters import dynamodb_sealing
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.evidence import Counts

POSTER = poster()
PLENTY = Counts(1_000, 500)
LATER = NOON + 30 * DAY

Item = dict[str, Any]


def open_at(prefix: str, opened: Any) -> DynamoLedger:
    """Return a ledger whose entries are read a few at a time."""
    ledger = DynamoLedger(
        prefix,
        dynamo=Dynamo(opened),
        create_tables=True,
        clock=FixedClock(LATER),
        settle_seconds=0,
    )
    ledger._pace.page = lambda entries_max: min(3, entries_max)  # type: ignore[method-assign]
    return ledger


class Conflicting:
    """A client whose first transactions that write certain items are cancelled."""

    def __init__(self, real: Any, wanted: Callable[[Item], bool], code: str, times: int) -> None:
        self._real, self._wanted, self._code, self.left = real, wanted, code, times

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._real, operation)
        if operation != "transact_write_items":
            return method

        async def request(**arguments: Any) -> Any:
            puts = [one["Put"]["Item"] for one in arguments["TransactItems"] if "Put" in one]
            if self.left and any(map(self._wanted, puts)):
                self.left -= 1
                failed = error("TransactionCanceledException", operation)
                reasons: list[Item] = [{"Code": "None"} for _ in arguments["TransactItems"]]
                reasons[0] = {"Code": self._code, "Message": "injected"}
                failed.response["CancellationReasons"] = reasons
                raise failed
            return await method(**arguments)

        return request


def _is_copy(item: Item) -> bool:
    return bool(item["pk"] == {"S": "s"} and item["sk"] != {"S": "-"})


def _is_completion(item: Item) -> bool:
    is_head = item["pk"] == {"S": "s"} and item["sk"] == {"S": "-"}
    return is_head and '"complete_day":0' not in item["note"]["S"]


def _is_place(item: Item) -> bool:
    return bool(item["pk"] == {"S": "n#seal sums"})


@pytest.mark.parametrize("wanted", [_is_copy, _is_completion, _is_place])
@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError"])
@asynchronous
async def test_conflicts_and_throttles_do_not_end_a_sealing(
    wanted: Callable[[Item], bool], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They say nothing of who seals: only a condition that fails does."""
    monkeypatch.setattr(dynamodb_sealing, "FLUSH_ENTRIES", 2)
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        seen = [call(n, PLENTY, at_ms=NOON - DAY) for n in range(9)]
        await open_at(prefix, real).commit(fold(POSTER, seen), POSTER)
        faulty = Conflicting(real, wanted, code, times=2)
        ledger = open_at(prefix, faulty)
        assert (await ledger.seal(TODAY)).is_complete
        assert faulty.left == 0
        assert (ledger._dynamo.conflicts, ledger._dynamo.throttles).count(2) == 1
        assert (await ledger.verify()).differences == ()


@asynchronous
async def test_the_watermark_moves_while_old_calls_are_booked_without_a_break() -> None:
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        workers = [open_at(prefix, real) for _ in range(3)]
        await workers[0].progress("")
        stop, started = False, asyncio.Event()

        async def replay(number: int) -> int:
            first, recorded = number * 1_000_000, 0
            while not stop:
                seen = [call(first + n, PLENTY, user=f"user{number}") for n in range(40)]
                done = await workers[number].commit(fold(POSTER, seen), POSTER)
                recorded, first = recorded + done.recorded, first + 40
                started.set()
            return recorded

        tasks = [asyncio.create_task(replay(number)) for number in range(3)]
        await started.wait()
        try:
            sealer = open_at(prefix, real)
            assert (await sealer.seal(TODAY + 1)).is_complete
        finally:
            stop = True
            recorded = await asyncio.gather(*tasks)
        sums = await sealer.sealed_sums()
        assert sum(one.amounts.calls for one in sums.values()) == sum(recorded)
        assert (await sealer.verify()).differences == ()
