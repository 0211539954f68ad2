"""Learning who is who from lifecycle events, and booking anew what a late mapping moves.

Facts are kept as records, one for each subject, merged on condition of their version. Every
process knows what they say of agents and principals, and asks every few seconds what changed.

**Late.** A role's calls may be booked before it is known whose role it is: by this process, or by
another one that has not heard of it yet. So calls since the mapping took effect are looked for,
through the journal and never by going through the ledger, three times: by whoever is told, by
every process once it learns of the change, and by all of them once more some seconds later. Whoever
was still booking by then under what was known before looks for itself, as soon as it has booked.
Rebooking what is right already changes nothing.

**Killed anywhere.** Facts are kept first. An event that comes again changes no fact, and yet
everything that follows from it is done again, in the same order: rebook, judge keys, give budgets,
announce. Each of these is idempotent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec

from worker.core.attribution import key_of
from worker.core.directory import (
    LifecycleFact,
    Subject,
    decode_subject,
)
from worker.core.directory_events import agent_registered, agent_removed
from worker.core.directory_views import AGENT, TEAM_TAG, View, view_of
from worker.core.enforcement_names import DIRECTORY, QUEUE_DIRECTORY
from worker.core.errors import TransientError
from worker.core.ledger import Amounts, Leaf
from worker.core.posting import Poster
from worker.core.registry import (
    NOTHING_LEARNED,
    AmbiguousAgents,
    Registry,
    parse_role_arn,
)
from worker.core.results import LifecycleSeen
from worker.pipeline.changes import Change, Changes, change_of
from worker.pipeline.found_keys import KeyWatch
from worker.pipeline.giving import TierGiver
from worker.pipeline.knowledge import Knowledge, all_records, changed_since
from worker.pipeline.notices import notice_of
from worker.pipeline.rechecks import STALE_SECONDS, Rechecks
from worker.ports import Clock, Ledger, Outbox, Rebooking, Records

REFRESH_SECONDS: Final = 5.0
"""How often it is asked what changed."""
LATE_SECONDS: Final = 15.0
"""Whoever booked under what it knew longer ago than that looks for what it booked itself: the
others may have looked before."""
BEHIND_MS: Final = 120_000
"""How far an index may be behind, and writers' clocks apart."""
RECENT_MS: Final = 900_000
"""What changed so shortly before a process started is looked at once more: another may have died
with calls booked under what was known before."""
LOOK_BACK_MS: Final = 86_400_000
"""How far before such a change calls are looked for."""
PAGE: Final = 200
WRITTEN_TOGETHER: Final = 20
ATTEMPTS: Final = 20
ROLE_KINDS: Final = frozenset({"created", "updated", "deleted"})


class Followed(msgspec.Struct, frozen=True):
    """What came of following lifecycle events up.

    Attributes:
        changes: What rebooking changed and nobody has followed up yet, by leaf.
    """

    changes: dict[Leaf, Change] = {}

    @property
    def postings(self) -> tuple[tuple[Leaf, Amounts], ...]:
        """What rebooking added to each leaf; also what it took away."""
        return tuple((leaf, change.amounts) for leaf, change in self.changes.items())

    @property
    def moved(self) -> set[Leaf]:
        """Leaves that calls were rebooked from and to; their budgets are due for a look."""
        return set(self.changes)


