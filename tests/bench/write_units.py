"""Write units by AWS's rules: a store in memory that counts what each request would be billed.

DynamoDB Local answers with made-up figures, so sizes are computed (AWS documentation: "DynamoDB
item sizes and formats", "DynamoDB read and write operations", "Using Global Secondary Indexes"):

* an item is its attributes' names and values: text as UTF-8, bytes as they are, a number one byte
  for every two significant digits and one more;
* a write takes one unit for every started 1,024 bytes of the larger of the item before and after,
  and twice that in a transaction, whether the transaction is made or cancelled;
* an index takes units for its own, projected item, where that appears, goes or changes.
"""

from collections.abc import Mapping
from typing import Any, Final

from botocore.exceptions import ClientError

from worker.adapters.dynamodb_items import table_definitions

UNIT_BYTES: Final = 1_024
READ_UNIT_BYTES: Final = 4_096
USD_PER_MILLION_WRITE_UNITS: Final = "0.625"
USD_PER_MILLION_READ_UNITS: Final = "0.125"
PRICE_SOURCE: Final = "Amazon DynamoDB pricing, on-demand, Standard table class, us-east-1"

Item = dict[str, Any]


def value_bytes(value: Mapping[str, Any]) -> int:
    """Return the size of an attribute's value."""
    [(kind, content)] = value.items()
    if kind == "S":
        return len(str(content).encode())
    if kind == "B":
        return len(bytes(content))
    digits = str(content).lstrip("-").strip("0")
    return (len(digits) + 1) // 2 + 1 + str(content).startswith("-")


def item_bytes(item: Item) -> int:
    """Return the size of an item."""
    return sum(len(name.encode()) + value_bytes(value) for name, value in item.items())


def units(size_bytes: int, unit_bytes: int = UNIT_BYTES) -> int:
    """Return the units of an item of that size."""
    return max(1, -(-size_bytes // unit_bytes))


class CountingStore:
    """The few operations that booking needs, kept in memory.

    Attributes:
        write_units: Billed by what: `entries`, `payers`, `wide`, `names` (interned values),
            `indexes`, `days`, `journal`, `checks` (of the seal, by old calls); `cancelled` are
            those of transactions that changed nothing.
        read_units: Of strong reads, by table.
        transactions: Made and cancelled.
        largest: Bytes of the largest item by what.
    """

    def __init__(self, prefix: str) -> None:
        self.tables: dict[str, dict[Any, Item]] = {}
        self._keys: dict[str, list[str]] = {}
        self._indexes: dict[str, list[list[str]]] = {}
        for definition in table_definitions(prefix):
            name = definition["TableName"]
            self.tables[name] = {}
            self._keys[name] = _names(definition)
            self._indexes[name] = [
                _names(index) for index in definition.get("GlobalSecondaryIndexes", ())
            ]
        self.reset()

    def reset(self) -> None:
        """Forget what was counted, keep what is stored."""
        self.write_units: dict[str, int] = {}
        self.read_units: dict[str, float] = {}
        self.transactions = {"made": 0, "cancelled": 0}
        self.largest: dict[str, int] = {}

    async def transact_write_items(self, TransactItems: list[Any], **_: Any) -> Item:  # noqa: N803
        reasons: list[Item] = []
        written: list[tuple[str, Any, Item | None, Item]] = []
        checks = 0
        for wrapped in TransactItems:
            [(kind, request)] = wrapped.items()
            table = request["TableName"]
            key = self._key(table, request["Item"] if kind == "Put" else request["Key"])
            old = self.tables[table].get(key)
            if kind == "ConditionCheck":  # that nothing is sealed; billed as a write
                checks += 1
                reasons.append({"Code": "None", "Item": old})
                continue
            new = request["Item"] if kind == "Put" else _updated(old or request["Key"], request)
            written.append((table, key, old, new))
            failed = kind == "Put" and not _holds(old, request)
            reasons.append({"Code": "ConditionalCheckFailed" if failed else "None", "Item": old})
        cancelled = any(reason["Code"] != "None" for reason in reasons)
        self.transactions["cancelled" if cancelled else "made"] += 1
        if checks:
            self._bill("cancelled" if cancelled else "checks", 2 * checks)
        for table, key, old, new in written:
            billed = 2 * units(max(item_bytes(old or {}), item_bytes(new)))
            if cancelled:
                self._bill("cancelled", billed)
            else:
                self._bill(_what(new), billed)
                self._store(table, key, old, new)
        if cancelled:
            code = "TransactionCanceledException"
            failure = ClientError({"Error": {"Code": code, "Message": ""}}, "TransactWriteItems")
            failure.response["CancellationReasons"] = reasons
            raise failure
        return {}

    async def batch_write_item(self, RequestItems: Item) -> Item:  # noqa: N803
        for table, requests in RequestItems.items():
            for request in requests:
                new = request["PutRequest"]["Item"]
                key = self._key(table, new)
                old = self.tables[table].get(key)
                self._bill(_what(new), units(max(item_bytes(old or {}), item_bytes(new))))
                self._store(table, key, old, new)
        return {}

    async def batch_get_item(self, RequestItems: Item) -> Item:  # noqa: N803
        found: dict[str, list[Item]] = {}
        for table, wanted in RequestItems.items():
            found[table] = []
            for key in wanted["Keys"]:
                item = self.tables[table].get(self._key(table, key))
                read = units(item_bytes(item or {}), READ_UNIT_BYTES)
                self.read_units[table] = self.read_units.get(table, 0) + read
                if item is not None:
                    found[table].append(item)
        return {"Responses": found}

    def _store(self, table: str, key: Any, old: Item | None, new: Item) -> None:
        self.tables[table][key] = new
        what = _what(new)
        self.largest[what] = max(self.largest.get(what, 0), item_bytes(new))
        for index in self._indexes[table]:
            projected = [*self._keys[table], *index]
            before, after = _projected(old, index, projected), _projected(new, index, projected)
            if before != after:
                self._bill("indexes", (before is not None) + (after is not None))

    def _bill(self, what: str, billed: int) -> None:
        self.write_units[what] = self.write_units.get(what, 0) + billed

    def _key(self, table: str, item: Item) -> Any:
        return tuple(next(iter(item[name].values())) for name in self._keys[table])


def _names(definition: Item) -> list[str]:
    return [part["AttributeName"] for part in definition["KeySchema"]]


def _projected(item: Item | None, index: list[str], projected: list[str]) -> Item | None:
    if item is None or any(name not in item for name in index):
        return None
    return {name: item[name] for name in projected}


def _holds(old: Item | None, request: Item) -> bool:
    if request["ConditionExpression"].startswith("attribute_not_exists"):
        return old is None
    return old is not None and old["b"] == request["ExpressionAttributeValues"][":b"]


def _updated(item: Item, request: Item) -> Item:
    """Apply `ADD name :value, ... SET name = :value`, the only update there is."""
    values = request["ExpressionAttributeValues"]
    additions, _, setting = request["UpdateExpression"].removeprefix("ADD ").partition(" SET ")
    updated = dict(item)
    for addition in additions.split(", "):
        name, marker = addition.split(" ")
        before = int(updated[name]["N"]) if name in updated else 0
        updated[name] = {"N": str(before + int(values[marker]["N"]))}
    if setting:
        name, _, marker = setting.partition(" = ")
        updated[name] = values[marker]
    return updated


def _what(item: Item) -> str:
    kinds = {"p": "payers", "w": "wide", "i": "names", "d": "days", "n": "notes", "j": "journal"}
    return kinds[item["pk"]["S"][0]] if "pk" in item else "entries"
