import json
from pathlib import Path

import pytest

from worker.traffic.__main__ import main


def test_the_command_writes_the_profile_that_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--profile", "bench", "--seed", "3", "--calls", "50"]) == 0
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.startswith("50 calls in ")
    assert json.loads((tmp_path / "expected.json").read_text())["total"]["calls"] == 50


def test_the_command_refuses_a_folder_with_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path), "--calls", "40"]) == 0
    assert main([str(tmp_path), "--calls", "40"]) == 2
    assert "is not empty" in capsys.readouterr().err
