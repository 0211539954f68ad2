import asyncio
from datetime import date, timedelta
from zoneinfo import ZoneInfo

import msgspec
import pytest

from tests.calls import DAY, MICRO, NOON, PRO, asynchronous, fold
from tests.records import line, log
from tests.unit.pipeline.budget_world import ALICE, CENT, EVERYTHING, World, spent, told
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.budget_terms import Budget, Scope
from worker.core.decoders import Decoder
from worker.core.errors import TransientError
from worker.core.registry import EMPTY_REGISTRY, Calendar, PrincipalFact, Registry
from worker.core.results import DeliveryResult
from worker.pipeline import Pipeline
from worker.pipeline.budget_looks import KNOWN_MS, LATER_MS
from worker.pipeline.budgets import standings_of
from worker.pipeline.known_budgets import REFRESH_SECONDS
from worker.ports import Delivery

# --- Finding crossings -------------------------------------------------------------------------


@asynchronous
async def test_a_threshold_is_written_down_once_when_it_is_reached() -> None:
    world = World()
    await world.make("all", EVERYTHING, 10)
    assert await world.spend(spent(1, 6)) == []
    assert await world.spend(spent(2, 1)) == ["all.1 70 2026-10-01 pending"]
    assert await world.spend(spent(3, 1)) == []
    assert await world.spend(spent(4, 4)) == [
        "all.1 100 2026-10-01 pending",
        "all.1 90 2026-10-01 pending",
    ]
    assert len(await world.kept("all")) == 3
    details = [msgspec.json.decode(one.detail) for one in await world.outbox.about("budget/all")]
    highest = {one["threshold"]: one["highest_of_jump"] for one in details}
    assert highest == {70: True, 90: False, 100: True}
    assert {one["spent_usd"] for one in details} == {"0.07", "0.12"}
    assert {one["period"]["time_zone"] for one in details} == {"UTC"}


@asynchronous
async def test_exactly_seventy_per_cent_is_seventy_per_cent() -> None:
    world = World()
    for name, limit in (("at", 10 * CENT), ("over", 10 * CENT + 1)):
        made = Budget(name, EVERYTHING, limit, thresholds=(70,))
        assert await world.budgets.put(made)
    await world.budgets.put(Budget("below", EVERYTHING, 10 * CENT + 2, thresholds=(70,)))
    assert await world.spend(spent(1, 7)) == ["at.1 70 2026-10-01 pending"]


@asynchronous
async def test_every_kind_of_scope_sees_its_own_spend_and_nothing_else() -> None:
    facts = PrincipalFact(match=ALICE, team="research")
    world = World(Registry(principals=(facts,)))
    account = Scope("account", "111122223333")
    scopes = {
        "alice": Scope("principal", ALICE),
        "ben": Scope("principal", "user/111122223333/ben"),
        "team": Scope("team", "research"),
        "nobody": Scope("team", ""),
        "account": account,
        "model": Scope("model", PRO),
        "other": Scope("model", MICRO),
        "agent": Scope("agent", ""),
        "application": Scope("application", ""),
        "all": EVERYTHING,
    }
    for name, scope in scopes.items():
        await world.make(name, scope, 10, thresholds=(100,))
    assert await world.spend(spent(1, 9), spent(2, 1, user="ben")) == [
        "account.1 100 2026-10-01 pending",
        "all.1 100 2026-10-01 pending",
        "model.1 100 2026-10-01 pending",
    ]
    assert await world.spend(spent(3, 1)) == [
        "alice.1 100 2026-10-01 pending",
        "team.1 100 2026-10-01 pending",
    ]


@asynchronous
async def test_one_read_serves_all_budgets_that_a_batch_touches() -> None:
    world = World()
    await world.make("month", EVERYTHING, 1_000)
    await world.make("same", EVERYTHING, 2_000)
    await world.make("day", EVERYTHING, 1_000, period="daily")
    await world.make("alice", Scope("principal", ALICE), 1_000)
    await world.make("ben", Scope("principal", "user/111122223333/ben"), 1_000)
    await world.watch.look([])
    world.ledger.asked.clear()
    await world.spend(*(spent(number) for number in range(50)))
    [asked] = world.ledger.asked
    assert sorted(map(str, {one.scope for one in asked})) == ["everything", f"principal/{ALICE}"]
    assert len(asked) == len(set(asked)) == 3


