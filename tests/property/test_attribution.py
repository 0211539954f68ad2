"""Promise 7: who pays comes from the signed identity, whatever text a caller sends."""

from typing import Any
from urllib.parse import unquote

from hypothesis import example, given, settings
from hypothesis import strategies as st

from worker.core.attribution import (
    SEGMENT_LENGTH_MAX,
    attribute,
    encode_segment,
    identity_of,
    key_of,
)
from worker.core.evidence import Facts
from worker.core.model_id import MODEL_TEXT_LENGTH_MAX, Billing, resolve_model
from worker.core.registry import (
    EMPTY_REGISTRY,
    Agent,
    ApplicationProfile,
    Period,
    Pool,
    PrincipalFact,
    Registry,
    TrustRule,
    matches_pattern,
)

A = "111122223333"
# Every code point, lone surrogates included: nothing guarantees that a decoder refused them.
any_text = st.text(st.characters(), max_size=300)
arn_pieces = st.sampled_from(
    [
        *["arn", "aws", "aws-cn", "iam", "sts", "bedrock", "us-east-1", A, "", "*", "\n", "%2F"],
        *["user", "role", "assumed-role", "federated-user", "root", "Gate", "Bot", "..", "us"],
        *["foundation-model", "inference-profile", "application-inference-profile", "global"],
        *["anthropic", "claude-v2", "v3.2", "AWSReservedSSO_X_0123456789abcdef", "amazonaws.com"],
    ]
)
arn_like = st.lists(st.tuples(arn_pieces, st.sampled_from(":/.")), max_size=14).map(
    lambda pieces: "".join(word + separator for word, separator in pieces)[:-1]
)
hostile = st.one_of(any_text, arn_like, st.builds(lambda a, b: f"{a}{b}", arn_like, any_text))
session_arn = hostile.map(lambda name: f"arn:aws:sts::{A}:assumed-role/Gate/{name}")

ROLES = [f"arn:aws:iam::{A}:role/{name}" for name in ("Gate", "x/Gate", "Bot", "y/Bot")]
times = st.integers(0, 6)
periods = st.one_of(
    st.just(Period()),
    st.builds(lambda start, length: Period(start, start + length), times, st.integers(1, 4)),
)
registries = st.fixed_dictionaries(
    {
        "agents": st.lists(
            st.builds(
                Agent,
                agent_id=st.sampled_from([f"agent/{A}/us-east-1/{n}" for n in "ABC"]),
                name=st.sampled_from(["one", "two"]),
                role_arns=st.lists(st.sampled_from(ROLES), min_size=1, max_size=2).map(tuple),
                period=periods,
            ),
            max_size=4,
        ),
        "principals": st.lists(
            st.builds(
                PrincipalFact,
                match=st.sampled_from(["*", "role/*", f"role/{A}/Gate", "agent/*", "app/*"]),
                team=st.sampled_from(["", "red", "blue"]),
                tags=st.sampled_from([(), (("stage", "trial"),), (("stage", "live"),)]),
                period=periods,
            ),
            max_size=4,
        ),
        "pools": st.lists(
            st.builds(
                Pool,
                name=st.sampled_from(["one", "two"]),
                match=st.sampled_from(["*", "role/*", f"role/{A}/Gate", "agent/*"]),
                tags=st.sampled_from([(), (("stage", "trial"),)]),
                period=periods,
            ),
            max_size=4,
        ),
        "rules": st.lists(
            st.builds(
                TrustRule,
                role_arn=st.sampled_from([*ROLES, f"arn:aws:iam::{A}:role/*"]),
                pay_by=st.sampled_from(["role", "session", "metadata"]),
                metadata_key=st.just("application"),
                organisation=st.sampled_from(["acme", "other"]),
                period=periods,
            ),
            max_size=4,
        ),
        "applications": st.lists(
            st.builds(
                ApplicationProfile,
                arn=st.just(f"arn:aws:bedrock:us-east-1:{A}:application-inference-profile/a"),
                model=st.just("anthropic.claude-v2"),
                application=st.sampled_from(["shop", "desk"]),
                period=periods,
            ),
            max_size=3,
        ),
    }
)
facts_of_roles = st.builds(
    Facts,
    account=st.just(A),
    identity_arn=st.sampled_from(
        [f"arn:aws:sts::{A}:assumed-role/{name}/me" for name in ("Gate", "Bot")] + ROLES
    ),
    issuer_arn=st.sampled_from(["", *ROLES]),
    model_id=st.just(f"arn:aws:bedrock:us-east-1:{A}:application-inference-profile/a"),
    metadata=st.sampled_from([(), (("application", "web"),)]),
)


@given(
    facts=st.builds(
        Facts,
        account=hostile,
        model_id=hostile,
        identity_arn=st.one_of(hostile, session_arn),
        metadata=st.lists(st.tuples(st.just("application"), hostile), max_size=1).map(tuple),
        identity_type=st.one_of(
            st.sampled_from(["AWSService", "SAMLUser", "Root", "IdentityCenterUser"]), hostile
        ),
        principal_id=hostile,
        issuer_arn=hostile,
        on_behalf_of=hostile,
        invoked_by=hostile,
    ),
    facts_known=registries,
    at_ms=st.integers(-(10**18), 10**18),
)
def test_no_text_breaks_attribution_and_keys_stay_well_formed(
    facts: Facts, facts_known: dict[str, Any], at_ms: int
) -> None:
    found = attribute(facts, at_ms, Registry(**facts_known))
    for key in (found.principal, found.identity):
        assert key.isascii()
        assert key.isprintable()
        assert " " not in key
        segments = key.split("/")
        assert len(segments) == {
            "session": 4,
            "agent": 4,
            "service": 2,
            "root": 2,
            "unknown": 2,
        }.get(segments[0], 3)
        assert all(len(segment) <= SEGMENT_LENGTH_MAX for segment in segments)
    assert found.reason.isprintable()
    assert len(found.reason) < 2_000


