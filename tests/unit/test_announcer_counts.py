"""Usage that is not charged is announced with counts of the moment, and only if it still is."""

import json
from typing import Any

from tests.calls import DAY, HOUR, NOON, UNLISTED, asynchronous, book, call, poster
from tests.events import checked, checked_all
from tests.unit.test_announcer import Clock, notice
from worker.adapters.memory_bus import MemoryBus
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_state import MemoryOutbox
from worker.announcer import Announced, Announcer
from worker.core.errors import TransientError
from worker.core.evidence import Counts
from worker.core.results import Malformed, Position
from worker.core.usage_events import usage_counted
from worker.pipeline.notices import notice_of
from worker.pipeline.usage import UsageWatch
from worker.ports import Ledger

TODAY = NOON // DAY
COUNTS = Counts(input_tokens=100, output_tokens=10)


async def noticed(outbox: MemoryOutbox, ledger: Ledger, clock: Clock, *calls: Any) -> None:
    """Book calls, and write down what is not charged of them, as the pipeline does."""
    [committed] = await book(ledger, poster(), *calls)
    await UsageWatch(outbox=outbox, clock=clock).look(committed.postings, [])


async def usage_states(outbox: MemoryOutbox) -> list[tuple[str, str]]:
    return sorted((one.detail_type, one.state) for one in await outbox.about("usage/2026-10-01"))


@asynchronous
async def test_unpriced_calls_are_announced_with_the_count_of_the_moment() -> None:
    outbox, bus, clock, ledger = MemoryOutbox(), MemoryBus(), Clock(), MemoryLedger()
    await noticed(outbox, ledger, clock, call(1, COUNTS, model=UNLISTED))
    await noticed(outbox, ledger, clock, *(call(n, COUNTS, model=UNLISTED) for n in range(2, 9)))
    made = Announcer(outbox, bus, clock, ledger)
    assert await made.announce_due() == Announced()
    clock.at_ms += 60_000
    assert await made.announce_due() == Announced(announced=1)
    [detail] = checked_all(bus.events)
    assert (detail["calls"], detail["scope"]["id"]) == (8, UNLISTED)
    assert (detail["recorded_at"], detail["counted_at"]) == (
        "2026-10-01T12:00:00.000Z",
        "2026-10-01T12:01:00.000Z",
    )
    [kept] = await outbox.about("usage/2026-10-01")
    assert checked(kept.detail_type, bytes(kept.detail)) == detail


@asynchronous
async def test_calls_whose_logs_came_are_not_told_of() -> None:
    outbox, bus, clock, ledger = MemoryOutbox(), MemoryBus(), Clock(), MemoryLedger()
    await noticed(outbox, ledger, clock, call(1), call(2))
    await noticed(outbox, ledger, clock, call(1, COUNTS), call(2, COUNTS))
    made = Announcer(outbox, bus, clock, ledger)
    clock.at_ms = NOON + HOUR
    # It waits: calls later that day would have no notice otherwise.
    assert await made.announce_due() == Announced(waiting=1)
    clock.at_ms = (TODAY + 1) * DAY + HOUR
    assert await made.announce_due() == Announced(lapsed=1)
    assert await usage_states(outbox) == [("Usage Unmetered", "lapsed")]
    assert bus.events == []


@asynchronous
async def test_logs_that_never_come_are_told_of_after_an_hour() -> None:
    outbox, bus, clock, ledger = MemoryOutbox(), MemoryBus(), Clock(), MemoryLedger()
    await noticed(outbox, ledger, clock, call(1), call(2))
    made = Announcer(outbox, bus, clock, ledger)
    clock.at_ms = NOON + HOUR - 1
    assert await made.announce_due() == Announced()
    clock.at_ms = NOON + HOUR
    assert await made.announce_due() == Announced(announced=1)
    assert [one["calls"] for one in checked_all(bus.events)] == [2]


