"""Sealing the shared ledger: workers that know nothing of it, and a sealing that dies anywhere."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.calls import ACCOUNT, DAY, NOON, PRO, asynchronous, call, entries, fold, poster, snapshot
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.faults import FaultyClient
from tests.sealing import TODAY, FixedClock, let_go, told
from worker import books
from worker.adapters import dynamodb_sealing
from worker.adapters.dynamodb_items import SHARDS_MAX
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.errors import LedgerockError, TransientError
from worker.core.evidence import Counts, Observation
from worker.core.ledger import MS_PER_DAY, Amounts
from worker.core.seal import GUARDED_DAYS, LATE_DAYS
from worker.core.transactions import ITEMS_MAX
from worker.pipeline import Window

POSTER = poster()
PLENTY = Counts(1_000, 500)
MIDNIGHT = TODAY * MS_PER_DAY
LATER = NOON + 30 * DAY


def _ledger(prefix: str, opened: Any, clock: FixedClock | None = None) -> DynamoLedger:
    return DynamoLedger(
        prefix,
        dynamo=Dynamo(opened),
        create_tables=True,
        clock=clock or FixedClock(LATER),
        settle_seconds=0,
    )


@asynccontextmanager
async def _several(
    number: int, clock: FixedClock | None = None
) -> AsyncIterator[tuple[list[DynamoLedger], FaultyClient]]:
    """Open a new ledger several times, and the client that they share, which keeps requests."""
    async with client(local_endpoint()) as real:
        recorder = FaultyClient(real, share=0)
        prefix = new_prefix()
        yield [_ledger(prefix, recorder, clock) for _ in range(number)], recorder


def _checks(recorder: FaultyClient) -> list[tuple[int, int]]:
    """Return of each transaction how many items it has, and how many only check something."""
    return [
        (len(items), sum("ConditionCheck" in item for item in items))
        for operation, arguments in recorder.requests
        if operation == "transact_write_items"
        for items in [arguments["TransactItems"]]
    ]


async def _is_sound(ledger: DynamoLedger) -> None:
    verification = await ledger.verify()
    assert (verification.differences, verification.unsettled) == ((), ())


# --- Workers that have not heard -------------------------------------------------------------


@asynchronous
async def test_a_worker_that_has_not_heard_of_a_seal_slips_nothing_in() -> None:
    async with _several(2) as ([worker, sealer], _):
        await worker.commit(fold(POSTER, [call(1, PLENTY, at_ms=NOON - DAY)]), POSTER)
        await sealer.seal(TODAY)
        before = await snapshot(sealer)
        late = [
            call(1, Counts(1_000, 900), at_ms=NOON - DAY),
            call(2, PLENTY, at_ms=NOON - DAY),
            call(3, PLENTY, at_ms=NOON),
        ]
        done = await worker.commit(fold(POSTER, late), POSTER, touched=True)
        assert told(done) == (1, 0, 0, 2)
        [(leaf, amounts)] = done.postings
        assert (leaf.day, amounts.calls) == (TODAY, 1)
        after = await snapshot(sealer)
        assert {leaf: one for leaf, one in after.items() if leaf.day < TODAY} == before
        await _is_sound(sealer)


@asynchronous
async def test_a_seal_between_reading_and_writing_is_noticed() -> None:
    async with _several(2) as ([worker, sealer], _):
        await worker.progress("")
        real = worker._writes

        async def slow(*arguments: Any) -> Any:
            writes = await real(*arguments)
            await sealer.seal(TODAY)
            return writes

        worker._writes = slow  # type: ignore[method-assign, assignment]
        seen = [call(n, PLENTY, at_ms=NOON - (n % 2) * DAY) for n in range(200)]
        done = await worker.commit(fold(POSTER, seen), POSTER)
        assert told(done) == (100, 0, 0, 100)
        assert await sealer.sealed_sums() == {}
        assert len(await entries(sealer)) == 100
        await _is_sound(sealer)


@asynchronous
async def test_a_seal_in_the_middle_of_a_batch_counts_every_record_once() -> None:
    """Some transactions are made before the watermark moves; the others lose."""
    async with _several(2) as ([worker, sealer], _):
        await worker.progress("")
        real, made = worker._dynamo.transact, 0

        async def watched(items: Any) -> Any:
            nonlocal made
            made += 1
            if made == 2:
                await sealer.seal(TODAY)
            return await real(items)

        worker._dynamo.transact = watched  # type: ignore[method-assign]
        # Repeats, and calls whose records are on both sides of the watermark.
        seen: list[Observation] = []
        for n in range(300):
            seen += [call(n, PLENTY, at_ms=NOON - DAY), call(n, PLENTY, at_ms=NOON - DAY)]
            if n % 10 == 0:
                seen.append(call(n, PLENTY, at_ms=NOON))
        done = await worker.commit(fold(POSTER, seen), POSTER)
        assert sum(told(done)) == len(seen)
        booked = await entries(sealer)
        assert done.recorded == len(booked)
        old = [one for one in booked.values() if one.posting.leaf.day < TODAY]
        sums = await sealer.sealed_sums()
        assert sum(one.amounts.calls for one in sums.values()) == len(old) > 0
        await _is_sound(sealer)


@asynchronous
async def test_rebooking_that_has_not_heard_changes_nothing_that_is_sealed() -> None:
    async with _several(2) as ([worker, sealer], _):
        seen = [call(n, PLENTY, at_ms=NOON - n * DAY) for n in range(3)]
        await worker.commit(fold(POSTER, seen), POSTER)
        dearer = poster(f"model,unit,usd\n{PRO},input_tokens,9\n")
        real = worker.scan

        async def sealed_meanwhile(after: str | None = None) -> Any:
            async for page in real(after):
                await sealer.seal(TODAY)
                yield page

        worker.scan = sealed_meanwhile  # type: ignore[method-assign]
        done = await books.rebook(worker, dearer, Window())
        assert (done.rebooked, done.moved) == (1, 2)
        sums = await sealer.sealed_sums()
        assert {one.amounts.cost_pico_usd for one in sums.values()} == {2_400_000_000}
        await _is_sound(sealer)


# --- What it costs ---------------------------------------------------------------------------


@asynchronous
async def test_fresh_calls_check_nothing_and_old_ones_leave_room_for_it() -> None:
    clock = FixedClock(NOON)
    async with _several(1, clock) as ([ledger], recorder):
        fresh = [call(n, PLENTY) for n in range(300)]
        await ledger.commit(fold(POSTER, fresh), POSTER)
        checks = _checks(recorder)
        assert max(checks) == (ITEMS_MAX, 0)
        assert all(number == 0 for _, number in checks)
        recorder.requests.clear()
        clock.at_ms = NOON + (GUARDED_DAYS + 1) * DAY
        later = [call(1_000 + n, PLENTY) for n in range(300)]
        await ledger.commit(fold(POSTER, later), POSTER)
        checks = _checks(recorder)
        assert max(checks) == (ITEMS_MAX, 1)
        assert all(number == 1 for _, number in checks)
        clock.at_ms = NOON + (LATE_DAYS + 1) * DAY
        await ledger.seal(TODAY)
        assert (SHARDS_MAX + 1, 0) in _checks(recorder)


# --- A sealing that dies ---------------------------------------------------------------------


class DiesError(LedgerockError):
    """The process is no more."""


def _dying(opened: FaultyClient, after: int, *, made: bool) -> Any:
    """Return a client that is no more from its n-th write on, which is perhaps made."""

    class Dying:
        left = after

        def __getattr__(self, operation: str) -> Any:
            method = getattr(opened, operation)
            if not operation.startswith(
                ("transact", "batch_write", "put", "delete", "update_item")
            ):
                return method

            async def request(**arguments: Any) -> Any:
                self.left -= 1
                if self.left <= 0:
                    if made and self.left == 0:
                        await method(**arguments)
                    raise DiesError("killed")
                return await method(**arguments)

            return request

    return Dying()


@pytest.mark.parametrize("made", [False, True], ids=["before", "after"])
@asynchronous
async def test_a_sealing_that_is_killed_at_any_write_is_completed_by_the_next(
    made: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With sums kept after every page, so that it resumes in the middle, too."""
    monkeypatch.setattr(dynamodb_sealing, "FLUSH_ENTRIES", 2)
    deaths = 0
    async with client(local_endpoint()) as real:
        opened = FaultyClient(real, share=0)
        for writes in range(1, 40):
            prefix = new_prefix()
            worker = _paged(_ledger(prefix, opened))
            seen = [
                call(n, PLENTY, user=f"user{n % 3}", at_ms=NOON - (n % 3) * DAY) for n in range(6)
            ]
            await worker.commit(fold(POSTER, seen), POSTER)
            before = await snapshot(worker)
            dying = _paged(_ledger(prefix, _dying(opened, writes, made=made)))
            dying._missing = []
            try:
                await dying.seal(TODAY)
            except DiesError:
                deaths += 1
            else:
                assert deaths >= 8  # the watermark, flushes and places, sums, the seal, cleaning up
                return
            await _is_sound(worker)
            # More comes meanwhile; of the sealed days nothing any more once the watermark moved.
            more = [call(50, PLENTY, at_ms=NOON - DAY), call(51, PLENTY, at_ms=NOON)]
            late = await worker.commit(fold(POSTER, more), POSTER)
            moved = (await worker.seal_in_force()).day == TODAY
            assert told(late) == ((1, 0, 0, 1) if moved else (2, 0, 0, 0))
            seal = await _paged(_ledger(prefix, opened)).seal(TODAY)
            assert (seal.day, seal.complete_day) == (TODAY, TODAY)
            expected = {
                leaf: amounts
                for leaf, amounts in (await snapshot(worker)).items()
                if leaf.day < TODAY
            }
            if moved:
                assert expected == {leaf: one for leaf, one in before.items() if leaf.day < TODAY}
            sums = await worker.sealed_sums()
            assert {leaf: one.amounts for leaf, one in sums.items()} == expected
            await _is_sound(worker)
            assert [item async for item in worker._seals._between("s#parts", "", "~")] == []
    pytest.fail("it never came to an end")


