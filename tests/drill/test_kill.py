"""Kill a replay at random points, run it again: the books are those of an undisturbed run."""

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from worker.traffic import Traffic, bench_profile, demo_profile

ROOT = Path(__file__).parents[2]
KILLS = 25
"""For each number of jobs: fifty altogether."""
SEED = 20_261_122
CALLS_BENCH = 60_000
CALLS_DEMO = 2_000
DYING_SECONDS = 20.0

Outcome = dict[str, Any]


class Replay:
    """One ledger, and the commands on it, in processes of their own."""

    def __init__(self, logs: Path, folder: Path) -> None:
        self.logs = logs
        self.folder = folder
        self.registry = logs / "registry.toml"

    def _command(self, jobs: int) -> list[str]:
        code = (
            "import asyncio, sys; from pathlib import Path;"
            "from worker.replay import replay; from worker.settings import Settings;"
            "ledger, registry, logs, jobs = sys.argv[1:];"
            "settings = Settings(ledger=ledger, registry=Path(registry));"
            "f = asyncio.run(replay(settings, [logs], jobs=int(jobs)));"
            "print(f.records, f.recorded, f.upgraded, f.duplicates, f.ignored, f.quarantined,"
            " f.calls)"
        )
        return [
            *(sys.executable, "-c", f"if __name__ == '__main__':\n  {code}"),
            *(f"sqlite:{self.folder}/ledger.db", str(self.registry)),
            *(str(self.logs / "logs"), str(jobs)),
        ]

    def start(self, jobs: int) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command(jobs),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    def run(self, jobs: int) -> list[int]:
        """Run to the end; return records, the five results, and calls."""
        done = self.start(jobs)
        out, error = done.communicate(timeout=120)
        assert done.returncode == 0, error
        figures = [int(word) for word in out.split()]
        assert figures[0] == sum(figures[1:6])
        return figures

    def outcome(self) -> Outcome:
        """Everything that is in the books and in quarantine; the books must be sound."""
        return asyncio.run(self._outcome())

    async def _outcome(self) -> Outcome:
        # Imported here, so that collecting the drills stays cheap.
        from tests.calls import documents  # noqa: PLC0415
        from worker.adapters.clock import SystemClock  # noqa: PLC0415
        from worker.adapters.quarantine_files import FileQuarantine  # noqa: PLC0415
        from worker.adapters.sqlite_ledger import SqliteLedger  # noqa: PLC0415

        ledger = SqliteLedger(self.folder / "ledger.db")
        verification = await ledger.verify()
        assert verification.differences == ()
        reports = json.loads(await documents(ledger))
        await ledger.close()
        aside = FileQuarantine(self.folder / "ledger.db.quarantine", SystemClock())
        return {
            "entries": verification.entries,
            "balances": verification.balances,
            "reports": reports,
            "quarantined": [(item.id, item.record.body) async for item in aside.items()],
        }


def children_of(pid: int) -> set[int]:
    """Every descendant of a process."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found |= {child} | children_of(child)
    return found


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def await_death(pids: set[int]) -> None:
    give_up_at = time.monotonic() + DYING_SECONDS
    while alive := {pid for pid in pids if is_alive(pid)}:
        assert time.monotonic() < give_up_at, f"still alive after the parent's death: {alive}"
        time.sleep(0.02)


def decoders_of(pid: int) -> list[int]:
    """The decoder processes of a replay, not the interpreter's own helpers."""
    found = []
    for child in children_of(pid):
        with contextlib.suppress(FileNotFoundError):
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(child)
    return found


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The everyday traffic and every special shape, in one folder."""
    folder = tmp_path_factory.mktemp("traffic")
    Traffic(demo_profile(SEED, CALLS_DEMO)).write(folder)
    bench = tmp_path_factory.mktemp("bench")
    Traffic(bench_profile(CALLS_BENCH, SEED)).write(bench)
    (bench / "logs").rename(folder / "logs" / "bench")
    return folder


@pytest.fixture(scope="module")
def undisturbed(logs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, float]:
    replay = Replay(logs, tmp_path_factory.mktemp("undisturbed"))
    started = time.monotonic()
    figures = replay.run(jobs=1)
    seconds = time.monotonic() - started
    outcome = replay.outcome()
    assert outcome["entries"] == figures[6] > CALLS_BENCH
    assert outcome["quarantined"]
    return outcome, seconds


@pytest.fixture
def on_linux() -> None:
    if not Path("/proc/self/task").exists():
        pytest.skip("watches processes through /proc, which only Linux has")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.usefixtures("on_linux")
def test_a_replay_that_was_killed_is_finished_by_the_next(
    logs: Path, undisturbed: tuple[Outcome, float], tmp_path: Path, jobs: int
) -> None:
    expected, seconds = undisturbed
    dice = random.Random(SEED + jobs)
    killed = resumed = 0
    for number in range(KILLS):
        folder = tmp_path / str(number)
        folder.mkdir()
        replay = Replay(logs, folder)
        process = replay.start(jobs)
        # Well before its end, for a machine that has more to do now than it had before.
        time.sleep(dice.uniform(0.05, 0.7 * seconds))
        children = children_of(process.pid) if process.poll() is None else set()
        process.kill()
        process.communicate(timeout=60)
        await_death(children)
        killed += process.returncode == -signal.SIGKILL
        figures = replay.run(jobs)
        resumed += figures[3] > expected["entries"] // 2
        assert figures[6] == expected["entries"]
        assert replay.outcome() == expected
    # The drill is one only if it kills, and kills in the middle.
    assert killed >= KILLS // 2
    assert resumed >= 1


@pytest.mark.usefixtures("on_linux")
def test_a_replay_whose_decoder_is_killed_says_so_and_can_be_run_again(
    logs: Path, undisturbed: tuple[Outcome, float], tmp_path: Path
) -> None:
    expected, seconds = undisturbed
    dice = random.Random(SEED)
    failed = 0
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        replay = Replay(logs, folder)
        process = replay.start(jobs=2)
        give_up_at = time.monotonic() + DYING_SECONDS
        while len(decoders := decoders_of(process.pid)) < 2:
            assert time.monotonic() < give_up_at
            time.sleep(0.01)
        time.sleep(dice.uniform(0, seconds / 2))
        with contextlib.suppress(ProcessLookupError):
            os.kill(dice.choice(decoders), signal.SIGKILL)
        _, error = process.communicate(timeout=60)
        if process.returncode != 0:
            failed += 1
            assert "a decoder process ended early (exit code -9)" in error
            assert "run the same replay again" in error
        await_death(set(decoders))
        replay.run(jobs=2)
        assert replay.outcome() == expected
    assert failed >= 1
