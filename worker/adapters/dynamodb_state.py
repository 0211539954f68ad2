"""The state table in DynamoDB: everything that is not the ledger itself, few and small items.

    pk                  sk                     what
    b                   <name>                 a budget
    s#<subject>         <id>                   a notice on a subject (crossings: `budget/NAME`)
    o#<object>          -                      how far an object's version was booked; expires
    f                   <arn>                  an application inference profile
    l#<stream>          <shard>                the lease on a shard, with its checkpoint
    w#<stream>          <worker>               a worker that shares a stream's shards; expires
    r#<partition>       <name>                 a record of enforcement (`core.enforcement_names`)

A notice's subject is a function of its id, so that one id is one item.

The sparse index `due` lists what waits for its time: `q` names what kind of work it is, `t` when
it is due (epoch milliseconds). Items that are done lose both attributes and leave the index.
The table's stream wakes the announcer.

Writes that depend on what is there carry a token (`w`) of their own: when the answer to one was
lost, the same request, made again, finds its own token and knows that it was made.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from hashlib import blake2b
from typing import Any, Final

from botocore.exceptions import ClientError

from worker.adapters.dynamodb_requests import (
    ATTEMPTS_MAX,
    BACKOFF_LAST_SECONDS,
    CONDITION_FAILED,
    Dynamo,
    backoff,
    is_transient,
)
from worker.core.errors import LedgerockError, TransientError

DUE_INDEX: Final = "due"
EXPIRES: Final = "x"
"""Attribute of the table's time to live, epoch seconds; only notes and workers carry it."""

HASH_BYTES_MAX: Final = 1_900
"""Of a name in a partition key, which may have 2,048 bytes."""

RANGE_BYTES_MAX: Final = 900
"""Of a name in a sort key, which may have 1,024 bytes."""

Item = dict[str, Any]
"""An item, or a key, in DynamoDB's wire form."""


def state_table(prefix: str) -> str:
    """Name the table."""
    return f"{prefix}-state"


def state_table_definition(prefix: str) -> dict[str, Any]:
    """Return the arguments of `CreateTable`: on demand, with its index and stream."""
    return {
        "TableName": state_table(prefix),
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": "pk", "AttributeType": "S"},
            {"AttributeName": "sk", "AttributeType": "S"},
            {"AttributeName": "q", "AttributeType": "S"},
            {"AttributeName": "t", "AttributeType": "N"},
        ],
        "KeySchema": [
            {"AttributeName": "pk", "KeyType": "HASH"},
            {"AttributeName": "sk", "KeyType": "RANGE"},
        ],
        "GlobalSecondaryIndexes": [
            {
                "IndexName": DUE_INDEX,
                "KeySchema": [
                    {"AttributeName": "q", "KeyType": "HASH"},
                    {"AttributeName": "t", "KeyType": "RANGE"},
                ],
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            }
        ],
        "StreamSpecification": {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"},
    }


def bounded(name: str, bytes_max: int) -> str:
    """Return a name as a key may hold it: those that are too long are cut and told apart."""
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) <= bytes_max:
        return name
    digest = blake2b(encoded, digest_size=16).hexdigest()
    return f"{encoded[: bytes_max - 40].decode('utf-8', 'ignore')}#{digest}"


