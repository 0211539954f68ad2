"""Suspension and restoration in IAM, cut short between any two calls, and out of room."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from tests.calls import asynchronous
from tests.iam_cases import MODES, OpenWorld, case, filled
from tests.iam_emulated import in_localstack
from tests.iam_worlds import (
    HOME,
    READ_LOGS,
    State,
    World,
    document_with,
    in_memory,
    is_change,
    unused,
)
from worker.core.enforcement import Mode
from worker.core.errors import EnforcementError
from worker.core.targets import Target, TargetKind
from worker.ports import Order


class CrashError(Exception):
    """The process ends here."""


# --- Crashes -------------------------------------------------------------------------------------


async def counted(world: World, act: Callable[[], Awaitable[None]], *, every: bool) -> list[int]:
    """Return the numbers of the calls after which an act may be cut short."""
    world.hook = None
    await act()
    calls = list(enumerate(world.calls, 1))
    return [number for number, name in calls if every or is_change(name)]


def thinned(open_world: OpenWorld, points: list[Any], every: int) -> list[Any]:
    """Return all points in memory, and some of them where requests take their time."""
    return points if open_world is in_memory else points[::every]


async def cut_short(
    world: World, act: Callable[[], Awaitable[None]], moment: str, number: int
) -> None:
    """Do something, and crash before or after its n-th call."""

    def crash(now: str, at: int, _name: str) -> None:
        if (now, at) == (moment, number):
            raise CrashError

    world.hook = crash
    with pytest.raises(CrashError):
        await act()
    world.hook = None


async def crash_everywhere(open_world: OpenWorld, kind: TargetKind, mode: Mode) -> None:
    """Crash at each point of a suspension, then at each of a restoration; do it again, compare."""
    everywhere = open_world is in_memory
    moments = ["before", "after"] if everywhere else ["after"]
    async with open_world() as world:
        probe = await case(world, kind, mode)
        suspensions = await counted(world, probe.suspend, every=everywhere)
        restorations = await counted(world, probe.restore, every=everywhere)
        points = [(at, restorations[0]) for at in suspensions]
        points += [(suspensions[-1], at) for at in restorations[1:]]
        for moment in moments:
            for suspending, restoring in thinned(
                open_world, points, 1 if open_world is in_localstack else 4
            ):
                one = await case(world, kind, mode)
                await cut_short(world, one.suspend, moment, suspending)
                await one.suspend()
                await one.assert_suspended()
                await cut_short(world, one.restore, moment, restoring)
                await one.restore()
                await one.assert_as_before()


@pytest.mark.parametrize("mode", MODES)
@asynchronous
async def test_a_crash_between_any_two_calls_leaves_nothing_behind(
    open_world: OpenWorld, mode: Mode
) -> None:
    await crash_everywhere(open_world, "user", mode)


@asynchronous
async def test_agentcore_suspension_survives_a_crash_between_any_two_calls(
    open_patient_world: OpenWorld,
) -> None:
    await crash_everywhere(open_patient_world, "role", "detach")


@asynchronous
async def test_a_suspension_that_crashed_is_restored_at_once(open_patient_world: OpenWorld) -> None:
    async with open_patient_world() as world:
        probe = await case(world, "user", "detach")
        for number in await counted(world, probe.suspend, every=False):
            one = await case(world, "user", "detach")
            await cut_short(world, one.suspend, "after", number)
            await one.restore()
            await one.assert_as_before()


# --- Quotas --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["user", "role"])
@asynchronous
async def test_a_managed_policy_denies_where_the_inline_quota_is_full(
    open_world: OpenWorld, kind: TargetKind, mode: Mode
) -> None:
    async with open_world() as world:
        one = await case(world, kind, mode)
        await filled(world, one)
        await one.suspend()
        assert await world.enforcement.unsuspended(one.order, one.snapshot) == []
        [arn] = await world.policies(one.order.suspension_id)
        name = f"ledgerock-deny-{one.order.suspension_id}-{one.snapshot.unique_id}"
        assert arn == f"arn:aws:iam::{HOME}:policy/ledgerock/{name}"
        state = await one.state()
        kept = one.before if mode == "deny" else State([], {}, {})
        assert state.attached == sorted([*kept.attached, arn])
        if mode == "deny":
            assert state.inline == kept.inline
            await one.suspend()
            again = Order(unused("s"), mode, str(one.target))
            assert arn not in (await world.enforcement.snapshot(one.target)).attached
            assert await world.enforcement.unsuspended(again, one.snapshot) != []
        await one.restore()
        await one.assert_as_before()


@asynchronous
async def test_a_crash_while_a_managed_policy_is_made_leaves_none(
    open_patient_world: OpenWorld,
) -> None:
    async with open_patient_world() as world:
        probe = await case(world, "user", "detach")
        await filled(world, probe)
        suspending = await counted(world, probe.suspend, every=False)
        restoring = await counted(world, probe.restore, every=False)
        for act, points in (("suspend", suspending), ("restore", restoring)):
            for number in thinned(open_patient_world, points, 3):
                one = await case(world, "user", "detach")
                await filled(world, one)
                if act == "restore":
                    await one.suspend()
                await cut_short(world, getattr(one, act), "after", number)
                await one.suspend()
                assert await world.enforcement.unsuspended(one.order, one.snapshot) == []
                await one.restore()
                await one.assert_as_before()


@asynchronous
async def test_no_room_at_all_is_an_error_that_says_so(open_patient_world: OpenWorld) -> None:
    async with open_patient_world() as world:
        one = await case(world, "user", "detach")
        for _ in range(8):
            await world.attach("user", one.target.name, await world.policy())
        await filled(world, one)
        with pytest.raises(EnforcementError, match="no room for a deny policy"):
            await one.suspend()
        await one.assert_as_before()


@asynchronous
async def test_the_deny_makes_room_for_what_it_took_the_place_of(
    open_patient_world: OpenWorld,
) -> None:
    async with open_patient_world() as world:
        one = await case(world, "user", "detach")
        await one.suspend()
        await world.put_inline("user", one.target.name, "new", document_with(1_000))
        await one.restore()
        state = await one.state()
        assert state.inline == one.before.inline | {"new": document_with(1_000)}


@asynchronous
async def test_what_finds_no_room_any_more_is_an_error_and_comes_back_later(
    open_patient_world: OpenWorld,
) -> None:
    async with open_patient_world() as world:
        one = await case(world, "user", "detach")
        await one.suspend()
        await world.put_inline("user", one.target.name, "new", document_with(1_900))
        with pytest.raises(EnforcementError, match=r"inline policy .* cannot be put back"):
            await one.restore()
        assert (await one.state()).attached == one.before.attached
        await world.put_inline("user", one.target.name, "new", document_with(200))
        await one.restore()
        state = await one.state()
        assert state == one.before._replace(inline=one.before.inline | {"new": document_with(200)})


@asynchronous
async def test_policies_that_came_meanwhile_yield_the_place_of_the_deny(
    open_patient_world: OpenWorld,
) -> None:
    async with open_patient_world() as world:
        one = await case(world, "user", "detach")
        await filled(world, one)
        await one.suspend()
        for _ in range(8):
            await world.attach("user", one.target.name, await world.policy())
        await one.restore()
        assert await world.enforcement.unrestored(one.order, one.snapshot) == []
        state = await one.state()
        assert len(state.attached) == 10
        assert {*one.before.attached} < {*state.attached}
        assert await world.policies(one.order.suspension_id) == []


# --- Reading back --------------------------------------------------------------------------------


@asynchronous
async def test_a_deny_that_was_tampered_with_is_missing_and_mended(open_world: OpenWorld) -> None:
    async with open_world() as world:
        one = await case(world, "role")
        await one.suspend()
        name = f"ledgerock-deny-{one.order.suspension_id}"
        await world.put_inline("role", one.target.name, name, READ_LOGS)
        missing = await world.enforcement.unsuspended(one.order, one.snapshot)
        assert missing == [f"{one.target}: the policy {name} is not there"]
        await one.suspend()
        await one.assert_suspended()
        await one.restore()
        await one.assert_as_before()


@asynchronous
async def test_a_managed_deny_that_was_detached_is_missing_until_it_is_attached_again(
    open_world: OpenWorld,
) -> None:
    async with open_world() as world:
        one = await case(world, "user")
        await filled(world, one)
        await one.suspend()
        [arn] = await world.policies(one.order.suspension_id)
        await world.detach("user", one.target.name, arn)
        name = f"ledgerock-deny-{one.order.suspension_id}"
        missing = await world.enforcement.unsuspended(one.order, one.snapshot)
        assert missing == [f"{one.target}: the policy {name} is not there"]
        # It is attached to nobody, and still has to go.
        left = await world.enforcement.unrestored(one.order, one.snapshot)
        assert left == [f"{one.target}: the policy {arn} is still there"]
        await one.suspend()
        assert await world.enforcement.unsuspended(one.order, one.snapshot) == []
        await one.restore()
        await one.assert_as_before()


@asynchronous
async def test_all_that_is_not_back_yet_is_named(open_world: OpenWorld) -> None:
    async with open_world() as world:
        one = await case(world, "user", "detach")
        named = [
            *(f"{arn} is {{}}attached" for arn in one.snapshot.attached),
            "the inline policy call-models is {}there",
            "the inline policy read-logs is {}there",
            "the API key ACCAONE is {}active",
        ]
        own = f"the policy ledgerock-deny-{one.order.suspension_id} is {{}}there"
        missing = await world.enforcement.unsuspended(one.order, one.snapshot)
        expected = [own.format("not "), *(text.format("") for text in named)]
        assert missing == [f"{one.target}: {text}" for text in expected]
        await one.suspend()
        left = await world.enforcement.unrestored(one.order, one.snapshot)
        expected = [own.format("still "), *(text.format("not ") for text in named)]
        assert left == [f"{one.target}: {text}" for text in expected]


@asynchronous
async def test_nothing_is_taken_from_the_role_of_a_session_whatever_the_snapshot(
    open_patient_world: OpenWorld,
) -> None:
    async with open_patient_world() as world:
        role = await case(world, "role", "detach")
        target = Target("session", HOME, role.target.name, "ann")
        full = msgspec.structs.replace(role.snapshot, target=target)
        await world.enforcement.suspend(role.order, full)
        assert (await role.state()).attached == role.before.attached
        assert await world.enforcement.unsuspended(role.order, full) == []
        await world.enforcement.restore(role.order, full)
        await role.assert_as_before()
