"""Suspending and restoring: once, completely, and back exactly as it was."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.calls import ACCOUNT, DAY, HOUR, NOON, asynchronous
from tests.suspension_world import (
    AGENT,
    ALICE,
    GATEWAY,
    OWN_POLICY,
    TODAY,
    KilledError,
    World,
    ambiguous,
)
from worker.adapters.memory_enforcement import MemoryEntity
from worker.core.enforcement import Mode
from worker.core.errors import TransientError
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    RESTORATION_REQUIRED,
    SUSPENSION_FAILED,
    SUSPENSION_REQUIRED,
)
from worker.core.suspension import CLAIM_MS, DAILY_MS, RECHECK_MS
from worker.enforcer import Snapshots
from worker.enforcer import enforcer as module
from worker.pipeline.suspensions import KNOWN_MS
from worker.ports import Order

MODES = pytest.mark.parametrize("mode", ["deny", "detach"])
WHOLE = [PRINCIPAL_RESTORED, RESTORATION_REQUIRED, PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]


@MODES
@asynchronous
async def test_ten_enforcers_at_once_suspend_once_and_restore_once(mode: Mode) -> None:
    world = World(mode=mode)
    assert await world.hold()
    world.now += 1_000
    figures = await world.run(10)
    assert sum(one.suspended for one in figures) == 1
    assert [one.crossing_to_deny_ms for one in figures if one.suspended] == [[3_000]]
    assert [one.hold_to_deny_ms for one in figures if one.suspended] == [[1_000]]
    assert world.is_denied()
    assert (await world.get()).phase == "suspended"
    assert await world.told() == [PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]
    assert sum(one.changed for one in await world.run(10)) == 0
    assert await world.lift()
    assert sum(one.restored for one in await world.run(10)) == 1
    assert world.policies() == world.start
    assert await world.told() == sorted(WHOLE)
    assert await world.acts() == [
        "Suspension Begun",
        "Principal Suspended",
        "Restoration Begun",
        "Principal Restored",
    ]


@asynchronous
async def test_restoring_a_daily_budget_never_lifts_the_hold_of_a_monthly_one() -> None:
    world = World()
    await world.hold(budget="daily", end_ms=(TODAY + 1) * DAY)
    await world.hold(budget="monthly")
    await world.run()
    assert await world.lift(budget="daily")
    await world.settle()
    assert world.is_denied()
    assert (await world.get()).phase == "suspended"
    assert await world.told() == [PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]
    assert await world.lift(budget="monthly")
    await world.settle()
    assert world.policies() == world.start


@MODES
@asynchronous
async def test_suspended_again_later_it_is_another_suspension(mode: Mode) -> None:
    world = World(mode=mode)
    for _ in range(3):
        await world.hold()
        await world.settle()
        assert world.is_denied()
        await world.lift()
        await world.settle()
        assert world.policies() == world.start
    assert await world.told() == sorted(3 * WHOLE)
    ids = {one["suspension"]["id"] for one in await world.details(PRINCIPAL_SUSPENDED)}
    assert len(ids) == 3


@MODES
@asynchronous
async def test_a_hold_that_is_lifted_before_anything_was_done_leaves_nothing(mode: Mode) -> None:
    world = World(mode=mode)
    await world.hold()
    await world.lift()
    await world.settle()
    assert world.policies() == world.start
    assert (await world.get()).phase == "clear"
    [detail] = await world.details(PRINCIPAL_RESTORED)
    assert not detail["was_suspended"]
    assert PRINCIPAL_SUSPENDED not in await world.told()


@asynchronous
async def test_nothing_is_done_where_enforcement_is_off_but_holds_are_kept_and_told() -> None:
    world = World()
    await world.hold()
    assert (await world.enforcer("off").run_due()).changed == 0
    assert world.policies() == world.start
    assert await world.told() == [SUSPENSION_REQUIRED]
    assert (await world.enforcer("worker").run_due()).suspended == 1


@asynchronous
async def test_what_was_taken_away_is_put_back_within_a_day() -> None:
    world = World()
    await world.hold()
    await world.settle()
    user = world.iam.entities["user", ACCOUNT, "alice"]
    user.inline = {"mine": user.inline["mine"]}
    assert not world.is_denied()
    world.now += DAILY_MS
    [figures] = await world.run()
    assert (figures.confirmed, figures.suspended, figures.failed) == (1, 0, 0)
    assert world.is_denied()
    assert await world.told() == [PRINCIPAL_SUSPENDED, SUSPENSION_REQUIRED]
    assert (await world.acts())[-1] == "Suspension Begun Again"


# --- What goes wrong --------------------------------------------------------------------------


@asynchronous
async def test_a_failure_is_told_once_for_each_reason_and_tried_again_ever_later() -> None:
    world = World()
    world.iam.remove("user", ACCOUNT, "alice")
    await world.hold()
    tried = []
    for _ in range(6):
        [figures] = await world.run()
        assert (figures.failed, figures.suspended) == (1, 0)
        suspension = await world.get()
        tried.append((suspension.due_at_ms - world.now) // 1_000)
        world.now = suspension.due_at_ms - 1
        assert (await world.run())[0].failed == 0, "not before its time"
        world.now += 1
    assert tried == [15, 30, 60, 120, 240, 480]
    [detail] = await world.details(SUSPENSION_FAILED)
    assert detail["reason"] == f"{ALICE}: IAM knows no such user"
    assert (detail["outcome"], detail["action"]) == ("retry", "suspend")
    assert (await world.acts()) == ["Suspension Failed"]
    world.iam.put(world.start["user", ACCOUNT, "alice"])
    assert (await world.run())[0].suspended == 1
    assert (await world.get()).failure == ""
    assert PRINCIPAL_SUSPENDED in await world.told()


@asynchronous
async def test_a_passing_fault_is_one_reason_whatever_it_says() -> None:
    world = World()
    await world.hold()
    texts = iter(range(100))

    def throttle(*_: Any) -> None:
        raise TransientError(f"throttled, request {next(texts)}")

    world.iam.hook = throttle
    for _ in range(4):
        [figures] = await world.run()
        assert figures.failed == 1
        world.now = (await world.get()).due_at_ms
    [detail] = await world.details(SUSPENSION_FAILED)
    assert detail["reason"] == "throttled, request 0"
    world.iam.hook = None
    assert (await world.run())[0].suspended == 1


@asynchronous
async def test_an_error_nobody_expected_is_a_failure_as_well_and_holds_up_nobody_else() -> None:
    world = World(mode="detach")
    await world.hold()
    await world.hold(GATEWAY)

    def broken(_moment: str, _number: int, name: str) -> None:
        if name == "set_key":  # only users have any
            raise ZeroDivisionError

    world.iam.hook = broken
    [figures] = await world.run()
    assert (figures.suspended, figures.failed) == (1, 1)
    assert figures.faults == [f"{ALICE}: ZeroDivisionError"]
    assert world.is_denied("role", "Gateway")


@asynchronous
async def test_what_is_not_complete_when_it_is_read_back_is_never_recorded_as_done() -> None:
    world = World()
    enforcement: Any = world.enforcement

    async def missing(*_: Any) -> list[str]:
        return ["the deny policy is not there"]

    enforcement.unsuspended = missing
    await world.hold()
    [figures] = await world.run()
    assert (figures.suspended, figures.failed) == (0, 1)
    assert (await world.get()).phase == "required"
    assert world.pauses == [0.5, 1.0, 2.0, 4.0], "IAM shows changes after a moment"
    [detail] = await world.details(SUSPENSION_FAILED)
    assert detail["reason"] == "not complete yet: the deny policy is not there"
    assert PRINCIPAL_SUSPENDED not in await world.told()


@asynchronous
async def test_who_needs_a_person_is_told_of_and_looked_at_once_a_day() -> None:
    world = World()
    root = f"root/{ACCOUNT}"
    await world.hold(root)
    [figures] = await world.run()
    assert figures.needs_person == 1
    suspension = await world.get(root)
    assert (suspension.phase, suspension.needs_person) == ("required", True)
    assert suspension.due_at_ms == world.now + DAILY_MS
    [detail] = await world.details(SUSPENSION_FAILED, root)
    assert (detail["needs_person"], detail["outcome"]) == (True, "needs_person")
    assert "service control policy" in detail["reason"]
    world.now += DAILY_MS
    assert (await world.run())[0].needs_person == 1
    assert len(await world.details(SUSPENSION_FAILED, root)) == 1
    await world.lift(root)
    await world.run()
    assert (await world.get(root)).phase == "clear"


@asynchronous
async def test_whoever_is_protected_is_refused() -> None:
    world = World(protected=("user/*/ali*",))
    await world.hold()
    [figures] = await world.run()
    assert figures.needs_person == 1
    assert world.policies() == world.start
    [detail] = await world.details(SUSPENSION_FAILED)
    assert "protected" in detail["reason"]


@asynchronous
async def test_who_was_deleted_is_not_called_restored() -> None:
    world = World()
    await world.hold()
    await world.run()
    world.iam.remove("user", ACCOUNT, "alice")
    await world.lift()
    [figures] = await world.run()
    assert figures.failed == 1, "nobody knows that it was deleted: IAM may be wrong for a moment"
    world.deleted.add(ALICE)
    world.now += HOUR
    [figures] = await world.run()
    assert (figures.gone, figures.restored) == (1, 0)
    suspension = await world.get()
    assert (suspension.phase, suspension.due_at_ms) == ("clear", 0)
    assert "deleted" in suspension.failure
    outcomes = [one["outcome"] for one in await world.details(SUSPENSION_FAILED)]
    assert sorted(outcomes) == ["principal_gone", "retry"]
    assert PRINCIPAL_RESTORED not in await world.told()
    world.iam.put(MemoryEntity("user", ACCOUNT, "alice", unique_id="AIDA00000000000000NEW"))
    assert await world.hold(budget="daily"), "another one of that name can be suspended"
    [figures] = await world.run()
    assert figures.suspended == 1


@asynchronous
async def test_who_was_made_again_under_the_same_name_is_another_one_and_starts_clean() -> None:
    world = World(mode="detach")
    await world.hold()
    await world.run()
    user = world.start["user", ACCOUNT, "alice"]
    again = msgspec.structs.replace(user, unique_id="AIDA00000000000000NEW")
    world.iam.put(again)
    world.now += DAILY_MS
    [figures] = await world.run()
    assert (figures.gone, figures.suspended) == (1, 0), "whoever was meant is gone"
    await world.lift()
    [figures] = await world.run()
    assert (figures.gone, figures.restored) == (1, 0)
    assert (await world.get()).phase == "clear"
    assert world.policies()["user", ACCOUNT, "alice"] == again


@asynchronous
async def test_what_cannot_be_done_to_one_role_of_an_agentcore_agent_is_done_to_others() -> None:
    world = World(mode="detach")
    world.agent_roles[AGENT].insert(0, f"arn:aws:iam::{ACCOUNT}:role/Gateway")
    await world.hold(AGENT)
    await world.run()
    await world.lift(AGENT)
    world.iam.remove("role", ACCOUNT, "Gateway")
    [figures] = await world.run()
    assert figures.failed == 1
    assert not world.is_denied("role", "Helper")
    assert (await world.get(AGENT)).phase == "restoring"


@asynchronous
async def test_who_was_deleted_before_it_was_suspended_is_looked_at_once_a_day() -> None:
    world = World()
    world.iam.remove("user", ACCOUNT, "alice")
    world.deleted.add(ALICE)
    await world.hold()
    [figures] = await world.run()
    assert figures.gone == 1
    suspension = await world.get()
    assert (suspension.phase, suspension.due_at_ms) == ("required", world.now + DAILY_MS)
    await world.lift()
    await world.settle()
    assert (await world.get()).phase == "clear"


# --- Agents -----------------------------------------------------------------------------------


@MODES
@asynchronous
async def test_an_agentcore_agent_is_suspended_through_its_roles_and_restored(mode: Mode) -> None:
    world = World(mode=mode)
    world.agent_roles[AGENT].append(f"arn:aws:iam::{ACCOUNT}:role/agents/Gateway")
    await world.hold(AGENT)
    await world.run(3)
    assert world.is_denied("role", "Helper")
    assert world.is_denied("role", "Gateway")
    [detail] = await world.details(PRINCIPAL_SUSPENDED, AGENT)
    assert detail["scope"] == {"kind": "agent", "id": AGENT}
    await world.lift(AGENT)
    await world.run(3)
    assert world.policies() == world.start
    assert await world.told(AGENT) == sorted(WHOLE)


@asynchronous
async def test_an_agentcore_agent_on_a_shared_role_needs_a_person_and_is_never_recorded() -> None:
    world = World()
    arn = world.agent_roles[AGENT][0]
    world.shared = {arn: [AGENT, "agent/111122223333/us-east-1/other-1234567890"]}
    await world.hold(AGENT)
    [figures] = await world.run()
    assert figures.needs_person == 1
    assert world.policies() == world.start
    [detail] = await world.details(SUSPENSION_FAILED, AGENT)
    assert "other-1234567890" in detail["reason"]
    assert (await world.get(AGENT)).phase == "required"


@MODES
@asynchronous
async def test_an_agentcore_agent_that_gets_another_role_is_suspended_through_that_one(
    mode: Mode,
) -> None:
    world = World(mode=mode)
    await world.hold(AGENT)
    await world.run()
    world.agent_roles[AGENT] = [f"arn:aws:iam::{ACCOUNT}:role/Gateway"]
    assert await world.suspensions.look_again(AGENT)
    world.now += KNOWN_MS
    [figures] = await world.run()
    assert figures.confirmed == 1
    assert world.is_denied("role", "Gateway")
    now = world.policies()
    helper = "role", ACCOUNT, "Helper"
    assert now[helper] == world.start[helper], "it is nobody's of this suspension any more"
    await world.lift(AGENT)
    await world.settle()
    assert world.policies() == world.start


@asynchronous
async def test_an_agentcore_agent_without_a_role_cannot_be_suspended() -> None:
    world = World()
    world.agent_roles[AGENT] = []
    await world.hold(AGENT)
    [figures] = await world.run()
    assert figures.failed == 1
    [detail] = await world.details(SUSPENSION_FAILED, AGENT)
    assert "no role of this agent is known" in detail["reason"]
    world.deleted.add(AGENT)
    world.now += HOUR
    [figures] = await world.run()
    assert figures.gone == 1
    assert (await world.get(AGENT)).due_at_ms == world.now + DAILY_MS


# --- Killed anywhere, slow, and changing its mind ---------------------------------------------


async def _moments(mode: Mode) -> int:
    """Return how many moments a whole suspension has, from hold to restoration."""
    world = World(mode=mode)
    await _whole(world)
    return world.faults.moments


async def _whole(world: World) -> None:
    await world.hold()
    await world.enforcer().act_now(ALICE)
    await world.lift()
    await world.enforcer().act_now(ALICE)


@MODES
@asynchronous
async def test_killed_between_any_two_writes_or_calls_it_ends_as_if_it_had_not_been(
    mode: Mode,
) -> None:
    moments = await _moments(mode)
    assert moments > 40
    for number in range(1, moments + 1):
        world = World(mode=mode)
        world.faults.kill(number)
        with pytest.raises(KilledError):
            await _whole(world)
        world.faults.at.clear()
        world.now += CLAIM_MS
        await world.settle()
        if (await world.get()).number == 0:
            await world.hold()  # whoever was to put it does so again
            await world.settle()
        if (await world.get()).holds:
            assert world.is_denied(), number
            assert (await world.get()).phase == "suspended"
            await world.lift()
            await world.settle()
        assert (await world.get()).phase == "clear", number
        assert world.policies() == world.start, number
        assert await world.told() == sorted(WHOLE), number
        acts = await world.acts()
        for act in ("Principal Suspended", "Principal Restored"):
            assert acts.count(act) == 1, number


@MODES
@asynchronous
async def test_a_lost_answer_of_any_call_or_write_changes_nothing_in_the_end(mode: Mode) -> None:
    def lost() -> None:
        raise TransientError("the connection was reset")

    for number in range(1, await _moments(mode) + 1):
        world = World(mode=mode)
        world.faults.at[number] = lost
        for step in (world.hold, world.lift):
            for _attempt in range(2):
                try:
                    await step()
                    break
                except TransientError:
                    continue
            await world.settle()
            assert world.is_denied() == (step == world.hold), number
        assert world.policies() == world.start, number
        assert [one for one in await world.told() if one != SUSPENSION_FAILED] == sorted(WHOLE)


async def _stuck(world: World, number: int) -> tuple[asyncio.Event, asyncio.Task[Any]]:
    """Let a worker begin, and stop at a moment from now on; its claim runs out."""
    gate = world.faults.stop(world.faults.moments + number)
    slow = asyncio.create_task(world.enforcer().act_now(ALICE))
    for _ in range(300):
        await asyncio.sleep(0)
    world.faults.at.clear()
    world.now += CLAIM_MS
    return gate, slow


async def _free(gate: asyncio.Event, slow: asyncio.Task[Any]) -> None:
    gate.set()
    await slow


@MODES
@pytest.mark.parametrize("again", [False, True])
@asynchronous
async def test_a_slow_worker_that_suspends_after_all_was_restored_leaves_nothing(
    mode: Mode, again: bool
) -> None:
    for number in range(1, await _moments(mode)):
        world = World(mode=mode)
        await world.hold()
        gate, slow = await _stuck(world, number)
        was_done = slow.done()
        await world.run()
        await world.lift()
        await world.run()
        assert world.policies() == world.start, number
        if again:
            await world.hold(budget="daily")
            await world.run()
        await _free(gate, slow)
        await world.settle()
        if again:
            assert (await world.get()).phase == "suspended", number
            assert world.is_denied(), number
            await world.lift(budget="daily")
            await world.settle()
        assert (await world.get()).phase == "clear", number
        assert world.policies() == world.start, number
        if was_done:
            return
    pytest.fail("the worker was never done")


@MODES
@pytest.mark.parametrize("recheck", [False, True])
@asynchronous
async def test_a_slow_worker_that_restores_after_all_was_suspended_again_frees_nobody(
    mode: Mode, recheck: bool
) -> None:
    for number in range(1, await _moments(mode)):
        world = World(mode=mode)
        await world.hold()
        await world.run()
        await world.lift()
        gate, slow = await _stuck(world, number)
        was_done = slow.done()
        await world.run()
        assert world.policies() == world.start, number
        if recheck:
            world.now += RECHECK_MS
            await world.run()
        await world.hold(budget="daily")
        await world.run()
        await _free(gate, slow)
        await world.settle()
        suspension = await world.get()
        assert suspension.phase == "suspended", number
        order = Order(suspension.suspension_id, mode, ALICE)
        [kept] = (await Snapshots(world.records).of(suspension)).values()
        if not recheck:
            assert not await world.enforcement.unsuspended(order, kept), number
        assert world.is_denied(), number
        await world.lift(budget="daily")
        await world.settle()
        assert world.policies() == world.start, number
        if was_done:
            return
    pytest.fail("the worker was never done")


@asynchronous
async def test_a_hold_lifted_while_it_is_carried_out_is_undone_by_the_same_worker() -> None:
    world = World(mode="detach")
    await world.hold()
    done = False

    async def lift() -> None:
        await world.lift()

    def meanwhile(_moment: str, _number: int, name: str) -> None:
        nonlocal done
        if name == "detach" and not done:
            done = True
            tasks.append(asyncio.create_task(lift()))

    tasks: list[asyncio.Task[None]] = []
    world.iam.hook = meanwhile
    [figures] = await world.run()
    assert (figures.suspended, figures.restored) == (0, 1)
    assert world.policies() == world.start
    [detail] = await world.details(PRINCIPAL_RESTORED)
    assert not detail["was_suspended"]


@asynchronous
async def test_a_hold_put_while_it_is_restored_keeps_the_first_snapshot() -> None:
    world = World(mode="detach")
    await world.hold()
    await world.run()
    await world.lift()
    put = False

    async def hold() -> None:
        await world.hold(budget="daily")

    def meanwhile(_moment: str, _number: int, name: str) -> None:
        nonlocal put
        if name == "attach" and not put:
            put = True
            tasks.append(asyncio.create_task(hold()))

    tasks: list[asyncio.Task[None]] = []
    world.iam.hook = meanwhile
    [figures] = await world.run()
    assert (figures.suspended, figures.restored) == (1, 0)
    user = world.iam.entities["user", ACCOUNT, "alice"]
    assert OWN_POLICY not in user.attached
    assert world.is_denied()
    world.iam.hook = None
    await world.lift(budget="daily")
    await world.settle()
    assert world.policies() == world.start
    told = await world.told()
    assert told.count(SUSPENSION_REQUIRED) == told.count(PRINCIPAL_SUSPENDED) == 2


@asynchronous
async def test_an_attempt_ends_itself_before_its_claim_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert module.ACT_SECONDS * 1_000 < CLAIM_MS
    monkeypatch.setattr(module, "ACT_SECONDS", 0.01)
    world = World()
    enforcement: Any = world.enforcement

    async def stuck(*_: Any) -> None:
        await asyncio.sleep(3_600)

    enforcement.suspend = stuck
    await world.hold()
    [figures] = await world.run()
    assert figures.failed == 1
    [detail] = await world.details(SUSPENSION_FAILED)
    assert "it took longer" in detail["reason"]


@asynchronous
async def test_a_throttled_re_check_is_no_failure() -> None:
    world = World()
    await world.hold()
    await world.run()

    def throttle(*_: Any) -> None:
        raise TransientError("throttled")

    world.iam.hook = throttle
    world.now += DAILY_MS
    [figures] = await world.run()
    assert (figures.failed, figures.left) == (0, 1)
    suspension = await world.get()
    assert (suspension.phase, suspension.due_at_ms) == ("suspended", world.now + 15_000)
    assert SUSPENSION_FAILED not in await world.told()


@asynchronous
async def test_a_record_nobody_can_read_holds_up_no_other() -> None:
    world = World()
    await world.hold(GATEWAY)
    await world.hold()
    record = await world.records.get(f"h#{GATEWAY}", "suspension")
    assert record is not None
    broken = msgspec.structs.replace(record, body=b"{", version=record.version + 1)
    assert await world.records.write([broken])
    [figures] = await world.run()
    assert figures.suspended == 1
    assert any("this is no suspension" in fault for fault in figures.faults)


@asynchronous
async def test_a_look_costs_what_is_due_alone() -> None:
    world = World()
    for number in range(300):
        name = f"user{number}"
        world.iam.put(MemoryEntity("user", ACCOUNT, name))
        await world.hold(f"user/{ACCOUNT}/{name}")
    await world.run()
    assert len(await world.suspensions.listed()) == 300
    await world.hold()
    before = len(world.iam.calls)
    [figures] = await world.run()
    assert figures.suspended == 1
    assert len(world.iam.calls) - before < 20
    assert world.now == NOON


@asynchronous
async def test_several_reasons_to_need_a_person_are_each_told() -> None:
    world = World()
    await world.hold(AGENT)
    enforcer = world.enforcer()
    hands: Any = enforcer.hands
    hands._targets_of = ambiguous
    assert (await enforcer.run_due()).needs_person == 1
    [detail] = await world.details(SUSPENSION_FAILED, AGENT)
    assert detail["reason"] == "its role also serves another"
    assert detail["command"] == f"ledgerock principals show {AGENT}"


@asynchronous
async def test_an_agentcore_agents_old_role_that_was_deleted_holds_up_nothing() -> None:
    world = World()
    await world.hold(AGENT)
    await world.run()
    world.agent_roles[AGENT] = [f"arn:aws:iam::{ACCOUNT}:role/Gateway"]
    world.iam.remove("role", ACCOUNT, "Helper")
    await world.suspensions.look_again(AGENT)
    world.now += KNOWN_MS
    [figures] = await world.run()
    assert figures.failed == 1, "nobody knows that it was deleted"
    world.deleted.add(f"role/{ACCOUNT}/Helper")
    world.now += HOUR
    [figures] = await world.run()
    assert figures.suspended == 1
    await world.lift(AGENT)
    await world.settle()
    assert (await world.get(AGENT)).failure == ""
    assert not world.is_denied("role", "Gateway")


@asynchronous
async def test_of_an_agentcore_agents_roles_those_that_are_left_are_restored() -> None:
    world = World(mode="detach")
    world.agent_roles[AGENT].append(f"arn:aws:iam::{ACCOUNT}:role/Gateway")
    await world.hold(AGENT)
    await world.run()
    world.iam.remove("role", ACCOUNT, "Helper")
    world.deleted.add(f"role/{ACCOUNT}/Helper")
    await world.lift(AGENT)
    [figures] = await world.run()
    assert figures.gone == 1
    gateway = "role", ACCOUNT, "Gateway"
    assert world.policies()[gateway] == world.start[gateway]
    assert PRINCIPAL_RESTORED not in await world.told(AGENT)


@asynchronous
async def test_a_look_ends_after_some_hundreds_and_says_that_there_is_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "PER_LOOK_MAX", 2)
    world = World()
    for principal in (ALICE, GATEWAY, AGENT):
        await world.hold(principal)
    monkeypatch.setattr(module, "AT_ONCE", 1)
    [first] = await world.run()
    assert (first.suspended, first.is_cut) == (2, True)
    [second] = await world.run()
    assert (second.suspended, second.is_cut) == (1, False)


@asynchronous
async def test_who_changes_its_mind_without_end_leaves_the_rest_to_the_next_look() -> None:
    world = World()
    await world.hold()
    enforcer: Any = world.enforcer()
    attempt = enforcer.attempt
    tries = 0

    async def and_change(*arguments: Any) -> Any:
        nonlocal tries
        given = await attempt(*arguments)
        tries += 1
        await (world.lift() if tries % 2 else world.hold())
        return given

    enforcer.attempt = and_change
    await enforcer.act_now(ALICE)
    assert tries == module.DIRECTIONS_MAX
    suspension = await world.get()
    assert (suspension.claim, suspension.phase) == ("", "restoring")
    await world.settle()
    assert world.policies() == world.start
