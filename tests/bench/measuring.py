"""What every row of the bench shares: children that measure, medians, facts of the machine."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

ROOT: Final = Path(__file__).resolve().parents[2]
CHILD_TIMEOUT_SECONDS: Final = 600
DIGITS: Final = 3
CORES: Final = 2
_BYTES_PER_UNIT: Final = 1 if sys.platform == "darwin" else 1024

Sense = Literal["at least", "at most"]


class DisagreementError(Exception):
    """Two ways to count the same records came to different figures."""


def say(text: str) -> None:
    """Report progress, away from the result."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def expect_equal(what: str, found: object, expected: object) -> None:
    """Refuse figures that differ.

    Raises:
        DisagreementError: They do.
    """
    if found != expected:
        raise DisagreementError(f"{what}: {str(found)[:200]} is not {str(expected)[:200]}")


def pin(cores: int) -> list[int] | None:
    """Keep this process, and those it will start, to so many cores; None if that is impossible."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    chosen = sorted(os.sched_getaffinity(0))[-cores:]
    os.sched_setaffinity(0, chosen)
    return chosen


def peak_rss_bytes(who: int) -> int:
    """Return the peak memory of this process, or of the largest of its finished children."""
    return resource.getrusage(who).ru_maxrss * _BYTES_PER_UNIT


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the median of some figures, with the least and the greatest."""
    return {
        "median": round(statistics.median(values), DIGITS),
        "min": round(min(values), DIGITS),
        "max": round(max(values), DIGITS),
    }


def judged(name: str, sense: Sense, bar: float, ratios: Sequence[float]) -> dict[str, Any]:
    """Return a row of the result: the bar, the ratio, and whether the one meets the other.

    Args:
        name: What was measured.
        sense: Whether the bar is a floor or a ceiling.
        bar: What the median is held against.
        ratios: One for each round.
    """
    ratio = spread(ratios)
    met = ratio["median"] >= bar if sense == "at least" else ratio["median"] <= bar
    return {"name": name, "bar": f"{sense} {bar}", "ratio": ratio, "met": met}


def run_child(module: str, request: Mapping[str, object]) -> dict[str, Any]:
    """Run a module of the bench in an interpreter of its own.

    Args:
        module: Its name in this package. It reads `request` as JSON from its argument and
            prints one JSON object.
        request: What to measure.

    Returns:
        What it printed, with `process_seconds`, its wall time from start to end, added.

    Raises:
        DisagreementError: It says that figures differ.
        RuntimeError: It failed in another way.
    """
    started = time.perf_counter()
    child = subprocess.run(
        [sys.executable, "-m", f"tests.bench.{module}", json.dumps(request)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        timeout=CHILD_TIMEOUT_SECONDS,
        check=False,
    )
    seconds = time.perf_counter() - started
    if child.returncode != 0:
        raise RuntimeError(f"tests.bench.{module} {request} failed: exit code {child.returncode}")
    result: dict[str, Any] = json.loads(child.stdout)
    if "disagreement" in result:
        raise DisagreementError(result["disagreement"])
    return {**result, "process_seconds": seconds}


def answer(result: Mapping[str, object]) -> None:
    """Print what a child found, for `run_child`."""
    sys.stdout.write(json.dumps(result))


def request() -> dict[str, Any]:
    """Return what `run_child` asks of this child."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    return asked


def machine() -> dict[str, object]:
    """Return the facts without which no figure means anything."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return {
        "cores": os.cpu_count(),
        "cores_usable": os.cpu_count() if affinity is None else len(affinity),
        "processor": platform.processor() or platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }
