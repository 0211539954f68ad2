from pathlib import Path

import pytest

from worker.adapters.registry_file import (
    FILE_BYTES_MAX,
    empty_registry,
    load_registry,
    parse_registry,
)
from worker.core.errors import ConfigurationError
from worker.core.registry import (
    Agent,
    ApplicationProfile,
    Period,
    Pool,
    PrincipalFact,
    TrustRule,
)

AGENT = """
[[agents]]
id = "agent/111122223333/us-east-1/SUPPORTBOT"
name = "support-bot"
role_arns = ["arn:aws:iam::111122223333:role/agents/SupportBotRole"]
effective_from = 2026-01-01T01:00:00+01:00
effective_to = 2026-02-01T00:00:00.0015Z
"""
PRINCIPAL = """
[[principals]]
match = "user/111122223333/alice"
team = "research"
tags = { owner = "ana", cost_center = "4711" }
"""
APPLICATION = """
[[applications]]
arn = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcd1234efgh"
model = "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-v2:1"
application = "checkout-assistant"
"""
RULE = """
[[rules]]
role_arn = "arn:aws:iam::111122223333:role/GatewayRole"
pay_by = "metadata"
metadata_key = "application"
organisation = "acme"
"""
CALENDAR = """
[[calendars]]
scope = "team/research"
time_zone = "Europe/Berlin"
"""
POOL = """
[[pools]]
name = "trials"
match = "user/111122223333/*@example.com"
tags = { owner = "ana", cost_center = "4711" }
effective_to = 2026-02-01
"""
EVERY_TABLE = AGENT + PRINCIPAL + APPLICATION + RULE + CALENDAR + POOL


