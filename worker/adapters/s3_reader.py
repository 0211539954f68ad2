"""Objects in Amazon S3, one at a time, as notifications name them: `s3:GetObject`.

Where versions are named, `s3:GetObjectVersion`; for objects encrypted with a key of one's own,
`kms:Decrypt`. Without `s3:ListBucket`, S3 says of a missing object that it is denied.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, Final, NoReturn

from botocore.exceptions import ClientError, ParamValidationError

from worker.adapters.aws_client import FAULTS, AwsClient
from worker.adapters.aws_errors import (
    error_code,
    explained,
    is_unknown_caller,
)
from worker.core.errors import (
    ConfigurationError,
    MissingObjectError,
    TransientError,
    UnreadableObjectError,
)
from worker.core.results import ObjectReference

READ_BYTES: Final = 1024 * 1024
READ_SECONDS: Final = 60.0
RESUMES_MAX: Final = 5
"""Connections lost one after another, without a byte in between, before giving up."""
RESUME_SECONDS: Final = 0.2
NO_VERSION: Final = "null"
"""The version id of what was written while the bucket kept no versions; it can be replaced."""

_SHOWN_CHARACTERS: Final = 100
_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "MethodNotAllowed", "405"})
"""The last two: the version that is named is the mark of a deletion."""
_NO_NAME: Final = frozenset(
    {"InvalidArgument", "InvalidBucketName", "InvalidURI", "KeyTooLongError"}
)
_BUCKET: Final = re.compile(r"(?!.*\.\.)[A-Za-z0-9][A-Za-z0-9._-]{2,254}")
"""A plain name (AWS documentation: "General purpose bucket naming rules"); the oldest buckets
may be called by more than those rules now allow. An ARN has colons."""
_CHANGED: Final = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})


class S3Reader:
    """A `worker.ports.ObjectReader` of S3.

    Notifications are others' words: an object that may not be read, or whose bucket is not
    there, is a `ConfigurationError` of that object alone. Where nothing can be asked at all
    (no Region, no credentials, expired ones) it is a `TransientError`: no notification is to blame.

    Args:
        client: A client of S3; by default one is made from the environment.
        sleep: Waits between attempts to take up a lost connection.
    """

    def __init__(
        self,
        client: AwsClient | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Connect to nothing yet."""
        self._client = client or AwsClient("s3", read_seconds=READ_SECONDS)
        self._sleep = sleep

    async def open(self, reference: ObjectReference) -> S3Object:
        """Begin to read an object: ask for all of it, and wait for the first bytes.

        Raises:
            MissingObjectError: There is no such object or version, or it was deleted.
            UnreadableObjectError: It is archived, or its name cannot be one.
            TransientError: Try again.
            ConfigurationError: No permission, no such bucket, a request that S3 refuses.
        """
        opened = S3Object(self._client, reference, self._sleep)
        if _BUCKET.fullmatch(reference.bucket) is None:
            found = f"no name of an object: {reference.bucket[:_SHOWN_CHARACTERS]!r} is no bucket"
            raise UnreadableObjectError(opened.name, found)
        try:
            await self._client.open()
        except ConfigurationError as error:
            raise TransientError(str(error)) from error
        try:
            await opened.ask()
        except ClientError as error:
            if error_code(error) in _GONE:
                raise MissingObjectError(f"{opened.name}: there is no such object") from error
            opened.refuse(error)
        except FAULTS as error:
            opened.refuse(error)
        return opened

    async def close(self) -> None:
        """Close connections."""
        await self._client.close()


class S3Object:
    """An object that is being read."""

    def __init__(
        self,
        client: AwsClient,
        reference: ObjectReference,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        """Ask for nothing yet."""
        self.name = f"s3://{reference.bucket}/{reference.key}"
        self._client = client
        self._sleep = sleep
        self._wanted = {"Bucket": reference.bucket, "Key": reference.key}
        if reference.version_id:
            self._wanted["VersionId"] = reference.version_id
        self._etag = ""
        self._version = ""
        self._offset = 0
        self._end = 0
        self._body: Any = None

    @property
    def version(self) -> str:
        """`version:ID`, or `etag:TAG` where the bucket keeps no versions."""
        return self._version

    async def ask(self) -> None:
        """Ask for what was not read yet, if the object still is what was read so far."""
        resumed = {"Range": f"bytes={self._offset}-"} if self._offset else {}
        same = {"IfMatch": self._etag} if self._etag else {}
        answer = await self._client.request("get_object", **self._wanted, **resumed, **same)
        self._body = answer["Body"]
        self._etag = answer["ETag"]
        self._end = self._offset + answer["ContentLength"]
        version = answer.get("VersionId", NO_VERSION)
        self._version = f"etag:{self._etag}" if version == NO_VERSION else f"version:{version}"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield its content in pieces of about 1 MiB; a lost connection is taken up again.

        Raises:
            UnreadableObjectError: It was replaced or deleted meanwhile.
            TransientError: The connection was lost too often, or S3 cannot answer now.
            ConfigurationError: It may no longer be read.
        """
        failures = 0
        while True:
            found = f"its end missing after {self._offset:,} bytes"
            try:
                while piece := await self._piece():
                    failures = 0
                    yield piece
            except FAULTS as error:
                found = str(error) or type(error).__name__
            if self._offset >= self._end:
                return
            failures += 1
            if failures > RESUMES_MAX:
                message = f"{self.name}: the connection was lost {failures} times ({found})"
                raise TransientError(message)
            await self.close()
            await self._sleep(RESUME_SECONDS * 2**failures)
            await self._resume()

    async def _piece(self) -> bytes:
        """Read on; what came before a fault is not lost with it."""
        collected = bytearray()
        try:
            while len(collected) < READ_BYTES:
                read = await self._body.read(READ_BYTES - len(collected))
                if not read:
                    break
                collected += read
        except FAULTS:
            if not collected:
                raise
        self._offset += len(collected)
        return bytes(collected)

    async def _resume(self) -> None:
        try:
            await self.ask()
        except ClientError as error:
            if error_code(error) in _GONE:
                found = "nothing: it was deleted while it was read"
                raise UnreadableObjectError(self.name, found) from error
            if error_code(error) in _CHANGED:
                found = "another version: it was replaced while it was read"
                raise UnreadableObjectError(self.name, found) from error
            self.refuse(error)
        except FAULTS as error:
            self.refuse(error)

    def refuse(self, error: BaseException) -> NoReturn:
        """Raise what an error means for this object."""
        if error_code(error) == "InvalidObjectState":
            found = "an archived one: restore it in S3, then redrive this"
            raise UnreadableObjectError(self.name, found) from error
        if isinstance(error, ParamValidationError) or error_code(error) in _NO_NAME:
            raise UnreadableObjectError(self.name, f"no name of an object: {error}") from error
        advice = "and kms:Decrypt if it is encrypted with a key of your own"
        fault = explained(error, subject=self.name, action="s3:GetObject", advice=advice)
        if is_unknown_caller(error) and isinstance(fault, ConfigurationError):
            raise TransientError(str(fault)) from error
        raise fault from error

    async def close(self) -> None:
        """Let go of the connection, read to the end or not."""
        if self._body is not None:
            self._body.close()
