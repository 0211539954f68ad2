"""Replay equals live: files shuffled, lines duplicated, split and merged change nothing."""

import asyncio
import itertools
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import DAY, NOON, PRO, SONNET, UNLISTED, asynchronous, documents, poster, snapshot
from tests.records import completion, event, line, log, poison, write
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.core.batch import BatchBuilder
from worker.core.decoders import Decoder
from worker.core.evidence import Observation
from worker.core.registry import Pool, Registry
from worker.pipeline import Digester, Pipeline
from worker.ports import Committed, Ledger
from worker.settings import Settings

POSTER = poster(registry=Registry(pools=[Pool("people", "user/*"), Pool("bobs", "user/*/bob")]))


class Still:
    """A clock that stands."""

    def now_ms(self) -> int:
        return NOON


# --- What may be in a folder -----------------------------------------------------------------

tokens = st.tuples(st.integers(0, 40), st.integers(0, 40))
counted = st.builds(
    log,
    st.integers(0, 5),
    tokens,
    model=st.sampled_from([PRO, f"us.{SONNET}", f"global.{SONNET}", UNLISTED]),
    at_ms=st.sampled_from([NOON, NOON + 1_500, NOON + DAY]),
    user=st.sampled_from(["alice", "bob"]),
    cache=st.none() | tokens,
)
twins = st.builds(log, st.integers(0, 5), st.none())
failures = st.builds(
    lambda number: log(number, None, errorCode="ThrottlingException"), st.integers(0, 5)
)
events = st.builds(event, st.integers(0, 5), st.none() | tokens, at_ms=st.just(NOON + DAY - 1))
completions = st.builds(completion, st.integers(0, 5), tokens)
other_events = st.just(event(9, eventSource="s3.amazonaws.com", eventName="PutObject"))
strange = st.builds(poison, st.integers(0, 2)) | other_events
records = st.lists(
    st.one_of(counted, counted, twins, failures, events, completions, strange).map(line),
    min_size=1,
    max_size=12,
)


def deal(lines: list[bytes], dice: random.Random) -> list[list[bytes]]:
    """Some lines twice, all of them shuffled, and cut into one to four files."""
    lines = [*lines, *(text for text in lines if dice.random() < 0.3)]
    dice.shuffle(lines)
    cuts = sorted(dice.randrange(len(lines) + 1) for _ in range(dice.randrange(4)))
    return [lines[a:b] for a, b in itertools.pairwise([0, *cuts, len(lines)])]


async def digest_and_book(pipeline: Pipeline, files: list[list[bytes]], dice: random.Random) -> int:
    """Read files as a replay does, a digest now and then; return the records met."""
    digester = Digester(POSTER)
    figures = [0, 0, 0, 0, 0, 0]
    for number, file in enumerate(files):
        chunks = [text + b"\n" for text in file]
        for block in pipeline.decoder.decode_stream(chunks, source=f"file-{number}"):
            digester.add(block.outcomes)
        if dice.random() < 0.5 or number == len(files) - 1:
            digest = digester.digest()
            done: Committed = await pipeline.book(digest)
            parts = (done.recorded, done.upgraded, done.duplicates)
            for place, value in enumerate(
                (digest.records, *parts, digest.ignored, digest.quarantined)
            ):
                figures[place] += value
    assert figures[0] == sum(figures[1:])
    return figures[0]


@contextmanager
def ledgers() -> Iterator[list[Ledger]]:
    with tempfile.TemporaryDirectory() as folder:
        made: list[Ledger] = [MemoryLedger(), MemoryLedger(), SqliteLedger(Path(folder, "l.db"))]
        try:
            yield made
        finally:
            asyncio.run(made[2].close())


async def replayed(ledger: Ledger, deals: list[list[list[bytes]]], dice: random.Random) -> Any:
    """Book a folder again and again; return all that a ledger says of it."""
    pipeline = Pipeline(
        ledger=ledger, quarantine=MemoryQuarantine(Still()), decoder=Decoder(), poster=POSTER
    )
    first = None
    for files in deals:
        met = await digest_and_book(pipeline, files, dice)
        assert met == sum(len(file) or 1 for file in files)  # an empty file is a record, ignored
        found = (await documents(ledger), await snapshot(ledger))
        assert first is None or found == first
        first = found
    assert not (await ledger.verify()).differences
    return first


