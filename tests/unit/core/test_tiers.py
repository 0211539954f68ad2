"""Tiers: what they may say, who gets which, and what budgets are called."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import ACCOUNT
from tests.lifecycle import AGENT, KEY, USER, fact
from worker.adapters.tiers_file import parse_tiers
from worker.core.attribution import key_of
from worker.core.budget_terms import Scope, check_budget
from worker.core.directory import LifecycleFact, Subject, merged
from worker.core.directory_views import View, view_of
from worker.core.errors import ConfigurationError
from worker.core.tiers import (
    NO_TIERS,
    ON_DEFAULT,
    TierBudget,
    budget_name,
    budgets_of,
    cap_budgets,
    tier_of,
)

USD = 10**12
FULL = """
on = ["credential", "first_use"]

[tags]
tier = "cost:tier"
team = "cost:team"

[defaults]
user = "standard"
agent = "small"
unprovisioned_key = "small"
session = "none"

[tiers.standard.budgets.monthly]
limit = "49.500000000001"
thresholds = [50, 100]
grace_seconds = 900
forecast = true

[tiers.standard.budgets.tokens]
limit = 2_000_000
unit = "tokens"
period = "weekly"

[tiers.standard.budgets.window]
limit = 5
period = "rolling-7-day"

[tiers.small.budgets.fortnight]
limit = 10
period = "14-day"
anchor = 2026-01-05
action = "notify"

[tiers.empty]

