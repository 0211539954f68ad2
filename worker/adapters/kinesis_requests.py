"""Requests to Kinesis: which shards there are, and what they hold."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import error_code, explained
from worker.adapters.kinesis_checkpoint import TRIM_HORIZON
from worker.core.errors import LedgerockError

ATTEMPTS_MAX: Final = 2
"""Few: requests that were throttled count, and the readers have a pace of their own."""

ADVICE: Final = "see LEDGEROCK_STREAMS, and the permissions in docs/kinesis.md"


# The second from LocalStack, or from a shard that is gone: then the oldest record is, too.
_NO_SUCH_POSITION: Final = frozenset({"InvalidArgumentException", "ResourceNotFoundException"})


class ExpiredIteratorError(LedgerockError):
    """An iterator is older than five minutes; a new one goes on where it stood."""


class TrimmedPositionError(LedgerockError):
    """There is no such sequence number (any more) in the shard."""


class MissingShardError(LedgerockError):
    """There is no such shard (any more), or no such stream."""


class ListedShard(msgspec.Struct, frozen=True):
    """A shard as the stream lists it.

    Attributes:
        shard: Its id.
        parents: Ids of the shards it was made of by a split or a merge; they need not exist.
        starts: Where its sequence numbers begin.
    """

    shard: str
    parents: tuple[str, ...] = ()
    starts: str = ""


class ReadRecord(msgspec.Struct, frozen=True, gc=False):
    """A record: sequence number, payload, approximate arrival (epoch ms UTC)."""

    sequence: str
    data: bytes
    arrived_at_ms: int


class Page(msgspec.Struct, frozen=True):
    """What one request read.

    Attributes:
        records: In order; may be empty though there are more.
        iterator: Where to go on; None at the end of a closed shard.
        behind_ms: How far behind the newest record of the shard this is.
    """

    records: list[ReadRecord]
    iterator: str | None
    behind_ms: int


class KinesisStream:
    """One stream.

    Args:
        stream: Name or ARN.
        client: An open client of aiobotocore, for tests.
    """

    def __init__(self, stream: str, client: Any = None) -> None:  # noqa: ANN401 - untyped
        """Connect to nothing yet."""
        self.stream = stream
        is_arn = stream.startswith("arn:")
        self.name = stream.rpartition("/")[2] if is_arn else stream
        region = stream.split(":")[3] if is_arn else None
        self._client = AwsClient(
            "kinesis", client=client, attempts_max=ATTEMPTS_MAX, region=region or None
        )
        self._address = {"StreamARN": stream} if is_arn else {"StreamName": stream}
        self._arn = {"StreamARN": stream} if is_arn else {}

    async def shards(self) -> list[ListedShard]:
        """Return all shards whose records are kept still, closed ones included.

        Raises:
            TransientError: Try again.
            ConfigurationError: No such stream, no permission.
        """
        found: list[ListedShard] = []
        arguments: dict[str, Any] = self._address
        while True:
            answer = await self._client.call(
                "list_shards",
                subject=f"Kinesis stream {self.stream}",
                action="kinesis:ListShards",
                advice=ADVICE,
                **arguments,
            )
            found += [_listed(shard) for shard in answer["Shards"]]
            token = answer.get("NextToken")
            if not token:
                return found
            # API reference, ListShards: a token stands for the stream and excludes its name.
            arguments = {"NextToken": token}

    async def iterator(self, shard: str, position: str) -> str:
        """Return an iterator behind a sequence number, or at the oldest record there is.

        Raises:
            TrimmedPositionError: Begin at the oldest record instead.
            MissingShardError: There is no such shard (any more).
            TransientError: Try again.
            ConfigurationError: No permission.
        """
        place = (
            {"ShardIteratorType": TRIM_HORIZON}
            if position == TRIM_HORIZON
            else {
                "ShardIteratorType": "AFTER_SEQUENCE_NUMBER",
                "StartingSequenceNumber": position,
            }
        )
        answer = await self._request(
            "get_shard_iterator", shard, "GetShardIterator", ShardId=shard, **self._address, **place
        )
        return str(answer["ShardIterator"])

    async def records(self, shard: str, iterator: str, records_max: int) -> Page:
        """Read on from an iterator.

        Raises:
            ExpiredIteratorError: Get a new iterator.
            MissingShardError: There is no such shard (any more).
            TransientError: Throttled, or another passing fault; try again.
            ConfigurationError: No permission, for the stream or for its key.
        """
        answer = await self._request(
            "get_records",
            shard,
            "GetRecords",
            ShardIterator=iterator,
            Limit=records_max,
            **self._arn,
        )
        records = [_record(record) for record in answer["Records"]]
        behind_ms = int(answer.get("MillisBehindLatest") or 0)
        return Page(records, answer.get("NextShardIterator"), behind_ms)

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()

    async def _request(self, operation: str, shard: str, action: str, **arguments: Any) -> Any:  # noqa: ANN401
        subject = f"Kinesis stream {self.stream}, {shard}"
        try:
            return await self._client.request(operation, **arguments)
        except FAULTS as error:
            code = error_code(error)
            if code == "ExpiredIteratorException":
                raise ExpiredIteratorError(subject) from error
            if "StartingSequenceNumber" in arguments and code in _NO_SUCH_POSITION:
                raise TrimmedPositionError(subject) from error
            if code == "ResourceNotFoundException":
                raise MissingShardError(subject) from error
            if code == "InvalidArgumentException":
                # What an iterator stood for is gone, or belongs to a stream of before.
                raise ExpiredIteratorError(subject) from error
            raise explained(
                error, subject=subject, action=f"kinesis:{action}", advice=ADVICE
            ) from error


def _listed(shard: dict[str, Any]) -> ListedShard:
    parents = (shard.get("ParentShardId"), shard.get("AdjacentParentShardId"))
    return ListedShard(
        shard["ShardId"],
        tuple(parent for parent in parents if parent),
        shard.get("SequenceNumberRange", {}).get("StartingSequenceNumber", ""),
    )


def _record(record: dict[str, Any]) -> ReadRecord:
    arrived = record.get("ApproximateArrivalTimestamp")
    return ReadRecord(
        record["SequenceNumber"],
        record["Data"],
        0 if arrived is None else round(arrived.timestamp() * 1_000),
    )