@asynchronous
async def test_what_no_budget_is_on_costs_no_read() -> None:
    world = World()
    await world.spend(spent(1))
    await world.make("ben", Scope("principal", "user/111122223333/ben"), 10)
    world.seconds += REFRESH_SECONDS
    await world.watch.look([])
    world.ledger.asked.clear()
    await world.spend(spent(2))
    assert world.ledger.asked == []


@asynchronous
async def test_what_is_known_to_be_written_down_is_read_but_not_written_again() -> None:
    world = World()
    await world.make("all", EVERYTHING, 1)
    assert len(await world.spend(spent(1))) == 3
    puts, asked = world.outbox.puts, len(world.ledger.asked)
    for number in range(2, 6):
        assert await world.spend(spent(number)) == []
    assert world.outbox.puts == puts
    assert len(world.ledger.asked) == asked + 4


@asynchronous
async def test_known_crossings_are_forgotten_beyond_a_bound_and_not_told_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.pipeline.budgets.KNOWN_MAX", 1)
    world = World()
    await world.make("all", EVERYTHING, 1, thresholds=(50,))
    await world.make("more", EVERYTHING, 2, thresholds=(50,))
    assert len(await world.spend(spent(1))) == 2
    await world.make("third", EVERYTHING, 2, thresholds=(50,))
    world.seconds += REFRESH_SECONDS
    assert await world.spend(spent(2)) == ["third.1 50 2026-10-01 pending"]
    assert await world.spend(spent(3)) == []
    assert len(await world.kept("all")) == 1


# --- Duplicates and crashes --------------------------------------------------------------------


@pytest.mark.parametrize("faults", ["faults_before", "faults_after"])
@asynchronous
async def test_a_crash_between_the_commit_and_the_crossing_heals_by_redelivery(faults: str) -> None:
    world = World()
    await world.make("all", EVERYTHING, 1)
    setattr(world.outbox, faults, 1)
    pipeline = Pipeline(
        ledger=world.ledger,
        quarantine=MemoryQuarantine(world),
        decoder=Decoder(),
        poster=world.poster,
        budgets=world.watch,
    )
    delivery = Delivery(line(log(1, (12_500, 0), model=PRO)), "a")
    [first] = await pipeline.process([delivery])
    assert first.result is DeliveryResult.DEFERRED
    # The process dies; another one, which knows nothing, is given the delivery again.
    pipeline.budgets = world.new_watch()
    [second] = await pipeline.process([delivery])
    assert second.result is DeliveryResult.ACKNOWLEDGED
    assert len(await world.kept("all")) == 3


@asynchronous
async def test_duplicates_are_looked_at_too() -> None:
    world = World()
    await world.make("all", EVERYTHING, 1)
    await world.watch.look([])
    await world.book(spent(1))  # and the worker died
    batch = fold(world.poster, [spent(1)])
    committed = await world.ledger.commit(batch, world.poster, touched=True)
    assert committed.postings == []
    assert len(await world.watch.look(committed.touched)) == 3


@asynchronous
async def test_a_failed_look_at_a_new_budget_is_made_up_for() -> None:
    world = World()
    await world.book(spent(1))
    await world.make("all", EVERYTHING, 1)
    world.outbox.faults_before = 1
    failed = await world.monitor.run_due()
    assert (failed.failed, failed.faults, bool(failed)) == (1, ["throttled"], False)
    assert (await world.run()).crossings == 3


@asynchronous
async def test_a_failed_reading_of_the_budgets_is_made_up_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    closed = spent(1, at_ms=NOON - 40 * DAY)
    assert await world.spend(closed) == []
    await world.make("all", EVERYTHING, 1, thresholds=(100,))
    world.seconds += REFRESH_SECONDS
    real = world.budgets.budgets

    async def fail() -> list[Budget]:
        raise TransientError("throttled")

    monkeypatch.setattr(world.budgets, "budgets", fail)
    with pytest.raises(TransientError):
        await world.watch.look([])
    monkeypatch.setattr(world.budgets, "budgets", real)
    assert told(await world.watch.look([])) == ["all.1 100 2026-08-01 late"]


