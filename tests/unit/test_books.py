from collections.abc import AsyncIterator, Sequence
from pathlib import Path
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
    poster,
    request_id,
    snapshot,
)
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.books import REBOOK_PROGRESS, rebook, report
from worker.core.errors import TransientError
from worker.core.evidence import Counts, Observation
from worker.core.ledger import Amounts
from worker.core.posting import Poster
from worker.core.registry import Agent, Calendar, Period, Registry
from worker.core.report import DIMENSIONS, report_document
from worker.pipeline import Window
from worker.ports import Ledger, Rebooking

PLENTY = Counts(1_000, 500)
ALWAYS = Window()
OLD = poster()
PRICED_LATER = f"model,unit,usd\n{UNLISTED},input_tokens,2\n{UNLISTED},output_tokens,4\n"
BOT = f"agent/{ACCOUNT}/us-east-1/BOT"
SESSION = f"arn:aws:sts::{ACCOUNT}:assumed-role/Bot/run-1"
MAPPED_LATER = Registry(
    agents=[Agent(BOT, "bot", (f"arn:aws:iam::{ACCOUNT}:role/Bot",), Period(from_ms=NOON + 90_000))]
)
NEW = poster(PRICED_LATER, MAPPED_LATER)
CALLS = [
    call(
        number,
        Counts(number, 2 * number),
        model=(PRO, MICRO, UNLISTED)[number % 3],
        at_ms=NOON + number * 15_000,
        identity_arn=SESSION,
    )
    for number in range(1, 25)
]


class Chunked(SqliteLedger):
    """A ledger of small chunks, that fails when `good_rebookings` are done."""

    good_rebookings = 10**9

    async def scan(self, after: str | None = None) -> AsyncIterator[Sequence[Any]]:
        async for chunk in super().scan(after):
            for first in range(0, len(chunk), 5):
                yield chunk[first : first + 5]

    async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
        if self.good_rebookings == 0:
            raise TransientError("interrupted")
        self.good_rebookings -= 1
        return await super().rebook(rebookings)


async def fresh(poster_: Poster, *calls: Observation) -> str:
    ledger = MemoryLedger()
    await book(ledger, poster_, *calls)
    return await documents(ledger)


# --- Reports ---------------------------------------------------------------------------------


async def _figures(ledger: Ledger, by: str, window: Window) -> dict[str, Any]:
    return report_document(await report(ledger, by, window))


@pytest.mark.parametrize("by", DIMENSIONS)
@asynchronous
async def test_reports_over_whole_days_equal_those_made_of_entries(by: str) -> None:
    """The window is half-open: a millisecond less at its end is another way to the same figures."""
    ledger = MemoryLedger()
    midnight = NOON - NOON % DAY
    calls = [
        call(number, PLENTY, at_ms=at_ms, user=f"u{number % 3}")
        for number, at_ms in enumerate(
            (
                *(midnight - 1, midnight, midnight + 1, NOON, midnight + DAY - 1),
                *(midnight + DAY, midnight + DAY + 1, midnight + 40 * DAY),
            )
        )
    ]
    await book(ledger, OLD, *calls)
    bounds = [None, midnight, midnight + DAY, midnight + 2 * DAY, midnight + 40 * DAY]
    for since in bounds:
        for until in bounds:
            whole = await _figures(ledger, by, Window(since, until))
            expected = [
                one for one in calls if Window(since, until).holds(one.evidence.occurred_at_ms)
            ]
            other = MemoryLedger()
            await book(other, OLD, *expected)
            said = await _figures(other, by, ALWAYS)
            assert (whole["rows"], whole["total"]) == (said["rows"], said["total"])


@asynchronous
async def test_bounds_within_a_day_are_exact_to_the_millisecond() -> None:
    ledger = MemoryLedger()
    await book(ledger, OLD, *(call(n, PLENTY, at_ms=NOON + n) for n in range(10)))

    async def calls_in(since: int | None, until: int | None) -> int:
        document = await _figures(ledger, "principal", Window(since, until))
        return int(document["total"]["calls"])

    assert await calls_in(NOON + 3, NOON + 7) == 4
    assert await calls_in(NOON + 3, None) == 7
    assert await calls_in(None, NOON + 7) == 7
    assert await calls_in(NOON + 3, NOON + 3) == 0
    assert await calls_in(NOON - NOON % DAY, NOON + 1) == 1
    assert await calls_in(NOON + 9, NOON - NOON % DAY + DAY) == 1
    assert await calls_in(NOON + HOUR, None) == 0


# --- Rebooking -------------------------------------------------------------------------------


