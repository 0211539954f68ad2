"""Seals in DynamoDB: items of the balances table, and what is written to them.

    pk        sk                         what
    s         -                          the seal in force: its watermark `v`, a day, and a note
    s         <shard>                    the watermark again, for others' transactions to check
    s#sums    <day>#<number>             what the sealed calls of a day add up to, by leaf shape
    s#parts   <attempt>#<flush>#<number> the same, of the entries that were read so far

Whoever books calls of days that may be sealed meanwhile checks, in the same transaction, that the
watermark is the one they know. Transactions that check one item conflict as if they wrote it, so
that there are as many copies of the watermark as wide shards, and each transaction checks the one
of its own shard. All copies are moved in one transaction.

Who forgets a person while a seal is being made replaces the seal in force by one with another
number of changes: sums that were read before are not stored any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import msgspec
from botocore.exceptions import ClientError

from worker.adapters import dynamodb_progress as progress
from worker.adapters.aws_errors import error_code
from worker.adapters.dynamodb_items import SHARDS_MAX, Item, day_key
from worker.adapters.dynamodb_requests import Dynamo, backoff
from worker.core.errors import TransientError
from worker.core.ledger import Amounts
from worker.core.seal import (
    NOTHING_SEALED,
    Seal,
    SealedSum,
    decode_amounts,
    encode_amounts,
    seal_in,
    seal_note,
)

SUMS_PER_ITEM: Final = 500
"""Of about 60 bytes each."""

ITEMS_AT_ONCE: Final = 40
"""Items of sums in a transaction: far from 4 MB."""

MOVE_ATTEMPTS_MAX: Final = 60
"""How often moving the watermark is tried, for a minute or so on average: it conflicts with every
transaction that is just checking one of its copies, and whoever books old calls checks often."""

DISTURB_ATTEMPTS_MAX: Final = 20
"""How often the seal in force is replaced anew because somebody else was first."""

NOTE: Final = "seal sums"
"""Under which name a sealing leaves its place."""

Stored = dict[tuple[int, int], SealedSum]
"""Sums by leaf shape and day."""

_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder(list[tuple[int, int, int, bytes]]).decode

SUMS: Final = "s#sums"
PARTS: Final = "s#parts"


def head_key() -> Item:
    """Return the item key of the seal in force."""
    return {"pk": {"S": "s"}, "sk": {"S": "-"}}


def seal_of(item: Mapping[str, Any] | None) -> Seal:
    """Read the item of the seal in force; None if there is none."""
    return NOTHING_SEALED if item is None else seal_in(item["note"]["S"])


def _copy_key(shard: int) -> Item:
    return {"pk": {"S": "s"}, "sk": {"S": f"{shard:02d}"}}


def watermark_check(table: str, seal: Seal, shard: int) -> Item:
    """Return the part of a transaction that lets it through only under a seal's watermark."""
    check: Item = {"TableName": table, "Key": _copy_key(shard)}
    return {"ConditionCheck": check | _is_still(seal)}


def _is_still(seal: Seal) -> dict[str, Any]:
    if not seal.day:
        return {"ConditionExpression": "attribute_not_exists(v)"}
    return {
        "ConditionExpression": "v = :v",
        "ExpressionAttributeValues": {":v": {"N": str(seal.day)}},
    }


def _is_noted(seal: Seal) -> dict[str, Any]:
    if not seal.day:
        return {"ConditionExpression": "attribute_not_exists(note)"}
    return {
        "ConditionExpression": "note = :before",
        "ExpressionAttributeValues": {":before": {"S": seal_note(seal)}},
    }


