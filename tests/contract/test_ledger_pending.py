"""What a late price can move, and only that: the same of every ledger."""

from typing import Any

from tests.calls import NOON, PRO, UNLISTED, asynchronous, book, call, fold, poster, snapshot
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


@asynchronous
async def test_a_commit_says_which_of_its_calls_were_pending(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        seen = [call(1, PLENTY), call(2, PLENTY, model=UNLISTED), call(3), call(4)]
        [first] = await book(ledger, POSTER, *seen)
        assert first.known_pending == []
        batch = fold(POSTER, [*seen, call(5, PLENTY, model=UNLISTED)])
        again = await ledger.commit(batch, POSTER, touched=True)
        pending = {leaf.model: amounts for leaf, amounts in again.known_pending}
        assert {
            model: (one.unpriced_calls, one.unmetered_calls) for model, one in pending.items()
        } == {UNLISTED: (1, 0), PRO: (0, 2)}
        assert {leaf.model for leaf in again.waiting} == {UNLISTED, PRO}
        # What the calls were and what the commit changed is what they are.
        upgraded = await ledger.commit(
            fold(POSTER, [call(3, PLENTY), call(4, PLENTY)]), POSTER, touched=True
        )
        assert upgraded.upgraded == 2
        assert [amounts.unmetered_calls for _, amounts in upgraded.known_pending] == [2]
        assert upgraded.waiting == set()
        unasked = await ledger.commit(batch, POSTER)
        assert unasked.known_pending == []


@asynchronous
async def test_pending_calls_can_be_looked_for_by_model_and_by_leaf(open_ledger: Open) -> None:
    async with open_ledger() as ledger:
        others = [call(2, model=PRO), call(3, PLENTY, model=UNLISTED, user="bob")]
        [done] = await book(ledger, POSTER, call(1, PLENTY, model=UNLISTED), *others)

        async def keys(**asked: Any) -> list[str]:
            return sorted([one.key async for some in ledger.pending(**asked) for one in some])

        of_model = sorted([call(1).key, call(3).key])
        assert await keys(models={UNLISTED}) == of_model
        assert await keys(models={"acme.other"}) == []
        bobs = [leaf for leaf in done.waiting if leaf.principal.endswith("bob")]
        assert await keys(leaves=bobs) == [call(3).key]
        assert await keys(leaves=done.waiting, models={UNLISTED}) == of_model
        assert await keys(leaves=[]) == []