@asynchronous
async def test_an_unpriced_model_costs_nothing_until_it_has_a_price(tmp_path: Path) -> None:
    ledger = SqliteLedger(tmp_path / "l.db")
    await book(ledger, OLD, call(1, PLENTY, model=UNLISTED), call(2, PLENTY))
    [row] = [row for row in (await _figures(ledger, "model", ALWAYS))["rows"] if
             row["key"] == UNLISTED]  # fmt: skip
    assert (row["cost_usd"], row["unpriced_calls"]) == ("0", 1)
    result = await rebook(ledger, poster(PRICED_LATER), ALWAYS)
    assert (result.entries, result.rebooked, result.moved, result.resumed) == (2, 1, 0, False)
    assert list(result.by_model) == [UNLISTED]
    assert result.by_model[UNLISTED].before == Amounts(1, 0, 1_000, 500, unpriced_calls=1)
    assert result.by_model[UNLISTED].after == Amounts(1, 4_000_000_000, 1_000, 500)
    totals = await ledger.totals("account")
    assert totals[ACCOUNT] == Amounts(2, 6_400_000_000, 2_000, 1_000)
    await ledger.close()


@asynchronous
async def test_rebooking_gives_what_a_fresh_replay_gives(tmp_path: Path) -> None:
    ledger = Chunked(tmp_path / "l.db")
    await book(ledger, OLD, *CALLS)
    before = await documents(ledger)
    assert before == await fresh(OLD, *CALLS) != await fresh(NEW, *CALLS)
    result = await rebook(ledger, NEW, ALWAYS)
    assert result.entries == 24
    assert await documents(ledger) == await fresh(NEW, *CALLS)
    assert not (await ledger.verify()).differences
    again = await rebook(ledger, NEW, ALWAYS)
    assert (again.entries, again.rebooked, again.by_principal) == (24, 0, {})
    back = await rebook(ledger, OLD, ALWAYS)
    assert back.rebooked == result.rebooked
    assert await documents(ledger) == before
    await ledger.close()


@pytest.mark.parametrize("chunks", range(5))
@asynchronous
async def test_an_interrupted_rebooking_is_taken_up_where_it_stopped(
    tmp_path: Path, chunks: int
) -> None:
    ledger = Chunked(tmp_path / "l.db")
    await book(ledger, OLD, *CALLS)
    ledger.good_rebookings = chunks
    seen: list[int] = []
    with pytest.raises(TransientError):
        await rebook(ledger, NEW, ALWAYS, on_progress=seen.append)
    assert not (await ledger.verify()).differences
    ledger.good_rebookings = 10**9
    result = await rebook(ledger, NEW, ALWAYS)
    assert result.resumed == bool(seen)
    # What lies before the place is looked at again: it may have been booked since.
    assert result.entries == 24
    assert await documents(ledger) == await fresh(NEW, *CALLS)
    assert await ledger.progress(REBOOK_PROGRESS) is None
    await ledger.close()


@asynchronous
async def test_what_is_booked_under_old_prices_while_a_rebooking_rests_is_rebooked_too(
    tmp_path: Path,
) -> None:
    ledger = Chunked(tmp_path / "l.db")
    await book(ledger, OLD, *CALLS[4:])
    ledger.good_rebookings = 2
    with pytest.raises(TransientError):
        await rebook(ledger, NEW, ALWAYS)
    ledger.good_rebookings = 10**9
    await book(ledger, OLD, *CALLS[:4])
    assert (await rebook(ledger, NEW, ALWAYS)).resumed
    assert await documents(ledger) == await fresh(NEW, *CALLS)
    await ledger.close()


@asynchronous
async def test_what_is_booked_beside_a_rebooking_is_rebooked_too(tmp_path: Path) -> None:
    ledger = Chunked(tmp_path / "l.db")
    await book(ledger, OLD, *CALLS[4:])
    late = list(CALLS[:4])

    class Busy(Chunked):
        async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
            if late:
                await book(self, OLD, late.pop())
            return await super().rebook(rebookings)

    ledger.__class__ = Busy
    await rebook(ledger, NEW, ALWAYS)
    assert not late
    assert await documents(ledger) == await fresh(NEW, *CALLS)
    await ledger.close()


@asynchronous
async def test_the_note_of_another_rebooking_is_not_taken_up(tmp_path: Path) -> None:
    ledger = Chunked(tmp_path / "l.db")
    await book(ledger, OLD, *CALLS)
    ledger.good_rebookings = 2
    with pytest.raises(TransientError):
        await rebook(ledger, NEW, ALWAYS)
    ledger.good_rebookings = 10**9
    other = poster(PRICED_LATER)
    result = await rebook(ledger, other, ALWAYS)
    assert (result.resumed, result.entries) == (False, 24)
    assert await documents(ledger) == await fresh(other, *CALLS)
    await ledger.close()


