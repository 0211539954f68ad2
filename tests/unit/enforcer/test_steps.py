"""The steps that workflows take one by one, and what they are reminded of."""

from collections.abc import Sequence
from typing import Any

import pytest

from tests.calls import ACCOUNT, asynchronous
from tests.suspension_world import ALICE, World
from worker.core.errors import MissingPrincipalError, TransientError
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_FAILED,
    SUSPENSION_REQUIRED,
)
from worker.core.suspension import CLAIM_MS, DAILY_MS
from worker.enforcer import ChangedError, Enforced, GoneError, Steps, StepTask, UnverifiedError
from worker.enforcer.reminders import REMIND_MS
from worker.ports import Notice

SUSPEND = StepTask("suspension", ALICE, "execution-1")
OTHER = StepTask("suspension", ALICE, "execution-2")
RESTORE = StepTask("restoration", ALICE, "execution-3")


async def walk(steps: Steps, task: StepTask) -> list[str]:
    """Take all steps as a workflow does; return what each decided."""
    taken = [steps.check, steps.apply, steps.verify, steps.record, steps.announce]
    return [(await step(task)).decision for step in taken]


def failed(task: StepTask, error: str, cause: str = "why") -> StepTask:
    return StepTask(task.workflow, task.principal, task.claim, error, cause)


@asynchronous
async def test_step_by_step_it_is_suspended_and_restored() -> None:
    world = World(mode="detach")
    await world.hold()
    whole = ["act", "applied", "verified", "recorded", "announced"]
    assert await walk(world.steps(), SUSPEND) == whole
    assert world.is_denied()
    assert (await world.get()).claim == ""
    assert (await world.steps().check(SUSPEND)).decision == "stand_down"
    await world.lift()
    assert await walk(world.steps(), RESTORE) == whole
    assert world.policies() == world.start
    assert await world.told() == sorted(
        [SUSPENSION_REQUIRED, PRINCIPAL_SUSPENDED, RESTORATION_REQUIRED, PRINCIPAL_RESTORED]
    )


@asynchronous
async def test_what_steps_recorded_is_counted_once() -> None:
    world = World()
    steps = world.steps()
    await world.hold()
    world.now += 30_000
    await walk(steps, SUSPEND)
    assert steps.take_figures() == Enforced(
        suspended=1, crossing_to_deny_ms=[32_000], hold_to_deny_ms=[30_000]
    )
    assert (await steps.record(OTHER)).reason == "it was recorded before"
    assert steps.take_figures() == Enforced()
    await world.lift()
    await steps.apply(RESTORE)
    await steps.fail(failed(RESTORE, "EnforcementError", "IAM said no"))
    assert steps.take_figures() == Enforced(failed=1, faults=[f"{ALICE}: IAM said no"])


@asynchronous
async def test_of_two_executions_one_acts_and_the_other_waits() -> None:
    world = World()
    await world.hold()
    await world.steps().apply(SUSPEND)
    answer = await world.steps().check(OTHER)
    assert (answer.decision, answer.deadline_ms) == ("wait", world.now + CLAIM_MS)
    assert answer.deadline == "2026-10-01T12:02:00.000Z"
    with pytest.raises(TransientError, match="somebody else is at it"):
        await world.steps().apply(OTHER)
    answer = await world.steps().fail(failed(OTHER, "TransientError"))
    assert answer.decision == "wait"
    with pytest.raises(ChangedError, match="somebody else claimed it"):
        await world.steps().verify(OTHER)
    await world.steps().stand_down(OTHER)
    assert (await world.get()).claim == "execution-1"
    assert SUSPENSION_FAILED not in await world.told()
    assert (await world.steps().record(SUSPEND)).decision == "recorded"
    assert (await world.steps().record(SUSPEND)).reason == "it was recorded before"


@asynchronous
async def test_nothing_is_recorded_that_is_not_in_iam_whatever_was_verified_before() -> None:
    world = World()
    await world.hold()
    await world.steps().apply(SUSPEND)
    await world.steps().verify(SUSPEND)
    world.iam.entities["user", ACCOUNT, "alice"].inline = {}
    with pytest.raises(UnverifiedError):
        await world.steps().record(SUSPEND)
    assert (await world.get()).phase == "required"
    answer = await world.steps().fail(failed(SUSPEND, "UnverifiedError", "not complete yet"))
    assert (answer.decision, answer.deadline_ms) == ("wait", world.now + 15_000)
    assert (await world.get()).failure == "not complete yet"
    assert (await world.acts())[-1] == "Suspension Failed"


@asynchronous
async def test_a_hold_lifted_meanwhile_makes_a_suspension_stand_down() -> None:
    world = World()
    await world.hold()
    await world.steps().apply(SUSPEND)
    await world.lift()
    for step in (world.steps().verify, world.steps().record, world.steps().apply):
        with pytest.raises(ChangedError):
            await step(SUSPEND)
    assert (await world.steps().check(RESTORE)).decision == "wait", "it still has the claim"
    assert (await world.steps().fail(failed(SUSPEND, "ChangedError"))).decision == "stand_down"
    assert (await world.steps().stand_down(SUSPEND)).decision == "stood_down"
    assert SUSPENSION_FAILED not in await world.told()
    assert (await walk(world.steps(), RESTORE))[-1] == "announced"
    assert world.policies() == world.start


