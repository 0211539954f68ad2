"""The row on latency: from a call in SQS to its crossing on EventBridge.

Queue, tables and bus are one LocalStack, as in the compose pipeline; the worker is a process
with default settings. Each probe is a call of a principal whose budget it brings to its limit,
so that each has one crossing, and that crossing's id tells which call it was. A rule puts the
events into a queue, from which a plain long-poller takes them: that second trip through a queue
is counted against us.

The yardsticks are taken in turn with it: the same messages at the same pace through a queue to
a plain long-poller, and single calls committed to a ledger by nobody else.
"""

import asyncio
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench.dynamodb_child import CALLS, folded_lines
from tests.bench.latency_probes import (
    Probes,
    collected,
    percentile,
    send_others,
    send_probes,
    watched,
)
from tests.bench.measuring import judged, say, spread
from tests.bench.queue_engine import REGISTRY, fill, registered, settled, until_settled
from tests.bench.workload import SEED
from tests.calls import ACCOUNT
from tests.conftest import container_engine_problem
from tests.dynamodb import client, ledger_at, localstack_endpoint, new_prefix
from tests.records import line, log
from tests.workers import WorkerProcess, aws, new_queue
from worker.adapters.dynamodb_budgets import DynamoBudgets
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_state import StateTable
from worker.core.budget import crossing_id
from worker.core.budget_periods import period_at
from worker.core.budget_terms import Budget, Scope
from worker.core.posting import Poster
from worker.traffic.profile import bench_profile
from worker.traffic.traffic import Traffic

BAR: Final = 3
SHARE: Final = 0.99
HALF: Final = 0.5
SLOW_PER_SECOND: Final = 1.0
PROBES_PER_SECOND: Final = 5.0
"""How many of the messages are probes where there are others."""
BUDGETS_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much is measured in one round."""

    slow: int
    fast: int
    calls: int
    commits: int


FULL: Final = Size(slow=40, fast=100, calls=4_000, commits=100)
QUICK: Final = Size(slow=4, fast=10, calls=400, commits=10)


@dataclass(slots=True, kw_only=True)
class Bench:
    """Everything that is there while it is measured.

    Attributes:
        sqs: A client to send with.
        queue: The worker's queue.
        other: The queue that is measured alone.
        worker: The worker.
        lines: Calls that are no probes.
        names: Crossings' ids by the number of their probe.
        probes: What is under way.
    """

    sqs: Any
    queue: str
    other: str
    worker: WorkerProcess
    lines: Iterator[bytes]
    names: dict[int, str]
    probes: Probes

    def see(self, name: str) -> None:
        """Note what arrived at the end of either way."""
        self.probes.see(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How many messages a second, and how many of them are probes."""

    per_second: float
    probes_per_second: float
    probes: int


@dataclass(slots=True)
class Taken:
    """Milliseconds of one round at one pace."""

    crossing: list[float]
    queue: list[float]
    commit: list[float] = field(default_factory=list)

    def ratio(self) -> float:
        """Return the crossing's p99 in units of the queue's and a commit's."""
        crossing, queue, commit = (
            percentile(one, SHARE) for one in (self.crossing, self.queue, self.commit)
        )
        return crossing / (queue + commit)

    def strict_ratio(self) -> float:
        """Return it by the other reading of the bar: three times the queue's, plus one commit."""
        crossing, queue, commit = (
            percentile(one, SHARE) for one in (self.crossing, self.queue, self.commit)
        )
        return BAR * crossing / (BAR * queue + commit)


def latency_rows(rounds: int, *, quick: bool = False) -> dict[str, Any]:
    """Measure at one message a second, and at half of what the pipeline can do."""
    problem = container_engine_problem()
    if problem is not None:
        return {"rows": [], "not_measured": problem}
    return asyncio.run(_rows(rounds, QUICK if quick else FULL))


