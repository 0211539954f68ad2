"""Reading the shared ledger: every question is a query or a read by key.

Only `scan` reads a whole table: `verify` and a full `rebook` need every entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any, Final

from botocore.exceptions import ClientError

from worker.adapters import dynamodb_items as items
from worker.adapters.dynamodb_interned import InternedCache
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_verify import verify
from worker.adapters.ledger_reading import sum_by
from worker.adapters.pace import Pace
from worker.core.codec import Bodies, decode_key, encode_key, encode_request_id
from worker.core.ledger import Amounts, Entry, Leaf
from worker.ports import Verification

SCAN_PAGE: Final = 1_000
DAY_LAST: Final = 999_999


class DynamoBooks:
    """The reading half of the ledger in DynamoDB.

    Args:
        prefix: Names the tables, `PREFIX-entries` and `PREFIX-balances`.
        dynamo: Makes requests.
        create_tables: Make missing tables, for local use.
        pace: How fast to go through all entries.
    """

    def __init__(self, prefix: str, dynamo: Dynamo, *, create_tables: bool, pace: Pace) -> None:
        """Open nothing yet: the client is made on first use."""
        self._entries = items.entries_table(prefix)
        self._balances = items.balances_table(prefix)
        self._dynamo = dynamo
        self._pace = pace
        self._prefix = prefix
        self._missing = items.table_definitions(prefix) if create_tables else []
        self._interned = InternedCache()
        self._decoder = Bodies(self._interned.get)
        self._ready = asyncio.Lock()

    async def find(self, request_id: str) -> list[Entry]:
        """Return the entries with this request id: one query."""
        await self._prepare()
        condition = items.request_key(encode_request_id(request_id))
        found = [
            item
            async for page in self._dynamo.pages(
                "query", TableName=self._entries, ConsistentRead=True, **condition
            )
            for item in page
        ]
        return await self._decoded(found)

    async def scan(self, after: str | None = None) -> AsyncIterator[Sequence[Entry]]:
        """Yield all entries, a page of the table at a time.

        This is the one operation that reads a whole table: `verify` and a full `rebook` need
        every entry. Nothing else uses it.
        """
        await self._prepare()
        arguments: dict[str, Any] = {
            "TableName": self._entries,
            "ConsistentRead": True,
            "Limit": self._pace.page(SCAN_PAGE),
        }
        if after is not None:
            arguments["ExclusiveStartKey"] = items.entry_key(encode_key(after))
        async for page in self._dynamo.pages("scan", **arguments):
            await self._pace.take(len(page))
            if page:
                yield await self._decoded(page)

    async def pending(self) -> AsyncIterator[Sequence[Entry]]:
        """Yield the calls without a price, through the sparse index.

        The balances say which leaves have any. The index costs nothing for calls that have a
        price, and one write unit when a call is put into it or taken out.
        """
        await self._prepare()
        for leaf_id, amounts in (await self.balance_sums()).items():
            if not (amounts.unpriced_calls or amounts.unmetered_calls):
                continue
            async for page in self._dynamo.pages(
                "query",
                TableName=self._entries,
                IndexName="by-leaf",
                KeyConditionExpression="u = :u",
                ExpressionAttributeValues={":u": {"N": str(leaf_id)}},
                Limit=self._pace.page(SCAN_PAGE),
            ):
                await self._pace.take(len(page))
                keys = [{"r": item["r"], "o": item["o"]} for item in page]
                found = await self._dynamo.get_many(self._entries, keys)
                if found:
                    yield await self._decoded(found)

    async def balances(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> list[tuple[Leaf, Amounts]]:
        """Return the balances of a range of UTC days.

        The index lists the payers of each day, strong reads say what they spent.
        """
        await self._prepare()
        sums = await self.balance_sums(first_day, last_day)
        await self._learn_values(sums)
        return [
            (self._decoder.leaf(leaf_id), amounts)
            for leaf_id, amounts in sums.items()
            if not amounts.is_zero()
        ]

    async def balance_sums(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> dict[int, Amounts]:
        """Return balances by leaf id."""
        keys: list[dict[str, Any]] = []
        for day in await self._days_between(first_day, last_day):
            partitions = (items.day_bucket(day, bucket) for bucket in range(items.DAY_BUCKETS))
            for found in await asyncio.gather(*map(self._payers, partitions)):
                keys += found
        sums: dict[int, Amounts] = {}
        for item in await self._dynamo.get_many(self._balances, keys):
            for leaf_id, amounts in items.leaf_amounts(item).items():
                sums.setdefault(leaf_id, Amounts()).add(amounts)
        return sums

    async def _payers(self, partition: str) -> list[dict[str, Any]]:
        return [
            {"pk": item["pk"], "sk": item["sk"]}
            async for page in self._dynamo.pages(
                "query",
                TableName=self._balances,
                IndexName="by-day",
                KeyConditionExpression="g = :g",
                ExpressionAttributeValues={":g": {"S": partition}},
            )
            for item in page
        ]

    async def _days_between(self, first_day: int | None, last_day: int | None) -> list[int]:
        first = items.day_key(first_day or 0)
        last = items.day_key(DAY_LAST if last_day is None else last_day)
        return [
            int(item["sk"]["S"])
            async for page in self._dynamo.pages(
                "query",
                TableName=self._balances,
                ConsistentRead=True,
                KeyConditionExpression="pk = :d AND sk BETWEEN :first AND :last",
                ExpressionAttributeValues={
                    ":d": {"S": "d"},
                    ":first": {"S": first},
                    ":last": {"S": last},
                },
            )
            for item in page
        ]

    async def totals(
        self, field: str, first_day: int | None = None, last_day: int | None = None
    ) -> dict[str, Amounts]:
        """Return balances summed by one field of `Leaf`."""
        return sum_by(field, await self.balances(first_day, last_day))

    async def principal_days(
        self, principal: str, first_day: int, last_day: int
    ) -> list[tuple[Leaf, Amounts]]:
        """Return a payer's series of days with their split by model: one query."""
        await self._prepare()
        sums: dict[int, Amounts] = {}
        async for page in self._dynamo.pages(
            "query",
            TableName=self._balances,
            ConsistentRead=True,
            KeyConditionExpression="pk = :p AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":p": {"S": f"p#{principal}"},
                ":first": {"S": f"{items.day_key(first_day)}#"},
                ":last": {"S": f"{items.day_key(last_day)}$"},
            },
        ):
            for item in page:
                for leaf_id, amounts in items.leaf_amounts(item).items():
                    sums.setdefault(leaf_id, Amounts()).add(amounts)
        await self._learn_values(sums)
        return [(self._decoder.leaf(leaf_id), amounts) for leaf_id, amounts in sums.items()]

    async def wide_days(self) -> dict[tuple[int, str], int]:
        """Return the sums of all wide scopes by day and attribute name."""
        sums: dict[tuple[int, str], int] = {}
        async for item in self._wide_items(0, DAY_LAST):
            day = int(item["sk"]["S"].partition("#")[0])
            for name, value in items.wide_sums(item).items():
                sums[day, name] = sums.get((day, name), 0) + value
        return {key: value for key, value in sums.items() if value}

    async def wide_sums(self, first_day: int, last_day: int) -> dict[str, int]:
        """Return the sums of all wide scopes over a range of days, by attribute name: one query."""
        await self._prepare()
        sums: dict[str, int] = {}
        async for item in self._wide_items(first_day, last_day):
            for name, value in items.wide_sums(item).items():
                sums[name] = sums.get(name, 0) + value
        return sums

    async def _wide_items(self, first_day: int, last_day: int) -> AsyncIterator[dict[str, Any]]:
        async for page in self._dynamo.pages(
            "query",
            TableName=self._balances,
            ConsistentRead=True,
            KeyConditionExpression="pk = :w AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":w": {"S": "w"},
                ":first": {"S": f"{items.day_key(first_day)}#"},
                ":last": {"S": f"{items.day_key(last_day)}$"},
            },
        ):
            for item in page:
                yield item

    async def verify(self) -> Verification:
        """Compare balances with entries, while others may be writing."""
        await self._prepare()
        return await verify(self)

    async def amounts_of_entries(self) -> AsyncIterator[Sequence[tuple[int, Amounts]]]:
        """Yield what every entry adds to which leaf, a page of the table at a time."""
        async for page in self._dynamo.pages(
            "scan",
            TableName=self._entries,
            ConsistentRead=True,
            ProjectionExpression="b",
            Limit=self._pace.page(SCAN_PAGE),
        ):
            await self._pace.take(len(page))
            yield [self._decoder.amounts(bytes(item["b"]["B"])) for item in page]

    async def leaves(self, leaf_ids: Iterable[int]) -> dict[int, Leaf]:
        """Return the leaves behind ids."""
        ids = list(leaf_ids)
        await self._learn_values(ids)
        return {leaf_id: self._decoder.leaf(leaf_id) for leaf_id in ids}

    async def progress(self, name: str) -> str | None:
        """Return a job's note."""
        await self._prepare()
        answer = await self._dynamo.call(
            "get_item", TableName=self._balances, Key=items.note_key(name), ConsistentRead=True
        )
        return answer["Item"]["note"]["S"] if "Item" in answer else None

    async def close(self) -> None:
        """Close the client."""
        await self._dynamo.close()

    async def _learn(self, bodies: Iterable[bytes]) -> None:
        """Read the interned values that some bodies name."""
        await self._learn_values({value for body in bodies for value in self._decoder.names(body)})

    async def _learn_values(self, value_ids: Iterable[int]) -> None:
        unknown = self._interned.missing(value_ids)
        if unknown:
            self._interned.keep(await self._read_values(unknown))

    async def _read_values(self, value_ids: Iterable[int]) -> dict[int, bytes]:
        keys = [items.interned_key(value_id) for value_id in value_ids]
        found = await self._dynamo.get_many(self._balances, keys)
        return {int(item["pk"]["S"][2:]): bytes(item["e"]["B"]) for item in found}

    async def _decoded(self, found: Iterable[dict[str, Any]]) -> list[Entry]:
        pairs = [(items.stored_key(item), bytes(item["b"]["B"])) for item in found]
        await self._learn([body for _, body in pairs])
        return [self._decoder.entry(decode_key(key), body) for key, body in pairs]

    async def _prepare(self) -> None:
        """Make the tables on first use, if asked to."""
        if self._missing:
            async with self._ready:
                while self._missing:
                    await self._create(self._missing[-1])
                    self._missing.pop()

    async def _create(self, definition: dict[str, Any]) -> None:
        try:
            await self._dynamo.call("create_table", **definition)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ResourceInUseException":
                raise
        waiter = (await self._dynamo.client()).get_waiter("table_exists")
        await waiter.wait(
            TableName=definition["TableName"], WaiterConfig={"Delay": 1, "MaxAttempts": 60}
        )
