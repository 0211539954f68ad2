"""Reading the shared ledger: every question is a query or a read by key.

Only `verify`, sealing and a full `rebook` read a whole table: they need every entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any, Final

from worker.adapters import dynamodb_items as items
from worker.adapters.dynamodb_items import DAY_LAST
from worker.adapters.dynamodb_journal import DynamoJournal
from worker.adapters.dynamodb_names import Names, join_leaf, split_leaf
from worker.adapters.dynamodb_requests import READS_AT_ONCE, Dynamo
from worker.adapters.dynamodb_seals import DynamoSeals, sums_in
from worker.adapters.dynamodb_verify import verify
from worker.adapters.ledger_reading import calls_of, sum_by
from worker.adapters.ledger_sealing import joined
from worker.adapters.pace import Pace
from worker.core.budget_terms import ScopeDays
from worker.core.codec import Bodies, decode_key, encode_key, encode_request_id, intern_id
from worker.core.errors import LedgerCorruptError
from worker.core.ledger import Amounts, Entry, Leaf
from worker.core.seal import Seal, SealedSum
from worker.core.spend import LOCAL_DAYS_OFF, Spend, SpendSums, is_nobody, merged_days
from worker.ports import Clock, Verification

SCAN_PAGE: Final = 1_000


class DynamoBooks:
    """The reading half of the ledger in DynamoDB.

    Args:
        prefix: Names the tables, `PREFIX-entries` and `PREFIX-balances`.
        dynamo: Makes requests.
        create_tables: Make missing tables, for local use.
        pace: How fast to go through all entries.
        clock: Tells when calls are booked.
    """

    def __init__(
        self, prefix: str, dynamo: Dynamo, *, create_tables: bool, pace: Pace, clock: Clock
    ) -> None:
        """Open nothing yet: the client is made on first use."""
        self._entries = items.entries_table(prefix)
        self._balances = items.balances_table(prefix)
        self._dynamo = dynamo
        self._pace = pace
        self._prefix = prefix
        self._missing = items.table_definitions(prefix) if create_tables else []
        self._clock = clock
        self._journal = DynamoJournal(dynamo, self._balances, clock)
        self._seals = DynamoSeals(dynamo, self._balances)
        self._names = Names()
        self._decoder = Bodies(self._names.value)
        self._ready = asyncio.Lock()
        self._querying = asyncio.Semaphore(READS_AT_ONCE)

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

    async def pending(
        self, *, models: Collection[str] | None = None, leaves: Collection[Leaf] | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield the calls without a price, through the sparse index; see the port.

        The balances, all there are, say which leaves have any, unless `leaves` are named. A
        worker reads them once for each profile that it learns of, and once for each event of
        a creation, however often that comes. The index costs nothing for calls that have a
        price, and one write unit when a call is put into it or taken out.
        """
        await self._prepare()
        seal = await self._seals.head()
        if leaves is None:
            leaves = [
                leaf
                for leaf, amounts in (await self.balance_sums()).items()
                if amounts.unpriced_calls or amounts.unmetered_calls
            ]
        shapes = {
            intern_id(split_leaf(leaf)): None
            for leaf in leaves
            if (models is None or leaf.model in models) and not seal.holds(leaf.day)
        }
        for shape_id in shapes:
            async for page in self._dynamo.pages(
                "query",
                TableName=self._entries,
                IndexName="by-leaf",
                KeyConditionExpression="u = :u",
                ExpressionAttributeValues={":u": {"N": str(shape_id)}},
                Limit=self._pace.page(SCAN_PAGE),
            ):
                await self._pace.take(len(page))
                keys = [{"r": item["r"], "o": item["o"]} for item in page]
                found = await self._decoded(await self._dynamo.get_many(self._entries, keys))
                wanted = [entry for entry in found if not seal.holds(entry.posting.leaf.day)]
                if wanted:
                    yield wanted

    async def booked(
        self, identities: Collection[str], from_ms: int
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield the calls of some identities since an instant; see the port.

        The journal says which calls may be meant, whatever became of them since; their entries
        are read by key.
        """
        await self._prepare()
        seal = await self._seals.head()
        async for noted in self._journal.keys(identities, from_ms):
            keys = list(dict.fromkeys(noted))
            for at in range(0, len(keys), SCAN_PAGE):
                some = [items.entry_key(key) for key in keys[at : at + SCAN_PAGE]]
                await self._pace.take(len(some))
                found = await self._decoded(await self._dynamo.get_many(self._entries, some))
                wanted = calls_of(found, identities, from_ms, seal)
                if wanted:
                    yield wanted

    async def balances(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> list[tuple[Leaf, Amounts]]:
        """Return the balances of a range of UTC days.

        The index lists the payers of each day, strong reads say what they spent.
        """
        await self._prepare()
        sums = await self.balance_sums(first_day, last_day)
        return [(leaf, amounts) for leaf, amounts in sums.items() if not amounts.is_zero()]

    async def balance_sums(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> dict[Leaf, Amounts]:
        """Return balances by leaf, zeros included."""
        keys: list[dict[str, Any]] = []
        for day in await self._days_between(first_day, last_day):
            partitions = (items.day_bucket(day, bucket) for bucket in range(items.DAY_BUCKETS))
            for found in await asyncio.gather(*map(self._payers, partitions)):
                keys += found
        return await self._sums_in(await self._dynamo.get_many(self._balances, keys))

    async def _sums_in(self, found: Iterable[dict[str, Any]]) -> dict[Leaf, Amounts]:
        """Add up payers' days by leaf."""
        by_day = [(items.day_of(item), items.leaf_amounts(item)) for item in found]
        parts = await self._parts_of({shape: None for _, shapes in by_day for shape in shapes})
        sums: dict[Leaf, Amounts] = {}
        for day, shapes in by_day:
            for shape_id, amounts in shapes.items():
                leaf = join_leaf(parts[shape_id], day)
                sums.setdefault(leaf, Amounts()).add(amounts)
        return sums

    async def _parts_of(self, wanted: dict[int, None]) -> dict[int, bytes]:
        """Return what some leaf shapes are."""
        known = {shape_id: self._names.parts.get(shape_id) for shape_id in wanted}
        parts = {shape_id: part for shape_id, part in known.items() if part is not None}
        parts |= await self._read_parts([shape_id for shape_id in wanted if shape_id not in parts])
        missing = next((shape_id for shape_id in wanted if shape_id not in parts), None)
        if missing is not None:
            message = f"leaf shape {missing} is missing from the ledger"
            raise LedgerCorruptError(message)
        self._names.parts.keep(parts)
        return parts

    async def balance_items(self, leaf: Leaf) -> list[dict[str, Any]]:
        """Return the items of a payer's day, all callers and shards."""
        return await self._series(leaf.principal, leaf.day, leaf.day)

    async def exact_sums(self, leaves: Iterable[Leaf]) -> dict[Leaf, Amounts]:
        """Return the balances of some leaves by key, past the index, which may lag behind."""
        found: list[dict[str, Any]] = []
        for principal, day in sorted({(leaf.principal, leaf.day) for leaf in leaves}):
            found += await self._series(principal, day, day)
        return await self._sums_in(found)

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
        return [int(item["sk"]["S"]) async for item in self._between("d", first, last)]

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
        found = await self._series(principal, first_day, last_day)
        return list((await self._sums_in(found)).items())

    async def _series(self, principal: str, first_day: int, last_day: int) -> list[dict[str, Any]]:
        payer = items.payer_key(principal)
        return [item async for item in self._days_of(payer, first_day, last_day)]

    def _days_of(
        self, pk: str, first_day: int, last_day: int, projection: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the items of some days, all shards of each."""
        first, last = f"{items.day_key(first_day)}#", f"{items.day_key(last_day)}$"
        return self._between(pk, first, last, projection)

    async def _between(
        self, pk: str, first: str, last: str, projection: str = ""
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield a range of a partition of the balances, strongly read: one query."""
        async for page in self._dynamo.pages(
            "query",
            TableName=self._balances,
            ConsistentRead=True,
            KeyConditionExpression="pk = :p AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":p": {"S": pk},
                ":first": {"S": first},
                ":last": {"S": last},
            },
            **({"ProjectionExpression": projection} if projection else {}),
        ):
            for item in page:
                yield item

    async def spend(self, ranges: Sequence[ScopeDays]) -> list[Spend]:
        """Return what scopes spent, strongly read.

        Ranges that overlap share a query: a payer's are read from its own series, those of all
        wide scopes together from the wide items.
        """
        await self._prepare()
        sums = SpendSums(ranges)
        queries = [
            self._add_payer(sums, principal, first, last)
            for principal, days in _days_by_principal(ranges).items()
            for first, last in days
        ]
        wide = [
            (place, wanted)
            for place, wanted in enumerate(ranges)
            if wanted.scope.kind != "principal" and not is_nobody(wanted.scope)
        ]
        for first, last in merged_days((one.first_day, one.last_day) for _, one in wide):
            queries.append(self._add_wide(sums, wide, first, last))
        answers = await asyncio.gather(*queries, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return sums.spends()

    async def _add_payer(self, sums: SpendSums, principal: str, first: int, last: int) -> None:
        async with self._querying:
            found = await self._series(principal, first, last)
        for leaf, amounts in (await self._sums_in(found)).items():
            sums.add_as("principal", leaf, amounts)

    async def _add_wide(
        self, sums: SpendSums, wide: Sequence[tuple[int, ScopeDays]], first: int, last: int
    ) -> None:
        """Add what wide items say; their days are those of each scope's own calendar."""
        named = [
            (place, wanted, items.wide_scope_name(wanted.scope))
            for place, wanted in wide
            if wanted.first_day <= last and wanted.last_day >= first
        ]
        names = sorted({name for _, _, name in named})
        async with self._querying:
            async for item in self._wide_items(first, last, names):
                day, figures = items.day_of(item), items.wide_sums(item)
                for place, wanted, name in named:
                    if wanted.first_day <= day <= wanted.last_day:
                        sums.calls[place] += figures.get(f"{name}n", 0)
                        sums.cost_pico_usd[place] += figures.get(f"{name}c", 0)
                        sums.tokens[place] += figures.get(f"{name}t", 0)

    async def wide_days(self) -> dict[tuple[int, str], int]:
        """Return the sums of all wide scopes by day and attribute name."""
        sums: dict[tuple[int, str], int] = {}
        async for item in self._wide_items(0, DAY_LAST):
            day = items.day_of(item)
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

    def _wide_items(
        self, first_day: int, last_day: int, names: Sequence[str] = ()
    ) -> AsyncIterator[dict[str, Any]]:
        """Yield the wide items of some days, with the sums of some scopes alone if these fit."""
        return self._days_of("w", first_day, last_day, items.wide_projection(names))

    async def verify(self) -> Verification:
        """Compare balances with entries, while others may be writing."""
        await self._prepare()
        return await verify(self)

    async def amounts_of_entries(self) -> AsyncIterator[Sequence[tuple[Leaf, Amounts]]]:
        """Yield what every entry adds to which leaf, a page of the table at a time."""
        async for page, _ in self.postings_after(None):
            yield page

    async def postings_after(
        self, after: str | None
    ) -> AsyncIterator[tuple[list[tuple[Leaf, Amounts]], str]]:
        """Yield what entries after one add to which leaf, and the key of the last of each page."""
        start = None if after is None else items.entry_key(encode_key(after))
        async for page in self._entry_pages("r, o, b, n", start):
            if page:
                bodies = [items.body_and_names(item) for item in page]
                await self._learn(bodies)
                amounts = [self._decoder.amounts(body) for body, _ in bodies]
                last = decode_key(items.stored_key(page[-1]))
                yield [(self._decoder.leaf(leaf_id), amount) for leaf_id, amount in amounts], last

    async def _entry_pages(
        self, projection: str, start: dict[str, Any] | None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the table of entries by pages, strongly read and paced."""
        async for page in self._dynamo.pages(
            "scan",
            TableName=self._entries,
            ConsistentRead=True,
            ProjectionExpression=projection,
            Limit=self._pace.page(SCAN_PAGE),
            **({} if start is None else {"ExclusiveStartKey": start}),
        ):
            await self._pace.take(len(page))
            yield page

    async def seal_in_force(self) -> Seal:
        """Return how far the ledger is sealed, and which entries may be gone by now."""
        await self._prepare()
        return (await self._seals.head()).as_of(self._clock.now_ms())

    async def sealed_sums(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> dict[Leaf, SealedSum]:
        """Return what complete seals stored: one range query."""
        seal = await self.seal_in_force()
        last = min(DAY_LAST if last_day is None else last_day, seal.complete_day - 1)
        found: dict[Leaf, SealedSum] = {}
        for item in await self._seals.items_between(first_day or 0, last) if last > 0 else ():
            sums = sums_in(item)
            leaves = await self.leaves_of(sums)
            for key, one in sums.items():
                found[leaves[key]] = joined(found.get(leaves[key]), one)
        return found

    async def leaves_of(self, shapes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Leaf]:
        """Return leaves by shape and day."""
        wanted = list(shapes)
        parts = await self._parts_of({shape: None for shape, _ in wanted})
        return {(shape, day): join_leaf(parts[shape], day) for shape, day in wanted}

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

    async def _learn(self, bodies: Iterable[tuple[bytes, bytes]]) -> None:
        """Read what is needed to decode some bodies with their names."""
        bodies = list(bodies)
        unknown = self._names.unknown(bodies)
        if unknown:
            self._names.parts.keep(await self._read_parts(unknown))
        self._names.learn(bodies)

    async def _read_parts(self, part_ids: Iterable[int]) -> dict[int, bytes]:
        keys = [items.interned_key(part_id) for part_id in part_ids]
        found = await self._dynamo.get_many(self._balances, keys)
        return {int(item["pk"]["S"][2:]): bytes(item["e"]["B"]) for item in found}

    async def _decoded(self, found: Iterable[dict[str, Any]]) -> list[Entry]:
        read = [(items.stored_key(item), items.body_and_names(item)) for item in found]
        await self._learn([stored for _, stored in read])
        return [self._decoder.entry(decode_key(key), body) for key, (body, _) in read]

    async def _prepare(self) -> None:
        """Make the tables on first use, if asked to."""
        if self._missing:
            async with self._ready:
                while self._missing:
                    await self._dynamo.create_table(self._missing[-1])
                    await self._dynamo.expire(self._missing[-1]["TableName"], items.EXPIRES)
                    self._missing.pop()


def _days_by_principal(ranges: Iterable[ScopeDays]) -> dict[str, list[tuple[int, int]]]:
    """Return which UTC days of whose series may hold calls of the payers' local days."""
    by_principal: dict[str, list[tuple[int, int]]] = {}
    for wanted in ranges:
        if wanted.scope.kind == "principal" and not is_nobody(wanted.scope):
            first, last = wanted.first_day, wanted.last_day
            if first <= last:
                days = max(0, first - LOCAL_DAYS_OFF), last + LOCAL_DAYS_OFF
                by_principal.setdefault(wanted.scope.id, []).append(days)
    return {principal: merged_days(days) for principal, days in by_principal.items()}