async def _rows(rounds: int, size: Size) -> dict[str, Any]:
    probes = rounds * (size.slow + size.fast)
    with tempfile.TemporaryDirectory(prefix="ledgerock-bench-") as folder:
        traffic = Traffic(bench_profile(CALLS, SEED))
        poster = registered(traffic, Path(folder))
        prefix, bus = new_prefix(), f"bench-{uuid.uuid4().hex}"
        say(f"latency: setting {probes} budgets")
        names = await _budgets(prefix, probes, poster)
        async with collected(bus) as collecting, aws("sqs") as sqs:
            queue, other = await new_queue(sqs), await new_queue(sqs)
            worker = _worker(Path(folder), prefix, queue, bus)
            try:
                await asyncio.to_thread(worker.until_ready)
                bench = Bench(
                    sqs=sqs,
                    queue=queue,
                    other=other,
                    worker=worker,
                    lines=traffic.lines(),
                    names=names,
                    probes=Probes({}),
                )
                # From the start to the end: what a poll that was given up had been handed, stays
                # hidden for half a minute.
                async with (
                    watched(other, bench.see, lambda body: str(body["requestId"])),
                    watched(collecting, bench.see, lambda body: str(body["detail"]["event_id"])),
                ):
                    return await _measure(bench, rounds, size, poster)
            finally:
                worker.terminate()
                for made in (queue, other):
                    await sqs.delete_queue(QueueUrl=made)
                await _drop(prefix)


async def _measure(bench: Bench, rounds: int, size: Size, poster: Poster) -> dict[str, Any]:
    rate = await _rate_max(bench, size.calls)
    say(f"latency: at most {rate:.0f} calls a second")
    paces = {
        "1 a second": Pace(
            per_second=SLOW_PER_SECOND, probes_per_second=SLOW_PER_SECOND, probes=size.slow
        ),
        "half of the most": Pace(
            per_second=max(HALF * rate, PROBES_PER_SECOND),
            probes_per_second=PROBES_PER_SECOND,
            probes=size.fast,
        ),
    }
    numbers = iter(bench.names)
    taken: dict[str, list[Taken]] = {name: [] for name in paces}
    for current in range(rounds):
        for name, pace in paces.items():
            chosen = [next(numbers) for _ in range(pace.probes)]
            one = await _round(bench, chosen, pace)
            one.commit = await _commits(size.commits, poster)
            taken[name].append(one)
            say(f"latency, round {current + 1} of {rounds}, {name}: ratio {one.ratio():.2f}")
    what = "p99 from a call in SQS to its crossing on EventBridge / of the queue and a commit"
    return {
        "rows": [
            judged(f"{what}, {name}", "at most", BAR, [one.ratio() for one in runs])
            for name, runs in taken.items()
        ],
        "rounds": rounds,
        "maximum_calls_per_second": round(rate, 1),
        "calls_per_second": {name: round(pace.per_second, 1) for name, pace in paces.items()},
        "milliseconds": {name: _figures(runs) for name, runs in taken.items()},
        "p99_in_thirds_of_three_times_the_queue_plus_one_commit": {
            name: spread([one.strict_ratio() for one in runs]) for name, runs in taken.items()
        },
        "agreement": "every probe has its crossing, by its id",
    }


def _figures(runs: list[Taken]) -> dict[str, dict[str, float]]:
    """Return percentiles over all rounds."""
    figures: dict[str, dict[str, float]] = {}
    for what in ("crossing", "queue", "commit"):
        values = [value for one in runs for value in getattr(one, what)]
        shares = {"p50": 0.5, "p99": SHARE, "max": 1.0}
        found = {name: round(percentile(values, share), 1) for name, share in shares.items()}
        figures[what] = {**found, "count": len(values)}
    return figures


# --- One round --------------------------------------------------------------------------------


async def _round(bench: Bench, chosen: list[int], pace: Pace) -> Taken:
    """Measure the queue alone, then the whole way, at one pace."""
    bodies = {number: log(number, user=_user(number), at_ms=_now_ms()) for number in chosen}
    alone = Probes({body["requestId"]: line(body).decode() for body in bodies.values()})
    await _drive(bench, bench.other, alone, pace)
    whole = Probes({bench.names[number]: line(body).decode() for number, body in bodies.items()})
    before = settled(bench.worker)
    sent = await _drive(bench, bench.queue, whole, pace)
    await until_settled(bench.worker, before + sent)
    return Taken(crossing=whole.milliseconds(), queue=alone.milliseconds())


