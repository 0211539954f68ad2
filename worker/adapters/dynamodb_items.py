"""How the ledger lies in DynamoDB: the only place that knows its keys and expressions.

Two tables. `PREFIX-entries` holds one small item for each call:

    r (B, hash)   the request id          o (B, range)  its namespace and account
    b (B)         the stored body         n (B)         what it names (`dynamodb_names`)
                                          u (N)         leaf shape, of calls whose price is pending

                                          x (N)         when it may go, of calls that are sealed

so that one request id is one query, and a sparse index `by-leaf` on `u` finds the calls that a
late price or profile could move. `PREFIX-balances` holds everything that is few:

    pk                  sk              what
    p#<principal>       <day>#<shard>#  a payer's day: twelve sums for each leaf, flat; calls
                                        that others made for the payer: an item for each caller
    w                   <day>#<shard>#  everybody's day: cost, calls and tokens of each scope
    i#<id>              -               a shared part of names (leaf shape, route, basis)
    d                   <day>           a day that has balances
    n#<name>            -               a job's note
    j#<day>#<bucket>    <time>#<random> which callers' calls were booked (`dynamodb_journal`)
    s, s#sums, s#parts                  how far the ledger is sealed (`dynamodb_seals`)

A payer's series of days is one query; so are the wide scopes' days. The index `by-day` (keys
only, so that adding to an item never touches it) lists the payers of a day.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final
from zlib import crc32

from worker.core.budget_terms import Scope
from worker.core.codec import owner_offset
from worker.core.ledger import AMOUNT_FIELDS, Amounts
from worker.core.transactions import FIELD_LETTERS, BalanceKey, Posted, additions

Item = dict[str, Any]
"""An item, or a key, in DynamoDB's wire form (`{"pk": {"S": "w"}}`)."""

EXPIRES: Final = "x"
"""Attribute of the time to live, epoch seconds: of the journal's notes, and of sealed entries that
may go."""

DAY_LAST: Final = 999_999

DAY_BUCKETS: Final = 8
"""Partitions that a day's payers are spread over in the index `by-day`."""

SHARDS_MAX: Final = 32
"""Shards of a day's wide item at most."""

PAYER_SHARDS_MAX: Final = 8
"""Shards of a payer's day at most, once it is hot."""

LAYERS_MAX: Final = 10
"""Sets of shards of a balance at most; another is begun where an item is as large as may be.

Callers choose the model ids of calls that fail, so that one may fill an item: 400 KB are about
12,000 such ids (AWS documentation: "Quotas in Amazon DynamoDB").
"""

PAYER_BYTES_MAX: Final = 1_500
"""Of a payer's name in a key, which may have 2,048 bytes."""

WIDE_LETTERS: Final = {
    "agent": "g",
    "team": "t",
    "pool": "o",
    "application": "x",
    "account": "a",
    "model": "m",
    "everything": "e",
}
WIDE_FIGURES: Final = "cnt"
"""What wide items keep of each scope; see `transactions.wide_figures`."""

EXPRESSION_BYTES_MAX: Final = 4_000
"""An expression may have 4 KB (AWS documentation: "Quotas in Amazon DynamoDB")."""

NAMES_KEPT: Final = 20_000
_ID_BYTES: Final = 8
_ID_CHARACTERS: Final = 13


def entries_table(prefix: str) -> str:
    """Name the table of entries."""
    return f"{prefix}-entries"


def balances_table(prefix: str) -> str:
    """Name the table of balances."""
    return f"{prefix}-balances"


