"""A Kinesis stream in memory: the methods of a client that the source uses, and its faults.

Shards are split and merged, iterators expire, records are trimmed, requests fail on demand.
"""

import base64
import json
from collections import Counter, deque
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from botocore.exceptions import ClientError

ARRIVED: Final = datetime(2026, 11, 22, 5, 0, 0, 123_000, UTC)
ARRIVED_MS: Final = 1_795_323_600_123


class StubRecord(msgspec.Struct):
    """A record: its number in the whole stream, and its payload."""

    number: int
    data: bytes


class StubShard(msgspec.Struct):
    """A shard: where it begins, what it holds, whether it takes records, what it was made of."""

    name: str
    starts: int
    parents: tuple[str, ...] = ()
    records: list[StubRecord] = msgspec.field(default_factory=list)
    trimmed: int = -1
    is_open: bool = True
    is_expired: bool = False


class StubStream:
    """A stream of some shards.

    Args:
        name: Its name.
        shards: How many.
        page: Shards listed at once.

    Attributes:
        faults: Errors that the next requests meet, by operation: a code, or an exception.
        requests: How often each operation was asked for.
        iterators: `(shard, type, sequence number)` of every iterator that was asked for.
    """

    def __init__(self, name: str = "calls", shards: int = 1, *, page: int = 2) -> None:
        self.name = name
        self.shards: dict[str, StubShard] = {}
        self.faults: dict[str, deque[str | Exception]] = {}
        self.requests: Counter[str] = Counter()
        self.iterators: list[tuple[str, str, str]] = []
        self._page = page
        self._number = 0
        self._epoch = 0
        for _ in range(shards):
            self._add(())

    # --- What producers and operators do -------------------------------------------------

    def put(self, shard: str, *bodies: bytes) -> list[str]:
        """Put records into a shard; return their sequence numbers."""
        assert self.shards[shard].is_open
        numbers = [self._next() for _ in bodies]
        self.shards[shard].records += [
            StubRecord(number, body) for number, body in zip(numbers, bodies, strict=True)
        ]
        return [str(number) for number in numbers]

    def split(self, shard: str) -> list[str]:
        """Close a shard and open two in its place."""
        self.shards[shard].is_open = False
        return [self._add((shard,)), self._add((shard,))]

    def merge(self, one: str, other: str) -> str:
        """Close two shards and open one in their place."""
        for shard in (one, other):
            self.shards[shard].is_open = False
        return self._add((one, other))

    def trim(self, shard: str, sequence: str) -> None:
        """Forget a shard's records up to a sequence number."""
        found = self.shards[shard]
        found.trimmed = int(sequence)
        found.records = [record for record in found.records if record.number > found.trimmed]

    def expire_iterators(self) -> None:
        """Have all iterators that were given out be too old."""
        self._epoch += 1

    def fail(self, operation: str, *faults: str | Exception) -> None:
        """Have the next requests fail."""
        self.faults.setdefault(operation, deque()).extend(faults)

    def _add(self, parents: tuple[str, ...]) -> str:
        name = f"shardId-{len(self.shards):012}"
        self.shards[name] = StubShard(name, self._next(), parents)
        return name

    def _next(self) -> int:
        self._number += 1
        return self._number

    # --- The client ----------------------------------------------------------------------

    async def list_shards(self, **arguments: Any) -> dict[str, Any]:
        self._meet("list_shards", arguments if "NextToken" not in arguments else {})
        after = int(arguments.get("NextToken", 0))
        listed = [shard for shard in self.shards.values() if not shard.is_expired]
        answer: dict[str, Any] = {
            "Shards": [_description(shard) for shard in listed[after : after + self._page]]
        }
        if after + self._page < len(listed):
            answer["NextToken"] = str(after + self._page)
        return answer

    async def get_shard_iterator(self, **arguments: Any) -> dict[str, Any]:
        self._meet("get_shard_iterator", arguments)
        shard = self._shard(arguments["ShardId"], "GetShardIterator")
        kind, sequence = (
            arguments["ShardIteratorType"],
            arguments.get("StartingSequenceNumber", ""),
        )
        self.iterators.append((shard.name, kind, sequence))
        after = 0
        if kind == "AFTER_SEQUENCE_NUMBER":
            after = int(sequence)
            if after <= shard.trimmed:
                raise client_error("InvalidArgumentException", "GetShardIterator")
        else:
            assert kind == "TRIM_HORIZON"
        return {"ShardIterator": self._iterator(shard, after)}

    async def get_records(self, **arguments: Any) -> dict[str, Any]:
        self._meet("get_records", {})
        epoch, name, after = json.loads(base64.b64decode(arguments["ShardIterator"]))
        shard = self._shard(name, "GetRecords")
        if epoch != self._epoch:
            raise client_error("ExpiredIteratorException", "GetRecords")
        assert 0 < arguments["Limit"] <= 10_000
        left = [record for record in shard.records if record.number > after]
        read = left[: arguments["Limit"]]
        answer: dict[str, Any] = {
            "Records": [
                {
                    "SequenceNumber": str(record.number),
                    "Data": record.data,
                    "PartitionKey": "any",
                    "ApproximateArrivalTimestamp": ARRIVED,
                }
                for record in read
            ],
            "MillisBehindLatest": 0 if len(read) == len(left) else 60_000,
        }
        # As the service does it: the end is told by a request of its own, which reads nothing.
        if shard.is_open or read or left:
            answer["NextShardIterator"] = self._iterator(shard, read[-1].number if read else after)
        return answer

    def _iterator(self, shard: StubShard, after: int) -> str:
        return base64.b64encode(json.dumps([self._epoch, shard.name, after]).encode()).decode()

    def _shard(self, name: str, operation: str) -> StubShard:
        if name not in self.shards or self.shards[name].is_expired:
            raise client_error("ResourceNotFoundException", operation)
        return self.shards[name]

    def _meet(self, operation: str, arguments: dict[str, Any]) -> None:
        self.requests[operation] += 1
        if arguments and arguments.get("StreamName", self.name) != self.name:
            raise client_error("ResourceNotFoundException", operation)
        faults = self.faults.get(operation)
        if faults:
            fault = faults.popleft()
            raise client_error(fault, operation) if isinstance(fault, str) else fault


def _description(shard: StubShard) -> dict[str, Any]:
    parents: Sequence[str] = shard.parents
    names = ("ParentShardId", "AdjacentParentShardId")
    return {
        "ShardId": shard.name,
        "SequenceNumberRange": {"StartingSequenceNumber": str(shard.starts)},
        **dict(zip(names, parents, strict=False)),
    }


def client_error(code: str, operation: str) -> ClientError:
    """Return an error of the service."""
    return ClientError({"Error": {"Code": code, "Message": "injected"}}, operation)
