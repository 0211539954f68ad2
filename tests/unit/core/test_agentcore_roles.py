from worker.core.agent_roles import roles_of
from worker.core.registry import Agent, Period, Registry

SHARED = "arn:aws:iam::111122223333:role/agents/Shared"
OWN = "arn:aws:iam::111122223333:role/agents/Own"
FORMER = "arn:aws:iam::111122223333:role/agents/Former"
SUPPORT = "agent/111122223333/us-east-1/SUPPORT"
SALES = "agent/111122223333/us-east-1/SALES"

REGISTRY = Registry(
    agents=[
        Agent(SUPPORT, "support", (OWN, SHARED)),
        Agent(SUPPORT, "support", (FORMER,), Period(to_ms=1_000)),
        Agent(SALES, "sales", (SHARED,), Period(from_ms=500)),
    ]
)


def test_agentcore_roles_are_those_of_the_time_with_whoever_shares_them() -> None:
    assert roles_of(REGISTRY, SUPPORT, 100) == ((FORMER, OWN, SHARED), {})
    assert roles_of(REGISTRY, SUPPORT, 2_000) == ((OWN, SHARED), {SHARED: (SALES,)})
    assert roles_of(REGISTRY, SALES, 2_000) == ((SHARED,), {SHARED: (SUPPORT,)})
    assert roles_of(REGISTRY, SALES, 100) == ((), {})


def test_whoever_is_no_agent_has_no_roles() -> None:
    assert roles_of(REGISTRY, "user/111122223333/alice", 100) == ((), {})
