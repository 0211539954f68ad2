"""Waits until the worker is ready, and says what to do next: `python -m tools.laptop.ready`."""

import sys
import time
from typing import Final

from tools.laptop.host import is_ready, worker_port

WAIT_SECONDS: Final = 120

NEXT: Final = """\
the pipeline runs: made-up calls arrive, the worker books them

  make watch                      spend, budgets and crossings as they come
  make load RATE=50 SECONDS=30    drive more traffic through it, and count what came of it
  make down                       remove it all
"""


def main() -> int:
    """Wait."""
    sys.stderr.write("waiting for the worker\n")
    deadline = time.monotonic() + WAIT_SECONDS
    while not is_ready():
        if time.monotonic() > deadline:
            sys.stderr.write(f"port {worker_port()}: /readyz does not say that it is ready\n")
            return 1
        time.sleep(0.5)
    sys.stderr.write(NEXT)
    return 0


if __name__ == "__main__":
    sys.exit(main())