def _paged(ledger: DynamoLedger) -> DynamoLedger:
    """Have a ledger read its entries a few at a time."""
    ledger._pace.page = lambda entries_max: min(3, entries_max)  # type: ignore[method-assign]
    return ledger


@asynchronous
async def test_two_who_seal_at_once_come_to_the_same() -> None:
    async with _several(3) as ([worker, one, other], _):
        seen = [call(n, PLENTY, at_ms=NOON - (n % 4) * DAY) for n in range(40)]
        await worker.commit(fold(POSTER, seen), POSTER)
        done = await asyncio.gather(one.seal(TODAY), other.seal(TODAY), return_exceptions=True)
        assert all(isinstance(each, TransientError) or each.is_complete for each in done)  # type: ignore[union-attr]
        assert (await one.seal(TODAY)).is_complete
        sums = await worker.sealed_sums()
        assert sum(each.amounts.calls for each in sums.values()) == 30
        await _is_sound(worker)


@pytest.mark.parametrize("seed", range(3))
@asynchronous
async def test_faults_on_a_fifth_of_requests_change_nothing(seed: int) -> None:
    async with client(local_endpoint()) as real:
        prefix = new_prefix()
        await _ledger(prefix, real).progress("")
        ledger = _ledger(prefix, FaultyClient(real, seed))
        seen = [
            call(n, PLENTY, user=f"user{n % 5}", at_ms=NOON - (n % 30) * DAY) for n in range(300)
        ]
        await _persistently(lambda: ledger.commit(fold(POSTER, seen), POSTER))
        await _persistently(lambda: ledger.seal(TODAY))
        told_to_go = await _persistently(lambda: ledger.expire(0, LATER))
        assert told_to_go <= 220
        steady = _ledger(prefix, real)
        await steady.expire(0, LATER)
        assert await let_go(steady, real, LATER) == 220  # of the 22 oldest days of 30
        verification = await steady.verify()
        assert (verification.entries, verification.gone) == (80, 220)
        assert (verification.differences, verification.unsettled) == ((), ())
        assert (await steady.totals("account"))[ACCOUNT] == Amounts(
            300, 300 * 2_400_000_000, 300_000, 150_000
        )


