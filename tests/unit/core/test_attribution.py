from typing import Any

import pytest

from worker.core.attribution import (
    SEGMENT_LENGTH_MAX,
    Attribution,
    attribute,
    encode_segment,
    identity_of,
    key_of,
)
from worker.core.evidence import Facts
from worker.core.registry import (
    EMPTY_REGISTRY,
    Agent,
    ApplicationProfile,
    Period,
    PrincipalFact,
    Registry,
    TrustRule,
)

A = "111122223333"
B = "444455556666"
SSO = "AWSReservedSSO_DataScience_0123456789abcdef"
BOT = f"agent/{A}/us-east-1/SUPPORTBOT"
GATE = f"arn:aws:iam::{A}:role/Gate"
GATE_SESSION = f"arn:aws:sts::{A}:assumed-role/Gate/alice"
PROFILE = f"arn:aws:bedrock:us-east-1:{A}:application-inference-profile/abcd1234efgh"
METADATA_RULE = TrustRule(GATE, "metadata", "application", "acme")


def call(identity_arn: str = "", **more: Any) -> Facts:
    return Facts(account=A, identity_arn=identity_arn, **more)


def who(facts: Facts, registry: Registry = EMPTY_REGISTRY, at_ms: int = 0) -> Attribution:
    return attribute(facts, at_ms, registry)


@pytest.mark.parametrize("partition", ["aws", "aws-us-gov", "aws-cn", "aws-iso", "aws-iso-e"])
@pytest.mark.parametrize(
    "tail,identity",
    [
        (f"iam::{A}:user/alice", f"user/{A}/alice"),
        (f"iam::{A}:user/division/team/alice", f"user/{A}/alice"),
        (f"iam::{A}:user/a.b_c-d@e+f=g,h", f"user/{A}/a.b_c-d%40e%2Bf%3Dg%2Ch"),
        (f"iam::{A}:root", f"root/{A}"),
        (f"iam::{A}:role/Gate", f"role/{A}/Gate"),
        (f"iam::{A}:role/some/path/Gate", f"role/{A}/Gate"),
        (f"sts::{A}:assumed-role/Gate/alice", f"role/{A}/Gate"),
        (f"sts::{A}:assumed-role/Gate", f"role/{A}/Gate"),
        (f"sts::{A}:federated-user/bob", f"federated/{A}/bob"),
        (f"sts::{A}:assumed-role/{SSO}/ana@example.com", f"session/{A}/{SSO}/ana%40example.com"),
        (f"iam::{A}:role/aws-reserved/sso.amazonaws.com/{SSO}", f"role/{A}/{SSO}"),
        (f"sts::{B}:assumed-role/Gate/alice", f"role/{B}/Gate"),
        (f"iam::{B}:user/alice", f"user/{B}/alice"),
    ],
)
def test_identities_by_arn_in_every_partition(partition: str, tail: str, identity: str) -> None:
    found = who(call(f"arn:{partition}:{tail}"))
    assert found == Attribution(principal=identity, identity=identity)


