"""Write made-up traffic: `python -m worker.traffic DIR --profile demo|bench --seed 7 --calls N`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from worker.traffic.profile import bench_profile, demo_profile
from worker.traffic.sums import usd
from worker.traffic.traffic import Traffic

DEMO_CALLS: Final = 3_000
BENCH_CALLS: Final = 1_000_000


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files and say in one line, on stderr, what was written."""
    parser = argparse.ArgumentParser(prog="python -m worker.traffic", description=__doc__)
    parser.add_argument("directory", type=Path, help="gets logs/, registry.toml, expected.json")
    parser.add_argument("--profile", choices=("demo", "bench"), default="demo")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds make equal records")
    parser.add_argument("--calls", type=int, help="distinct calls (demo: about so many)")
    options = parser.parse_args(arguments)
    try:
        if options.profile == "demo":
            calls = DEMO_CALLS if options.calls is None else options.calls
            profile = demo_profile(options.seed, calls)
        else:
            calls = BENCH_CALLS if options.calls is None else options.calls
            profile = bench_profile(calls, options.seed)
        sums = Traffic(profile).write(options.directory)
    except (ValueError, FileExistsError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stderr.write(
        f"{sums.calls} calls in {sums.records} records, {sums.files} files, "
        f"{sums.bytes_written / 1e6:.1f} MB, {usd(sums.cost_pico_usd)} USD\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
