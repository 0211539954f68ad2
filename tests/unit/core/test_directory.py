"""Lives, keys, tags and roles, as facts tell them."""

import pytest

from tests.calls import ACCOUNT, NOON, facts
from tests.lifecycle import (
    ADMIN,
    AGENT,
    KEY,
    OTHER_ROLE_ARN,
    OWN,
    OWN_ROLE,
    ROLE_ARN,
    USER,
    fact,
)
from worker.core.attribution import attribute
from worker.core.directory import LifecycleFact, Subject, is_own, merged, said
from worker.core.directory_views import View, learned_of, view_of
from worker.core.registry import (
    EMPTY_REGISTRY,
    Agent,
    Period,
    Pool,
    PrincipalFact,
    Registry,
    plain_id,
    unique_id,
)

BEDROCK = "bedrock.amazonaws.com"
TEAM = "ledgerock:team"


def view(*told: LifecycleFact) -> View:
    return view_of(merged(Subject(told[0].subject), told))


def second(number: int) -> int:
    return NOON + 1_000 * number


def registry(*told: LifecycleFact, base: Registry = EMPTY_REGISTRY) -> Registry:
    subject = merged(Subject(told[0].subject), told)
    keys = {key for pool in base.pools for key, _ in pool.tags}
    return base.with_directory(learned_of(subject, TEAM, keys))


def payer(registry_: Registry, at_ms: int, principal_id: str = "") -> str:
    return attribute(facts(principal_id=principal_id), at_ms, registry_).principal


# --- Lives ---------------------------------------------------------------------------------------


def test_a_key_of_a_user_made_anew_starts_clean() -> None:
    told = (
        fact("created", 0, unique_id="AIDAONE"),
        fact("deleted", 10),
        fact("created", 20, unique_id="AIDATWO"),
    )
    lives = view(*told).lives
    assert [life.principal for life in lives] == [USER, f"{USER}/AIDATWO"]
    assert [(life.from_ms, life.to_ms) for life in lives] == [
        (second(0), second(10)),
        (second(20), None),
    ]
    known = registry(*told)
    assert payer(known, second(5)) == USER
    assert payer(known, second(19)) == USER  # late word of an old call
    assert payer(known, second(20)) == f"{USER}/AIDATWO"
    # CloudTrail's unique id is believed before the time is.
    assert payer(known, second(25), "AIDAONE") == USER
    assert payer(known, second(5), "AIDATWO") == f"{USER}/AIDATWO"
    assert payer(known, second(25), "AIDAOTHER") == f"{USER}/AIDATWO"


def test_the_first_known_keeps_the_plain_id_though_it_is_known_by_its_deletion_alone() -> None:
    lives = view(fact("deleted", 10), fact("created", 20, unique_id="AIDATWO")).lives
    assert [(life.principal, life.unique_id) for life in lives] == [
        (USER, ""),
        (f"{USER}/AIDATWO", "AIDATWO"),
    ]
    assert view(fact("created", 20, unique_id="AIDATWO")).last.principal == USER


def test_deleted_and_made_anew_within_one_second() -> None:
    told = (
        fact("created", 0, unique_id="AIDAONE"),
        fact("created", 5, event_id="a", unique_id="AIDATWO"),
        fact("deleted", 5, event_id="b"),
    )
    assert view(*told).last.principal == f"{USER}/AIDATWO"
    assert view(*told).last.is_alive
    # Made and deleted within one second, and nobody before.
    gone = view(fact("created", 5, unique_id="AIDAONE"), fact("deleted", 5, event_id="b"))
    assert (gone.last.principal, gone.last.is_alive) == (USER, False)


def test_a_deletion_that_was_not_heard_of() -> None:
    told = (
        fact("created", 0, unique_id="AIDAONE"),
        fact("created", 9, unique_id="AIDATWO"),
        fact("created", 9, unique_id="AIDATWO"),
    )
    assert [life.to_ms for life in view(*told).lives] == [second(9), None]


def test_is_alive_tells_lives_apart() -> None:
    found = view(
        fact("created", 0, unique_id="AIDAONE"),
        fact("deleted", 10),
        fact("created", 20, unique_id="AIDATWO"),
    )
    assert not found.is_alive(USER)
    assert found.is_alive(f"{USER}/AIDATWO")
    assert found.is_alive(f"{USER}/AIDAUNHEARDOF")


def test_ids_are_told_from_names() -> None:
    assert plain_id(f"{USER}/AIDATWO") == USER
    assert unique_id(f"{USER}/AIDATWO") == "AIDATWO"
    for whole in (USER, AGENT, f"session/{ACCOUNT}/Role/eve", "app/acme/shop"):
        assert plain_id(whole) == whole
        assert unique_id(whole) == ""


# --- Keys, tags, policies ------------------------------------------------------------------------


def test_keys_live_and_die_with_their_users_lives() -> None:
    made = fact("key_created", 1, key_id=KEY, service=BEDROCK, actor=ADMIN, status="Active")
    [key] = view(made).keys
    assert (key.is_bedrock, key.is_live, key.is_active, key.made_by) == (True, True, True, ADMIN)
    [key] = view(made, fact("key_updated", 2, key_id=KEY, status="Inactive")).keys
    assert (key.is_live, key.is_active) == (True, False)
    [key] = view(made, fact("key_deleted", 3, key_id=KEY)).keys
    assert (key.is_live, key.is_active) == (False, False)
    # A reset changes no status; an id of which nobody heard that it is Bedrock's is no key.
    [key] = view(made, fact("key_updated", 4, key_id=KEY)).keys
    assert key.is_active
    assert view(fact("key_deleted", 3, key_id="ACCAELSEWHERE")).keys == ()
    assert view(made, fact("deleted", 5), fact("created", 6, unique_id="AIDATWO")).keys == ()