@pytest.mark.parametrize(
    "facts,identity",
    [
        (call(identity_type="AWSService", invoked_by="bedrock.amazonaws.com"),
         "service/bedrock.amazonaws.com"),
        (call("bedrock.amazonaws.com"), "service/bedrock.amazonaws.com"),
        (call(identity_type="AWSService", invoked_by="AWS Internal"), "service/AWS%20Internal"),
        (call(issuer_arn=f"arn:aws:iam::{B}:role/path/Gate", identity_type="AssumedRole"),
         f"role/{B}/Gate"),
        (call("arn:aws:sts::", issuer_arn=GATE), f"role/{A}/Gate"),
        (call(issuer_arn=f"arn:aws:iam::{A}:user/alice", identity_type="FederatedUser"),
         f"user/{A}/alice"),
        (call(identity_type="Root"), f"root/{A}"),
        (call(identity_type="IdentityCenterUser", on_behalf_of="a1b2-c3"),
         f"federated/{A}/IdentityCenterUser%3Aa1b2-c3"),
        (call(identity_type="SAMLUser", principal_id="xyz"), f"federated/{A}/SAMLUser%3Axyz"),
        (call(identity_type="WebIdentityUser", principal_id="accounts.example.com"),
         f"federated/{A}/WebIdentityUser%3Aaccounts.example.com"),
        (call(f"arn:aws:sts::{A}:assumed-role/AWSServiceRoleForX/s", invoked_by="x.amazonaws.com",
              issuer_arn=f"arn:aws:iam::{A}:role/aws-service-role/x.amazonaws.com/"
              "AWSServiceRoleForX"),
         "service/x.amazonaws.com"),
        (call(f"arn:aws:sts::{A}:assumed-role/AWSServiceRoleForX/s",
              issuer_arn=f"arn:aws:iam::{A}:role/aws-service-role/x.amazonaws.com/"
              "AWSServiceRoleForX"),
         "service/x.amazonaws.com"),
        # A service in the middle of somebody's call is not the caller.
        (call(identity_type="IdentityCenterUser", on_behalf_of="a1b2-c3",
              invoked_by="bedrock.amazonaws.com"),
         f"federated/{A}/IdentityCenterUser%3Aa1b2-c3"),
        (call(identity_type="WebIdentityUser", principal_id="cognito-identity.amazonaws.com",
              invoked_by="bedrock.amazonaws.com"),
         f"federated/{A}/WebIdentityUser%3Acognito-identity.amazonaws.com"),
        # With nothing else to go by, it is.
        (call(invoked_by="bedrock.amazonaws.com"), "service/bedrock.amazonaws.com"),
        (call(identity_type="Unknown", principal_id="bedrock.amazonaws.com"),
         "service/bedrock.amazonaws.com"),
        # A service that acts with a role's credentials: the signed role pays.
        (call(GATE_SESSION, invoked_by="bedrock.amazonaws.com"), f"role/{A}/Gate"),
        # Anybody may name a role like that; only the reserved path proves it.
        (call(f"arn:aws:sts::{A}:assumed-role/AWSServiceRoleForX/s"),
         f"role/{A}/AWSServiceRoleForX"),
    ],
)  # fmt: skip
def test_identities_that_cloudtrail_completes(facts: Facts, identity: str) -> None:
    assert who(facts) == Attribution(principal=identity, identity=identity)


@pytest.mark.parametrize(
    "arn",
    [
        "arn:",
        "not an arn",
        "arn:aws:iam::123:user/alice",
        f"arn:aws:iam::{A}4:user/alice",
        f"arn:aws:iam:us-east-1:{A}:user/alice",
        f"arn:aws:iam::{A}:user/",
        f"arn:aws:iam::{A}:user",
        f"arn:aws:iam::{A}:group/admins",
        f"arn:aws:iam::{A}:root/x",
        f"arn:aws:sts::{A}:assumed-role/",
        f"arn:aws:sts::{A}:assumed-role//session",
        f"arn:aws:sts::{A}:federated-user/",
        f"arn:aws:sts::{A}:user/alice",
        f"arn:gcp:iam::{A}:user/alice",
        f"arn:aws:s3::{A}:user/alice",
        "arn:aws:iam::\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661:root",
        f"arn:aws\n:iam::{A}:user/alice",
        "x" * 100_000,
        "\ud800",
    ],
)
def test_a_malformed_arn_is_unknown_and_says_why(arn: str) -> None:
    found = who(call(arn))
    assert (found.principal, found.identity) == (f"unknown/{A}", f"unknown/{A}")
    assert "not understood" in found.reason
    assert len(found.reason) < 300
    assert found.reason.isascii()
    assert found.reason.isprintable()


def test_nothing_known_of_the_caller_is_unknown_with_the_type_named() -> None:
    assert who(call()).reason == "the record names no caller"
    found = who(
        call(
            identity_type="IAMUser",
            principal_id="AIDAEXAMPLE",
            invoked_by="athena.amazonaws.com",
        )
    )
    assert (found.identity, found.reason) == (
        f"unknown/{A}",
        "the record names no caller of type IAMUser",
    )


