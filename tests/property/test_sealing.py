"""Whatever is sealed stays; whatever is not is booked as if nobody had sealed anything.

Calls, repeats, late records, seals, rebookings, entries that go, a sealing that dies, and workers
that have not heard of it, in any order: the books are those of the same history without what was
ignored as sealed.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import DAY, MICRO, NOON, PRO, UNLISTED, call, fold, poster, snapshot
from tests.dynamodb import client, local_endpoint, new_prefix
from tests.sealing import TODAY, FixedClock, let_go, long_after, told
from worker import books
from worker.adapters.dynamodb_ledger import DynamoLedger
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.errors import LedgerockError, TransientError
from worker.core.evidence import (
    NO_COUNTS,
    Counts,
    Evidence,
    EvidenceRank,
    Observation,
    SourceRank,
    merge,
)
from worker.core.ledger import MS_PER_DAY, Amounts, Leaf, Posting, amounts_of
from worker.core.posting import Poster
from worker.pipeline import Window
from worker.ports import Ledger

__all__ = ["long_after"]

POSTERS = [poster(), poster(f"model,unit,usd\n{PRO},input_tokens,9\n{UNLISTED},output_tokens,1\n")]
LATER = NOON + 60 * DAY
DAYS_AGO = (0, 1, 2, 9, 10, 20)
KINDS = (
    (SourceRank.API_EVENT, EvidenceRank.SIGHTING),
    (SourceRank.COMPLETION, EvidenceRank.PARTIAL),
    (SourceRank.LOG, EvidenceRank.METERED),
    (SourceRank.LOG, EvidenceRank.ITEMISED),
)
"""What a record may be: an event of the call, of its end, its log, its log with the body."""


def _observation(
    number: int, kind: tuple[SourceRank, EvidenceRank], counts: tuple[int, int], late: int
) -> Observation:
    """A record of a call; those of one call name one day, or the midnight after it."""
    source, rank = kind
    known = NO_COUNTS if rank is EvidenceRank.SIGHTING else Counts(*counts)
    midnight = (TODAY - DAYS_AGO[number % len(DAYS_AGO)] + 1) * MS_PER_DAY
    return call(
        number,
        known,
        source=source,
        rank=rank,
        model=(PRO, MICRO, UNLISTED)[number % 3],
        user=("alice", "bob")[number % 2],
        at_ms=midnight - 1 + late,
    )


OBSERVATIONS = st.builds(
    _observation,
    number=st.integers(0, 11),
    kind=st.sampled_from(KINDS),
    counts=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    late=st.integers(0, 2),
)


class Book(NamedTuple):
    """Some worker books a batch, under some prices."""

    seen: list[Observation]
    worker: int
    prices: int


class Seal(NamedTuple):
    """Everything before a day is sealed; the sealing dies at its n-th write, or never (0)."""

    days_ago: int
    dies_at: int


class Expire(NamedTuple):
    """Entries go that are sealed."""


class Rebook(NamedTuple):
    """Some worker rebooks everything under some prices."""

    worker: int
    prices: int


STEPS = st.lists(
    st.one_of(
        st.builds(
            Book,
            st.lists(OBSERVATIONS, min_size=1, max_size=6),
            st.integers(0, 1),
            st.integers(0, 1),
        ),
        st.builds(Seal, st.integers(-1, 21), st.sampled_from((0, 0, 1, 2, 3, 5))),
        st.builds(Expire),
        st.builds(Rebook, st.integers(0, 1), st.integers(0, 1)),
    ),
    min_size=2,
    max_size=10,
)


class Model:
    """The books as they ought to be, kept in the plainest way."""

    def __init__(self) -> None:
        self.watermark = 0
        self.calls: dict[str, tuple[Evidence, Posting]] = {}

    def _is_sealed(self, at_ms: int) -> bool:
        return at_ms < self.watermark * MS_PER_DAY

    def book(self, seen: list[Observation], prices: Poster) -> int:
        """Book; return how many records are ignored as sealed."""
        sealed = 0
        merged: dict[str, Evidence] = {}
        for one in seen:
            known = self.calls.get(one.key)
            if self._is_sealed(one.evidence.occurred_at_ms) or (
                known is not None and self._is_sealed(known[0].occurred_at_ms)
            ):
                sealed += 1
                continue
            before = merged.get(one.key) or (known[0] if known else one.evidence)
            merged[one.key] = merge(before, one.evidence)
        for key, evidence in merged.items():
            if key not in self.calls or evidence != self.calls[key][0]:
                self.calls[key] = evidence, prices.post(evidence)
        return sealed

    def rebook(self, prices: Poster) -> None:
        for key, (evidence, _) in self.calls.items():
            if not self._is_sealed(evidence.occurred_at_ms):
                self.calls[key] = evidence, prices.post(evidence)

    def balances(self, before_day: int | None = None) -> dict[Leaf, Amounts]:
        sums: dict[Leaf, Amounts] = {}
        for evidence, posting in self.calls.values():
            if before_day is None or posting.leaf.day < before_day:
                amounts = amounts_of(evidence, posting.cost_pico_usd, posting.status)
                sums.setdefault(posting.leaf, Amounts()).add(amounts)
        return sums


class DiesError(LedgerockError):
    """The process is no more."""


class Mortal:
    """A client that is no more from its n-th write on."""

    def __init__(self, client: Any, writes: int) -> None:
        self._client = client
        self._left = writes

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._client, operation)

        async def request(**arguments: Any) -> Any:
            if operation.startswith(("transact", "batch_write", "put", "delete", "update")):
                self._left -= 1
                if self._left < 0:
                    raise DiesError("killed")
            return await method(**arguments)

        return request


class World(NamedTuple):
    """Two workers of one ledger, and a client to look past them."""

    workers: list[Ledger]
    client: Any = None
    prefix: str = ""

    async def seal(self, day: int, dies_at: int) -> None:
        if dies_at and self.client is not None:
            dying = _shared(self.prefix, Mortal(self.client, dies_at - 1))
            try:
                await dying.seal(day)
            except DiesError:
                return
        await self.workers[1].seal(day)


def _shared(prefix: str, opened: Any) -> DynamoLedger:
    return DynamoLedger(
        prefix,
        dynamo=Dynamo(opened),
        clock=FixedClock(LATER),
        settle_seconds=0,
        create_tables=False,
    )


@asynccontextmanager
async def _world(kind: str) -> AsyncIterator[World]:
    if kind == "memory":
        memory = MemoryLedger()
        yield World([memory, memory])
    elif kind == "sqlite":
        with tempfile.TemporaryDirectory(prefix="ledgerock-test-") as folder:
            workers: list[Ledger] = [SqliteLedger(Path(folder, "ledger.db")) for _ in range(2)]
            try:
                yield World(workers)
            finally:
                for worker in workers:
                    await worker.close()
    else:
        prefix = new_prefix()
        async with client(local_endpoint()) as opened:
            await DynamoLedger(prefix, dynamo=Dynamo(opened), create_tables=True).progress("")
            yield World([_shared(prefix, opened) for _ in range(2)], opened, prefix)


async def _check(kind: str, steps: list[Book | Seal | Expire | Rebook]) -> None:
    async with _world(kind) as world:
        model, ledger = Model(), world.workers[1]
        for step in steps:
            match step:
                case Book(seen, worker, prices):
                    batch = fold(POSTERS[prices], seen)
                    done = await world.workers[worker].commit(batch, POSTERS[prices], touched=True)
                    sealed = model.book(seen, POSTERS[prices])
                    # Who has not heard of a seal may take what adds nothing for a duplicate.
                    assert done.sealed <= sealed <= done.sealed + done.duplicates
                    assert done.sealed == sealed or kind == "dynamodb"
                    assert sum(told(done)) == len(seen)
                case Seal(days_ago, dies_at):
                    day = TODAY - days_ago
                    await world.seal(day, dies_at)
                    now = (await ledger.seal_in_force()).day
                    assert now in {model.watermark, max(model.watermark, day)}
                    assert dies_at or now >= day
                    model.watermark = now
                case Expire():
                    await ledger.expire(0, LATER)
                    await let_go(ledger, world.client, LATER)
                case Rebook(worker, prices):
                    await _rebook(world.workers[worker], POSTERS[prices])
                    model.rebook(POSTERS[prices])
            assert await snapshot(ledger) == model.balances()
        await ledger.seal(model.watermark)
        seal = await ledger.seal_in_force()
        assert seal.complete_day == seal.day == model.watermark
        stored = {leaf: one.amounts for leaf, one in (await ledger.sealed_sums()).items()}
        assert stored == model.balances(model.watermark)
        for each in world.workers:
            verification = await each.verify()
            assert (verification.differences, verification.unsettled) == ((), ())


async def _rebook(ledger: Ledger, prices: Poster) -> None:
    for _ in range(3):
        try:
            await books.rebook(ledger, prices, Window())
        except TransientError:
            continue
        return


@given(steps=STEPS)
def test_in_memory(steps: list[Book | Seal | Expire | Rebook]) -> None:
    asyncio.run(_check("memory", steps))


@given(steps=STEPS)
@settings(max_examples=max(25, settings().max_examples // 4))
def test_in_a_file(steps: list[Book | Seal | Expire | Rebook]) -> None:
    asyncio.run(_check("sqlite", steps))


@given(steps=STEPS)
@settings(max_examples=max(25, settings().max_examples // 5))
def test_in_tables(steps: list[Book | Seal | Expire | Rebook]) -> None:
    asyncio.run(_check("dynamodb", steps))


@pytest.mark.parametrize("kind", ["memory", "sqlite", "dynamodb"])
def test_a_history_with_everything_in_it(kind: str) -> None:
    """What chance may leave out: late records of both sides, twice, around two seals."""
    seen = [
        _observation(n, kind_of, (2, 3), late)
        for n in range(12)
        for late in (0, 2)
        for kind_of in KINDS
    ]
    asyncio.run(
        _check(
            kind,
            [
                Book(seen[::3], 0, 0),
                Seal(9, 3),
                Book(seen[1::3], 0, 1),
                Seal(9, 0),
                Expire(),
                Rebook(0, 1),
                Book(seen, 0, 0),
                Seal(0, 0),
                Expire(),
                Book(seen[::-1], 1, 1),
                Rebook(1, 0),
            ],
        )
    )
