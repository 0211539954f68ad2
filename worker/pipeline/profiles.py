"""Learning what application inference profiles stand for, and booking their calls anew.

A call that names an unknown profile is booked as unpriced, like any other call without a rate.
As soon as the profile is known, from the event of its creation or because AWS was asked, the
calls that wait for it are rebooked: nothing about a call is ever guessed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec

from worker.core.errors import ConfigurationError, TransientError
from worker.core.ledger import Amounts, Leaf, amounts_of
from worker.core.memo import remember
from worker.core.model_id import PROFILE_RESOURCE
from worker.core.posting import Poster
from worker.core.registry import ApplicationProfile
from worker.core.results import ProfileSeen
from worker.ports import Ledger, ProfileSource, ProfileStore, Rebooking

ASK_AGAIN_SECONDS: Final = 600.0
"""A profile that AWS would not tell of is asked for again no sooner."""

ASK_SOON_SECONDS: Final = 15.0
"""The same, where AWS could not be asked."""

ASK_SECONDS: Final = 5.0
"""How long an answer may take; deliveries wait for it."""

ASKED_MAX: Final = 10_000
"""Profiles remembered as asked for; callers make the ids up."""

ASKS_PER_LOOK: Final = 20
"""Profiles asked for after one commit at most, so that made-up ids cannot hold it up."""


class Learned(msgspec.Struct, frozen=True):
    """What came of learning.

    Attributes:
        poster: Knows every profile that is known now.
        postings: What rebooking added to each leaf, call by call; also what it took away.
    """

    poster: Poster
    postings: tuple[tuple[Leaf, Amounts], ...] = ()

    @property
    def moved(self) -> set[Leaf]:
        """Leaves that calls were rebooked from and to; their budgets are due for a look."""
        return {leaf for leaf, _ in self.postings}


class ProfileWatch:
    """Keeps the poster's registry up to date with the profiles that are known.

    Attributes:
        at_end: Whether rebooking is put off until `finish`.

    Args:
        ledger: Its pending calls are rebooked once their profile is known.
        store: Profiles seen so far.
        source: Asks AWS; None where that cannot be done.
        monotonic: Seconds, for asking again.
        at_end: Rebook nothing before `finish`: a replay meets the calls of one profile in many
            commits, and an embedded ledger has no index of what is pending.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        store: ProfileStore,
        source: ProfileSource | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        at_end: bool = False,
    ) -> None:
        """Know no profiles yet."""
        self._ledger = ledger
        self._store = store
        self._source = source
        self._monotonic = monotonic
        self._ask_at: dict[str, float] = {}
        self._told_of: set[str] = set()
        self.at_end = at_end

    async def learn(self, seen: Sequence[ProfileSeen], poster: Poster) -> Poster:
        """Keep profiles that events told of; return a poster that knows them.

        Raises:
            TransientError: They could not be kept; their delivery must come again.
        """
        # Known ones too: whoever was told first may have died before rebooking their calls.
        self._told_of.update(_model_of(one.profile) for one in seen)
        await self._store.learn([one.profile for one in seen])
        return await self._reloaded(poster)

    async def resolve(
        self, arns: Collection[str], leaves: Iterable[Leaf], poster: Poster
    ) -> Learned:
        """Find out about profiles that calls name and nobody knows, and rebook those calls.

        Args:
            arns: Profiles that calls of a commit name and its poster did not know.
            leaves: What the commit touched, duplicates included: their calls may wait for a
                profile that somebody else has learned of meanwhile.
            poster: The one in force.

        Raises:
            TransientError: Calls could not be rebooked; looking again is safe.
        """
        if self.at_end:
            self._told_of.update(PROFILE_RESOURCE + _id_of(arn) for arn in arns)
            return Learned(poster)
        waiting = {leaf.model for leaf in leaves if leaf.model.startswith(PROFILE_RESOURCE)}
        if not waiting and not self._told_of:
            return Learned(poster)
        if any(not _knows(poster, arn) for arn in arns):
            poster = await self._reloaded(poster)
        found = await self._ask([arn for arn in arns if not _knows(poster, arn)])
        if found:
            await self._store.learn(found)
            poster = await self._reloaded(poster)
        return await self._settle(waiting, poster)

    async def finish(self, poster: Poster) -> Learned:
        """Rebook whatever waits for a profile that is known by now, where that was put off."""
        return await self._settle(set(), await self._reloaded(poster))

    async def _settle(self, waiting: set[str], poster: Poster) -> Learned:
        known = {_model_of(profile) for profile in poster.registry.applications}
        ready = (waiting | self._told_of) & known
        postings = await self._rebook(ready, poster) if ready else ()
        self._told_of.clear()
        return Learned(poster, tuple(postings))

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

    async def _rebook(self, models: Collection[str], poster: Poster) -> list[tuple[Leaf, Amounts]]:
        postings: list[tuple[Leaf, Amounts]] = []
        async for entries in self._ledger.pending():
            wanted = []
            for entry in entries:
                if entry.posting.leaf.model not in models:
                    continue
                rated = poster.rate(entry.evidence)
                if rated.route.leaf_value != entry.posting.leaf:
                    wanted.append(Rebooking(entry, rated))
            if wanted:
                await self._ledger.rebook(wanted)
                for item in wanted:
                    postings += _change(item)
        return postings


def _change(item: Rebooking) -> list[tuple[Leaf, Amounts]]:
    """Return what a rebooking takes from one leaf and adds to another."""
    before, after, evidence = item.before.posting, item.after, item.before.evidence
    taken = Amounts()
    taken.subtract(amounts_of(evidence, before.cost_pico_usd, before.status))
    added = amounts_of(evidence, after.cost_pico_usd, after.status)
    return [(before.leaf, taken), (after.route.leaf_value, added)]


def _model_of(profile: ApplicationProfile) -> str:
    """Return what leaves call a profile's model as long as it is not known."""
    return PROFILE_RESOURCE + _id_of(profile.arn)


def _id_of(arn: str) -> str:
    return arn.partition(PROFILE_RESOURCE)[2]


def _knows(poster: Poster, arn: str) -> bool:
    return poster.registry.profile_model(arn) is not None
