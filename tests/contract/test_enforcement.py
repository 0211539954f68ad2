"""Suspension and restoration in IAM: policies end exactly as they began, whatever happens between.

One suite over IAM in memory, in moto and in LocalStack. What the emulators leave out, quotas and
the API keys of Bedrock among it, is put in by `tests.iam_emulated`.
"""

import json

import pytest

from tests.calls import asynchronous
from tests.iam_cases import MODES, Case, OpenWorld, case, filled
from tests.iam_worlds import (
    ABROAD,
    CALL_MODELS,
    HOME,
    READ_LOGS,
    SELF,
    State,
    is_change,
    unused,
)
from worker.core.enforcement import Mode
from worker.core.errors import (
    EnforcementError,
    MissingPrincipalError,
    NeedsPersonError,
    ProtectedPrincipalError,
)
from worker.core.targets import Target, TargetKind, targets_of
from worker.ports import Order, Snapshot

# --- There and back ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@asynchronous
async def test_a_suspended_user_is_restored_document_by_document(
    open_world: OpenWorld, mode: Mode
) -> None:
    async with open_world() as world:
        one = await case(world, "user", mode, path="/teams/research/")
        await one.suspend()
        await one.assert_suspended()
        state = await one.state()
        if mode == "deny":
            assert state._replace(inline=one.before.inline) == one.before
            assert state.inline.items() > one.before.inline.items()
        else:
            own = f"ledgerock-deny-{one.order.suspension_id}"
            assert (state.attached, [*state.inline]) == ([], [own])
            assert state.keys == {"ACCAONE": "Inactive", "ACCATWO": "Inactive"}
        await one.restore()
        await one.assert_as_before()


@pytest.mark.parametrize("mode", MODES)
@asynchronous
async def test_agentcore_policies_of_an_execution_role_are_detached_and_attached_again(
    open_world: OpenWorld, mode: Mode
) -> None:
    async with open_world() as world:
        one = await case(world, "role", mode, path="/agents/")
        [target] = targets_of(
            f"agent/{HOME}/us-east-1/scout-Ab3dEf5h1J",
            [f"arn:aws:iam::{HOME}:role/agents/{one.target.name}"],
        )
        assert target == one.target
        await one.suspend()
        await one.assert_suspended()
        assert (await one.state()).attached == ([] if mode == "detach" else one.before.attached)
        await one.restore()
        await one.assert_as_before()


@asynchronous
async def test_agentcore_policies_are_backed_up_before_suspension(open_world: OpenWorld) -> None:
    async with open_world() as world:
        one = await case(world, "role", "detach")
        assert list(one.snapshot.attached) == one.before.attached
        assert {policy.name: policy.document for policy in one.snapshot.inline} == one.before.inline
        assert (one.snapshot.unique_id, one.snapshot.path) != ("", "")
        assert one.snapshot.keys == ()


@asynchronous
async def test_a_snapshot_holds_the_keys_of_services_that_spend_alone(
    open_world: OpenWorld,
) -> None:
    async with open_world() as world:
        one = await case(world)
        keys = {(key.id, key.status, key.service) for key in one.snapshot.keys}
        bedrock = "bedrock.amazonaws.com"
        assert keys == {("ACCAONE", "Active", bedrock), ("ACCATWO", "Inactive", bedrock)}


@asynchronous
async def test_api_keys_are_made_inactive_and_active_again(open_world: OpenWorld) -> None:
    async with open_world() as world:
        one = await case(world, "user", "detach")
        await one.suspend()
        assert (await one.state()).keys == {"ACCAONE": "Inactive", "ACCATWO": "Inactive"}
        await one.restore()
        assert (await one.state()).keys == {"ACCAONE": "Active", "ACCATWO": "Inactive"}


@asynchronous
async def test_denying_leaves_keys_active_for_the_deny_covers_them(open_world: OpenWorld) -> None:
    async with open_world() as world:
        one = await case(world, "user", "deny")
        await one.suspend()
        state = await one.state()
        assert state.keys == one.before.keys
        document = json.loads(state.inline[f"ledgerock-deny-{one.order.suspension_id}"])
        assert "bedrock:CallWithBearerToken" in document["Statement"][0]["Action"]


