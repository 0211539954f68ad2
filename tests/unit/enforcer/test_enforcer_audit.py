"""Every act has its entries in the audit log, whatever failed before it."""

from tests.calls import ACCOUNT, asynchronous
from tests.suspension_world import World
from worker.core.errors import EnforcementError, TransientError
from worker.core.suspension import BACKOFF_FIRST_MS, DAILY_MS


def deny_denying(_when: str, _number: int, name: str) -> None:
    if name == "put_inline":
        raise EnforcementError("AWS denies iam:PutUserPolicy")


@asynchronous
async def test_what_began_after_a_fault_is_begun_in_the_log() -> None:
    world = World()

    def throttle(_when: str, _number: int, name: str) -> None:
        if name == "find":
            raise TransientError("throttled")

    world.iam.hook = throttle
    await world.hold()
    await world.run()
    assert await world.acts() == ["Suspension Failed"]
    world.iam.hook = None
    await world.settle()
    acts = ["Suspension Failed", "Suspension Begun", "Principal Suspended"]
    assert await world.acts() == acts


@asynchronous
async def test_however_often_it_is_tried_it_is_begun_once() -> None:
    world = World()
    world.iam.hook = deny_denying
    await world.hold()
    for _ in range(3):
        await world.run()
        world.now = (await world.get()).due_at_ms
    world.iam.hook = None
    await world.run()
    acts = await world.acts()
    assert acts == ["Suspension Begun", "Suspension Failed", "Principal Suspended"]


@asynchronous
async def test_what_was_amiss_and_mended_is_suspended_anew_in_the_log_each_time() -> None:
    world = World()
    await world.hold()
    await world.run()
    alice = world.iam.entities["user", ACCOUNT, "alice"]
    for _ in range(2):
        [own] = [name for name in alice.inline if name.startswith("ledgerock")]
        del alice.inline[own]
        world.iam.hook = deny_denying
        world.now += DAILY_MS
        await world.run()
        world.iam.hook = None
        world.now += BACKOFF_FIRST_MS
        await world.run()
        assert world.is_denied()
    acts = await world.acts()
    assert acts[-1] == "Principal Suspended"
    assert acts.count("Principal Suspended") == 3
    assert acts.count("Suspension Failed") == 2