@asynchronous
async def test_looks_at_the_same_time_find_each_crossing_once() -> None:
    world = World()
    await world.make("all", EVERYTHING, 4)
    touched = [await world.book(spent(number)) for number in range(4)]
    found = await asyncio.gather(*(world.watch.look(one) for one in touched))
    assert sorted(len(one) for one in found) == [0, 0, 0, 3]


# --- New budgets, changes and removals ---------------------------------------------------------


@asynchronous
async def test_a_budget_made_in_mid_period_sees_what_was_spent() -> None:
    world = World()
    assert await world.spend(spent(1, 9)) == []
    await world.make("all", EVERYTHING, 10)
    assert (await world.run()).crossings == 2
    assert await world.kept("all") == ["all.1 70 2026-10-01 pending", "all.1 90 2026-10-01 pending"]


@asynchronous
async def test_who_sets_a_budget_has_it_looked_at_again_once_all_workers_know_it() -> None:
    world = World()
    await world.watch.look([])
    await world.make("all", EVERYTHING, 1, thresholds=(100,))
    assert (await world.run()).looks == 1
    # A worker that does not know the budget yet books a call, and looks in vain.
    assert await world.spend(spent(1)) == []
    assert (await world.run(KNOWN_MS / 1_000 - 1)).looks == 0
    assert (await world.run(1)).looks == 1
    assert await world.kept("all") == ["all.1 100 2026-10-01 pending"]
    assert (await world.run(DAY)).looks == 0


@asynchronous
async def test_a_new_revision_is_evaluated_anew() -> None:
    world = World()
    await world.make("all", EVERYTHING, 10, thresholds=(50,))
    assert await world.spend(spent(1, 5)) == ["all.1 50 2026-10-01 pending"]
    await world.make("all", EVERYTHING, 20, thresholds=(20, 50))
    world.seconds += REFRESH_SECONDS
    assert await world.spend(spent(2, 1)) == ["all.2 20 2026-10-01 pending"]


@asynchronous
async def test_a_removed_budget_crosses_nothing_and_comes_back_as_another() -> None:
    world = World()
    await world.make("all", EVERYTHING, 10, thresholds=(50,))
    await world.watch.look([])
    await world.make("all", EVERYTHING, 10, thresholds=(50,), is_removed=True)
    world.seconds += REFRESH_SECONDS
    assert await world.spend(spent(1, 9)) == []
    assert (await world.run()).crossings == 0
    await world.make("all", EVERYTHING, 10, thresholds=(50,))
    assert (await world.run()).crossings == 1
    assert await world.kept("all") == ["all.3 50 2026-10-01 pending"]


@asynchronous
async def test_a_budget_made_as_its_period_ends_misses_nothing() -> None:
    world = World()
    await world.watch.look([])
    await world.make("all", EVERYTHING, 1, thresholds=(100,), period="daily")
    world.now, world.seconds = NOON + DAY, REFRESH_SECONDS
    await world.book(spent(1))  # by another worker, on the day before
    assert (await world.run()).crossings == 1
    assert await world.kept("all") == ["all.1 100 2026-10-01 late"]


@asynchronous
async def test_budgets_are_looked_at_though_nobody_spends_of_them() -> None:
    world = World()
    await world.make("all", EVERYTHING, 1, thresholds=(100,))
    await world.make("day", EVERYTHING, 2, thresholds=(100,), period="daily")
    await world.watch.look([])
    await world.book(spent(1))
    assert (await world.run()).crossings == 1
    assert await world.kept("all") == ["all.1 100 2026-10-01 pending"]
    assert not await world.run()
    found = await standings_of(world.ledger, await world.budgets.budgets(), EMPTY_REGISTRY, NOON)
    assert [(one.budget.name, one.spent_amount, one.state) for one in found] == [
        ("all", CENT, "exceeded"),
        ("day", CENT, "ok"),
    ]
    assert await standings_of(world.ledger, [], EMPTY_REGISTRY, NOON) == []


# --- Time --------------------------------------------------------------------------------------


