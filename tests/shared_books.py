"""Calls that several writers book at once: what they deliver, and what must come of it."""

import random
from collections.abc import Iterable, Sequence
from typing import Any

from tests.calls import DAY, MICRO, NOON, PRO, SONNET, UNLISTED, call, entries, fold, snapshot
from worker.adapters.memory_ledger import MemoryLedger
from worker.core.evidence import Counts, EvidenceRank, Observation, SourceRank
from worker.core.posting import Poster
from worker.ports import Committed, Ledger

MODELS = (PRO, PRO, MICRO, SONNET, UNLISTED)


def observations(numbers: Iterable[int], seed: int, principals: int = 40) -> list[Observation]:
    """What is seen of some calls: mostly a log, often an event before it, sometimes no log.

    The event names neither counts nor, sometimes, the caller or the right day, so that what is
    learnt later moves the call to another balance.
    """
    seen = []
    for number in numbers:
        chance = random.Random(f"{seed} {number}")
        user = f"user{int(principals ** chance.random()) - 1:03d}"
        at_ms = NOON + chance.randrange(3) * DAY + chance.randrange(3_600_000)
        model = chance.choice(MODELS)
        counts = Counts(chance.randrange(1, 5_000), chance.randrange(2_000), chance.randrange(300))
        kind = chance.random()
        log = call(number, counts, model=model, user=user, at_ms=at_ms)
        if kind < 0.55:
            seen.append(log)
        elif kind < 0.75:
            trail = call(
                number,
                model=model,
                user=user,
                at_ms=at_ms + 400,
                source=SourceRank.API_EVENT,
                principal_id=f"AIDA{user}",
            )
            seen += [trail, log]
        elif kind < 0.95:
            completion = call(
                number,
                Counts(counts.input_tokens, 1),
                model=model,
                user="",
                at_ms=at_ms + DAY,
                source=SourceRank.COMPLETION,
                rank=EvidenceRank.PARTIAL,
            )
            seen += [completion, log]
        elif kind < 0.98:
            seen.append(call(number, model=model, user=user, at_ms=at_ms))
        else:
            seen.append(call(number, user=user, at_ms=at_ms, error_code="ThrottlingException"))
    return seen


def shuffled_twice(seen: Sequence[Observation], seed: int) -> list[Observation]:
    """Everything, each twice, in a random order."""
    twice = [*seen, *seen]
    random.Random(seed).shuffle(twice)
    return twice


def batches(records: Sequence[Observation], size: int) -> list[list[Observation]]:
    return [list(records[start : start + size]) for start in range(0, len(records), size)]


async def book_all(
    ledger: Ledger, poster: Poster, records: Iterable[Sequence[Observation]]
) -> list[Committed]:
    """Commit batches one after the other."""
    return [await ledger.commit(fold(poster, batch), poster) for batch in records]


async def expected_books(poster: Poster, seen: Sequence[Observation]) -> MemoryLedger:
    """The same in memory, each record once."""
    memory = MemoryLedger()
    await memory.commit(fold(poster, seen), poster)
    return memory


async def differences(ledger: Ledger, expected: Ledger) -> list[str]:
    """Say where two ledgers' balances and entries differ; what is booked when is no difference."""
    found = []
    ours, theirs = await snapshot(ledger), await snapshot(expected)
    if ours != theirs:
        wrong = {leaf for leaf in ours.keys() | theirs.keys() if ours.get(leaf) != theirs.get(leaf)}
        found.append(f"{len(wrong)} balances, such as {next(iter(wrong))}")
    mine, other = await contents(ledger), await contents(expected)
    if mine != other:
        keys = {key for key in mine.keys() | other.keys() if mine.get(key) != other.get(key)}
        found.append(f"{len(keys)} entries, such as {next(iter(keys))}")
    return found


async def contents(ledger: Ledger) -> dict[str, Any]:
    return {key: (entry.evidence, entry.posting) for key, entry in (await entries(ledger)).items()}
