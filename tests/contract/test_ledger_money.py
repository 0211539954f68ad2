"""The contract of all ledgers on money: exact at any size, and what they say of it the same."""

from tests.calls import (
    DAY,
    HOUR,
    MICRO,
    NOON,
    PRO,
    SONNET,
    UNLISTED,
    asynchronous,
    book,
    call,
    documents,
    entries,
    poster,
    request_id,
    snapshot,
)
from tests.contract.conftest import Open
from worker.adapters.memory_ledger import MemoryLedger
from worker.core.errors import LedgerCorruptError
from worker.core.evidence import Counts, EvidenceRank, SourceRank

POSTER = poster()
PLENTY = Counts(1_000, 500)

TRILLION = f"model,unit,usd,per\n{PRO},input_tokens,1000000000000,1\n{MICRO},input_tokens,0.5,1\n"
"""One input token of Nova Pro costs 10^12 USD, of Nova Micro half a USD."""


@asynchronous
async def test_money_far_beyond_64_bits_of_pico_usd_is_exact(open_ledger: Open) -> None:
    rich = poster(TRILLION)
    async with open_ledger() as ledger:
        await book(ledger, rich, *(call(number, Counts(1, 0)) for number in range(7)))
        await book(ledger, rich, call(8, Counts(1, 1)))
        [(_, amounts)] = await ledger.balances()
        assert amounts.cost_pico_usd == 8 * 10**24 + 3_200_000
        assert type(amounts.cost_pico_usd) is int
        [entry] = await ledger.find(request_id(8))
        assert entry.posting.cost_pico_usd == 10**24 + 3_200_000
        totals = await ledger.totals("model")
        assert totals[PRO].cost_pico_usd == 8 * 10**24 + 3_200_000
        assert not (await ledger.verify()).differences


@asynchronous
async def test_negative_differences_borrow_across_whole_usd(open_ledger: Open) -> None:
    """From estimated 3.0000032 USD to 0.5 USD: less, within one leaf and below one USD."""
    prices = poster(f"model,unit,usd,per\n{PRO},input_tokens,0.5,1\n")
    partial = call(1, Counts(6, 1), source=SourceRank.API_EVENT, rank=EvidenceRank.PARTIAL)
    async with open_ledger() as ledger:
        await book(ledger, prices, call(2, Counts(0, 1)), partial)
        [(_, amounts)] = await ledger.balances()
        assert amounts.cost_pico_usd == 3_000_006_400_000
        assert amounts.estimated_pico_usd == 3_000_003_200_000
        [done] = await book(ledger, prices, call(1, Counts(1, 0)))
        [(_, delta)] = done.postings
        assert delta.cost_pico_usd == 500_000_000_000 - 3_000_003_200_000
        [(_, amounts)] = await ledger.balances()
        assert amounts.cost_pico_usd == 500_003_200_000
        assert (amounts.estimated_pico_usd, amounts.estimated_calls) == (0, 0)
        assert not (await ledger.verify()).differences


@asynchronous
async def test_what_a_ledger_cannot_hold_is_refused_and_changes_nothing(open_ledger: Open) -> None:
    """10^12 tokens at 10^12 USD are 10^24 USD a call: beyond 64 bits even of whole USD."""
    rich = poster(TRILLION)
    async with open_ledger() as ledger:
        await book(ledger, rich, call(1, Counts(1, 0)))
        before = await snapshot(ledger)
        try:
            await book(ledger, rich, call(2, Counts(10**12, 0)))
        except LedgerCorruptError as error:
            assert "hold" in str(error)  # noqa: PT017 - some ledgers can
            assert await snapshot(ledger) == before
            assert set(await entries(ledger)) == {call(1).key}
        else:
            [(_, amounts)] = await ledger.balances()
            assert amounts.cost_pico_usd == 10**36 + 10**24
        assert not (await ledger.verify()).differences


@asynchronous
async def test_reports_say_the_same_of_every_ledger(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        mixed = [
            call(1, PLENTY),
            call(2, PLENTY, user="bob", model=SONNET, at_ms=NOON + HOUR),
            call(3, PLENTY, model=UNLISTED, at_ms=NOON + 40 * DAY),
            call(4, error_code="ThrottlingException"),
            call(5),
        ]
        await book(ledger, POSTER, *mixed)
        memory = MemoryLedger()
        await book(memory, POSTER, *mixed, one_by_one=True)
        assert await documents(ledger) == await documents(memory)


@asynchronous
async def test_what_only_duplicates_named_is_written_when_a_call_needs_it(
    open_ledger: Open,
) -> None:
    """A batch of duplicates writes nothing, so it must not count its facts and basis as known."""
    async with open_ledger() as ledger:
        dearer = poster("model,unit,usd\namazon.nova-pro-v1:0,input_tokens,9\n")
        await book(ledger, POSTER, call(1, PLENTY))
        await book(ledger, dearer, call(1, PLENTY))
        await book(ledger, dearer, call(2, PLENTY))
        assert len(await entries(ledger)) == 2
        assert not (await ledger.verify()).differences
