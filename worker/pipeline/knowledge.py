"""What is known of users, roles, keys and agents: kept as records, and known to a process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from worker.core.directory import (
    LifecycleFact,
    Subject,
    decode_subject,
    encode_subject,
    merged,
)
from worker.core.directory_views import learned_of, together
from worker.core.enforcement_names import DIRECTORY, QUEUE_DIRECTORY
from worker.core.errors import TransientError
from worker.core.posting import Poster
from worker.core.registry import NOTHING_LEARNED, LearnedFacts, Registry
from worker.ports import Clock, Record, Records

PAGE: Final = 200
ATTEMPTS: Final = 20


class Knowledge:
    """Keeps facts, and knows what they say of agents and principals.

    Attributes:
        learned: What the registry is to know, by subject; without those it need not know of.

    Args:
        records: Keep the facts, one record for each subject, merged on condition of its version.
        clock: Ledger time: by it others find what changed.
        team_tag: The tag that names a principal's team.
        on_change: Told of a subject, and since when what is known of it differs.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        team_tag: str,
        on_change: Callable[[str, int], None],
    ) -> None:
        """Know of nobody yet."""
        self.learned: dict[str, LearnedFacts] = {}
        self._records = records
        self._clock = clock
        self._team_tag = team_tag
        self._on_change = on_change
        self._versions: dict[str, int] = {}
        self._deciding: dict[str, tuple[int, ...]] = {}
        self._together = NOTHING_LEARNED
        self._is_together = True
        self._tag_keys: frozenset[str] = frozenset()

    def decides(self, key: str) -> bool:
        """Whether a tag has a say in which team or pool calls are booked to."""
        return key == self._team_tag or key in self._tag_keys

    def prepare(self, registry: Registry) -> None:
        """Find out which tags decide anything, before anything is taken in."""
        self._tag_keys = tag_keys_of(registry)

    async def keep(self, told: dict[str, list[LifecycleFact]]) -> None:
        """Merge facts into the records of some subjects, at most 50.

        Raises:
            TransientError: Some may be kept; keeping all again is safe.
        """
        left = dict(told)
        for _ in range(ATTEMPTS):
            found = await self._records.get_many([(DIRECTORY, name) for name in left])
            written: list[Record] = []
            for name, facts in left.items():
                record = found.get((DIRECTORY, name))
                before = Subject(name) if record is None else decode_subject(name, record.body)
                after = merged(before, facts)
                if after == before:
                    if record is not None:
                        self.hear(record)
                    continue
                version = 1 if record is None else record.version + 1
                written.append(
                    Record(
                        partition=DIRECTORY,
                        name=name,
                        body=encode_subject(after),
                        version=version,
                        queue=QUEUE_DIRECTORY,
                        due_at_ms=self._clock.now_ms(),
                    )
                )
            if not written or await self._records.write(written):
                for record in written:
                    self.hear(record)
                return
            left = {record.name: told[record.name] for record in written}
        names = ", ".join(sorted(left)[:3])
        raise TransientError(f"{names}: others are noting facts at the same time; try again")

    def deciding(self, name: str) -> tuple[int, ...]:
        """Return when tags of a subject changed that decide anything, whoever had them then."""
        return self._deciding.get(name, ())

    def take(self, record: Record) -> bool:
        """Know what a record says; return whether it may have a say in who pays for calls."""
        if record.version < self._versions.get(record.name, 0):
            return record.name in self.learned or record.name in self._deciding
        self._versions[record.name] = record.version
        subject = decode_subject(record.name, record.body)
        learned = learned_of(subject, self._team_tag, self._tag_keys)
        times = [
            fact.at_ms
            for fact in subject.facts
            if any(map(self.decides, (*(key for key, _ in fact.tags), *fact.tag_keys)))
        ]
        if times:
            self._deciding[record.name] = tuple(times)
        else:
            self._deciding.pop(record.name, None)
        if learned != self.learned.get(record.name, NOTHING_LEARNED):
            if learned == NOTHING_LEARNED:
                self.learned.pop(record.name, None)
            else:
                self.learned[record.name] = learned
            self._is_together = False
        return bool(times) or learned != NOTHING_LEARNED

    def hear(self, record: Record) -> None:
        """Know what was learned, here or elsewhere; calls that it moves are looked for."""
        if record.version <= self._versions.get(record.name, 0):
            return
        before = self.learned.get(record.name, NOTHING_LEARNED)
        self.take(record)
        after = self.learned.get(record.name, NOTHING_LEARNED)
        from_ms = changed_since(before, after)
        if from_ms is not None:
            self._on_change(record.name, from_ms)

    def knowing(self, poster: Poster) -> Poster:
        """Return a poster that knows all that is known here; the same one if it does."""
        if not self._is_together:
            known = together(self.learned[name] for name in sorted(self.learned))
            self._together, self._is_together = known, True
        if poster.registry.learned is self._together or poster.registry.learned == self._together:
            return poster
        return Poster(poster.catalogue, poster.registry.with_directory(self._together))


async def all_records(records: Records, after: str = "") -> AsyncIterator[Sequence[Record]]:
    """Yield the records of all subjects whose names come after one, page by page."""
    while page := await records.partition(DIRECTORY, after=after, limit=PAGE):
        yield page
        after = page[-1].name


async def load_learned(records: Records, registry: Registry, team_tag: str) -> LearnedFacts:
    """Return all that lifecycle events said of agents and principals, for a command.

    Args:
        records: Keep the facts.
        registry: Says which tags pools ask for.
        team_tag: The tag that names a principal's team.

    Raises:
        TransientError: The records cannot be read.
    """
    wanted = tag_keys_of(registry)
    learned: dict[str, LearnedFacts] = {}
    async for page in all_records(records):
        for record in page:
            subject = decode_subject(record.name, record.body)
            learned[record.name] = learned_of(subject, team_tag, wanted)
    return together(learned[name] for name in sorted(learned))


def tag_keys_of(registry: Registry) -> frozenset[str]:
    """Return the tags that pools ask for."""
    return frozenset(key for pool in registry.pools for key, _ in pool.tags)


def changed_since(before: LearnedFacts, after: LearnedFacts) -> int | None:
    """Return since when two states of knowledge differ; None if they do not."""
    if before == after:
        return None
    times: list[int] = []
    for old, new in ((before.agents, after.agents), (before.principals, after.principals)):
        times += [fact.period.from_ms or 0 for fact in {*old} ^ {*new}]
    for one in {*before.incarnations} ^ {*after.incarnations}:
        times += [from_ms for from_ms, _ in one.made[1:]]
    return min(times, default=0)
