"""Many processes, one ledger in DynamoDB: faults, lost answers, kills. Exact afterwards."""

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from typing import Any, Final

import pytest

from tests.calls import poster
from tests.dynamodb import ROOT, ledger_at, local_endpoint, new_prefix
from tests.shared_books import differences, expected_books, observations
from worker.core.ledger import Amounts

CALLS: Final = 100_000
CALLS_KILLED: Final = 12_000
WRITERS: Final = 4
KILLS: Final = 12


def _start(task: dict[str, Any]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.drill.shared_writer", json.dumps(task)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        stdout=subprocess.PIPE,
        text=True,
    )


async def _check(task: dict[str, Any]) -> Amounts:
    """Compare the books with those of one writer in memory; returns their total."""
    rates = poster()
    expected = await expected_books(rates, observations(range(task["calls"]), task["seed"]))
    async with ledger_at(task["endpoint"], task["prefix"]) as ledger:
        assert await differences(ledger, expected) == []
        verification = await ledger.verify()
        assert (verification.entries, verification.differences) == (task["calls"], ())
        assert verification.unsettled == ()
        total = Amounts()
        for _, amounts in await ledger.balances():
            total.add(amounts)
        return total


def _task(calls: int, *, writers: int, share: float, size: int) -> dict[str, Any]:
    return {
        "endpoint": local_endpoint(),
        "prefix": new_prefix(),
        "seed": random.randrange(10**6),
        "calls": calls,
        "writers": writers,
        "share": share,
        "size": size,
    }


@pytest.mark.timeout(900)
def test_four_writers_with_a_fifth_of_the_requests_failing_are_exact() -> None:
    """100,000 calls, each record twice, shuffled over four processes."""
    task = _task(CALLS, writers=WRITERS, share=0.2, size=1_000)
    started = time.monotonic()
    writers = [_start({**task, "writer": number}) for number in range(WRITERS)]
    answers = [json.loads(writer.communicate()[0]) for writer in writers]
    seconds = time.monotonic() - started
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    sums = {name: sum(answer[name] for answer in answers) for name in answers[0]}
    total = asyncio.run(_check(task))
    sys.stdout.write(f"{task['seed']=} {seconds:.0f} s {sums}\n")
    assert sums["recorded"] == CALLS
    assert sums["recorded"] + sums["upgraded"] + sums["duplicates"] == sums["records"]
    assert sums["cost_pico_usd"] == total.cost_pico_usd
    assert sums["faults"] > 0.15 * sums["requests"]
    assert sums["lost"] > 0


@pytest.mark.timeout(600)
def test_writers_killed_at_random_points_lose_and_double_nothing() -> None:
    """Two writers are killed again and again; at last they are left to finish."""
    task = _task(CALLS_KILLED, writers=2, share=0.05, size=400)
    chance = random.Random(task["seed"])
    for _ in range(KILLS):
        writers = [_start({**task, "writer": number}) for number in range(2)]
        # Starting and making up the records takes about two seconds of it.
        time.sleep(chance.uniform(1.5, 6))
        for writer in writers:
            writer.kill()
            writer.communicate()
    writers = [_start({**task, "writer": number}) for number in range(2)]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    asyncio.run(_check(task))
