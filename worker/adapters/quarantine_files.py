"""Quarantine in a directory: one small JSON file for each record, named after its content.

Writing is atomic and idempotent: a record that is quarantined again, by a rerun or after a
crash, is the same file.
"""

from __future__ import annotations

import errno
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Final

from worker.adapters.quarantine_records import (
    ambiguous,
    decode_record,
    encode_record,
    foreign,
    quarantine_id,
)
from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import Malformed
from worker.ports import Clock, QuarantinedRecord

SHARD_CHARACTERS: Final = 2

PASSING: Final = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE}
    | {errno.ENOMEM, errno.ENOSPC, errno.ESTALE, errno.ETIMEDOUT}
)
"""Faults of writing that may be over at the next attempt; others are of the place itself."""


class FileQuarantine:
    """A `worker.ports.Quarantine` in a directory.

    Args:
        directory: Made on the first record.
        clock: For the time of quarantining.
    """

    def __init__(self, directory: Path, clock: Clock) -> None:
        """Remember the directory."""
        self._directory = directory
        self._clock = clock

    async def put(self, records: Sequence[Malformed]) -> list[str]:
        """Keep records; see the port.

        Raises:
            TransientError: A passing fault, such as a full disk.
            ConfigurationError: Nothing can ever be written in this directory.
        """
        return [self._put(record) for record in records]

    def _put(self, record: Malformed) -> str:
        item_id = quarantine_id(record)
        path = self._path(item_id)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        try:
            if path.exists():
                return item_id
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(encode_record(item_id, record, self._clock.now_ms()))
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            if error.errno in PASSING:
                message = f"{path}: cannot be written ({error.strerror})"
                raise TransientError(message) from error
            message = (
                f"{self._directory}: quarantined records cannot be written there "
                f"({error.strerror}); name a folder that can be with --quarantine DIR"
            )
            raise ConfigurationError(message) from error
        return item_id

    async def items(self) -> AsyncIterator[QuarantinedRecord]:
        """Yield everything in quarantine, in order of id."""
        for path in self._files():
            yield _read(path)

    async def get(self, item_id: str) -> QuarantinedRecord | None:
        """Return one item by its id or an unambiguous beginning of it."""
        found = [path for path in self._files() if path.stem.startswith(item_id)]
        if len(found) > 1:
            raise ambiguous(item_id, len(found))
        return _read(found[0]) if found else None

    async def remove(self, item_id: str) -> None:
        """Delete an item's file."""
        self._path(item_id).unlink(missing_ok=True)

    async def close(self) -> None:
        """Do nothing: no file stays open."""

    def _path(self, item_id: str) -> Path:
        return self._directory / item_id[:SHARD_CHARACTERS] / f"{item_id}.json"

    def _files(self) -> list[Path]:
        try:
            os.scandir(self._directory).close()
        except FileNotFoundError:
            return []
        except OSError as error:
            message = f"{self._directory}: not a readable quarantine ({error.strerror})"
            raise ConfigurationError(message) from error
        return sorted(self._directory.glob("??/*.json"), key=lambda path: path.stem)


def _read(path: Path) -> QuarantinedRecord:
    try:
        document = path.read_bytes()
    except OSError as error:
        raise foreign(str(path), error) from error
    return decode_record(document, str(path))
