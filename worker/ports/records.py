"""Small records with versions: budgets' states, suspensions, the audit log, the directory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Protocol

import msgspec


class Record(msgspec.Struct, frozen=True):
    """A small value under a key, with a version, and perhaps waiting for its time.

    Attributes:
        partition: What it belongs to; records of one partition are listed together. Not empty.
        name: Tells the records of a partition apart, and orders them, by code points. Not empty.
            The order of those of more than 1,000 bytes may ignore what comes after 960.
        body: The value, JSON; at most 300,000 bytes.
        version: 1 when it is first written, one more with each write.
        queue: What kind of work waits in it, or empty: then no index lists it.
        due_at_ms: When that work is due, epoch milliseconds UTC.
    """

    partition: str
    name: str
    body: bytes
    version: int
    queue: str = ""
    due_at_ms: int = 0


class Records(Protocol):
    """Records: read strongly, written on condition of their version, found by when they are due."""

    async def get(self, partition: str, name: str) -> Record | None:
        """Return a record, strongly read."""

    async def get_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        """Return those of some records that exist, strongly read."""

    async def partition(
        self, partition: str, beginning: str = "", *, after: str = "", limit: int | None = None
    ) -> list[Record]:
        """Return the records of a partition by name, strongly read.

        Args:
            partition: Which.
            beginning: Only those whose names begin so.
            after: Only those whose names come after this one.
            limit: How many at most; None for all.
        """

    async def write(self, records: Sequence[Record]) -> bool:
        """Write records, all or none, each on condition that its version is the next one.

        At most 50 records with different keys, of at most 600,000 bytes together. A version of
        1 asks that there is none yet.

        Returns:
            False if any of them was not the next one; nothing was written then. A write whose
            answer was lost, and was made, counts as made.

        Raises:
            TransientError: It may have been made or not; read before trying again.
            ValueError: They are more, or larger, than may be written at once.
        """

    async def remove(self, record: Record) -> bool:
        """Remove a record if it is still at this version; return whether it was."""

    def due(
        self, queue: str, until_ms: int, *, from_ms: int = 0
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield, in chunks, what waits in a queue with `from_ms <= due_at_ms <= until_ms`.

        The longest due come first. The cost depends on what is found alone. An index may be
        behind by a moment: what is missed now is found by the next look; what is yielded was
        read strongly, and is due.
        """
