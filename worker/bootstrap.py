"""From settings to working parts: the only place that knows which adapter stands for a port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

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
from worker.adapters.sqlite_state import (
    SqliteBudgets,
    SqliteNotes,
    SqliteOutbox,
    SqliteProfiles,
    StateFile,
)
from worker.adapters.telling_outbox import TellingOutbox
from worker.announcer import Announcer
from worker.core.decoders import Decoder
from worker.core.errors import ConfigurationError
from worker.core.posting import Poster
from worker.core.registry import EMPTY_REGISTRY, ApplicationProfile, Registry
from worker.pipeline import Pipeline
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.objects import ObjectBooks
from worker.pipeline.profiles import ProfileWatch
from worker.pipeline.usage import UsageWatch
from worker.ports import (
    BudgetStore,
    EventBus,
    Ledger,
    Notes,
    ObjectReader,
    ObjectStore,
    Outbox,
    ProfileSource,
    ProfileStore,
    Quarantine,
    Source,
)
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.adapters.dynamodb_requests import Dynamo
    from worker.adapters.dynamodb_state import StateTable


_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is kept beside the ledger; see the ports. Closed as one.

    Attributes:
        budgets: Budgets.
        outbox: Events to be announced, crossings first of all.
        notes: How far objects were booked.
        profiles: Application inference profiles that were seen.
        close: Release what they hold.
        table: The table of a shared ledger's state, for leases; None for any other.
    """

    budgets: BudgetStore
    outbox: Outbox
    notes: Notes
    profiles: ProfileStore
    close: Callable[[], Awaitable[None]]
    table: StateTable | None = None


def make_poster(settings: Settings) -> Poster:
    """Load the price catalogue and the registry.

    Raises:
        ConfigurationError: A file is missing or malformed.
    """
    registry = make_registry(settings)
    return Poster(load_catalogue(settings.prices), registry)


async def load_poster(settings: Settings) -> Poster:
    """Load catalogue and registry, and the profiles that were learned of beside the ledger.

    Raises:
        ConfigurationError: A file is missing or malformed.
        TransientError: A shared ledger cannot be reached now.
    """
    poster = make_poster(settings)
    state = open_state(settings, must_exist=True)
    try:
        return with_profiles(poster, await state.profiles.profiles())
    finally:
        await state.close()


def with_profiles(poster: Poster, profiles: Sequence[ApplicationProfile]) -> Poster:
    """Return a poster that also knows profiles that were learned of."""
    if not profiles:
        return poster
    return Poster(poster.catalogue, poster.registry.with_profiles(profiles))


def make_registry(settings: Settings) -> Registry:
    """Load the registry.

    Raises:
        ConfigurationError: Its file is missing or malformed.
    """
    return EMPTY_REGISTRY if settings.registry is None else load_registry(settings.registry)


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
    file = _ledger_file(settings, must_exist=must_exist)
    return MemoryLedger() if file is None else SqliteLedger(file, discard=discard)


def _ledger_file(settings: Settings, *, must_exist: bool) -> Path | None:
    """Return the ledger's file; None for memory."""
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


def open_state(
    settings: Settings, *, must_exist: bool = False, dynamo: Dynamo | None = None
) -> State:
    """Open what is kept beside the ledger, wherever the ledger is.

    Args:
        settings: Names the ledger.
        must_exist: Refuse to make a new file.
        dynamo: The client that a shared ledger's table is reached by; by default one of its own.

    Raises:
        ConfigurationError: It cannot be opened, or does not exist though it must. A shared
            ledger's table is looked for when it is first used.
    """
    prefix = settings.ledger_tables
    if prefix is not None:
        return _shared_state(prefix, dynamo, create_tables=settings.create_tables)
    file = _ledger_file(settings, must_exist=must_exist)
    if file is not None:
        return _state_in(file)
    return State(
        budgets=MemoryBudgets(),
        outbox=MemoryOutbox(),
        notes=MemoryNotes(),
        profiles=MemoryProfiles(),
        close=_nothing_to_close,
    )


async def _nothing_to_close() -> None:
    pass


def _state_in(path: Path) -> State:
    file = StateFile(path)
    return State(
        budgets=SqliteBudgets(file),
        outbox=SqliteOutbox(file),
        notes=SqliteNotes(file),
        profiles=SqliteProfiles(file),
        close=file.close,
    )


def _shared_state(prefix: str, dynamo: Dynamo | None, *, create_tables: bool) -> State:
    from worker.adapters.dynamodb_budgets import DynamoBudgets  # noqa: PLC0415 - half a second
    from worker.adapters.dynamodb_notes import DynamoNotes  # noqa: PLC0415
    from worker.adapters.dynamodb_outbox import DynamoOutbox  # noqa: PLC0415
    from worker.adapters.dynamodb_profiles import DynamoProfiles  # noqa: PLC0415
    from worker.adapters.dynamodb_state import StateTable  # noqa: PLC0415

    table = StateTable(prefix, dynamo=dynamo, create_tables=create_tables)
    return State(
        budgets=DynamoBudgets(table),
        outbox=DynamoOutbox(table),
        notes=DynamoNotes(table),
        profiles=DynamoProfiles(table),
        close=table.close,
        table=table,
    )


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """Everything that books deliveries and announces crossings, without any source.

    Attributes:
        pipeline: Books deliveries, and looks at budgets and usage.
        budgets: Looks at budgets; the pipeline's own.
        announcer: Announces what was written down; None where somebody else does.
        state: What is kept beside the ledger.
        outbox: The state's, able to tell what this process writes down.
        settings: What it was made from.
        dynamo: Makes all requests to DynamoDB, and counts them; None without a shared ledger.
    """

    pipeline: Pipeline
    budgets: BudgetWatch
    announcer: Announcer | None
    state: State
    outbox: TellingOutbox
    settings: Settings
    dynamo: Dynamo | None


