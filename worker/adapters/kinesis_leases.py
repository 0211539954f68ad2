"""Leases: which worker reads which shard, and how far it was settled.

A lease is a row with an owner and a version. Every write raises the version, on condition that
owner and version are those that were read. A worker that is alive writes its leases well within
`lease_seconds`; a version that has not changed for that long, by the clock of the worker that
looks on, belongs to nobody. No two machines' clocks are ever compared.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol
from zlib import crc32

import msgspec
from botocore.exceptions import ClientError

from worker.adapters.dynamodb_state import Item, StateTable
from worker.adapters.kinesis_checkpoint import SHARD_END, TRIM_HORIZON

NOBODY: Final = ""
"""The owner of a lease that is free."""

UNCHANGED: Final = "o = :o AND v = :v"
"""The condition of every write: owner and version are those that were read."""


class Lease(msgspec.Struct, frozen=True):
    """The lease on one shard.

    Attributes:
        shard: The shard's id.
        owner: The worker that has it; empty if it is free.
        version: Raised by every write.
        checkpoint: A sequence number, `TRIM_HORIZON` or `SHARD_END`.
        parents: Ids of the shards that must be at their end before.
        starts: Where the shard's sequence numbers begin, which tells it from a shard of the
            same id in a stream that was made anew; empty if unknown.
    """

    shard: str
    owner: str = NOBODY
    version: int = 0
    checkpoint: str = TRIM_HORIZON
    parents: tuple[str, ...] = ()
    starts: str = ""

    @property
    def is_ended(self) -> bool:
        """Whether nothing is left to read."""
        return self.checkpoint == SHARD_END

    def written(self, *, owner: str, checkpoint: str | None = None) -> Lease:
        """Return the lease as its next version is to be."""
        return msgspec.structs.replace(
            self,
            owner=owner,
            version=self.version + 1,
            checkpoint=self.checkpoint if checkpoint is None else checkpoint,
        )


class LeaseStore(Protocol):
    """Where the leases on one stream's shards are kept. May raise `TransientError`."""

    async def leases(self) -> list[Lease]:
        """Return all leases, strongly read."""

    async def add(self, lease: Lease) -> None:
        """Keep a lease on a shard that has none; otherwise do nothing."""

    async def write(self, before: Lease, after: Lease) -> Lease | None:
        """Replace a lease if it still has the owner and version of `before`.

        Returns:
            The lease as it is now: `after` if it was replaced; None if it is gone.
        """

    async def remove(self, lease: Lease) -> None:
        """Remove a lease if it still has this owner and version."""


class MemoryLeases:
    """Leases in memory; several workers of one process may share them."""

    def __init__(self) -> None:
        """Begin with none."""
        self._leases: dict[str, Lease] = {}

    async def leases(self) -> list[Lease]:
        """Return all leases."""
        return list(self._leases.values())

    async def add(self, lease: Lease) -> None:
        """Keep a lease on a shard that has none."""
        self._leases.setdefault(lease.shard, lease)

    async def write(self, before: Lease, after: Lease) -> Lease | None:
        """Replace a lease if nobody else did; return it as it is now."""
        found = self._leases.get(before.shard)
        if found is not None and _is_same(found, before):
            self._leases[before.shard] = found = after
        return found

    async def remove(self, lease: Lease) -> None:
        """Remove a lease if nobody wrote it."""
        found = self._leases.get(lease.shard)
        if found is not None and _is_same(found, lease):
            del self._leases[lease.shard]


class DynamoLeases:
    """Leases in the state table: one partition for a stream, one item for a shard.

    Args:
        table: The state table.
        stream: The stream, as it is named in the settings.
    """

    def __init__(self, table: StateTable, stream: str) -> None:
        """Keep what names the rows."""
        self._table = table
        self._partition = f"l#{stream}"

    async def leases(self) -> list[Lease]:
        """Return all leases, strongly read."""
        return [_lease(item) for item in await self._table.partition(self._partition)]

    async def add(self, lease: Lease) -> None:
        """Keep a lease on a shard that has none."""
        await self._table.put_if(self._item(lease), "attribute_not_exists(pk)")

    async def write(self, before: Lease, after: Lease) -> Lease | None:
        """Replace a lease if nobody else did; return it as it is now."""
        found = await self._table.put_if(self._item(after), UNCHANGED, _values(before))
        if found is None:
            return after
        return _lease(found) if found else None

    async def remove(self, lease: Lease) -> None:
        """Remove a lease if nobody wrote it."""
        try:
            await self._table.dynamo.call(
                "delete_item",
                TableName=self._table.name,
                Key=self._key(lease),
                ConditionExpression=UNCHANGED,
                ExpressionAttributeValues=_values(lease),
            )
        except ClientError as error:
            if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                raise

    def _key(self, lease: Lease) -> Item:
        return {"pk": {"S": self._partition}, "sk": {"S": lease.shard}}

    def _item(self, lease: Lease) -> Item:
        return {
            **self._key(lease),
            "o": {"S": lease.owner},
            "v": {"N": str(lease.version)},
            "c": {"S": lease.checkpoint},
            "p": {"L": [{"S": parent} for parent in lease.parents]},
            "f": {"S": lease.starts},
        }


