"""Snapshots as they are kept: written once for each suspension and target, never overwritten."""

from __future__ import annotations

from typing import Final

import msgspec

from worker.core.enforcement import Suspension
from worker.core.enforcement_names import SNAPSHOT, suspension_partition
from worker.core.errors import LedgerCorruptError, TransientError
from worker.ports import Record, Records, Snapshot, Target

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Snapshot).decode


class Snapshots:
    """What the targets of suspensions had before.

    Args:
        records: Where they are kept, beside the suspensions.
    """

    def __init__(self, records: Records) -> None:
        """Read nothing yet."""
        self._records = records

    async def of(self, suspension: Suspension) -> dict[str, Snapshot]:
        """Return all snapshots of a suspension, by target, strongly read."""
        partition = suspension_partition(suspension.principal)
        found = await self._records.partition(partition, _beginning(suspension))
        snapshots = [_snapshot(record) for record in found]
        return {str(snapshot.target): snapshot for snapshot in snapshots}

    async def keep(self, suspension: Suspension, snapshot: Snapshot) -> Snapshot:
        """Keep a snapshot unless there is one; return the one that is kept.

        Raises:
            TransientError: It may be kept or not; keeping it again is safe.
        """
        record = Record(
            partition=suspension_partition(suspension.principal),
            name=_name(suspension, snapshot.target),
            body=_encode(snapshot),
            version=1,
        )
        if await self._records.write([record]):
            return snapshot
        kept = await self._records.get(record.partition, record.name)
        if kept is None:
            raise TransientError(f"{record.name}: the snapshot was removed meanwhile; try again")
        return _snapshot(kept)

    async def drop(self, suspension: Suspension, target: Target) -> None:
        """Remove the snapshot of a target that was restored for good."""
        partition = suspension_partition(suspension.principal)
        record = await self._records.get(partition, _name(suspension, target))
        if record is not None:
            await self._records.remove(record)


def _beginning(suspension: Suspension) -> str:
    return f"{SNAPSHOT}{suspension.suspension_id}#"


def _name(suspension: Suspension, target: Target) -> str:
    return f"{_beginning(suspension)}{target}"


def _snapshot(record: Record) -> Snapshot:
    try:
        return _decode(record.body)
    except msgspec.MsgspecError as error:
        where = f"{record.partition}/{record.name}"
        raise LedgerCorruptError(f"{where}: this is no snapshot: {error}") from error
