"""Receivers: poll a source while there is room, and wait where that is of no use."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import structlog

from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import DeliveryResult
from worker.ports import Clock, Delivery, Processed, Source, Stream
from worker.runtime.batching import BatchQueue
from worker.runtime.breaker import Breaker
from worker.runtime.health import Health
from worker.runtime.holding import Holdings
from worker.runtime.pauses import growing_seconds
from worker.telemetry import Meter

BACKOFF_FIRST_SECONDS: Final = 0.2
BACKOFF_LAST_SECONDS: Final = 20.0
BREAKER_LOOK_SECONDS: Final = 1.0
PROBE_DELIVERIES: Final = 10
"""Deliveries that are tried at most while the breaker is half-open."""

_log = structlog.get_logger("worker.runtime.receiving")


def backoff_seconds(attempt: int, error: Exception | None = None) -> float:
    """Return a random time to wait that grows with the attempts, at least what was advised."""
    advised = error.retry_after_seconds if isinstance(error, TransientError) else None
    return (advised or 0.0) + growing_seconds(BACKOFF_FIRST_SECONDS, BACKOFF_LAST_SECONDS, attempt)


def deferred(deliveries: Sequence[Delivery], reason: str) -> list[Processed]:
    """Return that deliveries must come again."""
    return [Processed(one.receipt, DeliveryResult.DEFERRED, 0, reason=reason) for one in deliveries]


class Receiving:
    """What all receivers share.

    Args:
        queue: Where deliveries wait to be booked.
        holdings: Says whether there is room for more.
        breaker: Says whether anything may be received.
        health: Is told of sources that cannot be reached.
        meter: Counts polls that failed.
        clock: Ledger time.
        fail_early: A `ConfigurationError` always ends the worker, not only until its source has
            been reached for the first time.
    """

    def __init__(  # noqa: PLR0913 - the parts of the worker
        self,
        *,
        queue: BatchQueue,
        holdings: Holdings,
        breaker: Breaker,
        health: Health,
        meter: Meter,
        clock: Clock,
        fail_early: bool = False,
    ) -> None:
        """Receive nothing yet."""
        self._queue = queue
        self._holdings = holdings
        self._breaker = breaker
        self._health = health
        self._meter = meter
        self._clock = clock
        self._fail_early = fail_early
        self._reached: set[str] = set()
        self._probing = asyncio.Lock()

    async def receive_from(self, source: Source) -> None:
        """Poll a source until cancelled.

        Raises:
            ConfigurationError: The source cannot be used, and never could since the start.
        """
        loop = asyncio.get_running_loop()
        failures = 0
        while True:
            await self._holdings.until_room()
            state = self._breaker.state(loop.time())
            if state == "open":
                rest = self._breaker.seconds_to_rest(loop.time())
                await asyncio.sleep(min(BREAKER_LOOK_SECONDS, rest))
                continue
            try:
                if state == "half-open":
                    async with self._probing:
                        if self._breaker.state(loop.time()) == "half-open":
                            await self._probe(source)
                else:
                    await self._take_in(source, await source.receive())
            except TransientError as error:
                self._failed(source, error, failures)
                await asyncio.sleep(backoff_seconds(failures, error))
                failures += 1
            except ConfigurationError as error:
                if self._fail_early or source.name not in self._reached:
                    raise
                self._failed(source, error, failures)
                self._health.fault(source.name, str(error))
                await asyncio.sleep(backoff_seconds(failures, error))
                failures += 1
            else:
                failures = 0
                if self.note(source):
                    self._reached.add(source.name)

    def note(self, source: Source) -> bool:
        """Note that a source was asked; return whether all of it can be read."""
        fault = source.fault if isinstance(source, Stream) else None
        self._health.warning(f"reading {source.name}", None if fault is None else str(fault))
        if fault is None:
            self._health.connected(source.name)
            return True
        self._health.disconnected(source.name)
        if isinstance(fault, ConfigurationError):
            self._health.fault(source.name, str(fault))
        return False

    def _failed(self, source: Source, error: Exception, failures: int) -> None:
        self._meter.add("receives_failed", source=source.name)
        if failures:  # a fault that passes at once is none to report
            self._health.disconnected(source.name)
        _log.warning("receive failed", source=source.name, failures=failures + 1, error=str(error))

    async def _take_in(self, source: Source, deliveries: Sequence[Delivery]) -> None:
        """Take received deliveries in hand, unless the breaker opened during the poll."""
        now = asyncio.get_running_loop().time()
        if not deliveries:
            return
        if self._breaker.state(now) != "closed":
            await source.settle(deferred(deliveries, "the breaker is open"))
            return
        self._hold(source, deliveries, now)

    async def _probe(self, source: Source) -> None:
        """Try one small batch while the breaker is half-open, and wait for its end."""
        # What was in flight when it opened has to end before, or its end would be the verdict.
        await self._holdings.until_empty()
        deliveries = await source.receive()
        tried, rest = deliveries[:PROBE_DELIVERIES], deliveries[PROBE_DELIVERIES:]
        if rest:
            await source.settle(deferred(rest, "the breaker is half-open"))
        if tried:
            _log.info("trying a small batch", source=source.name, deliveries=len(tried))
            self._hold(source, tried, asyncio.get_running_loop().time())
            await self._holdings.until_empty()

    def _hold(self, source: Source, deliveries: Sequence[Delivery], now: float) -> None:
        new = self._holdings.add(source.name, deliveries, now, self._clock.now_ms())
        self._queue.add(source, new, now)
