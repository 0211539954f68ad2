"""The commands on principals, on a ledger in a file; and on a shared one, all of them once."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.dynamodb import environment_of, local_endpoint, new_prefix
from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ACCOUNT, ALICE, BEN, NOVA_PRO, log, write
from worker.adapters.clock import SystemClock
from worker.bootstrap import State, open_state
from worker.core.directory import LifecycleFact, Subject, encode_subject
from worker.core.enforcement import Hold
from worker.core.enforcement_names import DIRECTORY
from worker.core.suspension import Claimed, Failed
from worker.pipeline.audit import AuditLog
from worker.pipeline.suspensions import Suspensions
from worker.ports import Record
from worker.settings import Settings

NOW = "2026-11-22T12:00:00Z"
NOW_MS = round(datetime.fromisoformat(NOW).timestamp() * 1_000)
MORNING = "2026-11-22T08:00:00Z"
NINE = "2026-11-22T09:00:00Z"
TEN = "2026-11-22T10:00:00Z"
ELEVEN = "2026-11-22T11:00:00Z"
HELPER_ROLE = f"arn:aws:iam::{ACCOUNT}:role/Helper"
HELPER = f"role/{ACCOUNT}/Helper"
AGENT = f"agent/{ACCOUNT}/us-east-1/helper-a1b2c3d4e5"
OTHER = f"agent/{ACCOUNT}/us-east-1/other-a1b2c3d4e5"

_Result = TypeVar("_Result")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand still, so that no period turns while a test runs."""
    monkeypatch.setattr(SystemClock, "now_ms", lambda _self: NOW_MS)
    monkeypatch.setenv("USER", "olga")
    for name in ("LOGNAME", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def ledger() -> str:
    return "sqlite:ledgerock.db"


@pytest.fixture(params=["file", "shared"])
def each_ledger(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return each kind of ledger that commands share."""
    if request.param == "file":
        return "sqlite:ledgerock.db"
    for name, text in environment_of(local_endpoint()).items():
        monkeypatch.setenv(name, text)
    monkeypatch.setenv("LEDGEROCK_CREATE_TABLES", "1")
    return f"dynamodb:{new_prefix()}"


def in_state(work: Callable[[State], Awaitable[_Result]], ledger: str) -> _Result:
    """Do something to what is kept beside a ledger."""

    async def run() -> _Result:
        settings = Settings(ledger=ledger, create_tables=True)
        state = open_state(settings)
        try:
            return await work(state)
        finally:
            await state.close()

    return asyncio.run(run())


def by_helper(request_id: str, at: str, session: str = "s1") -> dict[str, Any]:
    """Return a call by the role of the agent: 0.00376 USD."""
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/Helper/{session}"
    return log(request_id, NOVA_PRO, (1_500, 800), at=at, identity={"arn": arn})


def book(run: Run, folder: Path, ledger: str, *records: Any) -> None:
    write(folder / "logs" / "now.json", *records)
    run("replay", "logs", "--ledger", ledger)


def answer(run: Run, ledger: str, *arguments: str) -> dict[str, Any]:
    text = run("principals", *arguments, "--ledger", ledger, "--json")
    document: dict[str, Any] = json.loads(text)
    return document


def listed(run: Run, ledger: str) -> dict[str, dict[str, Any]]:
    document = answer(run, ledger, "list")
    assert document["count"] == len(document["principals"])
    return {one["principal"]: one for one in document["principals"]}


def spent(run: Run, ledger: str) -> dict[str, tuple[str, int]]:
    return {name: (one["spent_usd"], one["calls"]) for name, one in listed(run, ledger).items()}


async def know(state: State, *facts: LifecycleFact) -> None:
    [subject] = {fact.subject for fact in facts}
    body = encode_subject(Subject(subject, facts))
    assert await state.records.write([Record(DIRECTORY, subject, body, 1)])


# --- Listing and showing --------------------------------------------------------------------------


def test_who_spent_this_month_is_listed_the_most_first(run: Run, folder: Path, ledger: str) -> None:
    book(
        run,
        folder,
        ledger,
        log("r1", at="2026-10-31T23:59:59Z"),
        log("r2", NOVA_PRO, (1_500, 800), at="2026-11-01T00:00:00Z"),
        log("r3", user="ben", at=NOW),
    )
    assert list(listed(run, ledger)) == [BEN, ALICE]
    assert spent(run, ledger) == {BEN: ("0.0105", 1), ALICE: ("0.00376", 1)}
    text = run("principals", "list", "--ledger", ledger)
    assert "2 principals" in text
    assert "$0.010500" in text or "$0.0105" in text
    shown = answer(run, ledger, "show", ALICE)
    assert (shown["spent_usd"], shown["total_usd"], shown["total_calls"]) == (
        "0.00376",
        "0.01426",
        2,
    )
    assert (shown["state"], shown["suspension"]["phase"], shown["audit"]) == (None, "clear", [])


def test_budgets_holds_and_failures_are_shown(run: Run, folder: Path, ledger: str) -> None:
    book(run, folder, ledger, log("r1", at=NOW))
    limits = ("--scope", f"principal/{ALICE}", "--limit", "0.012", "--ledger", ledger)
    run("budgets", "set", "alice", *limits)
    assert listed(run, ledger)[ALICE]["state"] == "warning"
    shown = answer(run, ledger, "show", ALICE)
    [budget] = shown["budgets"]
    assert (budget["name"], budget["spent"], budget["limit"]) == ("alice", "0.0105", "0.012")
    assert "Budget Threshold Crossed" in {one["type"] for one in shown["notices"]}

    async def hold(state: State) -> None:
        clock = SystemClock()
        suspensions = Suspensions(records=state.records, outbox=state.outbox, clock=clock)
        await suspensions.hold(ALICE, Hold("alice", 20_758, 1, NOW_MS, "0.0130 of 0.012 USD"))
        await suspensions.turn(ALICE, Claimed("c1", NOW_MS + 1_000))
        failed = Failed("c1", "suspend", "IAM cannot do it", needs_person=True)
        assert await suspensions.turn(ALICE, failed)
        audit = AuditLog(state.records, clock)
        await audit.append(act="Suspension Failed", actor="ledgerock", subject=ALICE, why="IAM")
        await audit.append(act="Suspension Failed", actor="ledgerock", subject=BEN, why="IAM")

    in_state(hold, ledger)
    one = listed(run, ledger)[ALICE]
    assert (one["state"], one["holds"], one["needs_person"]) == ("required", ["alice"], True)
    shown = answer(run, ledger, "show", ALICE)
    assert [hold["reason"] for hold in shown["holds"]] == ["0.0130 of 0.012 USD"]
    assert shown["suspension"]["failure"] == "IAM cannot do it"
    assert [(one["act"], one["why"]) for one in shown["audit"]] == [("Suspension Failed", "IAM")]
    assert "Principal Suspension Required" in {one["type"] for one in shown["notices"]}
    text = run("principals", "show", ALICE, "--ledger", ledger)
    assert "hold:       alice: 0.0130 of 0.012 USD" in text
    assert "IAM cannot do it; a person has to act" in text
    text = run("principals", "list", "--ledger", ledger)
    assert "required, needs a person" in text
    assert "1 held, 1 in need of a person" in text


def test_who_was_there_before_and_which_keys_are_whose(run: Run, folder: Path, ledger: str) -> None:
    book(run, folder, ledger, log("r1", at=NOW))
    day = 86_400_000

    async def learn(state: State) -> None:
        await know(
            state,
            LifecycleFact(ALICE, "created", day, "e1", unique_id="AIDAOLD", actor="arn:boss"),
            LifecycleFact(ALICE, "deleted", 2 * day, "e2"),
            LifecycleFact(ALICE, "created", 3 * day, "e3", unique_id="AIDANEW"),
            LifecycleFact(ALICE, "tagged", 3 * day, "e3", tags=(("ledgerock:tier", "gold"),)),
            LifecycleFact(
                ALICE,
                "key_created",
                4 * day,
                "e4",
                key_id="ACCA1",
                service="bedrock.amazonaws.com",
                actor="arn:boss",
            ),
        )

    in_state(learn, ledger)
    now = f"{ALICE}/AIDANEW"
    found = listed(run, ledger)
    assert found[ALICE]["deleted"] is True
    assert (found[now]["deleted"], found[now]["tags"]) == (False, {"ledgerock:tier": "gold"})
    shown = answer(run, ledger, "show", now)
    assert [(one["principal"], one["unique_id"], one["to"]) for one in shown["incarnations"]] == [
        (ALICE, "AIDAOLD", "1970-01-03T00:00:00Z"),
        (now, "AIDANEW", None),
    ]
    [key] = shown["keys"]
    assert (key["id"], key["status"], key["made_by"], key["provisioned"]) == (
        "ACCA1",
        "active",
        "arn:boss",
        False,
    )
    assert answer(run, ledger, "show", ALICE)["keys"] == []
    text = run("principals", "show", now, "--ledger", ledger)
    assert "key:        ACCA1 (bedrock.amazonaws.com), active, made by arn:boss" in text


def test_nobody_is_shown_who_is_not_known(run: Run, folder: Path, ledger: str) -> None:
    book(run, folder, ledger, log("r1", at=NOW))
    ended = ("show", "user/1/x", "--ledger", ledger)
    run("principals", *ended, code=2, error="nothing is known of such a principal")


def test_an_empty_ledger_says_so(run: Run, folder: Path) -> None:
    run("principals", "list", code=2, error="ledgerock replay PATH")
    run("budgets", "set", "a", "--scope", "everything", "--limit", "1")
    assert "nobody spent anything" in run("principals", "list")


# --- Mapping --------------------------------------------------------------------------------------


def mapped(run: Run, ledger: str, *arguments: str, agent: str = AGENT) -> dict[str, Any]:
    return answer(run, ledger, "map", HELPER_ROLE, agent, *arguments)


def test_a_role_that_is_mapped_late_moves_what_was_booked_since(
    run: Run, folder: Path, each_ledger: str
) -> None:
    ledger = each_ledger
    calls = [by_helper(f"r{hour}", f"2026-11-22T{hour:02}:30:00Z") for hour in (8, 9, 10, 11)]
    book(run, folder, ledger, *calls, log("r1", at=NOW))
    done = mapped(run, ledger, "--from", NINE)
    assert (done["result"], done["calls"], done["usd"]) == ("mapped", 3, "0.01128")
    assert done["in_effect"] == [{"from": NINE, "to": None}]
    assert done["ambiguous_with"] == []
    now = {HELPER: ("0.00376", 1), AGENT: ("0.01128", 3), ALICE: ("0.0105", 1)}
    assert spent(run, ledger) == now
    again = mapped(run, ledger, "--from", NINE)
    assert (again["result"], again["calls"], again["usd"]) == ("unchanged", 0, "0")
    assert spent(run, ledger) == now
    assert json.loads(run("verify", "--ledger", ledger, "--json"))["sound"]
    shown = answer(run, ledger, "show", AGENT)
    assert shown["agent_roles"] == [{"role_arns": [HELPER_ROLE], "from": NINE, "to": None}]
    [act] = shown["audit"]
    assert (act["act"], act["by"]) == ("Role Mapped", "olga")
    assert HELPER_ROLE in run("principals", "show", AGENT, "--ledger", ledger)


def test_calls_after_the_mapping_are_booked_to_the_agent(
    run: Run, folder: Path, ledger: str
) -> None:
    book(run, folder, ledger, log("r1", at=NOW))
    assert mapped(run, ledger, "--from", NINE)["calls"] == 0
    book(run, folder, ledger, by_helper("r2", TEN))
    assert spent(run, ledger)[AGENT] == ("0.00376", 1)


def test_a_mapping_may_be_over(run: Run, folder: Path, ledger: str) -> None:
    calls = [by_helper(f"r{hour}", f"2026-11-22T{hour:02}:30:00Z") for hour in (8, 9, 10, 11)]
    book(run, folder, ledger, *calls)
    done = mapped(run, ledger, "--from", NINE, "--to", ELEVEN)
    assert (done["calls"], done["in_effect"]) == (2, [{"from": NINE, "to": ELEVEN}])
    assert spent(run, ledger) == {HELPER: ("0.00752", 2), AGENT: ("0.00752", 2)}
    assert mapped(run, ledger, "--from", NINE, "--to", ELEVEN)["result"] == "unchanged"


def test_an_agent_keeps_the_roles_that_it_had(run: Run, folder: Path, ledger: str) -> None:
    book(run, folder, ledger, by_helper("r1", "2026-11-22T09:30:00Z"))
    main_role = f"arn:aws:iam::{ACCOUNT}:role/Main"

    async def learn(state: State) -> None:
        at_ms = round(datetime.fromisoformat(MORNING).timestamp() * 1_000)
        await know(
            state, LifecycleFact(AGENT, "created", at_ms, "e1", name="bot", role_arns=(main_role,))
        )

    in_state(learn, ledger)
    done = mapped(run, ledger, "--from", NINE, "--to", TEN)
    assert (done["calls"], done["in_effect"]) == (1, [{"from": NINE, "to": TEN}])
    roles = answer(run, ledger, "show", AGENT)["agent_roles"]
    assert [(one["role_arns"], one["from"], one["to"]) for one in roles] == [
        ([main_role], MORNING, NINE),
        ([HELPER_ROLE, main_role], NINE, TEN),
        ([main_role], TEN, None),
    ]
    arguments = ("principals", "map", main_role, AGENT, "--from", MORNING, "--to", TEN)
    run(*arguments, code=2, error="would have no role at all")


def test_a_role_of_two_agents_is_said_to_be_ambiguous(run: Run, folder: Path, ledger: str) -> None:
    book(run, folder, ledger, by_helper("r1", TEN))
    assert mapped(run, ledger, "--from", NINE)["calls"] == 1
    done = mapped(run, ledger, "--from", NINE, agent=OTHER)
    assert (done["ambiguous_with"], done["calls"]) == ([AGENT], 0)
    assert spent(run, ledger)[HELPER] == ("0.00376", 1)
    text = run("principals", "map", HELPER_ROLE, OTHER, "--from", NINE)
    assert f"this role also serves {AGENT}" in text


def test_the_budget_of_the_agent_is_looked_at(run: Run, folder: Path, ledger: str) -> None:
    book(run, folder, ledger, by_helper("r1", TEN))
    run("budgets", "set", "bot", "--scope", f"agent/{AGENT}", "--limit", "0.00376")
    mapped(run, ledger, "--from", NINE)
    document = json.loads(run("budgets", "show", "bot", "--json"))
    assert sorted(one["threshold"] for one in document["crossings"]) == [70, 90, 100]


def test_what_is_no_mapping_is_refused(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("principals", "map")
    run(*arguments, HELPER_ROLE, AGENT, code=2, error="ledgerock replay PATH")
    book(run, folder, "sqlite:ledgerock.db", log("r1", at=NOW))
    run(*arguments, "arn:aws:iam::1:user/x", AGENT, code=2, error="no role's ARN")
    run(*arguments, HELPER_ROLE, "agent/x", code=2, error="no agent's id")
    late = ("--from", "2026-11-23")
    run(*arguments, HELPER_ROLE, AGENT, *late, code=2, error="not later")
    wrong = ("--from", TEN, "--to", NINE)
    run(*arguments, HELPER_ROLE, AGENT, *wrong, code=2, error="--from must be earlier")
    monkeypatch.setenv("LEDGEROCK_AGENTS", "0")
    run(*arguments, HELPER_ROLE, AGENT, code=2, error="LEDGEROCK_AGENTS")
