"""One contract for all ledgers: what is booked, merged, rebooked, verified and reported."""

import itertools

import pytest

from tests.calls import (
    ACCOUNT,
    DAY,
    MICRO,
    NOON,
    PRO,
    SONNET,
    UNLISTED,
    asynchronous,
    book,
    call,
    entries,
    evidence,
    fold,
    poster,
    request_id,
    snapshot,
)
from tests.contract.conftest import Open
from worker.core.evidence import Counts, EvidenceRank, Observation, SourceRank, call_key
from worker.core.ledger import Amounts, Status
from worker.core.posting import Poster
from worker.ports import Ledger, Rebooking

POSTER = poster()
PLENTY = Counts(1_000, 500)
"""On Nova Pro: 1,000 x 0.8 + 500 x 3.2 USD a million = 0.0024 USD."""
PLENTY_PICO = 2_400_000_000


# --- Booking ---------------------------------------------------------------------------------


@asynchronous
async def test_an_empty_ledger_is_sound_and_knows_nothing(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        verification = await ledger.verify()
        assert (verification.entries, verification.balances) == (0, 0)
        assert verification.differences == ()
        assert await ledger.balances() == []
        assert await ledger.totals("principal") == {}
        assert await ledger.find("anything") == []
        assert await entries(ledger) == {}
        assert await ledger.progress("rebook") is None


@asynchronous
async def test_a_call_is_booked_once_however_often_it_comes(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        [first] = await book(ledger, POSTER, call(1, PLENTY), call(2, PLENTY))
        assert (first.recorded, first.upgraded, first.duplicates) == (2, 0, 0)
        [(leaf, amounts)] = first.postings
        assert (amounts.calls, amounts.cost_pico_usd) == (2, 2 * PLENTY_PICO)
        assert leaf.principal == f"user/{ACCOUNT}/alice"
        [again] = await book(ledger, POSTER, call(1, PLENTY), call(1, PLENTY), call(2, PLENTY))
        assert (again.recorded, again.upgraded, again.duplicates) == (0, 0, 3)
        assert again.postings == []
        totals = await ledger.totals("principal")
        assert totals[f"user/{ACCOUNT}/alice"].cost_pico_usd == 2 * PLENTY_PICO
        assert (await ledger.verify()).entries == 2


@asynchronous
async def test_known_and_new_calls_of_one_batch_are_told_apart(open_ledger: Open) -> None:
    """Few known calls are subtracted from a batch, many make it fold the others anew."""
    async with open_ledger() as few, open_ledger() as many, open_ledger() as none:
        calls = [call(number, Counts(number, 1)) for number in range(40)]
        await book(few, POSTER, *calls[:2])
        await book(many, POSTER, *calls[:38])
        for ledger, known in ((few, 2), (many, 38), (none, 0)):
            [done] = await book(ledger, POSTER, *calls)
            assert (done.recorded, done.duplicates) == (40 - known, known)
            posted = sum(amounts.calls for _, amounts in done.postings)
            assert posted == 40 - known
            assert not (await ledger.verify()).differences
        assert await snapshot(few) == await snapshot(many) == await snapshot(none)


@asynchronous
async def test_a_batch_is_left_as_it_was(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await book(ledger, POSTER, call(1))
        batch = fold(POSTER, [call(1, PLENTY), call(2, PLENTY), call(2)])
        before = repr(batch)
        await ledger.commit(batch, POSTER)
        await ledger.commit(batch, POSTER)
        assert repr(batch) == before
        [(_, amounts)] = await ledger.balances()
        assert amounts.calls == 2


@asynchronous
async def test_balances_are_not_changed_by_later_bookings_or_by_the_caller(
    open_ledger: Open,
) -> None:
    async with open_ledger() as ledger:
        [done] = await book(ledger, POSTER, call(1, PLENTY))
        [(_, amounts)] = await ledger.balances()
        await book(ledger, POSTER, call(2, PLENTY))
        assert amounts.calls == 1
        amounts.calls = 99
        done.postings[0][1].calls = 99
        [(_, amounts)] = await ledger.balances()
        assert amounts.calls == 2


@asynchronous
async def test_keys_differ_by_namespace_account_and_id(open_ledger: Open) -> None:
    odd = "--" + request_id(7)[2:]  # 36 characters with dashes where a UUID has digits
    other = request_id(7)[:2] + odd[2:].replace("-", "", 1)
    keys = [
        call_key("aws", ACCOUNT, request_id(7)),
        call_key("aws", "444455556666", request_id(7)),
        call_key("api", ACCOUNT, request_id(7)),
        call_key("aws", "self-hosted", request_id(7)),
        call_key("aws", ACCOUNT, request_id(7).replace("-", "")),
        call_key("aws", ACCOUNT, "0000000A" + request_id(7)[8:]),
        call_key("aws", ACCOUNT, odd),
        call_key("aws", ACCOUNT, "3--45678-0000-4000-8000-00000000000a"),
        call_key("aws", ACCOUNT, "-3-45678-0000-4000-8000-00000000000a"),
        call_key("batch", ACCOUNT, "arn:aws:bedrock:us-east-1:111122223333:model-invocation-job/x"),
        call_key("aws", ACCOUNT, "ü"),
        call_key("aws", ACCOUNT, other),
    ]
    assert len(set(keys)) == len(keys)
    async with open_ledger() as ledger:
        await book(ledger, POSTER, *(Observation(key, evidence(PLENTY)) for key in keys))
        assert set(await entries(ledger)) == set(keys)
        found = [entry.key for entry in await ledger.find(request_id(7))]
        assert sorted(found) == sorted(keys[:4])
        for key in keys[4:]:
            assert [entry.key for entry in await ledger.find(key.split("/", 2)[2])] == [key]
        assert await ledger.find(request_id(7)[:8]) == []


@asynchronous
async def test_entries_come_back_as_they_were_booked(open_ledger: Open) -> None:
    full = Counts(5, 6, 7, 8, 9, True, (("images/1024x1024/standard", 2), ("requests", 10**12)))
    rich = evidence(
        full,
        rank=EvidenceRank.ITEMISED,
        conflicting=True,
        service_tier="flex",
        metadata=(("application", "checkout"), ("π", "ü")),
        principal_id="AIDAEXAMPLE",
        credential="bearer",
    )
    async with open_ledger() as ledger:
        key = call_key("aws", ACCOUNT, request_id(1))
        await book(ledger, POSTER, Observation(key, rich))
        [entry] = await ledger.find(request_id(1))
        assert entry.evidence == rich
        assert entry.posting == POSTER.post(rich)
        assert (entry.key, entry.revision) == (key, 1)


@asynchronous
async def test_scanning_goes_on_after_any_entry(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await book(ledger, POSTER, *(call(number, PLENTY) for number in range(20)))
        order = list(await entries(ledger))
        assert len(order) == 20
        for place in (0, 7, 19):
            rest = [entry.key async for some in ledger.scan(order[place]) for entry in some]
            assert rest == order[place + 1 :]


# --- Merging ---------------------------------------------------------------------------------


def _pair() -> list[Observation]:
    """A CloudTrail event, its completion, a log, and an empty twin of the log."""
    trail = call(
        1,
        source=SourceRank.API_EVENT,
        at_ms=NOON + 300,
        principal_id="AIDAALICE",
        identity_type="IAMUser",
        credential="bearer",
    )
    completion = call(
        1,
        Counts(1_000, 500),
        source=SourceRank.COMPLETION,
        rank=EvidenceRank.PARTIAL,
        at_ms=NOON + 4_000,
        user="",
    )
    log = call(1, Counts(1_000, 500, 4_000, 100))
    twin = call(1, at_ms=NOON + 20)
    return [trail, completion, log, twin]


@pytest.mark.parametrize("one_by_one", [True, False])
@asynchronous
async def test_every_order_of_the_records_of_a_call_makes_the_same_entry(
    open_ledger: Open, orders: list[tuple[int, ...]], one_by_one: bool
) -> None:
    async with open_ledger() as first:
        await book(first, POSTER, *_pair(), one_by_one=one_by_one)
        [expected] = await first.find(request_id(1))
        assert expected.evidence.counts == Counts(1_000, 500, 4_000, 100)
        assert expected.evidence.facts.principal_id == "AIDAALICE"
        assert expected.evidence.facts.credential == "bearer"
        assert expected.evidence.occurred_at_ms == NOON
        # 1,000 x 0.8 + 500 x 3.2 + 4,000 x 0.2 + 100 x 0 USD a million
        assert expected.posting.cost_pico_usd == 3_200_000_000
        balances = await snapshot(first)
    for places in orders:
        order = [_pair()[place] for place in places]
        async with open_ledger() as ledger:
            done = await book(ledger, POSTER, *order, *order[:2], one_by_one=one_by_one)
            [entry] = await ledger.find(request_id(1))
            assert (entry.evidence, entry.posting) == (expected.evidence, expected.posting)
            assert await snapshot(ledger) == balances
            figures = [(one.recorded, one.upgraded, one.duplicates) for one in done]
            assert sum(map(sum, figures)) == 6
            assert sum(recorded for recorded, _, _ in figures) == 1
            assert not (await ledger.verify()).differences


@asynchronous
async def test_an_upgrade_moves_principal_day_and_model(open_ledger: Open) -> None:
    seen = call(1, Counts(10, 10), model=MICRO, source=SourceRank.COMPLETION,
                rank=EvidenceRank.PARTIAL, at_ms=NOON + DAY, user="")  # fmt: skip
    log = call(1, PLENTY, user="bob")
    async with open_ledger() as ledger:
        [booked, moved] = await book(ledger, POSTER, seen, log, one_by_one=True)
        assert (moved.recorded, moved.upgraded, moved.duplicates) == (0, 1, 0)
        assert booked.postings[0][0].principal == f"unknown/{ACCOUNT}"
        deltas = dict(moved.postings)
        assert [deltas[booked.postings[0][0]].calls] == [-1]
        [(leaf, amounts)] = await ledger.balances()
        assert (leaf.principal, leaf.day) == (f"user/{ACCOUNT}/bob", NOON // DAY)
        assert (amounts.calls, amounts.cost_pico_usd) == (1, PLENTY_PICO)
        assert amounts.estimated_calls == 0
        assert not (await ledger.verify()).differences
        [entry] = await ledger.find(request_id(1))
        assert entry.revision == 2


@asynchronous
async def test_conflicting_counts_take_the_larger_and_are_estimated(open_ledger: Open) -> None:
    smaller, larger = call(1, Counts(9_999, 499)), call(1, Counts(1_000, 500))
    for order in ((smaller, larger), (larger, smaller)):
        async with open_ledger() as ledger:
            await book(ledger, POSTER, *order, one_by_one=True)
            [entry] = await ledger.find(request_id(1))
            assert entry.evidence.counts == Counts(1_000, 500)
            assert entry.posting.status is Status.ESTIMATED
            assert "conflicting counts" in entry.posting.reason
            assert entry.posting.cost_pico_usd == PLENTY_PICO
            [(_, amounts)] = await ledger.balances()
            assert (amounts.estimated_calls, amounts.estimated_pico_usd) == (1, PLENTY_PICO)


@asynchronous
async def test_a_duplicate_changes_nothing_whatever_the_prices_say_by_now(
    open_ledger: Open,
) -> None:
    dearer = poster(f"model,unit,usd\n{PRO},input_tokens,1000\n")
    async with open_ledger() as ledger:
        await book(ledger, POSTER, call(1, PLENTY))
        before = await snapshot(ledger)
        [again] = await book(ledger, dearer, call(1, PLENTY), call(1))
        assert (again.duplicates, again.postings) == (2, [])
        assert await snapshot(ledger) == before


# --- Reading ---------------------------------------------------------------------------------


@asynchronous
async def test_totals_are_the_sums_of_balances_by_every_field(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        for day, user, model in itertools.product(range(3), ("alice", "bob"), (PRO, SONNET)):
            number = hash((day, user, model)) & 0xFFFF
            await book(
                ledger, POSTER, call(number, PLENTY, at_ms=NOON + day * DAY, user=user, model=model)
            )
        first = NOON // DAY
        by_day = await ledger.totals("day")
        assert sorted(by_day) == [str(first + day) for day in range(3)]
        for bounds in ((None, None), (first + 1, None), (None, first), (first, first + 1)):
            balances = await ledger.balances(*bounds)
            days = {leaf.day for leaf, _ in balances}
            assert all(bounds[0] is None or day >= bounds[0] for day in days)
            assert all(bounds[1] is None or day <= bounds[1] for day in days)
            for field in ("principal", "identity", "agent", "team", "pool", "application",
                          "account", "model", "day"):  # fmt: skip
                expected: dict[str, Amounts] = {}
                for leaf, amounts in balances:
                    expected.setdefault(str(getattr(leaf, field)), Amounts()).add(amounts)
                assert await ledger.totals(field, *bounds) == expected


@asynchronous
async def test_progress_notes_are_kept_replaced_and_removed(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await ledger.keep_progress("a", "one")
        await ledger.keep_progress("b", "other")
        await ledger.keep_progress("a", "two")
        assert (await ledger.progress("a"), await ledger.progress("b")) == ("two", "other")
        await ledger.keep_progress("a", None)
        await ledger.keep_progress("a", None)
        assert (await ledger.progress("a"), await ledger.progress("b")) == (None, "other")


@asynchronous
async def test_a_progress_note_that_changed_meanwhile_is_not_replaced(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        assert not await ledger.replace_progress("a", "one", "two")
        assert await ledger.progress("a") is None
        assert await ledger.replace_progress("a", None, "one")
        assert not await ledger.replace_progress("a", None, "two")
        assert not await ledger.replace_progress("a", "other", "two")
        assert await ledger.progress("a") == "one"
        assert await ledger.replace_progress("a", "one", "two")
        assert await ledger.progress("a") == "two"


# --- Rebooking -------------------------------------------------------------------------------


async def _rebookings(ledger: Ledger, new: Poster) -> list[Rebooking]:
    return [
        Rebooking(entry, new.rate(entry.evidence)) for entry in (await entries(ledger)).values()
    ]


PRICED_LATER = f"model,unit,usd\n{UNLISTED},input_tokens,2\n{UNLISTED},output_tokens,4\n"


@asynchronous
async def test_rebooking_moves_amounts_and_keeps_the_evidence(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await book(ledger, POSTER, call(1, PLENTY, model=UNLISTED), call(2, PLENTY))
        before = await entries(ledger)
        assert await ledger.rebook(await _rebookings(ledger, poster(PRICED_LATER))) == 2
        after = await entries(ledger)
        assert {key: entry.evidence for key, entry in after.items()} == {
            key: entry.evidence for key, entry in before.items()
        }
        assert {entry.revision for entry in after.values()} == {2}
        totals = await ledger.totals("model")
        # 1,000 x 2 + 500 x 4 USD a million
        assert totals[UNLISTED].cost_pico_usd == 4_000_000_000
        assert totals[UNLISTED].unpriced_calls == 0
        assert totals[PRO].cost_pico_usd == PLENTY_PICO
        assert not (await ledger.verify()).differences


@asynchronous
async def test_an_entry_that_was_upgraded_meanwhile_is_left_alone(open_ledger: Open) -> None:
    new = poster(PRICED_LATER)
    async with open_ledger() as ledger:
        await book(ledger, POSTER, call(1, model=UNLISTED), call(2, PLENTY, model=UNLISTED))
        stale = await _rebookings(ledger, new)
        await book(ledger, new, call(1, PLENTY, model=UNLISTED))
        assert await ledger.rebook(stale) == 1
        assert await ledger.rebook(stale) == 0
        assert (await ledger.totals("model"))[UNLISTED].cost_pico_usd == 8_000_000_000
        assert not (await ledger.verify()).differences


@asynchronous
async def test_an_entry_named_twice_is_rebooked_once(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        await book(ledger, POSTER, call(1, PLENTY, model=UNLISTED))
        [item] = await _rebookings(ledger, poster(PRICED_LATER))
        assert await ledger.rebook([item, item]) == 1
        assert (await ledger.totals("model"))[UNLISTED].calls == 1
        assert not (await ledger.verify()).differences
