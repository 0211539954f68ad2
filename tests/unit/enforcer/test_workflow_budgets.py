"""From the call that exceeds a budget to the deny and back: real budgets, monitor and steps."""

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from infra.workflows import restoration_definition, suspension_definition
from tests.infra import asl
from tests.infra.asl import Ended, Json, TaskError
from tests.infra.test_workflows import event
from tests.suspension_world import World as Enforced
from tests.unit.pipeline.budget_world import ALICE, World, spent
from worker.core.budget_terms import Scope
from worker.core.errors import LedgerockError
from worker.core.events import (
    BUDGET_GRACE_STARTED,
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_REQUIRED,
)
from worker.enforcer.workflow import WorkflowSteps

ARN = "arn:aws:lambda:us-east-1:111122223333:function:f"
GRACE = 300
OWN = Scope("principal", ALICE)
DAY_MS = 86_400_000


class Both(World):
    """Budgets with their monitor, and suspensions with IAM, on one clock and one state."""

    def __init__(self, runner: asyncio.Runner) -> None:
        super().__init__()
        self.go = runner.run
        self.enforced = Enforced(records=self.records, outbox=self.outbox)
        self.on_wait: Callable[[], object] = lambda: None
        self.names_of = iter(range(100))

    def exceed(self, scope: Scope = OWN, cents: int = 5) -> None:
        """Spend five cents of a budget of one, and announce what follows."""
        self.go(self.make("a", scope, 1, period="daily", action="suspend", grace_seconds=GRACE))
        self.go(self.spend(spent(1, cents)))
        self.go(self.announce())

    def announced(self, detail_type: str) -> list[Json]:
        """Return the events of a type, as the bus delivers them."""

        async def find() -> list[Json]:
            subjects = ("budget/a", f"principal/{ALICE}")
            return [
                event(detail_type, json.loads(bytes(notice.detail)))
                for subject in subjects
                for notice in await self.outbox.about(subject)
                if notice.detail_type == detail_type
            ]

        return self.go(find())

    def execute(self, given: Json) -> Ended:
        is_restoration = given["detail-type"] == RESTORATION_REQUIRED
        definition = (restoration_definition if is_restoration else suspension_definition)(ARN)
        workflow = WorkflowSteps(
            steps=self.enforced.steps(),
            budgets=self.budgets,
            records=self.records,
            clock=self,
            look=self.monitor.settle,
        )

        def task(payload: Json) -> Any:
            self.enforced.now = self.now
            try:
                return json.loads(json.dumps(self.go(workflow.answer(payload))))
            except LedgerockError as error:
                raise TaskError(type(error).__name__, str(error)) from error

        def wait(timestamp: str) -> None:
            at_ms = int(datetime.fromisoformat(timestamp).timestamp() * 1000)
            self.go(super(Both, self).wait(max(0, at_ms - self.now) / 1000))
            self.on_wait()

        execution = f"execution-{next(self.names_of)}"
        return asl.run(definition, given, task, execution=execution, wait=wait)

    def told(self) -> list[str]:
        return self.go(self.told_of())


@pytest.fixture
def world() -> Iterator[Both]:
    with asyncio.Runner() as runner:
        yield Both(runner)


def test_grace_suspension_and_the_turn_of_the_period(world: Both) -> None:
    world.exceed()
    [grace] = world.announced(BUDGET_GRACE_STARTED)
    deadline = datetime.fromisoformat(grace["detail"]["deadline"]).timestamp() * 1000
    assert deadline == world.now + GRACE * 1000
    ended = world.execute(grace)
    assert ended.state == "Suspended"
    assert ended.waited[-1] == grace["detail"]["deadline"]
    assert world.enforced.is_denied()
    assert world.go(world.held()) == ["a"]
    # The hold has an event of its own, whose execution finds it done.
    [required] = world.announced(SUSPENSION_REQUIRED)
    assert world.execute(required).state == "Stood Down"
    world.now += DAY_MS
    world.seconds += DAY_MS / 1000
    world.go(world.run())
    [restoration] = world.announced(RESTORATION_REQUIRED)
    assert world.execute(restoration).state == "Restored"
    assert world.enforced.policies() == world.enforced.start
    told = world.told()
    assert (told.count(PRINCIPAL_SUSPENDED), told.count(PRINCIPAL_RESTORED)) == (1, 1)


def test_raising_the_limit_in_the_grace_period_stands_down(world: Both) -> None:
    world.exceed()

    def raise_limit() -> None:
        if not world.go(world.budgets.find("a")).limit_amount > 10**10:  # type: ignore[union-attr]
            more = {"period": "daily", "action": "suspend", "grace_seconds": GRACE}
            world.go(world.make("a", OWN, 100, **more))
            world.go(world.monitor.settle("a"))

    world.on_wait = raise_limit
    [grace] = world.announced(BUDGET_GRACE_STARTED)
    assert world.execute(grace).state == "Stood Down"
    assert world.enforced.policies() == world.enforced.start
    assert world.told() == []


def test_the_monitor_may_be_first_at_the_deadline(world: Both) -> None:
    world.exceed()
    world.on_wait = lambda: world.go(world.run())
    [grace] = world.announced(BUDGET_GRACE_STARTED)
    assert world.execute(grace).state == "Suspended"
    assert world.told().count(PRINCIPAL_SUSPENDED) == 1