def _is_same(one: Lease, other: Lease) -> bool:
    return (one.owner, one.version) == (other.owner, other.version)


def _values(lease: Lease) -> Item:
    return {":o": {"S": lease.owner}, ":v": {"N": str(lease.version)}}


def _lease(item: Item) -> Lease:
    return Lease(
        shard=item["sk"]["S"],
        owner=item["o"]["S"],
        version=int(item["v"]["N"]),
        checkpoint=item["c"]["S"],
        parents=tuple(parent["S"] for parent in item["p"]["L"]),
        starts=item["f"]["S"],
    )


class Seen(msgspec.Struct):
    """What one worker saw of a lease: owner and version, since when, and whether it ever moved."""

    owner: str
    version: int
    since: float
    is_renewed: bool


class LeaseWatch:
    """Tells the living from the dead by whether their leases' versions move.

    Args:
        worker: Who looks on.
        lease_seconds: For how long a version may stay the same.
        clock: Monotonic seconds.
    """

    def __init__(
        self, worker: str, lease_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin without having seen anything."""
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._seen: dict[str, Seen] = {}

    def look(self, leases: Iterable[Lease]) -> None:
        """Take note of all leases as they were just read."""
        now = self._clock()
        seen: dict[str, Seen] = {}
        for lease in leases:
            before = self._seen.get(lease.shard)
            if before is None or before.owner != lease.owner:
                seen[lease.shard] = Seen(lease.owner, lease.version, now, is_renewed=False)
            elif before.version != lease.version:
                seen[lease.shard] = Seen(lease.owner, lease.version, now, is_renewed=True)
            else:
                seen[lease.shard] = before
        self._seen = seen

    def is_free(self, lease: Lease) -> bool:
        """Whether anybody may take the lease: it has no owner, or a dead one."""
        if lease.owner == NOBODY:
            return True
        seen = self._seen.get(lease.shard)
        if lease.owner == self._worker or seen is None:
            return False
        return seen.version == lease.version and (self._clock() - seen.since >= self._lease_seconds)

    def is_kept_by_others(self, lease: Lease) -> bool:
        """Whether another worker was seen to renew the lease, not long ago."""
        seen = self._seen.get(lease.shard)
        if seen is None or lease.owner in {NOBODY, self._worker}:
            return False
        return seen.is_renewed and not self.is_free(lease)


def readable(leases: Sequence[Lease], listed: Collection[str]) -> list[Lease]:
    """Return the leases whose shards may be read: not at their end, but all their parents are.

    Args:
        leases: All there are.
        listed: The stream's shards. A parent that is none of them any more has expired.
    """
    unfinished = set(listed) - {lease.shard for lease in leases if lease.is_ended}
    return [
        lease
        for lease in leases
        if lease.shard in unfinished and unfinished.isdisjoint(lease.parents)
    ]


class Plan(msgspec.Struct, frozen=True):
    """What a worker should do next: leases to take that are free, and one to steal."""

    take: tuple[Lease, ...] = ()
    steal: Lease | None = None


def plan(candidates: Sequence[Lease], worker: str, watch: LeaseWatch) -> Plan:
    """Work out what a worker is due of the leases that are readable.

    It takes what is free up to an equal share of all, rounded up. If there is nothing free, it
    steals one from whoever has at least two more than itself: repeated, this ends with all
    workers within one of each other, and nothing is stolen to and fro.
    """
    free = [lease for lease in candidates if watch.is_free(lease)]
    loads = Counter(lease.owner for lease in candidates if not watch.is_free(lease))
    mine = loads.pop(worker, 0)
    share = math.ceil(len(candidates) / (len(loads) + 1))
    if free:
        # Workers that look at the same moment begin at different places of the list.
        free.sort(key=lambda lease: crc32(f"{worker} {lease.shard}".encode()))
        return Plan(take=tuple(free[: max(0, share - mine)]))
    if not loads:
        return Plan()
    [(busiest, load)] = loads.most_common(1)
    if load < mine + 2:
        return Plan()
    return Plan(steal=next(lease for lease in candidates if lease.owner == busiest))
