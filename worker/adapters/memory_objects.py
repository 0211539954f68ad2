"""Objects in memory, for tests and demonstrations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from worker.core.errors import UnreadableObjectError
from worker.ports import Folder, StoredObject


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