def test_tags_are_those_of_the_life_that_is() -> None:
    told = (
        fact("created", 0, unique_id="AIDAONE", tags=(("a", "1"), ("b", "1"))),
        fact("tagged", 1, tags=(("a", "2"),)),
        fact("untagged", 2, tag_keys=("b",)),
    )
    assert view(*told).tags == {"a": "2"}
    anew = (*told, fact("deleted", 3), fact("created", 4, unique_id="AIDATWO"))
    assert view(*anew).tags == {}


def test_a_policy_of_an_earlier_life_says_nothing() -> None:
    put = fact("policy_changed", 1, mentions_bedrock=True)
    assert view(put).mentions_bedrock
    anew = (put, fact("deleted", 3), fact("created", 4, unique_id="AIDATWO"))
    assert not view(*anew).mentions_bedrock


def test_teams_follow_the_tag_from_when_it_was_set() -> None:
    told = (
        fact("created", 0, unique_id="AIDAONE"),
        fact("tagged", 10, tags=((TEAM, "research"), ("stage", "prod"))),
        fact("tagged", 20, tags=((TEAM, "growth"),)),
        fact("untagged", 30, tag_keys=(TEAM,)),
    )
    known = registry(*told)
    teams = [known.team_of(USER, USER, second(at)) for at in (9, 10, 19, 20, 30)]
    assert teams == ["", "research", "research", "growth", ""]
    # The operator's word counts first.
    written = Registry(principals=(PrincipalFact(match="user/*", team="ops"),))
    assert registry(*told, base=written).team_of(USER, USER, second(15)) == "ops"


def test_pools_by_tag_and_names_that_were_used_again() -> None:
    pools = (
        Pool(name="production", tags=(("stage", "prod"),)),
        Pool(name="named", match=USER),
    )
    told = (
        fact("created", 0, unique_id="AIDAONE", tags=(("stage", "prod"),)),
        fact("deleted", 10),
        fact("created", 20, unique_id="AIDATWO"),
    )
    known = registry(*told, base=Registry(pools=pools))
    assert known.tags_of(USER, second(5)) == {"stage": "prod"}
    assert known.tags_of(f"{USER}/AIDATWO", second(25)) == {}
    # A pattern that names a user holds for whoever has the name.
    only_named = registry(*told, base=Registry(pools=pools[1:]))
    anew = f"{USER}/AIDATWO"
    assert only_named.pool_of(anew, anew, second(25)) == "named"


# --- Agents --------------------------------------------------------------------------------------


def test_roles_of_an_agent_hold_from_each_word_of_them_to_the_next() -> None:
    told = (
        fact("created", 0, AGENT, role_arns=(ROLE_ARN,), name="scout"),
        fact("updated", 10, AGENT, role_arns=(OTHER_ROLE_ARN,)),
        fact("updated", 15, AGENT),  # says nothing of the role
        fact("updated", 20, AGENT, role_arns=(ROLE_ARN,)),
        fact("deleted", 30, AGENT),
    )
    found = view(*told)
    assert (found.name, found.last.to_ms) == ("scout", second(30))
    assert found.roles == (
        ((ROLE_ARN,), Period(second(0), second(10))),
        ((OTHER_ROLE_ARN,), Period(second(10), second(20))),
        ((ROLE_ARN,), Period(second(20), second(30))),
    )
    update_alone = view(told[1])
    assert update_alone.is_registered
    assert update_alone.roles == (((OTHER_ROLE_ARN,), Period(second(10), None)),)


def test_the_operators_word_on_agents_and_roles_counts_first() -> None:
    learned = learned_of(
        merged(Subject(AGENT), [fact("created", 0, AGENT, role_arns=(ROLE_ARN,))]), TEAM, ()
    )
    mine = f"agent/{ACCOUNT}/us-east-1/mine"
    without_path = f"arn:aws:iam::{ACCOUNT}:role/scout-role"
    of_role = Registry(agents=(Agent(mine, "mine", (without_path,)),))
    found = of_role.with_directory(learned).agent_for_role(ACCOUNT, "scout-role", "", second(1))
    assert isinstance(found, Agent)
    assert found.agent_id == mine
    of_agent = Registry(agents=(Agent(AGENT, "scout", (OTHER_ROLE_ARN,)),))
    known = of_agent.with_directory(learned)
    assert known.agent_for_role(ACCOUNT, "scout-role", ROLE_ARN, second(1)) is None
    assert known.revision == of_agent.revision
    assert known.with_profiles([]).learned is learned


# --- Who acted -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "actor,own",
    [
        (OWN, True),
        (OWN_ROLE, True),
        (ADMIN, False),
        (OWN.replace(ACCOUNT, "999999999999"), False),
        (f"arn:aws:iam::{ACCOUNT}:user/LedgerockWorker", False),
        ("ledgerock", False),
        ("", False),
    ],
)
def test_own_roles_are_known_by_account_and_name(actor: str, own: bool) -> None:
    assert is_own(actor, [OWN_ROLE]) is own


def test_facts_are_told_in_a_line() -> None:
    assert said(fact("created", 0, AGENT, role_arns=(ROLE_ARN,))) == (
        f"{AGENT}: created, with role {ROLE_ARN}"
    )
    assert said(fact("key_updated", 0, key_id=KEY, status="Inactive")) == (
        f"{USER}: key {KEY} changed to Inactive"
    )
