"""The state table in DynamoDB: everything that is not the ledger itself, few and small items.

    pk                  sk                     what
    b                   <name>                 a budget
    s#<subject>         <recorded>#<id>        a notice on a subject (crossings: `budget/NAME`)
    n#<id>              -                      that a notice of this id exists, and where
    o#<object>          -                      how far an object's version was booked; expires
    f                   <arn>                  an application inference profile
    l#<stream>          <shard>                the lease on a shard, with its checkpoint
    w#<stream>          <worker>               a worker that shares a stream's shards; expires

The sparse index `due` lists what waits for its time: `q` names what kind of work it is, `t` when
it is due (epoch milliseconds). Items that are done lose both attributes and leave the index.
The table's stream wakes the announcer.
"""

from __future__ import annotations

from typing import Any, Final

DUE_INDEX: Final = "due"
EXPIRES: Final = "x"
"""Attribute of the table's time to live, epoch seconds; only notes and workers carry it."""


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
