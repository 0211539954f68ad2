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
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            yield LogFile(str(path), _size(path))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # reading it will say what is wrong


def chunks(files: Iterator[LogFile]) -> Iterator[list[LogFile]]:
    """Group files into pieces of work worth sending to another process."""
    chunk: list[LogFile] = []
    size = 0
    for file in files:
        chunk.append(file)
        size += file.size_bytes
        if size >= CHUNK_BYTES or len(chunk) >= CHUNK_FILES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
