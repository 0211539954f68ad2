"""Feeds the pipeline until it is told to stop: `python -m tools.laptop.traffic`.

LEDGEROCK_TRAFFIC_RATE says how many calls there are a second.
"""

import asyncio
import os
import signal
import sys
import time
from typing import Final

from tools.laptop.publishing import Publisher
from worker.core.errors import LedgerockError
from worker.traffic.live import LiveTraffic, company
from worker.traffic.sums import usd

RATE_DEFAULT: Final = 5.0
FLUSH_SECONDS: Final = 1.0
SAY_SECONDS: Final = 30.0


async def run(rate: float, seed: int) -> None:
    """Make calls at a steady rate and deliver them once a second."""
    traffic, publisher = LiveTraffic(company(), seed), Publisher(f"traffic-{seed}")
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for one in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(one, stopping.set)
    began = said = time.monotonic()
    made = 0
    try:
        while not stopping.is_set():
            due = int((time.monotonic() - began) * rate) + 1
            for _ in range(due - made):
                publisher.add(traffic.call(time.time_ns() // 1_000_000))
            made = due
            try:
                await publisher.flush()
            except* LedgerockError as faults:
                # Its calls are lost to the demonstration; what follows is what matters.
                sys.stderr.write(f"not delivered: {faults.exceptions[0]}\n")
            if time.monotonic() - said >= SAY_SECONDS:
                said = time.monotonic()
                sums = traffic.sums
                sys.stderr.write(f"{sums.calls} calls, {usd(sums.cost_pico_usd)} USD so far\n")
            try:
                await asyncio.wait_for(stopping.wait(), FLUSH_SECONDS)
            except TimeoutError:
                continue
    finally:
        await publisher.close()
        sys.stderr.write(f"{made} calls made\n")


def main() -> int:
    """Read the environment and run."""
    rate = float(os.environ.get("LEDGEROCK_TRAFFIC_RATE") or RATE_DEFAULT)
    # Another seed with each start: no request id comes again.
    asyncio.run(run(rate, seed=time.time_ns()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
