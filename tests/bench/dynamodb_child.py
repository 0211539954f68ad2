"""Commits to DynamoDB Local: ours against one transaction per call, in a process of its own.

The competitor books the same calls with the same items and conditions, as many requests at a
time and through the same code, but for one thing: each call is a transaction of its own. It is
spared reading entries first, which it has no use for.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final
from unittest import mock

from tests.bench.measuring import answer, expect_equal, request
from tests.bench.workload import SEED
from tests.dynamodb import client, local_endpoint, new_prefix
from worker.adapters import dynamodb_ledger
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.bootstrap import make_poster
from worker.core.batch import Batch
from worker.core.decoders import Decoder
from worker.core.ledger import Amounts, Leaf
from worker.core.posting import Poster
from worker.core.transactions import CallWrite, Transaction, balance_keys, pack
from worker.pipeline import Digester
from worker.settings import Settings
from worker.traffic.profile import bench_profile
from worker.traffic.traffic import Traffic

CALLS: Final = 900_000
WARM_RECORDS: Final = 1_500


def one_by_one(writes: Iterable[CallWrite]) -> Iterator[Transaction]:
    """Pack nothing: the competitor."""
    for write in writes:
        needed = {key for leaf, _, _ in write.postings for key in balance_keys(leaf)}
        yield Transaction([write], needed)


def poster_of(traffic: Traffic) -> Poster:
    """Return the packaged prices with the registry that the traffic presumes."""
    with tempfile.TemporaryDirectory(prefix="ledgerock-bench-") as folder:
        registry = Path(folder, "registry.toml")
        registry.write_text(traffic.registry(), encoding="utf-8")
        return make_poster(Settings(ledger="memory", registry=registry))


def folded(traffic: Traffic, records: int, size: int, poster: Poster) -> list[Batch]:
    """Return the first records of the workload in batches."""
    return folded_lines(list(islice(traffic.lines(), records)), size, poster)


def folded_lines(lines: list[bytes], size: int, poster: Poster) -> list[Batch]:
    """Return lines in batches, decoded, priced and folded."""
    decoder, batches = Decoder(), []
    for start in range(0, len(lines), size):
        digester = Digester(poster)
        digester.add(decoder.decode_lines(lines[start : start + size], source="bench"))
        batches.append(digester.digest().batch)
    return batches


Result = tuple[float, int, dict[Leaf, Amounts]]


async def book(endpoint: str, batches: list[Batch], poster: Poster, *, fold: bool) -> Result:
    """Book into empty tables; returns seconds, calls recorded, and the balances."""
    async with client(endpoint) as opened:
        ledger = DynamoLedger(
            new_prefix(), dynamo=Dynamo(opened), create_tables=True, prefetch=fold
        )
        await ledger.progress("")  # makes the tables
        recorded = 0
        packing = pack if fold else one_by_one
        with mock.patch.object(dynamodb_ledger, "pack", packing):
            started = time.perf_counter()
            for batch in batches:
                recorded += (await ledger.commit(batch, poster)).recorded
            seconds = time.perf_counter() - started
        balances = dict(await ledger.balances())
        for table in (ledger._entries, ledger._balances):
            await opened.delete_table(TableName=table)
        return seconds, recorded, balances


async def main() -> None:
    """Measure in turn, the engine warm, and compare the balances."""
    asked = request()
    traffic = Traffic(bench_profile(CALLS, SEED))
    endpoint, poster = local_endpoint(), poster_of(traffic)
    warm = folded(traffic, WARM_RECORDS, asked["size"], poster)
    for fold in (True, False):
        await book(endpoint, warm, poster, fold=fold)
    batches = folded(traffic, asked["records"], asked["size"], poster)
    rounds: list[dict[str, Any]] = []
    for _ in range(asked["rounds"]):
        theirs = await book(endpoint, batches, poster, fold=False)
        ours = await book(endpoint, batches, poster, fold=True)
        expect_equal("balances, folded and one call a transaction", ours[1:], theirs[1:])
        rounds.append(
            {"calls": ours[1], "ours": ours[1] / ours[0], "one_by_one": theirs[1] / theirs[0]}
        )
    answer({"rounds": rounds})


if __name__ == "__main__":
    asyncio.run(main())
