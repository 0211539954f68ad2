"""Finding and reading objects in S3 for a replay.

Where only a window of time is wanted, folders whose names rule it out are not listed
(`worker.core.partitions`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final

from worker.core.errors import ConfigurationError
from worker.core.partitions import partition_of
from worker.pipeline import Window
from worker.ports import Folder, ObjectStore, StoredObject

SCHEME: Final = "s3://"

LEVEL_MAX: Final = 1_000
"""Objects and folders on one level that are looked into one by one (S3 lists so many at once).
Where there are more, all below is listed, and what the window rules out is left out by name."""

AHEAD: Final = 8
"""Small objects that are fetched before their turn, since each takes tens of milliseconds."""

AHEAD_BYTES_MAX: Final = 1024 * 1024
"""What is larger than this is read as a stream, when its turn comes."""


def is_object(name: str) -> bool:
    """Whether a path names something in S3."""
    return name.startswith(SCHEME)


def key_of(name: str) -> str:
    """Return the key in `s3://bucket/key`."""
    return name.removeprefix(SCHEME).partition("/")[2]


def find_objects(name: str, store: ObjectStore, window: Window) -> Iterator[StoredObject]:
    """Yield the objects that an argument names: the one of that name, and all in that folder.

    Raises:
        ConfigurationError: There are none at all.
    """
    search = _Search(store, window)
    key = key_of(name)
    if key and not name.endswith("/"):
        # The object of that very name, if there is one, comes first.
        exact = next(store.objects(name), None)
        if exact is not None and exact.name == name:
            search.found = True
            yield exact
    folder = name if name.endswith("/") else f"{name}/"
    yield from search.below(folder)
    if not search.found:
        message = f"{name}: no object has that name, and none lies in a folder of that name"
        raise ConfigurationError(message)


class _Search:
    """One walk through a bucket.

    Attributes:
        found: Whether there was anything, even outside of the window.
    """

    def __init__(self, store: ObjectStore, window: Window) -> None:
        self._store = store
        self._window = window
        self.found = False

    def below(self, prefix: str) -> Iterator[StoredObject]:
        """Yield the objects whose names begin with `prefix`, which ends in a slash."""
        partition = partition_of(key_of(prefix))
        if self._window.is_open or (partition is not None and partition.is_day):
            yield from self._all(prefix)
            return
        items = list(islice(self._store.level(prefix), LEVEL_MAX + 1))
        if len(items) > LEVEL_MAX:
            yield from self._all(prefix)
            return
        for item in items:
            self.found = True
            if not self._may_hold(item.name):
                continue
            if isinstance(item, Folder):
                yield from self.below(item.name)
            else:
                yield item

    def _all(self, prefix: str) -> Iterator[StoredObject]:
        for stored in self._store.objects(prefix):
            self.found = True
            if self._may_hold(stored.name):
                yield stored

    def _may_hold(self, name: str) -> bool:
        partition = partition_of(key_of(name))
        return partition is None or partition.may_hold(self._window.since_ms, self._window.until_ms)


class ReadAhead:
    """Fetches small objects before their turn, in the order in which they are wanted.

    Args:
        store: Returns the store, once something is to be read from it.
    """

    def __init__(self, store: Callable[[], ObjectStore]) -> None:
        """Start no thread yet."""
        self._store = store
        self._pool: ThreadPoolExecutor | None = None

    def read(self, objects: Iterable[tuple[str, int]]) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Yield the names of objects, each with its content.

        Args:
            objects: Names and stored sizes. A name that is not in S3 comes with nothing.

        An object that cannot be read raises when its content is asked for.
        """
        waiting: deque[tuple[str, Future[list[bytes]] | None]] = deque()
        for name, size_bytes in objects:
            waiting.append((name, self._fetch(name, size_bytes)))
            if len(waiting) > AHEAD:
                yield self._next(waiting)
        while waiting:
            yield self._next(waiting)

    def _fetch(self, name: str, size_bytes: int) -> Future[list[bytes]] | None:
        if not is_object(name) or not 0 < size_bytes <= AHEAD_BYTES_MAX:
            return None
        if self._pool is None:
            self._pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="read-ahead")
        return self._pool.submit(_content, self._store(), name)

    def _next(
        self, waiting: deque[tuple[str, Future[list[bytes]] | None]]
    ) -> tuple[str, Iterator[bytes]]:
        name, future = waiting.popleft()
        if future is not None:
            return name, _fetched(future)
        return name, self._store().open(name) if is_object(name) else iter(())


def _content(store: ObjectStore, name: str) -> list[bytes]:
    return list(store.open(name))


def _fetched(future: Future[list[bytes]]) -> Iterator[bytes]:
    yield from future.result()