async def _drive(bench: Bench, queue: str, probes: Probes, pace: Pace) -> int:
    """Send probes and other messages, and wait for the probes; return how many were sent."""
    bench.probes = probes
    others = pace.per_second - pace.probes_per_second
    seconds = pace.probes / pace.probes_per_second
    async with aws("sqs") as sqs:
        sending = asyncio.create_task(send_others(sqs, queue, bench.lines, others, seconds))
        await send_probes(bench.sqs, queue, probes, pace.probes_per_second)
        sent = await sending
    await probes.all_seen()
    return sent + pace.probes


async def _rate_max(bench: Bench, calls: int) -> float:
    """Return how many calls a second can be sent and booked at once, for as long as one likes."""
    before = settled(bench.worker)
    bodies = [next(bench.lines).decode() for _ in range(calls)]
    started = time.perf_counter()
    await fill(bench.sqs, bench.queue, bodies)
    await until_settled(bench.worker, before + calls)
    return calls / (time.perf_counter() - started)


async def _commits(count: int, poster: Poster) -> list[float]:
    """Commit single calls of callers that are known; return the milliseconds of each."""
    prefix = new_prefix()
    first, *batches = (
        folded_lines([line(log(number, user=_user(number % 10), at_ms=_now_ms()))], 1, poster)[0]
        for number in range(count + 1)
    )
    taken = []
    async with ledger_at(localstack_endpoint(), prefix) as ledger:
        for number in range(10):
            known = line(log(10**6 + number, user=_user(number), at_ms=_now_ms()))
            await ledger.commit(folded_lines([known], 1, poster)[0], poster)
        await ledger.commit(first, poster)
        for batch in batches:
            started = time.perf_counter()
            await ledger.commit(batch, poster)
            taken.append(1000 * (time.perf_counter() - started))
    await _drop(prefix, tables=("entries", "balances"))
    return taken


# --- What is there beforehand -----------------------------------------------------------------


async def _budgets(prefix: str, probes: int, poster: Poster) -> dict[int, str]:
    """Book a call of each probe's caller, and set a limit that one more reaches."""
    now_ms = _now_ms()
    earlier = [line(log(10**6 + one, user=_user(one), at_ms=now_ms)) for one in range(probes)]
    async with ledger_at(localstack_endpoint(), prefix) as ledger:
        booked = [await ledger.commit(one, poster) for one in folded_lines(earlier, 500, poster)]
    cost = booked[0].postings[0][1].cost_pico_usd
    names: dict[int, str] = {}
    async with client(localstack_endpoint()) as opened:
        table = StateTable(prefix, dynamo=Dynamo(opened), create_tables=True)
        store, at_once = DynamoBudgets(table), asyncio.Semaphore(BUDGETS_AT_ONCE)

        async def put(budget: Budget) -> None:
            async with at_once:
                await store.put(budget)

        budgets = []
        for number in range(probes):
            budget = Budget(
                name=f"probe-{number}",
                scope=Scope("principal", f"user/{ACCOUNT}/{_user(number)}"),
                limit_amount=cost * 3 // 2,
                thresholds=(100,),
                created_at_ms=now_ms,
            )
            period = period_at(budget, now_ms, poster.registry)
            names[number] = crossing_id(budget, period.first_day, 100)
            budgets.append(budget)
        await asyncio.gather(*map(put, budgets))
    return names


def _worker(folder: Path, prefix: str, queue: str, bus: str) -> WorkerProcess:
    settings = {
        "LEDGEROCK_LEDGER": f"dynamodb:{prefix}",
        "LEDGEROCK_QUEUES": queue,
        "LEDGEROCK_BUS": bus,
        "LEDGEROCK_QUARANTINE": str(folder / "quarantine"),
        "LEDGEROCK_REGISTRY": str(folder / REGISTRY),
        "LEDGEROCK_RESOLVE_PROFILES": "",  # as it is by default
    }
    return WorkerProcess(folder / "log", settings)


async def _drop(prefix: str, tables: tuple[str, ...] = ("entries", "balances", "state")) -> None:
    async with client(localstack_endpoint()) as opened:
        for table in tables:
            await opened.delete_table(TableName=f"{prefix}-{table}")


def _user(number: int) -> str:
    return f"probe-{number}"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
