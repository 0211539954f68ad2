"""The ports: what the worker needs from the outside, as protocols.

A port says what is asked of a ledger, a queue, a bus or a clock, which errors may come of it and
what holds after them, and nothing of how it is done. Who decides and books knows ports alone;
adapters fulfil them, and `worker.bootstrap` says which adapter stands for which port.

Every port has an in-memory adapter and at least one real one under `worker.adapters`; one
contract suite runs over all adapters of a port.
"""

from __future__ import annotations

from worker.ports.announcing import BusEvent, Channel, EventBus, Notice, NoticeState, Outbox
from worker.ports.clock import Clock
from worker.ports.directory import Tagging, TierSource
from worker.ports.enforcing import (
    Enforcement,
    Holds,
    InlinePolicy,
    Key,
    Order,
    Snapshot,
    Target,
    TargetKind,
)
from worker.ports.ledger import Committed, Difference, Ledger, Rebooking, Verification
from worker.ports.objects import Folder, ObjectReader, ObjectStore, OpenedObject, StoredObject
from worker.ports.quarantine import Quarantine, QuarantinedRecord
from worker.ports.records import Record, Records
from worker.ports.state import BudgetStore, Notes, ProfileSource, ProfileStore
from worker.ports.transport import Delivery, Processed, Source, Stream

__all__ = [
    "BudgetStore",
    "BusEvent",
    "Channel",
    "Clock",
    "Committed",
    "Delivery",
    "Difference",
    "Enforcement",
    "EventBus",
    "Folder",
    "Holds",
    "InlinePolicy",
    "Key",
    "Ledger",
    "Notes",
    "Notice",
    "NoticeState",
    "ObjectReader",
    "ObjectStore",
    "OpenedObject",
    "Order",
    "Outbox",
    "Processed",
    "ProfileSource",
    "ProfileStore",
    "Quarantine",
    "QuarantinedRecord",
    "Rebooking",
    "Record",
    "Records",
    "Snapshot",
    "Source",
    "StoredObject",
    "Stream",
    "Tagging",
    "Target",
    "TargetKind",
    "TierSource",
    "Verification",
]
