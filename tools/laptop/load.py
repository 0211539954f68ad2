"""Drives traffic through the pipeline and counts what came of it, behind `make load`.

    python -m tools.laptop.load --rate 20 --seconds 30 [--json]

The calls come from an account of their own, so that whatever else arrives does not matter. Exit
code 0: every call was booked, once, and the books agree with the generator's sums to the last
pico-dollar; 1: they do not.
"""

import argparse
import asyncio
import json
import sys
import time
from datetime import date
from typing import Any, Final

from rich.console import Console

from tools.laptop.crossings import CrossingWatch
from tools.laptop.host import SETTINGS, is_ready, read_metrics, use_pipeline
from tools.laptop.load_report import Booked, Lags, Ran, booked_of, print_report, report_document
from tools.laptop.publishing import Publisher
from worker.bootstrap import open_ledger
from worker.ports import Ledger
from worker.traffic.live import LiveTraffic, visitors

TICK_SECONDS: Final = 0.1
"""Calls of so long are delivered together."""
PROBES_PER_SECOND: Final = 2.0
PROBE_SECONDS: Final = 0.1
"""How often the ledger is asked for a call, and so how exact a lag is."""
EPOCH: Final = date(1970, 1, 1).toordinal()


class Prober:
    """Asks the ledger for some of the calls until they are booked."""

    def __init__(self, ledger: Ledger, seconds_max: float) -> None:
        """Ask for nothing yet."""
        self.lags = Lags()
        self._ledger = ledger
        self._seconds_max = seconds_max
        self._tasks: set[asyncio.Task[None]] = set()
        self._next = 0.0

    def offer(self, request: str, made: float) -> None:
        """Take a call that was made at a time of the monotonic clock, if it is time for one."""
        if made >= self._next:
            self._next = made + 1 / PROBES_PER_SECOND
            self._tasks.add(asyncio.create_task(self._probe(request, made)))

    async def finish(self) -> None:
        """Wait for what is still being asked for."""
        await asyncio.gather(*self._tasks)

    async def _probe(self, request: str, made: float) -> None:
        while not await self._ledger.find(request):
            if time.monotonic() - made > self._seconds_max:
                self.lags.missing += 1
                return
            await asyncio.sleep(PROBE_SECONDS)
        self.lags.seconds.append(time.monotonic() - made)


async def drive(
    traffic: LiveTraffic, publisher: Publisher, rate: float, seconds: float, prober: Prober,
    crossings: CrossingWatch,
) -> float:  # fmt: skip
    """Make calls at a rate and deliver them; return how long that took."""
    began, made, calls = time.monotonic(), 0, round(rate * seconds)
    while made < calls:
        due = min(calls, int((time.monotonic() - began) * rate))
        while made < due:
            call = traffic.call(time.time_ns() // 1_000_000)
            now = time.monotonic()
            publisher.add(call)
            prober.offer(call.request, now)
            crossings.spent(traffic.sums.cost_pico_usd, now)
            made += 1
        await publisher.flush()
        await asyncio.sleep(TICK_SECONDS)
    return time.monotonic() - began


async def settled(
    ledger: Ledger, traffic: LiveTraffic, account: str, wait_seconds: float
) -> Booked:
    """Wait until the books agree with the sums, or for long enough; return the books."""
    deadline = time.monotonic() + wait_seconds
    days = [date.fromisoformat(day).toordinal() - EPOCH for day in traffic.sums.by_day]
    while True:
        booked = booked_of(await ledger.balances(min(days), max(days)), account)
        agrees = (
            booked.total.calls == traffic.sums.calls
            and booked.total.cost_pico_usd == traffic.sums.cost_pico_usd
        )
        if agrees or time.monotonic() > deadline:
            return booked
        await asyncio.sleep(1.0)


async def load(options: argparse.Namespace) -> dict[str, Any]:
    """Run the load and return its report."""
    use_pipeline()
    seed = time.time_ns() if options.seed is None else options.seed
    account = f"9{time.time_ns() // 1_000 % 10**11:011d}"
    traffic = LiveTraffic(visitors(account), seed)
    ledger, publisher = open_ledger(SETTINGS), Publisher(f"load-{account}")
    prober = Prober(ledger, options.wait)
    try:
        async with CrossingWatch.of(account, options.rate * options.seconds) as crossings:
            before = await asyncio.to_thread(read_metrics)
            elapsed = await drive(
                traffic, publisher, options.rate, options.seconds, prober, crossings
            )
            sent_at = time.monotonic()
            booked = await settled(ledger, traffic, account, options.wait)
            settling = time.monotonic() - sent_at
            await prober.finish()
            await crossings.finish(options.wait)
            after = await asyncio.to_thread(read_metrics)
        return report_document(
            Ran(
                traffic=traffic,
                booked=booked,
                lags=prober.lags,
                crossings=crossings,
                publisher=publisher,
                metrics=after.since(before),
            ),
            {
                "account": account,
                "seed": seed,
                "rate": options.rate,
                "achieved_rate": round(traffic.sums.calls / elapsed, 1),
                "seconds": round(elapsed, 1),
                "settling_seconds": round(settling, 1),
            },
        )
    finally:
        await publisher.close()
        await ledger.close()


def main() -> int:
    """Read the arguments, run, and report."""
    parser = argparse.ArgumentParser(prog="python -m tools.laptop.load", description=__doc__)
    parser.add_argument("--rate", type=float, default=20.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=30.0, help="for how long")
    parser.add_argument("--wait", type=float, default=90.0, help="seconds that booking may take")
    parser.add_argument("--seed", type=int, help="of the calls; another one each time by default")
    parser.add_argument("--json", action="store_true", help="nothing but one JSON document")
    options = parser.parse_args()
    if options.rate <= 0 or options.seconds <= 0:
        parser.error("--rate and --seconds must be above 0")
    if not is_ready():
        sys.stderr.write("the pipeline does not answer, or is not ready: make up\n")
        return 1
    sys.stderr.write(f"{options.rate:g} calls a second for {options.seconds:g} s\n")
    document = asyncio.run(load(options))
    if not options.json:
        print_report(document, Console(stderr=True))
    sys.stdout.write(f"{json.dumps(document, indent=2)}\n")
    return 0 if document["exact"] else 1


if __name__ == "__main__":
    sys.exit(main())
