"""Stored objects: listed and read for a replay, read for the worker."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Protocol

import msgspec

from worker.core.results import ObjectReference


class StoredObject(msgspec.Struct, frozen=True, gc=False):
    """An object as a listing names it.

    Attributes:
        name: `s3://bucket/key`.
        size_bytes: Stored size.
    """

    name: str
    size_bytes: int


class Folder(msgspec.Struct, frozen=True, gc=False):
    """What the names of some objects begin with, up to a slash.

    Attributes:
        name: `s3://bucket/prefix/`.
    """

    name: str


class ObjectStore(Protocol):
    """Objects that can be listed and read. May be used by several threads at once.

    All methods may raise `TransientError` (try again) and `ConfigurationError` (no such bucket,
    no permission, no credentials), here or from the iterators that they return.
    """

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects whose names begin with `prefix`, in order of name."""

    def level(self, prefix: str) -> Iterator[StoredObject | Folder]:
        """Yield the objects and folders right below `prefix`, which ends in a slash."""

    def open(self, name: str) -> Iterator[bytes]:
        """Yield the content of an object in pieces, all of one version of it.

        A connection that is lost is taken up again where it broke off.

        Raises:
            UnreadableObjectError: It is gone, archived, or changed while it was read.
        """


class OpenedObject(Protocol):
    """A stored object that is being read."""

    @property
    def version(self) -> str:
        """Version id, or the entity tag where the bucket keeps no versions."""

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield its content, all of that version; a lost connection is taken up again.

        Raises:
            UnreadableObjectError: It was replaced or deleted meanwhile.
            TransientError: It cannot be read now.
        """

    async def close(self) -> None:
        """Let go of the connection, read to the end or not."""


class ObjectReader(Protocol):
    """Reads the objects that notifications name."""

    async def open(self, reference: ObjectReference) -> OpenedObject:
        """Begin to read one.

        Raises:
            MissingObjectError: There is no such object (yet).
            UnreadableObjectError: It can never be read as it is (archived).
            TransientError: Try again.
            ConfigurationError: No permission, no such bucket.
        """

    async def close(self) -> None:
        """Close connections."""