@asynchronous
async def test_a_dry_run_changes_nothing_and_foretells_everything(tmp_path: Path) -> None:
    ledger = Chunked(tmp_path / "l.db")
    await book(ledger, OLD, *CALLS)
    connection = ledger._connection
    before = list(connection.iterdump())
    foretold = await rebook(ledger, NEW, ALWAYS, dry_run=True)
    assert list(connection.iterdump()) == before
    assert foretold.rebooked > 0
    assert await rebook(ledger, NEW, ALWAYS) == foretold
    assert list(connection.iterdump()) != before
    await ledger.close()


@asynchronous
async def test_a_dry_run_does_not_touch_the_place_of_an_interrupted_one(tmp_path: Path) -> None:
    ledger = Chunked(tmp_path / "l.db")
    await book(ledger, OLD, *CALLS)
    ledger.good_rebookings = 2
    with pytest.raises(TransientError):
        await rebook(ledger, NEW, ALWAYS)
    note = await ledger.progress(REBOOK_PROGRESS)
    assert note is not None
    result = await rebook(ledger, NEW, ALWAYS, dry_run=True)
    assert (result.entries, result.resumed) == (24, False)
    assert await ledger.progress(REBOOK_PROGRESS) == note
    await ledger.close()


@asynchronous
async def test_only_calls_in_the_window_are_rebooked(tmp_path: Path) -> None:
    ledger = Chunked(tmp_path / "l.db")
    await book(ledger, OLD, *CALLS)
    cut = NOON + 12 * 15_000
    await rebook(ledger, NEW, Window(cut, None))
    late = [one for one in CALLS if one.evidence.occurred_at_ms >= cut]
    early = [one for one in CALLS if one.evidence.occurred_at_ms < cut]
    expected = MemoryLedger()
    await book(expected, OLD, *early)
    await book(expected, NEW, *late)
    assert await snapshot(ledger) == await snapshot(expected)
    await ledger.close()


class Racing(Chunked):
    """Somebody else upgrades call 5 between the scan and the rebooking."""

    async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
        better = call(
            5, Counts(5, 1_000), model=UNLISTED, identity_arn=SESSION, at_ms=NOON + 75_000
        )
        await book(self, NEW, better)
        return await super().rebook(rebookings)


@asynchronous
async def test_a_call_that_is_upgraded_meanwhile_is_left_alone_and_counted(tmp_path: Path) -> None:
    ledger = Racing(tmp_path / "l.db")
    await book(ledger, OLD, *CALLS)
    result = await rebook(ledger, NEW, ALWAYS)
    assert result.moved == 1
    [entry] = await ledger.find(request_id(5))
    assert (entry.evidence.counts, entry.revision) == (Counts(5, 1_000), 2)
    assert not (await ledger.verify()).differences
    # What is said to have changed is what this run has changed.
    assert sum(change.before.calls for change in result.by_model.values()) == result.rebooked
    again = await rebook(ledger, NEW, ALWAYS)
    assert (again.rebooked, again.moved) == (0, 0)
    assert len(await entries(ledger)) == 24
    await ledger.close()


# --- Calendars -------------------------------------------------------------------------------


@asynchronous
async def test_calendars_change_no_total(tmp_path: Path) -> None:
    """Other days than UTC's split balances more finely; every report still says the same."""
    calendars = [
        Calendar("everything", "Asia/Tokyo", ZoneInfo("Asia/Tokyo")),
        Calendar("principal/*", "Europe/Berlin", ZoneInfo("Europe/Berlin")),
    ]
    local = poster(registry=Registry(calendars=calendars))
    calls = [
        call(number, Counts(number, number), at_ms=NOON + number * HOUR, user=f"u{number % 3}")
        for number in range(48)
    ]
    for ledger in (MemoryLedger(), SqliteLedger(tmp_path / "l.db")):
        await book(ledger, local, *calls)
        assert await documents(ledger) == await fresh(OLD, *calls)
        balances = await snapshot(ledger)
        assert any(leaf.local_days for leaf in balances)
        assert len(balances) > 9  # three callers on three days of UTC
        verification = await ledger.verify()
        assert (verification.entries, verification.differences) == (48, ())
        result = await rebook(ledger, OLD, ALWAYS)
        assert result.rebooked > 0
        assert await documents(ledger) == await fresh(OLD, *calls)
        await ledger.close()