@pytest.mark.parametrize("session", ["alice", "a/b", "..", "%2F", "\u00fc", "a\nb", "", "x" * 999])
def test_a_session_name_decides_nothing_by_itself(session: str) -> None:
    found = who(call(f"arn:aws:sts::{A}:assumed-role/Gate/{session}"))
    assert found == Attribution(principal=f"role/{A}/Gate", identity=f"role/{A}/Gate")


@pytest.mark.parametrize(
    "session,segment",
    [
        ("alice@example.com", "alice%40example.com"),
        ("a/b", "a%2Fb"),
        ("../root", "..%2Froot"),
        ("100%", "100%25"),
        ("a%2Fb", "a%252Fb"),
        ("\u00fc", "%C3%BC"),
        ("a\nb", "a%0Ab"),
        ("a:b", "a%3Ab"),
        ("~", "%7E"),
    ],
)
def test_a_trusted_session_name_is_one_encoded_segment(session: str, segment: str) -> None:
    registry = Registry(rules=[TrustRule(GATE, "session")])
    found = who(call(f"arn:aws:sts::{A}:assumed-role/Gate/{session}"), registry)
    assert found.identity == found.principal == f"session/{A}/Gate/{segment}"


def test_a_role_that_only_looks_like_identity_centers_is_a_role() -> None:
    arn = f"arn:aws:sts::{A}:assumed-role/{SSO}/ceo@example.com"
    genuine = f"arn:aws:iam::{A}:role/aws-reserved/sso.amazonaws.com/eu-west-1/{SSO}"
    forged = f"arn:aws:iam::{A}:role/{SSO}"
    assert who(call(arn, issuer_arn=genuine)).identity == f"session/{A}/{SSO}/ceo%40example.com"
    found = who(call(arn, issuer_arn=forged))
    assert found.identity == f"role/{A}/{SSO}"
    assert "named like one of Identity Center" in found.reason
    for name in ("AWSReservedSSO_X", "AWSReservedSSO_X_0123456789ABCDEF", f"x{SSO}", f"{SSO}0"):
        assert who(call(f"arn:aws:sts::{A}:assumed-role/{name}/ceo")).identity == f"role/{A}/{name}"


def test_an_issuer_that_is_another_role_is_not_believed() -> None:
    registry = Registry(agents=[Agent(BOT, "bot", (f"arn:aws:iam::{A}:role/Bot",))])
    for other in (f"arn:aws:iam::{A}:role/Bot", f"arn:aws:iam::{B}:role/Gate", "garbage"):
        found = who(call(GATE_SESSION, issuer_arn=other), registry)
        assert found.principal == f"role/{A}/Gate"
        assert "is not the caller's role" in found.reason


def test_an_agents_calls_are_the_agents_while_the_role_is_its_own() -> None:
    registry = Registry(
        agents=[Agent(BOT, "bot", (f"arn:aws:iam::{A}:role/agents/Gate",), Period(100, 200))],
        principals=[PrincipalFact(BOT, team="support")],
    )
    role = Attribution(principal=f"role/{A}/Gate", identity=f"role/{A}/Gate")
    mapped = Attribution(principal=BOT, identity=f"role/{A}/Gate", agent=BOT, team="support")
    found = [who(call(GATE_SESSION), registry, at) for at in (99, 100, 199, 200)]
    assert found == [role, mapped, mapped, role]


def test_a_shared_role_pays_for_itself_and_says_so() -> None:
    agents = [Agent(f"{BOT}{n}", f"bot {n}", (GATE,)) for n in range(7)]
    found = who(call(GATE_SESSION), Registry(agents=agents))
    assert (found.principal, found.agent) == (f"role/{A}/Gate", "")
    assert found.reason == (
        f"role Gate is shared by agents {BOT}0, {BOT}1, {BOT}2, {BOT}3, {BOT}4 and 2 more"
    )
    path_known = Registry(
        agents=[
            Agent(f"{BOT}1", "one", (f"arn:aws:iam::{A}:role/x/Gate",)),
            Agent(f"{BOT}2", "two", (f"arn:aws:iam::{A}:role/y/Gate",)),
        ]
    )
    assert "shared" in who(call(GATE_SESSION), path_known).reason
    known = call(GATE_SESSION, issuer_arn=f"arn:aws:iam::{A}:role/y/Gate")
    assert who(known, path_known).agent == f"{BOT}2"


