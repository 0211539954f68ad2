"""Where workflows act: what was verified is read back once more, by them, when it is due."""

import asyncio
from typing import Any

import pytest

from tests.calls import ACCOUNT, DAY, asynchronous
from tests.infra.test_workflows import event
from tests.suspension_world import AGENT, ALICE, AWS_POLICY, TODAY, World
from tests.unit.enforcer.test_workflow import Company
from worker.adapters.memory_enforcement import MemoryEntity
from worker.core.errors import TransientError
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_FAILED,
    SUSPENSION_REQUIRED,
)
from worker.core.suspension import CLAIM_MS, DAILY_MS, RECHECK_MS, Claimed
from worker.enforcer import Snapshots, Steps, StepTask
from worker.enforcer.reminders import REMIND_MS
from worker.ports import Key

STARTS: dict[str, Any] = {SUSPENSION_REQUIRED: "suspension", RESTORATION_REQUIRED: "restoration"}
MODES = pytest.mark.parametrize("mode", ["deny", "detach"])


class Workflows:
    """Executions, started by what is announced of one principal."""

    def __init__(self, world: World, principal: str = ALICE) -> None:
        self.world = world
        self.principal = principal
        self.seen: set[str] = set()
        self.ends: list[str] = []

    async def run(self, *, retried: bool = False) -> list[str]:
        """Have the monitor look, and run what was announced since; return how each ended."""
        await self.world.enforcer("workflows").run_due()
        started = []
        for kind, workflow in STARTS.items():
            for detail in await self.world.details(kind, self.principal):
                if detail["event_id"] not in self.seen:
                    self.seen.add(detail["event_id"])
                    started.append((workflow, detail))
        return [await self.execute(*one, retried=retried) for one in started]

    async def execute(self, workflow: Any, detail: dict[str, Any], *, retried: bool) -> str:
        reminder = detail["reminder"]
        task = StepTask(workflow, self.principal, detail["event_id"], is_reminder=reminder)
        steps: Steps = self.world.steps()
        decision = (await steps.check(task)).decision
        if decision != "act":
            return decision
        for step in (steps.apply, *([steps.apply] if retried else []), steps.verify):
            await step(task)
        return (await steps.record(task)).decision


@asynchronous
async def test_who_is_suspended_is_read_back_once_a_day_by_a_workflow() -> None:
    world = World()
    workflows = Workflows(world)
    await world.hold()
    assert await workflows.run() == ["recorded"]
    world.now += DAILY_MS - 1
    assert await workflows.run() == []
    world.now += 1
    world.iam.entities["user", ACCOUNT, "alice"].inline.clear()
    assert await workflows.run() == ["recorded"]
    assert world.is_denied(), "what somebody took away was put back"
    assert (await world.get()).due_at_ms == world.now + DAILY_MS
    assert await workflows.run() == []
    told = [SUSPENSION_REQUIRED, SUSPENSION_REQUIRED, PRINCIPAL_SUSPENDED]
    assert await world.told() == sorted(told)
    details = await world.details(SUSPENSION_REQUIRED)
    messages = {one["reminder"]: one["message"] for one in details}
    assert messages[True] == f"{ALICE} is suspended, which is to be read back from IAM once more."


@asynchronous
async def test_an_agent_with_another_role_is_suspended_there_too() -> None:
    world = World()
    workflows = Workflows(world, AGENT)
    await world.hold(AGENT)
    await workflows.run()
    world.iam.put(MemoryEntity("role", ACCOUNT, "Helper2"))
    world.agent_roles[AGENT] = [f"arn:aws:iam::{ACCOUNT}:role/Helper2"]
    await world.suspensions.look_again(AGENT)
    world.now = (await world.get(AGENT)).due_at_ms
    assert await workflows.run() == ["recorded"]
    assert world.is_denied("role", "Helper2")
    assert not world.is_denied("role", "Helper")


@asynchronous
async def test_what_a_slow_step_left_after_the_restoration_is_taken_away() -> None:
    world = World()
    workflows = Workflows(world)
    await world.hold()
    await workflows.run()
    left = dict(world.iam.entities["user", ACCOUNT, "alice"].inline)
    await world.lift()
    assert await workflows.run(retried=True) == ["recorded"]
    world.iam.entities["user", ACCOUNT, "alice"].inline = left
    world.now += RECHECK_MS
    assert await workflows.run() == ["recorded"]
    assert world.policies() == world.start
    suspension = await world.get()
    assert (suspension.phase, suspension.due_at_ms) == ("clear", 0)
    world.now += 30 * DAY
    assert await workflows.run() == []


@asynchronous
async def test_what_no_workflow_read_back_is_announced_again_until_one_did() -> None:
    world = World()
    await world.hold()
    await Workflows(world).run()
    world.now += DAILY_MS
    for times in (2, 3, 4):
        enforcer = world.enforcer("workflows")
        assert [(await enforcer.run_due()).left for _ in range(3)] == [1, 0, 0]
        assert len(await world.details(SUSPENSION_REQUIRED)) == times
        world.now += REMIND_MS


