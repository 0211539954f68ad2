"""What the monitor does, step by step, and what it costs."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from tests.calls import DAY, NOON, asynchronous
from tests.events import checked_all
from tests.unit.pipeline.budget_world import ALICE, CENT, OCTOBER, World, spent
from worker.core.budget import LIFT_AGAIN_MS, RECHECK_CALM_MS, RECHECK_MS
from worker.core.budget_terms import Budget, Scope
from worker.core.registry import PrincipalFact, Registry
from worker.ports import Notice

GRACE = 7_200
PERSON = Scope("principal", ALICE)
SUSPEND: dict[str, Any] = {"action": "suspend", "grace_seconds": GRACE}
TEAM = Scope("team", "research")
TEAMS = Registry(principals=(PrincipalFact(match="user/111122223333/*", team="research"),))
GRACE_STARTED = "Budget Grace Period Started"


def graces(notices: Sequence[Notice]) -> list[dict[str, Any]]:
    return checked_all(one for one in notices if one.detail_type == GRACE_STARTED)


async def exceeded(world: World) -> None:
    """Have Alice spend five times her limit, and be told of it."""
    await world.make("a", PERSON, 10, **SUSPEND)
    await world.spend(spent(1, 50))
    await world.announce()
    await world.run()


async def suspended(world: World) -> None:
    await exceeded(world)
    await world.run(GRACE)
    assert await world.held() == ["a"]


# --- Suspension --------------------------------------------------------------------------------


@asynchronous
async def test_a_key_at_500_per_cent_is_suspended_once_after_its_grace_period() -> None:
    world = World()
    await world.make("a", PERSON, 10, **SUSPEND)
    assert await world.state_or_none("a") is None
    await world.spend(spent(1, 50))
    assert await world.state("a") == "grace_period"
    assert (await world.status("a")).deadline_ms == 0
    # Nothing counts before people are told.
    assert not (await world.run(2 * GRACE)).suspended
    assert sorted(await world.announce()) == [
        GRACE_STARTED,
        *["Budget Threshold Crossed"] * 3,
    ]
    announced_at = world.now
    assert (await world.run(5)).deadlines == 1
    assert (await world.status("a")).deadline_ms == announced_at + GRACE * 1_000
    [told] = graces(await world.outbox.about("budget/a"))
    assert told["deadline"] == "2026-10-01T18:00:00.000Z"
    assert told["message"].endswith("is suspended at 2026-10-01T18:00:00.000Z.")
    assert await world.held() == []
    assert not await world.run(GRACE - 6)
    assert await world.held() == []
    done = await world.run(1)
    assert (done.suspended, done.held) == (1, 1)
    assert (await world.state("a"), await world.held()) == ("suspended", ["a"])
    for _ in range(20):
        assert not await world.run(600)
    assert await world.told_of() == ["Principal Suspension Required"]
    assert len(graces(await world.outbox.about("budget/a"))) == 1


@asynchronous
async def test_monitors_at_once_suspend_once() -> None:
    world = World()
    await exceeded(world)
    await world.wait(GRACE)
    others = [world.new_monitor() for _ in range(5)]
    done = await asyncio.gather(*(one.run_due() for one in others))
    assert sum(one.held for one in done) == 1
    assert await world.held() == ["a"]
    assert await world.told_of() == ["Principal Suspension Required"]


@asynchronous
async def test_without_grace_the_suspension_follows_the_announcement_at_once() -> None:
    world = World()
    await world.make("a", PERSON, 10, action="suspend")
    await world.spend(spent(1, 10))
    assert await world.run()
    assert await world.held() == []
    await world.announce()
    assert (await world.run()).held == 1


@asynchronous
async def test_a_budget_that_only_notifies_goes_no_further_than_critical() -> None:
    world = World()
    await world.make("a", PERSON, 10)
    await world.spend(spent(1, 7))
    assert await world.state("a") == "warning"
    await world.spend(spent(2, 93))
    assert await world.state("a") == "critical"
    await world.announce()
    await world.run(DAY / 1_000)
    assert (await world.state("a"), await world.held()) == ("critical", [])


@pytest.mark.parametrize("unit,limit,calls", [("tokens", 25_000, 2), ("requests", 3, 3)])
@asynchronous
async def test_limits_count_tokens_or_requests(unit: str, limit: int, calls: int) -> None:
    world = World()
    await world.make("a", PERSON, limit, unit=unit, **SUSPEND)
    for number in range(calls - 1):
        await world.spend(spent(number))
    assert await world.state_or_none("a") in {None, "warning"}
    await world.spend(spent(calls))
    assert await world.state("a") == "grace_period"
    [told] = graces(await world.outbox.about("budget/a"))
    assert (told["unit"], told["spent"], told["limit"]) == (unit, str(limit), str(limit))
    assert "spent_usd" not in told


# --- Restoration -------------------------------------------------------------------------------


@asynchronous
async def test_at_the_turn_of_the_period_everybody_is_restored_once() -> None:
    world = World()
    await world.make("a", PERSON, 10, period="daily", **SUSPEND)
    await world.spend(spent(1, 50))
    await world.announce()
    await world.run()
    await world.run(GRACE)
    assert await world.held() == ["a"]
    midnight = NOON + DAY // 2
    await world.run((midnight - world.now - 1) / 1_000)
    assert await world.held() == ["a"]
    done = await world.run(0.001)
    assert (done.closed, done.lifted) == (1, 1)
    assert (await world.state("a"), await world.held()) == ("active closed", [])
    [refreshed] = checked_all(
        one for one in await world.outbox.about("budget/a") if one.detail_type == "Budget Refreshed"
    )
    assert refreshed["state"] == "suspended"
    assert refreshed["period"]["first_day"] == "2026-10-01"
    assert refreshed["next_period"]["first_day"] == "2026-10-02"
    # Late usage of the closed period moves nothing.
    assert len(await world.spend(spent(2, 50))) == 0
    for _ in range(10):
        await world.run(600)
    assert (await world.state("a"), await world.held()) == ("active closed", [])
    assert await world.told_of() == [
        "Principal Suspension Required",
        "Principal Restoration Required",
    ]


@asynchronous
async def test_late_usage_of_a_closed_period_never_suspends() -> None:
    world = World()
    await world.make("a", PERSON, 10, period="daily", **SUSPEND)
    await world.spend(spent(1, 8))
    await world.wait(DAY / 1_000)
    assert len(await world.spend(spent(2, 50))) == 2
    await world.announce()
    for _ in range(5):
        await world.run(GRACE)
    assert (await world.state("a"), await world.held()) == ("active closed", [])
    assert graces(await world.outbox.about("budget/a")) == []


@asynchronous
async def test_raising_the_limit_in_the_grace_period_ends_it() -> None:
    world = World()
    await exceeded(world)
    await world.make("a", PERSON, 100, **SUSPEND)
    done = await world.run()
    assert (done.looks, done.lowered) == (1, 1)
    status = await world.status("a")
    assert (status.state, status.grace_id, status.deadline_ms) == ("active", "", 0)
    await world.run(2 * GRACE)
    assert await world.held() == []
    # Exceeding the new limit starts a grace period of its own.
    await world.spend(spent(2, 50))
    await world.announce()
    await world.run()
    assert (await world.status("a")).deadline_ms == world.now + GRACE * 1_000
    assert len(graces(await world.outbox.about("budget/a"))) == 2


@asynchronous
async def test_a_limit_that_is_still_exceeded_keeps_the_deadline_and_the_suspension() -> None:
    world = World()
    await exceeded(world)
    deadline_ms = (await world.status("a")).deadline_ms
    await world.make("a", PERSON, 20, **SUSPEND)
    await world.run(GRACE / 2)
    status = await world.status("a")
    assert (status.revision, status.state, status.deadline_ms) == (2, "grace_period", deadline_ms)
    await world.run(GRACE / 2)
    assert await world.held() == ["a"]
    await world.make("a", PERSON, 30, **SUSPEND)
    await world.run()
    assert ((await world.status("a")).revision, await world.held()) == (3, ["a"])
    assert len(graces(await world.outbox.about("budget/a"))) == 1
    await world.make("a", PERSON, 51, **SUSPEND)
    assert (await world.run()).lifted == 1
    assert (await world.state("a"), await world.held()) == ("critical", [])
    # And down again: a new revision, a new grace period.
    await world.make("a", PERSON, 10, **SUSPEND)
    await world.run()
    assert (await world.state("a"), await world.held()) == ("grace_period", [])
    await world.announce()
    await world.run()
    await world.run(GRACE)
    assert await world.held() == ["a"]


@pytest.mark.parametrize(
    "change",
    [
        {"action": "notify"},
        {"is_removed": True},
        {"scope": Scope("principal", "user/111122223333/ben")},
        {"period": "daily"},
        {"period": "30-day", "anchor_day": OCTOBER},
    ],
)
@asynchronous
async def test_whatever_ends_a_suspension_lifts_its_holds(change: dict[str, Any]) -> None:
    world = World()
    await suspended(world)
    await world.wait(5)
    more = SUSPEND | {"scope": PERSON} | change
    await world.make("a", more.pop("scope"), 10, **more)
    assert (await world.run()).lifted == 1
    assert await world.held() == []
    for _ in range(4):
        await world.run(LIFT_AGAIN_MS / 1_000)
    assert await world.held() == []
    assert await world.told_of() == [
        "Principal Suspension Required",
        "Principal Restoration Required",
    ]


@asynchronous
async def test_a_removed_budget_that_comes_back_serves_grace_anew() -> None:
    world = World()
    await suspended(world)
    await world.make("a", PERSON, 10, **SUSPEND, is_removed=True)
    await world.run()
    await world.make("a", PERSON, 10, **SUSPEND)
    await world.run()
    assert (await world.state("a"), await world.held()) == ("grace_period", [])
    await world.announce()
    await world.run()
    await world.run(GRACE)
    assert (await world.state("a"), await world.held()) == ("suspended", ["a"])
    # What was to be lifted for what was before is not lifted any more.
    await world.run(LIFT_AGAIN_MS / 1_000)
    assert await world.held() == ["a"]


@asynchronous
async def test_one_budgets_turn_never_lifts_anothers_hold() -> None:
    world = World()
    await world.make("day", PERSON, 10, period="daily", **SUSPEND)
    await world.make("month", PERSON, 10, **SUSPEND)
    await world.spend(spent(1, 50))
    await world.announce()
    await world.run()
    await world.run(GRACE)
    assert await world.held() == ["day", "month"]
    await world.run(DAY / 1_000)
    assert await world.held() == ["month"]
    assert await world.told_of() == ["Principal Suspension Required"]


# --- Corrections -------------------------------------------------------------------------------


@asynchronous
async def test_a_correction_that_nobody_saw_still_restores() -> None:
    world = World()
    await suspended(world)
    await world.correct()
    assert await world.held() == ["a"]
    assert (await world.run(RECHECK_MS / 1_000)).lifted == 1
    assert (await world.state("a"), await world.held()) == ("active", [])


@asynchronous
async def test_a_warning_is_looked_at_again_too() -> None:
    world = World()
    await world.make("a", PERSON, 10)
    await world.spend(spent(1, 7))
    await world.correct()
    await world.run(RECHECK_CALM_MS / 1_000)
    assert await world.state("a") == "active"


@asynchronous
async def test_what_falls_and_rises_again_keeps_the_one_deadline() -> None:
    world = World()
    await exceeded(world)
    deadline_ms = (await world.status("a")).deadline_ms
    leaves = await world.correct()
    await world.watch.look(leaves)
    assert await world.state("a") == "active"
    await world.run(GRACE / 2)
    await world.spend(spent(2, 50))
    status = await world.status("a")
    assert (status.state, status.deadline_ms) == ("grace_period", deadline_ms)
    await world.run(GRACE / 2)
    assert await world.held() == ["a"]
    leaves = await world.correct()
    await world.watch.look(leaves)
    await world.run()
    assert await world.held() == []
    # Grace was served: the next time, suspension follows at once.
    await world.spend(spent(3, 50))
    await world.run()
    assert await world.held() == ["a"]
    assert len(graces(await world.outbox.about("budget/a"))) == 1


# --- Groups ------------------------------------------------------------------------------------


@asynchronous
async def test_each_member_that_spends_of_an_exhausted_budget_gets_its_own_hold() -> None:
    world = World(TEAMS)
    await world.make("t", TEAM, 10, **SUSPEND)
    await world.spend(spent(1, 5, user="ann"))
    await world.spend(spent(2, 5, user="ben"))
    await world.spend(spent(3, user="carol"))
    await world.announce()
    await world.run()
    done = await world.run(GRACE)
    assert (done.suspended, done.held) == (1, 2)
    assert [await world.held(one) for one in ("ann", "ben", "carol", "dan")] == [
        [],
        ["t"],
        ["t"],
        [],
    ]
    # Who spends later is held at the next run; a call that is only told of again holds nobody.
    await world.spend(spent(4, user="dan"))
    await world.watch.look(await world.book(spent(1, 5, user="ann")), spending=())
    assert (await world.run()).held == 1
    assert [await world.held(one) for one in ("ann", "dan")] == [[], ["t"]]
    await world.make("t", TEAM, 1_000, **SUSPEND)
    assert (await world.run()).lifted == 3
    await world.run(LIFT_AGAIN_MS / 1_000)
    assert [name for name in await world.names("t") if "#" in name and "look" not in name] == []
    # Nobody spent of what is exhausted next but Ann.
    await world.make("t", TEAM, 1, **SUSPEND)
    await world.run()
    await world.spend(spent(5, user="ann"))
    await world.announce()
    await world.run()
    await world.run(GRACE)
    assert [await world.held(one) for one in ("ann", "ben", "carol", "dan")] == [["t"], [], [], []]


@asynchronous
async def test_members_are_let_go_at_the_turn_of_the_period() -> None:
    world = World(TEAMS)
    await world.make("t", TEAM, 10, period="daily", **SUSPEND)
    await world.spend(spent(1, 50))
    await world.announce()
    await world.run()
    await world.run(GRACE)
    assert await world.held() == ["t"]
    assert (await world.run(DAY / 1_000)).lifted == 1
    assert await world.held() == []
    await world.run(LIFT_AGAIN_MS / 1_000)
    assert not await world.run(10 * DAY / 1_000)


# --- Rolling windows and forecasts -------------------------------------------------------------


@asynchronous
async def test_a_rolling_window_tells_what_is_newly_reached_and_not_every_day() -> None:
    world = World()
    await world.make("a", PERSON, 10, period="rolling-7-day")
    await world.spend(spent(1, 4, at_ms=NOON - 6 * DAY))
    assert await world.spend(spent(2, 4)) == ["a.1 70 2026-09-25 pending"]
    await world.wait(DAY / 1_000)
    # The window is 2026-09-26 to 10-02 now: four cents have left it, three came.
    assert await world.spend(spent(3, 3, at_ms=world.now)) == []
    assert await world.state("a", 0) == "warning"
    assert await world.spend(spent(4, 3, at_ms=world.now)) == [
        "a.1 100 2026-09-26 pending",
        "a.1 90 2026-09-26 pending",
    ]
    assert (await world.state("a", 0), await world.held()) == ("critical", [])
    await world.wait(7 * DAY / 1_000)
    await world.run()
    assert await world.state("a", 0) == "active"
    assert await world.spend(spent(5, 7, at_ms=world.now)) == ["a.1 70 2026-10-03 pending"]


@asynchronous
async def test_a_forecast_is_told_once_and_nothing_is_done_because_of_it() -> None:
    world = World()
    await world.make("a", PERSON, 100, forecast=True, **SUSPEND)
    # 2026-10-01T12:00Z: 12 of 744 hours have passed, fewer than a twentieth.
    await world.spend(spent(1, 50))
    assert [one.detail_type for one in await world.outbox.about("budget/a")] == []
    world.now += 5 * DAY
    for number in range(2, 5):
        await world.spend(spent(number))
    [forecast] = checked_all(await world.outbox.about("budget/a"))
    # 51 cents in 132 hours: 100 cents after 258.82... hours, on the eleventh.
    assert forecast["passes_at"] == "2026-10-11T18:49:24.706Z"
    assert (forecast["spent"], forecast["projected"]) == ("0.51", "2.874545454545")
    assert await world.state_or_none("a") is None


# --- Cost --------------------------------------------------------------------------------------


@asynchronous
async def test_what_is_not_due_costs_nothing() -> None:
    """Of 20,000 budgets on 10,000 principals, two are touched; it costs what they cost alone."""
    few, many = await cost_of(10), await cost_of(10_000)
    assert few == many
    assert few["spend"] == 2  # of the look, and of the monitor at the deadlines
    assert "budgets" not in few  # the list of all
    assert sum(few.values()) < 60


async def cost_of(principals: int) -> dict[str, int]:
    """Return the requests of a look and two monitor runs, with one budget due among many."""
    world = World()
    for number in range(principals):
        scope = Scope("principal", f"user/111122223333/p{number}")
        for period in ("daily", "monthly"):
            budget = Budget(f"p{number}-{period}", scope, 10 * CENT, period=period, **SUSPEND)
            assert await world.budgets.put(budget)
    await world.watch.look([])
    world.records.requests.clear()
    world.ledger.asked.clear()
    finds = await world.count_reads()
    await world.spend(spent(1, 50, user="p7", at_ms=world.now))
    asked = len(world.ledger.asked)
    assert asked == 1
    await world.announce()
    await world.run()
    await world.run(GRACE)
    assert await world.held("p7") == ["p7-daily", "p7-monthly"]
    return dict(world.records.requests) | {"spend": len(world.ledger.asked)} | finds