@asynchronous
async def test_a_late_call_crosses_a_closed_period_and_is_stored_as_late() -> None:
    world = World()
    await world.make("all", EVERYTHING, 2)
    assert await world.spend(spent(1, at_ms=NOON - 40 * DAY)) == []
    assert await world.spend(spent(2, at_ms=NOON - 39 * DAY)) == [
        "all.1 100 2026-08-01 late",
        "all.1 70 2026-08-01 late",
        "all.1 90 2026-08-01 late",
    ]
    assert await world.spend(spent(3, 2)) == [
        "all.1 100 2026-10-01 pending",
        "all.1 70 2026-10-01 pending",
        "all.1 90 2026-10-01 pending",
    ]


@asynchronous
async def test_a_period_is_over_with_its_last_millisecond() -> None:
    world = World()
    await world.make("day", EVERYTHING, 1, thresholds=(100,), period="daily")
    midnight = NOON + DAY // 2
    for number, (now, state) in enumerate(((midnight - 1, "pending"), (midnight, "late"))):
        world.now = now + number * DAY
        at_ms = NOON + number * DAY
        first = f"2026-10-0{1 + number}"
        assert await world.spend(spent(number, at_ms=at_ms)) == [f"day.1 100 {first} {state}"]


@asynchronous
async def test_calls_whose_time_is_not_known_yet_are_in_no_period() -> None:
    world = World()
    await world.make("all", EVERYTHING, 1)
    world.ledger.asked.clear()
    assert await world.spend(spent(1, at_ms=0)) == []
    assert await world.spend(spent(2, at_ms=253_402_300_799_000)) == []
    assert [one for asked in world.ledger.asked for one in asked if one.first_day < 20_000] == []


@pytest.mark.parametrize(
    "zone,at,first",
    [
        ("Pacific/Apia", "2026-11-30T11:00", "2026-12-01"),
        ("Pacific/Apia", "2026-11-30T10:59", "2026-11-01"),
        ("Europe/Berlin", "2026-10-31T22:59", "2026-10-01"),
        ("Europe/Berlin", "2026-10-31T23:00", "2026-11-01"),
        ("America/Los_Angeles", "2026-11-01T06:59", "2026-10-01"),
        ("America/Los_Angeles", "2026-11-01T07:00", "2026-11-01"),
    ],
)
@asynchronous
async def test_periods_are_those_of_the_scopes_own_calendar(zone: str, at: str, first: str) -> None:
    facts = PrincipalFact(match=ALICE, team="research")
    calendar = Calendar("team/research", zone, ZoneInfo(zone))
    world = World(Registry(principals=(facts,), calendars=(calendar,)))
    await world.make("team", Scope("team", "research"), 1, thresholds=(100,))
    await world.make("all", EVERYTHING, 1, thresholds=(100,))
    utc = date.fromisoformat(at[:10]).replace(day=1)
    hours, minutes = int(at[11:13]), int(at[14:16])
    days = (date.fromisoformat(at[:10]) - date(1970, 1, 1)) // timedelta(days=1)
    at_ms = days * DAY + (hours * 60 + minutes) * 60_000
    world.now = at_ms
    assert await world.spend(spent(1, at_ms=at_ms)) == [
        f"all.1 100 {utc.isoformat()} pending",
        f"team.1 100 {first} pending",
    ]
    [notice] = await world.outbox.about("budget/team")
    assert msgspec.json.decode(notice.detail)["period"]["time_zone"] == zone


# --- Replays -----------------------------------------------------------------------------------


@asynchronous
async def test_a_replay_that_does_not_announce_leaves_open_periods_alone() -> None:
    world = World(late_only=True)
    await world.make("all", EVERYTHING, 1, thresholds=(100,))
    assert await world.spend(spent(1)) == []
    assert world.ledger.asked == []
    assert await world.spend(spent(2), spent(3, at_ms=NOON - 40 * DAY)) == [
        "all.1 100 2026-08-01 late"
    ]
    [asked] = world.ledger.asked
    assert len(asked) == 1
    # The worker is asked to look.
    assert (await world.run(2 * LATER_MS / 1_000)).crossings == 1
