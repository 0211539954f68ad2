"""Mode `detach` gives back what it took, and only that, whoever changed what before it did."""

from tests.calls import ACCOUNT, DAY, asynchronous
from tests.suspension_world import ALICE, AWS_POLICY, KilledError, World
from worker.core.enforcement_names import TAKEN, suspension_partition
from worker.core.errors import EnforcementError
from worker.core.suspension import CLAIM_MS, DAILY_MS
from worker.enforcer import Snapshots
from worker.ports import Key


def refuse(_when: str, _number: int, name: str) -> None:
    if name == "put_inline":
        raise EnforcementError("AWS denies iam:PutUserPolicy")


def revoke(world: World) -> None:
    """Have an administrator take away a leaked key, a policy and a document."""
    alice = world.iam.entities["user", ACCOUNT, "alice"]
    alice.attached.discard(AWS_POLICY)
    alice.keys["ACCA1"] = Key("ACCA1", "Inactive")
    alice.inline.pop("mine", None)


@asynchronous
async def test_what_an_administrator_revoked_before_anything_was_taken_stays_revoked() -> None:
    world = World(mode="detach")
    world.iam.hook = refuse
    await world.hold()
    await world.run()
    assert world.policies() == world.start
    world.now += 3 * DAY
    revoke(world)
    revoked = world.policies()
    await world.lift()
    world.iam.hook = None
    await world.settle()
    assert (await world.get()).phase == "clear"
    assert world.policies() == revoked


@asynchronous
async def test_what_is_taken_late_is_what_is_there_then() -> None:
    world = World(mode="detach")
    world.iam.hook = refuse
    await world.hold()
    await world.run()
    revoke(world)
    revoked = world.policies()
    world.iam.hook = None
    await world.settle()
    assert world.iam.entities["user", ACCOUNT, "alice"].attached == set()
    assert "Policies Changed Meanwhile" in await world.acts()
    await world.lift()
    await world.settle()
    assert world.policies() == revoked


@asynchronous
async def test_killed_anywhere_what_was_revoked_before_the_first_removal_stays_revoked() -> None:
    number, before_it, after_it = 0, 0, 0
    while True:
        number += 1
        world = World(mode="detach")
        await world.hold()
        world.faults.kill(world.faults.moments + number)
        try:
            await world.enforcer().act_now(ALICE)
        except KilledError:
            pass
        else:
            break
        world.faults.at.clear()
        taken = await world.records.partition(suspension_partition(ALICE), TAKEN)
        was_removed = not (await _had(world) >= {AWS_POLICY})
        assert taken or not was_removed, f"{number}: something was removed before it was noted"
        revoke(world)
        revoked = world.policies()
        revoked["user", ACCOUNT, "alice"].inline.pop(_own(world), None)
        await world.lift()
        world.now += CLAIM_MS
        await world.settle()
        assert (await world.get()).phase == "clear", number
        assert world.policies() == (world.start if taken else revoked), number
        before_it, after_it = before_it + (not taken), after_it + bool(taken)
    assert min(before_it, after_it) > 5


async def _had(world: World) -> set[str]:
    return world.iam.entities["user", ACCOUNT, "alice"].attached


def _own(world: World) -> str:
    alice = world.iam.entities["user", ACCOUNT, "alice"]
    return next((name for name in alice.inline if name.startswith("ledgerock")), "")


@asynchronous
async def test_what_was_taken_is_noted_once_and_never_again() -> None:
    world = World(mode="detach")
    await world.hold()
    await world.run()
    [kept] = await Snapshots(world.records).kept(await world.get())
    assert kept.taken == kept.found
    # What somebody attaches now is theirs, and what was taken comes back all the same.
    alice = world.iam.entities["user", ACCOUNT, "alice"]
    alice.attached.add(AWS_POLICY)
    world.now += DAILY_MS
    await world.run()
    assert alice.attached == set()
    assert await Snapshots(world.records).kept(await world.get()) == [kept]
    await world.lift()
    await world.settle()
    assert world.policies() == world.start


@asynchronous
async def test_mode_deny_notes_nothing_as_taken() -> None:
    world = World()
    await world.hold()
    await world.run()
    [kept] = await Snapshots(world.records).kept(await world.get())
    assert kept.taken is None
    assert len(kept.found.attached) == 2
