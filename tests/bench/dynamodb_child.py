"""Commits to DynamoDB Local: ours against one transaction per call, in a process of its own.

Two competitors book the same calls under the same conditions, as many requests at a time and
through the same code; each call is a transaction of its own:

* `same_items` adds to the very items that ours adds to: what folding alone is worth;
* `item_per_scope` keeps each balance as an item of its own, as one does who does not fold:
  principal, agent, team, application, account, model and everything, by day.

They are spared reading entries first, which they have no use for. All begin with a few batches
that are not measured: names, days and payers are made then.
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
from tests.bench.workload import SEED, StillClock
from tests.dynamodb import client, local_endpoint, new_prefix
from worker.adapters import dynamodb_ledger
from worker.adapters.dynamodb_items import day_key
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_outcome import Outcome
from worker.adapters.dynamodb_requests import Dynamo
from worker.bootstrap import make_poster
from worker.core.batch import Batch
from worker.core.decoders import Decoder
from worker.core.ledger import AMOUNT_FIELDS, Amounts, Leaf
from worker.core.posting import Poster
from worker.core.transactions import (
    FIELD_LETTERS,
    WIDE_KINDS,
    BalanceKey,
    CallWrite,
    Sum,
    Transaction,
    balance_keys,
)
from worker.pipeline import Digester
from worker.settings import Settings
from worker.traffic.profile import bench_profile
from worker.traffic.traffic import Traffic

CALLS: Final = 900_000
WARM_BATCHES: Final = 3
Item = dict[str, Any]


def one_by_one(writes: Iterable[CallWrite], _old_before_day: int) -> Iterator[Transaction]:
    """Pack nothing: the competitor."""
    for write in writes:
        needed: dict[BalanceKey, set[Sum]] = {
            key: set() for leaf, _, _ in write.postings for key in balance_keys(leaf)
        }
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


class OnePerCall(DynamoLedger):
    """A competitor: nothing is packed."""

    async def _book(
        self, writes: Iterable[CallWrite], outcome: Outcome
    ) -> dict[bytes, bytes | None]:
        with mock.patch.object(dynamodb_ledger, "pack_by_age", one_by_one):
            return await super()._book(writes, outcome)


class ItemPerScope(OnePerCall):
    """A competitor: besides, every scope of a call has an item of its own."""

    def _request(self, transaction: Transaction, shard: int) -> list[tuple[Item, Any]]:
        request = [pair for pair in super()._request(transaction, shard) if "Put" in pair[0]]
        for write in transaction.writes:
            for leaf, amounts, _ in write.postings:
                request += [
                    (self._scope_update(kind, scope, leaf, amounts), None)
                    for kind, scope in scopes_of(leaf)
                ]
        return request

    def _scope_update(self, kind: str, scope: str, leaf: Leaf, amounts: Amounts) -> Item:
        values = {
            f":{letter}": {"N": str(getattr(amounts, name))}
            for letter, name in zip(FIELD_LETTERS, AMOUNT_FIELDS, strict=True)
        }
        additions = ", ".join(f"{marker[1:]} {marker}" for marker in values)
        return {
            "Update": {
                "TableName": self._balances,
                "Key": {"pk": {"S": f"{kind}#{scope}"}, "sk": {"S": day_key(leaf.day)}},
                "UpdateExpression": f"ADD {additions}",
                "ExpressionAttributeValues": values,
            }
        }

    async def sums(self, opened: Any) -> dict[Leaf, Amounts]:
        """Return what the payers' items hold, in the shape of `payer_sums`."""
        found: dict[Leaf, Amounts] = {}
        async for page in Dynamo(opened).pages("scan", TableName=self._balances):
            for item in page:
                kind, _, scope = item["pk"]["S"].partition("#")
                if kind == "principal":
                    fields = zip(FIELD_LETTERS, AMOUNT_FIELDS, strict=True)
                    amounts = {name: int(item[letter]["N"]) for letter, name in fields}
                    found[payer_leaf(scope, int(item["sk"]["S"]))] = Amounts(**amounts)
        return found


def scopes_of(leaf: Leaf) -> list[tuple[str, str]]:
    """Return every scope whose balance a posting to `leaf` moves."""
    kinds = ("principal", *WIDE_KINDS[:-1])
    named = [(kind, getattr(leaf, kind)) for kind in kinds if getattr(leaf, kind)]
    return [*named, (WIDE_KINDS[-1], "")]


def payer_leaf(principal: str, day: int) -> Leaf:
    """Name a payer's day."""
    return Leaf(principal, "", "", "", "", "", "", day)


def payer_sums(balances: Iterable[tuple[Leaf, Amounts]]) -> dict[Leaf, Amounts]:
    """Add balances up by payer and day."""
    sums: dict[Leaf, Amounts] = {}
    for leaf, amounts in balances:
        sums.setdefault(payer_leaf(leaf.principal, leaf.day), Amounts()).add(amounts)
    return sums


WAYS: Final[dict[str, type[DynamoLedger]]] = {
    "item_per_scope": ItemPerScope,
    "same_items": OnePerCall,
    "ours": DynamoLedger,
}
Result = tuple[float, int, dict[Leaf, Amounts]]


async def book(endpoint: str, way: str, batches: list[Batch], poster: Poster) -> Result:
    """Book into empty tables; returns seconds, calls recorded, and payers' days."""
    async with client(endpoint) as opened:
        ledger = WAYS[way](
            new_prefix(),
            dynamo=Dynamo(opened),
            create_tables=True,
            prefetch=way == "ours",
            clock=StillClock(),
        )
        for batch in batches[:WARM_BATCHES]:
            await ledger.commit(batch, poster)
        recorded = 0
        started = time.perf_counter()
        for batch in batches[WARM_BATCHES:]:
            recorded += (await ledger.commit(batch, poster)).recorded
        seconds = time.perf_counter() - started
        if isinstance(ledger, ItemPerScope):
            sums = await ledger.sums(opened)
        else:
            sums = payer_sums(await ledger.balances())
        for table in (ledger._entries, ledger._balances):
            await opened.delete_table(TableName=table)
        return seconds, recorded, sums


async def main() -> None:
    """Measure in turn, the engine warm, and compare the balances."""
    asked = request()
    traffic = Traffic(bench_profile(CALLS, SEED))
    endpoint, poster = local_endpoint(), poster_of(traffic)
    size = asked["size"]
    batches = folded(traffic, asked["records"] + WARM_BATCHES * size, size, poster)
    for way in WAYS:
        await book(endpoint, way, batches[: WARM_BATCHES + 2], poster)
    rounds: list[dict[str, float]] = []
    calls = 0
    for _ in range(asked["rounds"]):
        taken = {way: await book(endpoint, way, batches, poster) for way in WAYS}
        for way, result in taken.items():
            expect_equal(f"payers' days, ours and {way}", result[1:], taken["ours"][1:])
        calls = taken["ours"][1]
        rounds.append({way: calls / seconds for way, (seconds, _, _) in taken.items()})
    answer({"rounds": rounds, "calls": calls})


if __name__ == "__main__":
    asyncio.run(main())