@asynchronous
async def test_a_reminder_that_comes_late_or_twice_stands_down_while_another_is_at_it() -> None:
    world = World()
    await world.hold()
    await Workflows(world).run()
    one = StepTask("suspension", ALICE, "one", is_reminder=True)
    other = StepTask("suspension", ALICE, "other", is_reminder=True)
    steps = world.steps()
    await steps.apply(one)
    assert (await steps.check(other)).decision == "stand_down"
    await steps.record(one)
    assert (await steps.check(StepTask("suspension", ALICE, "other"))).decision == "stand_down"
    await world.lift()
    assert (await steps.check(other)).decision == "stand_down"
    await steps.apply(StepTask("restoration", ALICE, "two"))
    await steps.record(StepTask("restoration", ALICE, "two"))
    late = StepTask("restoration", ALICE, "late", is_reminder=True)
    assert (await steps.check(late)).decision == "stand_down", "nothing is left to look for"


@asynchronous
async def test_a_passing_fault_of_a_re_check_is_not_told_and_a_lasting_one_is() -> None:
    world = World()
    await world.hold()
    await Workflows(world).run()
    task = StepTask("suspension", ALICE, "one", "TransientError", "a throttle", is_reminder=True)
    steps = world.steps()
    await steps.apply(task)
    answer = await steps.fail(task)
    assert (answer.phase, answer.decision, answer.deadline_ms) == (
        "suspended",
        "wait",
        world.now + 15_000,
    )
    assert ((await world.get()).claim, (await world.get()).due_at_ms) == ("", world.now + REMIND_MS)
    assert SUSPENSION_FAILED not in await world.told()
    await steps.apply(task)
    task = StepTask("suspension", ALICE, "one", "EnforcementError", "AWS denies it")
    answer = await steps.fail(task)
    assert (answer.decision, answer.phase) == ("wait", "required")
    told = [SUSPENSION_REQUIRED, PRINCIPAL_SUSPENDED, SUSPENSION_FAILED]
    assert await world.told() == sorted(told)


def test_the_workflow_mends_what_the_reminder_asks_it_to_look_at() -> None:
    with asyncio.Runner() as runner:
        company = Company(runner)
        world = company.world
        first = company.held()
        assert company.execute(first).state == "Suspended"
        assert company.execute(first, "two").state == "Stood Down"
        world.now += DAILY_MS
        world.iam.entities["user", ACCOUNT, "alice"].inline.clear()
        company.run(world.enforcer("workflows").run_due())
        announced = company.run(world.details(SUSPENSION_REQUIRED))
        [reminder] = [one for one in announced if one["reminder"]]
        assert company.execute(event(SUSPENSION_REQUIRED, reminder), "three").state == "Suspended"
        assert world.is_denied()
        assert company.told().count(PRINCIPAL_SUSPENDED) == 1


# --- What nobody looked at once more ----------------------------------------------------------


@MODES
@pytest.mark.parametrize("acts", ["off", "workflows"])
@asynchronous
async def test_months_later_a_suspension_is_a_new_one_though_nobody_looked(
    mode: Any, acts: Any
) -> None:
    world = World(mode=mode)
    enforcer = world.enforcer(acts)
    await world.hold()
    await enforcer.act_now(ALICE)
    first = await world.get()
    denied = dict(world.iam.entities["user", ACCOUNT, "alice"].inline)
    await world.lift()
    await world.suspensions.turn(ALICE, Claimed("killed", world.now + CLAIM_MS))
    world.now += CLAIM_MS
    await enforcer.act_now(ALICE)
    assert (await world.get()).contended_until_ms
    [left] = denied.keys() - world.iam.entities["user", ACCOUNT, "alice"].inline.keys()
    world.now += 60 * DAY
    alice = world.iam.entities["user", ACCOUNT, "alice"]
    alice.attached.discard(AWS_POLICY)
    alice.keys["ACCA1"] = Key("ACCA1", "Inactive")
    start = world.policies()
    alice.inline[left] = denied[left]  # a slow worker's, found by nobody
    await world.hold(budget="next", first_day=TODAY + 60)
    second = await world.get()
    assert (second.suspension_id != first.suspension_id, second.left_id) == (
        True,
        first.suspension_id,
    )
    await enforcer.act_now(ALICE)
    assert (await world.get()).left_id == ""
    assert world.is_denied()
    assert left not in world.iam.entities["user", ACCOUNT, "alice"].inline
    await world.suspensions.lift(ALICE, "next", TODAY + 60)
    await enforcer.act_now(ALICE)
    assert world.policies() == start


@asynchronous
async def test_an_answer_that_is_lost_while_something_is_left_is_asked_for_again() -> None:
    world = World()
    await world.hold()
    await world.enforcer().act_now(ALICE)
    await world.lift()
    await world.suspensions.turn(ALICE, Claimed("killed", world.now + CLAIM_MS))
    world.now += CLAIM_MS
    await world.enforcer().act_now(ALICE)
    world.now += 2 * RECHECK_MS
    await world.hold(budget="next")

    def lose(when: str, _number: int, name: str) -> None:
        if (when, name) == ("before", "delete_inline"):
            raise TransientError("a throttle")

    world.iam.hook = lose
    await world.enforcer().act_now(ALICE)
    suspension = await world.get()
    assert (suspension.phase, bool(suspension.left_id)) == ("required", True)
    world.iam.hook = None
    world.now = suspension.due_at_ms
    await world.enforcer().act_now(ALICE)
    suspension = await world.get()
    assert (suspension.phase, suspension.left_id) == ("suspended", "")
    assert len(await Snapshots(world.records).of(suspension)) == 1
    assert PRINCIPAL_RESTORED in await world.told()
