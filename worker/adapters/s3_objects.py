"""Objects in Amazon S3, read only: `s3:ListBucket` and `s3:GetObject`.

Credentials, Region and endpoint come from where the AWS command-line tool takes them
(`AWS_PROFILE`, `AWS_ENDPOINT_URL`, ...).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, NoReturn, Protocol

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from worker.adapters.aws_errors import DENIED_CODES, error_code, explained, passes
from worker.core.errors import ConfigurationError, TransientError, UnreadableObjectError
from worker.ports import Folder, StoredObject

READ_BYTES: Final = 1024 * 1024
RESUMES_MAX: Final = 5
"""Connections lost one after another, without a byte in between, before giving up."""
RESUME_SECONDS: Final = 0.2
CONNECT_SECONDS: Final = 10
READ_SECONDS: Final = 60
CONNECTIONS: Final = 16

_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
_CHANGED: Final = frozenset({"PreconditionFailed", "412", "InvalidRange", "416"})


class Pages(Protocol):
    """The part of a paginator of boto3 that is used here."""

    def paginate(self, **arguments: str) -> Iterable[dict[str, Any]]:
        """Return the pages of an answer."""


class S3Client(Protocol):
    """The part of a client of boto3 that is used here; boto3 itself has no types."""

    def get_object(self, **arguments: str) -> dict[str, Any]:
        """Return an object and what is known of it."""

    def get_paginator(self, operation: str, /) -> Pages:
        """Return what asks for all pages of an operation's answer."""


def make_client() -> S3Client:
    """Return an S3 client of boto3, from environment and configuration files.

    Raises:
        ConfigurationError: They contradict themselves, or a profile is missing.
    """
    # An endpoint of one's own (an emulator, a gateway) rarely has a name for every bucket.
    own = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    config = Config(
        retries={"mode": "standard", "max_attempts": RESUMES_MAX},
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        max_pool_connections=CONNECTIONS,
        s3={"addressing_style": "path"} if own else None,
    )
    try:
        # The SDK for Python itself knows AWS_DEFAULT_REGION alone.
        region = os.environ.get("AWS_REGION") or None
        client: S3Client = boto3.session.Session(region_name=region).client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        message = f"S3 cannot be used: {error}; check AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL"
        raise ConfigurationError(message) from error
    return client


class S3ObjectStore:
    """An `ObjectStore` of the buckets that the caller's credentials may read.

    Args:
        client: An S3 client of boto3; made from the environment by default.
        sleep: Waits some seconds between attempts.
    """

    def __init__(
        self, client: S3Client | None = None, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        """Connect to nothing yet."""
        self._client = make_client() if client is None else client
        self._sleep = sleep

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects whose names begin with `prefix`, in order of name."""
        bucket, key = split_name(prefix)
        for page in self._pages(bucket, Prefix=key):
            yield from _objects(bucket, page)

    def level(self, prefix: str) -> Iterator[StoredObject | Folder]:
        """Yield the objects and folders right below `prefix`, which ends in a slash."""
        bucket, key = split_name(prefix)
        for page in self._pages(bucket, Prefix=key, Delimiter="/"):
            yield from _objects(bucket, page)
            for folder in page.get("CommonPrefixes", ()):
                yield Folder(f"s3://{bucket}/{folder['Prefix']}")

    def _pages(self, bucket: str, **arguments: str) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator("list_objects_v2")
        try:
            yield from pages.paginate(Bucket=bucket, **arguments)
        except (ClientError, BotoCoreError) as error:
            _refuse(error, f"s3://{bucket}", "s3:ListBucket")

    def open(self, name: str) -> Iterator[bytes]:
        """Yield the content of an object in pieces, all of one version of it."""
        offset = 0
        etag = ""
        failures = 0
        while True:
            answer = self._get(name, offset, etag)
            etag = answer["ETag"]
            end = offset + answer["ContentLength"]
            try:
                while chunk := answer["Body"].read(READ_BYTES):
                    offset += len(chunk)
                    failures = 0
                    yield chunk
                found = f"its end missing after {offset:,} bytes"
            except (BotoCoreError, OSError) as error:
                found = str(error)
            finally:
                answer["Body"].close()
            if offset >= end:
                return
            failures += 1
            if failures > RESUMES_MAX:
                message = f"{name}: the connection was lost {failures} times ({found}); try again"
                raise TransientError(message)
            self._sleep(RESUME_SECONDS * 2**failures)

    def _get(self, name: str, offset: int, etag: str) -> dict[str, Any]:
        """Ask for an object from `offset` on, if it still is what was read so far."""
        bucket, key = split_name(name)
        resumed = {"Range": f"bytes={offset}-"} if offset else {}
        same = {"IfMatch": etag} if etag else {}
        try:
            return self._client.get_object(Bucket=bucket, Key=key, **resumed, **same)
        except ClientError as error:
            code = error_code(error)
            if code in _GONE:
                found = "nothing: it was deleted after it was listed"
                raise UnreadableObjectError(name, found) from error
            if code in _CHANGED:
                found = "another version: it was replaced while it was read; replay it again"
                raise UnreadableObjectError(name, found) from error
            if code == "InvalidObjectState":
                found = "an archived one: restore it in S3, then replay it"
                raise UnreadableObjectError(name, found) from error
            _refuse(error, name, "s3:GetObject")
        except BotoCoreError as error:
            _refuse(error, name, "s3:GetObject")


def split_name(name: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`.

    Raises:
        ConfigurationError: There is no bucket in it.
    """
    bucket, _, key = name.removeprefix("s3://").partition("/")
    if not bucket:
        raise ConfigurationError(f"{name}: no bucket is named; give s3://BUCKET/PREFIX")
    return bucket, key


def _objects(bucket: str, page: dict[str, Any]) -> Iterator[StoredObject]:
    for entry in page.get("Contents", ()):
        yield StoredObject(f"s3://{bucket}/{entry['Key']}", entry["Size"])


def _refuse(error: ClientError | BotoCoreError, name: str, action: str) -> NoReturn:
    """Raise what an error of the SDK means for whoever started this."""
    bucket = f"s3://{split_name(name)[0]}"
    if isinstance(error, ClientError):
        code = error_code(error)
        if code in DENIED_CODES:
            more = ", and kms:Decrypt if it is encrypted" if action == "s3:GetObject" else ""
            message = (
                f"{name}: AWS denies {action} on the bucket {bucket}; allow it{more} ({error})"
            )
            raise ConfigurationError(message) from error
        if code == "NoSuchBucket":
            raise ConfigurationError(f"{bucket}: there is no such bucket") from error
        if passes(error):
            raise TransientError(f"{name}: S3 cannot do {action} now ({error})") from error
        raise ConfigurationError(f"{name}: S3 refuses {action} ({error})") from error
    raise explained(error, subject=name, action=action) from error
