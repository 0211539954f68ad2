"""How large events are, and which of them fit into one request to the bus."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from worker.core.events import SOURCE, TEXT_LENGTH_MAX, bounded
from worker.ports import BusEvent, Notice

BATCH_ENTRIES_MAX: Final = 10
"""Events of one request (AWS documentation: "Amazon EventBridge quotas")."""
BATCH_BYTES_MAX: Final = 256_000
"""Bytes of one request's events together, and so of each: the entry size must be less than
256 KB (AWS documentation: "Calculating PutEvents event entry size"). Buses take more by now,
what they deliver to may not."""
TIME_BYTES: Final = 14
"""What the event time counts for, as AWS documents."""


class Prepared(msgspec.Struct, frozen=True):
    """A notice with the event that is announced of it."""

    notice: Notice
    event: BusEvent


def entry_bytes(detail_type: str, detail: bytes) -> int:
    """Return the size of an event as AWS counts it ("Calculating PutEvents event entry size")."""
    return TIME_BYTES + len(SOURCE.encode()) + len(detail_type.encode()) + len(detail)


def batches(prepared: Sequence[Prepared]) -> Iterator[list[Prepared]]:
    """Yield events in requests that the bus takes, in order."""
    batch: list[Prepared] = []
    size = 0
    for one in prepared:
        more = entry_bytes(one.event.detail_type, one.event.detail)
        if batch and (len(batch) == BATCH_ENTRIES_MAX or size + more > BATCH_BYTES_MAX):
            yield batch
            batch, size = [], 0
        batch.append(one)
        size += more
    if batch:
        yield batch


def fitting(detail_type: str, detail: bytes) -> bytes | None:
    """Return a detail that an event can hold, its texts cut if need be; None if nothing helps."""
    if entry_bytes(detail_type, detail) <= BATCH_BYTES_MAX:
        return detail
    cut = msgspec.json.encode(_cut(msgspec.json.decode(detail)))
    return cut if entry_bytes(detail_type, cut) <= BATCH_BYTES_MAX else None


def _cut(value: Any) -> Any:  # noqa: ANN401 - any JSON
    if isinstance(value, str):
        return bounded(value, TEXT_LENGTH_MAX)
    if isinstance(value, list):
        return [_cut(one) for one in value]
    if isinstance(value, dict):
        return {name: _cut(one) for name, one in value.items()}
    return value
