"""Measure speed and memory as ratios: `python -m tests.bench`, one JSON document on stdout.

Every speed is a ratio to a competitor that ran in turn with ours, on the same machine, in the
same minutes; a bar that is missed is said and is no failure. Figures that disagree are one:
the exit code is then 1.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from tests.bench import dynamodb_rows, lambda_row, latency_row, queue_rows, rows, worker_memory
from tests.bench.measuring import DisagreementError, machine

CALLS: Final = 900_000
"""Distinct calls; a tenth of all records are copies, which makes a million."""
CALLS_QUICK: Final = 90_000
ROUNDS: Final = 3
PARTS: Final = (
    "pure",
    "replay",
    "memory",
    "units",
    "dynamodb",
    "queue",
    "latency",
    "worker",
    "lambda",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what was asked for and print the result."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the records")
    parser.add_argument("--calls", type=int, help="distinct calls of the replays")
    parser.add_argument("--rounds", type=int, help=f"rounds of each row (default {ROUNDS})")
    parser.add_argument("--only", choices=PARTS, action="append", help="measure only this part")
    options = parser.parse_args(arguments)
    calls = options.calls or (CALLS_QUICK if options.quick else CALLS)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    parts: dict[str, Callable[[], dict[str, Any]]] = {
        "pure": lambda: rows.pure_rows(rounds),
        "replay": lambda: rows.replay_rows(calls, rounds),
        "units": dynamodb_rows.unit_rows,
        "dynamodb": lambda: dynamodb_rows.commit_rows(rounds),
        "queue": lambda: queue_rows.queue_rows(rounds, quick=options.quick),
        "latency": lambda: latency_row.latency_rows(rounds, quick=options.quick),
        "worker": lambda: worker_memory.worker_rows(quick=options.quick),
        "lambda": lambda: lambda_row.lambda_rows(rounds),
        "memory": lambda: rows.memory_rows([calls // 10, calls * 3 // 10, calls]),
    }
    started = time.monotonic()
    result: dict[str, Any] = {"machine": machine()}
    code = 0
    for name in options.only or PARTS:
        try:
            result[name] = parts[name]()
        except DisagreementError as error:
            result[name] = {"disagreement": str(error)}
            code = 1
    result["load_average_after"] = machine()["load_average"]
    result["seconds"] = round(time.monotonic() - started, 1)
    print(json.dumps(result, indent=2))
    return code


if __name__ == "__main__":
    sys.exit(main())