@asynchronous
async def test_calls_whose_logs_may_still_come_are_not_told_of_while_others_have_theirs() -> None:
    outbox, bus, clock, ledger = MemoryOutbox(), MemoryBus(), Clock(), MemoryLedger()
    await noticed(outbox, ledger, clock, call(1), call(2))
    await noticed(outbox, ledger, clock, call(1, COUNTS), call(2, COUNTS))
    clock.at_ms = NOON + HOUR
    await noticed(outbox, ledger, clock, call(3, at_ms=NOON + HOUR))  # seconds old
    made = Announcer(outbox, bus, clock, ledger)
    assert await made.announce_due() == Announced(waiting=1)
    # Nothing is counted again at once: that is a request for each look.
    await ledger.close()
    assert await made.announce_due() == Announced(waiting=1)
    clock.at_ms = (TODAY + 1) * DAY + HOUR
    assert await made.announce_due() == Announced(announced=1)
    assert [one["calls"] for one in checked_all(bus.events)] == [1]


@asynchronous
async def test_a_ledger_that_cannot_be_read_holds_up_no_crossing() -> None:
    class Throttled(MemoryLedger):
        faults = 1

        async def balances(self, *days: Any) -> Any:
            if self.faults:
                self.faults -= 1
                raise TransientError("the ledger is throttled")
            return await super().balances(*days)

    outbox, bus, clock, ledger = MemoryOutbox(), MemoryBus(), Clock(), Throttled()
    await noticed(outbox, ledger, clock, call(1, COUNTS, model=UNLISTED))
    await outbox.put([notice(1)])
    clock.at_ms += 90_000
    made = Announcer(outbox, bus, clock, ledger)
    assert await made.announce_due() == Announced(
        announced=1, failed=1, oldest_wait_ms=30_000, faults=["the ledger is throttled"]
    )
    assert await made.announce_due() == Announced(announced=1)


@asynchronous
async def test_many_models_together_are_counted_together() -> None:
    outbox, bus, clock, ledger = MemoryOutbox(), MemoryBus(), Clock(), MemoryLedger()
    await book(ledger, poster(), *(call(n, COUNTS, model=f"acme.m{n}-v1:0") for n in range(30)))
    folded = usage_counted("unpriced", None, TODAY, 4, NOON)
    await outbox.put([notice_of(folded, NOON)])
    assert (await Announcer(outbox, bus, clock, ledger).announce_due()).announced == 1
    assert [one["calls"] for one in checked_all(bus.events)] == [30]


@asynchronous
async def test_quarantined_records_are_counted_until_they_are_told_of() -> None:
    outbox, bus, clock = MemoryOutbox(), MemoryBus(), Clock()
    usage = UsageWatch(outbox=outbox, clock=clock)
    broken = Malformed("$.a", "a number", "x", b"{}", position=Position("s3://logs/a/b.gz", 3))
    for _ in range(3):
        await usage.look([], [broken] * 40)
    clock.at_ms += 60_000
    assert (await Announcer(outbox, bus, clock, usage=usage).announce_due()).announced == 1
    [detail] = checked_all(bus.events)
    assert detail["records"] == 120
    assert detail["message"] == (
        "120 records from s3://logs could not be understood and cost nothing so far: $.a: "
        "expected a number, found x (s3://logs/a/b.gz line 3). Look at `ledgerock quarantine "
        "list` and redrive what can be read."
    )


@asynchronous
async def test_without_ledger_and_watch_usage_is_announced_as_it_was_noticed() -> None:
    outbox, bus, clock, ledger = MemoryOutbox(), MemoryBus(), Clock(), MemoryLedger()
    await noticed(outbox, ledger, clock, call(1), call(2, COUNTS, model=UNLISTED))
    await UsageWatch(outbox=outbox, clock=clock).look([], [Malformed("$", "JSON", "x", b"x")])
    written = {one.id: bytes(one.detail) for one in await outbox.about("usage/2026-10-01")}
    clock.at_ms += HOUR
    assert (await Announcer(outbox, bus, clock).announce_due()).announced == 3
    assert {json.loads(one.detail)["event_id"]: one.detail for one in bus.events} == written
