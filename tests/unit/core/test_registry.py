from datetime import UTC, timezone
from datetime import timedelta as delta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from worker.core.registry import (
    EMPTY_REGISTRY,
    Agent,
    AmbiguousAgents,
    ApplicationProfile,
    Calendar,
    Period,
    Pool,
    PrincipalFact,
    Registry,
    RoleArn,
    TrustRule,
    matches_pattern,
    parse_role_arn,
)

A = "111122223333"
NOON_MS = 1_767_268_800_000  # 2026-01-01T12:00:00Z
PROFILE = f"arn:aws:bedrock:eu-west-1:{A}:application-inference-profile/abcd1234efgh"


def role(name: str, account: str = A) -> str:
    return f"arn:aws:iam::{account}:role/{name}"


def agent(agent_id: str, *names: str, period: Period | None = None) -> Agent:
    return Agent(agent_id, agent_id.title(), tuple(map(role, names)), period or Period())


def agent_id(found: object) -> object:
    return found.agent_id if isinstance(found, Agent) else found


def test_a_period_holds_from_its_beginning_up_to_but_not_at_its_end() -> None:
    period = Period(100, 200)
    assert [period.contains(at) for at in (99, 100, 199, 200)] == [False, True, True, False]
    assert Period(None, 200).contains(-(10**15))
    assert Period(100, None).contains(10**15)


@pytest.mark.parametrize(
    "arn,expected",
    [
        ("arn:aws:iam::111122223333:role/Bot", RoleArn("111122223333", "/", "Bot")),
        ("arn:aws-us-gov:iam::1:role/a/b/Bot", RoleArn("1", "/a/b/", "Bot")),
        ("arn:aws-cn:iam::1:role/a/Bot", RoleArn("1", "/a/", "Bot")),
        ("arn:aws:iam::1:role/", None),
        ("arn:aws:iam::1:role", None),
        ("arn:aws:iam::1:user/Bot", None),
        ("arn:aws:iam:us-east-1:1:role/Bot", None),
        ("arn:aws:sts::1:assumed-role/Bot/x", None),
        ("arn:aws:iam:::role/Bot", None),
        ("Bot", None),
    ],
)
def test_parts_of_a_roles_arn(arn: str, expected: RoleArn | None) -> None:
    assert parse_role_arn(arn) == expected