[cap.month]
limit = 10_000
"""


def test_a_file_says_everything() -> None:
    tiers = parse_tiers(FULL.encode(), "t.toml")
    assert tiers.on == {"credential", "first_use"}
    assert (tiers.tier_tag, tiers.team_tag) == ("cost:tier", "cost:team")
    assert tiers.defaults == {
        "user": "standard",
        "agent": "small",
        "unprovisioned_key": "small",
    }
    assert tiers.tiers["standard"] == (
        TierBudget(
            "monthly", 49_500_000_000_001, thresholds=(50, 100), grace_seconds=900, forecast=True
        ),
        TierBudget("tokens", 2_000_000, unit="tokens", period="weekly", grace_seconds=300),
        TierBudget("window", 5 * USD, period="rolling-7-day", action="notify", grace_seconds=0),
    )
    assert tiers.tiers["small"] == (
        TierBudget(
            "fortnight",
            10 * USD,
            period="14-day",
            anchor_day=20_458,  # 2026-01-05
            action="notify",
            grace_seconds=0,
        ),
    )
    assert tiers.tiers["empty"] == ()
    [cap] = cap_budgets(tiers)
    assert (cap.name, cap.scope, cap.limit_amount) == (
        "cap-month",
        Scope("everything"),
        10_000 * USD,
    )
    assert (cap.action, cap.origin) == ("notify", "tier/cap")
    for name in tiers.tiers:
        for budget in budgets_of(tiers, name, USER).values():
            check_budget(budget)


def test_an_empty_file_asks_for_nothing() -> None:
    tiers = parse_tiers(b"", "t.toml")
    assert tiers == NO_TIERS
    assert tiers.on == ON_DEFAULT


@pytest.mark.parametrize(
    "text,where,expected,found",
    [
        ("tier = 1", "tier", "one of the keys on, tags, defaults, tiers, cap", "'tier'"),
        ("tiers = 1", "tiers", "a table", "1"),
        ("[tiers.a]\nlimit = 1", "tiers.a.limit", "one of the keys budgets", "'limit'"),
        ("[tiers.none]", "tiers.none", "a name of 1 to 32", "'none'"),
        ("[tiers.'a b']", "tiers.a b", "a name of 1 to 32", "'a b'"),
        ("[tiers.a.budgets.B]\nlimit = 1", "tiers.a.budgets.B", "a label of 1 to 16", "'B'"),
        ("[tiers.a.budgets.b]", "tiers.a.budgets.b.limit", "an amount of USD", "nothing"),
        ("[tiers.a.budgets.b]\nlimit = 0.5", "tiers.a.budgets.b.limit", "an amount of USD", "0.5"),
        ("[tiers.a.budgets.b]\nlimit = true", "tiers.a.budgets.b.limit", "an amount", "True"),
        ("[tiers.a.budgets.b]\nlimit = -1", "tiers.a.budgets.b.limit", "an amount of USD", "-1"),
        (
            "[tiers.a.budgets.b]\nlimit = 'nan'",
            "tiers.a.budgets.b.limit",
            "an amount of USD",
            "'nan'",
        ),
        (
            "[tiers.a.budgets.b]\nlimit = '1e-13'",
            "tiers.a.budgets.b.limit",
            "at most 12",
            "'1e-13'",
        ),
        (
            "[tiers.a.budgets.b]\nlimit = '1.5'\nunit = 'requests'",
            "tiers.a.budgets.b.limit",
            "a whole number of requests",
            "'1.5'",
        ),
        (
            "[tiers.a.budgets.b]\nlimit = 1\nunit = 'eur'",
            "tiers.a.budgets.b.unit",
            "one of usd, tokens, requests",
            "'eur'",
        ),
        (
            "[tiers.a.budgets.b]\nlimit = 1\nthresholds = [1.5]",
            "tiers.a.budgets.b.thresholds",
            "whole per cents",
            "[1.5]",
        ),
        (
            "[tiers.a.budgets.b]\nlimit = 1\ngrace_seconds = 'soon'",
            "tiers.a.budgets.b.grace_seconds",
            "a whole number",
            "'soon'",
        ),
        (
            "[tiers.a.budgets.b]\nlimit = 1\nforecast = 1",
            "tiers.a.budgets.b.forecast",
            "true or false",
            "1",
        ),
        (
            "[tiers.a.budgets.b]\nlimit = 1\nanchor = 2026-01-01",
            "tiers.a.budgets.b.anchor",
            "no anchor but with an N-day period",
            "datetime.date(2026, 1, 1)",
        ),
        ("[cap.b]\nlimit = 1\naction = 'suspend'", "cap.b.action", "notify: a cap", "'suspend'"),
        ("[defaults]\nuser = 'gold'", "defaults.user", "none, or one of the tiers", "'gold'"),
        ("[defaults]\nbot = 'gold'", "defaults.bot", "one of the keys user, role", "'bot'"),
        ("on = ['always']", "on", "a list of some of credential", "['always']"),
        ("on = 1", "on", "a list of some of", "1"),
        ("[tags]\nteam = ''", "tags.team", "a tag's name", "''"),
    ],
)
def test_what_is_wrong_is_named_with_its_key_and_what_was_found(
    text: str, where: str, expected: str, found: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_tiers(text.encode(), "t.toml")
    message = str(caught.value)
    assert message.startswith(f"tiers t.toml: {where}: expected {expected}"), message
    assert message.endswith(f", found {found}"), message


@pytest.mark.parametrize(
    "text,complaint",
    [
        ("[tiers.a.budgets.b]\nlimit = 1\nperiod = 'yearly'", "the period 'yearly' is none"),
        (
            "[tiers.a.budgets.b]\nlimit = 1\nperiod = 'rolling-7-day'\naction = 'suspend'",
            "a rolling window only notifies",
        ),
        ("[tiers.a.budgets.b]\nlimit = 1\nthresholds = [90, 70]", "the thresholds 90, 70"),
        ("[tiers.a.budgets.b]\nlimit = 1\ngrace_seconds = 9999999", "the grace period is 9999999"),
        ("x =", "is not valid TOML"),
    ],
)
def test_what_no_budget_may_be_no_tier_gives(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_tiers(text.encode(), "t.toml")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("tiers t.toml: ")


@given(st.text(min_size=1, max_size=80), st.sampled_from(["", "/AIDATWO"]))
def test_names_of_budgets_will_do_whatever_the_principal_is_called(name: str, again: str) -> None:
    principal = key_of("user", ACCOUNT, name) + again
    tiers = parse_tiers(FULL.encode(), "t.toml")
    budgets = budgets_of(tiers, "standard", principal)
    assert len({one.name for one in budgets.values()}) == 3
    for budget in budgets.values():
        if len(principal) <= 1_024:
            check_budget(budget)


def test_names_of_budgets_are_readable_and_their_own() -> None:
    assert budget_name(USER, "monthly").startswith("user-alice-monthly-")
    assert budget_name(AGENT, "daily").startswith("agent-scout-a1b2c3d4e5-daily-")
    assert budget_name(f"{USER}/AIDATWO", "monthly").startswith("user-alice-monthly-")
    names = {budget_name(one, "monthly") for one in (USER, f"{USER}/AIDATWO", AGENT)}
    assert len(names) == 3
    assert budget_name(USER, "monthly") == budget_name(USER, "monthly")


def seen(*told: LifecycleFact) -> View:
    return view_of(merged(Subject(USER), told))


def test_the_tier_of_a_user_by_tag_by_found_key_by_kind() -> None:
    tiers = parse_tiers(FULL.encode(), "t.toml")
    key = fact("key_created", 1, key_id=KEY, service="bedrock.amazonaws.com")
    assert tier_of(seen(key), tiers) == "standard"
    assert tier_of(seen(key), tiers, has_found_key=True) == "small"
    assert tier_of(seen(key, fact("key_deleted", 2, key_id=KEY)), tiers) == ""
    assert tier_of(seen(key, fact("deleted", 2)), tiers, is_given=True) == ""
    tagged = fact("tagged", 1, tags=(("cost:tier", "small"),))
    assert tier_of(seen(tagged), tiers) == ""  # tags make nobody matter here
    assert tier_of(seen(), tiers, is_given=True) == "standard"
