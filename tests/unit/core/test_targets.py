"""Whom IAM is asked to act on, and what a person is told where it cannot."""

import pytest

from worker.core.attribution import key_of
from worker.core.errors import (
    ConfigurationError,
    LedgerockError,
    MissingPrincipalError,
    NeedsPersonError,
    ProtectedPrincipalError,
    ReplacedPrincipalError,
)
from worker.core.registry_facts import Incarnations
from worker.core.targets import (
    Protection,
    SharedRoleError,
    Target,
    caller_principal,
    follows_name,
    of_one_life,
    own_patterns,
    refuse_path,
    targets_of,
)

HOME = "111122223333"
AGENT = f"agent/{HOME}/us-east-1/scout-Ab3dEf5h1J"
SCOUT = f"arn:aws:iam::{HOME}:role/agents/Scout"


@pytest.mark.parametrize(
    "principal, target",
    [
        (f"user/{HOME}/alice", Target("user", HOME, "alice")),
        (f"user/{HOME}/alice%40example.com", Target("user", HOME, "alice@example.com")),
        (f"role/{HOME}/Gateway", Target("role", HOME, "Gateway")),
        (f"session/{HOME}/Gateway/ann", Target("session", HOME, "Gateway", "ann")),
        (
            f"user/{HOME}/alice/AIDAEXAMPLE000000001",
            Target("user", HOME, "alice", unique_id="AIDAEXAMPLE000000001"),
        ),
        (
            f"session/{HOME}/Gateway/ann/AROAEXAMPLE000000001",
            Target("session", HOME, "Gateway", "ann", "AROAEXAMPLE000000001"),
        ),
    ],
)
def test_users_roles_and_sessions_are_their_own_targets(principal: str, target: Target) -> None:
    assert targets_of(principal) == (target,)


def test_every_name_that_iam_allows_comes_back_from_its_key() -> None:
    name = "a+b=c,d.e@f-g_H9"
    assert targets_of(key_of("user", HOME, name)) == (Target("user", HOME, name),)
    longest = "@" * 64
    assert targets_of(key_of("role", HOME, longest)) == (Target("role", HOME, longest),)


def test_a_target_is_shown_without_its_unique_id() -> None:
    assert str(Target("session", HOME, "Gateway", "ann", "AROAX")) == f"session/{HOME}/Gateway/ann"


def test_a_target_is_spelt_as_the_principal_that_it_is() -> None:
    for names in (("alice@example.com",), ("R" * 64, "al+ice=liddell,x@" + "@" * 47)):
        key = key_of("user" if len(names) == 1 else "session", HOME, *names)
        assert [str(target) for target in targets_of(key)] == [key]


def test_agentcore_roles_of_an_agent_are_its_targets_in_any_account() -> None:
    abroad = "arn:aws-cn:iam::444455556666:role/Old"
    assert targets_of(AGENT, [SCOUT, abroad, SCOUT]) == (
        Target("role", HOME, "Scout"),
        Target("role", "444455556666", "Old"),
    )


def test_agentcore_without_a_known_role_is_missing() -> None:
    with pytest.raises(MissingPrincipalError, match="no role of this agent is known"):
        targets_of(AGENT)


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "Scout",
        f"arn:aws:iam::{HOME}:user/Scout",
        f"arn:aws:sts::{HOME}:assumed-role/Scout/x",
        "arn:aws:iam::12345:role/Scout",
        f"arn:aws:iam::{HOME}:role/Sc*ut",
    ],
)
def test_agentcore_role_arns_are_checked(arn: str) -> None:
    with pytest.raises(MissingPrincipalError, match="scout-Ab3dEf5h1J"):
        targets_of(AGENT, [arn])


def test_agentcore_on_a_shared_role_needs_a_person_and_names_the_others() -> None:
    others = [f"agent/{HOME}/us-east-1/second", AGENT, f"agent/{HOME}/us-east-1/first"]
    with pytest.raises(NeedsPersonError) as error:
        targets_of(AGENT, [SCOUT], {SCOUT: others})
    names = f"agent/{HOME}/us-east-1/first, agent/{HOME}/us-east-1/second"
    assert f"its role {SCOUT} also serves {names}, who" in str(error.value)
    assert targets_of(AGENT, [SCOUT], {SCOUT: [AGENT], "arn:other": others})


