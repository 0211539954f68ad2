"""Sealing the shared ledger while requests of others are in its way."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.calls import DAY, NOON, asynchronous, book, call, fold, poster
from tests.contract.test_forgetting import NAME, World, _alices, _world
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import FaultyClient, error
from tests.sealing import TODAY, FixedClock, long_after, told
from worker.adapters import dynamodb_sealing
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_sealing import Sealing
from worker.core.errors import TransientError
from worker.core.evidence import Counts
from worker.core.ledger import Amounts
from worker.core.seal import Seal

__all__ = ["long_after"]

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


# --- Forgetting while a seal is being made ---------------------------------------------------


@pytest.mark.parametrize("when", ["before it is checked", "after it was checked"])
@asynchronous
async def test_forgetting_while_a_seal_is_made_has_it_made_anew(
    when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sums were read under a name that is gone by the time that they would be stored."""
    monkeypatch.setattr(dynamodb_sealing, "FLUSH_ENTRIES", 2)
    async with _world(f"dynamodb:{new_prefix()}", local_endpoint()) as world:
        ledger = _ledger_of(world)
        await book(ledger, POSTER, *[_alices(n, at_ms=NOON - (n + 1) * DAY) for n in range(3)])
        real, done = Sealing._check, []

        async def check(self: Sealing, *arguments: Any) -> None:
            if when == "before it is checked":
                done.append(await world.forget())
            await real(self, *arguments)
            if when == "after it was checked":
                done.append(await world.forget())

        with monkeypatch.context() as patched:
            patched.setattr(Sealing, "_check", check)
            with pytest.raises(TransientError, match="forgetting a person in it"):
                await ledger.seal(TODAY)
        assert (await ledger.seal_in_force()).complete_day == 0
        assert (await ledger.verify()).differences == ()
        assert (await ledger.seal(TODAY)).is_complete
        sums = await ledger.sealed_sums()
        assert {leaf.principal for leaf in sums} == {done[0].pseudonym}
        assert sum(one.amounts.calls for one in sums.values()) == 3
        assert (await ledger.verify()).differences == ()
        assert (await world.forget()).pseudonym == done[0].pseudonym
        assert (await ledger.verify()).differences == ()


@asynchronous
async def test_sums_of_a_seal_that_was_killed_are_not_in_the_way_of_forgetting() -> None:
    """Of three days one is stored when it dies; forgetting removes the names of all."""
    async with _world(f"dynamodb:{new_prefix()}", local_endpoint()) as world:
        ledger = _ledger_of(world)
        await book(ledger, POSTER, *[_alices(n, at_ms=NOON - (n + 1) * DAY) for n in range(3)])
        real, stored = ledger._seals.store, 0

        async def store(*arguments: Any) -> bool:
            nonlocal stored
            stored += 1
            if stored == 2:
                raise TransientError("killed")
            return await real(*arguments)

        ledger._seals.store = store  # type: ignore[method-assign, assignment]
        with pytest.raises(TransientError, match="killed"):
            await ledger.seal(TODAY)
        done = await world.forget()
        assert (await ledger.verify()).differences == ()
        assert (await ledger.seal(TODAY)).is_complete
        sums = await ledger.sealed_sums()
        assert {leaf.principal for leaf in sums} == {done.pseudonym}
        assert NAME not in repr(sums)
        assert (await ledger.verify()).differences == ()


def _ledger_of(world: World) -> DynamoLedger:
    assert isinstance(world.ledger, DynamoLedger)
    world.ledger._settle_seconds = 0
    return world.ledger


# --- Sealing a period that is sealed, while a later one is -----------------------------------


@asynchronous
async def test_sealing_what_is_sealed_leaves_alone_who_seals_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dynamodb_sealing, "FLUSH_ENTRIES", 2)
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        one, other = open_at(prefix, real), open_at(prefix, real)
        seen = [call(n, PLENTY, at_ms=NOON - (n % 6) * DAY) for n in range(12)]
        await one.commit(fold(POSTER, seen), POSTER)
        await one.seal(TODAY - 3)
        # `one` reads the seal and is slow; meanwhile `other` adds up more.
        head, flushed = one._seals.head, other._seals.flushed
        read, go = asyncio.Event(), asyncio.Event()

        async def slow() -> Seal:
            found = await head()
            read.set()
            await go.wait()
            return found

        async def watched(flushes: Any) -> dict[tuple[int, int], Amounts]:
            go.set()
            await idle
            return await flushed(flushes)

        monkeypatch.setattr(one._seals, "head", slow)
        monkeypatch.setattr(other._seals, "flushed", watched)
        idle = asyncio.create_task(one.seal(TODAY - 4))
        await read.wait()
        assert (await other.seal(TODAY)).is_complete
        assert (await idle).day == TODAY - 3
        sums = await other.sealed_sums()
        assert sum(each.amounts.calls for each in sums.values()) == 10
        assert (await other.verify()).differences == ()
        assert [item async for item in other._seals._between("s#parts", "", "~")] == []


@asynchronous
async def test_sums_on_the_way_are_removed_by_their_keys() -> None:
    async with client(local_endpoint()) as real:
        recorder = FaultyClient(real, share=0)
        ledger = open_at(new_prefix(), recorder)
        await ledger.progress("")
        for number in range(3):
            sums = {(shape, 5): Amounts(1) for shape in range(1_200)}
            await ledger._seals.flush("000009.00000000.aa", number, sums)
        await ledger._seals.flush("000010.00000000.aa", 0, {(1, 5): Amounts(1)})
        recorder.requests.clear()
        await ledger._seals.drop_flushed("000009.00000000.")
        assert {
            arguments.get("ProjectionExpression")
            for operation, arguments in recorder.requests
            if operation == "query"
        } == {"pk, sk"}
        [left] = [item async for item in ledger._seals._between("s#parts", "", "~")]
        assert left["sk"] == {"S": "000010.00000000.aa#000000#0000"}


# --- A worker that sleeps --------------------------------------------------------------------


@asynchronous
async def test_who_slept_for_weeks_before_trying_again_slips_nothing_in() -> None:
    """What it made up as fresh calls is sealed by the time that it wakes."""
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        worker, sealer = open_at(prefix, real), open_at(prefix, real)
        clock = FixedClock(NOON)
        worker._clock = clock
        await worker.progress("")
        placed = worker._shards.get

        async def asleep() -> int:
            if clock.at_ms == NOON:
                clock.at_ms = LATER
                await sealer.seal(TODAY + 1)
            return await placed()

        worker._shards.get = asleep  # type: ignore[method-assign]
        batch = fold(POSTER, [call(1, PLENTY)])
        with pytest.raises(TransientError, match="stood still for a day"):
            await worker.commit(batch, POSTER)
        worker._heard_until = 0.0
        assert told(await worker.commit(batch, POSTER)) == (0, 0, 0, 1)
        verification = await sealer.verify()
        assert (verification.entries, verification.differences) == (0, ())
