"""Snapshots as they are kept: each written once, on condition that there is none, never over one.

Of each target there is one of what was *found*, before anything was done to it. In mode `detach`
there is another of what is *taken*: of what it has once it is denied, written before the first of
that is removed. What was taken is what restoring puts back: whatever people changed before that is
theirs. As long as it is not there, nothing was removed.

Where a principal goes on when its role is made again, each role that had the name has snapshots of
its own.
"""

from __future__ import annotations

from typing import Final

import msgspec

from worker.core.enforcement import Suspension
from worker.core.enforcement_names import SNAPSHOT, TAKEN, suspension_partition
from worker.core.errors import LedgerCorruptError, TransientError
from worker.core.targets import follows_name
from worker.ports import Record, Records, Snapshot, Target

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Snapshot).decode


class Kept(msgspec.Struct, frozen=True):
    """What is kept of one target.

    Attributes:
        found: What it had before anything was done to it.
        taken: What is taken from it; None as long as nothing was.
    """

    found: Snapshot
    taken: Snapshot | None = None

    @property
    def target(self) -> Target:
        """Whose."""
        return self.found.target

    @property
    def owed(self) -> Snapshot:
        """Who it is, and what may be taken from it by now: what there is to put back."""
        return self.taken or self.found.bare()


class Snapshots:
    """What the targets of suspensions had before.

    Args:
        records: Where they are kept, beside the suspensions.
    """

    def __init__(self, records: Records) -> None:
        """Read nothing yet."""
        self._records = records

    async def of(self, suspension: Suspension) -> dict[str, Snapshot]:
        """Return what a suspension found, by target, strongly read."""
        return await self._all(suspension, SNAPSHOT)

    async def kept(self, suspension: Suspension) -> list[Kept]:
        """Return all that is kept of a suspension, strongly read."""
        found = await self.of(suspension)
        taken = await self._all(suspension, TAKEN) if suspension.mode == "detach" else {}
        # A slow worker may have taken something of a target that was dropped meanwhile.
        return [
            Kept(found=found.get(name) or taken[name], taken=taken.get(name))
            for name in sorted({*found, *taken})
        ]

    async def keep(self, suspension: Suspension, snapshot: Snapshot) -> Snapshot:
        """Keep what was found unless there is something; return what is kept.

        Raises:
            TransientError: It may be kept or not; keeping it again is safe.
        """
        return await self._keep(suspension, SNAPSHOT, snapshot)

    async def keep_taken(self, suspension: Suspension, snapshot: Snapshot) -> Snapshot:
        """Keep what is about to be taken unless there is something; return what is kept.

        Raises:
            TransientError: It may be kept or not; keeping it again is safe.
        """
        return await self._keep(suspension, TAKEN, snapshot)

    async def drop(self, suspension: Suspension, kept: Kept) -> None:
        """Remove what is kept of a target that was restored for good."""
        partition = suspension_partition(suspension.principal)
        # In this order, so that what was taken is never believed of a later one that is found.
        for what in (TAKEN, SNAPSHOT):
            record = await self._records.get(partition, _name(suspension, what, kept.found))
            if record is not None:
                await self._records.remove(record)

    async def _all(self, suspension: Suspension, what: str) -> dict[str, Snapshot]:
        partition = suspension_partition(suspension.principal)
        beginning = _beginning(suspension, what)
        found = await self._records.partition(partition, beginning)
        return {record.name.removeprefix(beginning): _snapshot(record) for record in found}

    async def _keep(self, suspension: Suspension, what: str, snapshot: Snapshot) -> Snapshot:
        record = Record(
            partition=suspension_partition(suspension.principal),
            name=_name(suspension, what, snapshot),
            body=_encode(snapshot),
            version=1,
        )
        if await self._records.write([record]):
            return snapshot
        kept = await self._records.get(record.partition, record.name)
        if kept is None:
            raise TransientError(f"{record.name}: the snapshot was removed meanwhile; try again")
        return _snapshot(kept)


def _beginning(suspension: Suspension, what: str) -> str:
    return f"{what}{suspension.suspension_id}#"


def _name(suspension: Suspension, what: str, snapshot: Snapshot) -> str:
    life = f"#{snapshot.unique_id}" if follows_name(suspension.principal) else ""
    return f"{_beginning(suspension, what)}{snapshot.target}{life}"


def _snapshot(record: Record) -> Snapshot:
    try:
        return _decode(record.body)
    except msgspec.MsgspecError as error:
        where = f"{record.partition}/{record.name}"
        raise LedgerCorruptError(f"{where}: this is no snapshot: {error}") from error
