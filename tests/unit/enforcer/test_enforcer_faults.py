"""What goes wrong while somebody is suspended or restored, and who is told of it."""

import asyncio
from typing import Any

import msgspec
import pytest

from tests.calls import ACCOUNT, HOUR, asynchronous
from tests.suspension_world import (
    AGENT,
    ALICE,
    GATEWAY,
    World,
    ambiguous,
)
from worker.adapters.memory_enforcement import MemoryEntity
from worker.core.errors import TransientError
from worker.core.events import (
    PRINCIPAL_RESTORED,
    PRINCIPAL_SUSPENDED,
    SUSPENSION_FAILED,
)
from worker.core.suspension import CLAIM_MS, DAILY_MS
from worker.enforcer import enforcer as module


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
