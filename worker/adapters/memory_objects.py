"""Objects in memory, for tests and demonstrations."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Final

from worker.core.errors import MissingObjectError, UnreadableObjectError
from worker.core.results import ObjectReference
from worker.ports import Folder, StoredObject

PIECE_BYTES: Final = 1024 * 1024


class MemoryObjectStore:
    """An `ObjectStore` that holds its objects.

    Args:
        contents: Content by name (`s3://bucket/key`).
    """

    def __init__(self, contents: Mapping[str, bytes]) -> None:
        """Hold some objects."""
        self.contents = dict(contents)

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects whose names begin with `prefix`."""
        for name in sorted(self.contents):
            if name.startswith(prefix):
                yield StoredObject(name, len(self.contents[name]))

    def level(self, prefix: str) -> Iterator[StoredObject | Folder]:
        """Yield the objects and folders right below `prefix`."""
        last = ""
        for stored in self.objects(prefix):
            head, slash, _ = stored.name[len(prefix) :].partition("/")
            if not slash:
                yield stored
            elif head != last:
                last = head
                yield Folder(f"{prefix}{head}/")

    def open(self, name: str) -> Iterator[bytes]:
        """Yield the content of an object."""
        try:
            content = self.contents[name]
        except KeyError:
            raise UnreadableObjectError(name, "nothing: it is gone") from None
        yield content


class MemoryObjectReader:
    """A `worker.ports.ObjectReader` of objects in memory.

    Attributes:
        contents: Content by name (`s3://bucket/key`); may be changed at any time.

    Args:
        contents: What it begins with.
        piece_bytes: Size of the pieces that objects are read in.
    """

    def __init__(self, contents: Mapping[str, bytes], *, piece_bytes: int = PIECE_BYTES) -> None:
        """Hold some objects."""
        self.contents = dict(contents)
        self._piece_bytes = piece_bytes

    async def open(self, reference: ObjectReference) -> MemoryObject:
        """Begin to read an object, as it is now.

        Raises:
            MissingObjectError: There is none of that name.
        """
        name = f"s3://{reference.bucket}/{reference.key}"
        if name not in self.contents:
            raise MissingObjectError(f"{name}: there is no such object")
        return MemoryObject(self.contents[name], self._piece_bytes)

    async def close(self) -> None:
        """Nothing to close."""


class MemoryObject:
    """An object in memory that is being read."""

    def __init__(self, content: bytes, piece_bytes: int) -> None:
        """Read from the beginning."""
        self._content = content
        self._piece_bytes = piece_bytes

    @property
    def version(self) -> str:
        """A hash of the content."""
        return f"etag:{hashlib.sha256(self._content).hexdigest()}"

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield the content in pieces."""
        for start in range(0, len(self._content), self._piece_bytes):
            yield self._content[start : start + self._piece_bytes]

    async def close(self) -> None:
        """Nothing to close."""
