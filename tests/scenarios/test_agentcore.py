"""AgentCore: lifecycle and budgets, usage by role, suspension and restoration of agents."""

import pytest

from tests.calls import ACCOUNT
from tests.scenarios.company import CALL_PICO_USD, Company, scenario


@scenario
async def test_agentcore_lifecycle_and_budget_initialization(company: Company) -> None:
    agent = await company.create_agent("support", "SupportRole")
    assert await company.create_agent("support", "SupportRole") == agent
    await company.work()
    budgets = await company.budgets()
    assert set(budgets) == {f"agent/{agent}"}
    assert budgets[f"agent/{agent}"].origin == "tier/agents"
    [said] = company.events("Agent Registered")
    assert agent in str(said)
    await company.trail(
        "DeleteAgentRuntime",
        "bedrock-agentcore",
        requestParameters={"agentRuntimeId": agent.rpartition("/")[2]},
        responseElements={"status": "DELETING"},
    )
    await company.work(60)
    assert await company.budgets() == {}
    assert len(company.events("Agent Removed")) == 1


@scenario
async def test_agentcore_creation_that_failed_changes_nothing(company: Company) -> None:
    await company.trail(
        "CreateAgentRuntime",
        "bedrock-agentcore",
        errorCode="AccessDenied",
        requestParameters={
            "agentRuntimeName": "support",
            "roleArn": f"arn:aws:iam::{ACCOUNT}:role/agents/SupportRole",
        },
        responseElements=None,
    )
    await company.work(60)
    assert await company.budgets() == {}


@scenario
async def test_agentcore_usage_goes_to_the_agent_else_to_the_role(company: Company) -> None:
    agent = await company.create_agent("support", "SupportRole")
    await company.call(role="SupportRole", times=3)
    await company.call(role="OtherRole", times=2)
    assert await company.spent(agent) == 3 * CALL_PICO_USD
    assert await company.spent(f"role/{ACCOUNT}/OtherRole") == 2 * CALL_PICO_USD


@scenario
async def test_agentcore_usage_before_registration_is_rebooked(company: Company) -> None:
    made_ms = company.clock.at_ms
    await company.work(10)
    await company.call(role="SupportRole", times=4)
    role = f"role/{ACCOUNT}/SupportRole"
    assert await company.spent(role) == 4 * CALL_PICO_USD
    now_ms, company.clock.at_ms = company.clock.at_ms, made_ms
    event = company.create_agent("support", "SupportRole")  # it happened before the calls
    agent = await event
    company.clock.at_ms = now_ms
    await company.work(60)
    assert (await company.spent(role), await company.spent(agent)) == (0, 4 * CALL_PICO_USD)
    assert (await company.parts.pipeline.ledger.verify()).differences == ()


@scenario
async def test_agentcore_update_may_change_the_role_from_then_on(company: Company) -> None:
    agent = await company.create_agent("support", "SupportRole")
    await company.call(role="SupportRole")
    await company.work(60)
    await company.create_agent("support", "NewRole", "UpdateAgentRuntime")
    await company.work(60)
    await company.call(role="NewRole", times=2)
    await company.call(role="SupportRole", times=5)
    assert await company.spent(agent) == 3 * CALL_PICO_USD
    assert await company.spent(f"role/{ACCOUNT}/SupportRole") == 5 * CALL_PICO_USD


@scenario
async def test_agentcore_role_shared_by_agents_is_nobodys(company: Company) -> None:
    agents = [await company.create_agent(name, "SharedRole") for name in ("support", "sales")]
    await company.work(1)
    await company.call(role="SharedRole", times=3)
    assert [await company.spent(agent) for agent in agents] == [0, 0]
    assert await company.spent(f"role/{ACCOUNT}/SharedRole") == 3 * CALL_PICO_USD


@scenario
async def test_agentcore_multi_agent_concurrency(company: Company) -> None:
    agents = {name: await company.create_agent(name, f"Role{name}") for name in ("a", "b", "c")}
    for times, name in enumerate(agents, 1):
        await company.call(role=f"Role{name}", times=times)
        await company.call(role=f"Role{name}", times=times)
    for times, agent in enumerate(agents.values(), 1):
        assert await company.spent(agent) == 2 * times * CALL_PICO_USD


@scenario
async def test_agentcore_suspension_and_restoration(company: Company) -> None:
    agent = await company.create_agent("support", "SupportRole")
    await company.work()
    role = company.iam.entities["role", ACCOUNT, "SupportRole"]
    await company.call(role="SupportRole", times=11)  # 0.0264 of 0.024 USD
    await company.work(30)
    assert not company.is_denied("role", "SupportRole")
    await company.work(40)
    assert company.is_denied("role", "SupportRole")
    [suspended] = company.events("Principal Suspended")
    assert suspended["principal"] == agent
    company.clock.at_ms += 31 * 86_400_000
    await company.work(60)
    assert not company.is_denied("role", "SupportRole")
    assert role.attached == {"arn:aws:iam::aws:policy/AmazonBedrockFullAccess"}
    assert role.inline == {}


@pytest.mark.parametrize("names", [("support", "sales"), ("sales", "support")], ids=str)
@scenario
async def test_agentcore_agents_on_a_shared_role_need_a_person(
    company: Company, names: tuple[str, str]
) -> None:
    first = await company.create_agent(names[0], "SharedRole")
    await company.work()
    await company.call(role="SharedRole", times=11)
    await company.create_agent(names[1], "SharedRole")
    await company.work(120)
    assert not company.is_denied("role", "SharedRole")
    assert not company.events("Principal Suspended")
    assert all(one["principal"] == first for one in company.events("Suspension Failed"))
