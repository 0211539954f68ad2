"""Removing from the tables what names a forgotten person, once no entry does.

Balances of the person are empty by then, summed over their shards; those of a payer's day go
together, so that the sum of what is left is right at any time. The shapes that they were named by
go last; which ones is noted first, since nothing else tells of them once the balances are gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from worker.adapters import dynamodb_items as items
from worker.adapters.dynamodb_names import split_leaf
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.codec import intern_id
from worker.core.errors import TransientError
from worker.core.forgotten import Person
from worker.core.ledger import Amounts, Leaf


class Books(Protocol):
    """What purging needs of a ledger."""

    async def balance_sums(self) -> dict[Leaf, Amounts]:
        """Return all balances by leaf, zeros included."""

    async def balance_items(self, leaf: Leaf) -> list[dict[str, Any]]:
        """Return the items of a payer's day, all callers and shards."""

    async def progress(self, name: str) -> str | None:
        """Return a note."""

    async def keep_progress(self, name: str, note: str | None) -> None:
        """Keep or remove a note."""


async def purge(books: Books, dynamo: Dynamo, table: str, person: Person) -> None:
    """Remove what names a person; see the port."""
    sums = await books.balance_sums()
    mine = [leaf for leaf in sums if person.leaf(leaf) != leaf]
    if any(not sums[leaf].is_zero() for leaf in mine):
        raise TransientError(f"{table}: calls are booked under the name still; forget it again")
    name = f"purge#{person.mark.name}"
    noted = await books.progress(name)
    shapes = {intern_id(split_leaf(leaf)) for leaf in mine}
    shapes.update(msgspec.json.decode(noted, type=list[int]) if noted else ())
    if not shapes:
        return
    await books.keep_progress(name, msgspec.json.encode(sorted(shapes)).decode())
    days = {(leaf.principal, leaf.day): leaf for leaf in mine}
    for leaf in days.values():
        found = await books.balance_items(leaf)
        await _remove(dynamo, table, [item for item in found if _names_alone(item, shapes)])
    for shape_id in sorted(shapes):
        await dynamo.call("delete_item", TableName=table, Key=items.interned_key(shape_id))
    await books.keep_progress(name, None)


def _names_alone(item: dict[str, Any], shapes: set[int]) -> bool:
    """Whether an item holds sums of some shapes and of no others."""
    held = items.leaf_amounts(item).keys()
    return bool(held) and held <= shapes


async def _remove(dynamo: Dynamo, table: str, found: Iterable[dict[str, Any]]) -> None:
    """Remove some items together, on condition that nobody adds to them meanwhile."""
    deletes = [_delete(table, item) for item in found]
    if not deletes:
        return
    if await dynamo.transact(deletes):
        raise TransientError(f"{table}: balances are being written to; forget the person again")


def _delete(table: str, item: dict[str, Any]) -> dict[str, Any]:
    sums = [name for name in sorted(item) if name not in {"pk", "sk", "g"}][:20]
    return {
        "Delete": {
            "TableName": table,
            "Key": {"pk": item["pk"], "sk": item["sk"]},
            "ConditionExpression": " AND ".join(
                f"{name} = :{place}" for place, name in enumerate(sums)
            ),
            "ExpressionAttributeValues": {
                f":{place}": item[name] for place, name in enumerate(sums)
            },
        }
    }
