"""`ledgerock suspend` and `ledgerock restore`, on IAM in memory."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.calls import ACCOUNT
from tests.suspension_world import AGENT, ALICE, GATEWAY, entities
from tests.unit.cli.conftest import Run
from worker.adapters.memory_enforcement import MemoryEnforcement
from worker.bootstrap import State, enforcing, open_state
from worker.cli import by_hand
from worker.core.enforcement import Hold
from worker.core.errors import TransientError
from worker.core.suspension import Claimed
from worker.core.targets import Protection
from worker.pipeline.audit import AuditLog
from worker.pipeline.suspensions import Suspensions
from worker.settings import ENFORCEMENT_ENVIRONMENT, EnforcementSettings, Settings

END_MS = 4_102_444_800_000
"""2100-01-01."""
Result = TypeVar("Result")


@pytest.fixture
def iam(folder: Path, monkeypatch: pytest.MonkeyPatch) -> MemoryEnforcement:
    for name in ENFORCEMENT_ENVIRONMENT.values():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: "carol")
    monkeypatch.setattr("platform.node", lambda: "desk")
    memory = MemoryEnforcement(entities())

    def opened(settings: EnforcementSettings) -> MemoryEnforcement:
        memory._protection = Protection(settings.protected)
        return memory

    monkeypatch.setattr(enforcing, "open_enforcement", opened)
    return memory


def on_state(work: Callable[[State], Coroutine[Any, Any, Result]]) -> Result:
    async def run() -> Result:
        state = open_state(Settings())
        try:
            return await work(state)
        finally:
            await state.close()

    return asyncio.run(run())


class Clock:
    def now_ms(self) -> int:
        return 1_790_856_000_000


def suspensions(state: State) -> Suspensions:
    return Suspensions(records=state.records, outbox=state.outbox, clock=Clock())


def hold_for_budget(principal: str, **more: Any) -> bool:
    hold = Hold(
        "monthly",
        20_727,
        more.pop("revision", 1),
        Clock().now_ms(),
        "5 of 1 USD are spent",
        end_ms=END_MS,
        spent_amount=5 * 10**12,
        limit_amount=10**12,
    )
    return on_state(lambda state: suspensions(state).hold(principal, hold))


def audit() -> list[tuple[str, str, str]]:
    async def read(state: State) -> list[tuple[str, str, str]]:
        log = AuditLog(state.records, Clock())
        assert not (await log.check()).problems
        entries = [entry async for page in log.entries() for entry in page]
        return [(one.act, one.details.actor, one.details.why) for one in entries]

    return on_state(read)


def denied(iam: MemoryEnforcement, kind: Any = "user", name: str = "alice") -> bool:
    return iam.iam.is_denied(kind, ACCOUNT, name)


def test_by_hand_it_is_done_at_once_verified_and_audited(run: Run, iam: MemoryEnforcement) -> None:
    before = repr(iam.iam.entities)
    out = run("suspend", ALICE, "--reason", "key leaked")
    assert out.splitlines()[0] == f"{ALICE} is suspended, read back from IAM"
    assert "held by carol@desk since" in out
    assert out.rstrip().endswith("key leaked")
    assert denied(iam)
    again = run("suspend", ALICE, "--reason", "key leaked twice")
    assert "as it was before" in again
    out = run("restore", ALICE, "--reason", "rotated")
    assert out == f"{ALICE} is restored, read back from IAM\n"
    assert repr(iam.iam.entities) == before
    assert audit() == [
        ("Suspension Ordered", "carol@desk", "key leaked"),
        ("Suspension Begun", "ledgerock", "key leaked (by carol@desk)"),
        ("Principal Suspended", "ledgerock", "key leaked (by carol@desk)"),
        ("Suspension Ordered", "carol@desk", "key leaked twice"),
        ("Restoration Ordered", "carol@desk", "rotated"),
        ("Restoration Begun", "ledgerock", "rotated (by carol@desk)"),
        ("Principal Restored", "ledgerock", "rotated (by carol@desk)"),
    ]
    assert "as it was before" in run("restore", ALICE, "--reason", "rotated")


def test_an_agentcore_agent_by_hand(run: Run, iam: MemoryEnforcement, folder: Path) -> None:
    registry = folder / "registry.toml"
    registry.write_text(
        f'[[agents]]\nid = "{AGENT}"\nname = "helper"\n'
        f'role_arns = ["arn:aws:iam::{ACCOUNT}:role/Helper"]\n'
    )
    options = ("--registry", str(registry), "--reason", "loops")
    document = json.loads(run("suspend", AGENT, *options, "--json"))
    assert document["result"] == "suspended"
    assert denied(iam, "role", "Helper")
    assert json.loads(run("restore", AGENT, *options, "--json"))["result"] == "restored"
    assert not denied(iam, "role", "Helper")


def test_what_json_says(run: Run, iam: MemoryEnforcement) -> None:
    document = json.loads(run("suspend", GATEWAY, "--reason", "x", "--json"))
    [hold] = document.pop("holds")
    assert hold.pop("since").endswith("Z")
    assert hold == {
        "budget": "manual",
        "revision": 0,
        "reason": "x",
        "by": "carol@desk",
        "until": None,
        "spent": None,
        "limit": None,
        "unit": None,
    }
    assert document.pop("suspension_id").startswith("suspension-")
    assert document == {
        "principal": GATEWAY,
        "result": "suspended",
        "changed": True,
        "phase": "suspended",
        "mode": "deny",
        "lifted": [],
        "failure": None,
        "needs_person": False,
        "next_attempt_at": None,
    }


def test_other_holds_remain_until_they_are_lifted_too(run: Run, iam: MemoryEnforcement) -> None:
    assert hold_for_budget(ALICE)
    run("suspend", ALICE, "--reason", "key leaked")
    out = run("restore", ALICE, "--reason", "rotated", code=1)
    assert out.splitlines() == [
        f"{ALICE} stays suspended: other holds remain",
        "  held by budget monthly until 2100-01-01T00:00:00Z: 5 of 1 USD are spent",
        "raise the limit: ledgerock budgets set monthly --limit AMOUNT",
        (
            "or lift every hold, for the budgets' present revision and period: "
            f"ledgerock restore {ALICE} --all-holds --reason TEXT"
        ),
    ]
    assert denied(iam)
    document = json.loads(run("restore", ALICE, "--reason", "x", "--all-holds", "--json"))
    assert (document["result"], document["lifted"][0]["spent"]) == ("restored", "5")
    assert not denied(iam)
    assert not hold_for_budget(ALICE), "not again in this revision and period"
    assert hold_for_budget(ALICE, revision=2)


def test_who_cannot_be_suspended_is_refused_and_nothing_is_kept(
    run: Run, iam: MemoryEnforcement, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = ("--reason", "x")
    run("suspend", f"user/{ACCOUNT}/nobody", *reason, code=2, error="no such principal")
    run("suspend", "alice", *reason, code=2, error="'alice' is no principal: give user/ACCOUNT")
    run("suspend", AGENT, *reason, code=2, error="no role of this agent is known")
    run("suspend", f"root/{ACCOUNT}", *reason, code=1, error="service control policy")
    run("suspend", ALICE, "--reason", "  ", code=2, error="give one line")
    monkeypatch.setenv("LEDGEROCK_PROTECTED", "user/*/alice")
    run("suspend", ALICE, *reason, code=1, error="protected by user/*/alice")
    run("restore", ALICE, *reason, code=2, error="was never suspended")
    run("suspend", ALICE, *reason, "--ledger", "memory", code=2, error="name one that is kept")
    assert audit() == []
    assert on_state(lambda state: suspensions(state).listed()) == []


def test_what_fails_is_said_and_kept_for_the_next_attempt(
    run: Run, iam: MemoryEnforcement, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def throttled(*_: Any) -> None:
        raise TransientError("IAM throttles")

    suspend = iam.suspend
    monkeypatch.setattr(iam, "suspend", throttled)
    out = run("suspend", ALICE, "--reason", "x", code=1)
    assert out.splitlines()[:2] == [
        f"{ALICE} is not suspended: IAM throttles",
        "a worker tries again, where one enforces; so does the same command",
    ]
    document = json.loads(run("suspend", ALICE, "--reason", "x", "--json", code=1))
    assert (document["result"], document["failure"]) == ("failed", "IAM throttles")
    assert document["next_attempt_at"]
    monkeypatch.setattr(iam, "suspend", suspend)
    assert "is suspended, read back" in run("suspend", ALICE, "--reason", "x")


def test_who_was_deleted_is_restored_as_far_as_can_be_and_again(
    run: Run, iam: MemoryEnforcement, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def is_gone(*_: Any) -> bool:
        return True

    monkeypatch.setattr(by_hand, "is_gone", is_gone)
    run("suspend", ALICE, "--reason", "x")
    iam.iam.remove("user", ACCOUNT, "alice")
    for _ in range(2):
        out = run("restore", ALICE, "--reason", "x")
        assert out.startswith(f"{ALICE} does not exist any more: ")
    document = json.loads(run("restore", ALICE, "--reason", "x", "--json"))
    assert (document["result"], document["next_attempt_at"]) == ("gone", None)


def test_a_restoration_that_may_have_left_something_is_looked_at_by_the_next_command(
    run: Run, iam: MemoryEnforcement
) -> None:
    run("suspend", ALICE, "--reason", "x")
    alice = iam.iam.entities["user", ACCOUNT, "alice"]
    left = dict(alice.inline)
    on_state(lambda state: suspensions(state).lift(ALICE, "manual", 0))
    # A command that hung, long ago by the clock of this one.
    on_state(lambda state: suspensions(state).turn(ALICE, Claimed("hung", 1)))
    run("restore", ALICE, "--reason", "x")
    alice.inline = left
    run("restore", ALICE, "--reason", "x")
    assert not denied(iam)


def test_where_workflows_act_the_command_leaves_it_to_them(
    run: Run, iam: MemoryEnforcement, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGEROCK_ENFORCEMENT", "workflows")
    out = run("suspend", ALICE, "--reason", "x")
    assert out.startswith(f"{ALICE} is to be suspended: a workflow of Step Functions carries")
    assert iam.iam.calls == []
    document = json.loads(run("restore", ALICE, "--reason", "y", "--json"))
    assert (document["result"], document["phase"]) == ("requested", "restoring")
    assert [act for act, *_ in audit()] == ["Suspension Ordered", "Restoration Ordered"]


def test_a_caller_without_a_name_is_said_to_be_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 1234")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("platform.node", lambda: "")
    assert by_hand.caller_name() == "unknown@unknown"
