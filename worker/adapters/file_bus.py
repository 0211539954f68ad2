"""Events as lines of a file, for local use: the envelope is the one that EventBridge delivers.

AWS documentation: "Event structure reference" (Amazon EventBridge). What only AWS can say
(account, Region) is left out.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import msgspec

from worker.core.errors import ConfigurationError, TransientError
from worker.core.events import SOURCE, iso
from worker.ports import BusEvent

MODE = 0o640


class Envelope(msgspec.Struct, frozen=True, rename={"detail_type": "detail-type"}):
    """A line of the file."""

    version: str
    id: str
    detail_type: str
    source: str
    time: str
    resources: tuple[str, ...]
    detail: msgspec.Raw


class FileBus:
    """A `worker.ports.EventBus` that appends JSON lines; several processes may share the file.

    Args:
        path: The file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet."""
        self._path = path

    async def publish(self, events: Sequence[BusEvent]) -> list[str]:
        """Append some events; they are on the disk when this returns.

        Raises:
            TransientError: The disk is full or failing; some may have been written.
            ConfigurationError: The file cannot be written to.
        """
        if events:
            lines = b"".join(msgspec.json.encode(_envelope(event)) + b"\n" for event in events)
            await asyncio.to_thread(self._append, lines)
        return [""] * len(events)

    def _append(self, lines: bytes) -> None:
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, MODE)
            try:
                end = os.lseek(handle, 0, os.SEEK_END)
                if end and os.pread(handle, 1, end - 1) != b"\n":
                    lines = b"\n" + lines  # a line that a killed process did not finish
                while lines:
                    lines = lines[os.write(handle, lines) :]
                os.fsync(handle)
            finally:
                os.close(handle)
        except (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError) as error:
            message = f"LEDGEROCK_BUS: events cannot be written to {self._path}: {error.strerror}"
            raise ConfigurationError(message) from error
        except OSError as error:
            message = f"{self._path}: events cannot be written now: {error.strerror}"
            raise TransientError(message) from error

    async def close(self) -> None:
        """Hold nothing open between calls."""


def _envelope(event: BusEvent) -> Envelope:
    return Envelope(
        version="0",
        id=str(uuid.uuid4()),
        detail_type=event.detail_type,
        source=SOURCE,
        time=iso(event.occurred_at_ms),
        resources=(),
        detail=msgspec.Raw(event.detail),
    )