def test_a_user_is_never_an_agent() -> None:
    registry = Registry(
        agents=[Agent(BOT, "bot", (GATE,))],
        rules=[TrustRule(f"arn:aws:iam::{A}:role/*", "metadata", "application", "acme")],
    )
    facts = call(f"arn:aws:iam::{A}:user/Gate", metadata=(("application", "shop"),))
    assert who(facts, registry).principal == f"user/{A}/Gate"


def test_metadata_without_a_rule_counts_for_nothing() -> None:
    metadata = tuple((key, "ceo") for key in ("application", "principal", "team", "userId"))
    wrong_role = Registry(
        rules=[TrustRule(f"arn:aws:iam::{A}:role/Other", "metadata", "application", "acme")]
    )
    for registry in (EMPTY_REGISTRY, wrong_role):
        assert who(call(GATE_SESSION, metadata=metadata), registry) == who(call(GATE_SESSION))


@pytest.mark.parametrize(
    "value,principal",
    [
        ("shop", "app/acme/shop"),
        ("shop/../desk", "app/acme/shop%2F..%2Fdesk"),
        ("../../user/1/x", "app/acme/..%2F..%2Fuser%2F1%2Fx"),
        (" shop", "app/acme/%20shop"),
    ],
)
def test_a_rule_lets_metadata_name_the_application(value: str, principal: str) -> None:
    found = who(call(GATE_SESSION, metadata=(("application", value),)),
                Registry(rules=[METADATA_RULE]))  # fmt: skip
    assert found == Attribution(
        principal=principal, identity=f"role/{A}/Gate", application=principal
    )


@pytest.mark.parametrize("metadata", [(), (("application", ""),), (("application", " "),),
                                      (("Application", "shop"),)])  # fmt: skip
def test_a_missing_metadata_value_leaves_the_call_with_the_role(
    metadata: tuple[tuple[str, str], ...],
) -> None:
    found = who(call(GATE_SESSION, metadata=metadata), Registry(rules=[METADATA_RULE]))
    assert (found.principal, found.application) == (f"role/{A}/Gate", "")
    assert found.reason == (
        "role Gate pays by the metadata key application, which the call does not carry"
    )


def test_an_exact_rule_before_the_agent_and_a_wildcard_rule_after_it() -> None:
    agents = [Agent(BOT, "bot", (GATE,))]
    wide = TrustRule(f"arn:aws:iam::{A}:role/*", "metadata", "application", "acme")
    named = call(GATE_SESSION, metadata=(("application", "shop"),))
    exact = Registry(agents=agents, rules=[METADATA_RULE])
    assert who(named, exact).principal == "app/acme/shop"
    assert who(named, exact).agent == ""
    assert who(call(GATE_SESSION), exact).principal == BOT
    assert "does not carry" in who(call(GATE_SESSION), exact).reason
    assert who(named, Registry(agents=agents, rules=[wide])).principal == BOT
    assert who(named, Registry(rules=[wide])).principal == "app/acme/shop"
    # An exact rule `role` takes the role out of a wildcard rule, and leaves its agent alone.
    exempt = TrustRule(GATE, "role")
    assert who(named, Registry(rules=[wide, exempt])).principal == f"role/{A}/Gate"
    assert who(named, Registry(agents=agents, rules=[wide, exempt])).principal == BOT


def test_session_rules() -> None:
    wide = TrustRule(f"arn:aws:iam::{A}:role/G*", "session")
    found = who(call(GATE_SESSION), Registry(rules=[wide], agents=[Agent(BOT, "bot", (GATE,))]))
    assert (found.principal, found.identity) == (BOT, f"session/{A}/Gate/alice")
    without = who(call(GATE), Registry(rules=[wide]))
    assert without.principal == f"role/{A}/Gate"
    assert without.reason == "role Gate pays by session, but has no session name"


