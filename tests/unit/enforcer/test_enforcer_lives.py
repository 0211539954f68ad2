"""Who has a name: agents go on with a role that was made again, users and roles do not."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest
from msgspec.structs import replace

from tests.calls import ACCOUNT, DAY, NOON, asynchronous
from tests.suspension_world import AGENT, ALICE, ALLOW, OWN_POLICY, KilledError, World
from worker.adapters.memory_enforcement import MemoryEnforcement, MemoryEntity
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryOutbox
from worker.bootstrap.enforcing import Enforcing, open_enforcing
from worker.core.enforcement import Mode
from worker.core.errors import EnforcementError
from worker.core.registry import Registry
from worker.core.registry_facts import Incarnations, LearnedFacts
from worker.core.suspension import CLAIM_MS, DAILY_MS
from worker.enforcer import Snapshots
from worker.ports import Target
from worker.settings import EnforcementSettings

MODES = pytest.mark.parametrize("mode", ["deny", "detach"])
FIRST, LATER = "AIDA0000000000000000A", "AIDA0000000000000000Z"
LATER_ROLE = "AROA0000000000000000X"
HELPER = "role", ACCOUNT, "Helper"


def make_again(world: World) -> None:
    """Replace the agent's role under its name, with policies of its own."""
    inline = {"new": ALLOW}
    world.iam.put(
        MemoryEntity(
            "role", ACCOUNT, "Helper", unique_id=LATER_ROLE, attached={OWN_POLICY}, inline=inline
        )
    )
    world.start = world.policies()


# --- Agents ---------------------------------------------------------------------------------------


@MODES
@asynchronous
async def test_an_agentcore_agent_is_suspended_on_its_role_made_again(mode: Mode) -> None:
    world = World(mode=mode)
    await world.hold(AGENT)
    await world.run()
    make_again(world)
    world.now += DAILY_MS
    [figures] = await world.run()
    assert (figures.confirmed, figures.faults) == (1, [])
    assert world.is_denied("role", "Helper")
    [kept] = await Snapshots(world.records).kept(await world.get(AGENT))
    assert kept.found.unique_id == LATER_ROLE, "nothing is kept of the one before"
    await world.lift(AGENT)
    await world.settle()
    assert world.policies() == world.start
    assert (await world.get(AGENT)).failure == ""


@MODES
@asynchronous
async def test_an_agentcore_role_made_again_before_it_was_suspended_is_suspended(
    mode: Mode,
) -> None:
    world = World(mode=mode)

    def refuse(_when: str, _number: int, name: str) -> None:
        if name == "put_inline":
            raise EnforcementError("AWS denies iam:PutRolePolicy")

    world.iam.hook = refuse
    await world.hold(AGENT)
    await world.run()
    world.iam.hook = None
    make_again(world)
    await world.settle()
    assert world.is_denied("role", "Helper")
    await world.lift(AGENT)
    await world.settle()
    assert world.policies() == world.start


@MODES
@asynchronous
async def test_an_agentcore_role_made_again_is_restored_by_leaving_it_alone(mode: Mode) -> None:
    world = World(mode=mode)
    await world.hold(AGENT)
    await world.run()
    make_again(world)
    await world.lift(AGENT)
    [figures] = await world.run()
    assert (figures.restored, figures.faults) == (1, [])
    assert world.policies() == world.start


@MODES
@asynchronous
async def test_an_agentcore_role_that_a_slow_worker_denied_in_anothers_place_is_restored(
    mode: Mode,
) -> None:
    world = World(mode=mode)
    await world.hold(AGENT)
    await world.run()
    [deny] = [one for one in world.iam.entities[HELPER].inline.items() if "ledgerock" in one[0]]
    make_again(world)
    world.iam.entities[HELPER].inline |= dict([deny])
    await world.lift(AGENT)
    [figures] = await world.run()
    assert (figures.restored, figures.faults) == (1, [])
    assert world.policies() == world.start


