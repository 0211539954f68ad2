"""Where records wait that could not be understood."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Protocol

import msgspec

from worker.core.results import Malformed


class QuarantinedRecord(msgspec.Struct, frozen=True):
    """A record that was put aside.

    Attributes:
        id: Taken from where the record stood and what it said, so that the same record
            quarantined again is the same item.
        record: What was wrong with it, where, and its body.
        quarantined_at_ms: Ledger time, epoch milliseconds UTC.
    """

    id: str
    record: Malformed
    quarantined_at_ms: int


class Quarantine(Protocol):
    """Where records wait that could not be understood."""

    async def put(self, records: Sequence[Malformed]) -> list[str]:
        """Keep records durably; idempotent. Returns their ids, in order."""

    def items(self) -> AsyncIterator[QuarantinedRecord]:
        """Yield everything in quarantine, in order of id."""

    async def get(self, item_id: str) -> QuarantinedRecord | None:
        """Return one item by its full id or an unambiguous beginning of it."""

    async def remove(self, item_id: str) -> None:
        """Take an item out, after its record was booked; it is no error if it is gone."""

    async def close(self) -> None:
        """Close connections."""
