"""Quarantine in a directory: one small JSON file for each record, named after its content.

Writing is atomic and idempotent: a record that is quarantined again, by a rerun or after a
crash, is the same file.
"""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import AsyncIterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import Malformed, Position
from worker.ports import Clock, QuarantinedRecord

ID_BYTES: Final = 10
SHARD_CHARACTERS: Final = 2

PASSING: Final = frozenset(
    {errno.EAGAIN, errno.EBUSY, errno.EDQUOT, errno.EINTR, errno.EIO, errno.EMFILE, errno.ENFILE}
    | {errno.ENOMEM, errno.ENOSPC, errno.ESTALE, errno.ETIMEDOUT}
)
"""Faults of writing that may be over at the next attempt; others are of the place itself."""


class StoredRecord(msgspec.Struct, frozen=True):
    """A quarantined record as its file holds it.

    `source`, `line` and `path` lead to the record, `at` to what is wrong within it; `body` is
    base64.
    """

    id: str
    reason: str
    source: str
    line: int
    path: str
    at: str
    expected: str
    found: str
    quarantined_at_ms: int
    truncated: bool
    body: str


def quarantine_id(record: Malformed) -> str:
    """Name a record by where it stood and what it said: 20 hexadecimal digits."""
    position = record.position
    parts = (position.source, str(position.line), position.path, record.path, record.expected)
    digest = blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=ID_BYTES)
    digest.update(b"\0" + record.body)
    return digest.hexdigest()


def ambiguous(item_id: str, count: int) -> ConfigurationError:
    """Return the error for the beginning of an id that several items share."""
    return ConfigurationError(
        f"{item_id}: {count} quarantined records begin like this; give more digits"
    )


def _writable(text: str) -> str:
    """Return text that JSON can hold: names of files need not be Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


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
        stored = StoredRecord(
            id=item_id,
            reason=_writable(record.reason),
            source=_writable(record.position.source),
            line=record.position.line,
            path=_writable(record.position.path),
            at=_writable(record.path),
            expected=_writable(record.expected),
            found=_writable(record.found),
            quarantined_at_ms=self._clock.now_ms(),
            truncated=record.truncated,
            body=base64.b64encode(record.body).decode(),
        )
        temporary = path.with_suffix(f".{os.getpid()}.part")
        try:
            if path.exists():
                return item_id
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("wb") as file:
                file.write(msgspec.json.encode(stored))
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
        stored = msgspec.json.decode(path.read_bytes(), type=StoredRecord)
        body = base64.b64decode(stored.body, validate=True)
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        message = f"{path}: not a quarantined record ({error}); move it out of the quarantine"
        raise ConfigurationError(message) from error
    return QuarantinedRecord(
        id=stored.id,
        record=Malformed(
            path=stored.at,
            expected=stored.expected,
            found=stored.found,
            body=body,
            truncated=stored.truncated,
            position=Position(stored.source, stored.line, stored.path),
        ),
        quarantined_at_ms=stored.quarantined_at_ms,
    )