@MODES
@asynchronous
async def test_an_agentcore_role_made_again_is_suspended_whoever_is_killed_where(
    mode: Mode,
) -> None:
    number = 0
    while True:
        number += 1
        world = World(mode=mode)
        await world.hold(AGENT)
        await world.run()
        make_again(world)
        world.now += DAILY_MS
        world.faults.kill(world.faults.moments + number)
        try:
            await world.enforcer().act_now(AGENT)
        except KilledError:
            was_killed = True
        else:
            was_killed = False
        world.faults.at.clear()
        world.now += CLAIM_MS
        await world.settle()
        assert world.is_denied("role", "Helper"), number
        assert (await world.get(AGENT)).phase == "suspended", number
        await world.lift(AGENT)
        await world.settle()
        assert world.policies() == world.start, number
        assert not [arn for arn in world.iam.policies if "ledgerock" in arn], number
        if not was_killed:
            break
    assert number > 20


@asynchronous
async def test_a_session_is_suspended_on_its_role_made_again() -> None:
    world = World()
    session = f"session/{ACCOUNT}/Helper/ann"
    await world.hold(session)
    await world.run()
    make_again(world)
    world.now += DAILY_MS
    await world.run()
    [document] = [
        text for name, text in world.iam.entities[HELPER].inline.items() if "ledgerock" in name
    ]
    assert f"{LATER_ROLE}:ann" in document


# --- Users and roles ------------------------------------------------------------------------------


class Clock:
    """Noon."""

    def now_ms(self) -> int:
        return NOON


async def nobody(_subject: str) -> bool:
    return False


def opened(
    stack: AsyncExitStack, enforcement: MemoryEnforcement, made: Sequence[tuple[int, str]]
) -> Enforcing:
    """Open enforcement under a directory that knows who had alice's name."""
    learned = LearnedFacts(incarnations=(Incarnations(ALICE, tuple(made)),))
    return open_enforcing(
        EnforcementSettings(acts="worker"),
        records=MemoryRecords(),
        outbox=MemoryOutbox(),
        clock=Clock(),
        registry=lambda: Registry().with_directory(learned),
        stack=stack,
        enforcement=enforcement,
        is_gone=nobody,
    )


@pytest.mark.parametrize("first", [FIRST, ""])
@asynchronous
async def test_nobody_is_suspended_for_what_another_of_the_name_spent(first: str) -> None:
    made = [(NOON - 10 * DAY if first else 0, first), (NOON - 1_000, LATER)]
    enforcement = MemoryEnforcement([MemoryEntity("user", ACCOUNT, "alice", unique_id=LATER)])
    async with AsyncExitStack() as stack:
        enforcing = opened(stack, enforcement, made)
        await enforcing.suspensions.hold(ALICE, World().hold_of())
        figures = await enforcing.enforcer.run_due()
        assert figures.gone == 1
        assert not enforcement.iam.is_denied("user", ACCOUNT, "alice")
        later = f"{ALICE}/{LATER}"
        await enforcing.suspensions.hold(later, World().hold_of())
        figures = await enforcing.enforcer.run_due()
        assert (figures.suspended, figures.faults) == (1, [])
        assert enforcement.iam.is_denied("user", ACCOUNT, "alice")


@MODES
@asynchronous
async def test_who_was_suspended_for_another_of_the_name_is_let_go_once_that_is_known(
    mode: Mode,
) -> None:
    world = World(mode=mode)
    await world.hold()
    await world.run()
    targets = world.targets
    meant = FIRST[:-1] + "B"

    async def told(principal: str) -> tuple[Target, ...]:
        return tuple(replace(one, unique_id=meant) for one in await targets(principal))

    world.targets = told  # type: ignore[method-assign]
    world.now += DAILY_MS
    [figures] = await world.run()
    assert figures.gone == 1
    assert world.policies() == world.start
