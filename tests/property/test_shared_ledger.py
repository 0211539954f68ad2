"""Order does not matter: however deliveries are permuted, repeated and split over writers."""

import asyncio
import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import DAY, MICRO, NOON, PRO, UNLISTED, call, poster
from tests.dynamodb import ledger_at, local_endpoint, new_prefix
from tests.shared_books import book_all, differences, expected_books
from worker.core.evidence import NO_COUNTS, Counts, EvidenceRank, Observation, SourceRank
from worker.core.registry import Pool, Registry

EXAMPLES = max(30, settings().max_examples // 5)
POSTER = poster(registry=Registry(pools=[Pool("people", "user/*"), Pool("bobs", "user/*/bob")]))
KINDS = (
    (SourceRank.API_EVENT, EvidenceRank.SIGHTING),
    (SourceRank.COMPLETION, EvidenceRank.PARTIAL),
    (SourceRank.LOG, EvidenceRank.METERED),
    (SourceRank.LOG, EvidenceRank.ITEMISED),
)


def _observation(
    number: int, kind: tuple[SourceRank, EvidenceRank], counts: tuple[int, int], **more: Any
) -> Observation:
    source, rank = kind
    known = NO_COUNTS if rank is EvidenceRank.SIGHTING else Counts(*counts)
    return call(number, known, source=source, rank=rank, **more)


OBSERVATIONS = st.builds(
    _observation,
    number=st.integers(0, 5),
    kind=st.sampled_from(KINDS),
    counts=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    model=st.sampled_from((PRO, MICRO, UNLISTED)),
    user=st.sampled_from(("", "alice", "bob")),
    at_ms=st.sampled_from((NOON, NOON + DAY)),
    principal_id=st.sampled_from(("", "AIDA1", "AIDA2")),
)


@st.composite
def _splits(draw: st.DrawFn) -> tuple[list[Observation], list[list[list[Observation]]]]:
    """Draw observations, and for each writer the batches in which it meets them."""
    seen = draw(st.lists(OBSERVATIONS, min_size=1, max_size=12))
    repeats = draw(st.lists(st.sampled_from(seen), max_size=8))
    order = draw(st.permutations([*seen, *repeats]))
    writers: list[list[list[Observation]]] = [[] for _ in range(draw(st.integers(1, 3)))]
    start = 0
    while start < len(order):
        size = draw(st.integers(1, 6))
        draw(st.sampled_from(writers)).append(list(order[start : start + size]))
        start += size
    return seen, writers


@given(_splits())
@settings(max_examples=EXAMPLES)
def test_the_books_depend_on_what_was_seen_alone(
    split: tuple[list[Observation], list[list[list[Observation]]]],
) -> None:
    asyncio.run(_check(*split))


async def _check(seen: list[Observation], writers: list[list[list[Observation]]]) -> None:
    endpoint, prefix = local_endpoint(), new_prefix()
    expected = await expected_books(POSTER, seen)
    async with ledger_at(endpoint, prefix) as one, ledger_at(endpoint, prefix) as other:
        await one.progress("")  # makes the tables
        ledgers = itertools.cycle((one, other))
        done = await asyncio.gather(
            *(book_all(next(ledgers), POSTER, batches) for batches in writers)
        )
        assert await differences(one, expected) == []
        figures = list(itertools.chain.from_iterable(done))
        assert sum(figure.recorded for figure in figures) == len({one.key for one in seen})
        verification = await one.verify()
        assert (verification.differences, verification.unsettled) == ((), ())