class StateTable:
    """The state table, for the adapters of what it holds.

    Args:
        prefix: Names the table, `PREFIX-state`.
        dynamo: Makes requests; one is made by default.
        create_tables: Make the table if it is missing, for local use.
    """

    def __init__(
        self, prefix: str, *, dynamo: Dynamo | None = None, create_tables: bool = False
    ) -> None:
        """Open nothing yet: the client is made on first use."""
        self.name = state_table(prefix)
        self.dynamo = dynamo or Dynamo()
        self._missing = [state_table_definition(prefix)] if create_tables else []
        self._ready = asyncio.Lock()

    async def prepare(self) -> None:
        """Make the table on first use, if asked to."""
        if self._missing:
            async with self._ready:
                while self._missing:
                    await self.dynamo.create_table(self._missing[-1])
                    await self._let_items_expire()
                    self._missing.pop()

    async def _let_items_expire(self) -> None:
        try:
            answer = await self.dynamo.call("describe_time_to_live", TableName=self.name)
            status = answer["TimeToLiveDescription"].get("TimeToLiveStatus")
            if status in {"ENABLED", "ENABLING"}:
                return
            await self.dynamo.call(
                "update_time_to_live",
                TableName=self.name,
                TimeToLiveSpecification={"Enabled": True, "AttributeName": EXPIRES},
            )
        except ClientError as error:
            # Another process has just done so, or this request did and its answer was lost; or
            # it is an emulator where nothing expires.
            if error.response["Error"]["Code"] not in {
                "ValidationException",
                "UnknownOperationException",
            }:
                raise

    async def get(self, key: Item) -> Item | None:
        """Read an item strongly."""
        await self.prepare()
        answer = await self.dynamo.call(
            "get_item", TableName=self.name, Key=key, ConsistentRead=True
        )
        item: Item | None = answer.get("Item")
        return item

    async def partition(self, pk: str) -> list[Item]:
        """Read all items of a partition, strongly."""
        return [item async for page in self.pages(pk) for item in page]

    async def pages(
        self, pk: str, condition: str = "", values: Item | None = None, limit: int | None = None
    ) -> AsyncIterator[list[Item]]:
        """Yield the items of a partition by sort key, strongly read.

        Args:
            pk: Which.
            condition: Also on the sort key.
            values: Of what it names.
            limit: Of a page; None for as many as fit.
        """
        await self.prepare()
        more = {} if limit is None else {"Limit": limit}
        async for page in self.dynamo.pages(
            "query",
            TableName=self.name,
            ConsistentRead=True,
            KeyConditionExpression=f"pk = :pk AND {condition}" if condition else "pk = :pk",
            ExpressionAttributeValues={":pk": {"S": pk}, **(values or {})},
            **more,
        ):
            yield page

    async def transact(self, writes: Sequence[Item], token: Item | None = None) -> bool:
        """Make some conditional writes, all or none.

        Each says what is there where its condition fails. The same request is sent again where
        an answer was lost, under the same request token: DynamoDB makes it once and says so
        (API reference: TransactWriteItems, "ClientRequestToken", for ten minutes). Where it
        does not, an item that carries the writes' own token tells.

        Args:
            writes: Of `TransactItems`, without the name of the table.
            token: The token `w` of the items that are put; None if nothing is put.

        Returns:
            Whether it was made; if not, a condition failed.

        Raises:
            TransientError: It may have been made or not.
            LedgerockError: DynamoDB refuses one of them as such.
        """
        await self.prepare()
        more = {"TableName": self.name, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
        items = [{kind: {**one, **more} for kind, one in write.items()} for write in writes]
        for attempt in range(ATTEMPTS_MAX):
            reasons = await self.dynamo.transact(items)
            if not reasons:
                return True
            failed = [one for one in reasons if one.get("Code") == CONDITION_FAILED]
            if failed:
                return token is not None and any(
                    one.get("Item", {}).get("w") == token for one in failed
                )
            if not is_transient(reasons):
                told = sorted({f"{one.get('Code')}: {one.get('Message')}" for one in reasons})
                message = f"DynamoDB refused a transaction on {self.name}: {'; '.join(told)}"
                raise LedgerockError(message)
            await backoff(attempt)
        message = f"a transaction on {self.name} was cancelled {ATTEMPTS_MAX} times by others"
        raise TransientError(message, retry_after_seconds=BACKOFF_LAST_SECONDS)

    async def due(
        self, queue: str, until_ms: int | None, limit: int, *, from_ms: int | None = None
    ) -> AsyncIterator[list[Item]]:
        """Yield, in chunks, the keys of what waits in a queue and is due, the longest due first.

        The index may be behind: read the items before relying on them.

        Args:
            queue: Which.
            until_ms: When it is due at the latest; None for whenever.
            limit: Of a chunk.
            from_ms: When it is due at the soonest; None for whenever.
        """
        items = self.waiting(queue, until_ms, limit, from_ms=from_ms)
        async with aclosing(items) as pages:
            async for page in pages:
                yield [{"pk": item["pk"], "sk": item["sk"]} for item in page]

    async def waiting(
        self, queue: str, until_ms: int | None, limit: int, *, from_ms: int | None = None
    ) -> AsyncGenerator[list[Item], None]:
        """Yield, in chunks, what the index lists of what waits in a queue; see `due`."""
        await self.prepare()
        condition, values = "q = :q", {":q": {"S": queue}}
        if from_ms is not None and until_ms is not None:
            if from_ms > until_ms:
                return  # A range that ends before it begins is refused (API reference: Query).
            condition += " AND t BETWEEN :f AND :t"
        elif from_ms is not None:
            condition += " AND t >= :f"
        elif until_ms is not None:
            condition += " AND t <= :t"
        if from_ms is not None:
            values[":f"] = {"N": str(from_ms)}
        if until_ms is not None:
            values[":t"] = {"N": str(until_ms)}
        async for page in self.dynamo.pages(
            "query",
            TableName=self.name,
            IndexName=DUE_INDEX,
            KeyConditionExpression=condition,
            ExpressionAttributeValues=values,
            Limit=limit,
        ):
            yield page

    async def put(self, item: Item) -> None:
        """Write an item, whatever was there."""
        await self.prepare()
        await self.dynamo.call("put_item", TableName=self.name, Item=item)

    async def put_if(
        self, item: Item, condition: str, values: Mapping[str, Any] | None = None
    ) -> Item | None:
        """Write an item on a condition.

        Returns:
            None if it was written, also where the answer to that was lost and only a repeated
            request said so. Otherwise what is there instead; empty if nothing is.
        """
        token = new_token()
        arguments: dict[str, Any] = {"Item": {**item, "w": token}}
        return await self._write("put_item", arguments, token, condition, values or {})

    async def update_if(
        self, key: Item, update: str, condition: str, values: Mapping[str, Any]
    ) -> Item | None:
        """Change an item on a condition; `update` begins with `SET`. Returns as `put_if` does."""
        token = new_token()
        arguments = {"Key": key, "UpdateExpression": update.replace("SET ", "SET w = :w, ", 1)}
        return await self._write(
            "update_item", arguments, token, condition, {**values, ":w": token}
        )

    async def _write(
        self,
        operation: str,
        arguments: dict[str, Any],
        token: dict[str, str],
        condition: str,
        values: Mapping[str, Any],
    ) -> Item | None:
        await self.prepare()
        if values:
            arguments["ExpressionAttributeValues"] = values
        try:
            await self.dynamo.call(
                operation,
                TableName=self.name,
                ConditionExpression=condition,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **arguments,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise
            found: Item = error.response.get("Item", {})
            return None if found.get("w") == token else found
        return None

    async def close(self) -> None:
        """Close the client."""
        await self.dynamo.close()


def new_token() -> dict[str, str]:
    """Return a token that no other write has, as the attribute `w` holds it."""
    return {"S": uuid.uuid4().hex}
