"""Announcing what was written down, on its own: nothing here ever holds up booking."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import structlog

from worker.core.errors import ConfigurationError, TransientError
from worker.ports import Notice
from worker.runtime.health import Health
from worker.runtime.pauses import growing_seconds
from worker.telemetry import Meter

ROUND_SECONDS: Final = 3.0
"""How often the outbox is looked through when nothing was written down by this worker."""
BACKOFF_LAST_SECONDS: Final = 30.0
LOOK_AT_ALL_SECONDS: Final = 300.0
FRESH_MAX: Final = 1_000
"""Notices kept in hand at most, to be announced at once."""
UNEXPECTED_MAX: Final = 5
"""Rounds in succession that may end with an error nobody expected before the worker ends."""

_log = structlog.get_logger("worker.runtime.announcing")


class Announced(Protocol):
    """What came of one look; see `worker.announcer.Announced`."""

    announced: int
    failed: int
    oldest_wait_ms: int
    faults: list[str]


class Announces(Protocol):
    """Announces notices: `worker.announcer.Announcer`."""

    async def announce(self, notices: Sequence[Notice]) -> Announced:
        """Announce notices that were just written down."""

    async def announce_due(self) -> Announced:
        """Announce everything that is due."""


LookAtAll = Callable[[], Awaitable[Sequence[Notice]]]
"""Looks at all budgets; see `worker.pipeline.budgets.BudgetWatch`."""


class Announcing:
    """The loop of the announcer, and of looking at all budgets.

    Args:
        announcer: Announces; None where somebody else does.
        look_at_all: Finds what no commit will: budgets made or periods begun meanwhile.
        health: Is told when something cannot be announced.
        meter: Measures.
    """

    def __init__(
        self,
        *,
        announcer: Announces | None,
        look_at_all: LookAtAll | None,
        health: Health,
        meter: Meter,
    ) -> None:
        """Announce nothing yet."""
        self._announcer = announcer
        self._look_at_all = look_at_all
        self._health = health
        self._meter = meter
        self._fresh: list[Notice] = []
        self._woken = asyncio.Event()
        # What one look has in hand, another would take for announced.
        self._turn = asyncio.Lock()
        self._is_ending = False
        self._failures = 0
        self._unexpected: dict[str, int] = {}
        self.has_looked = look_at_all is None
        """Whether all budgets have been looked at since the start."""

    def tell(self, notices: Sequence[Notice]) -> None:
        """Announce these at once: they were written down just now."""
        if len(self._fresh) < FRESH_MAX:  # otherwise they are found in the outbox
            self._fresh += notices
        self._woken.set()

    def end(self) -> None:
        """Have `run` end after one more look at everything."""
        self._is_ending = True
        self._woken.set()

    async def run(self) -> None:
        """Announce what this worker writes down at once, and what else is due every few seconds.

        Raises:
            Exception: One that nobody expected, once it ended several looks in succession.
        """
        loop = asyncio.get_running_loop()
        look_at = loop.time()
        while True:
            is_last = self._is_ending
            self._woken.clear()
            if is_last or loop.time() >= look_at:
                await self._safely("outbox", self.announce_due)
                look_at = loop.time() + self._pause_seconds()
            elif self._fresh and not self._failures:
                # While the bus is down, every crossing would be another request in vain.
                await self._safely("outbox", self._announce_fresh)
            if is_last:
                return
            try:
                async with asyncio.timeout_at(look_at):
                    await self._woken.wait()
            except TimeoutError:
                continue

    def _pause_seconds(self) -> float:
        if not self._failures:
            return ROUND_SECONDS
        return growing_seconds(ROUND_SECONDS, BACKOFF_LAST_SECONDS, self._failures)

    async def keep_looking(self) -> None:
        """Look at all budgets at once and from time to time, until cancelled."""
        while self._look_at_all is not None:
            if await self._safely("budgets", self._look_at_all):
                self.has_looked = True
            await asyncio.sleep(LOOK_AT_ALL_SECONDS if self.has_looked else ROUND_SECONDS)

    async def announce_due(self) -> bool:
        """Announce everything that is due; return whether nothing is left."""
        # What was written down just now may be missing from the outbox's index for a moment.
        is_well = await self._announce_fresh()
        if self._announcer is None:
            return True
        async with self._turn:
            done = await self._announcer.announce_due()
        self._meter.set("notices_oldest_pending_seconds", done.oldest_wait_ms / 1000)
        return self._take_in(done) and is_well

    async def _announce_fresh(self) -> bool:
        """Announce what was written down just now; return whether all of it was."""
        fresh, self._fresh = self._fresh, []
        if self._announcer is None or not fresh:
            return True
        async with self._turn:
            return self._take_in(await self._announcer.announce(fresh))

    def _take_in(self, done: Announced) -> bool:
        if done.announced:
            self._meter.add("notices_announced", done.announced)
        if done.failed:
            self._meter.add("notices_failed", done.failed)
        is_well = not (done.failed or done.faults)
        reason = "; ".join(done.faults) or f"{done.failed} notices failed"
        if is_well:
            self._failures = 0
        else:
            self._failures += 1
            _log.warning("announcing failed", notices=done.failed, error=reason)
        self._health.warning("announcing", None if is_well else reason)
        return is_well

    async def _safely(self, part: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Do something that may fail; return whether it did not raise."""
        try:
            await work()
        except (TransientError, ConfigurationError) as error:
            self._failures += part == "outbox"
            self._health.warning(part, str(error))
            _log.warning("announcing failed", part=part, error=str(error))
        except Exception:
            self._failures += part == "outbox"
            self._unexpected[part] = self._unexpected.get(part, 0) + 1
            _log.exception("an error nobody expected", part=part, times=self._unexpected[part])
            if self._unexpected[part] >= UNEXPECTED_MAX:
                raise
        else:
            self._unexpected[part] = 0
            self._health.warning(part, None)
            return True
        return False
