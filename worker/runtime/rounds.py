"""Rounds of one announcer: what this worker wrote down at once, what else is due every so often."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from worker.core.errors import ConfigurationError, TransientError
from worker.ports import Notice

FRESH_MAX: Final = 1_000
"""Notices kept in hand at most, to be announced at once."""
UNEXPECTED_MAX: Final = 5
"""Rounds in succession that may end with an error nobody expected before the worker ends."""

_log = structlog.get_logger("worker.runtime.announcing")


class Announced(Protocol):
    """What came of one look; see `worker.announcer.Announced`."""

    announced: int
    failed: int
    lapsed: int
    oldest_wait_ms: int
    faults: list[str]
    is_cut: bool


class Announces(Protocol):
    """Announces notices: `worker.announcer.Announcer`, or a `Teller`."""

    async def announce(self, notices: Sequence[Notice]) -> Announced:
        """Announce notices that were just written down."""

    async def announce_due(self) -> Announced:
        """Announce everything that is due."""


class Rounds:
    """The loop of one announcer: of the bus, or of a channel for people.

    Args:
        announcer: Announces; None where somebody else does.
        part: What it is called in logs.
        pause_seconds: How long to wait for the next round after so many failures in succession.
        measure: Takes figures into the metrics, and whether they are of all that is due.
        report: Is told why something could not be announced; None once all could.
    """

    def __init__(
        self,
        announcer: Announces | None,
        *,
        part: str,
        pause_seconds: Callable[[int], float],
        measure: Callable[[Announced, bool], None],
        report: Callable[[str | None], None],
    ) -> None:
        """Announce nothing yet."""
        self._announcer = announcer
        self._part = part
        self._pause_seconds = pause_seconds
        self._measure = measure
        self._report = report
        self._fresh: list[Notice] = []
        self._woken = asyncio.Event()
        # What one look has in hand, another would take for announced.
        self._turn = asyncio.Lock()
        self._is_ending = False
        self._is_cut = False
        self._failures = 0
        self._unexpected = 0

    @property
    def is_failing(self) -> bool:
        """Whether the last look failed."""
        return self._failures > 0

    @property
    def is_cut(self) -> bool:
        """Whether the last look ended before everything was looked at."""
        return self._is_cut

    def tell(self, notices: Sequence[Notice]) -> None:
        """Announce these at once: they were written down just now."""
        if len(self._fresh) < FRESH_MAX:  # otherwise they are found in the outbox
            self._fresh += notices
        self._woken.set()

    def end(self) -> None:
        """Have `run` end after one more look at everything."""
        self._is_ending = True
        self._woken.set()

    async def run(self, *, insists: bool = True) -> None:
        """Announce what this worker writes down at once, and what else is due every few seconds.

        Args:
            insists: Look once more at the end though the last look failed.

        Raises:
            Exception: One that nobody expected, once it ended several looks in succession.
        """
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while True:
            is_last = self._is_ending
            self._woken.clear()
            if is_last and self.is_failing and not insists:
                return
            if is_last or loop.time() >= look_at:
                await self.safely(self.announce_due)
                is_cut = self._is_cut and not self._failures
                look_at = loop.time() + (0 if is_cut else self._pause_seconds(self._failures))
            elif self._fresh and not self._failures:
                # While the bus is down, every crossing would be another request in vain.
                await self.safely(self._announce_fresh)
            if is_last:
                return
            try:
                async with asyncio.timeout_at(look_at):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def announce_due(self) -> bool:
        """Announce everything that is due; return whether nothing is left."""
        # What was written down just now may be missing from the outbox's index for a moment.
        is_well = await self._announce_fresh()
        if self._announcer is None:
            return True
        async with self._turn:
            done = await self._announcer.announce_due()
        return self._take_in(done, is_of_all=True) and is_well

    async def _announce_fresh(self) -> bool:
        """Announce what was written down just now; return whether all of it was."""
        fresh, self._fresh = self._fresh, []
        if self._announcer is None or not fresh:
            return True
        async with self._turn:
            return self._take_in(await self._announcer.announce(fresh), is_of_all=False)

    def _take_in(self, done: Announced, *, is_of_all: bool) -> bool:
        self._measure(done, is_of_all)
        self._is_cut = done.is_cut
        is_well = not (done.failed or done.faults)
        reason = "; ".join(done.faults) or f"{done.failed} notices failed"
        if is_well:
            self._failures = 0
        else:
            self._failures += 1
            _log.warning("announcing failed", part=self._part, notices=done.failed, error=reason)
        self._report(None if is_well else reason)
        return is_well

    async def safely(self, work: Callable[[], Awaitable[object]]) -> bool:
        """Do something that may fail; return whether it did not raise."""
        try:
            await work()
        except (TransientError, ConfigurationError) as error:
            self._failures += 1
            self._report(str(error))
            _log.warning("announcing failed", part=self._part, error=str(error))
        except Exception:
            self._failures += 1
            self._unexpected += 1
            _log.exception("an error nobody expected", part=self._part, times=self._unexpected)
            if self._unexpected >= UNEXPECTED_MAX:
                raise
        else:
            self._unexpected = 0
            return True
        return False
