"""Whatever the order in which facts come, and however often, the directory is the same."""

from hypothesis import given
from hypothesis import strategies as st

from tests.calls import ACCOUNT, NOON, facts
from tests.lifecycle import AGENT, OTHER_AGENT, OTHER_ROLE_ARN, ROLE_ARN, USER
from worker.core.attribution import attribute
from worker.core.directory import (
    Bounds,
    FactKind,
    LifecycleFact,
    Subject,
    decode_subject,
    encode_subject,
    merged,
)
from worker.core.directory_views import learned_of, together, view_of
from worker.core.registry import EMPTY_REGISTRY, Registry

TIGHT = Bounds(lives=2, roles=2, tag_changes=2, tags=3, own_tags=2, keys=3)
KINDS: list[FactKind] = [
    "created",
    "deleted",
    "tagged",
    "untagged",
    "key_created",
    "key_updated",
    "key_deleted",
    "policy_changed",
]
TAGS = ["ledgerock:team", "ledgerock:tier", "stage", "owner"]


@st.composite
def user_facts(draw: st.DrawFn) -> LifecycleFact:
    number = draw(st.integers(0, 40))
    kind = draw(st.sampled_from(KINDS))
    # What an event says is a function of the event.
    pick = number * 7 + KINDS.index(kind)
    tag = TAGS[pick % 4]
    return LifecycleFact(
        subject=USER,
        kind=kind,
        at_ms=NOON + 1_000 * (number % 12),
        event_id=f"e{number}-{kind}",
        unique_id=f"AIDA{number % 5}" if kind == "created" else "",
        tags=((tag, f"v{pick % 3}"), ("z", "1")) if kind in {"tagged", "created"} else (),
        tag_keys=(tag,) if kind == "untagged" else (),
        key_id=f"ACCA{pick % 4}" if kind.startswith("key") else "",
        service="bedrock.amazonaws.com" if kind == "key_created" else "",
        status="Inactive" if kind == "key_updated" else "",
        mentions_bedrock=kind == "policy_changed" and number % 2 == 0,
    )


@st.composite
def agent_facts(draw: st.DrawFn) -> LifecycleFact:
    number = draw(st.integers(0, 30))
    kinds: list[FactKind] = ["created", "updated", "deleted"]
    kind = kinds[0 if number == 0 else 2 if number > 27 else 1]
    role = (ROLE_ARN, OTHER_ROLE_ARN)[number % 3 == 0]
    return LifecycleFact(
        subject=AGENT,
        kind=kind,
        at_ms=NOON + 1_000 * (number // 2),
        event_id=f"e{number}",
        name="scout",
        role_arns=() if kind == "deleted" else (role,),
    )


FACTS = st.one_of(st.lists(user_facts(), max_size=30), st.lists(agent_facts(), max_size=30))
BOUNDS = st.sampled_from([Bounds(), TIGHT])


def folded(listed: list[LifecycleFact], bounds: Bounds) -> Subject:
    return merged(Subject(listed[0].subject if listed else USER), listed, bounds)


@given(FACTS, st.randoms(use_true_random=False), BOUNDS, st.integers(0, 30))
def test_any_order_repetition_and_split_of_facts_gives_one_directory(
    listed: list[LifecycleFact], random: object, bounds: Bounds, cut: int
) -> None:
    at_once = folded(listed, bounds)
    shuffled = [*listed, *listed[: len(listed) // 2]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert folded(shuffled, bounds) == at_once
    in_parts = Subject(at_once.id)
    for part in (shuffled[:cut], shuffled[cut:], shuffled[:3]):
        in_parts = merged(in_parts, part, bounds)
    assert in_parts == at_once
    one_by_one = Subject(at_once.id)
    for fact in shuffled:
        one_by_one = merged(one_by_one, [fact], bounds)
    assert one_by_one == at_once
    assert view_of(one_by_one) == view_of(at_once)
    assert decode_subject(at_once.id, encode_subject(at_once)) == at_once


@given(FACTS)
def test_what_is_kept_is_bounded_however_many_facts_come(listed: list[LifecycleFact]) -> None:
    kept = folded(listed, TIGHT).facts
    tags = [one for one in kept if one.kind in {"tagged", "untagged"}]
    own = [one for one in tags if (one.tags or ((one.tag_keys or ("",))[0],))[0]]
    assert len(own) <= TIGHT.tags + TIGHT.own_tags
    assert sum(one.kind.startswith("key") for one in kept) <= TIGHT.keys
    assert sum(one.kind in {"created", "deleted"} for one in kept) <= TIGHT.lives + TIGHT.roles + 2
    assert sum(one.kind == "policy_changed" for one in kept) <= 1


@given(
    st.lists(agent_facts(), max_size=12), st.lists(agent_facts(), max_size=12), st.integers(-2, 20)
)
def test_the_registry_says_the_same_in_any_order_and_splits_no_shared_role(
    mine: list[LifecycleFact], others: list[LifecycleFact], second: int
) -> None:
    other = [
        LifecycleFact(
            subject=OTHER_AGENT,
            kind=one.kind,
            at_ms=one.at_ms,
            event_id=f"x{one.event_id}",
            role_arns=one.role_arns,
        )
        for one in others
    ]

    def registry(backwards: bool) -> Registry:
        subjects = [merged(Subject(AGENT), mine), merged(Subject(OTHER_AGENT), other)]
        if backwards:
            subjects = [
                merged(Subject(AGENT), mine[::-1]),
                merged(Subject(OTHER_AGENT), other[::-1]),
            ]
            subjects.reverse()
        return EMPTY_REGISTRY.with_directory(together(learned_of(one, "", ()) for one in subjects))

    at_ms = NOON + 1_000 * second
    called = facts(
        user="", identity_arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/scout-role", issuer_arn=ROLE_ARN
    )
    found = attribute(called, at_ms, registry(False))
    assert attribute(called, at_ms, registry(True)) == found
    holders = {
        agent for agent, listed in ((AGENT, mine), (OTHER_AGENT, other)) if _has_role(listed, at_ms)
    }
    assert found.principal == (holders.pop() if len(holders) == 1 else f"role/{ACCOUNT}/scout-role")


def _has_role(listed: list[LifecycleFact], at_ms: int) -> bool:
    """Whether an agent has the role, worked out the slow way."""
    gone = [one.at_ms for one in listed if one.kind == "deleted"]
    if gone and min(gone) <= at_ms:
        return False
    said = [one for one in listed if one.role_arns and one.at_ms <= at_ms]
    order = {"created": 0, "updated": 1}
    said.sort(key=lambda one: (one.at_ms, order[one.kind], one.event_id))
    return bool(said) and said[-1].role_arns == (ROLE_ARN,)


def test_an_empty_subject_is_somebody_alive_of_whom_nothing_is_known() -> None:
    view = view_of(Subject(USER))
    assert view.last.principal == USER
    assert view.last.is_alive
    assert not view.keys
