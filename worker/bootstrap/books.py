"""The ledger, its quarantine, the objects that a replay reads, and the bus."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from worker.adapters.clock import SystemClock
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.quarantine_files import FileQuarantine
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.errors import ConfigurationError
from worker.ports import EventBus, Ledger, ObjectStore, Quarantine
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.adapters.dynamodb_requests import Dynamo


def open_ledger(
    settings: Settings,
    *,
    must_exist: bool = False,
    discard: bool = False,
    dynamo: Dynamo | None = None,
) -> Ledger:
    """Open the ledger.

    Args:
        settings: Names it.
        must_exist: Refuse to make a new one, for commands on what is booked already.
        discard: Keep nothing of what is booked, for dry runs.
        dynamo: The client that a shared ledger uses; by default one of its own.

    Raises:
        ConfigurationError: It cannot be opened, or does not exist though it must. Tables are
            looked for when they are first used.
    """
    prefix = settings.ledger_tables
    if prefix is not None:
        from worker.adapters.dynamodb_ledger import DynamoLedger  # noqa: PLC0415 - half a second

        return DynamoLedger(
            prefix,
            dynamo=dynamo,
            create_tables=settings.create_tables,
            discard=discard,
            entries_per_second=settings.entries_per_second,
        )
    file = ledger_file(settings, must_exist=must_exist)
    return MemoryLedger() if file is None else SqliteLedger(file, discard=discard)


def ledger_file(settings: Settings, *, must_exist: bool) -> Path | None:
    """Return the ledger's file; None for memory.

    Raises:
        ConfigurationError: There is none, though it must exist.
    """
    file = settings.ledger_file
    if file is None and must_exist:
        message = (
            "--ledger memory: the memory ledger lives for one replay only; "
            "replay into a file and name that, such as --ledger sqlite:ledgerock.db"
        )
        raise ConfigurationError(message)
    if file is not None and must_exist and not file.exists():
        message = (
            f"--ledger {settings.ledger}: there is no such file; book something first with "
            "`ledgerock replay PATH`, or name another ledger"
        )
        raise ConfigurationError(message)
    return file


def open_quarantine(settings: Settings, *, discard: bool = False) -> Quarantine:
    """Open the quarantine that belongs to the ledger."""
    directory, place = settings.quarantine_directory, settings.quarantine_place
    if place is not None and not discard:
        from worker.adapters.quarantine_s3 import S3Quarantine  # noqa: PLC0415 - half a second

        return S3Quarantine(place, SystemClock())
    if directory is None or discard:
        return MemoryQuarantine(SystemClock())
    return FileQuarantine(directory, SystemClock())


def open_bus(settings: Settings) -> EventBus | None:
    """Open the bus that events are announced on; None if somebody else announces them.

    Raises:
        ConfigurationError: The setting names no file. A bus is looked for when it is first used.
    """
    name = settings.worker.bus
    if not name:
        return None
    kind, _, path = name.partition(":")
    if kind == "file":
        if not path:
            message = f"LEDGEROCK_BUS={name}: name the file as well, as in file:events.jsonl"
            raise ConfigurationError(message)
        from worker.adapters.file_bus import FileBus  # noqa: PLC0415 - for local use

        return FileBus(Path(path))
    from worker.adapters.eventbridge_bus import EventBridgeBus  # noqa: PLC0415 - half a second

    return EventBridgeBus(name)


def open_object_store() -> ObjectStore:
    """Open the store of objects that a replay reads from; it connects when it is used.

    Raises:
        ConfigurationError: Environment or configuration of AWS contradict themselves.
    """
    from worker.adapters.s3_objects import S3ObjectStore  # noqa: PLC0415 - half a second

    return S3ObjectStore()
