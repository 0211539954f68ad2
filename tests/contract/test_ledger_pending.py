"""What a late price can move, and only that: the same of every ledger."""

from tests.calls import NOON, PRO, UNLISTED, asynchronous, book, call, poster, snapshot
from tests.contract.conftest import Open
from worker import books
from worker.core.evidence import Counts
from worker.pipeline import Window

POSTER = poster()
PLENTY = Counts(1_000, 500)
PRICED_LATER = (
    f"model,unit,usd\n{UNLISTED},input_tokens,2\n{UNLISTED},output_tokens,4\n{PRO},input_tokens,9\n"
)


@asynchronous
async def test_a_late_price_moves_pending_calls_alone(open_ledger: Open) -> None:
    later = poster(PRICED_LATER)
    async with open_ledger() as ledger:
        unmetered = call(3)
        await book(ledger, POSTER, call(1, PLENTY), call(2, PLENTY, model=UNLISTED), unmetered)
        pending = [entry.key async for page in ledger.pending() for entry in page]
        assert sorted(pending) == sorted([call(2).key, unmetered.key])
        before = await snapshot(ledger)
        dry = await books.rebook(ledger, later, Window(), pending=True, dry_run=True)
        assert (dry.entries, dry.rebooked) == (2, 1)
        assert await snapshot(ledger) == before
        outside = await books.rebook(ledger, later, Window(NOON + 1, None), pending=True)
        assert outside.rebooked == 0
        done = await books.rebook(ledger, later, Window(), pending=True)
        assert (done.entries, done.rebooked, done.resumed) == (2, 1, False)
        totals = await ledger.totals("model")
        # 1,000 x 2 + 500 x 4 USD a million; what had a price keeps it until a whole rebooking
        assert totals[UNLISTED].cost_pico_usd == 4_000_000_000
        assert totals[PRO].cost_pico_usd == 2_400_000_000
        assert [entry.key async for page in ledger.pending() for entry in page] == [unmetered.key]
        assert not (await ledger.verify()).differences
