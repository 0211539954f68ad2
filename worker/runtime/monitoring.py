"""The monitor's loop: what is due is found through an index and done, beside the booking."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog

from worker.core.errors import ConfigurationError, TransientError
from worker.runtime.health import Health
from worker.runtime.pauses import growing_seconds

BACKOFF_LAST_SECONDS: Final = 60.0
Part = Callable[[], Awaitable[object]]
"""One kind of due work; returns something true if it may have made more work due."""

_log = structlog.get_logger("worker.runtime.monitoring")


class Monitoring:
    """Runs what is due, part by part, every few seconds and whenever it is woken.

    Args:
        parts: What to run, by name, in this order: a later one takes up what an earlier one made
            due. None of them holds up the others by failing.
        seconds: Between rounds.
        health: Is told which parts fail, and why.
    """

    def __init__(self, parts: Mapping[str, Part], *, seconds: float, health: Health) -> None:
        """Run nothing yet."""
        self._parts = dict(parts)
        self._seconds = seconds
        self._health = health
        self._woken = asyncio.Event()
        self._failures = dict.fromkeys(parts, 0)
        self._not_before = dict.fromkeys(parts, 0.0)
        self._turn = asyncio.Lock()
        self.has_looked = not parts
        """Whether every part has been run since the start."""

    @property
    def is_failing(self) -> bool:
        """Whether any part failed when it was last run."""
        return any(self._failures.values())

    def wake(self) -> None:
        """Have the next round begin at once."""
        self._woken.set()

    async def run(self) -> None:
        """Run rounds until cancelled. Whatever fails here, booking goes on."""
        while True:
            self._woken.clear()
            more = await self.run_once()
            if more:
                continue
            try:
                async with asyncio.timeout(self._seconds):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def run_once(self) -> bool:
        """Run every part whose turn it is; return whether any says that there may be more."""
        async with self._turn:
            more = [await self._safely(name, part) for name, part in self._parts.items()]
            self.has_looked = True
        return any(more)

    async def _safely(self, name: str, part: Part) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._not_before[name]:
            return False
        try:
            more = bool(await part())
        except (TransientError, ConfigurationError) as error:
            self._failed(name, str(error), now)
            return False
        except Exception as error:  # noqa: BLE001 - booking goes on, whatever it is
            _log.exception("an error nobody expected", part=name)
            self._failed(name, type(error).__name__, now)
            return False
        self._failures[name] = 0
        self._health.warning(name, None)
        return more

    def _failed(self, name: str, reason: str, now: float) -> None:
        self._failures[name] += 1
        pause = growing_seconds(self._seconds, BACKOFF_LAST_SECONDS, self._failures[name])
        self._not_before[name] = now + pause
        self._health.warning(name, reason)
        _log.warning("due work failed", part=name, error=reason)
