"""Finding what to replay: files and folders, recursively, in a stable order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from worker.core.errors import ConfigurationError

CHUNK_BYTES: Final = 4 * 1024 * 1024
CHUNK_FILES: Final = 64
CHUNK_PATH_CHARACTERS: Final = 8 * 1024
"""A chunk must fit into a pipe (64 KiB), or two processes could wait for each other."""


class LogFile(msgspec.Struct, frozen=True, gc=False):
    """A file to replay.

    Attributes:
        path: As found: the argument, and the way from there. Names the file in reasons.
        size_bytes: Stored size, 0 if unknown.
    """

    path: str
    size_bytes: int


def find_files(paths: Sequence[str]) -> Iterator[LogFile]:
    """Yield all files under the given paths, folders in order of name.

    Raises:
        ConfigurationError: A path does not exist, or is of a kind that cannot be replayed.
    """
    for name in paths:
        if name.startswith("s3://"):
            message = f"{name}: S3 is not read yet; copy the logs to a folder and replay that"
            raise ConfigurationError(message)
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
