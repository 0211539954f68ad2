"""`verify --audit` on a ledger's own file."""

import asyncio
import json
import sqlite3
from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from worker.adapters.clock import SystemClock
from worker.bootstrap import open_state
from worker.core.audit import AuditDetails
from worker.core.enforcement_names import AUDIT_HEAD, audit_name
from worker.pipeline.audit import AuditLog
from worker.settings import Settings

ALICE = "user/111122223333/alice"
SETTINGS = Settings(ledger="sqlite:ledgerock.db")


def append(number: int) -> None:
    async def work() -> None:
        state = open_state(SETTINGS)
        log = AuditLog(state.records, SystemClock())
        for which in range(number):
            await log.append(
                act="Principal Suspended", actor="ledgerock", subject=ALICE, why=f"reason {which}"
            )
        await state.close()

    asyncio.run(work())


def change(folder: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(folder / "ledgerock.db") as connection:
        assert connection.execute(statement, values).rowcount == 1
    connection.close()


def test_a_log_that_nobody_touched_is_said_to_be_sound(run: Run) -> None:
    append(0)
    assert run("verify", "--audit") == "the audit log of sqlite:ledgerock.db is sound: 0 entries\n"
    append(3)
    document = json.loads(run("verify", "--audit", "--json"))
    end = document["end"]
    assert document == {
        "ledger": "sqlite:ledgerock.db",
        "sound": True,
        "entries": 3,
        "end": {"number": 3, "hash": end["hash"]},
        "replaced": 0,
        "problems": [],
    }
    text = run("verify", "--audit")
    assert text.endswith(f"is sound: 3 entries; it ends with 3:{end['hash']}\n")


def test_forgotten_people_do_not_break_it(run: Run) -> None:
    append(3)

    async def forget() -> None:
        state = open_state(SETTINGS)
        log = AuditLog(state.records, SystemClock())
        new = AuditDetails("ledgerock", "person/1")
        await log.forget(
            lambda old: new if old.subject == ALICE else old, actor="carol", subject="person/1"
        )
        await state.close()

    asyncio.run(forget())
    text = run("verify", "--audit")
    assert "is sound: 4 entries, in 3 of them people were forgotten; it ends with 4:" in text
    assert json.loads(run("verify", "--audit", "--json"))["replaced"] == 3


@pytest.mark.parametrize(
    "statement, name, problem",
    [
        ("DELETE FROM record WHERE name = ?", audit_name(2), "entry 2 is missing"),
        ("DELETE FROM record WHERE name = ?", audit_name(4), "entry 4 is missing"),
        ("DELETE FROM record WHERE name = ?", AUDIT_HEAD, "the log's head names entry 0"),
        (
            "UPDATE record SET body = replace(body, 'Suspended', 'Restored') WHERE name = ?",
            audit_name(3),
            "entry 3 was changed",
        ),
        (
            "UPDATE record SET body = replace(body, 'alice', 'mallory') WHERE name = ?",
            audit_name(1),
            "entry 1 has details that were changed",
        ),
        (
            "UPDATE record SET body = '{' || char(27) || '[31m' WHERE name = ?",
            audit_name(1),
            "entry 1 '000000000001' holds no entry",
        ),
    ],
)
def test_what_is_wrong_is_listed(
    run: Run, folder: Path, statement: str, name: str, problem: str
) -> None:
    append(4)
    change(folder, statement, name)
    text = run("verify", "--audit", code=1)
    assert "is not sound" in text
    assert problem in text
    assert "\x1b" not in text
    document = json.loads(run("verify", "--audit", "--json", code=1))
    assert document["sound"] is False
    assert len(document["problems"]) >= 1
    run("verify")


def test_a_log_written_anew_is_found_by_what_was_noted(run: Run, folder: Path) -> None:
    append(3)
    end = json.loads(run("verify", "--audit", "--json"))["end"]
    noted = f"3:{end['hash'][:16]}"
    append(1)
    assert "is sound: 4 entries" in run("verify", "--audit", "--noted", noted)
    (folder / "ledgerock.db").unlink()
    append(2)
    assert "is sound" in run("verify", "--audit")
    text = run("verify", "--audit", "--noted", noted, code=1)
    assert "entry 3 was noted, but the log ends with 2" in text
    append(2)
    assert "entry 3 is another one than was noted" in run("verify", "--noted", noted, code=1)
    run("verify", "--audit", "--noted", "3", code=2, error="NUMBER:HASH")


def test_many_problems_are_not_all_printed(run: Run, folder: Path) -> None:
    append(60)
    with sqlite3.connect(folder / "ledgerock.db") as connection:
        connection.execute("UPDATE record SET body = replace(body, 'alice', 'mallory')")
    connection.close()
    text = run("verify", "--audit", code=1)
    assert "60 problems" in text
    assert "and 10 more; --json lists all" in text
    assert len(json.loads(run("verify", "--audit", "--json", code=1))["problems"]) == 60


def test_a_ledger_that_is_not_there_is_named(run: Run) -> None:
    run("verify", "--audit", code=2, error="there is no such file")