@pytest.mark.timeout(600)  # a thousand examples in CI
@settings(max_examples=5 * settings().max_examples)
@given(records, st.randoms(use_true_random=False))
def test_a_folder_replayed_three_times_in_any_shape_gives_one_result(
    lines: list[bytes], dice: random.Random
) -> None:
    async def compare(made: list[Ledger]) -> None:
        plain = await replayed(made[0], [[lines]], dice)
        again = await replayed(made[1], [deal(lines, dice) for _ in range(3)], dice)
        assert again == plain
        assert await replayed(made[2], [deal(lines, dice) for _ in range(3)], dice) == plain

    with ledgers() as made:
        asyncio.run(compare(made))


# --- Pairs of CloudTrail and logs, in every order --------------------------------------------

FOUR = [
    event(1, (1_000, 500), at_ms=NOON + 2_000),
    completion(1, (1_000, 500), at_ms=NOON + 9_000),
    log(1, (1_000, 500), cache=(4_000, 0)),
    log(1, None),
]


@pytest.mark.parametrize("together", [True, False])
@asynchronous
async def test_records_of_one_call_in_every_order_are_one_entry(
    tmp_path: Path, together: bool
) -> None:
    seen = set()
    for number, order in enumerate(itertools.permutations(FOUR)):
        made: list[Ledger] = [MemoryLedger(), SqliteLedger(tmp_path / f"{number}.db")]
        for ledger in made:
            decoder = Decoder()
            batches = [order] if together else [(record,) for record in order]
            for batch in batches:
                builder = BatchBuilder(POSTER)
                for record in batch:
                    [outcome] = decoder.decode(line(record))
                    assert isinstance(outcome, Observation)
                    builder.add(outcome)
                await ledger.commit(builder.build(), POSTER)
            [entry] = [entry async for chunk in ledger.scan() for entry in chunk]
            seen.add((entry.evidence, entry.posting))
            await ledger.close()
    [(evidence, posting)] = seen
    assert (evidence.counts.input_tokens, evidence.counts.output_tokens) == (1_000, 500)
    assert evidence.counts.cache_read_tokens == 4_000
    assert evidence.facts.principal_id == "AIDAALICE"
    assert evidence.facts.credential == "bearer"
    assert evidence.occurred_at_ms == NOON
    # 1,000 x 0.8 + 500 x 3.2 + 4,000 x 0.2 USD a million tokens
    assert (posting.cost_pico_usd, posting.reason) == (3_200_000_000, "")


# --- The same through the replay itself ------------------------------------------------------


@pytest.mark.timeout(600)
@settings(max_examples=max(3, settings().max_examples // 8))
@given(records, st.randoms(use_true_random=False))
def test_the_replay_itself_gives_one_result(lines: list[bytes], dice: random.Random) -> None:
    from worker.bootstrap import open_ledger  # noqa: PLC0415 - only this test needs them
    from worker.replay import replay  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as name:
        said = set()
        for turn, gz in enumerate(("", ".gz", "")):
            folder = Path(name, f"logs{turn}")
            for number, file in enumerate(deal(lines, dice) if turn else [lines]):
                write(folder / f"{number}.json{gz}", *file)
            settings_ = Settings(ledger=f"sqlite:{name}/{turn}.db")
            first, again = (asyncio.run(replay(settings_, [str(folder)], jobs=1)) for _ in "ab")
            for figures in (first, again):
                assert figures.records == (
                    figures.recorded
                    + figures.upgraded
                    + figures.duplicates
                    + figures.ignored
                    + figures.quarantined
                )
            assert (again.recorded, again.upgraded) == (0, 0)
            assert again.totals.is_zero()

            async def document(of: Settings = settings_) -> tuple[str, int]:
                ledger = open_ledger(of)
                try:
                    assert not (await ledger.verify()).differences
                    return await documents(ledger), (await ledger.verify()).entries
                finally:
                    await ledger.close()

            text, entries = asyncio.run(document())
            assert entries == first.calls == again.calls
            said.add(text)
        assert len(said) == 1
