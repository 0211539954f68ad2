"""The row on functions: what a process costs until its first event is handled."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any, Final

from handlers.opening import open_function
from tests.bench.measuring import (
    CHILD_TIMEOUT_SECONDS,
    ROOT,
    expect_equal,
    judged,
    say,
    spread,
)
from tests.dynamodb import client, environment_of, local_endpoint, new_prefix
from tests.handlers.lambdas import sqs_event
from tests.records import line, log

BAR: Final = 1.5
EVENTS_A_ROUND: Final = 5
"""Processes of each kind a round; a round counts their medians."""
OTHER_CALLS: Final = 1_000_000
WAYS: Final = ("bare", "ours", "bare_with_tracer")


def lambda_rows(rounds: int) -> dict[str, Any]:
    """Measure cold starts against a bare handler, interleaved, on one DynamoDB Local."""
    endpoint, prefix = local_endpoint(), new_prefix()
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("LEDGEROCK_")},
        **environment_of(endpoint),
        "LEDGEROCK_LEDGER": f"dynamodb:{prefix}",
        "LEDGEROCK_QUARANTINE": "s3://nothing-is-put-there",
        "BENCH_TABLE": f"{prefix}-bench",
    }
    asyncio.run(_make_tables(endpoint, environment))
    number = 0
    taken: list[dict[str, list[dict[str, float]]]] = []
    for current in range(rounds + 1):
        say(f"functions: round {current} of {rounds}" if current else "functions: warming up")
        found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(EVENTS_A_ROUND):
            number += 1
            for way in WAYS:
                found[way].append(_first_event(way, number, environment))
        if current:  # the first round writes the interpreter's caches
            taken.append(found)
    medians = [
        {way: spread([one["cpu_seconds"] for one in runs])["median"] for way, runs in found.items()}
        for found in taken
    ]
    ours = "CPU from interpreter start to the first handled event / of a bare handler"
    rows = [judged(ours, "at most", BAR, [one["ours"] / one["bare"] for one in medians])]
    with_tracer = [one["ours"] / one["bare_with_tracer"] for one in medians]
    return {
        "rows": rows,
        "rounds": rounds,
        "processes_a_round": EVENTS_A_ROUND,
        "ratio_to_a_bare_handler_that_sets_up_its_tracer": spread(with_tracer),
        "cpu_seconds": {way: spread([one[way] for one in medians]) for way in WAYS},
        "cpu_seconds_of_importing": {
            way: spread([one["importing"] for found in taken for one in found[way]]) for way in WAYS
        },
        "agreement": "every event is booked, by its answer",
    }


async def _make_tables(endpoint: str, environment: dict[str, str]) -> None:
    async with client(endpoint) as opened:
        await opened.create_table(
            TableName=environment["BENCH_TABLE"],
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        )
    for name, text in environment_of(endpoint).items():
        os.environ.setdefault(name, text)
    async with open_function({**environment, "LEDGEROCK_CREATE_TABLES": "1"}) as booking:
        await booking.pipeline.ledger.balances()
        await booking.state.budgets.budgets()


def _first_event(way: str, number: int, environment: dict[str, str]) -> dict[str, float]:
    asked = {"way": way, "event": sqs_event(line(log(number)))}
    # The bare handlers book into one table; each needs calls of its own.
    if way == "bare_with_tracer":
        asked["event"] = sqs_event(line(log(number + OTHER_CALLS)))
    more = {"BENCH_TRACER": "1"} if way == "bare_with_tracer" else {}
    child = subprocess.run(
        [sys.executable, "-m", "tests.bench.lambda_child", json.dumps(asked)],
        cwd=ROOT,
        env={**environment, **more},
        capture_output=True,
        timeout=CHILD_TIMEOUT_SECONDS,
        check=False,
    )
    if child.returncode != 0:
        raise RuntimeError(f"{way} failed: {child.stderr.decode(errors='replace')[-2_000:]}")
    result: dict[str, Any] = json.loads(child.stdout)
    expect_equal(f"{way}: answer", result["answer"], {"batchItemFailures": []})
    return {name: result[name] for name in ("cpu_seconds", "importing")}
