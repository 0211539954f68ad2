"""Quarantine in S3: one small object for each record, named after its content.

Objects are put on condition that they are not there yet (AWS documentation: "How to prevent
object overwrites with conditional writes"), so that a record that is quarantined again keeps its
first time. Needs `s3:PutObject`, `s3:GetObject`, `s3:DeleteObject` and `s3:ListBucket` on the
prefix.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import error_code, explained
from worker.adapters.quarantine_records import (
    ambiguous,
    decode_record,
    encode_record,
    quarantine_id,
)
from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import Malformed
from worker.ports import Clock, QuarantinedRecord

PUTS_AT_ONCE: Final = 16
SHARD_CHARACTERS: Final = 2
THERE_ALREADY: Final = frozenset({"PreconditionFailed", "412"})
BUSY: Final = frozenset({"ConditionalRequestConflict", "409"})
GONE: Final = frozenset({"NoSuchKey", "404"})
ADVICE: Final = "make the bucket, or name another place in LEDGEROCK_QUARANTINE"


class S3Quarantine:
    """A `worker.ports.Quarantine` under a prefix of a bucket.

    Args:
        place: `s3://bucket/prefix`.
        clock: For the time of quarantining.
        client: An open client of aiobotocore, for tests.
    """

    def __init__(self, place: str, clock: Clock, client: Any = None) -> None:  # noqa: ANN401
        """Connect to nothing yet.

        Raises:
            ConfigurationError: The place names no bucket.
        """
        self._bucket, _, prefix = place.removeprefix("s3://").partition("/")
        if not self._bucket:
            raise ConfigurationError(f"{place}: no bucket is named; give s3://BUCKET/PREFIX")
        self._prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        self._clock = clock
        self._client = AwsClient("s3", client=client)
        self._slots = asyncio.Semaphore(PUTS_AT_ONCE)

    async def put(self, records: Sequence[Malformed]) -> list[str]:
        """Keep records; see the port.

        Raises:
            TransientError: S3 cannot take them now; putting them again is safe.
            ConfigurationError: There is no such bucket, or it may not be written.
        """
        # All of them, before any fault is told of: a retry finds most of them there.
        answers = await asyncio.gather(*map(self._put, records), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer
        return [answer for answer in answers if isinstance(answer, str)]

    async def _put(self, record: Malformed) -> str:
        item_id = quarantine_id(record)
        arguments = {
            "Bucket": self._bucket,
            "Key": self._key(item_id),
            "Body": encode_record(item_id, record, self._clock.now_ms()),
            "ContentType": "application/json",
            "IfNoneMatch": "*",
        }
        async with self._slots:
            try:
                await self._client.request("put_object", **arguments)
            except FAULTS as error:
                code = error_code(error)
                if code in BUSY:
                    message = f"s3://{self._bucket}: somebody puts the same record ({error})"
                    raise TransientError(message) from error
                if code not in THERE_ALREADY:
                    raise self._explained(error, "s3:PutObject") from error
        return item_id

    async def items(self) -> AsyncIterator[QuarantinedRecord]:
        """Yield everything in quarantine, in order of id."""
        async for key in self._keys(""):
            item = await self._read(key)
            if item is not None:
                yield item

    async def get(self, item_id: str) -> QuarantinedRecord | None:
        """Return one item by its id or an unambiguous beginning of it."""
        found = [key async for key in self._keys(item_id)]
        if len(found) > 1:
            raise ambiguous(item_id, len(found))
        return await self._read(found[0]) if found else None

    async def remove(self, item_id: str) -> None:
        """Delete an item's object."""
        await self._client.call(
            "delete_object",
            subject=f"s3://{self._bucket}",
            action="s3:DeleteObject",
            advice=ADVICE,
            Bucket=self._bucket,
            Key=self._key(item_id),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _keys(self, beginning: str) -> AsyncIterator[str]:
        """Yield the keys of all items whose ids begin so, in order."""
        shard = beginning[:SHARD_CHARACTERS]
        whole = len(beginning) >= SHARD_CHARACTERS
        prefix = f"{self._prefix}{shard}/{beginning}" if whole else f"{self._prefix}{shard}"
        arguments: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix}
        while True:
            page = await self._client.call(
                "list_objects_v2",
                subject=f"s3://{self._bucket}",
                action="s3:ListBucket",
                advice=ADVICE,
                **arguments,
            )
            for entry in page.get("Contents", ()):
                if _is_item(entry["Key"].removeprefix(self._prefix)):
                    yield entry["Key"]
            if not page.get("IsTruncated"):
                return
            arguments["ContinuationToken"] = page["NextContinuationToken"]

    async def _read(self, key: str) -> QuarantinedRecord | None:
        """Return an item; None if somebody has removed it meanwhile."""
        try:
            answer = await self._client.request("get_object", Bucket=self._bucket, Key=key)
            async with answer["Body"] as body:
                document = await body.read()
        except FAULTS as error:
            if error_code(error) in GONE:
                return None
            raise self._explained(error, "s3:GetObject") from error
        return decode_record(document, f"s3://{self._bucket}/{key}")

    def _key(self, item_id: str) -> str:
        return f"{self._prefix}{item_id[:SHARD_CHARACTERS]}/{item_id}.json"

    def _explained(self, error: BaseException, action: str) -> Exception:
        subject = f"s3://{self._bucket}"
        return explained(error, subject=subject, action=action, advice=ADVICE)


def _is_item(name: str) -> bool:
    """Whether a key below the prefix is an item's: `3f/3f2a….json`."""
    shard, _, file = name.partition("/")
    return len(shard) == SHARD_CHARACTERS and file.startswith(shard) and file.endswith(".json")
