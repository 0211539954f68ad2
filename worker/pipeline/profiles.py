"""Learning what application inference profiles stand for, and booking their calls anew."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from worker.core.ledger import Leaf
from worker.core.posting import Poster
from worker.core.results import ProfileSeen
from worker.ports import Clock, Ledger, ProfileSource, ProfileStore


class ProfileWatch:
    """Keeps the poster's registry up to date with the profiles that are known.

    Args:
        ledger: Its pending calls are rebooked once their profile is known.
        store: Profiles seen so far.
        source: Asks AWS; None where that cannot be done.
        clock: Ledger time.
    """

    def __init__(
        self, *, ledger: Ledger, store: ProfileStore, source: ProfileSource | None, clock: Clock
    ) -> None:
        """Know no profiles yet."""

    async def learn(self, seen: Sequence[ProfileSeen], poster: Poster) -> Poster:
        """Keep profiles that events told of; return a poster that knows them."""
        raise NotImplementedError

    async def resolve(self, leaves: Iterable[Leaf], poster: Poster) -> Poster:
        """Ask for profiles that calls name and nobody knows, and rebook those calls."""
        raise NotImplementedError