@pytest.mark.parametrize("mode", MODES)
@asynchronous
async def test_doing_each_twice_is_doing_it_once(open_world: OpenWorld, mode: Mode) -> None:
    async with open_world() as world:
        one = await case(world, "user", mode)
        await one.suspend()
        suspended = await one.state()
        await one.suspend()
        assert await one.state() == suspended
        await one.restore()
        await one.restore()
        await one.assert_as_before()


@asynchronous
async def test_of_a_bare_snapshot_nothing_is_taken_and_nothing_put_back(
    open_world: OpenWorld,
) -> None:
    async with open_world() as world:
        one = await case(world, "user", "detach")
        one.snapshot = one.snapshot.bare()
        await one.suspend()
        await one.assert_suspended()
        state = await one.state()
        assert state._replace(inline=one.before.inline) == one.before
        await one.restore()
        await one.assert_as_before()


@asynchronous
async def test_restoring_what_was_never_suspended_changes_nothing(
    open_patient_world: OpenWorld,
) -> None:
    async with open_patient_world() as world:
        for mode in MODES:
            one = await case(world, "role", mode)
            await one.restore()
            await one.assert_as_before()


@asynchronous
async def test_the_deny_comes_first_and_goes_last(open_world: OpenWorld) -> None:
    async with open_world() as world:
        one = await case(world, "user", "detach")
        world.hook = None
        await one.suspend()
        changes = [name for name in world.calls if is_change(name)]
        assert changes[0].startswith("put_")
        assert not any(name.startswith("put_") for name in changes[1:])
        world.hook = None
        await one.restore()
        changes = [name for name in world.calls if is_change(name)]
        assert [name.split("_")[0] for name in changes[-2:]] == ["delete", "detach"]
        assert not any(name.startswith("delete_") for name in changes[:-2])


# --- Several suspensions -------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("first_out", [0, 1])
@asynchronous
async def test_a_second_suspension_stands_beside_the_first(
    open_patient_world: OpenWorld, mode: Mode, first_out: int
) -> None:
    async with open_patient_world() as world:
        first = await case(world, "role", mode)
        await first.suspend()
        second = Case(world, first.target, mode)
        second.snapshot = await world.enforcement.snapshot(second.target)
        assert not [policy for policy in second.snapshot.inline if "ledgerock" in policy.name]
        await second.suspend()
        await first.assert_suspended()
        pair = [first, second]
        going, staying = pair[first_out], pair[1 - first_out]
        await going.restore()
        names = (await staying.state()).inline
        assert f"ledgerock-deny-{staying.order.suspension_id}" in names
        assert f"ledgerock-deny-{going.order.suspension_id}" not in names
        await staying.restore()
        await first.assert_as_before()


@asynchronous
async def test_two_snapshots_at_once_restore_the_same(open_world: OpenWorld) -> None:
    async with open_world() as world:
        first = await case(world, "user", "detach")
        second = Case(world, first.target, "detach")
        second.snapshot = await world.enforcement.snapshot(second.target)
        await first.suspend()
        await second.suspend()
        await first.restore()
        await second.restore()
        await first.assert_as_before()


@asynchronous
async def test_sessions_of_one_role_are_suspended_each_by_itself(open_world: OpenWorld) -> None:
    async with open_world() as world:
        role = await case(world, "role")
        sessions = [Target("session", HOME, role.target.name, name) for name in ("ann", "bob")]
        orders = [Order(unused("s"), "detach", str(target)) for target in sessions]
        snapshots = [await world.enforcement.snapshot(target) for target in sessions]
        assert {one.unique_id for one in snapshots} == {role.snapshot.unique_id}
        for order, snapshot in zip(orders, snapshots, strict=True):
            await world.enforcement.suspend(order, snapshot)
            assert await world.enforcement.unsuspended(order, snapshot) == []
        state = await role.state()
        assert state.attached == role.before.attached
        for order, target in zip(orders, sessions, strict=True):
            document = json.loads(state.inline[f"ledgerock-deny-{order.suspension_id}"])
            userid = f"{role.snapshot.unique_id}:{target.session}"
            conditions = [one["Condition"] for one in document["Statement"]]
            assert conditions == [{"StringEquals": {"aws:userid": userid}}] * 2
        await world.enforcement.restore(orders[0], snapshots[0])
        assert await world.enforcement.unsuspended(orders[1], snapshots[1]) == []
        await world.enforcement.restore(orders[1], snapshots[1])
        assert await role.state() == role.before