class DirectoryWatch:
    """Keeps the poster's registry up to date with what lifecycle events say.

    Args:
        ledger: Its calls are rebooked where a mapping became known late.
        records: Keep the facts.
        clock: Ledger time.
        agents: Learn of agents.
        keys: Learn of users, roles and their keys.
        team_tag: The tag that names a principal's team.
        look_later: Has the budgets of rebooked calls looked at, should this process die over
            it (`BudgetWatch.look_later`).
        outbox: Keeps what is announced of agents; None announces nothing.
        giver: Gives budgets by tier; None gives none.
        found_keys: Tells which keys were not provisioned; None for nobody.
        monotonic: Seconds, for asking again.
        at_end: Rebook nothing before `finish`, give nothing and announce nothing: a replay.
    """

    def __init__(  # noqa: PLR0913 - the ports that it needs
        self,
        *,
        ledger: Ledger,
        records: Records,
        clock: Clock,
        agents: bool = True,
        keys: bool = True,
        team_tag: str = TEAM_TAG,
        look_later: Callable[[Iterable[Leaf]], Awaitable[None]] | None = None,
        outbox: Outbox | None = None,
        giver: TierGiver | None = None,
        found_keys: KeyWatch | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        at_end: bool = False,
    ) -> None:
        """Know of nobody yet."""
        self._ledger = ledger
        self._records = records
        self._clock = clock
        self._agents = agents
        self._keys = keys
        self._look_later = look_later
        self._outbox = outbox
        self._giver = giver
        self._found_keys = found_keys
        self._monotonic = monotonic
        self.at_end = at_end
        self._changes = Changes(ledger)
        self._rechecks = Rechecks(self._look, monotonic)
        self._known = Knowledge(records, clock, team_tag, self._rechecks.changed)
        self._asked_at: float | None = None
        self._asked_at_ms = 0
        self._asking = asyncio.Lock()
        self._loading: tuple[float, int, str] | None = None
        self.agent_moved: Callable[[str], Awaitable[object]] | None = None
        """Is told of each agent whose roles change: a suspended one needs another look."""

    # --- Knowing ------------------------------------------------------------------------------

    @property
    def asked_at(self) -> float | None:
        """Since when all that others learned before is known here; None for never."""
        return self._asked_at

    async def load(self, poster: Poster, *, at_once: bool = False) -> Poster:
        """Read all that is known; return a poster that knows it. At the start.

        One that is broken off goes on where it was.

        Args:
            poster: The one in force.
            at_once: Look at what changed shortly before now as well as later: a process that may
                not be there later.

        Raises:
            TransientError: The records cannot be read.
        """
        if self._loading is None:
            self._loading = self._monotonic(), self._clock.now_ms(), ""
        now, now_ms, after = self._loading
        self._known.prepare(poster.registry)
        async for page in all_records(self._records, after):
            for record in page:
                may_move = self._known.take(record)
                if may_move and record.due_at_ms >= now_ms - RECENT_MS:
                    times = [now, now + STALE_SECONDS] if at_once else [now + STALE_SECONDS]
                    self._rechecks.add(record.name, record.due_at_ms - LOOK_BACK_MS, *times)
            self._loading = now, now_ms, page[-1].name
        self._asked_at, self._asked_at_ms = now, now_ms
        self._loading = None
        return self.knowing(poster)

    async def learn(self, seen: Sequence[LifecycleSeen], poster: Poster) -> Poster:
        """Keep what events told of; return a poster that knows it.

        Raises:
            TransientError: It could not be kept; the delivery must come again.
        """
        by_subject: dict[str, list[LifecycleFact]] = {}
        for fact in self._wanted(seen):
            by_subject.setdefault(fact.subject, []).append(fact)
        self._known.prepare(poster.registry)
        subjects = sorted(by_subject)
        for first in range(0, len(subjects), WRITTEN_TOGETHER):
            some = subjects[first : first + WRITTEN_TOGETHER]
            await self._known.keep({name: by_subject[name] for name in some})
        return self.knowing(poster)

    async def refresh(self, poster: Poster, *, at_once: bool = False) -> Poster:
        """Find out what others learned, every few seconds; return a poster that knows it.

        What cannot be found out now is asked again with the next call.

        Args:
            poster: The one in force.
            at_once: See `load`.

        Raises:
            TransientError: Nothing was found out yet: calls would be booked as if nobody had ever
                been told anything, and never be looked for.
        """
        if self.at_end or self._is_fresh():
            return self.knowing(poster)
        async with self._asking:
            if self._asked_at is None:
                return await self.load(poster, at_once=at_once)
            try:
                if not self._is_fresh():
                    await self._ask(poster)
            except TransientError:
                pass
            return self.knowing(poster)

    async def _ask(self, poster: Poster) -> None:
        now, asked_ms = self._monotonic(), self._clock.now_ms()
        self._known.prepare(poster.registry)
        from_ms = self._asked_at_ms - BEHIND_MS
        async for records in self._records.due(
            QUEUE_DIRECTORY, asked_ms + BEHIND_MS, from_ms=from_ms
        ):
            for record in records:
                self._known.hear(record)
        self._asked_at, self._asked_at_ms = now, asked_ms

    async def booked_late(self, known_at: float | None, poster: Poster) -> None:
        """Look for calls that were just booked, if others may have looked for them before.

        Args:
            known_at: `asked_at` when it was worked out what they are booked to.
            poster: The one in force.

        Raises:
            TransientError: Booking the same again is safe; they are looked for once more.
        """
        if self.at_end or known_at is None or self._monotonic() - known_at < LATE_SECONDS:
            return
        async with self._asking:
            if not self._is_fresh():
                await self._ask(poster)
        self._rechecks.repeat(known_at)
        await self.recheck(self.knowing(poster))

    def knowing(self, poster: Poster) -> Poster:
        """Return a poster that knows all that is known here; the same one if it does."""
        return self._known.knowing(poster)

    def _is_fresh(self) -> bool:
        asked_at = self._asked_at
        return asked_at is not None and self._monotonic() - asked_at < REFRESH_SECONDS

    def _wanted(self, seen: Iterable[LifecycleSeen]) -> list[LifecycleFact]:
        return [
            one.fact
            for one in seen
            if (self._agents if one.fact.subject.startswith(AGENT) else self._keys)
        ]

    # --- Following up -------------------------------------------------------------------------

    async def follow(self, seen: Sequence[LifecycleSeen], poster: Poster) -> Followed:
        """Do all that follows from events, once the calls beside them are booked.

        Args:
            seen: What events told; it was learned.
            poster: The one in force; it knows what was told.

        Raises:
            TransientError: Following again is safe.
        """
        if self.at_end:
            return Followed()
        by_subject: dict[str, list[LifecycleFact]] = {}
        for fact in self._wanted(seen):
            by_subject.setdefault(fact.subject, []).append(fact)
        for name, told in sorted(by_subject.items()):
            view = await self._view(name)
            moving = [at_ms for fact in told for at_ms in self._moves(fact)]
            if moving:
                await self._rebook(self._identities(view), min(moving), poster)
                self._rechecks.add(name, min(moving), self._monotonic() + STALE_SECONDS)
                if self.agent_moved is not None and name.startswith(AGENT):
                    await self.agent_moved(name)
            await self._settle(view, told, poster)
        return Followed(self._changes.now())

    async def first_use(self, leaves: Collection[Leaf]) -> None:
        """Give budgets to those who spend and have none, where the operator wants that.

        Args:
            leaves: Leaves that a commit touched; their budgets were looked at, and so are known.

        Raises:
            TransientError: Doing it again is safe.
        """
        if self._giver is not None and not self.at_end:
            await self._giver.first_use(leaves)

    async def do_due(self) -> bool:
        """Do what is due and no commit waits for: tags to be mended, tiers that have changed.

        Returns:
            Whether budgets were given, and there may be more to do.

        Raises:
            TransientError: The next call does the rest.
            ConfigurationError: The tiers were never right.
        """
        if self._found_keys is not None:
            await self._found_keys.keep_up()
        return self._giver is not None and await self._giver.keep_up()

    @property
    def faults(self) -> list[str]:
        """What could not be done lately of what no commit waits for, and why; for people."""
        faults = [one.fault for one in (self._found_keys, self._giver) if one is not None]
        return [fault for fault in faults if fault]

    def take_cost(self) -> int:
        """Return what rebooking added to the spend since the last time, pico-USD, net."""
        return self._changes.take_cost()

    def followed_up(self, followed: Followed) -> None:
        """Take note that all that follows from rebookings was looked at and written down."""
        self._changes.followed_up(followed.changes)

    async def finish(self, poster: Poster) -> Followed:
        """Rebook whatever is booked otherwise than what is known now says, in one pass.

        For a replay, whose decoders know nothing of what was learned.

        Raises:
            TransientError: Finishing again is safe.
        """
        identities: set[str] = set()
        times: list[int] = []
        for name, learned in self._known.learned.items():
            identities |= self._identities(await self._view(name))
            since = changed_since(NOTHING_LEARNED, learned)
            times += [] if since is None else [since]
        await self._rebook(identities, min(times, default=0), poster)
        return Followed(self._changes.now())

    async def _settle(self, view: View, told: Sequence[LifecycleFact], poster: Poster) -> None:
        """Judge keys, give budgets, announce: in this order, so that a crash heals."""
        is_agent = view.id.startswith(AGENT)
        if self._found_keys is not None and not is_agent:
            await self._found_keys.judge(told)
        tier = "" if self._giver is None else await self._giver.give(view.id)
        if is_agent:
            await self._announce(view, tier, poster)
        elif self._found_keys is not None:
            await self._found_keys.tell(view, told, tier)

    async def _announce(self, view: View, tier: str, poster: Poster) -> None:
        """Say that an agent was made or deleted; each once."""
        if self._outbox is None:
            return
        now_ms = self._clock.now_ms()
        if not view.last.is_alive:
            event = agent_removed(view, now_ms)
        elif view.is_registered:
            at_ms = view.roles[-1][1].from_ms if view.roles else view.last.from_ms
            shared = sharing(view, poster.registry)
            event = agent_registered(view, shared, tier, at_ms or now_ms, now_ms)
        else:
            return
        await self._outbox.put([notice_of(event, now_ms)])

    async def _view(self, name: str) -> View:
        record = await self._records.get(DIRECTORY, name)
        return view_of(Subject(name) if record is None else decode_subject(name, record.body))

    # --- Rebooking ----------------------------------------------------------------------------

    def _moves(self, fact: LifecycleFact) -> list[int]:
        """Return since when a fact may change who pays for calls, or in which team or pool.

        Nothing if it does not.
        """
        if any(map(self._known.decides, (*(key for key, _ in fact.tags), *fact.tag_keys))):
            return [fact.at_ms]
        if fact.subject.startswith(AGENT):
            return [fact.at_ms] if fact.kind in ROLE_KINDS else []
        if fact.kind not in {"created", "deleted"}:
            return []
        # Tags from before somebody was made, or after somebody was gone, are another's.
        times = list(self._known.deciding(fact.subject))
        is_anew = bool(self._known.learned.get(fact.subject, NOTHING_LEARNED).incarnations)
        return [min(fact.at_ms, *times)] if times else [fact.at_ms] if is_anew else []

    async def recheck(self, poster: Poster) -> None:
        """Look for calls of those who changed, where that is due by now.

        Raises:
            TransientError: What is left stays due.
        """
        if not self.at_end:
            await self._rechecks.run(poster)

    async def _look(self, name: str, from_ms: int, poster: Poster) -> None:
        await self._rebook(self._identities(await self._view(name)), from_ms, poster)

    async def _rebook(self, identities: Collection[str], from_ms: int, poster: Poster) -> None:
        """Rebook calls of some identities that are booked otherwise than they would be now."""
        if not identities:
            return
        async for entries in self._ledger.booked(identities, max(from_ms, 0)):
            wanted: list[Rebooking] = []
            for entry in entries:
                rated = poster.rate(entry.evidence)
                if rated.route.leaf_value != entry.posting.leaf:
                    wanted.append(Rebooking(entry, rated))
            if not wanted:
                continue
            if self._look_later is not None:
                await self._look_later({leaf for one in wanted for leaf, _ in change_of(one)})
            await self._changes.rebook(wanted)

    def _identities(self, view: View) -> set[str]:
        """Return the identities whose calls a subject has a say in."""
        names = {view.id}
        if view.id.startswith(AGENT):
            arns = map(parse_role_arn, view.role_arns)
            names = {key_of("role", one.account, one.name) for one in arns if one is not None}
        found = set(names)
        for one in names:
            for again in self._known.learned.get(one, NOTHING_LEARNED).incarnations:
                found.update(f"{one}/{unique_id}" for _, unique_id in again.made[1:])
        return found


def sharing(view: View, registry: Registry) -> list[str]:
    """Return other agents that have one of an agent's present roles, as the registry sees it."""
    found: set[str] = set()
    roles, period = view.roles[-1] if view.roles else ((), None)
    for arn in roles:
        role = parse_role_arn(arn)
        if role is not None and period is not None:
            at_ms = period.from_ms or 0
            mapped = registry.agent_for_role(role.account, role.name, arn, at_ms)
            if isinstance(mapped, AmbiguousAgents):
                found.update(mapped.agent_ids)
    return sorted(found - {view.id})
