"""Announcing what was written down, on its own: nothing here ever holds up booking."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import structlog

from worker.core.errors import ConfigurationError, TransientError
from worker.ports import Clock, Outbox
from worker.runtime.health import Health
from worker.telemetry import Meter

ROUND_SECONDS: Final = 3.0
"""How often the outbox is looked through when nothing was written down by this worker."""
BACKOFF_LAST_SECONDS: Final = 30.0
LOOK_AT_ALL_SECONDS: Final = 300.0
UNEXPECTED_MAX: Final = 5
"""Rounds in succession that may end with an error nobody expected before the worker ends."""

_log = structlog.get_logger("worker.runtime.announcing")


class Announced(Protocol):
    """What came of one round."""

    @property
    def announced(self) -> int:
        """Notices that the bus took."""

    @property
    def failed(self) -> int:
        """Notices that it did not take; they stay pending."""


Round = Callable[[], Awaitable[Announced]]
"""Announces what is due; see `worker.announcer`."""


class Announcing:
    """The loop of the announcer.

    Args:
        announce: One round of announcing; None where somebody else announces.
        look_at_all: Looks at all budgets, which finds what no commit will; None for no budgets.
        outbox: Says since when the oldest notice waits.
        health: Is told when the bus cannot be used.
        meter: Measures.
        clock: Ledger time.
    """

    def __init__(
        self,
        *,
        announce: Round | None,
        look_at_all: Callable[[], Awaitable[object]] | None,
        outbox: Outbox | None,
        health: Health,
        meter: Meter,
        clock: Clock,
    ) -> None:
        """Announce nothing yet."""
        self._announce = announce
        self._look_at_all = look_at_all
        self._outbox = outbox
        self._health = health
        self._meter = meter
        self._clock = clock
        self._woken = asyncio.Event()
        self._failures = 0
        self._unexpected = 0

    def wake(self) -> None:
        """Announce soon: something was written down just now."""
        self._woken.set()

    async def run(self) -> None:
        """Announce until cancelled, what this worker writes down at once.

        Raises:
            Exception: One that nobody expected, once it ended several rounds in succession.
        """
        while True:
            self._woken.clear()
            await self._safely(self.round)
            if self._failures:
                # While the bus is down, waking up more often would not help it.
                bound = min(BACKOFF_LAST_SECONDS, ROUND_SECONDS * 2 ** min(self._failures - 1, 8))
                await asyncio.sleep(random.uniform(bound / 2, bound))  # noqa: S311 - jitter
                continue
            try:
                async with asyncio.timeout(ROUND_SECONDS):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def keep_looking(self) -> None:
        """Look at all budgets at once and from time to time, until cancelled."""
        while self._look_at_all is not None:
            await self._safely(self._look_once)
            await asyncio.sleep(LOOK_AT_ALL_SECONDS)

    async def _look_once(self) -> None:
        if self._look_at_all is not None and await self._look_at_all():
            self.wake()

    async def round(self) -> bool:
        """Announce what is due; return whether all of it was announced."""
        if self._announce is None:
            return True
        done = await self._announce()
        if done.announced:
            self._meter.add("notices_announced", done.announced)
        if done.failed:
            self._meter.add("notices_failed", done.failed)
            self._failures += 1
        else:
            self._failures = 0
        self._health.warning("announcing", f"{done.failed} notices failed" if done.failed else None)
        await self._measure()
        return not done.failed

    async def _measure(self) -> None:
        if self._outbox is None:
            return
        now_ms, oldest_ms = self._clock.now_ms(), None
        async for notices in self._outbox.due(now_ms):
            oldest_ms = notices[0].due_at_ms or notices[0].recorded_at_ms
            break
        age = 0.0 if oldest_ms is None else max(0, now_ms - oldest_ms) / 1000
        self._meter.set("notices_oldest_pending_seconds", age)

    async def _safely(self, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except (TransientError, ConfigurationError) as error:
            self._failures += 1
            self._meter.add("notices_failed")
            self._health.warning("announcing", str(error))
            _log.warning("announcing failed", failures=self._failures, error=str(error))
        except Exception:
            self._failures += 1
            self._unexpected += 1
            _log.exception("an error nobody expected", times=self._unexpected)
            if self._unexpected >= UNEXPECTED_MAX:
                raise
        else:
            self._unexpected = 0
