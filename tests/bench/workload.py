"""The generator's bench workload, as files that are kept between runs."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import worker.traffic
from tests.bench.measuring import ROOT, say
from worker.traffic.profile import bench_profile
from worker.traffic.traffic import Traffic

SEED: Final = 7
CACHE: Final = ROOT / "build" / "bench"


class StillClock:
    """A clock that stands so many days after the workload's first."""

    def __init__(self, days: int = 0) -> None:
        started = date.fromisoformat(bench_profile(0, SEED).start)
        self._now_ms = ((started - date(1970, 1, 1)).days + days) * 86_400_000

    def now_ms(self) -> int:
        return self._now_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """Log objects on disk.

    Attributes:
        directory: Holds `logs/`, `registry.toml` and `expected.json`.
        expected: What the generator says they add up to.
    """

    directory: Path
    expected: dict[str, Any]

    @property
    def logs(self) -> Path:
        """The folder of the log objects."""
        return self.directory / "logs"

    @property
    def registry(self) -> Path:
        """The registry that the sums presume."""
        return self.directory / "registry.toml"

    def warm(self) -> None:
        """Read all files once, so that no first reader pays for the disk."""
        for path in self.logs.rglob("*.gz"):
            path.read_bytes()


def workload(calls: int) -> Workload:
    """Return the workload of so many distinct calls; it is made on first use."""
    directory = CACHE / f"traffic-{calls}-{SEED}-{_GENERATOR}"
    if not (directory / "expected.json").exists():
        say(f"making {calls:,} calls in {directory.relative_to(ROOT)}")
        for outdated in CACHE.glob(f"traffic-{calls}-{SEED}-*"):
            shutil.rmtree(outdated)
        Traffic(bench_profile(calls, SEED)).write(directory)
    expected = json.loads((directory / "expected.json").read_text(encoding="utf-8"))
    return Workload(directory=directory, expected=expected)


def _generator_digest() -> str:
    """Return digits that change with the generator, so that no stale files are measured."""
    digest = hashlib.sha256()
    for path in sorted(Path(worker.traffic.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


# Taken when the generator is imported: an edit during a run must not mislabel its files.
_GENERATOR: Final = _generator_digest()
