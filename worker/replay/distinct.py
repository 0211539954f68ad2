"""Counting distinct keys exactly, in bounded memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

KEYS_IN_MEMORY_MAX: Final = 200_000
PARTITIONS: Final = 64
_LENGTH_BYTES: Final = 2


class DistinctKeys:
    """Counts distinct byte strings; beyond a bound they wait in temporary files.

    The files are partitioned by content, so that each can be counted by itself.
    """

    def __init__(self, in_memory_max: int = KEYS_IN_MEMORY_MAX) -> None:
        """Start with none; at most `in_memory_max` are held at a time."""
        self._in_memory_max = in_memory_max
        self._keys: set[bytes] = set()
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._files: list[IO[bytes]] = []

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove the temporary files."""
        for file in self._files:
            file.close()
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, keys: Iterable[bytes]) -> None:
        """Count some keys, each once."""
        self._keys.update(keys)
        if len(self._keys) > self._in_memory_max:
            self._spill()

    def count(self) -> int:
        """Return how many different keys were added."""
        if not self._files:
            return len(self._keys)
        self._spill()
        total = 0
        for file in self._files:
            file.flush()
            total += len(set(_read_keys(Path(file.name).read_bytes())))
        return total

    def _spill(self) -> None:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="ledgerock-")
            self._files = [
                Path(self._folder.name, str(number)).open("wb")  # noqa: SIM115 - see __exit__
                for number in range(PARTITIONS)
            ]
        parts: list[list[bytes]] = [[] for _ in range(PARTITIONS)]
        for key in self._keys:
            # The sum of a few bytes spreads both random and counted-up ids.
            parts[
                (key[1] + key[-(7 % len(key))] + key[len(key) // 2] + key[16 % len(key)])
                % PARTITIONS
            ] += (
                len(key).to_bytes(_LENGTH_BYTES, "big"),
                key,
            )
        for file, part in zip(self._files, parts, strict=True):
            file.write(b"".join(part))
        self._keys = set()


def _read_keys(content: bytes) -> Iterable[bytes]:
    position = 0
    while position < len(content):
        start = position + _LENGTH_BYTES
        end = start + int.from_bytes(content[position:start], "big")
        yield content[start:end]
        position = end