async def _persistently(work: Callable[[], Any]) -> Any:
    for _ in range(20):
        try:
            return await work()
        except TransientError:
            continue
    return await work()


# --- What goes -------------------------------------------------------------------------------


@asynchronous
async def test_entries_are_told_when_to_go_in_epoch_seconds_and_once() -> None:
    async with _several(1) as ([ledger], recorder):
        at_ms = NOON - 20 * DAY
        await ledger.commit(fold(POSTER, [call(1, PLENTY, at_ms=at_ms)]), POSTER)
        await ledger.seal(TODAY)

        async def told_now() -> int:
            [item] = [
                item
                async for page in ledger._dynamo.pages("scan", TableName=ledger._entries)
                for item in page
            ]
            return int(item["x"]["N"])

        assert await ledger.expire(100, LATER) == 1
        assert await told_now() == at_ms // 1_000 + 100 * 86_400
        recorder.requests.clear()
        assert await ledger.expire(100, LATER) == 0
        assert all(operation != "update_item" for operation, _ in recorder.requests)
        assert await ledger.expire(365, LATER) == 1  # it may stay longer, as long as it is there
        assert await told_now() == at_ms // 1_000 + 365 * 86_400
        assert await ledger.expire(0, LATER) == 1
        assert await told_now() == LATER // 1_000  # long past would never be removed
        assert await ledger.expire(0, LATER + DAY) == 0
