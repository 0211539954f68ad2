"""Runs commands in process, in a folder of their own."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from worker.cli.main import app
from worker.settings import ENVIRONMENT

Run = Callable[..., str]

_COMMAND_OF: Final = cache(get_command)


@pytest.fixture(autouse=True)
def commands_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the commands: Typer's runner makes all of them anew, each time that it runs one."""
    monkeypatch.setattr("typer.testing._get_command", _COMMAND_OF)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ENVIRONMENT.values():
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def run(folder: Path) -> Run:
    def run(*arguments: str, code: int = 0, stdin: bytes | None = None, error: str = "") -> str:
        result = CliRunner().invoke(app, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        assert error in " ".join(result.stderr.split()), result.stderr
        assert "Traceback" not in result.stderr
        return result.stdout

    return run