def test_a_role_rule_makes_an_identity_center_role_pay_and_keeps_the_person() -> None:
    registry = Registry(rules=[TrustRule(f"arn:aws:iam::{A}:role/AWSReservedSSO_*", "role")])
    found = who(call(f"arn:aws:sts::{A}:assumed-role/{SSO}/alice"), registry)
    assert (found.principal, found.identity) == (f"role/{A}/{SSO}", f"session/{A}/{SSO}/alice")


def test_rules_hold_from_their_beginning_up_to_their_end() -> None:
    rule = TrustRule(GATE, "session", period=Period(100, 200))
    found = [
        who(call(GATE_SESSION), Registry(rules=[rule]), at).principal for at in (99, 100, 199, 200)
    ]
    session = f"session/{A}/Gate/alice"
    assert found == [f"role/{A}/Gate", session, session, f"role/{A}/Gate"]


def test_a_rule_for_one_account_is_none_for_another() -> None:
    registry = Registry(rules=[TrustRule(GATE, "session")])
    found = who(call(f"arn:aws:sts::{B}:assumed-role/Gate/alice"), registry)
    assert found.principal == f"role/{B}/Gate"


def test_an_application_profile_names_the_application_but_does_not_pay() -> None:
    profile = ApplicationProfile(PROFILE, "anthropic.claude-v2", "shop", period=Period(100, 200))
    registry = Registry(applications=[profile])
    found = [who(call(GATE_SESSION, model_id=PROFILE), registry, at) for at in (99, 100, 200)]
    assert [one.application for one in found] == ["", "shop", ""]
    assert {one.principal for one in found} == {f"role/{A}/Gate"}
    paid = Registry(applications=[profile], rules=[METADATA_RULE])
    facts = call(GATE_SESSION, model_id=PROFILE, metadata=(("application", "desk"),))
    assert who(facts, paid, 150).application == "app/acme/desk"


def test_the_team_is_the_principals_else_the_identitys() -> None:
    registry = Registry(
        rules=[METADATA_RULE],
        principals=[
            PrincipalFact("app/acme/shop", team="sales"),
            PrincipalFact(f"role/{A}/*", team="platform"),
        ],
    )
    shop = call(GATE_SESSION, metadata=(("application", "shop"),))
    desk = call(GATE_SESSION, metadata=(("application", "desk"),))
    assert [who(facts, registry).team for facts in (shop, desk)] == ["sales", "platform"]


def test_segments_are_bounded_and_stay_different() -> None:
    longest = "x" * SEGMENT_LENGTH_MAX
    assert encode_segment(longest) == longest
    one, other = encode_segment(longest + "1"), encode_segment(longest + "2")
    assert one != other
    assert max(len(one), len(other)) <= SEGMENT_LENGTH_MAX
    assert encode_segment(one) != one
    # The cut never falls inside a %XX.
    for lead in range(3):
        kept = encode_segment("a" * lead + "\u00e9" * 500).partition("~")[0]
        assert kept.removeprefix("a" * lead).replace("%C3", "").replace("%A9", "") == ""


def test_broken_unicode_is_kept_apart() -> None:
    assert encode_segment("\ud800") == "%ED%A0%80"
    assert len({encode_segment(text) for text in ("\ud800", "\ud801", "?", "\ufffd")}) == 4


def test_keys_join_encoded_segments() -> None:
    assert key_of("app", "acme corp", "a/b") == "app/acme%20corp/a%2Fb"


def test_the_identity_tells_what_attribution_and_suspension_need() -> None:
    found = identity_of(call(GATE_SESSION, issuer_arn=f"arn:aws:iam::{A}:role/p/Gate"))
    assert (found.account, found.role, found.session) == (A, "Gate", "alice")
    assert found.role_arn == f"arn:aws:iam::{A}:role/p/Gate"
    assert identity_of(call(GATE_SESSION)).role_arn == ""
