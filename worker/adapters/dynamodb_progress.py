"""Notes in the table of balances: how far a resumable job has come, whom nobody is to name."""

from __future__ import annotations

from typing import Any

from worker.adapters import dynamodb_items as items
from worker.adapters.dynamodb_requests import Dynamo


async def keep(dynamo: Dynamo, table: str, name: str, note: str | None) -> None:
    """Keep or remove a note."""
    if note is None:
        await dynamo.call("delete_item", TableName=table, Key=items.note_key(name))
    else:
        await dynamo.call("put_item", TableName=table, Item=_item(name, note))


async def replace(dynamo: Dynamo, table: str, name: str, before: str | None, note: str) -> bool:
    """Keep a note if the one there is still what it was; return whether it was.

    In a transaction: the service tells a request that was repeated, because its answer was lost,
    from one that came too late.
    """
    put: dict[str, Any] = {
        "TableName": table,
        "Item": _item(name, note),
        "ConditionExpression": "attribute_not_exists(pk)",
    }
    if before is not None:
        put["ConditionExpression"] = "note = :before"
        put["ExpressionAttributeValues"] = {":before": {"S": before}}
    return await dynamo.transact_if([{"Put": put}])


async def remove(dynamo: Dynamo, table: str, name: str, before: str) -> bool:
    """Remove a note if it is still what it was; return whether it was."""
    delete: dict[str, Any] = {
        "TableName": table,
        "Key": items.note_key(name),
        "ConditionExpression": "note = :before",
        "ExpressionAttributeValues": {":before": {"S": before}},
    }
    return await dynamo.transact_if([{"Delete": delete}])


def _item(name: str, note: str) -> dict[str, Any]:
    return {**items.note_key(name), "note": {"S": note}}
