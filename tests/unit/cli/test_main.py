import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import lines, log, write_month
from worker import __version__
from worker.cli.main import app
from worker.core.errors import TransientError
from worker.settings import Settings

COMMANDS = (
    ("replay",),
    ("explain",),
    ("report",),
    ("verify",),
    ("rebook",),
    ("worker",),
    ("prices", "show"),
    ("prices", "check"),
    ("quarantine", "list"),
    ("quarantine", "show"),
    ("quarantine", "redrive"),
    ("quarantine", "drop"),
    ("budgets", "set"),
    ("budgets", "list"),
    ("budgets", "show"),
    ("budgets", "remove"),
    ("principals", "list"),
    ("principals", "show"),
    ("principals", "map"),
    ("keys", "create"),
    ("keys", "list"),
    ("keys", "remove"),
)


def test_python_minus_m_worker_says_its_version() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "worker", "--version"], capture_output=True, text=True, check=True
    )
    assert answer.stdout == f"ledgerock {__version__}\n"
    assert answer.stderr == ""


def test_help_needs_neither_rich_nor_a_ledger() -> None:
    program = (
        "import sys; from typer.testing import CliRunner; from worker.cli.main import app; "
        "CliRunner().invoke(app, ['--help']); "
        "heavy = {'msgspec', 'rich.table', 'worker.pipeline'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example(run: Run, command: tuple[str, ...]) -> None:
    text = " ".join(run(*command, "--help").split())
    assert f"Example: ledgerock {' '.join(command)}" in text


def test_every_option_and_argument_has_help() -> None:
    root: Any = typer.main.get_command(app)
    for command in COMMANDS:
        here = root
        for name in command:
            here = here.commands[name]
        nameless = [parameter.name for parameter in here.params if not parameter.help]
        assert not nameless, command


def test_an_unknown_command_is_an_argument_error(run: Run) -> None:
    run("reprot", code=2, error="report")


def test_configuration_errors_are_one_line(run: Run) -> None:
    run("report", "--ledger", "mysql:x", code=2, error="ledgerock: --ledger mysql:x")
    run("verify", code=2, error="ledgerock replay PATH")
    run("prices", "show", "x.y", "--prices", "none.csv", code=2, error="none.csv: cannot be read")
    run("explain", "--registry", "none.toml", code=2, error="none.toml")


def test_a_passing_fault_that_does_not_pass_is_said_and_exits_with_1(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise TransientError("ledgerock.db: locked by another program")

    write_month(folder)
    monkeypatch.setattr("worker.replay.replay", fail)
    assert run("replay", "logs", code=1, error="ledgerock.db: locked by another program") == ""


def test_an_interrupted_replay_says_that_running_it_again_resumes(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupt(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    write_month(folder)
    monkeypatch.setattr("worker.replay.replay", interrupt)
    assert run("replay", "logs", code=130, error="running the same command again") == ""


def test_a_reader_that_goes_away_is_no_traceback(folder: Path) -> None:
    (folder / "many.json").write_bytes(lines(*(log(f"r{number}") for number in range(300))))
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "explain", "many.json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


TO_STDOUT = (
    ("report",),
    ("report", "--format", "csv"),
    ("quarantine", "list"),
    ("prices", "show", "amazon.nova-pro-v1:0"),
    ("verify", "--json"),
)


def answer_into(arguments: tuple[str, ...], shell: str) -> tuple[int, str]:
    """Run a command in a shell with its output redirected: its exit code and stderr."""
    words = [sys.executable, "-m", "worker", *arguments]
    script = f'exec "$@" {shell}'
    answer = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *words], stderr=subprocess.PIPE, text=True, check=False
    )
    return answer.returncode, answer.stderr


@pytest.mark.parametrize("arguments", TO_STDOUT, ids=" ".join)
def test_output_that_nobody_reads_ends_quietly(
    run: Run, folder: Path, arguments: tuple[str, ...]
) -> None:
    write_month(folder)
    run("replay", "logs")
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        answer = subprocess.run(
            [sys.executable, "-m", "worker", *arguments],
            stdout=nobody,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (answer.returncode, answer.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("report",), ("verify", "--json")], ids=" ".join)
def test_output_that_cannot_be_written_is_one_line(
    run: Run, folder: Path, arguments: tuple[str, ...]
) -> None:
    write_month(folder)
    run("replay", "logs")
    code, error = answer_into(arguments, ">/dev/full")
    assert code == 1
    assert error == (
        "ledgerock: standard output cannot be written (No space left on device); "
        "the result is incomplete\n"
    )
    code, error = answer_into(arguments, ">&-")
    assert (code, error.count("\n")) == (1, 1)
    assert "standard output is closed" in error


def test_other_errors_of_the_system_are_not_blamed_on_the_output(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_arguments: object, **_options: object) -> None:
        raise OSError(24, "Too many open files")

    write_month(folder)
    monkeypatch.setattr("worker.replay.replay", fail)
    with pytest.raises(OSError, match="Too many open files"):
        run("replay", "logs")


def test_the_environment_stands_for_options(
    run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_month(folder)
    monkeypatch.setenv("LEDGEROCK_LEDGER", "sqlite:elsewhere.db")
    run("replay", "logs", "--json")
    assert (folder / "elsewhere.db").exists()
    run("verify", "--ledger", "sqlite:elsewhere.db")


def test_options_win_over_the_environment() -> None:
    settings = Settings.read({"LEDGEROCK_LEDGER": "memory"}, ledger="sqlite:mine.db")
    assert settings.ledger == "sqlite:mine.db"
