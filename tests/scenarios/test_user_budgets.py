"""User budget set-up and monitoring; usage tracking and cost calculation; threshold alerts."""

import asyncio
from pathlib import Path

import pytest

from tests.calls import ACCOUNT
from tests.scenarios.company import (
    CALL_PICO_USD,
    DAY,
    SECOND,
    TIERS,
    Company,
    company_in,
    scenario,
)
from worker.core.budget_terms import Budget, BudgetUnit, Scope

ALICE = f"user/{ACCOUNT}/alice"
SCOPE = f"principal/{ALICE}"


@scenario
async def test_user_budget_setup_by_a_new_key_with_the_tier_of_its_tags(company: Company) -> None:
    await company.create_user("alice", {"ledgerock:tier": "large"})
    await company.create_user("bob")
    await company.create_key("alice")
    budgets = await company.budgets()
    assert set(budgets) == {SCOPE}
    assert (budgets[SCOPE].limit_amount, budgets[SCOPE].origin) == (960_000_000_000, "tier/large")
    await company.work()
    [said] = company.events("Budget Initialized")
    assert (said["scope"]["id"], said["budget"]["limit"]) == (ALICE, "0.96")


@scenario
async def test_unprovisioned_keys_are_reported_once_and_get_a_small_budget(
    company: Company,
) -> None:
    await company.create_user("alice")
    await company.create_key("alice")
    await company.create_key("alice")
    await company.work()
    budgets = await company.budgets()
    assert (budgets[SCOPE].limit_amount, budgets[SCOPE].period) == (12_000_000_000, "daily")
    assert len({one["event_id"] for one in company.events("Unprovisioned Key Detected")}) == 1


@scenario
async def test_usage_is_tracked_per_user_to_the_last_digit(company: Company) -> None:
    await company.call(user="alice", times=7)
    await company.call(user="bob", times=3)
    assert await company.spent(ALICE) == 7 * CALL_PICO_USD == 16_800_000_000
    assert await company.spent(f"user/{ACCOUNT}/bob") == 7_200_000_000


@scenario
async def test_threshold_alerts_come_once_each_and_people_hear_the_highest_of_a_jump(
    company: Company,
) -> None:
    await company.set_budget(Budget("alice", Scope("principal", ALICE), 24_000_000_000))
    await company.call(times=7)  # 70 %
    await company.work()
    assert await company.state_of("alice") == "warning"
    await company.call(times=4)  # 110 %: past 90 and 100 at once
    await company.call(times=1)
    await company.work(60)
    said = sorted(company.events("Budget Threshold Crossed"), key=lambda one: one["threshold"])
    assert [(one["threshold"], one["level"], one["highest_of_jump"]) for one in said] == [
        (70, "warning", True),
        (90, "critical", False),
        (100, "exceeded", True),
    ]
    assert said[2]["spent"] == "0.0264"
    assert not company.events("Budget Grace Period Started")  # it only notifies


@scenario
async def test_a_key_made_again_under_its_name_starts_clean(company: Company) -> None:
    """The old one was suspended; the new one has another unique id, and no history."""
    await company.create_user("alice")
    await company.create_key("alice")
    await company.call(times=10)
    await company.work(1)
    assert company.is_denied("user", "alice")
    await company.trail(
        "DeleteUser", "iam", requestParameters={"userName": "alice"}, responseElements=None
    )
    company.iam.remove("user", ACCOUNT, "alice")
    await company.work(5)
    again = await company.create_user("alice")
    await company.create_key("alice", "ACCA7654321ABCDEFGHIJ")
    await company.work(5)
    principal = f"{ALICE}/{again.unique_id}"
    budgets = await company.budgets()
    assert set(budgets) == {f"principal/{principal}"}
    await company.call(times=2)
    await company.work(5)
    assert await company.spent(principal) == 2 * CALL_PICO_USD
    assert not company.is_denied("user", "alice")


@pytest.mark.parametrize(
    "unit, limit, calls", [("tokens", 15_000, 10), ("requests", 4, 4)], ids=str
)
@scenario
async def test_limits_may_count_tokens_or_requests(
    company: Company, unit: BudgetUnit, limit: int, calls: int
) -> None:
    budget = Budget(
        "alice",
        Scope("principal", ALICE),
        limit,
        unit=unit,
        action="suspend",
    )
    await company.create_user("alice")
    await company.set_budget(budget)
    await company.call(times=calls - 1)
    await company.work(60)
    assert not company.is_denied("user", "alice")
    await company.call()
    await company.work(60)
    assert company.is_denied("user", "alice")
    [grace] = company.events("Budget Grace Period Started")
    assert (grace["spent"], grace["limit"], grace["budget"]["unit"]) == (
        str(limit),
        str(limit),
        unit,
    )


@scenario
async def test_late_usage_of_a_closed_period_never_suspends(company: Company) -> None:
    await company.create_user("alice")
    budget = Budget("alice", Scope("principal", ALICE), 4_800_000_000, "daily", action="suspend")
    await company.set_budget(budget)
    yesterday = company.clock.at_ms
    company.clock.at_ms += DAY
    await company.call(times=50, at_ms=yesterday)
    await company.work(3600)
    assert not company.is_denied("user", "alice")
    assert company.clock.at_ms >= yesterday + DAY + 3600 * SECOND
    [late] = {
        one.state
        for one in await company.parts.state.outbox.about("budget/alice")
        if "Crossed" in one.detail_type
    }
    assert late == "late"


@pytest.mark.parametrize("tag", ["ledgerock:team", "team"])
def test_calls_are_booked_to_the_same_teams_while_tiers_cannot_be_read(
    tag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiers = tmp_path / "tiers.toml"

    async def work() -> None:
        tiers.write_text(f'{TIERS}\n[tags]\nteam = "{tag}"\n', encoding="utf-8")
        async with company_in(tmp_path, monkeypatch, keeps_tiers=True) as company:
            await company.create_user("alice", {tag: "research"})
            await company.call()
        tiers.write_text("no TOML", encoding="utf-8")
        async with company_in(tmp_path, monkeypatch, keeps_tiers=True) as company:
            await company.call()
            totals = await company.parts.pipeline.ledger.totals("team")
            assert totals["research"].cost_pico_usd == 2 * CALL_PICO_USD

    asyncio.run(work())
