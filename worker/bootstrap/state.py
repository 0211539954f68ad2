"""What is kept beside the ledger."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import (
    MemoryBudgets,
    MemoryNotes,
    MemoryOutbox,
    MemoryProfiles,
)
from worker.adapters.memory_texts import MemoryTexts
from worker.adapters.sqlite_records import SqliteRecords
from worker.adapters.sqlite_state import (
    SqliteBudgets,
    SqliteNotes,
    SqliteOutbox,
    SqliteProfiles,
    StateFile,
)
from worker.adapters.sqlite_texts import SqliteTexts
from worker.bootstrap.books import ledger_file
from worker.ports import BudgetStore, Notes, Outbox, ProfileStore, Records
from worker.ports.texts import StateTexts
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.adapters.dynamodb_requests import Dynamo
    from worker.adapters.dynamodb_state import StateTable


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is kept beside the ledger; see the ports. Closed as one.

    Attributes:
        budgets: Budgets.
        outbox: Events to be announced, crossings first of all.
        notes: How far objects were booked.
        profiles: Application inference profiles that were seen.
        records: States of budgets, suspensions, the audit log, the directory.
        close: Release what they hold.
        texts: All of that as texts, for taking a name out of it.
        table: The table of a shared ledger's state, for leases; None for any other.
    """

    budgets: BudgetStore
    outbox: Outbox
    notes: Notes
    profiles: ProfileStore
    records: Records
    close: Callable[[], Awaitable[None]]
    texts: StateTexts
    table: StateTable | None = None


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
    file = ledger_file(settings, must_exist=must_exist)
    if file is not None:
        return _state_in(file)
    budgets, outbox, records = MemoryBudgets(), MemoryOutbox(), MemoryRecords()
    return State(
        budgets=budgets,
        outbox=outbox,
        notes=MemoryNotes(),
        profiles=MemoryProfiles(),
        records=records,
        texts=MemoryTexts(budgets, outbox, records),
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
        records=SqliteRecords(file),
        texts=SqliteTexts(file),
        close=file.close,
    )


def _shared_state(prefix: str, dynamo: Dynamo | None, *, create_tables: bool) -> State:
    from worker.adapters.dynamodb_budgets import DynamoBudgets  # noqa: PLC0415 - half a second
    from worker.adapters.dynamodb_notes import DynamoNotes  # noqa: PLC0415
    from worker.adapters.dynamodb_outbox import DynamoOutbox  # noqa: PLC0415
    from worker.adapters.dynamodb_profiles import DynamoProfiles  # noqa: PLC0415
    from worker.adapters.dynamodb_records import DynamoRecords  # noqa: PLC0415
    from worker.adapters.dynamodb_state import StateTable  # noqa: PLC0415
    from worker.adapters.dynamodb_texts import DynamoTexts  # noqa: PLC0415

    table = StateTable(prefix, dynamo=dynamo, create_tables=create_tables)
    return State(
        budgets=DynamoBudgets(table),
        outbox=DynamoOutbox(table),
        notes=DynamoNotes(table),
        profiles=DynamoProfiles(table),
        records=DynamoRecords(table),
        texts=DynamoTexts(table),
        close=table.close,
        table=table,
    )
