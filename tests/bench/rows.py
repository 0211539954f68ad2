"""The rows of the bench: what is run, what is compared, which bar is held against it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tests.bench.measuring import CORES, expect_equal, judged, run_child, say, spread
from tests.bench.workload import Workload, workload
from worker.traffic.prices import MODELS

PURE_RECORDS: Final = 100_000
PURE_BARS: Final = {500: 0.4, 10_000: 0.5}
MEMORY_LEDGER_BAR: Final = 3
SQLITE_BAR: Final = 7
RERUN_BAR: Final = 1
RSS_BAR_BYTES: Final = 200 * 1000 * 1000
RSS_GROWTH_BAR: Final = 1.2
"""How far the peak of the largest replay may exceed that of the one before: a third of its
size. Memory that grew with the records would triple."""

Rows = list[dict[str, Any]]


def pure_rows(rounds: int) -> dict[str, Any]:
    """Measure the pure path on one core."""
    say(f"pure path: {PURE_RECORDS:,} records, {rounds} rounds")
    asked = {"records": PURE_RECORDS, "batch_sizes": list(PURE_BARS), "rounds": rounds}
    found = run_child("pure_child", asked)
    taken: list[dict[str, float]] = found["rounds"]
    rows: Rows = []
    for size, bar in PURE_BARS.items():
        for loop, described in (("bare_plain", "bare loop"), ("bare", "bare loop with types")):
            name = f"speed of the pure path in batches of {size:,} / of the {described}"
            ratios = [seconds[loop] / seconds[str(size)] for seconds in taken]
            rows.append(judged(name, "at least", bar, ratios))
    return {
        "rows": rows,
        "records": found["records"],
        "mean_line_bytes": found["mean_line_bytes"],
        "groups_of_the_bare_loop": found["groups_of_the_bare_loop"],
        "pinned_to_core": found["pinned_to"],
        "rounds": rounds,
        "seconds": {name: spread([seconds[name] for seconds in taken]) for name in taken[0]},
    }


def replay_rows(calls: int, rounds: int) -> dict[str, Any]:
    """Measure replays against DuckDB, interleaved."""
    work = workload(calls)
    work.warm()
    taken: dict[str, list[dict[str, Any]]] = {}
    for number in range(rounds):
        say(f"replay: {work.expected['records']:,} records, round {number + 1} of {rounds}")
        for name, result in _replay_round(work).items():
            taken.setdefault(name, []).append(result)
            say(f"  {name}: {result['seconds']:.2f} s")
    ratios = {
        "memory": _ratios(taken["memory"], taken["duckdb_before_memory"]),
        "sqlite": _ratios(taken["sqlite"], taken["duckdb_before_sqlite"]),
        "rerun": _ratios(taken["sqlite_rerun"], taken["sqlite"]),
    }
    duckdb = "of DuckDB's read_json, distinct, group by"
    rows = [
        judged(
            f"time of a replay into memory / {duckdb}",
            "at most",
            MEMORY_LEDGER_BAR,
            ratios["memory"],
        ),
        judged(f"time of a replay into SQLite / {duckdb}", "at most", SQLITE_BAR, ratios["sqlite"]),
        judged(
            "time of a rerun into SQLite / of its first run", "at most", RERUN_BAR, ratios["rerun"]
        ),
    ]
    return {
        "rows": rows,
        "records": work.expected["records"],
        "calls": work.expected["total"]["calls"],
        "files": work.expected["files"],
        "stored_bytes": work.expected["bytes_written"],
        "cores": CORES,
        "rounds": rounds,
        "duckdb_version": taken["duckdb_before_memory"][0]["version"],
        "seconds": {name: spread([one["seconds"] for one in runs]) for name, runs in taken.items()},
        "seconds_with_start_of_the_interpreter": {
            name: spread([one["process_seconds"] for one in runs]) for name, runs in taken.items()
        },
        "agreement": "calls, tokens and cost of DuckDB, of every replay and of the generator",
    }


def memory_rows(sizes: Sequence[int]) -> dict[str, Any]:
    """Weigh replays into SQLite of several sizes, by process."""
    peaks: dict[int, dict[str, int]] = {}
    for calls in sizes:
        work = workload(calls)
        say(f"memory: {work.expected['records']:,} records")
        with tempfile.TemporaryDirectory(prefix="ledgerock-bench-") as folder:
            result = _replay(work, f"sqlite:{folder}/ledger.db")
        _check_first(work, result)
        peaks[work.expected["records"]] = result["peak_rss_bytes"]
    rows: Rows = []
    smaller, largest = list(peaks)[-2:]
    for process, peak in peaks[largest].items():
        name = f"peak memory of the {process}, {largest:,} records"
        before = peaks[smaller][process]
        rows.append(judged(f"{name} / 200 MB", "at most", 1, [peak / RSS_BAR_BYTES]))
        if before:  # a small replay needs no processes beside its own
            growth = [peak / before]
            rows.append(judged(f"{name} / {smaller:,}", "at most", RSS_GROWTH_BAR, growth))
    return {"rows": rows, "peak_rss_bytes": peaks}


def _replay_round(work: Workload) -> dict[str, dict[str, Any]]:
    """Run everything once, one after the other, and compare all figures."""
    before_memory = _duckdb(work)
    memory = _replay(work, "memory")
    _check_first(work, memory)
    before_sqlite = _duckdb(work)
    with tempfile.TemporaryDirectory(prefix="ledgerock-bench-") as folder:
        ledger = f"sqlite:{Path(folder, 'ledger.db')}"
        first = _replay(work, ledger)
        _check_first(work, first)
        rerun = _replay(work, ledger)
    expect_equal("rerun: calls recorded anew", rerun["recorded"], 0)
    expect_equal("rerun: duplicates", rerun["duplicates"], work.expected["records"])
    _check_books(work, rerun)
    return {
        "duckdb_before_memory": before_memory,
        "memory": memory,
        "duckdb_before_sqlite": before_sqlite,
        "sqlite": first,
        "sqlite_rerun": rerun,
    }


def _duckdb(work: Workload) -> dict[str, Any]:
    result = run_child("duckdb_child", {"glob": f"{work.logs}/**/*.json.gz"})
    _check_duckdb(work, result)
    return result


def _replay(work: Workload, ledger: str) -> dict[str, Any]:
    asked = {"ledger": ledger, "registry": str(work.registry), "logs": str(work.logs)}
    return run_child("replay_child", asked)


def _ratios(ours: Rows, theirs: Rows) -> list[float]:
    return [mine["seconds"] / other["seconds"] for mine, other in zip(ours, theirs, strict=True)]


def _check_first(work: Workload, result: dict[str, Any]) -> None:
    expect_equal("replay: records", result["records"], work.expected["records"])
    expect_equal("replay: duplicates", result["duplicates"], work.expected["duplicates"])
    expect_equal("replay: totals", result["posted"], _flat(work.expected["total"]))
    _check_books(work, result)


def _check_books(work: Workload, result: dict[str, Any]) -> None:
    for scope in ("by_principal", "by_model"):
        expected = {key: _flat(total) for key, total in work.expected[scope].items()}
        for key in expected.keys() | result[scope].keys():
            expect_equal(f"replay: {scope} {key}", result[scope].get(key), expected.get(key))


def _flat(total: dict[str, Any]) -> dict[str, int]:
    names = ("calls", "cost_pico_usd", "estimated_calls", "unpriced_calls")
    return {**{name: total[name] for name in names}, **total["tokens"]}


def _check_duckdb(work: Workload, result: dict[str, Any]) -> None:
    """Compare the competitor's sums; it prices every cache write as one of five minutes."""
    by_model = {key: _flat(total) for key, total in work.expected["by_model"].items()}
    expect_equal("DuckDB: models", sorted(result["by_model"]), sorted(by_model))
    prices = {model.model: model.price for model in MODELS if model.model in by_model}
    for model, total in by_model.items():
        price = prices[model]
        dearer = price.cache_write_1h - price.cache_write_5m
        expected = {
            "calls": total["calls"],
            "input": total["input"],
            "output": total["output"],
            "cache_read": total["cache_read"],
            "cache_write": total["cache_write_5m"] + total["cache_write_1h"],
            "cost_pico_usd": total["cost_pico_usd"] - total["cache_write_1h"] * dearer,
        }
        expect_equal(f"DuckDB: {model}", result["by_model"][model], expected)
