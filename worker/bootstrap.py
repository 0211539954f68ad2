"""From settings to working parts: the only place that knows which adapter stands for a port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from worker.adapters.catalogue_files import load_catalogue
from worker.adapters.clock import SystemClock
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_state import (
    MemoryBudgets,
    MemoryNotes,
    MemoryOutbox,
    MemoryProfiles,
)
from worker.adapters.quarantine_files import FileQuarantine
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.adapters.registry_file import load_registry
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.decoders import Decoder
from worker.core.errors import ConfigurationError
from worker.core.posting import Poster
from worker.core.registry import EMPTY_REGISTRY
from worker.pipeline import Pipeline
from worker.ports import (
    BudgetStore,
    Ledger,
    Notes,
    ObjectStore,
    Outbox,
    ProfileStore,
    Quarantine,
)
from worker.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is kept beside the ledger; see the ports. Closed as one.

    Attributes:
        budgets: Budgets.
        outbox: Events to be announced, crossings first of all.
        notes: How far objects were booked.
        profiles: Application inference profiles that were seen.
        close: Release what they hold.
    """

    budgets: BudgetStore
    outbox: Outbox
    notes: Notes
    profiles: ProfileStore
    close: Callable[[], Awaitable[None]]


def make_poster(settings: Settings) -> Poster:
    """Load the price catalogue and the registry.

    Raises:
        ConfigurationError: A file is missing or malformed.
    """
    registry = EMPTY_REGISTRY if settings.registry is None else load_registry(settings.registry)
    return Poster(load_catalogue(settings.prices), registry)


def open_ledger(settings: Settings, *, must_exist: bool = False, discard: bool = False) -> Ledger:
    """Open the ledger.

    Args:
        settings: Names it.
        must_exist: Refuse to make a new one, for commands on what is booked already.
        discard: Keep nothing of what is booked, for dry runs.

    Raises:
        ConfigurationError: It cannot be opened, or does not exist though it must. Tables are
            looked for when they are first used.
    """
    prefix = settings.ledger_tables
    if prefix is not None:
        from worker.adapters.dynamodb_ledger import DynamoLedger  # noqa: PLC0415 - half a second

        return DynamoLedger(
            prefix,
            create_tables=settings.create_tables,
            discard=discard,
            entries_per_second=settings.entries_per_second,
        )
    file = settings.ledger_file
    if file is None:
        if must_exist:
            message = (
                "--ledger memory: the memory ledger lives for one replay only; "
                "replay into a file and name that, such as --ledger sqlite:ledgerock.db"
            )
            raise ConfigurationError(message)
        return MemoryLedger()
    if must_exist and not file.exists():
        message = (
            f"--ledger {settings.ledger}: there is no such file; book something first with "
            "`ledgerock replay PATH`, or name another ledger"
        )
        raise ConfigurationError(message)
    return SqliteLedger(file, discard=discard)


def open_state(settings: Settings, *, must_exist: bool = False) -> State:
    """Open what is kept beside the ledger, wherever the ledger is.

    Args:
        settings: Names the ledger.
        must_exist: Refuse to make a new file.

    Raises:
        ConfigurationError: It cannot be opened, or does not exist though it must. A shared
            ledger's table is looked for when it is first used.
    """
    del settings, must_exist
    return State(
        budgets=MemoryBudgets(),
        outbox=MemoryOutbox(),
        notes=MemoryNotes(),
        profiles=MemoryProfiles(),
        close=_nothing_to_close,
    )


async def _nothing_to_close() -> None:
    pass


def open_quarantine(settings: Settings, *, discard: bool = False) -> Quarantine:
    """Open the quarantine that belongs to the ledger."""
    directory = settings.quarantine_directory
    if directory is None or discard:
        return MemoryQuarantine(SystemClock())
    return FileQuarantine(directory, SystemClock())


def open_object_store() -> ObjectStore:
    """Open the store of objects that a replay reads from; it connects when it is used.

    Raises:
        ConfigurationError: Environment or configuration of AWS contradict themselves.
    """
    from worker.adapters.s3_objects import S3ObjectStore  # noqa: PLC0415 - half a second

    return S3ObjectStore()


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """Everything that books deliveries and announces crossings, without any source.

    Attributes:
        pipeline: Books deliveries.
        settings: What it was made from.
    """

    pipeline: Pipeline
    settings: Settings


@asynccontextmanager
async def open_booking(settings: Settings) -> AsyncIterator[Booking]:
    """Put together what the container worker and the functions share; close it afterwards.

    Args:
        settings: Which ledger, prices, registry, quarantine and bus.
    """
    async with open_pipeline(settings) as pipeline:
        yield Booking(pipeline=pipeline, settings=settings)


@asynccontextmanager
async def open_pipeline(
    settings: Settings, *, must_exist: bool = False, discard: bool = False
) -> AsyncIterator[Pipeline]:
    """Put a pipeline together, and close its ledger afterwards.

    Args:
        settings: Which ledger, prices, registry and quarantine.
        must_exist: Refuse to make a new ledger.
        discard: Keep nothing of what is booked, for dry runs.
    """
    poster = make_poster(settings)
    ledger = open_ledger(settings, must_exist=must_exist, discard=discard)
    try:
        yield Pipeline(
            ledger=ledger,
            quarantine=open_quarantine(settings, discard=discard),
            decoder=Decoder(),
            poster=poster,
        )
    finally:
        await ledger.close()