# --- What is not there (any more) ----------------------------------------------------------------


@pytest.mark.parametrize("kind", ["user", "role", "session"])
@asynchronous
async def test_agentcore_or_not_a_missing_user_or_role_is_an_error_with_a_name(
    open_world: OpenWorld, kind: TargetKind
) -> None:
    async with open_world() as world:
        target = Target(kind, HOME, "nobody", "ann" if kind == "session" else "")
        snapshot = Snapshot(target, "AROANOBODY")
        order = Order(unused("s"), "deny", str(target))
        enforcement = world.enforcement
        for act in (
            enforcement.snapshot(target),
            enforcement.suspend(order, snapshot),
            enforcement.restore(order, snapshot),
            enforcement.unsuspended(order, snapshot),
            enforcement.unrestored(order, snapshot),
        ):
            with pytest.raises(MissingPrincipalError, match="/nobody"):
                await act


@asynchronous
async def test_agentcore_restoration_names_a_policy_that_was_deleted_and_restores_the_rest(
    open_world: OpenWorld,
) -> None:
    async with open_world() as world:
        one = await case(world, "role", "detach")
        await one.suspend()
        gone, kept = one.before.attached
        await world.delete_policy(gone)
        for _ in range(2):
            with pytest.raises(MissingPrincipalError, match=gone):
                await one.restore()
            assert await one.state() == one.before._replace(attached=[kept])
        missing = await world.enforcement.unrestored(one.order, one.snapshot)
        assert missing == [f"{one.target}: {gone} is not attached"]


@pytest.mark.parametrize("mode", MODES)
@asynchronous
async def test_a_user_made_again_under_the_name_is_left_alone(
    open_world: OpenWorld, mode: Mode
) -> None:
    async with open_world() as world:
        one = await case(world, "user", mode)
        await one.suspend()
        await world.remove("user", one.target.name)
        policy = await world.policy()
        await world.make("user", one.target.name, attached=[policy], keys={"ACCAONE": "Active"})
        fresh = State([policy], {}, {"ACCAONE": "Active"})
        for act in (one.suspend, one.restore):
            with pytest.raises(MissingPrincipalError, match="is another"):
                await act()
        with pytest.raises(MissingPrincipalError, match="is another"):
            await world.enforcement.unrestored(one.order, one.snapshot)
        assert await one.state() == fresh


@asynchronous
async def test_a_later_bearer_of_a_name_is_told_by_its_unique_id(open_world: OpenWorld) -> None:
    async with open_world() as world:
        name = unused("someone")
        unique_id = await world.make("user", name)
        meant = Target("user", HOME, name, unique_id=unique_id)
        assert (await world.enforcement.snapshot(meant)).unique_id == unique_id
        other = Target("user", HOME, name, unique_id="AIDAOTHER00000000")
        with pytest.raises(MissingPrincipalError, match="AIDAOTHER"):
            await world.enforcement.snapshot(other)


@asynchronous
async def test_the_managed_policy_of_a_deleted_user_goes(open_world: OpenWorld) -> None:
    async with open_world() as world:
        one = await case(world, "user", "deny")
        await filled(world, one)
        await one.suspend()
        await world.remove("user", one.target.name)
        with pytest.raises(MissingPrincipalError, match=one.target.name):
            await one.restore()
        assert await world.policies(one.order.suspension_id) == []