@pytest.mark.parametrize(
    "principal, told",
    [
        (f"root/{HOME}", f"account {HOME} in a service control policy"),
        ("service/bedrock.amazonaws.com", "stop its use of Bedrock"),
        (f"federated/{HOME}/ann", "who gives it its credentials"),
        ("app/acme/search", "suspend the role that calls for it"),
        (f"unknown/{HOME}", "CloudTrail"),
        ("team/research", "only users, roles, sessions and agents"),
        ("", "only users, roles, sessions and agents"),
        (
            f"session/{HOME}/AWSReservedSSO_Dev_0123456789abcdef/ann%40example.com",
            "IAM Identity Center",
        ),
        (f"role/{HOME}/AWSReservedSSO_Dev_0123456789abcdef", "permission set"),
        (f"session/{HOME}/Gateway/{'a' * 128}~{'0' * 32}", "longer than Ledgerock keeps"),
    ],
)
def test_whom_iam_cannot_deny_needs_a_person_who_is_told_what_to_do(
    principal: str, told: str
) -> None:
    with pytest.raises(NeedsPersonError) as error:
        targets_of(principal)
    assert told in str(error.value)
    assert str(error.value).startswith(f"{principal}: ")


@pytest.mark.parametrize(
    "principal",
    [
        "user/alice",
        "user/123/alice",
        f"user/{HOME}",
        f"user/{HOME}/",
        f"user/{HOME}/al%2Aice",
        f"user/{HOME}/alice/bob",
        f"user/{HOME}/alice/AIDAEXAMPLE000000001/x",
        f"session/{HOME}/Gateway",
        f"session/{HOME}/Gateway/a",
        f"session/{HOME}/Gateway/%24%7Baws%3Auserid%7D",
        f"role/{HOME}/{'x' * 65}",
        f"role/{HOME}/R%C3%B6le",
        f"agent/{HOME}/scout",
    ],
)
def test_what_nobody_in_iam_is_called_is_missing(principal: str) -> None:
    with pytest.raises(MissingPrincipalError):
        targets_of(principal, [SCOUT])


def test_service_linked_roles_need_a_person() -> None:
    arn = (
        f"arn:aws:iam::{HOME}:role/aws-service-role/bedrock.amazonaws.com/AWSServiceRoleForBedrock"
    )
    with pytest.raises(NeedsPersonError, match="linked to an AWS service"):
        targets_of(AGENT, [arn])
    refuse_path(AGENT, "/service-role/", "AmazonBedrockExecutionRole")


# --- Who is never acted on -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "principal, targets",
    [
        (f"user/{HOME}/break-glass", ()),
        (f"user/{HOME}/break-glass/AIDAEXAMPLE000000001", ()),
        (f"user/{HOME}/break-glass", (Target("user", HOME, "break-glass"),)),
        (AGENT, (Target("role", HOME, "Scout"), Target("role", HOME, "prod-web"))),
        (
            f"session/{HOME}/prod-web/ann%40example.com",
            (Target("session", HOME, "prod-web", "ann@example.com"),),
        ),
        (
            f"session/{HOME}/Gateway/ops%40example.com",
            (Target("session", HOME, "Gateway", "ops@example.com"),),
        ),
        (f"agent/{HOME}/eu-west-1/core", (Target("role", HOME, "Scout"),)),
    ],
)
def test_the_protected_are_refused(principal: str, targets: tuple[Target, ...]) -> None:
    patterns = ("user/*/break-glass", "role/*/prod-*", "session/*/ops%40*", "agent/*/core")
    with pytest.raises(ProtectedPrincipalError, match=r"is protected by .* in LEDGEROCK_PROTECTED"):
        Protection(patterns).refuse(principal, targets)


def test_others_are_not_refused() -> None:
    protection = Protection(("user/*/break-glass", "role/*/prod-*"), (f"role/{HOME}/Own",))
    for principal in (f"user/{HOME}/alice", f"role/{HOME}/Own2", f"role/{HOME}/nonprod-web"):
        protection.refuse(principal, targets_of(principal))