def table_definitions(prefix: str) -> list[dict[str, Any]]:
    """Return the arguments of `CreateTable` for both tables: on demand, with their indexes."""
    return [
        {
            "TableName": entries_table(prefix),
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "r", "AttributeType": "B"},
                {"AttributeName": "o", "AttributeType": "B"},
                {"AttributeName": "u", "AttributeType": "N"},
            ],
            "KeySchema": [
                {"AttributeName": "r", "KeyType": "HASH"},
                {"AttributeName": "o", "KeyType": "RANGE"},
            ],
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": "by-leaf",
                    "KeySchema": [{"AttributeName": "u", "KeyType": "HASH"}],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        },
        {
            "TableName": balances_table(prefix),
            "BillingMode": "PAY_PER_REQUEST",
            "AttributeDefinitions": [
                {"AttributeName": "pk", "AttributeType": "S"},
                {"AttributeName": "sk", "AttributeType": "S"},
                {"AttributeName": "g", "AttributeType": "S"},
            ],
            "KeySchema": [
                {"AttributeName": "pk", "KeyType": "HASH"},
                {"AttributeName": "sk", "KeyType": "RANGE"},
            ],
            "GlobalSecondaryIndexes": [
                {
                    "IndexName": "by-day",
                    "KeySchema": [
                        {"AttributeName": "g", "KeyType": "HASH"},
                        {"AttributeName": "pk", "KeyType": "RANGE"},
                    ],
                    "Projection": {"ProjectionType": "KEYS_ONLY"},
                }
            ],
        },
    ]


# --- Entries ---------------------------------------------------------------------------------


def entry_key(stored: bytes) -> Item:
    """Return the item key of a stored call key."""
    cut = owner_offset(stored)
    return {"r": {"B": stored[:cut]}, "o": {"B": stored[cut:]}}


def stored_key(item: Mapping[str, Any]) -> bytes:
    """Undo `entry_key`."""
    return bytes(item["r"]["B"]) + bytes(item["o"]["B"])


def entry_item(
    stored: bytes, body: bytes, names: bytes, pending_shape: int | None, expires: int = 0
) -> Item:
    """Return the item of a call.

    Args:
        stored: Its stored key.
        body: Its body.
        names: What that names.
        pending_shape: Shape of its leaf, set while its price is pending.
        expires: When it may go, epoch seconds; 0 for never.
    """
    item = entry_key(stored) | {"b": {"B": body}, "n": {"B": names}}
    if pending_shape is not None:
        item["u"] = {"N": str(pending_shape)}
    if expires:
        item[EXPIRES] = {"N": str(expires)}
    return item


def expires_of(item: Mapping[str, Any]) -> int:
    """Return when an item may go, epoch seconds; 0 for never."""
    return int(item[EXPIRES]["N"]) if EXPIRES in item else 0


def body_and_names(item: Mapping[str, Any]) -> tuple[bytes, bytes]:
    """Return what an entry's item holds."""
    return bytes(item["b"]["B"]), bytes(item["n"]["B"])


def request_key(request: bytes) -> dict[str, Any]:
    """Return the query condition for one request id."""
    return {
        "KeyConditionExpression": "r = :r",
        "ExpressionAttributeValues": {":r": {"B": request}},
    }


# --- Balances --------------------------------------------------------------------------------


def shard_of(key: BalanceKey, shard: int, layer: int) -> int:
    """Number a shard over all layers. Whoever reads a balance adds all of them up."""
    return shard + layer * (PAYER_SHARDS_MAX if key.principal else SHARDS_MAX)


def day_key(day: int) -> str:
    """Write a day so that text sorts as time does."""
    return f"{day:06d}"


def balance_item_key(key: BalanceKey, shard: int) -> Item:
    """Return the item key of one shard of a balance."""
    pk = payer_key(key.principal) if key.principal else "w"
    caller = _digest(key.caller) if key.caller else ""
    return {"pk": {"S": pk}, "sk": {"S": f"{day_key(key.day)}#{shard:02d}#{caller}"}}


def payer_key(principal: str) -> str:
    """Return the partition of a payer; names longer than a key may be are cut and told apart."""
    name = principal.encode("utf-8", "surrogatepass")
    if len(name) > PAYER_BYTES_MAX:
        name = name[:PAYER_BYTES_MAX]
        return f"p#{name.decode('utf-8', 'ignore')}#{_digest(principal)}"
    return f"p#{principal}"


def day_of(item: Mapping[str, Any]) -> int:
    """Return the day of a payer's or wide item."""
    return int(item["sk"]["S"].partition("#")[0])


def day_bucket(day: int, bucket: int) -> str:
    """Name a partition of the index `by-day`."""
    return f"{day_key(day)}#{bucket}"