@given(left=hostile, right=hostile)
@example(left="~", right="%7E")
@example(left="\ud800", right="?")
@example(left="x" * 1_000, right=encode_segment("x" * 1_000))
def test_encoding_is_injective_and_holds_no_separator(left: str, right: str) -> None:
    encoded = encode_segment(left)
    assert "/" not in encoded
    assert len(encoded) <= SEGMENT_LENGTH_MAX
    assert (encoded == encode_segment(right)) == (left == right)
    if "~" not in encoded:
        assert unquote(encoded, errors="surrogatepass") == left


@given(left=st.tuples(hostile, hostile), right=st.tuples(hostile, hostile))
@example(left=("a/b", "c"), right=("a", "b/c"))
def test_keys_of_different_segments_are_different(
    left: tuple[str, str], right: tuple[str, str]
) -> None:
    assert (key_of("session", *left) == key_of("session", *right)) == (left == right)


@given(
    metadata=st.lists(st.tuples(hostile, hostile), max_size=3).map(tuple),
    name=hostile,
    other=hostile,
)
def test_caller_supplied_text_moves_nothing_without_a_rule(
    metadata: tuple[tuple[str, str], ...], name: str, other: str
) -> None:
    def paid_by(session: str, **more: Any) -> str:
        arn = f"arn:aws:sts::{A}:assumed-role/Gate/{session}"
        return attribute(Facts(account=A, identity_arn=arn, **more), 0, EMPTY_REGISTRY).principal

    assert paid_by(name, metadata=metadata, metadata_rank=1) == paid_by(other) == f"role/{A}/Gate"


@given(known=registries, facts=facts_of_roles, at_ms=times, data=st.data())
@settings(max_examples=5 * settings().max_examples)
def test_the_order_of_the_registry_changes_nothing(
    known: dict[str, Any], facts: Facts, at_ms: int, data: st.DataObject
) -> None:
    shuffled: dict[str, Any] = {
        name: data.draw(st.permutations(listed)) for name, listed in known.items()
    }
    one, other = Registry(**known), Registry(**shuffled)
    assert one.revision == other.revision
    assert one.boundaries_ms == other.boundaries_ms
    assert attribute(facts, at_ms, one) == attribute(facts, at_ms, other)


@given(known=registries, facts=facts_of_roles, at_ms=st.integers(0, 12))
@settings(max_examples=5 * settings().max_examples)
def test_attribution_changes_at_boundaries_only(
    known: dict[str, Any], facts: Facts, at_ms: int
) -> None:
    registry = Registry(**known)
    if at_ms + 1 not in registry.boundaries_ms:
        assert attribute(facts, at_ms, registry) == attribute(facts, at_ms + 1, registry)


@given(known=registries, facts=facts_of_roles, at_ms=times)
@settings(max_examples=5 * settings().max_examples)
def test_an_agent_pays_only_for_a_role_that_is_its_alone(
    known: dict[str, Any], facts: Facts, at_ms: int
) -> None:
    found = attribute(facts, at_ms, Registry(**known))
    if found.agent:
        name = found.identity.split("/")[2]
        known_arn = identity_of(facts).role_arn
        mapped = {
            (arn, agent.agent_id)
            for agent in known["agents"]
            for arn in agent.role_arns
            if agent.period.contains(at_ms) and arn.endswith(f"/{name}")
        }
        very = {(arn, agent_id) for arn, agent_id in mapped if arn == known_arn}
        pathless = {(arn, agent_id) for arn, agent_id in mapped if arn.count("/") == 1}
        owners = (very or pathless) if known_arn else mapped
        assert {agent_id for _arn, agent_id in owners} == {found.agent}
        assert found.principal == found.agent


@given(model_id=hostile, region=hostile, source=st.one_of(st.none(), hostile))
def test_no_text_breaks_model_ids(model_id: str, region: str, source: str | None) -> None:
    found = resolve_model(model_id, region, lambda _arn: source)
    assert found.model.isascii()
    assert found.model.isprintable()
    assert 0 < len(found.model) <= MODEL_TEXT_LENGTH_MAX
    assert (found.billing is Billing.TOKEN) == (not found.reason)
    assert found.reason.isprintable()


@given(
    st.lists(st.sampled_from(["a", "b", "*"]), max_size=6).map("".join),
    st.text("ab", max_size=8),
)
def test_patterns_agree_with_their_definition(pattern: str, text: str) -> None:
    def matches(rest: str, left: str) -> bool:
        if not rest:
            return not left
        if rest[0] == "*":
            return any(matches(rest[1:], left[cut:]) for cut in range(len(left) + 1))
        return left[:1] == rest[0] and matches(rest[1:], left[1:])

    assert matches_pattern(pattern, text) == matches(pattern, text)
