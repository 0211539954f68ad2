"""One of several processes that book into the same tables: `python -m tests.drill.shared_writer`.

It is told what to do as JSON in its argument and answers with what its commits said they did.
"""

import asyncio
import json
import sys
from typing import Any

from tests.calls import poster
from tests.dynamodb import client
from tests.faults import FaultyClient
from tests.shared_books import batches, book_all, observations, shuffled_twice
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo


async def write(task: dict[str, Any]) -> dict[str, int]:
    """Book one writer's share of everything."""
    rates = poster()
    records = shuffled_twice(observations(range(task["calls"]), task["seed"]), task["seed"])
    mine = records[task["writer"] :: task["writers"]]
    async with client(task["endpoint"]) as real:
        faulty = FaultyClient(real, task["seed"] + task["writer"], task["share"])
        ledger = DynamoLedger(task["prefix"], dynamo=Dynamo(faulty), create_tables=True)
        done = await book_all(ledger, rates, batches(mine, task["size"]))
    return {
        "records": len(mine),
        "recorded": sum(one.recorded for one in done),
        "upgraded": sum(one.upgraded for one in done),
        "duplicates": sum(one.duplicates for one in done),
        "cost_pico_usd": sum(amounts.cost_pico_usd for one in done for _, amounts in one.postings),
        "requests": len(faulty.requests),
        "faults": faulty.faults.total(),
        "lost": len(faulty.lost),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(write(json.loads(sys.argv[1])))))