@pytest.mark.parametrize(
    "error, decision",
    [
        ("MissingPrincipalError", "wait"),
        ("TransientError", "wait"),
        ("Lambda.Unknown", "wait"),
        ("", "wait"),
        ("NeedsPersonError", "needs_person"),
        ("ProtectedPrincipalError", "needs_person"),
    ],
)
@asynchronous
async def test_a_failure_is_recorded_and_told_and_the_claim_is_given_back(
    error: str, decision: str
) -> None:
    world = World()
    await world.hold()
    await world.enforcer().claim(ALICE, SUSPEND.claim)
    answer = await world.steps().fail(failed(SUSPEND, error, ""))
    assert answer.decision == decision
    suspension = await world.get()
    assert (suspension.claim, suspension.needs_person) == ("", decision == "needs_person")
    [detail] = await world.details(SUSPENSION_FAILED)
    assert detail["reason"] == (error or "what was read back from IAM was not complete")
    assert (await world.steps().check(SUSPEND)).decision == decision
    world.now = suspension.due_at_ms
    assert (await world.steps().check(SUSPEND)).decision == "act", "it is tried again then"


@asynchronous
async def test_who_is_gone_ends_a_restoration() -> None:
    world = World()
    await world.hold()
    await walk(world.steps(), SUSPEND)
    await world.lift()
    world.iam.remove("user", ACCOUNT, "alice")
    with pytest.raises(MissingPrincipalError):
        await world.steps().apply(RESTORE)
    world.deleted.add(ALICE)
    await world.steps().apply(RESTORE)
    with pytest.raises(GoneError, match="it was deleted"):
        await world.steps().verify(RESTORE)
    answer = await world.steps().fail(failed(RESTORE, "GoneError", "it was deleted"))
    assert (answer.decision, answer.phase) == ("stand_down", "clear")
    assert PRINCIPAL_RESTORED not in await world.told()


@asynchronous
async def test_a_failure_before_anything_was_claimed_is_only_waited_for() -> None:
    world = World()
    await world.hold()
    answer = await world.steps().fail(failed(SUSPEND, "States.Timeout", "slow"))
    assert (answer.decision, answer.reason) == ("wait", "slow")
    assert (await world.get()).failure == ""


@pytest.mark.parametrize("acts", ["off", "worker"])
@asynchronous
async def test_where_workflows_do_not_act_they_stand_down(acts: Any) -> None:
    world = World()
    await world.hold()
    answer = await world.steps(acts).check(SUSPEND)
    assert (answer.decision, f"is {acts}" in answer.reason) == ("stand_down", True)
    with pytest.raises(ChangedError):
        await world.steps(acts).apply(SUSPEND)
    assert world.policies() == world.start


@asynchronous
async def test_what_waits_is_announced_at_once_where_somebody_can() -> None:
    world = World()
    announced: list[str] = []

    async def announce(notices: Sequence[Notice]) -> None:
        announced.extend(one.detail_type for one in notices)

    await world.hold()
    await walk(world.steps(announce=announce), SUSPEND)
    assert sorted(announced) == [PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]
    for notice in await world.suspensions.pending(ALICE):
        await world.outbox.settle(notice, "announced", world.now)
    announced.clear()
    await world.steps(announce=announce).announce(SUSPEND)
    assert announced == []


# --- Reminders --------------------------------------------------------------------------------


@asynchronous
async def test_workflows_are_reminded_of_what_they_left_undone() -> None:
    world = World()
    await world.hold()
    enforcer = world.enforcer("workflows")
    assert (await enforcer.run_due()).left == 0, "they may be at it"
    world.now += REMIND_MS
    assert (await enforcer.run_due()).left == 1
    assert (await world.enforcer("workflows").run_due()).left == 0
    details = await world.details(SUSPENSION_REQUIRED)
    assert sorted(one["reminder"] for one in details) == [False, True]
    assert world.policies() == world.start
    world.now += REMIND_MS
    await world.steps().apply(SUSPEND)
    assert (await enforcer.run_due()).left == 0, "one is at it"
    await world.steps().record(SUSPEND)
    await world.lift()
    world.now += REMIND_MS
    await enforcer.run_due()
    assert len(await world.details(RESTORATION_REQUIRED)) == 2


@asynchronous
async def test_workflows_are_not_reminded_of_what_was_verified_until_it_is_due() -> None:
    world = World()
    await world.hold()
    await walk(world.steps(), SUSPEND)
    world.now += DAILY_MS - 1
    assert (await world.enforcer("workflows").run_due()).left == 0
    assert len(await world.details(SUSPENSION_REQUIRED)) == 1
    assert [one async for one in world.suspensions.waiting()] == []
    world.now += 1
    assert (await world.enforcer("workflows").run_due()).left == 1
