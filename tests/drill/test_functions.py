"""Functions that are killed at any moment, over and over, as Lambda may do."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.calls import PRO, asynchronous
from tests.dynamodb import environment_of, ledger_at, local_endpoint, new_prefix
from tests.handlers.lambdas import failures, kinesis_event, sqs_event
from tests.handlers.runtime_api import Invocation, RuntimeApi, function, runtime_api
from tests.records import event, line, log

BATCHES = 6
CALLS_A_BATCH = 200
KILL_SECONDS = (0.03, 0.1, 0.3, 0.8)
"""Within so long after an event was taken its function is killed."""
KILLS_A_BATCH = 3
CALL_PICO_USD = 2_400_000_000


@pytest.mark.parametrize("module", ["sqs", "kinesis"])
@asynchronous
async def test_each_batch_is_booked_once_however_often_its_function_is_killed(
    tmp_path: Path, module: str
) -> None:
    """A batch is handed over until it is answered, as event source mappings do."""
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    prefix = new_prefix()
    settings = {
        **environment_of(local_endpoint()),
        "LEDGEROCK_LEDGER": f"dynamodb:{prefix}",
        "LEDGEROCK_CREATE_TABLES": "1",
        "LEDGEROCK_QUARANTINE": str(tmp_path / "quarantine"),
        "LEDGEROCK_RESOLVE_PROFILES": "0",
    }
    make = sqs_event if module == "sqs" else kinesis_event
    handler = f"handlers.{module}.handler"
    killed = 0

    def drive(api: RuntimeApi) -> None:
        nonlocal killed
        for batch in range(BATCHES):
            numbers = range(batch * CALLS_A_BATCH, (batch + 1) * CALLS_A_BATCH)
            bodies = [line(log(number, user=f"user-{number % 40}")) for number in numbers]
            bodies += [line(event(chance.choice(numbers), (900, 500))) for _ in range(20)]
            chance.shuffle(bodies)
            sent = make(*bodies)
            for attempt in range(KILLS_A_BATCH + 1):
                output = tmp_path / f"output-{batch}-{attempt}"
                with function(api, handler, settings, output) as process:
                    under_way = api.send(sent)
                    assert under_way.taken.wait(60), output.read_text()
                    may_end = attempt == KILLS_A_BATCH
                    # Nobody answers as soon as the first of these; machines differ for the rest.
                    longest = chance.choice(KILL_SECONDS) if attempt else KILL_SECONDS[0]
                    if not may_end and not under_way.ended.wait(chance.uniform(0, longest)):
                        process.kill()
                        process.wait()
                        killed += 1
                        continue
                    _expect_success(under_way, output)
                    break

    with runtime_api() as api:
        await asyncio.to_thread(drive, api)
    async with ledger_at(local_endpoint(), prefix) as ledger:
        verified = await ledger.verify()
        assert verified.differences == (), f"seed {seed}"
        totals = (await ledger.totals("model"))[PRO]
    calls = BATCHES * CALLS_A_BATCH
    assert (totals.calls, totals.cost_pico_usd) == (calls, calls * CALL_PICO_USD), f"seed {seed}"
    assert killed >= BATCHES, f"seed {seed}"


def _expect_success(under_way: Invocation, output: Path) -> None:
    under_way.wait()
    assert under_way.error is None, output.read_text()
    assert failures(under_way.answer) == []
