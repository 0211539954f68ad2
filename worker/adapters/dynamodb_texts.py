"""What is kept beside the shared ledger, as texts: the one place that scans the state table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from worker.adapters.dynamodb_state import Item, StateTable, new_token
from worker.adapters.state_values import is_audit
from worker.ports.texts import Rewrite

_BUDGETS: Final = "b"
_NOTICES: Final = "s#"
_RECORDS: Final = "r#"
_LEFT_ALONE: Final = frozenset({"w", "q", "s"})
"""Attributes of text that hold no names: tokens, queues, states."""


class DynamoTexts:
    """A `worker.ports.StateTexts` in DynamoDB: each item is rewritten on its own."""

    def __init__(self, table: StateTable) -> None:
        """Keep the table."""
        self._table = table

    async def rewrite(self, change: Rewrite) -> int:
        """Rewrite all that is kept; see the port."""
        table, changed = self._table, 0
        await table.prepare()
        async for page in table.dynamo.pages("scan", TableName=table.name, ConsistentRead=True):
            for item in page:
                if _is_kept(item["pk"]["S"]):
                    changed += await self._rewritten(item, change)
        return changed

    async def _rewritten(self, item: Item, change: Rewrite) -> bool:
        names = [
            name
            for name, value in sorted(item.items())
            if name not in _LEFT_ALONE and not value.keys().isdisjoint({"S", "B"})
        ]
        texts = [_text(item[name]) for name in names]
        new_texts = list(change(texts))
        if new_texts == texts:
            return False
        token = new_token()
        new: dict[str, Any] = {**item, "w": token}
        for name, text in zip(names, new_texts, strict=True):
            new[name] = {"S": text} if "S" in item[name] else {"B": text.encode()}
        if item["pk"]["S"].startswith(_RECORDS):
            new["v"] = {"N": str(int(item["v"]["N"]) + 1)}
        return await self._table.transact(_writes(item, new), token)


def _is_kept(pk: str) -> bool:
    if pk.startswith(_RECORDS):
        return not is_audit(pk.removeprefix(_RECORDS))
    return pk == _BUDGETS or pk.startswith(_NOTICES)


def _text(value: Any) -> str:  # noqa: ANN401 - an attribute's value
    return str(value["S"]) if "S" in value else bytes(value["B"]).decode()


def _writes(old: Item, new: Item) -> Sequence[Item]:
    """Return the writes that put one item in another's place, if that is still what was read."""
    unchanged: dict[str, Any] = {
        "ConditionExpression": "b = :b",
        "ExpressionAttributeValues": {":b": old["b"]},
    }
    if (old["pk"], old["sk"]) == (new["pk"], new["sk"]):
        return [{"Put": {"Item": new, **unchanged}}]
    delete = {"Key": {"pk": old["pk"], "sk": old["sk"]}, **unchanged}
    return [{"Put": {"Item": new}}, {"Delete": delete}]