@asynccontextmanager
async def open_booking(settings: Settings) -> AsyncIterator[Booking]:
    """Put together what the container worker and the functions share; close it afterwards.

    Clients connect when they are first used; DynamoDB is reached by one for everything.

    Args:
        settings: Which ledger, prices, registry, quarantine and bus.

    Raises:
        ConfigurationError: A setting is wrong, or something cannot be opened.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        dynamo = None
        if settings.ledger_tables is not None:
            from worker.adapters.dynamodb_requests import Dynamo  # noqa: PLC0415 - half a second

            dynamo = Dynamo()
        ledger = open_ledger(settings, dynamo=dynamo)
        stack.push_async_callback(ledger.close)
        state = open_state(settings, dynamo=dynamo)
        stack.push_async_callback(state.close)
        poster = with_profiles(make_poster(settings), await state.profiles.profiles())
        outbox = TellingOutbox(state.outbox)
        usage = UsageWatch(outbox=outbox, clock=clock)
        pipeline = Pipeline(
            ledger=ledger,
            quarantine=_closed_by(stack, open_quarantine(settings)),
            decoder=Decoder(),
            poster=poster,
            usage=usage,
            profiles=ProfileWatch(
                ledger=ledger, store=state.profiles, source=_profile_source(settings, stack)
            ),
            objects=ObjectBooks(reader=_object_reader(stack), notes=state.notes, clock=clock),
        )
        pipeline.budgets = BudgetWatch(
            ledger=ledger,
            budgets=state.budgets,
            outbox=outbox,
            clock=clock,
            registry=lambda: pipeline.poster.registry,
        )
        bus = open_bus(settings)
        announcer = None
        if bus is not None:
            stack.push_async_callback(bus.close)
            announcer = Announcer(outbox, bus, clock, ledger, usage=usage)
        yield Booking(
            pipeline=pipeline,
            budgets=pipeline.budgets,
            announcer=announcer,
            state=state,
            outbox=outbox,
            settings=settings,
            dynamo=dynamo,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """What the container worker works with: everything that books, and the sources."""

    booking: Booking
    sources: Sequence[Source]


@asynccontextmanager
async def open_worker(settings: Settings) -> AsyncIterator[WorkerParts]:
    """Put together what the container worker works with; close it afterwards.

    Sources are closed first: what they give back (leases, checkpoints) is in the ledger's tables.

    Raises:
        ConfigurationError: A setting is wrong, or there is nothing to read from.
    """
    worker = settings.worker
    if not worker.queues and not worker.streams:
        message = (
            "there is nothing to work on: name queues (LEDGEROCK_QUEUES=URL,URL) or streams "
            "(LEDGEROCK_STREAMS=NAME,NAME), or book files with `ledgerock replay`"
        )
        raise ConfigurationError(message)
    if not settings.is_kept:
        message = (
            f"--ledger {settings.ledger}: deliveries would be deleted though their calls are lost "
            "with the process; give dynamodb or sqlite:FILE"
        )
        raise ConfigurationError(message)
    from worker.adapters.sqs_source import SqsSource  # noqa: PLC0415 - half a second

    async with open_booking(settings) as booking, AsyncExitStack() as stack:
        sources: list[Source] = [
            SqsSource(url, visibility_seconds=worker.visibility_seconds) for url in worker.queues
        ]
        sources += [_stream_source(name, booking) for name in worker.streams]
        for source in sources:
            stack.push_async_callback(source.close)
        names = [source.name for source in sources]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            message = (
                f"LEDGEROCK_QUEUES, LEDGEROCK_STREAMS: {', '.join(twice)} is named twice; "
                "work on sources of one name in workers of their own"
            )
            raise ConfigurationError(message)
        yield WorkerParts(booking=booking, sources=sources)


def _stream_source(name: str, booking: Booking) -> Source:
    from worker.adapters.kinesis_leases import DynamoLeases, MemoryLeases  # noqa: PLC0415
    from worker.adapters.kinesis_source import KinesisSource  # noqa: PLC0415 - half a second

    table = booking.state.table
    # Without a shared ledger one worker reads all shards, each time from their beginning.
    leases = MemoryLeases() if table is None else DynamoLeases(table, name)
    return KinesisSource(name, leases, lease_seconds=booking.settings.worker.lease_seconds)


def _object_reader(stack: AsyncExitStack) -> ObjectReader:
    from worker.adapters.s3_reader import S3Reader  # noqa: PLC0415 - half a second

    return _closed_by(stack, S3Reader())


def _profile_source(settings: Settings, stack: AsyncExitStack) -> ProfileSource | None:
    if not settings.worker.resolve_profiles:
        return None
    from worker.adapters.bedrock_profiles import BedrockProfiles  # noqa: PLC0415 - half a second

    return _closed_by(stack, BedrockProfiles())


def _closed_by(stack: AsyncExitStack, part: _Part) -> _Part:
    """Have a part closed with the rest, if it holds anything."""
    close = getattr(part, "close", None)
    if close is not None:
        stack.push_async_callback(close)
    return part


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
    async with AsyncExitStack() as stack:
        ledger = open_ledger(settings, must_exist=must_exist, discard=discard)
        stack.push_async_callback(ledger.close)
        quarantine = open_quarantine(settings, discard=discard)
        stack.push_async_callback(quarantine.close)
        yield Pipeline(ledger=ledger, quarantine=quarantine, decoder=Decoder(), poster=poster)
