"""The commands that make, list and remove users with a Bedrock API key."""

import json
from pathlib import Path

import pytest

from tests.calls import NOON
from tests.unit.cli.conftest import Run
from worker.adapters.memory_keys import MemoryKeys
from worker.cli import keys as keys_command

ACCOUNT = "111122223333"
BOT = f"user/{ACCOUNT}/ci-bot"


@pytest.fixture
def iam(monkeypatch: pytest.MonkeyPatch) -> MemoryKeys:
    made = MemoryKeys(now_ms=NOON)
    monkeypatch.setattr(keys_command, "open_provisioning", lambda: made)
    return made


TIERS = """
[defaults]
user = "standard"
[tiers.standard.budgets.month]
limit = "100"
[tiers.small.budgets.day]
limit = "5"
period = "daily"
"""


def test_the_commands_make_list_and_remove(run: Run, folder: Path, iam: MemoryKeys) -> None:
    made = json.loads(run("keys", "create", "ci-bot", "--limit", "50", "--days", "30", "--json"))
    [key] = iam.users["ci-bot"].keys
    assert (made["name"], made["account"], made["principal"]) == ("ci-bot", ACCOUNT, BOT)
    assert (made["key_id"], made["secret"]) == (key.id, f"ABSK-secret-of-{key.id}")
    assert made["expires_at"] == "2026-10-31T12:00:00Z"
    [budget] = json.loads(run("budgets", "list", "--json"))["budgets"]
    assert [budget["name"]] == made["budgets"]
    assert (budget["scope"], budget["limit_usd"]) == (f"principal/{BOT}", "50")
    listed = json.loads(run("keys", "list", "--json"))
    assert (listed["count"], listed["keys"][0]["status"]) == (1, "Active")
    assert made["secret"] not in json.dumps(listed) + run("keys", "list")
    removed = json.loads(run("keys", "remove", "ci-bot", "--json"))
    assert (removed["state"], iam.users) == ("removed", {})
    assert json.loads(run("budgets", "list", "--json"))["count"] == 0
    assert "there are no users" in run("keys", "list")
    for file in folder.rglob("*"):
        assert not file.is_file() or made["secret"].encode() not in file.read_bytes()


def test_the_secret_is_shown_to_people_once(run: Run, iam: MemoryKeys) -> None:
    text = run("keys", "create", "ci-bot", "--limit", "50")
    [key] = iam.users["ci-bot"].keys
    assert text.count(f"AWS_BEARER_TOKEN_BEDROCK=ABSK-secret-of-{key.id}\n") == 1
    assert "good until it is removed" in text


def test_a_tier_gives_the_budgets(
    run: Run, folder: Path, iam: MemoryKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "tiers.toml").write_text(TIERS)
    monkeypatch.setenv("LEDGEROCK_TIERS", "tiers.toml")
    run("keys", "create", "one", "--tier", "small")
    run("keys", "create", "two")
    run("keys", "create", "three", "--limit", "7")
    found = {
        (one["scope"].rpartition("/")[2], one["limit_usd"])
        for one in json.loads(run("budgets", "list", "--json"))["budgets"]
    }
    assert found == {("one", "5"), ("two", "100"), ("three", "100"), ("three", "7")}
    assert iam.users["one"].tags["ledgerock:tier"] == "small"
    assert "ledgerock:tier" not in iam.users["two"].tags
    run("keys", "create", "four", "--tier", "none", code=2, error="tiers are small, standard")


def test_what_will_not_do_is_refused(run: Run, iam: MemoryKeys) -> None:
    run("keys", "create", "ci-bot", code=2, error="could spend without end")
    run("keys", "create", "ci-bot", "--tier", "x", code=2, error="set LEDGEROCK_TIERS")
    run("keys", "create", "a/b", "--limit", "5", code=2, error="will not do")
    run("keys", "create", "a", "--limit", "0", code=2, error="more than 0")
    limited = ("keys", "create", "a", "--limit", "5")
    run(*limited, "--tag", "x", code=2, error="KEY=VALUE")
    run(*limited, "--tag", "ledgerock:tier=x", code=2, error="ledgerock:")
    run(*limited, "--tag", "x=1", "--tag", "x=2", code=2, error="each key once")
    run(*limited, "--ledger", "memory", code=2, error="nobody would know")
    run("keys", "remove", "nobody", code=2, error="no such user")
    assert iam.users == {}
