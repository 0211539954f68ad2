"""Agents from their lifecycle events to their suspension and back, through the roles they have."""

from collections.abc import Sequence
from typing import Any

from tests.calls import ACCOUNT, NOON, asynchronous
from tests.lifecycle import AGENT, OTHER_ROLE_ARN, ROLE_ARN, create_runtime, update_runtime
from tests.unit.pipeline.directory_world import World
from worker.adapters.memory_enforcement import MemoryEnforcement, MemoryEntity
from worker.core.agent_roles import roles_of
from worker.core.enforcement import Hold
from worker.core.targets import targets_of
from worker.enforcer import Enforcer, Hands, Snapshots
from worker.pipeline import Pipeline
from worker.pipeline.audit import AuditLog
from worker.pipeline.suspensions import KNOWN_MS, Suspensions
from worker.ports import Target

ROLE, OTHER_ROLE = (arn.rpartition("/")[2] for arn in (ROLE_ARN, OTHER_ROLE_ARN))


class Company(World):
    """A directory, and who is suspended by what it knows."""

    def __init__(self) -> None:
        super().__init__()
        self.enforcement = MemoryEnforcement(
            MemoryEntity("role", ACCOUNT, name, inline={"models": "{}"})
            for name in (ROLE, OTHER_ROLE)
        )
        self.suspensions = Suspensions(records=self.records, outbox=self.outbox, clock=self)

    def enforcer(self, worker: Pipeline) -> Enforcer:
        async def targets(principal: str) -> Sequence[Target]:
            roles, shared = roles_of(worker.poster.registry, principal, self.now_ms())
            return targets_of(principal, roles, shared)

        hands = Hands(
            enforcement=self.enforcement,
            snapshots=Snapshots(self.records),
            audit=AuditLog(self.records, self),
            targets_of=targets,
        )
        return Enforcer(suspensions=self.suspensions, hands=hands, clock=self)

    def worker(self, **more: Any) -> Pipeline:
        made = super().worker(**more)
        assert made.directory is not None
        made.directory.agent_moved = self.suspensions.look_again
        return made

    def denied(self) -> list[str]:
        """Return the roles that are denied now."""
        iam = self.enforcement.iam
        return [name for name in (ROLE, OTHER_ROLE) if iam.is_denied("role", ACCOUNT, name)]


@asynchronous
async def test_an_agentcore_agent_whose_role_changes_stays_suspended_through_the_new_one() -> None:
    company = Company()
    worker = company.worker()
    await company.send(worker, create_runtime(1))
    hold = Hold("agents-daily", 20_727, 1, company.now_ms(), "6 of 5 USD are spent")
    assert await company.suspensions.hold(AGENT, hold)
    assert (await company.enforcer(worker).run_due()).suspended == 1
    assert company.denied() == [ROLE]
    await company.send(worker, update_runtime(2, role=OTHER_ROLE_ARN, at_ms=NOON + 60_000))
    company.wait(KNOWN_MS / 1_000)
    assert (await company.enforcer(worker).run_due()).confirmed == 1
    assert company.denied() == [OTHER_ROLE]
    assert await company.suspensions.lift(AGENT, "agents-daily", 20_727)
    assert (await company.enforcer(worker).run_due()).restored == 1
    assert company.denied() == []
    for entity in company.enforcement.iam.entities.values():
        assert entity.inline == {"models": "{}"}
