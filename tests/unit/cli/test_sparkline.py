from pathlib import Path

import pytest

from tests.unit.cli.conftest import Run
from tests.unit.cli.logs import log, write
from worker.cli.output import sparkline


@pytest.mark.parametrize(
    "values, shown",
    [
        ([1, 4, 8], "▁▄█"),
        ([10**15, 1, 0, 10**15], "█▁ █"),
        ([1, 2], ""),
        ([0, 0, 0], ""),
    ],
)
def test_only_nothing_is_blank(
    values: list[int], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.cli.output._speaks_unicode", lambda: True)
    assert sparkline(values) == shown


def test_days_without_calls_leave_a_gap(run: Run, folder: Path) -> None:
    days = ("01", "02", "05")
    write(folder / "one.json", *[log(f"r{day}", at=f"2026-10-{day}T12:00:00Z") for day in days])
    run("replay", "one.json")
    assert "2026-10-01  ██  █  2026-10-05" in run("report", "--by", "day")
    assert "2026-10  " not in run("report", "--by", "month").splitlines()[1]