def message_of(text: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_registry(text.encode(), "registry.toml")
    return str(caught.value)


def test_a_file_with_every_table(tmp_path: Path) -> None:
    path = tmp_path / "registry.toml"
    path.write_text(EVERY_TABLE)
    registry = load_registry(path)
    assert registry.agents == (
        Agent(
            "agent/111122223333/us-east-1/SUPPORTBOT",
            "support-bot",
            ("arn:aws:iam::111122223333:role/agents/SupportBotRole",),
            Period(1_767_225_600_000, 1_769_904_000_001),
        ),
    )
    assert registry.principals == (
        PrincipalFact(
            "user/111122223333/alice", "research", (("cost_center", "4711"), ("owner", "ana"))
        ),
    )
    profile = "arn:aws:bedrock:us-east-1:111122223333:application-inference-profile/abcd1234efgh"
    assert registry.applications == (
        ApplicationProfile(
            profile,
            "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic.claude-v2:1",
            "checkout-assistant",
        ),
    )
    assert registry.rules == (
        TrustRule("arn:aws:iam::111122223333:role/GatewayRole", "metadata", "application", "acme"),
    )
    assert registry.pools == (
        Pool(
            "trials",
            "user/111122223333/*%40example.com",
            (("cost_center", "4711"), ("owner", "ana")),
            Period(None, 1_769_904_000_000),
        ),
    )
    # 23:30 UTC on 1970-01-01 is half past midnight of the next day in Berlin.
    assert registry.local_day("team", "research", 84_600_000) == 1
    assert registry.boundaries_ms == (
        1_767_225_600_000,
        1_769_904_000_000,
        1_769_904_000_001,
    )


def test_the_order_of_entries_and_keys_does_not_matter() -> None:
    backwards = POOL + CALENDAR + RULE + APPLICATION + PRINCIPAL + AGENT
    backwards = backwards.replace('owner = "ana", cost_center = "4711"',
                                  'cost_center = "4711", owner = "ana"')  # fmt: skip
    first = parse_registry(EVERY_TABLE.encode(), "a")
    assert parse_registry(backwards.encode(), "b").revision == first.revision
    assert parse_registry(PRINCIPAL.encode(), "c").revision != first.revision


def test_an_empty_file_is_the_empty_registry() -> None:
    assert parse_registry(b"# nothing yet\n", "r").revision == empty_registry().revision


def test_an_agent_may_be_listed_in_parts_and_agents_may_share_a_role() -> None:
    other = AGENT.replace("SUPPORTBOT", "OTHERBOT")
    assert len(parse_registry((AGENT + AGENT + other).encode(), "r").agents) == 3


def test_a_pool_may_be_listed_in_parts_and_takes_everybody_by_default() -> None:
    everybody = '[[pools]]\nname = "trials"\n'
    registry = parse_registry((POOL + POOL + everybody).encode(), "r")
    assert registry.pools[-1] == Pool("trials", "*")
    assert registry.pool_of("user/1/a", "user/1/a", 0) == "trials"


def test_one_fact_over_successive_periods() -> None:
    later = PRINCIPAL.replace("research", "platform") + "effective_from = 2026-01-01T00:00:00Z\n"
    registry = parse_registry((PRINCIPAL + later).encode(), "r")
    alice = "user/111122223333/alice"
    assert registry.team_of(alice, alice, 1_767_225_599_999) == "research"
    assert registry.team_of(alice, alice, 1_767_225_600_000) == "platform"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu"])
@pytest.mark.parametrize(
    "scope",
    ["everything", "*", "team/*", "pool/*", "principal/user/111122223333/alice", "model/a.b"],
)
def test_calendars(zone: str, scope: str) -> None:
    text = CALENDAR.replace("team/research", scope).replace("Europe/Berlin", zone)
    assert parse_registry(text.encode(), "r").has_calendars


@pytest.mark.parametrize(
    "text,replaced,by,parts",
    [
        (AGENT, "name =", "nmae =", ["[[agents]] entry 1", "nmae", "one of the keys id,"]),
        (AGENT, '"support-bot"', "7", ["name", "expected a text, found 7"]),
        (AGENT, "id =", "# id =", ["id", "expected a value, found nothing"]),
        (AGENT, "/SUPPORTBOT", "", ["id", "agent/ACCOUNT/REGION/ID"]),
        (AGENT, "us-east-1/", "US/", ["id", "agent/ACCOUNT/REGION/ID"]),
        (AGENT, "iam::111122223333:role/agents/", "iam::1:role/", ["role_arns", "iam::1:role"]),
        (AGENT, "SupportBotRole", "*", ["role_arns", "role/agents/*"]),
        (AGENT, "/SupportBotRole", "/", ["role_arns"]),
        (AGENT, '["arn', '["x", "arn', ["role_arns", "found 'x'"]),
        (AGENT, '["arn:aws:iam::111122223333:role/agents/SupportBotRole"]', "[]", ["role_arns"]),
        (AGENT, "01:00:00+01:00", "01:00:00", ["offset", "found 2026-01-01T01:00:00"]),
        (AGENT, "2026-01-01T01:00:00+01:00", "10:00:00", ["expected a date, or", "found 10:00:00"]),
        (AGENT, "2026-01-01T01:00:00+01:00", "true", ["effective_from", "found true"]),
        (AGENT, '["arn:aws:iam::111122223333:role/agents/SupportBotRole"]', "[2026-01-01, 1]",
         ["role_arns", "expected a list of texts, found [2026-01-01, 1]"]),
        (AGENT, "2026-01-01T01:00:00+01:00", '"soon"', ["effective_from", "'soon'"]),
        (AGENT, "2026-02-01T00:00:00.0015Z", "2026-01-01T00:00:00Z", ["effective_to", "after"]),
        (PRINCIPAL, "user/", "person/", ["[[principals]] entry 1", "match", "person/", "user"]),
        (PRINCIPAL, "alice", "al ice", ["match", "al ice"]),
        (PRINCIPAL, '"4711"', "4711", ["tags", "expected a table of texts", "= 4711"]),
        (PRINCIPAL, '"research"', '" research"', ["team", "no blanks", "' research'"]),
        (PRINCIPAL, '"research"', '"re\\nsearch"', ["team", "printable"]),
        (APPLICATION, "application-inference-profile", "inference-profile", ["arn", "profile"]),
        (APPLICATION, "us.anthropic.claude-v2:1", "claude", ["model", "copied from"]),
        (RULE, '"metadata"', '"payer"', ["pay_by: expected one of role, session,", "payer"]),
        (RULE, '"metadata"', '"session"', ["metadata_key", "no such key with pay_by = 'session'"]),
        (RULE, '"application"', '""', ["metadata_key", "needs"]),
        (RULE, 'organisation = "acme"', "", ["organisation", "needs"]),
        (RULE, "role/GatewayRole", "user/GatewayRole", ["role_arn", "user/GatewayRole"]),
        (RULE, "role/GatewayRole", "role/path/Gateway*", ["role_arn", "no path", "drop the path"]),
        (RULE, "111122223333", "1111*", ["role_arn"]),
        (POOL, "user/", "person/", ["[[pools]] entry 1", "match", "person/", "user"]),
        (POOL, '"trials"', '""', ["name", "expected a name"]),
        (POOL, '"trials"', '" trials"', ["name", "no blanks"]),
        (POOL, '"4711"', "4711", ["tags", "expected a table of texts"]),
        (POOL, "2026-02-01", '"soon"', ["effective_to", "'soon'"]),
        (CALENDAR, "Europe/Berlin", "Europe/Bonn", ["time_zone", "IANA", "Europe/Bonn"]),
        (CALENDAR, "Europe/Berlin", "Europe", ["time_zone", "'Europe'"]),
        (CALENDAR, "Europe/Berlin", "../../etc/passwd", ["time_zone"]),
        (CALENDAR, "Europe/Berlin", "", ["time_zone"]),
        (CALENDAR, "team/research", "team", ["scope", "'team'"]),
        (CALENDAR, "team/research", "everything/x", ["scope"]),
        (CALENDAR, "team/research", "planet/mars", ["scope", "planet/mars"]),
    ],
)  # fmt: skip
def test_errors_name_file_entry_key_found_and_expected(
    text: str, replaced: str, by: str, parts: list[str]
) -> None:
    assert replaced in text
    message = message_of(text.replace(replaced, by))
    for part in ["registry registry.toml: [[", "expected", "found", *parts]:
        assert part in message


def test_the_entry_is_counted_from_one_in_its_table() -> None:
    bad = CALENDAR.replace("Europe/Berlin", "Nowhere").replace("research", "sales")
    assert "[[calendars]] entry 2: time_zone" in message_of(CALENDAR + AGENT + bad)


@pytest.mark.parametrize(
    "text,changed,parts",
    [
        (PRINCIPAL, ("research", "sales"), ["[[principals]] entry 2: match", "entry 1"]),
        (RULE, ("acme", "other"), ["[[rules]] entry 2: role_arn", "entry 1"]),
        (CALENDAR, ("Berlin", "Rome"), ["[[calendars]] entry 2: scope", "entry 1"]),
        (APPLICATION, ("checkout", "other"), ["[[applications]] entry 2: arn", "entry 1"]),
    ],
)
def test_entries_that_contradict_each_other_are_refused_and_repeated_ones_are_not(
    text: str, changed: tuple[str, str], parts: list[str]
) -> None:
    parse_registry((text + text).encode(), "r")
    message = message_of(text + text.replace(*changed))
    assert all(part in message for part in [*parts, "contradict"])


def test_a_profile_may_be_said_to_copy_a_bare_model_id() -> None:
    bare = APPLICATION.replace(
        "arn:aws:bedrock:us-east-1:111122223333:inference-profile/us.anthropic", "anthropic"
    )
    (profile,) = parse_registry(bare.encode(), "r").applications
    assert profile.model == "anthropic.claude-v2:1"


def test_a_profile_never_changes_its_model() -> None:
    later = APPLICATION.replace("claude-v2:1", "claude-v3")
    message = message_of(APPLICATION + later + "effective_from = 2026-01-01T00:00:00Z\n")
    assert "[[applications]] entry 2: model" in message
    assert "as in entry 1" in message


@pytest.mark.parametrize(
    "text,part",
    [
        ("[[agents]", "not valid TOML"),
        ("[agents]\nid = 1", "two brackets"),
        ("agents = [1]", "[[agents]] entry 1: expected a table"),
        ("[[agent]]\nid = 1", "found 'agent'"),
        ("x = " + "[" * 5_000, "not valid TOML"),
    ],
)
def test_files_of_the_wrong_shape(text: str, part: str) -> None:
    assert part in message_of(text)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"missing\.toml: cannot be read \(No such file"):
        load_registry(tmp_path / "missing.toml")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_registry(tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes(b'x = "\xff"')
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load_registry(path)
    with path.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(ConfigurationError, match="at most"):
        load_registry(path)


def test_what_is_found_is_cut_short_in_messages() -> None:
    assert len(message_of(PRINCIPAL.replace("research", "x" * 5_000))) < 400


@pytest.mark.parametrize("match", ["session/1/R/ana@example.com", "session/1/R/ana%40example.com"])
def test_a_person_may_be_written_as_people_write_them(match: str) -> None:
    registry = parse_registry(f'[[principals]]\nmatch = "{match}"\nteam = "x"\n'.encode(), "r.toml")
    assert registry.team_of("session/1/R/ana%40example.com", "", 0) == "x"


def test_a_bare_date_is_midnight_utc() -> None:
    bare = PRINCIPAL + "effective_from = 2026-01-01\neffective_to = 2026-02-01\n"
    full = bare.replace("-01\n", "-01T00:00:00Z\n")
    assert full != bare
    registry = parse_registry(bare.encode(), "r")
    assert registry.revision == parse_registry(full.encode(), "r").revision
    alice = "user/111122223333/alice"
    assert registry.team_of(alice, alice, 1_767_225_599_999) == ""
    assert registry.team_of(alice, alice, 1_767_225_600_000) == "research"
    bad = bare.replace("2026-02-01", "2026-01-01")
    assert "expected a time after effective_from, found 2026-01-01" in message_of(bad)
