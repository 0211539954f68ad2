"""`ledgerock worker` killed at random instructions, on SQS and DynamoDB of LocalStack."""

import asyncio
import json
import random
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from tests.calls import asynchronous
from tests.dynamodb import client, ledger_at, localstack_endpoint, new_prefix
from tests.events import checked_event
from tests.workers import WorkerProcess, aws, messages_left, new_queue, send, traffic
from worker.adapters.dynamodb_budgets import DynamoBudgets
from worker.adapters.dynamodb_outbox import DynamoOutbox
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_state import StateTable
from worker.core.budget_terms import Budget, Scope
from worker.core.ledger import Amounts

CALLS: Final = 2_000
COPIES: Final = 3
WORKERS: Final = 2
KILLS: Final = 8

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


async def _state(prefix: str, budget: Budget | None = None) -> list[Any]:
    """Return all notices on the budget, after setting it if one is given."""
    async with client(localstack_endpoint()) as opened:
        table = StateTable(prefix, dynamo=Dynamo(opened), create_tables=True)
        if budget is not None:
            assert await DynamoBudgets(table).put(budget)
        return await DynamoOutbox(table).about("budget/all")


def _announced(directory: Path) -> set[str]:
    return {
        str(checked_event(json.loads(line))["event_id"])
        for file in directory.glob("events-*.jsonl")
        for line in file.read_text(encoding="utf-8").splitlines()
    }


@asynchronous
async def test_workers_killed_at_random_lose_and_double_nothing(tmp_path: Path) -> None:
    prefix, seed = new_prefix(), random.randrange(10**6)
    chance = random.Random(seed)
    today = datetime.now(UTC).date()
    bodies, sums, registry = traffic(CALLS, seed, tmp_path, today - timedelta(days=20))
    copies = bodies * COPIES
    chance.shuffle(copies)
    budget = Budget(
        name="all",
        scope=Scope("everything"),
        limit_amount=sums.cost_pico_usd // 2,
        period="100-day",
        anchor_day=(today - date(1970, 1, 1)).days - 50,
    )
    await _state(prefix, budget)
    async with aws("sqs") as sqs:
        queue = await new_queue(sqs)

        def start(number: int, *arguments: str) -> WorkerProcess:
            settings = {
                "LEDGEROCK_QUEUES": queue,
                "LEDGEROCK_REGISTRY": str(registry),
                "LEDGEROCK_VISIBILITY_SECONDS": "5",
                "LEDGEROCK_BATCH_DELIVERIES_MAX": "20",
                "LEDGEROCK_BUS": f"file:{tmp_path}/events-{number}.jsonl",
            }
            log = tmp_path / f"log-{number}"
            return WorkerProcess(log, settings, "--ledger", f"dynamodb:{prefix}", *arguments)

        workers = [start(number) for number in range(WORKERS)]
        try:
            sending = asyncio.ensure_future(send(sqs, queue, copies))
            for _ in range(KILLS):
                # Starting takes more than a second of it.
                await asyncio.sleep(chance.uniform(1.0, 5.0))
                number = chance.randrange(WORKERS)
                assert workers[number].process.poll() is None, workers[number].log_text()
                workers[number].kill()
                workers[number] = start(number)
            await sending
        finally:
            for worker in workers:
                worker.kill()
        for number in range(20):
            last = start(100 + number, "--burst")
            assert await asyncio.to_thread(last.ended) == 0, last.log_text()
            if not await messages_left(sqs, queue):
                break
        assert await messages_left(sqs, queue) == 0
    total = Amounts()
    async with ledger_at(localstack_endpoint(), prefix) as ledger:
        verification = await ledger.verify()
        assert (verification.differences, verification.unsettled) == ((), ())
        for _, amounts in await ledger.balances():
            total.add(amounts)
    sys.stdout.write(f"{seed=} {total.calls} calls, {len(copies)} messages\n")
    assert (total.calls, total.cost_pico_usd) == (sums.calls, sums.cost_pico_usd)
    notices = await _state(prefix)
    assert [one.state for one in notices] == ["announced"] * 3
    assert _announced(tmp_path) == {one.id for one in notices}
