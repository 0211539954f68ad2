"""Records in memory: gone with the process. For dry runs and tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence

from worker.adapters.record_values import check_records, chunks
from worker.adapters.state_values import is_audit
from worker.ports import Record
from worker.ports.texts import Rewrite


class MemoryRecords:
    """`worker.ports.Records` in a dictionary."""

    def __init__(self) -> None:
        """Start without records."""
        self._records: dict[tuple[str, str], Record] = {}

    async def get(self, partition: str, name: str) -> Record | None:
        """Return a record."""
        return self._records.get((partition, name))

    async def get_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        """Return those of some records that exist."""
        return {key: self._records[key] for key in keys if key in self._records}

    async def partition(
        self, partition: str, beginning: str = "", *, after: str = "", limit: int | None = None
    ) -> list[Record]:
        """Return the records of a partition by name; see the port."""
        found = [
            record
            for (its, name), record in self._records.items()
            if its == partition and name.startswith(beginning) and name > after
        ]
        return sorted(found, key=lambda record: record.name)[:limit]

    async def write(self, records: Sequence[Record]) -> bool:
        """Write records, all or none; see the port."""
        check_records(records)
        for record in records:
            before = self._records.get((record.partition, record.name))
            if record.version != (1 if before is None else before.version + 1):
                return False
        self._records.update({(one.partition, one.name): one for one in records})
        return True

    async def remove(self, record: Record) -> bool:
        """Remove a record if it is still at this version."""
        key = record.partition, record.name
        before = self._records.get(key)
        if before is None or before.version != record.version:
            return False
        del self._records[key]
        return True

    def rewrite(self, change: Rewrite) -> int:
        """Rewrite all records but the audit log's; see `worker.ports.StateTexts`."""
        changed = 0
        for key, record in list(self._records.items()):
            texts = [*key, record.body.decode()]
            if not is_audit(key[0]) and (new := list(change(texts))) != texts:
                del self._records[key]
                partition, name, body = new
                self._records[partition, name] = Record(
                    partition,
                    name,
                    body.encode(),
                    record.version + 1,
                    record.queue,
                    record.due_at_ms,
                )
                changed += 1
        return changed

    async def due(
        self, queue: str, until_ms: int, *, from_ms: int = 0
    ) -> AsyncIterator[Sequence[Record]]:
        """Yield what waits in a queue and is due, the longest due first."""
        due = [
            record
            for record in self._records.values()
            if record.queue == queue and from_ms <= record.due_at_ms <= until_ms
        ]
        due.sort(key=lambda record: (record.due_at_ms, record.partition, record.name))
        for chunk in chunks(due):
            yield chunk
