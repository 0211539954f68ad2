"""The suspension workflow, and restoration."""

from tests.calls import ACCOUNT
from tests.scenarios.company import DAY, Company, scenario
from worker.core.budget_terms import Budget, Scope
from worker.core.enforcement import MANUAL, Hold

ALICE = f"user/{ACCOUNT}/alice"
LIMIT = 24_000_000_000
"""Ten calls."""


def budget(
    name: str = "alice", period: str = "monthly", limit: int = LIMIT, grace: int = 600
) -> Budget:
    scope = Scope("principal", ALICE)
    return Budget(name, scope, limit, period, action="suspend", grace_seconds=grace)


@scenario
async def test_suspension_workflow_grace_then_deny_then_restoration_at_the_turn(
    company: Company,
) -> None:
    user = await company.create_user("alice")
    before = dict(user.inline)
    await company.set_budget(budget())
    await company.call(times=50)  # 500 %
    await company.work(1)
    assert await company.state_of("alice") == "grace_period"
    [grace] = company.events("Budget Grace Period Started")
    await company.work(500)
    assert not company.is_denied("user", "alice")
    await company.work(100)
    assert company.is_denied("user", "alice")
    assert await company.state_of("alice") == "suspended"
    for _ in range(5):
        await company.work(300)
    assert len(company.events("Principal Suspended")) == 1
    assert len(company.events("Budget Grace Period Started")) == 1
    assert grace["deadline"] < company.events("Principal Suspended")[0]["occurred_at"]
    company.clock.at_ms += 31 * DAY
    await company.work(1)
    assert (user.inline, user.attached) == (before, set())
    assert await company.state_of("alice") == "active"
    assert len(company.events("Principal Restored")) == 1
    assert len(company.events("Budget Refreshed")) == 1
    await company.work(3600)
    assert len(company.events("Principal Restored")) == 1


@scenario
async def test_raising_the_limit_in_the_grace_period_ends_the_grace(company: Company) -> None:
    await company.create_user("alice")
    await company.set_budget(budget())
    await company.call(times=11)
    await company.work(300)
    assert await company.state_of("alice") == "grace_period"
    await company.set_budget(budget(limit=10 * LIMIT))
    await company.work(1)
    assert await company.state_of("alice") == "active"
    await company.work(3600)
    assert not company.is_denied("user", "alice")
    assert not company.events("Principal Suspended")


@scenario
async def test_lowering_the_limit_acts_at_once(company: Company) -> None:
    await company.create_user("alice")
    await company.set_budget(budget(limit=10 * LIMIT, grace=0))
    await company.call(times=11)
    await company.work(60)
    assert not company.is_denied("user", "alice")
    await company.set_budget(budget(grace=0))
    await company.work(1)
    assert company.is_denied("user", "alice")


@scenario
async def test_a_daily_restoration_never_lifts_a_monthly_hold(company: Company) -> None:
    user = await company.create_user("alice")
    await company.set_budget(budget("daily", "daily", LIMIT, 0))
    await company.set_budget(budget("monthly", "monthly", 2 * LIMIT, 0))
    await company.call(times=21)
    await company.work(60)
    assert company.is_denied("user", "alice")
    company.clock.at_ms += DAY
    await company.work(60)
    assert await company.state_of("daily") == "active"
    assert company.is_denied("user", "alice")
    assert not company.events("Principal Restored")
    company.clock.at_ms += 31 * DAY
    await company.work(60)
    assert not company.is_denied("user", "alice")
    assert user.inline == {"mine": '{"Statement": []}'}
    assert len(company.events("Principal Restored")) == 1


@scenario
async def test_members_of_a_team_that_spend_while_it_is_exhausted_are_held_each(
    company: Company,
) -> None:
    for name in ("alice", "bob", "carol"):
        await company.create_user(name, {"ledgerock:team": "research"})
    team = Budget("team", Scope("team", "research"), LIMIT, action="suspend", grace_seconds=600)
    await company.set_budget(team)
    await company.call(user="carol", times=1)
    await company.call(user="alice", times=10)
    await company.work(1)
    await company.call(user="bob")
    await company.work(700)
    assert [company.is_denied("user", one) for one in ("alice", "bob", "carol")] == [
        True,
        True,
        False,
    ]
    await company.call(user="carol")
    await company.work(60)
    assert company.is_denied("user", "carol")
    await company.set_budget(
        Budget("team", Scope("team", "research"), 10 * LIMIT, action="suspend", grace_seconds=600)
    )
    await company.work(60)
    assert not any(company.is_denied("user", one) for one in ("alice", "bob", "carol"))
    assert len(company.events("Principal Restored")) == 3


@scenario
async def test_a_hold_by_hand_outlives_the_budgets(company: Company) -> None:
    await company.create_user("alice")
    await company.set_budget(budget(grace=0))
    await company.call(times=11)
    await company.work(60)
    hold = Hold(MANUAL, 0, 1, company.clock.at_ms, "leaked key", by="dana")
    assert await company.parts.enforcing.suspensions.hold(ALICE, hold)
    await company.set_budget(budget(limit=10 * LIMIT))
    await company.work(60)
    assert company.is_denied("user", "alice")
    assert await company.parts.enforcing.suspensions.lift(ALICE, MANUAL, 0)
    await company.work(60)
    assert not company.is_denied("user", "alice")
    assert len(company.events("Principal Suspended")) == 1


@scenario
async def test_a_user_that_is_missing_is_a_failure_with_a_name(company: Company) -> None:
    await company.set_budget(budget(grace=0))
    await company.call(times=11)
    await company.work(60)
    [failed] = company.events("Suspension Failed")
    assert "alice" in failed["message"]
    assert not company.events("Principal Suspended")
    await company.create_user("alice")
    await company.work(3600)
    assert company.is_denied("user", "alice")
    assert len(company.events("Principal Suspended")) == 1
