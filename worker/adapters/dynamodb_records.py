"""Records in the state table: a partition for each of theirs, and the index of what is due.

They are written by transactions, also one alone: only those are told apart by a request token,
so that it is known of each write whether it was made, even where its answer was lost and
somebody else has written the next version by then.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any, Final

from worker.adapters.dynamodb_state import HASH_BYTES_MAX, Item, StateTable, bounded, new_token
from worker.adapters.record_values import (
    LAST,
    NAME_BYTES_MAX,
    RECORDS_PER_CHUNK,
    check_records,
)
from worker.ports import Record

_CUT_BYTES: Final = 40
"""What `bounded` takes away for telling long names apart."""


class DynamoRecords:
    """`worker.ports.Records` in DynamoDB.

    `b` is a record's body, `v` its version; `q` and `t` together put it into the index.
    Partitions and names too long for a key are kept whole in `p` and `n`.
    """

    def __init__(self, table: StateTable) -> None:
        """Keep the table."""
        self._table = table

    async def get(self, partition: str, name: str) -> Record | None:
        """Return a record: one strong read."""
        item = await self._table.get(_key(partition, name))
        return None if item is None else _record(item)

    async def get_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        """Return those of some records that exist: strong reads of a hundred at a time."""
        await self._table.prepare()
        wanted = [_key(*key) for key in dict.fromkeys(keys)]
        found = [
            _record(item) for item in await self._table.dynamo.get_many(self._table.name, wanted)
        ]
        return {(record.partition, record.name): record for record in found}

    async def partition(
        self, partition: str, beginning: str = "", *, after: str = "", limit: int | None = None
    ) -> list[Record]:
        """Return the records of a partition by name: one strong query of that range alone."""
        if limit is not None and limit < 1:
            return []
        condition, values = _range(beginning, after)
        if condition is None:
            return []
        found: list[Record] = []
        partition_key = _key(partition, "-")["pk"]["S"]
        after_key = bounded(after, NAME_BYTES_MAX)
        async for page in self._table.pages(partition_key, condition, values, limit):
            for item in page:
                record = _record(item)
                if record.name.startswith(beginning) and item["sk"]["S"] != after_key:
                    found.append(record)
                    if len(found) == limit:
                        return found
        return found

    async def write(self, records: Sequence[Record]) -> bool:
        """Write records, all or none: one transaction; see the port."""
        check_records(records)
        if not records:
            return True
        token = new_token()
        return await self._table.transact([_put(record, token) for record in records], token)

    async def remove(self, record: Record) -> bool:
        """Remove a record if it is still at this version."""
        delete = {
            "Key": _key(record.partition, record.name),
            "ConditionExpression": "v = :v",
            "ExpressionAttributeValues": {":v": {"N": str(record.version)}},
        }
        return await self._table.transact([{"Delete": delete}])

    async def due(
        self, queue: str, until_ms: int, *, from_ms: int = 0
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield what is due: the index says where, strong reads say whether."""
        table = self._table
        async for keys in table.due(queue, until_ms, RECORDS_PER_CHUNK, from_ms=from_ms):
            found = [_record(item) for item in await table.dynamo.get_many(table.name, keys)]
            due = [
                record
                for record in found
                if record.queue == queue and from_ms <= record.due_at_ms <= until_ms
            ]
            if due:
                yield sorted(due, key=lambda one: (one.due_at_ms, one.partition, one.name))


def _key(partition: str, name: str) -> Item:
    return {
        "pk": {"S": f"r#{bounded(partition, HASH_BYTES_MAX)}"},
        "sk": {"S": bounded(name, NAME_BYTES_MAX)},
    }


def _put(record: Record, token: Item) -> Item:
    key = _key(record.partition, record.name)
    item: dict[str, Any] = {
        **key,
        "b": {"B": record.body},
        "v": {"N": str(record.version)},
        "w": token,
    }
    if record.queue or record.due_at_ms:
        item["t"] = {"N": str(record.due_at_ms)}
    if record.queue:
        item["q"] = {"S": record.queue}
    if key["pk"]["S"] != f"r#{record.partition}":
        item["p"] = {"S": record.partition}
    if key["sk"]["S"] != record.name:
        item["n"] = {"S": record.name}
    put: dict[str, Any] = {"Item": item}
    if record.version == 1:
        put["ConditionExpression"] = "attribute_not_exists(pk)"
    else:
        put["ConditionExpression"] = "v = :v"
        put["ExpressionAttributeValues"] = {":v": {"N": str(record.version - 1)}}
    return {"Put": put}


def _range(beginning: str, after: str) -> tuple[str | None, Item]:
    """Return the condition on the sort key, and its values; None where nothing can be found."""
    after_key = bounded(after, NAME_BYTES_MAX)
    start = _start(beginning)
    if not start:
        return ("sk > :a", {":a": {"S": after_key}}) if after else ("", {})
    if after_key < start:
        return "begins_with(sk, :b)", {":b": {"S": start}}
    if not after_key.startswith(start):
        return None, {}
    return "sk BETWEEN :a AND :z", {":a": {"S": after_key}, ":z": {"S": start + LAST}}


def _start(beginning: str) -> str:
    """Return as much of a name's beginning as also those keys begin with that were cut."""
    encoded = beginning.encode("utf-8", "surrogatepass")
    return encoded[: NAME_BYTES_MAX - _CUT_BYTES].decode("utf-8", "ignore")


def _record(item: Item) -> Record:
    partition = item["p"]["S"] if "p" in item else item["pk"]["S"].removeprefix("r#")
    name = item["n"]["S"] if "n" in item else item["sk"]["S"]
    return Record(
        partition=partition,
        name=name,
        body=bytes(item["b"]["B"]),
        version=int(item["v"]["N"]),
        queue=item["q"]["S"] if "q" in item else "",
        due_at_ms=int(item["t"]["N"]) if "t" in item else 0,
    )
