"""Budgets in the state table: one partition, an item for each name, and an index of changes."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from worker.adapters.dynamodb_state import RANGE_BYTES_MAX, Item, StateTable, bounded
from worker.adapters.state_values import decoded_budget, encoded
from worker.core.budget_terms import Budget
from worker.core.enforcement_names import QUEUE_BUDGETS

PARTITION: Final = "b"
KEYS_PER_QUERY: Final = 2_000
REVISION_DIGITS: Final = 9
"""Numbers have 38 digits (Amazon DynamoDB Developer Guide: "Supported data types")."""


class DynamoBudgets:
    """A `worker.ports.BudgetStore` in DynamoDB.

    `b` is the budget as JSON, `v` its revision. `q` and `t` put it into the index `due`, by when
    this revision was made, and which it is after the point: so the index alone says what is
    known. Those of before there were such changes are not in it.
    """

    def __init__(self, table: StateTable) -> None:
        """Keep the table."""
        self._table = table

    async def budgets(self) -> list[Budget]:
        """Return all budgets: one query, strongly read."""
        found = [decoded_budget(item["b"]["S"]) for item in await self._table.partition(PARTITION)]
        return sorted(found, key=lambda budget: budget.name)

    async def changed(
        self, since_ms: int, known: Mapping[str, Budget] | None = None
    ) -> list[Budget]:
        """Return the budgets that were last changed since then: found in the index, then read."""
        table, found, known = self._table, [], known or {}
        async for items in table.waiting(QUEUE_BUDGETS, None, KEYS_PER_QUERY, from_ms=since_ms):
            keys = [
                {"pk": item["pk"], "sk": item["sk"]}
                for item in items
                if not _is_listed(item, known.get(item["sk"]["S"]))
            ]
            found += await table.dynamo.get_many(table.name, keys)
        budgets = [decoded_budget(item["b"]["S"]) for item in found]
        return sorted(budgets, key=lambda budget: budget.name)

    async def find(self, name: str) -> Budget | None:
        """Return a budget: one strong read."""
        item = await self._table.get(_key(name))
        return None if item is None else decoded_budget(item["b"]["S"])

    async def put(self, budget: Budget) -> bool:
        """Keep a budget if its revision is the next one; see the port.

        If the answer to the write is lost, it is found out whether it was made; unless somebody
        else has made the next change by then, whose word stands: False.
        """
        item = {
            **_key(budget.name),
            "b": {"S": encoded(budget)},
            "v": {"N": str(budget.revision)},
            "q": {"S": QUEUE_BUDGETS},
            "t": {"N": _made(budget)},
        }
        if budget.revision == 1:
            return await self._table.put_if(item, "attribute_not_exists(pk)") is None
        before = {":v": {"N": str(budget.revision - 1)}}
        return await self._table.put_if(item, "v = :v", before) is None


def _made(budget: Budget) -> str:
    """Return when a revision was made and, after the point, which it is."""
    return f"{budget.created_at_ms}.{budget.revision:0{REVISION_DIGITS}}"


def _is_listed(item: Item, known: Budget | None) -> bool:
    """Whether what the index lists is a revision that is known."""
    return known is not None and Decimal(item["t"]["N"]) == Decimal(_made(known))


def _key(name: str) -> Item:
    return {"pk": {"S": PARTITION}, "sk": {"S": bounded(name, RANGE_BYTES_MAX)}}