class DynamoSeals:
    """Reads and writes these items.

    Args:
        dynamo: Makes requests.
        table: The balances table.
    """

    def __init__(self, dynamo: Dynamo, table: str) -> None:
        """Keep what is needed."""
        self._dynamo = dynamo
        self._table = table

    async def head(self) -> Seal:
        """Return the seal in force, strongly read."""
        answer = await self._dynamo.call(
            "get_item", TableName=self._table, Key=head_key(), ConsistentRead=True
        )
        return seal_of(answer.get("Item"))

    async def move(self, before: Seal, after: Seal) -> bool:
        """Move the watermark, in all copies at once; return whether `before` was in force still."""
        value = {"v": {"N": str(after.day)}}
        condition = _is_still(before)
        puts = [
            {"Put": {"TableName": self._table, "Item": _copy_key(shard) | value} | condition}
            for shard in range(SHARDS_MAX)
        ]
        head = head_key() | value | {"note": {"S": seal_note(after)}}
        puts.append({"Put": {"TableName": self._table, "Item": head} | _is_noted(before)})
        return await self._dynamo.transact_if(puts, MOVE_ATTEMPTS_MAX)

    async def change(self, before: Seal, after: Seal) -> bool:
        """Replace the seal in force by one with the same watermark; return whether it was."""
        head = head_key() | {"v": {"N": str(after.day)}, "note": {"S": seal_note(after)}}
        put = {"TableName": self._table, "Item": head} | _is_noted(before)
        return await self._dynamo.transact_if([{"Put": put}])

    async def disturb(self) -> Seal:
        """Have a sealing that is under way fail before it stores what it has read so far.

        Returns:
            The seal in force, which it replaced if that was not complete.

        Raises:
            TransientError: Others kept replacing it.
        """
        for attempt in range(DISTURB_ATTEMPTS_MAX):
            seal = await self.head()
            if seal.is_complete:
                return seal
            after = msgspec.structs.replace(seal, changes=seal.changes + 1)
            if await self.change(seal, after):
                return after
            await backoff(attempt)
        raise TransientError("others are sealing this ledger all the time; run it again")

    async def remove_place(self, note: str) -> None:
        """Remove the place that a sealing left, unless it is another one by now."""
        await progress.remove(self._dynamo, self._table, NOTE, note)

    # --- Sums --------------------------------------------------------------------------------

    async def items_between(self, first_day: int, last_day: int) -> list[Item]:
        """Return the items of stored sums of an inclusive range of days, strongly read."""
        first, last = f"{day_key(first_day)}#", f"{day_key(last_day)}$"
        return [item async for item in self._between(SUMS, first, last)]

    async def store(self, day: int, sums: Mapping[int, SealedSum], seal: Seal) -> bool:
        """Store a day's sums by leaf shape, in place of what was stored of that day before.

        Returns:
            Whether this seal was in force all the time; if it was not, perhaps not all is stored.
        """
        there = await self.items_between(day, day)
        made = [
            _sum_item(SUMS, f"{day_key(day)}#{number:04d}", some)
            for number, some in enumerate(_chunks({(shape, day): sums[shape] for shape in sums}))
        ]
        kept = {item["sk"]["S"] for item in made}
        writes: list[Item] = [{"Put": {"TableName": self._table, "Item": item}} for item in made]
        writes += [
            {"Delete": {"TableName": self._table, "Key": {"pk": item["pk"], "sk": item["sk"]}}}
            for item in there
            if item["sk"]["S"] not in kept
        ]
        check = {"TableName": self._table, "Key": head_key()} | _is_noted(seal)
        for at in range(0, len(writes), ITEMS_AT_ONCE):
            some_writes = writes[at : at + ITEMS_AT_ONCE]
            if not await self._dynamo.transact_if([{"ConditionCheck": check}, *some_writes]):
                return False
        return True

    async def flush(
        self, attempt: str, number: int, sums: Mapping[tuple[int, int], Amounts]
    ) -> None:
        """Keep what some entries add up to, for a later run to go on from."""
        stored = {key: SealedSum(amounts, 0) for key, amounts in sums.items()}
        made = [
            _sum_item(PARTS, f"{attempt}#{number:06d}#{part:04d}", some)
            for part, some in enumerate(_chunks(stored))
        ]
        await self._dynamo.put_many(self._table, made)

    async def flushed(self, flushes: Mapping[str, int]) -> dict[tuple[int, int], Amounts]:
        """Add up what was kept by the first so many flushes of some attempts."""
        sums: dict[tuple[int, int], Amounts] = {}
        async for item in self._between(PARTS, "", "~"):
            attempt, number, _ = item["sk"]["S"].split("#")
            if int(number) < flushes.get(attempt, 0):
                for key, one in sums_in(item).items():
                    sums.setdefault(key, Amounts()).add(one.amounts)
        return sums

    async def drop_flushed(self, last_attempt: str) -> None:
        """Remove what was kept by the flushes of attempts up to this one, by name."""
        async for page in self._pages(PARTS, "", f"{last_attempt}~", ProjectionExpression="pk, sk"):
            await asyncio.gather(
                *(
                    self._dynamo.call("delete_item", TableName=self._table, Key=item)
                    for item in page
                )
            )

    async def _between(self, pk: str, first: str, last: str) -> AsyncIterator[Item]:
        async for page in self._pages(pk, first, last):
            for item in page:
                yield item

    def _pages(self, pk: str, first: str, last: str, **more: str) -> AsyncIterator[list[Item]]:
        return self._dynamo.pages(
            "query",
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :p AND sk BETWEEN :first AND :last",
            ExpressionAttributeValues={
                ":p": {"S": pk},
                ":first": {"S": first or " "},
                ":last": {"S": last},
            },
            **more,
        )


def sums_in(item: Mapping[str, Any]) -> Stored:
    """Read the sums of an item."""
    return {
        (shape, day): SealedSum(decode_amounts(amounts), seal_day)
        for shape, day, seal_day, amounts in _unpack(bytes(item["b"]["B"]))
    }


def with_sums(item: Mapping[str, Any], sums: Stored) -> Item:
    """Return an item with other sums."""
    return _sum_item(item["pk"]["S"], item["sk"]["S"], list(sums.items()))


def _sum_item(pk: str, sk: str, sums: Sequence[tuple[tuple[int, int], SealedSum]]) -> Item:
    packed = [
        (shape, day, one.day, encode_amounts(one.amounts))
        for (shape, day), one in sorted_sums(sums)
    ]
    return {"pk": {"S": pk}, "sk": {"S": sk}, "b": {"B": _pack(packed)}}


def sorted_sums(
    sums: Iterable[tuple[tuple[int, int], SealedSum]],
) -> list[tuple[tuple[int, int], SealedSum]]:
    """Return sums in one order, so that the same sums are always the same item."""
    return sorted(sums, key=lambda pair: pair[0])


def _chunks(sums: Stored) -> Iterable[list[tuple[tuple[int, int], SealedSum]]]:
    left = iter(sorted_sums(sums.items()))
    while some := list(islice(left, SUMS_PER_ITEM)):
        yield some


async def set_expiry(dynamo: Dynamo, table: str, item: Mapping[str, Any], expires: int) -> bool:
    """Say when an entry may go; return False if it is not what was read any more."""
    try:
        await dynamo.call(
            "update_item",
            TableName=table,
            Key={"r": item["r"], "o": item["o"]},
            UpdateExpression="SET x = :x",
            ConditionExpression="b = :b",
            ExpressionAttributeValues={":x": {"N": str(expires)}, ":b": item["b"]},
        )
    except ClientError as error:
        if error_code(error) != "ConditionalCheckFailedException":
            raise
        return False
    return True
