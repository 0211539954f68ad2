"""Whose calls are to be looked for because what is known of them changed, and when."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from worker.core.posting import Poster

STALE_SECONDS: Final = 20.0
"""After so long calls are looked for once more: whoever books asks every few seconds, and a commit
takes less than the rest."""
TIMES_MAX: Final = 4
"""Times at which calls of one subject are looked for again; the first and the last ones count."""
HEARD_MAX: Final = 1_000
HEARD_SECONDS: Final = 3_600.0
"""How many changes are remembered, if they were heard of longer ago than any commit takes."""


class _Recheck(msgspec.Struct):
    """Calls of a subject's identities are to be looked for: since when, and at which times."""

    from_ms: int
    times: list[float]


class Rechecks:
    """Remembers changes, and has calls looked for when that is due.

    Args:
        look: Rebooks calls of a subject, from an instant on (epoch milliseconds UTC), that are
            booked otherwise than they would be now.
        monotonic: Seconds.
    """

    def __init__(
        self, look: Callable[[str, int, Poster], Awaitable[None]], monotonic: Callable[[], float]
    ) -> None:
        """Have nothing to look for."""
        self._look = look
        self._monotonic = monotonic
        self._rechecks: dict[str, _Recheck] = {}
        self._running = asyncio.Lock()
        # When a change of a subject was last heard of, and since when calls are affected.
        self._heard: dict[str, tuple[float, int]] = {}

    def changed(self, name: str, from_ms: int) -> None:
        """Have calls looked for now, and once more when all know of a change."""
        now = self._monotonic()
        self.add(name, from_ms, now, now + STALE_SECONDS)
        before = self._heard.get(name, (now, from_ms))
        self._heard[name] = now, min(from_ms, before[1])
        if len(self._heard) > HEARD_MAX:
            old = now - HEARD_SECONDS
            self._heard = {one: heard for one, heard in self._heard.items() if heard[0] >= old}

    def add(self, name: str, from_ms: int, *times: float) -> None:
        """Have calls of a subject looked for at some times."""
        before = self._rechecks.get(name)
        if before is None:
            self._rechecks[name] = _Recheck(from_ms, list(times))
            return
        before.from_ms = min(before.from_ms, from_ms)
        first, *others = sorted({*before.times, *times})
        # However often it changes: the first time comes, and so does the last one.
        before.times = [first, *others[-(TIMES_MAX - 1) :]]

    def repeat(self, since: float) -> None:
        """Have calls of all looked for now whose changes were heard of since then."""
        now = self._monotonic()
        for name, (heard_at, from_ms) in self._heard.items():
            if heard_at >= since:
                self.add(name, from_ms, now)

    def times(self, name: str) -> list[float]:
        """Return when calls of a subject are to be looked for."""
        found = self._rechecks.get(name)
        return [] if found is None else list(found.times)

    async def run(self, poster: Poster) -> None:
        """Look for calls of those for whom that is due by now.

        Raises:
            TransientError: What is left stays due.
        """
        async with self._running:
            now = self._monotonic()
            for name in [name for name, one in self._rechecks.items() if one.times[0] <= now]:
                one = self._rechecks[name]
                await self._look(name, one.from_ms, poster)
                one.times = [at for at in one.times if at > now]
                if not one.times:
                    self._rechecks.pop(name, None)
