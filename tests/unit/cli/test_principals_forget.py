import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import ALICE, BEN, write_month
from worker.cli.main import app


def _costs(run: Run) -> dict[str, str]:
    rows = json.loads(run("report", "--by", "principal", "--format", "json"))["rows"]
    return {row["key"]: row["cost_usd"] for row in rows}


def test_a_person_is_forgotten_and_the_sums_stay(run: Run, folder: Path) -> None:
    write_month(folder)
    run("replay", "logs")
    assert _costs(run) == {ALICE: "0.021", BEN: "0.004075"}
    done = json.loads(run("principals", "forget", ALICE, "--yes", "--json", "--reason", "left"))
    pseudonym = done["pseudonym"]
    assert pseudonym.startswith("user/111122223333/forgotten-")
    assert done == {"pseudonym": pseudonym, "calls": 2, "records": 0, "audit_entries": 0}
    assert _costs(run) == {pseudonym: "0.021", BEN: "0.004075"}
    again = json.loads(run("replay", "logs", "--json"))
    assert (again["recorded"], again["cost_usd"]) == (0, "0")
    assert _costs(run) == {pseudonym: "0.021", BEN: "0.004075"}
    run("verify")
    run("verify", "--audit")
    files = [one for one in folder.glob("ledgerock.db*") if one.is_file()]
    assert b"alice" not in b"".join(one.read_bytes() for one in files)
    assert "0 calls" in run("principals", "forget", ALICE, "--yes")


@pytest.mark.parametrize("answer,code", [("n\n", 1), ("", 1), ("y\n", 0)])
def test_it_asks_first(run: Run, folder: Path, answer: str, code: int) -> None:
    write_month(folder)
    run("replay", "logs")
    result = CliRunner().invoke(app, ["principals", "forget", ALICE], input=answer)
    assert result.exit_code == code
    assert "for good?" in result.stderr
    assert (ALICE in _costs(run)) == bool(code)


def test_what_cannot_be_forgotten_is_refused(run: Run, folder: Path) -> None:
    run("principals", "forget", ALICE, "--yes", code=2, error="there is no such file")
    write_month(folder)
    run("replay", "logs")
    wrong = "role/111122223333/Bot"
    run("principals", "forget", wrong, "--yes", code=2, error="not a person's identity")
    run("principals", "forget", ALICE, "--yes", "--ledger", "memory", code=2, error="memory")