def test_ledgerock_does_not_act_on_its_own_roles() -> None:
    own = own_patterns(
        [f"arn:aws:iam::{HOME}:role/x/Worker", "arn:aws:iam::{account}:role/Enforce"]
    )
    assert own == (f"role/{HOME}/Worker", "role/*/Enforce")
    for target in (
        Target("role", HOME, "Worker"),
        Target("session", HOME, "Worker", "abc"),
        Target("role", "444455556666", "Enforce"),
    ):
        with pytest.raises(ProtectedPrincipalError, match="Ledgerock's own"):
            Protection((), own).refuse(str(target), [target])
    Protection((), own).refuse(
        "role/444455556666/Worker", [Target("role", "444455556666", "Worker")]
    )


def test_an_own_role_that_is_none_is_a_mistake_in_the_settings() -> None:
    with pytest.raises(ConfigurationError, match="LedgerockWorker is not the ARN of a role"):
        own_patterns(["LedgerockWorker"])


@pytest.mark.parametrize(
    "arn, principal",
    [
        (f"arn:aws:sts::{HOME}:assumed-role/Worker/i-0abc", f"role/{HOME}/Worker"),
        (f"arn:aws:iam::{HOME}:user/path/alice", f"user/{HOME}/alice"),
        (f"arn:aws-cn:iam::{HOME}:role/path/Worker", f"role/{HOME}/Worker"),
        (f"arn:aws:iam::{HOME}:root", ""),
        (f"arn:aws:sts::{HOME}:federated-user/ann", ""),
        ("", ""),
    ],
)
def test_who_acts_is_read_from_what_sts_says(arn: str, principal: str) -> None:
    assert caller_principal(arn) == principal


@pytest.mark.parametrize(
    "principal", ["user/%/x", "role//", "agent///", "\udcff", "session/a/b/c/d/e"]
)
def test_any_text_gives_a_target_or_an_error_of_ours(principal: str) -> None:
    with pytest.raises(LedgerockError):
        targets_of(principal)


# --- Lives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "principal, follows",
    [
        (AGENT, True),
        (f"session/{HOME}/Gateway/ann", True),
        (f"session/{HOME}/Gateway/ann/AROAEXAMPLE000000001", False),
        (f"role/{HOME}/Gateway", False),
        (f"user/{HOME}/alice", False),
    ],
)
def test_agents_and_sessions_go_on_when_their_role_is_made_again(
    principal: str, follows: bool
) -> None:
    assert follows_name(principal) == follows


def test_who_had_a_name_first_is_told_from_whoever_has_it_later() -> None:
    alice, bob = f"user/{HOME}/alice", f"user/{HOME}/bob"
    made = (
        Incarnations(alice, ((0, ""), (2, "AIDALATER"))),
        Incarnations(bob, ((1, "AIDAFIRST"), (2, "AIDALATER"))),
        Incarnations(f"user/{HOME}/carol", ((1, "AIDACAROL"),)),
    )
    with pytest.raises(ReplacedPrincipalError, match=alice):
        of_one_life(alice, targets_of(alice), made)
    [target] = of_one_life(bob, targets_of(bob), made)
    assert target == Target("user", HOME, "bob", unique_id="AIDAFIRST")
    for principal in (f"user/{HOME}/carol", f"{alice}/AIDAEXAMPLE000000001", f"user/{HOME}/dan"):
        found = targets_of(principal)
        assert of_one_life(principal, found, made) == found
        assert of_one_life(principal, found, ()) == found


def test_agentcore_all_roles_that_serve_others_too_are_named() -> None:
    roles = [f"arn:aws:iam::{HOME}:role/{name}" for name in ("Own", "One", "Two")]
    shared = dict.fromkeys(roles[1:], ("agent/x",))
    with pytest.raises(SharedRoleError, match="role/One also serves agent/x") as error:
        targets_of(AGENT, roles, shared)
    assert error.value.targets == (Target("role", HOME, "One"), Target("role", HOME, "Two"))