@pytest.mark.parametrize(
    "pattern,text,expected",
    [
        ("user/1/alice", "user/1/alice", True),
        ("user/1/alice", "user/1/alice2", False),
        ("*", "", True),
        ("*", "anything/at/all", True),
        ("user/1/*", "user/1/", True),
        ("user/1/*", "user/2/x", False),
        ("*/1/*", "session/1/Role/me", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*b*c", "a-c-b", False),
        ("a*b*c", "abbc", True),
        ("*ab*ab", "ab", False),
        ("a.c", "abc", False),
        ("[ab]", "a", False),
    ],
)
def test_a_star_stands_for_any_text_and_nothing_else_is_special(
    pattern: str, text: str, expected: bool
) -> None:
    assert matches_pattern(pattern, text) is expected


def test_a_pattern_of_many_stars_takes_no_longer() -> None:
    assert not matches_pattern("*a" * 200 + "b", "a" * 20_000)


def test_a_role_is_its_agents_exactly_while_the_mapping_holds() -> None:
    registry = Registry(
        agents=[
            agent("old", "x/Bot", period=Period(100, 200)),
            agent("new", "x/Bot", period=Period(200, 300)),
        ]
    )
    found = [agent_id(registry.agent_for_role(A, "Bot", "", at)) for at in (99, 100, 199, 200, 300)]
    assert found == [None, "old", "old", "new", None]
    assert registry.agent_for_role("444455556666", "Bot", "", 150) is None


def test_a_role_shared_by_agents_is_ambiguous_only_while_they_share_it() -> None:
    registry = Registry(
        agents=[
            agent("b", "Bot", period=Period(100, 300)),
            agent("a", "Bot", period=Period(200, None)),
        ]
    )
    assert agent_id(registry.agent_for_role(A, "Bot", "", 150)) == "b"
    assert registry.agent_for_role(A, "Bot", "", 200) == AmbiguousAgents(("a", "b"))
    assert agent_id(registry.agent_for_role(A, "Bot", "", 300)) == "a"


def test_one_agent_listed_twice_is_no_ambiguity() -> None:
    registry = Registry(agents=[agent("a", "Bot"), agent("a", "Bot", "Other")])
    assert agent_id(registry.agent_for_role(A, "Bot", "", 0)) == "a"
    assert agent_id(registry.agent_for_role(A, "Other", "", 0)) == "a"


def test_a_known_path_tells_roles_apart_that_a_log_cannot() -> None:
    registry = Registry(agents=[agent("a", "x/Bot"), agent("b", "y/Bot")])
    assert registry.agent_for_role(A, "Bot", "", 0) == AmbiguousAgents(("a", "b"))
    assert agent_id(registry.agent_for_role(A, "Bot", role("x/Bot"), 0)) == "a"
    assert agent_id(registry.agent_for_role(A, "Bot", role("y/Bot"), 0)) == "b"
    assert registry.agent_for_role(A, "Bot", role("z/Bot"), 0) is None


def test_a_mapping_without_a_path_goes_by_the_name_unless_the_very_arn_is_listed() -> None:
    registry = Registry(agents=[agent("any", "Bot"), agent("x", "x/Bot")])
    assert agent_id(registry.agent_for_role(A, "Bot", role("z/Bot"), 0)) == "any"
    assert agent_id(registry.agent_for_role(A, "Bot", role("x/Bot"), 0)) == "x"


def test_rules_exact_before_wildcard_longer_before_shorter_later_before_earlier() -> None:
    rules = [
        TrustRule(role("*"), "role"),
        TrustRule(role("Gate*"), "session"),
        TrustRule(role("Gate*"), "role", period=Period(500, None)),
        TrustRule(role("p/GateOne"), "metadata", "app", "acme", Period(100, 200)),
        TrustRule("arn:aws:iam::*:role/Everywhere", "session"),
    ]
    for listed in (rules, rules[::-1]):
        registry = Registry(rules=listed)

        def pay_by(
            name: str, at_ms: int, *, issuer: str = "", account: str = A, known: Registry = registry
        ) -> str | None:
            rule = known.rule_for(account, name, issuer, at_ms)
            return rule.pay_by if rule else None

        assert pay_by("GateOne", 150) == "metadata"
        assert pay_by("GateOne", 150, issuer=role("p/GateOne")) == "metadata"
        assert pay_by("GateOne", 150, issuer=role("evil/GateOne")) == "session"
        assert pay_by("GateOne", 200) == "session"
        assert pay_by("GateTwo", 499, issuer=role("some/path/GateTwo")) == "session"
        assert pay_by("GateTwo", 500) == "role"
        assert pay_by("Other", 500) == "role"
        assert pay_by("Other", 0, account="444455556666") is None
        assert pay_by("Everywhere", 0, account="444455556666") == "session"


def test_teams_come_from_the_principal_then_from_the_identity() -> None:
    facts = [
        PrincipalFact("*", team="everyone"),
        PrincipalFact(f"user/{A}/*", team="staff"),
        PrincipalFact(f"user/{A}/alice", team="research", period=Period(100, 200)),
        PrincipalFact(f"user/{A}/alice", team="platform", period=Period(200, None)),
        PrincipalFact(f"user/{A}/bob", tags=(("cost_center", "4711"),)),
    ]
    alice = f"user/{A}/alice"
    for listed in (facts, facts[::-1]):
        registry = Registry(principals=listed)
        assert [registry.team_of(alice, alice, at) for at in (99, 100, 199, 200)] == [
            "staff",
            "research",
            "research",
            "platform",
        ]
        assert registry.team_of(f"user/{A}/bob", "", 0) == "staff"
        assert registry.team_of("agent/1/us-east-1/X", alice, 150) == "everyone"
    only_identity = Registry(principals=[PrincipalFact(alice, team="research")])
    assert only_identity.team_of("agent/1/us-east-1/X", alice, 0) == "research"
    assert only_identity.team_of("agent/1/us-east-1/X", "role/1/X", 0) == ""


@pytest.mark.parametrize("teams", [("red", "blue", "green"), ("green", "red", "blue")])
def test_of_overlapping_facts_the_one_that_began_last_holds(teams: tuple[str, ...]) -> None:
    periods = (Period(None, None), Period(100, 300), Period(200, None))
    facts = [
        PrincipalFact("user/1/x", team=team, period=period)
        for team, period in zip(teams, periods, strict=True)
    ]
    for listed in (facts, facts[::-1]):
        registry = Registry(principals=listed)
        found = [registry.team_of("user/1/x", "", at) for at in (99, 100, 200, 300)]
        assert found == [teams[0], teams[1], teams[2], teams[2]]


def test_the_best_fact_on_a_principal_carries_its_tags() -> None:
    registry = Registry(
        principals=[
            PrincipalFact("user/*", tags=(("a", "wide"),)),
            PrincipalFact("user/1/*", tags=(("a", "narrow"),), period=Period(100, None)),
        ]
    )
    found = [registry.principal_facts("user/1/x", at) for at in (99, 100)]
    assert [fact and fact.tags for fact in found] == [(("a", "wide"),), (("a", "narrow"),)]
    assert registry.principal_facts("role/1/x", 100) is None


def test_a_profiles_model_outlives_it_and_its_application_does_not() -> None:
    model = "anthropic.claude-sonnet-4-5-20250929-v1:0"
    registry = Registry(
        applications=[
            ApplicationProfile(PROFILE, model, "shop", period=Period(100, 200)),
            ApplicationProfile(PROFILE, model, "desk", period=Period(200, 300)),
        ]
    )
    assert registry.profile_model(PROFILE) == model
    assert registry.profile_model(PROFILE + "x") is None
    found = [registry.application_of_profile(PROFILE, at) for at in (99, 100, 199, 200, 300)]
    assert found == ["", "shop", "shop", "desk", ""]


def test_days_follow_the_scopes_calendar_across_summer_time() -> None:
    registry = Registry(
        calendars=[
            Calendar("team/research", "Europe/Berlin", ZoneInfo("Europe/Berlin")),
            Calendar("everything", "Asia/Tokyo", ZoneInfo("Asia/Tokyo")),
            Calendar("account/*", "fixed", timezone(delta(hours=-5))),
        ]
    )
    assert registry.has_calendars
    # 2026-03-28T23:30:00Z is 00:30 on the 29th in Berlin (UTC+1);
    # 2026-03-29T22:30:00Z is 00:30 on the 30th (UTC+2); 2026-03-29 is day 20541.
    before_ms, after_ms = 1_774_740_600_000, 1_774_823_400_000
    assert before_ms // 86_400_000 == 20_540
    assert registry.local_day("team", "research", before_ms) == 20_541
    assert registry.local_day("team", "research", after_ms) == 20_542
    assert registry.local_day("team", "other", after_ms) == 20_541
    assert registry.local_day("everything", "", before_ms) == 20_541
    assert registry.local_day("account", A, 20_541 * 86_400_000) == 20_540
    assert registry.zone("model", "anthropic.claude-v2") is None


@pytest.mark.parametrize("at_ms", [-(10**18), 10**18, 253_402_300_799_999])
def test_days_of_instants_outside_every_calendar_are_utcs(at_ms: int) -> None:
    registry = Registry(calendars=[Calendar("*", "Asia/Tokyo", ZoneInfo("Asia/Tokyo"))])
    assert registry.local_day("team", "research", at_ms) == at_ms // 86_400_000


def test_boundaries_are_every_instant_at_which_a_fact_changes() -> None:
    registry = Registry(
        agents=[agent("a", "Bot", period=Period(5, 40))],
        principals=[PrincipalFact("user/1/x", period=Period(40, None))],
        applications=[ApplicationProfile(PROFILE, "a.b", period=Period(None, 10))],
        rules=[TrustRule(role("x"), "role", period=Period(20, 30))],
    )
    assert registry.boundaries_ms == (5, 10, 20, 30, 40)
    assert EMPTY_REGISTRY.boundaries_ms == ()


def test_the_revision_is_of_the_content_not_of_its_order() -> None:
    facts: dict[str, Any] = {
        "agents": [agent("a", "One", "Two"), agent("b", "Three")],
        "principals": [PrincipalFact("user/1/x", tags=(("a", "1"), ("b", "2")))],
        "rules": [TrustRule(role("x"), "role"), TrustRule(role("y"), "session")],
        "calendars": [Calendar("team/a", "UTC", UTC)],
    }
    first = Registry(**facts)
    shuffled: dict[str, Any] = {name: [*listed[::-1], listed[0]] for name, listed in facts.items()}
    shuffled["agents"] = [agent("b", "Three"), agent("a", "Two", "One")]
    assert Registry(**shuffled).revision == first.revision
    assert len(first.revision) == 12
    assert first.revision != EMPTY_REGISTRY.revision


@pytest.mark.parametrize(
    "changed",
    [
        {"agents": [agent("a", "One", period=Period(1, None))]},
        {"agents": [agent("b", "One")]},
        {"agents": [agent("a", "Two")]},
        {"agents": []},
        {"calendars": [Calendar("team/a", "Europe/Rome", ZoneInfo("Europe/Rome"))]},
    ],
)
def test_any_change_of_content_changes_the_revision(changed: dict[str, Any]) -> None:
    facts: dict[str, Any] = {
        "agents": [agent("a", "One")],
        "calendars": [Calendar("team/a", "UTC", UTC)],
    }
    assert Registry(**{**facts, **changed}).revision != Registry(**facts).revision


def test_nothing_is_known_of_anything_in_the_empty_registry() -> None:
    assert EMPTY_REGISTRY.agent_for_role(A, "Bot", "", NOON_MS) is None
    assert EMPTY_REGISTRY.rule_for(A, "Bot", "", NOON_MS) is None
    assert EMPTY_REGISTRY.team_of("user/1/x", "user/1/x", NOON_MS) == ""
    assert EMPTY_REGISTRY.profile_model(PROFILE) is None
    assert EMPTY_REGISTRY.application_of_profile(PROFILE, NOON_MS) == ""
    assert not EMPTY_REGISTRY.has_calendars
    assert EMPTY_REGISTRY.local_day("team", "x", NOON_MS) == 20_454


# --- Pools -----------------------------------------------------------------------------------

ALICE = f"user/{A}/alice"
TRIAL = (("stage", "trial"),)
FAST_TRIAL = (("speed", "fast"), ("stage", "trial"))


@pytest.mark.parametrize(
    "better,worse",
    [
        (Pool("z", ALICE), Pool("a", f"user/{A}/*", TRIAL)),
        (Pool("z", f"user/{A}/*"), Pool("a", "user/*", FAST_TRIAL)),
        (Pool("z", "*", TRIAL), Pool("a", "*", (), Period(50))),
        (Pool("z", "*", FAST_TRIAL), Pool("a", "*", TRIAL, Period(50))),
        (Pool("z", "*", (), Period(50)), Pool("a", "*", (), Period(40))),
        (Pool("z", "*", (), Period(40)), Pool("a", "*")),
        (Pool("a", "*"), Pool("b", "*")),
    ],
)
def test_the_best_pool_wins_whatever_their_order(better: Pool, worse: Pool) -> None:
    facts = [PrincipalFact("user/*", tags=FAST_TRIAL)]
    for pools in ([better, worse], [worse, better]):
        registry = Registry(principals=facts, pools=pools)
        assert registry.pool_of(ALICE, ALICE, 100) == better.name


def test_a_principal_is_in_a_pool_by_all_of_its_tags_of_that_time() -> None:
    registry = Registry(
        principals=[
            PrincipalFact("user/*", tags=(("speed", "fast"), ("stage", "live"))),
            PrincipalFact(ALICE, "research", TRIAL, Period(100, 200)),
        ],
        pools=[Pool("trials", "user/*", FAST_TRIAL), Pool("late", "*", (), Period(300))],
    )
    pools = [registry.pool_of(ALICE, ALICE, at) for at in (99, 100, 199, 200, 299, 300)]
    assert pools == ["", "trials", "trials", "", "", "late"]
    assert registry.tags_of(ALICE, 100) == {"speed": "fast", "stage": "trial"}
    assert registry.tags_of(ALICE, 200) == {"speed": "fast", "stage": "live"}
    assert registry.boundaries_ms == (100, 200, 300)


def test_an_agent_has_a_pool_of_its_own_or_that_of_its_role() -> None:
    bot, bot_role = f"agent/{A}/us-east-1/BOT", f"role/{A}/Bot"
    by_role = Pool("roles", "role/*")
    assert Registry(pools=[by_role]).pool_of(bot, bot_role, 0) == "roles"
    assert Registry(pools=[by_role, Pool("bots", "agent/*")]).pool_of(bot, bot_role, 0) == "bots"
    tagged = Pool("trials", "*", TRIAL)
    assert Registry(pools=[tagged]).pool_of(bot, bot_role, 0) == ""
    facts = [PrincipalFact(bot, tags=TRIAL)]
    assert Registry(principals=facts, pools=[tagged]).pool_of(bot, bot_role, 0) == "trials"


def test_pools_change_the_revision_and_stay_with_profiles() -> None:
    pool = Pool("trials", "*")
    one, again = Registry(pools=[pool, pool]), Registry(pools=[pool])
    assert one.revision == again.revision != EMPTY_REGISTRY.revision
    assert (
        one.with_profiles([ApplicationProfile(PROFILE, "m")]).pool_of(ALICE, ALICE, 0) == "trials"
    )
