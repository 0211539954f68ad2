"""Learning what application inference profiles stand for, and booking their calls anew.

A call that names an unknown profile is booked as unpriced, like any other call without a rate.
As soon as the profile is known, from the event of its creation or because AWS was asked, the
calls that wait for it are rebooked: nothing about a call is ever guessed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Final

import msgspec

from worker.core.errors import ConfigurationError, TransientError
from worker.core.ledger import Amounts, Entry, Leaf
from worker.core.memo import remember
from worker.core.model_id import PROFILE_RESOURCE
from worker.core.posting import Poster
from worker.core.registry import ApplicationProfile
from worker.core.results import ProfileSeen
from worker.pipeline.changes import Change, Changes, LookLater
from worker.ports import Ledger, ProfileSource, ProfileStore, Rebooking

ASK_AGAIN_SECONDS: Final = 600.0
"""A profile that AWS would not tell of is asked for again no sooner."""

ASK_SOON_SECONDS: Final = 15.0
"""The same, where AWS could not be asked."""

ASK_SECONDS: Final = 5.0
"""How long an answer may take; deliveries wait for it."""

ASKED_MAX: Final = 10_000
"""Profiles remembered as asked for; callers make the ids up."""

STUCK_MAX: Final = 10_000
"""Models remembered as not to be moved, for `ASK_AGAIN_SECONDS`."""

ASKS_PER_LOOK: Final = 20
"""Profiles asked for after one commit at most, so that made-up ids cannot hold it up."""


class Learned(msgspec.Struct, frozen=True):
    """What came of learning.

    Attributes:
        poster: Knows every profile that is known now.
        changes: What rebooking changed and nobody has followed up yet, by leaf.
    """

    poster: Poster
    changes: dict[Leaf, Change] = {}

    @property
    def postings(self) -> tuple[tuple[Leaf, Amounts], ...]:
        """What rebooking added to each leaf; also what it took away."""
        return tuple((leaf, change.amounts) for leaf, change in self.changes.items())

    @property
    def moved(self) -> set[Leaf]:
        """Leaves that calls were rebooked from and to; their budgets are due for a look."""
        return set(self.changes)


class ProfileWatch:
    """Keeps the poster's registry up to date with the profiles that are known.

    Calls are looked for everywhere once for each profile that is learned of, and whenever an
    event tells of one. Later only the leaves of a commit are looked at: a call of a known
    profile waits because a worker that did not know it yet died, and then it comes again.

    Attributes:
        at_end: Whether rebooking is put off until `finish`.

    Args:
        ledger: Its pending calls are rebooked once their profile is known.
        store: Profiles seen so far.
        source: Asks AWS; None where that cannot be done.
        monotonic: Seconds, for asking again.
        at_end: Rebook nothing before `finish`: a replay meets the calls of one profile in many
            commits, and an embedded ledger has no index of what is pending.
        look_later: Has the budgets looked at of what is about to be rebooked; None for no budgets.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: ProfileStore,
        source: ProfileSource | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        at_end: bool = False,
        look_later: LookLater | None = None,
    ) -> None:
        """Know no profiles yet."""
        self._ledger = ledger
        self._store = store
        self._source = source
        self._monotonic = monotonic
        self._ask_at: dict[str, float] = {}
        self._settled: set[str] = set()
        self._put_off: set[str] = set()
        # Accounts and models whose calls stayed where they are though a profile is known.
        self._stuck_until: dict[tuple[str, str], float] = {}
        self._changes = Changes(ledger, look_later)
        # So that whoever names the same new profile meanwhile waits for the first one's answer.
        self._asking = asyncio.Lock()
        self.at_end = at_end

    async def learn(self, seen: Sequence[ProfileSeen], poster: Poster) -> Poster:
        """Keep profiles that events told of; return a poster that knows them.

        Raises:
            TransientError: They could not be kept; their delivery must come again.
        """
        await self._store.learn([one.profile for one in seen])
        return await self._reloaded(poster)

    async def ahead(self, arns: Collection[str], poster: Poster) -> Poster:
        """Find out about profiles that calls name before they are booked.

        So that calls are priced at once where that is possible: what is booked without a price
        is found again through an index, which may be behind.

        Raises:
            TransientError: The profiles that are kept cannot be read; asking again is safe.
        """
        if all(_knows(poster, arn) for arn in arns):
            return poster
        async with self._asking:
            poster = await self._reloaded(poster)
            found = await self._ask([arn for arn in arns if not _knows(poster, arn)])
            if found:
                await self._store.learn(found)
                poster = await self._reloaded(poster)
        return poster

    async def resolve(
        self,
        arns: Collection[str],
        leaves: Collection[Leaf],
        poster: Poster,
        told: Collection[str] = (),
    ) -> Learned:
        """Find out about profiles that calls name and nobody knows, and rebook those calls.

        Args:
            arns: Profiles that calls of a commit name and its poster did not know.
            leaves: Those of the commit's calls whose price is pending, duplicates included:
                they may wait for a profile that somebody else has learned of meanwhile.
            poster: The one in force.
            told: Profiles that the commit's events told of. Known ones too: whoever was told
                first may have died before rebooking their calls.

        Raises:
            TransientError: Calls could not be rebooked; looking again is safe.
        """
        if self.at_end:
            self._put_off.update(arns, told)
            return self._learned(poster)
        waiting = {leaf for leaf in leaves if leaf.model.startswith(PROFILE_RESOURCE)}
        if any(not _knows(poster, arn) for arn in told):
            poster = await self._reloaded(poster)
        poster = await self.ahead(arns, poster)
        learned = {arn for arn in arns if arn not in self._settled and _knows(poster, arn)}
        await self._settle(learned.union(told), waiting, poster)
        return self._learned(poster)

    async def finish(self, poster: Poster) -> Learned:
        """Rebook whatever waits for a profile that is known by now, where that was put off."""
        poster = await self._reloaded(poster)
        known = {arn for arn in self._put_off if _knows(poster, arn)}
        await self._settle(known, set(), poster)
        self._put_off -= known
        return self._learned(poster)

    def followed_up(self, learned: Learned) -> None:
        """Take note that all that follows from rebookings was looked at and written down."""
        self._changes.followed_up(learned.changes)

    def take_cost(self) -> int:
        """Return what rebooking added to the spend since the last time, pico-USD, net."""
        return self._changes.take_cost()

    def _learned(self, poster: Poster) -> Learned:
        return Learned(poster, self._changes.now())

    async def _settle(self, arns: set[str], waiting: Collection[Leaf], poster: Poster) -> None:
        """Rebook the calls of some profiles, and what waits though its profile is known."""
        here: set[Leaf] = set()
        if waiting:
            by_call = _by_call(poster)
            for leaf in waiting:
                place = leaf.account, leaf.model
                known = by_call.get(place, set())
                if not known <= self._settled:
                    arns |= known
                elif known and self._monotonic() >= self._stuck_until.get(place, 0):
                    here.add(leaf)
        models = {_model_of(arn) for arn in arns}
        if models:
            await self._rebook(self._ledger.pending(models=models), models, poster)
            self._settled |= arns
        here = {leaf for leaf in here if leaf.model not in models}
        if here:
            models = {leaf.model for leaf in here}
            await self._rebook(self._ledger.pending(leaves=here), models, poster)

    async def _reloaded(self, poster: Poster) -> Poster:
        """Return a poster that knows the profiles that are kept; the same one if it does."""
        profiles = await self._store.profiles()
        if all(_knows(poster, profile.arn) for profile in profiles):
            return poster
        return Poster(poster.catalogue, poster.registry.with_profiles(profiles))

    async def _ask(self, arns: Sequence[str]) -> list[ApplicationProfile]:
        if self._source is None:
            return []
        now = self._monotonic()
        due = [arn for arn in sorted(arns) if now >= self._ask_at.get(arn, now)][:ASKS_PER_LOOK]
        answers = await asyncio.gather(*(self._profile(arn, now) for arn in due))
        return [profile for profile in answers if profile is not None]

    async def _profile(self, arn: str, now: float) -> ApplicationProfile | None:
        """Ask for one profile. Whatever fails, its calls stay unpriced and visible."""
        assert self._source is not None  # noqa: S101 - nobody is asked otherwise
        remember(self._ask_at, arn, now + ASK_SOON_SECONDS, ASKED_MAX)
        try:
            async with asyncio.timeout(ASK_SECONDS):
                profile = await self._source.profile(arn)
        except (TransientError, TimeoutError):
            return None
        except ConfigurationError:
            profile = None
        remember(self._ask_at, arn, now + ASK_AGAIN_SECONDS, ASKED_MAX)
        return profile

    async def _rebook(
        self, pending: AsyncIterator[Sequence[Entry]], models: Collection[str], poster: Poster
    ) -> None:
        async for entries in pending:
            wanted = []
            for entry in entries:
                leaf = entry.posting.leaf
                if leaf.model not in models:
                    continue
                rated = poster.rate(entry.evidence)
                if rated.route.leaf_value != leaf:
                    wanted.append(Rebooking(entry, rated))
                else:
                    until = self._monotonic() + ASK_AGAIN_SECONDS
                    remember(self._stuck_until, (leaf.account, leaf.model), until, STUCK_MAX)
            if wanted:
                await self._changes.rebook(wanted)


def _by_call(poster: Poster) -> dict[tuple[str, str], set[str]]:
    """Return known profiles by what the leaf of a call shows of one: the account, and its id."""
    found: dict[tuple[str, str], set[str]] = {}
    for profile in poster.registry.applications:
        account = profile.arn.split(":", 5)[4:5]
        found.setdefault(("".join(account), _model_of(profile.arn)), set()).add(profile.arn)
    return found


def _model_of(arn: str) -> str:
    """Return what leaves call a profile's model as long as it is not known."""
    return PROFILE_RESOURCE + arn.partition(PROFILE_RESOURCE)[2]


def _knows(poster: Poster, arn: str) -> bool:
    return poster.registry.profile_model(arn) is not None