def balance_update(
    key: BalanceKey, postings: Iterable[Posted], shard: int
) -> tuple[Item, dict[str, Any]] | None:
    """Return the key and the expression that add postings to one shard of a balance.

    Postings are `(leaf, amounts, shape id)`, all of them the payer's if the balance is one.

    All names are flat and made of letters and digits, so they need no placeholders. None if
    there is nothing to add.

    An expression of `ADDITIONS_MAX` names is as long as may be, so `pack` puts no more together.
    """
    values: Item = {}
    added = []
    for name, delta in _deltas(key, postings).items():
        if delta:
            marker = f":{len(values)}"
            values[marker] = {"N": str(delta)}
            added.append(f"{name} {marker}")
    if not added:
        return None
    expression = f"ADD {', '.join(added)}"
    if key.principal:
        bucket = crc32(key.principal.encode()) % DAY_BUCKETS
        values[":g"] = {"S": day_bucket(key.day, bucket)}
        expression += " SET g = :g"
    return balance_item_key(key, shard), {
        "UpdateExpression": expression,
        "ExpressionAttributeValues": values,
    }


def _deltas(key: BalanceKey, postings: Iterable[Posted]) -> dict[str, int]:
    deltas: dict[str, int] = {}
    for posted in postings:
        for (what, letter), delta in additions(key, posted):
            name = wide_name(*what) if isinstance(what, tuple) else f"l{_text_id(what)}"
            attribute = name + letter
            deltas[attribute] = deltas.get(attribute, 0) + delta
    return deltas


@lru_cache(maxsize=NAMES_KEPT)
def wide_name(kind: str, scope: str) -> str:
    """Name a scope within a wide item; scopes are any text, attribute names are not."""
    return WIDE_LETTERS[kind] + _digest(scope)


def wide_scope_name(scope: Scope) -> str:
    """Name a wide scope within a wide item."""
    return wide_name(scope.kind, "" if scope.kind == "everything" else scope.id)


def leaf_amounts(item: Mapping[str, Any]) -> dict[int, Amounts]:
    """Read what a payer's day holds, by shape id."""
    found: dict[int, dict[str, int]] = {}
    for name, value in item.items():
        if name[0] == "l" and len(name) == 1 + _ID_CHARACTERS + 1:
            field = AMOUNT_FIELDS[FIELD_LETTERS.index(name[-1])]
            leaf_id = _leaf_id(name[1:-1])
            found.setdefault(leaf_id, {})[field] = int(value["N"])
    return {leaf_id: Amounts(**fields) for leaf_id, fields in found.items()}


def wide_sums(item: Mapping[str, Any]) -> dict[str, int]:
    """Read the sums of a wide item by attribute name."""
    return {
        name: int(value["N"])
        for name, value in item.items()
        if len(name) == 1 + _ID_CHARACTERS + 1 and name[0] in WIDE_LETTERS.values()
    }


def wide_projection(names: Iterable[str]) -> str:
    """Return the projection of some scopes' sums; empty for all, also where it would be too long.

    A wide item may hold thousands of scopes' sums, and a budget needs one.
    """
    attributes = [name + letter for name in names for letter in WIDE_FIGURES]
    projection = ",".join(("sk", *attributes))
    return projection if attributes and len(projection) <= EXPRESSION_BYTES_MAX else ""


@lru_cache(maxsize=NAMES_KEPT)
def _text_id(leaf_id: int) -> str:
    return _characters(leaf_id.to_bytes(_ID_BYTES, "big", signed=True))


def _digest(text: str) -> str:
    encoded = text.encode("utf-8", "surrogatepass")
    return _characters(blake2b(encoded, digest_size=_ID_BYTES).digest())


def _characters(digest: bytes) -> str:
    return base64.b32encode(digest).decode().rstrip("=")


def _leaf_id(text: str) -> int:
    return int.from_bytes(base64.b32decode(f"{text}==="), "big", signed=True)


# --- Interned values, days, notes ------------------------------------------------------------


def interned_key(value_id: int) -> Item:
    """Return the item key of an interned part."""
    return {"pk": {"S": f"i#{value_id}"}, "sk": {"S": "-"}}


def known_day_key(day: int) -> Item:
    """Return the item key that says that a day has balances."""
    return {"pk": {"S": "d"}, "sk": {"S": day_key(day)}}


def note_key(name: str) -> Item:
    """Return the item key of a job's note."""
    return {"pk": {"S": f"n#{name}"}, "sk": {"S": "-"}}
