"""The journal of booked calls in DynamoDB: items of the balances table that expire.

    pk                      sk                  j               x
    j#<day>#<bucket>        <time>#<random>     the note        when it may go, epoch seconds

Day and time are those of the booking. A note is a plain write that is made before the
transactions that it announces, in the same request as other such writes. Nothing else reads these
items: they are in no index, and nobody's balance.

What versions without a journal booked is not in it: a rebooking of everything moves such calls.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Collection, Iterable
from typing import Any, Final

from worker.adapters.dynamodb_items import EXPIRES, Item, day_key
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.journal import JOURNAL_DAYS, SKEW_MS, bucket_of, caller_id, noted_keys, notes
from worker.core.ledger import MS_PER_DAY
from worker.ports import Clock

_NOTE: Final = "j"
_RANDOM_BYTES: Final = 6


class DynamoJournal:
    """Notes which callers' calls are booked, and finds them again.

    Args:
        dynamo: Makes requests.
        table: The balances table.
        clock: Tells the time of the booking.
    """

    def __init__(self, dynamo: Dynamo, table: str, clock: Clock) -> None:
        """Keep what is needed."""
        self._dynamo = dynamo
        self._table = table
        self._clock = clock

    def items(self, calls: Iterable[tuple[str, bytes]]) -> list[Item]:
        """Return the items that note calls, given by identity and stored key."""
        now_ms = self._clock.now_ms()
        expires = (now_ms + SKEW_MS) // 1_000 + JOURNAL_DAYS * MS_PER_DAY // 1_000
        return [
            {
                "pk": {"S": _partition(now_ms // MS_PER_DAY, bucket)},
                "sk": {"S": f"{_time_key(now_ms)}#{secrets.token_hex(_RANDOM_BYTES)}"},
                _NOTE: {"B": body},
                EXPIRES: {"N": str(expires)},
            }
            for bucket, body in notes(calls)
        ]

    async def keys(self, identities: Collection[str], from_ms: int) -> AsyncIterator[list[bytes]]:
        """Yield stored keys of calls that were booked for some callers, since a day before a time.

        Strongly read, one query for each day and bucket, over what was noted there alone.
        """
        callers = {caller_id(identity) for identity in identities}
        now_ms = self._clock.now_ms()
        start_ms = max(from_ms - SKEW_MS, now_ms - JOURNAL_DAYS * MS_PER_DAY)
        for day in range(start_ms // MS_PER_DAY, (now_ms + SKEW_MS) // MS_PER_DAY + 1):
            for bucket in sorted({bucket_of(caller) for caller in callers}):
                async for page in self._notes(_partition(day, bucket), start_ms):
                    keys = [
                        key for item in page for key in noted_keys(bytes(item[_NOTE]["B"]), callers)
                    ]
                    if keys:
                        yield keys

    def _notes(self, partition: str, start_ms: int) -> AsyncIterator[list[dict[str, Any]]]:
        return self._dynamo.pages(
            "query",
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :p AND sk >= :start",
            ExpressionAttributeValues={
                ":p": {"S": partition},
                ":start": {"S": _time_key(start_ms)},
            },
        )


def _partition(day: int, bucket: int) -> str:
    return f"j#{day_key(day)}#{bucket}"


def _time_key(at_ms: int) -> str:
    """Write a time so that text sorts as time does."""
    return f"{max(at_ms, 0):014d}"