@asynchronous
async def test_what_others_change_meanwhile_stays_theirs(open_world: OpenWorld) -> None:
    async with open_world() as world:
        one = await case(world, "user", "detach")
        await one.suspend()
        theirs = await world.policy()
        await world.attach("user", one.target.name, theirs)
        await world.put_inline("user", one.target.name, "read-logs", CALL_MODELS)
        await one.suspend()
        await one.restore()
        state = await one.state()
        assert state.attached == sorted([*one.before.attached, theirs])
        assert state.inline == {"read-logs": CALL_MODELS, "call-models": CALL_MODELS}


@asynchronous
async def test_an_attached_managed_deny_that_others_use_is_named(
    open_patient_world: OpenWorld,
) -> None:
    async with open_patient_world() as world:
        one, other = await case(world, "user", "deny"), await case(world, "user", "deny")
        await filled(world, one)
        await one.suspend()
        [arn] = await world.policies(one.order.suspension_id)
        await world.attach("user", other.target.name, arn)
        with pytest.raises(EnforcementError, match="detach it"):
            await one.restore()
        assert await one.state() == one.before


# --- Whom IAM cannot deny, and who is never denied -----------------------------------------------


@pytest.mark.parametrize(
    "path, told",
    [
        ("/aws-service-role/bedrock.amazonaws.com/", "linked to an AWS service"),
        ("/aws-reserved/sso.amazonaws.com/eu-west-1/", "Identity Center"),
    ],
)
@asynchronous
async def test_roles_that_aws_alone_may_change_need_a_person(
    open_world: OpenWorld, path: str, told: str
) -> None:
    async with open_world() as world:
        name = unused("reserved")
        await world.make("role", name, path=path, inline={"read-logs": READ_LOGS})
        for target in (Target("role", HOME, name), Target("session", HOME, name, "ann")):
            with pytest.raises(NeedsPersonError, match=told):
                await world.enforcement.snapshot(target)
        assert (await world.state("role", name)).inline == {"read-logs": READ_LOGS}


@pytest.mark.parametrize(
    "kind, name", [("user", "break-glass"), ("role", "prod-web"), ("role", SELF)]
)
@asynchronous
async def test_the_protected_and_enforcement_itself_are_refused(
    open_world: OpenWorld, kind: TargetKind, name: str
) -> None:
    async with open_world() as world:
        targets = [Target(kind, HOME, name)]
        if kind == "role":
            targets.append(Target("session", HOME, name, "ann"))
        for target in targets:
            world.hook = None
            with pytest.raises(ProtectedPrincipalError, match=name):
                await world.enforcement.snapshot(target)
            order = Order(unused("s"), "deny", str(target))
            with pytest.raises(ProtectedPrincipalError, match=name):
                await world.enforcement.suspend(order, Snapshot(target, "AIDA"))
            assert world.calls == []


@asynchronous
async def test_the_role_that_is_assumed_in_every_account_is_refused(
    open_world: OpenWorld,
) -> None:
    async with open_world() as world:
        for account in (HOME, ABROAD):
            with pytest.raises(ProtectedPrincipalError, match="own"):
                await world.enforcement.snapshot(Target("role", account, "LedgerockEnforcement"))


# --- Other accounts ------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
@asynchronous
async def test_agentcore_cross_account_role_arns_are_acted_on_in_their_account(
    open_world: OpenWorld, mode: Mode
) -> None:
    async with open_world() as world:
        one = await case(world, "role", mode, account=ABROAD)
        at_home = State([], {"read-logs": READ_LOGS}, {})
        await world.make("role", one.target.name, inline=at_home.inline)
        [target] = targets_of(
            f"agent/{HOME}/us-east-1/scout-Ab3dEf5h1J",
            [f"arn:aws:iam::{ABROAD}:role/{one.target.name}"],
        )
        assert target == one.target
        await one.suspend()
        await one.assert_suspended()
        assert await world.state("role", one.target.name) == at_home
        await one.restore()
        await one.assert_as_before()
