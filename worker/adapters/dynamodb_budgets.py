"""Budgets in the state table: one partition, an item for each name."""

from __future__ import annotations

from worker.adapters.dynamodb_state import RANGE_BYTES_MAX, StateTable, bounded
from worker.adapters.state_values import decoded_budget, encoded
from worker.core.budget_terms import Budget


class DynamoBudgets:
    """A `worker.ports.BudgetStore` in DynamoDB: `b` is the budget as JSON, `v` its revision."""

    def __init__(self, table: StateTable) -> None:
        """Keep the table."""
        self._table = table

    async def budgets(self) -> list[Budget]:
        """Return all budgets: one query, strongly read."""
        found = [decoded_budget(item["b"]["S"]) for item in await self._table.partition("b")]
        return sorted(found, key=lambda budget: budget.name)

    async def put(self, budget: Budget) -> bool:
        """Keep a budget if its revision is the next one; see the port.

        If the answer to the write is lost, it is found out whether it was made; unless somebody
        else has made the next change by then, whose word stands: False.
        """
        item = {
            "pk": {"S": "b"},
            "sk": {"S": bounded(budget.name, RANGE_BYTES_MAX)},
            "b": {"S": encoded(budget)},
            "v": {"N": str(budget.revision)},
        }
        if budget.revision == 1:
            return await self._table.put_if(item, "attribute_not_exists(pk)") is None
        before = {":v": {"N": str(budget.revision - 1)}}
        return await self._table.put_if(item, "v = :v", before) is None
