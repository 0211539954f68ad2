"""Sealing: what is before the watermark stays as it is, whatever comes, and whatever goes."""

import itertools
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.calls import (
    ACCOUNT,
    DAY,
    HOUR,
    MICRO,
    NOON,
    PRO,
    UNLISTED,
    asynchronous,
    book,
    call,
    documents,
    entries,
    fold,
    poster,
    snapshot,
)
from tests.contract.conftest import Open
from tests.sealing import TODAY, client_of, let_go, long_after, told
from worker import books
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.budget_terms import Scope, ScopeDays
from worker.core.errors import ConfigurationError, LedgerCorruptError
from worker.core.evidence import (
    Counts,
    Evidence,
    EvidenceRank,
    Facts,
    Observation,
    SourceRank,
    call_key,
)
from worker.core.ledger import MS_PER_DAY, Amounts, Leaf
from worker.core.registry import Calendar, Registry
from worker.core.seal import KEPT_DAYS, NOTHING_SEALED, SealedSum
from worker.pipeline import Window
from worker.ports import Ledger, Rebooking

__all__ = ["long_after"]

POSTER = poster()
PLENTY = Counts(1_000, 500)
"""On Nova Pro: 1,000 x 0.8 + 500 x 3.2 USD a million = 0.0024 USD."""
PLENTY_PICO = 2_400_000_000
ONCE = Amounts(1, PLENTY_PICO, 1_000, 500)
MIDNIGHT = TODAY * MS_PER_DAY
"""2026-10-01T00:00:00Z, the watermark of most tests here."""
YESTERDAY = NOON - DAY


async def _filled(ledger: Ledger) -> None:
    """Book two calls of yesterday and one of today."""
    await book(
        ledger,
        POSTER,
        call(1, PLENTY, at_ms=YESTERDAY),
        call(2, PLENTY, at_ms=MIDNIGHT - 1, user="bob"),
        call(3, PLENTY, at_ms=MIDNIGHT),
    )


async def _is_sound(ledger: Ledger) -> None:
    verification = await ledger.verify()
    assert (verification.differences, verification.unsettled) == ((), ())


