"""What processes share, as each reaches it: it dies, or fails once, at its n-th write."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hypothesis import strategies as st

from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryOutbox
from worker.core.batch import Batch
from worker.core.budget_terms import ScopeDays
from worker.core.errors import TransientError
from worker.core.posting import Poster
from worker.core.spend import Spend
from worker.ports import Committed, Notice, NoticeState, Rebooking, Record

_Value = TypeVar("_Value")


class DiedError(Exception):
    """The process is no more."""


@dataclass
class Fuse:
    """Kills a process, or fails once, at its n-th write.

    `turns` says how often others may go first before each request.
    """

    writes: int = -1
    is_made: bool = False
    kills: bool = True
    turns: tuple[int, ...] = (0,)
    count: int = 0
    is_dead: bool = False
    asked: int = 0

    async def wait(self) -> None:
        self.asked += 1
        for _ in range(self.turns[self.asked % len(self.turns)]):
            await asyncio.sleep(0)

    async def write(self, work: Callable[[], Awaitable[_Value]]) -> _Value:
        await self.wait()
        if self.is_dead:
            raise DiedError
        self.count += 1
        if self.count != self.writes:
            return await work()
        if self.is_made:
            await work()
        self.is_dead = self.kills
        raise DiedError if self.kills else TransientError("throttled")


FUSES = st.one_of(
    st.builds(Fuse),
    st.builds(
        Fuse, st.integers(1, 7), st.booleans(), st.booleans(), st.sampled_from([(0,), (1, 0, 2)])
    ),
)


@dataclass
class Books:
    """The ledger as one process reaches it."""

    kept: MemoryLedger
    fuse: Fuse

    async def commit(self, batch: Batch, poster: Poster) -> Committed:
        return await self.fuse.write(lambda: self.kept.commit(batch, poster, touched=True))

    async def rebook(self, wanted: Sequence[Rebooking]) -> int:
        return await self.fuse.write(lambda: self.kept.rebook(wanted))

    async def spend(self, ranges: Sequence[ScopeDays]) -> list[Spend]:
        await self.fuse.wait()
        return await self.kept.spend(ranges)


@dataclass
class Records:
    """Records as one process reaches them."""

    kept: MemoryRecords
    fuse: Fuse

    async def get(self, partition: str, name: str) -> Record | None:
        await self.fuse.wait()
        return await self.kept.get(partition, name)

    async def get_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        await self.fuse.wait()
        return await self.kept.get_many(keys)

    async def partition(
        self, partition: str, beginning: str = "", *, after: str = "", limit: int | None = None
    ) -> list[Record]:
        await self.fuse.wait()
        return await self.kept.partition(partition, beginning, after=after, limit=limit)

    async def write(self, records: Sequence[Record]) -> bool:
        return await self.fuse.write(lambda: self.kept.write(records))

    async def remove(self, record: Record) -> bool:
        return await self.fuse.write(lambda: self.kept.remove(record))

    def due(
        self, queue: str, until_ms: int, *, from_ms: int = 0
    ) -> AsyncIterator[Sequence[Record]]:
        return self.kept.due(queue, until_ms, from_ms=from_ms)


@dataclass
class Outbox:
    """The outbox as one process reaches it."""

    kept: MemoryOutbox
    fuse: Fuse

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        return await self.fuse.write(lambda: self.kept.put(notices))

    def due(self, now_ms: int, channel: str = "") -> AsyncIterator[Sequence[Notice]]:
        return self.kept.due(now_ms, channel)

    async def settle(
        self, notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None = None
    ) -> bool:
        return await self.fuse.write(lambda: self.kept.settle(notice, state, at_ms, detail))

    async def find(self, subject: str, notice_id: str) -> Notice | None:
        await self.fuse.wait()
        return await self.kept.find(subject, notice_id)

    async def about(self, subject: str) -> list[Notice]:
        return await self.kept.about(subject)


async def all_of(work: Awaitable[object]) -> None:
    """Run something; what it left running ends with it."""
    try:
        await work
    finally:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)


async def side_by_side(work: Sequence[Awaitable[object]]) -> None:
    """Run some work side by side; some of it may die."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for error in done:
        if isinstance(error, BaseException) and not isinstance(error, DiedError | TransientError):
            raise error
