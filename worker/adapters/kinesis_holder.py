"""Holds a fair share of a stream's shards: takes leases, renews them, and gives them back.

Two tasks do that. One looks at leases and shards every now and then, and takes what this worker
is due. The other writes checkpoints, which renews the leases.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Final

from worker.adapters.kinesis_leases import (
    NOBODY,
    Lease,
    LeaseStore,
    LeaseWatch,
    plan,
    readable,
)
from worker.adapters.kinesis_requests import KinesisStream, ListedShard
from worker.adapters.kinesis_shards import Limits, Room, Shard, ShardReader
from worker.core.errors import ConfigurationError, TransientError

CHECKPOINT_SECONDS: Final = 1.0
"""How often checkpoints are written at most."""
STEAL_ATTEMPTS_MAX: Final = 3
ROUND: Final = "round"
"""The part that looks at leases and shards, in faults; the others are shards and their leases."""

# Parts of the lease's time. An owner stops handing records over well before anybody may take
# the lease: it counts from before its last write, the others from after they saw it.
ROUND_PART: Final = 0.2
RENEW_PART: Final = 0.25
WRITE_PART: Final = 0.4
HELD_PART: Final = 0.9


class ShardHolder:
    """This worker's part of a stream.

    Args:
        stream: The stream.
        leases: Where its leases are kept.
        lease_seconds: For how long a worker that is not heard of keeps its shards.
        limits: How much is read ahead.
        on_change: Called when deliveries are ready, and when what is held has changed.

    Attributes:
        worker: This worker's name in leases; a new one for every process.
        shards: What is held, by `Shard.key`.
        fault: The last fault of a part, until somebody takes it.
        fatal: The first error that nobody expected; the task that met it is gone.
    """

    def __init__(
        self,
        stream: KinesisStream,
        leases: LeaseStore,
        *,
        lease_seconds: float,
        limits: Limits,
        on_change: Callable[[], None],
    ) -> None:
        """Hold nothing yet."""
        self.worker = uuid.uuid4().hex
        self.shards: dict[str, Shard] = {}
        self.fault: Exception | None = None
        self.fatal: Exception | None = None
        self._faults: dict[str, tuple[Exception, int]] = {}
        self._stream = stream
        self._leases = leases
        self._lease_seconds = lease_seconds
        self._room = Room(limits)
        self._on_change = on_change
        self._watch = LeaseWatch(self.worker, lease_seconds)
        self._tasks: list[asyncio.Task[None]] = []
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._look = asyncio.Event()
        self._looked_at = -1.0
        self._left_over = 0

    def start(self) -> None:
        """Begin to take leases; the second time it does nothing."""
        if not self._tasks:
            self._tasks = [self._spawn(self._coordinate()), self._spawn(self._keep())]

    def is_held(self, shard: Shard) -> bool:
        """Whether nobody else can have taken the shard yet; its records may be handed over."""
        return time.monotonic() < shard.kept_at + self._lease_seconds * HELD_PART

    @property
    def standing(self) -> Exception | None:
        """The fault of a part that has not worked since: of a shard, a lease, or the round.

        One that may have passed by itself is none, unless it is met again.
        """
        standing = [
            error
            for error, times in self._faults.values()
            if times > 1 or isinstance(error, ConfigurationError)
        ]
        standing.sort(key=lambda error: not isinstance(error, ConfigurationError))
        return next(iter(standing), None)

    def look_again(self) -> None:
        """Look at leases and shards now, and read on at once."""
        self._look.set()
        for shard in self.shards.values():
            shard.wake.set()

    def is_drained(self, since: float) -> bool:
        """Whether a look since then found everything read and settled that is not others'."""
        return (
            self._looked_at >= since
            and self._left_over == 0
            and all(
                shard.behind_ms == 0
                and shard.polled_at >= since
                and shard.unsettled == 0
                and not shard.is_read_out
                for shard in self.shards.values()
            )
        )

    async def close(self) -> None:
        """Stop, write the checkpoints, and release all leases."""
        tasks = [*self._tasks, *self._readers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        shards = list(self.shards.values())
        await asyncio.gather(*(self._release(shard) for shard in shards))

    # --- What is held --------------------------------------------------------------------

    async def _coordinate(self) -> None:
        while True:
            self._look.clear()
            try:
                await self._round()
            except (TransientError, ConfigurationError) as error:
                self._told(error, ROUND)
            else:
                self._told(None, ROUND)
            await _until(self._look, self._lease_seconds * ROUND_PART)

    async def _round(self) -> None:
        begun_at = time.monotonic()
        # In this order: a shard whose lease was read and that is not listed then has expired.
        leases = await self._leases.leases()
        listed = {shard.shard: shard for shard in await self._stream.shards()}
        leases = await self._tend(leases, listed)
        self._watch.look(leases)
        held = self._still_held(leases)
        candidates = readable(leases, listed)
        for lease in candidates:
            if lease.owner == self.worker and lease.shard not in held:
                await self._take(lease)  # taken before, by a request whose answer was lost
        due = plan(candidates, self.worker, self._watch)
        for lease in due.take:
            await self._take(lease)
        if due.steal is not None:
            await self._take(due.steal, STEAL_ATTEMPTS_MAX)
        self._left_over = self._count_left_over(leases, listed)
        self._looked_at = begun_at
        self._on_change()

    def _still_held(self, leases: Sequence[Lease]) -> set[str]:
        """Drop what others have taken meanwhile; return the ids of what is held still."""
        found = {lease.shard: lease for lease in leases}
        for shard in list(self.shards.values()):
            lease = found.get(shard.lease.shard)
            is_newer = lease is not None and lease.version > shard.lease.version
            if lease is not None and is_newer and lease.owner != self.worker:
                self._drop(shard)
        return {shard.lease.shard for shard in self.shards.values()}

    async def _tend(self, leases: list[Lease], listed: dict[str, ListedShard]) -> list[Lease]:
        """Make the leases that are missing, and remove those whose shards have expired."""
        found: list[Lease] = []
        for lease in leases:
            shard = listed.get(lease.shard)
            if shard is None:
                await self._expire(lease)
            elif shard.starts != lease.starts:
                # A stream of the same name was made anew: another shard.
                anew = _new_lease(shard, version=lease.version + 1)
                now = await self._leases.write(lease, anew)
                found += [now] if now is not None else []
            else:
                found.append(lease)
        known = {lease.shard for lease in leases}
        for shard in listed.values():
            if shard.shard not in known:
                found.append(_new_lease(shard))
                await self._leases.add(found[-1])
        return found

    async def _expire(self, lease: Lease) -> None:
        """Have a shard end that the stream lists no longer."""
        for shard in self.shards.values():
            if shard.lease.shard == lease.shard:
                shard.retire()
                return
        if lease.is_ended or self._watch.is_free(lease):
            await self._leases.remove(lease)

    async def _take(self, lease: Lease, attempts: int = 1) -> None:
        """Take a lease, unless somebody else was first.

        Its owner's checkpoints raise the version meanwhile: then another attempt is made.
        """
        for _ in range(attempts):
            begun_at = time.monotonic()
            wanted = lease.written(owner=self.worker)
            found = await self._leases.write(lease, wanted)
            if found == wanted:
                self._hold(wanted, begun_at)
                return
            if found is None or found.owner != lease.owner or found.is_ended:
                return
            lease = found

    def _hold(self, lease: Lease, begun_at: float) -> None:
        shard = Shard(lease, begun_at, self._stream.name, self._room, self._on_change)
        self.shards[shard.key] = shard
        told = partial(self._told, part=shard.key)
        reader = ShardReader(shard, self._stream, self._room, told)
        self._readers[shard.key] = self._spawn(reader.run())

    def _drop(self, shard: Shard) -> None:
        """Hold a shard no longer."""
        if self.shards.pop(shard.key, None) is not None:
            self._readers.pop(shard.key).cancel()
            self._told(None, shard.key)
            self._told(None, _lease_part(shard))
            shard.let_go()
            self._look.set()
            self._on_change()

    def _count_left_over(self, leases: Sequence[Lease], listed: dict[str, ListedShard]) -> int:
        """Count the shards that are not at their end, not held, and not others' for sure."""
        held = {shard.lease.shard for shard in self.shards.values()}
        others = {lease.shard for lease in leases if self._watch.is_kept_by_others(lease)}
        return sum(
            lease.shard in listed
            and not lease.is_ended
            and lease.shard not in held
            and lease.shard not in others
            and others.isdisjoint(lease.parents)
            for lease in leases
        )

    # --- Checkpoints and renewals --------------------------------------------------------

    async def _keep(self) -> None:
        seconds = min(CHECKPOINT_SECONDS, self._lease_seconds / 10)
        while True:
            await asyncio.sleep(seconds)
            shards = list(self.shards.values())
            await asyncio.gather(*(self._renew(shard) for shard in shards))

    async def _renew(self, shard: Shard) -> None:
        """Write a lease if its checkpoint has moved, or it was not written for a while."""
        age = time.monotonic() - shard.kept_at
        moved = shard.tracker.checkpoint != shard.lease.checkpoint
        if moved or age >= self._lease_seconds * RENEW_PART:
            await self._write(shard, self.worker)

    async def _release(self, shard: Shard) -> None:
        await self._write(shard, NOBODY)
        shard.let_go()

    async def _write(self, shard: Shard, owner: str) -> None:
        """Write a lease; if it is somebody else's by now, or at its end, drop the shard."""
        try:
            async with asyncio.timeout(self._lease_seconds * WRITE_PART):
                while True:
                    begun_at = time.monotonic()
                    wanted = shard.lease.written(owner=owner, checkpoint=shard.tracker.checkpoint)
                    if wanted.is_ended:
                        wanted = shard.lease.written(owner=NOBODY, checkpoint=wanted.checkpoint)
                    found = await self._leases.write(shard.lease, wanted)
                    if found == wanted or found is None or found.owner != self.worker:
                        break
                    shard.lease = found  # written before, by a request whose answer was lost
        except (TransientError, ConfigurationError, TimeoutError) as error:
            self._told(error, _lease_part(shard))
            return
        self._told(None, _lease_part(shard))
        if found != wanted or wanted.owner == NOBODY:
            self._drop(shard)
            return
        shard.lease, shard.kept_at = wanted, begun_at

    # --- Tasks ---------------------------------------------------------------------------

    def _told(self, error: Exception | None, part: str) -> None:
        """Keep a fault of a part, also for whoever receives next; None: the part works."""
        if error is None:
            self._faults.pop(part, None)
            return
        if isinstance(error, TimeoutError):
            error = TransientError(
                f"Kinesis stream {self._stream.stream}: its leases cannot be written in time"
            )
        _, times = self._faults.get(part, (error, 0))
        self._faults[part] = (error, times + 1)
        self.fault = error
        self._on_change()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            self.fatal = self.fatal or error
            self._on_change()


def _lease_part(shard: Shard) -> str:
    return f"lease of {shard.key}"


def _new_lease(shard: ListedShard, version: int = 0) -> Lease:
    return Lease(shard.shard, version=version, parents=shard.parents, starts=shard.starts)


async def _until(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most for some time."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