@asynchronous
async def test_nothing_is_sealed_at_first(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        assert await ledger.seal_in_force() == NOTHING_SEALED
        assert await ledger.sealed_sums() == {}
        assert await ledger.expire(0, NOON) == 0


@asynchronous
async def test_sealing_stores_what_each_balance_adds_up_to(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _filled(ledger)
        before = await snapshot(ledger), await documents(ledger)
        seal = await ledger.seal(TODAY)
        assert (seal.day, seal.complete_day, seal.expired_day) == (TODAY, TODAY, 0)
        assert await ledger.seal_in_force() == seal
        sums = {leaf.principal: (leaf, one) for leaf, one in (await ledger.sealed_sums()).items()}
        assert sums.keys() == {f"user/{ACCOUNT}/alice", f"user/{ACCOUNT}/bob"}
        for leaf, one in sums.values():
            assert (leaf.day, one) == (TODAY - 1, SealedSum(ONCE, TODAY))
        assert (await snapshot(ledger), await documents(ledger)) == before
        verification = await ledger.verify()
        assert (verification.entries, verification.sealed, verification.gone) == (3, 2, 0)
        assert verification.differences == ()


@asynchronous
async def test_a_watermark_never_moves_back(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _filled(ledger)
        seal = await ledger.seal(TODAY)
        sums = await ledger.sealed_sums()
        for day in (TODAY, TODAY - 1, 1):
            assert await ledger.seal(day) == seal
        assert await ledger.sealed_sums() == sums


@asynchronous
async def test_a_later_seal_goes_on_where_the_one_before_ended(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _filled(ledger)
        await ledger.seal(TODAY)
        await book(ledger, POSTER, call(4, PLENTY, at_ms=NOON + DAY))
        await ledger.seal(TODAY + 1)
        sums = await ledger.sealed_sums()
        found = sorted((leaf.day - TODAY, one.day - TODAY) for leaf, one in sums.items())
        assert found == [(-1, 0), (-1, 0), (0, 1)]
        assert list(await ledger.sealed_sums(TODAY, TODAY)) == [
            leaf for leaf in sums if leaf.day == TODAY
        ]
        assert (await ledger.verify()).sealed == 3
        await _is_sound(ledger)


# --- What comes late -------------------------------------------------------------------------


@asynchronous
async def test_what_happened_before_the_watermark_is_ignored(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _filled(ledger)
        await ledger.seal(TODAY)
        before = await snapshot(ledger), await entries(ledger)
        late, again = (call(5, PLENTY, at_ms=MIDNIGHT - 1) for _ in range(2))
        [done] = await book(ledger, POSTER, late, again)
        assert told(done) == (0, 0, 0, 2)
        assert (done.postings, done.touched) == ([], set())
        known = call(1, Counts(1_000, 600), at_ms=YESTERDAY)
        [done] = await book(ledger, POSTER, known, call(2, PLENTY, at_ms=MIDNIGHT - 1, user="bob"))
        assert told(done) == (0, 0, 0, 2)
        assert (await snapshot(ledger), await entries(ledger)) == before
        [done] = await book(ledger, POSTER, late, call(6, PLENTY, at_ms=MIDNIGHT), known)
        assert told(done) == (1, 0, 0, 2)
        [(leaf, amounts)] = done.postings
        assert (leaf.day, amounts) == (TODAY, ONCE)
        await _is_sound(ledger)


@asynchronous
async def test_a_sealed_call_is_not_changed_by_a_record_of_today(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        log = call(1, PLENTY, at_ms=MIDNIGHT - 1)
        await book(ledger, POSTER, log)
        await ledger.seal(TODAY)
        before = await entries(ledger)
        trails = [_trail(1, MIDNIGHT + 400, principal_id="AIDA1") for _ in range(2)]
        [done] = await ledger_commit(ledger, trails)
        assert told(done) == (0, 0, 0, 2)
        assert (done.known, await entries(ledger)) == (frozenset(), before)


@asynchronous
async def test_a_call_of_today_is_not_moved_before_the_watermark(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await book(ledger, POSTER, _trail(1, MIDNIGHT + 400))
        await ledger.seal(TODAY)
        before = await entries(ledger)
        [done] = await book(ledger, POSTER, call(1, PLENTY, at_ms=MIDNIGHT - 1))
        assert told(done) == (0, 0, 0, 1)
        assert await entries(ledger) == before
        await _is_sound(ledger)


def _trail(number: int, at_ms: int, **more: Any) -> Observation:
    source, rank = SourceRank.API_EVENT, EvidenceRank.SIGHTING
    return call(number, source=source, rank=rank, at_ms=at_ms, **more)


async def ledger_commit(ledger: Ledger, seen: Sequence[Observation]) -> list[Any]:
    return [await ledger.commit(fold(POSTER, seen), POSTER, touched=True)]


def _straddling(number: int) -> tuple[Observation, Observation, Observation]:
    """Records of one call on both sides of the watermark.

    Alone the last two are a call of today, of 1,000 x 0.8 + 1 x 3.2 USD a million.
    """
    return (
        call(number, PLENTY, at_ms=MIDNIGHT - 1),
        _trail(number, MIDNIGHT + 400, principal_id="AIDA1"),
        call(
            number,
            Counts(1_000, 1),
            at_ms=MIDNIGHT + 900,
            source=SourceRank.COMPLETION,
            rank=EvidenceRank.PARTIAL,
        ),
    )


@asynchronous
async def test_records_of_one_call_on_both_sides_are_judged_one_by_one(open_ledger: Open) -> None:
    """However they come: alone, together, in any order, and each twice."""
    async with open_ledger() as ledger:
        await ledger.seal(TODAY)
        number = 0
        for order in itertools.permutations(range(3)):
            for places in ([[one] for one in order], [order], [order[:2], order[1:]], [order * 2]):
                number += 1
                done = [
                    await ledger.commit(
                        fold(POSTER, [_straddling(number)[place] for place in group]), POSTER
                    )
                    for group in places
                ]
                assert sum(one.sealed for one in done) == sum(group.count(0) for group in places)
                assert sum(sum(told(one)) for one in done) == sum(map(len, places))
                assert sum(one.recorded for one in done) == 1
        booked = list((await entries(ledger)).values())
        assert len(booked) == number == 24
        assert len({(entry.evidence, entry.posting) for entry in booked}) == 1
        assert booked[0].evidence.facts.principal_id == "AIDA1"
        [(leaf, amounts)] = await ledger.balances()
        assert (leaf.day, amounts.calls) == (TODAY, 24)
        assert amounts.cost_pico_usd == 24 * 803_200_000
        await _is_sound(ledger)


def _manifest(number: int) -> Observation:
    """A batch job's sums, which name no time."""
    facts = Facts(account="-", region="us-east-1", region_rank=1, model_id=PRO, model_id_rank=1)
    evidence = Evidence(facts, 0, 0, int(EvidenceRank.METERED), PLENTY)
    return Observation(call_key("batch", "-", f"job{number:09d}"), evidence)


@asynchronous
async def test_what_names_no_time_is_never_sealed(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await book(ledger, POSTER, _manifest(1))
        await ledger.seal(TODAY)
        assert await ledger.sealed_sums() == {}
        [done] = await book(ledger, POSTER, _manifest(2), call(9, PLENTY, at_ms=YESTERDAY))
        assert told(done) == (1, 0, 0, 1)
        made = call(1, at_ms=NOON, rank=EvidenceRank.SIGHTING).evidence
        event = Observation(_manifest(2).key, made)
        [done] = await book(ledger, POSTER, event)
        assert told(done) == (0, 1, 0, 0)
        days = sorted(entry.posting.leaf.day for entry in (await entries(ledger)).values())
        assert days == [0, TODAY]
        await _is_sound(ledger)


# --- What is mended late ---------------------------------------------------------------------


@asynchronous
async def test_rebook_leaves_sealed_calls_alone_and_counts_them(open_ledger: Open) -> None:
    dearer = poster(f"model,unit,usd\n{PRO},input_tokens,9\n")
    async with open_ledger() as ledger:
        await _filled(ledger)
        await ledger.seal(TODAY)
        sealed = {key: entry for key, entry in (await entries(ledger)).items() if _is_old(entry)}
        dry = await books.rebook(ledger, dearer, Window(), dry_run=True)
        assert (dry.entries, dry.rebooked, dry.sealed) == (3, 1, 2)
        done = await books.rebook(ledger, dearer, Window())
        assert (done.rebooked, done.sealed, done.moved) == (1, 2, 0)
        assert done.sealed_before_ms == MIDNIGHT
        now = await entries(ledger)
        assert {key: now[key] for key in sealed} == sealed
        wanted = [Rebooking(entry, dearer.rate(entry.evidence)) for entry in sealed.values()]
        assert await ledger.rebook(wanted) == 0
        await _is_sound(ledger)


def _is_old(entry: Any) -> bool:
    day: int = entry.posting.leaf.day
    return day < TODAY


@asynchronous
async def test_late_prices_and_mappings_pass_over_sealed_calls(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        seen = [call(n, PLENTY, model=UNLISTED, at_ms=NOON - n * DAY) for n in range(3)]
        await book(ledger, POSTER, *seen)
        await ledger.seal(TODAY)
        for some in (ledger.pending(), ledger.booked([f"user/{ACCOUNT}/alice"], 0)):
            assert [entry.key async for page in some for entry in page] == [seen[0].key]


# --- What is told of sealed days -------------------------------------------------------------


@asynchronous
async def test_local_days_that_the_watermark_cuts_in_two_keep_their_sums(open_ledger: Open) -> None:
    """Noon in Auckland is before midnight in UTC: one local day is on both sides."""
    zone = "Pacific/Auckland"
    registry = Registry(calendars=[Calendar("everything", zone, ZoneInfo(zone))])
    local = poster(registry=registry)
    async with open_ledger() as ledger:
        # 13:00 UTC is 02:00 of the next day there: both are of its 2026-10-01.
        seen = [call(1, PLENTY, at_ms=MIDNIGHT - 11 * HOUR), call(2, PLENTY, at_ms=MIDNIGHT + HOUR)]
        await book(ledger, local, *seen)
        scope = Scope("everything", "")
        ranges = [ScopeDays(scope, TODAY + step, TODAY + step) for step in (-1, 0, 1)]
        before = [(one.calls, one.cost_pico_usd) for one in await ledger.spend(ranges)]
        assert before == [(0, 0), (2, 2 * PLENTY_PICO), (0, 0)]
        await ledger.seal(TODAY)
        assert [(one.calls, one.cost_pico_usd) for one in await ledger.spend(ranges)] == before
        await book(ledger, local, call(3, PLENTY, at_ms=MIDNIGHT + 2 * HOUR))
        assert (await ledger.spend(ranges))[1].calls == 3
        assert (await ledger.verify()).sealed == 1
        await _is_sound(ledger)


# --- What goes -------------------------------------------------------------------------------

LONG_AGO = (TODAY - KEPT_DAYS - 1) * MS_PER_DAY + 12 * HOUR


async def _old_books(ledger: Ledger) -> None:
    await book(
        ledger,
        POSTER,
        call(1, PLENTY, at_ms=LONG_AGO),
        call(2, PLENTY, at_ms=LONG_AGO, user="bob"),
        call(3, PLENTY, at_ms=LONG_AGO + DAY),
        call(4, PLENTY, at_ms=NOON),
        Observation(
            call_key("batch", "-", "job000000001"), call(5, PLENTY, at_ms=LONG_AGO).evidence
        ),
    )


@asynchronous
async def test_only_what_is_sealed_and_old_goes(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _old_books(ledger)
        now = NOON + 30 * DAY
        assert await ledger.expire(0, now) == 0
        await ledger.seal(TODAY)
        before = await snapshot(ledger), await documents(ledger)
        told_to_go = await ledger.expire(0, now)
        await let_go(ledger, client_of(ledger), now)
        assert told_to_go == 2  # not the one of the last days before the watermark, nor the job
        left = await entries(ledger)
        assert sorted(key[-2:] for key in left) == ["01", "03", "04"]
        assert (await snapshot(ledger), await documents(ledger)) == before
        assert (await ledger.seal_in_force()).expired_day == TODAY - KEPT_DAYS
        verification = await ledger.verify()
        assert (verification.entries, verification.sealed, verification.gone) == (3, 3, 2)
        await _is_sound(ledger)
        assert await ledger.expire(0, now) == 0
        [done] = await book(ledger, POSTER, call(1, PLENTY, at_ms=LONG_AGO))
        assert told(done) == (0, 0, 0, 1)
        await _is_sound(ledger)


@asynchronous
async def test_entries_stay_until_they_are_as_old_as_is_asked(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _old_books(ledger)
        await ledger.seal(TODAY)
        early, late = LONG_AGO + 100 * DAY - HOUR, LONG_AGO + 100 * DAY + HOUR
        await ledger.expire(100, early)
        assert await let_go(ledger, client_of(ledger), early) == 0
        assert len(await entries(ledger)) == 5
        await ledger.expire(100, late)
        await let_go(ledger, client_of(ledger), late)
        assert len(await entries(ledger)) == 3
        await _is_sound(ledger)


@asynchronous
async def test_reports_that_cut_a_day_apart_need_its_entries(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _old_books(ledger)
        await ledger.seal(TODAY)
        now = NOON + 30 * DAY
        await ledger.expire(0, now)
        await let_go(ledger, client_of(ledger), now)
        whole = await books.report(ledger, "model", Window())
        assert whole.total.calls == 5
        cut = await books.report(ledger, "model", Window(None, NOON))
        assert cut.total.calls == 4
        with pytest.raises(ConfigurationError, match="2026-09-23 only the whole day is known"):
            await books.report(ledger, "model", Window(LONG_AGO, None))


# --- What is wrong ---------------------------------------------------------------------------


async def _add_to_balance(ledger: Ledger, leaf: Leaf) -> None:
    """Tamper with a balance: one more call."""
    if isinstance(ledger, MemoryLedger):
        for leaf_id, amounts in ledger._balances.items():
            if ledger._decoder.leaf(leaf_id) == leaf:
                amounts.calls += 1
    elif isinstance(ledger, SqliteLedger):
        statement = "UPDATE balance SET calls = calls + 1 WHERE principal = ? AND day = ?"
        ledger._connection.execute(statement, (leaf.principal, leaf.day))
    else:
        assert isinstance(ledger, DynamoLedger)
        await _tamper_with_item(ledger, leaf)


async def _tamper_with_item(ledger: DynamoLedger, leaf: Leaf) -> None:
    [item] = await ledger.balance_items(leaf)
    [name] = [name for name in item if name.startswith("l") and name.endswith("a")]
    await client_of(ledger).update_item(
        TableName=ledger._balances,
        Key={"pk": item["pk"], "sk": item["sk"]},
        UpdateExpression=f"ADD {name} :one",
        ExpressionAttributeValues={":one": {"N": "1"}},
    )


async def _leaf_of(ledger: Ledger, user: str) -> Leaf:
    [leaf] = [
        leaf
        for leaf, _ in await ledger.balances()
        if leaf.principal.endswith(user) and leaf.day == TODAY - 1
    ]
    return leaf


@asynchronous
async def test_verify_finds_a_sealed_balance_that_changed(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _filled(ledger)
        await ledger.seal(TODAY)
        leaf = await _leaf_of(ledger, "bob")
        await _add_to_balance(ledger, leaf)
        [found] = (await ledger.verify()).differences
        assert (found.leaf, found.seal_day) == (leaf, TODAY)
        assert (found.balance, found.entries, found.sealed) == (
            Amounts(2, PLENTY_PICO, 1_000, 500),
            ONCE,
            ONCE,
        )


@asynchronous
async def test_books_that_are_not_sound_are_not_sealed(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _filled(ledger)
        await _add_to_balance(ledger, await _leaf_of(ledger, "bob"))
        with pytest.raises(LedgerCorruptError, match=r"bob on 2026-09-30, amazon.nova-pro"):
            await ledger.seal(TODAY)
        assert (await ledger.seal_in_force()).complete_day == 0
        assert await ledger.sealed_sums() == {}
        assert await ledger.expire(0, NOON + 30 * DAY) == 0
        assert len(await entries(ledger)) == 3
        [found] = (await ledger.verify()).differences
        assert (found.seal_day, found.entries) == (0, ONCE)


@asynchronous
async def test_verify_finds_entries_that_are_not_what_the_seal_says(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await _filled(ledger)
        await book(ledger, POSTER, call(7, PLENTY, at_ms=YESTERDAY, model=MICRO))
        await ledger.seal(TODAY)
        leaf = next(leaf for leaf, _ in await ledger.balances() if leaf.model == MICRO)
        wrong = SealedSum(Amounts(1, 1, 1_000, 500), TODAY)
        if isinstance(ledger, MemoryLedger):
            ledger._sealed = {
                leaf_id: wrong if ledger._decoder.leaf(leaf_id) == leaf else one
                for leaf_id, one in ledger._sealed.items()
            }
        elif isinstance(ledger, SqliteLedger):
            stored = ledger._stored("", ())
            ledger._store(
                {i: wrong if ledger._decoder.leaf(i) == leaf else one for i, one in stored.items()}
            )
        else:
            assert isinstance(ledger, DynamoLedger)
            sums = await ledger.sealed_sums()
            by_shape = {
                await ledger.hold_leaf(key): wrong if key == leaf else one
                for key, one in sums.items()
            }
            await ledger._seals.store(TODAY - 1, by_shape, await ledger._seals.head())
        # A shared ledger keeps sums of scopes besides, which are no more what the seal adds up to.
        differences = (await ledger.verify()).differences
        [found] = [one for one in differences if one.leaf == leaf]
        assert (found.sealed, found.seal_day) == (wrong.amounts, TODAY)
