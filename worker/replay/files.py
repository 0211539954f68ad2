"""Finding what to replay: files and folders, here and in S3, in a stable order."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec

from worker.bootstrap import open_object_store
from worker.core.errors import ConfigurationError
from worker.pipeline import Window
from worker.ports import ObjectStore
from worker.replay.objects import find_objects, is_object

LISTED_BYTES_IN_MEMORY: Final = 1024 * 1024
CHUNK_BYTES: Final = 4 * 1024 * 1024
CHUNK_FILES: Final = 64
CHUNK_PATH_CHARACTERS: Final = 8 * 1024
"""A chunk must fit into a pipe (64 KiB), or two processes could wait for each other."""


class LogFile(msgspec.Struct, frozen=True, gc=False):
    """A file to replay.

    Attributes:
        path: As found: the argument, and the way from there, or `s3://bucket/key`. Names the
            file in reasons.
        size_bytes: Stored size, 0 if unknown.
    """

    path: str
    size_bytes: int


class Listing:
    """What a replay is to read, found once and kept in bounded memory.

    Attributes:
        files: Files and objects in it.
        size_bytes: Their stored sizes added up.
    """

    def __init__(self, found: Iterable[LogFile]) -> None:
        """Write down all files; the bulk of a long list goes to a temporary file."""
        self.files = 0
        self.size_bytes = 0
        self._list = tempfile.SpooledTemporaryFile(LISTED_BYTES_IN_MEMORY)  # noqa: SIM115 - exit
        try:
            for file in found:
                self.files += 1
                self.size_bytes += file.size_bytes
                # File names need not be UTF-8, nor free of line feeds: this escapes both.
                self._list.write(json.dumps((file.path, file.size_bytes)).encode() + b"\n")
        except BaseException:
            self._list.close()
            raise

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the temporary file."""
        self._list.close()

    def __iter__(self) -> Iterator[LogFile]:
        """Yield the files, in the order in which they were found."""
        self._list.seek(0)
        for line in self._list:
            yield LogFile(*json.loads(line))


def find_files(
    paths: Sequence[str],
    window: Window | None = None,
    store: Callable[[], ObjectStore] = open_object_store,
) -> Iterator[LogFile]:
    """Yield all files under the given paths, folders in order of name.

    Args:
        paths: Files and folders, and `s3://bucket/prefix` of objects.
        window: Objects whose names rule out that they hold anything of it are left out.
        store: Opens the store of the objects.

    Raises:
        ConfigurationError: A path does not exist, or cannot be read.
        TransientError: S3 cannot be listed now.
    """
    for name in paths:
        if is_object(name):
            for stored in find_objects(name, store(), window or Window()):
                yield LogFile(stored.name, stored.size_bytes)
            continue
        path = Path(name)
        if path.is_dir():
            yield from _walk(path)
        elif path.exists():
            yield LogFile(name, _size(path))
        else:
            message = f"{name}: no such file or folder; give paths of logs to replay"
            raise ConfigurationError(message)


def _walk(root: Path) -> Iterator[LogFile]:
    unreadable: list[str] = []
    for folder, folders, names in os.walk(
        root, onerror=lambda error: unreadable.append(str(error.filename))
    ):
        folders.sort()
        # Links to folders are not followed, since they can form circles; they are named.
        links = [name for name in folders if Path(folder, name).is_symlink()]
        for name in sorted([*names, *links]):
            path = Path(folder, name)
            yield LogFile(str(path), _size(path))
    # Reading them will say what is wrong, so that nothing is left out silently.
    for name in unreadable:
        yield LogFile(name, 0)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it will say what is wrong


def chunks(files: Iterator[LogFile]) -> Iterator[list[LogFile]]:
    """Group files into pieces of work worth sending to another process."""
    chunk: list[LogFile] = []
    size = characters = 0
    for file in files:
        chunk.append(file)
        size += file.size_bytes
        characters += len(file.path)
        if size >= CHUNK_BYTES or len(chunk) >= CHUNK_FILES or characters >= CHUNK_PATH_CHARACTERS:
            yield chunk
            chunk, size, characters = [], 0, 0
    if chunk:
        yield chunk
