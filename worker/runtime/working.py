"""Working batches off: book, settle what ended as it ends, and say how it went."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Collection, Iterable, Sequence
from contextlib import aclosing
from typing import Final, Protocol

import structlog

from worker.core.errors import ConfigurationError, RefusedError, TransientError
from worker.core.results import DeliveryResult
from worker.pipeline import Digest, Figures, Isolation, Step, put_aside
from worker.ports import Clock, Committed, Delivery, Processed, Source
from worker.runtime.batching import Batch, BatchQueue
from worker.runtime.breaker import Breaker
from worker.runtime.health import Health
from worker.runtime.holding import Held, Holdings
from worker.runtime.pauses import growing_seconds
from worker.runtime.receiving import deferred
from worker.telemetry import Meter, measure_commit

DEFERRED_MAX: Final = 100_000
"""Deferred deliveries remembered at most, for a burst that waits for them."""
PAUSE_FIRST_SECONDS: Final = 0.1
PAUSE_LAST_SECONDS: Final = 5.0

STOPPING: Final = "the worker stops; what was booked stays booked"
BREAKER_OPEN: Final = "the breaker is open"

_log = structlog.get_logger("worker.runtime.working")


class Books(Protocol):
    """Books deliveries: `worker.pipeline.Pipeline`."""

    @property
    def fault(self) -> str:
        """Why the last commit failed; empty once one succeeded."""

    def steps(
        self, deliveries: Sequence[Delivery], *, deadline: float | None = None
    ) -> AsyncGenerator[Step, None]:
        """Yield what came of some deliveries, each ending in exactly one step."""

    async def book(self, digest: Digest) -> Committed:
        """Book a digest, and keep what is malformed."""

    async def probe(self) -> None:
        """Forget the fault if the ledger answers; raise if it does not."""


class Working:
    """Works off batches, several at the same time.

    A fault that passes defers the batch, and the worker pauses before the next for as long as
    nothing can be committed. After a refusal, or an error that nobody expected, each delivery of
    the batch is tried alone, so that one of them cannot hold up its neighbours. Those that fail
    again are deferred, or put aside if they never will be booked; see `Isolation`. An error that
    hits whatever is tried ends the worker.

    As soon as the breaker is open, what was not finished is deferred.

    Args:
        books: Books deliveries.
        queue: Where batches come from.
        holdings: Lets go of what was settled.
        breaker: Is told what was quarantined.
        health: Is told what could be committed.
        meter: Measures.
        clock: Ledger time.
        batches_in_flight: Batches worked on at the same time at most.
    """

    def __init__(  # noqa: PLR0913 - the parts of the worker
        self,
        *,
        books: Books,
        queue: BatchQueue,
        holdings: Holdings,
        breaker: Breaker,
        health: Health,
        meter: Meter,
        clock: Clock,
        batches_in_flight: int,
    ) -> None:
        """Work on nothing yet."""
        self._books = books
        self._queue = queue
        self._holdings = holdings
        self._breaker = breaker
        self._health = health
        self._meter = meter
        self._clock = clock
        self._slots = asyncio.Semaphore(batches_in_flight)
        self._deadline: float | None = None
        self._limits: set[asyncio.Timeout] = set()
        self._has_committed = False
        self._failures = 0
        self._isolation = Isolation()
        self._deferred: set[str] = set()
        self._deferred_at = 0.0
        self._ended: Counter[str] = Counter()

    async def run(self) -> None:
        """Work until the queue says that nothing more comes.

        Raises:
            ExceptionGroup: Of a `ConfigurationError` (the ledger cannot be used, and never could
                since the start), or of an error that nobody expected and that keeps coming.
        """
        async with asyncio.TaskGroup() as group:
            while True:
                await self._slots.acquire()
                batch = await self._queue.take()
                if batch is None:
                    return
                group.create_task(self._work(batch))

    def stop_by(self, deadline: float) -> None:
        """Defer what is not finished by a time of the event loop, seconds."""
        self._deadline = deadline
        for limit in self._limits:
            limit.reschedule(deadline)
        asyncio.get_running_loop().call_at(deadline, self._queue.cut_off)

    def awaits_deferred(self, now: float, patience_seconds: float) -> bool:
        """Whether something that was deferred lately has not come again and ended."""
        return bool(self._deferred) and now < self._deferred_at + patience_seconds

    def totals(self) -> dict[str, int]:
        """Return how many deliveries ended how since the start."""
        return {result.lower(): self._ended[result] for result in DeliveryResult}

    async def _work(self, batch: Batch) -> None:
        try:
            error = await self._try(batch.source, batch.deliveries)
            if error is not None:
                await self._isolate(batch, error)
        except ConfigurationError as error:
            if not self._has_committed:
                raise
            _log.exception("cannot book")
            self._health.fault("ledger", str(error))
            await self._defer(batch, str(error))
        except TransientError as error:
            self._health.not_committed(asyncio.get_running_loop().time(), str(error))
            await self._defer(batch, str(error))
        finally:
            # An ordered group goes on only after its earlier deliveries were settled.
            self._queue.done(batch)
            self._slots.release()

    async def _defer(self, batch: Batch, reason: str) -> None:
        await self._settle(batch.source, deferred(self._in_hand(batch), reason))
        await self._pause()

    def _in_hand(self, batch: Batch) -> list[Delivery]:
        return [one for one in batch.deliveries if self._holdings.holds(batch.source.name, one)]

    async def _try(self, source: Source, deliveries: Sequence[Delivery]) -> Exception | None:
        """Book deliveries, defer what is left; return the error that says something of them.

        Raises:
            ConfigurationError: The operator's fault.
            TransientError: A fault that passes.
        """
        try:
            left = await self._book(source, deliveries)
        except (ConfigurationError, TransientError):
            raise
        except RefusedError as error:
            _log.warning("refused", source=source.name, deliveries=len(deliveries), exc_info=error)
            return error
        except Exception as error:  # noqa: BLE001 - whoever isolates decides
            self._meter.add("batches_failed")
            said = {"source": source.name, "deliveries": len(deliveries)}
            _log.error("an error nobody expected", exc_info=error, **said)
            return error
        reason = BREAKER_OPEN if self._is_open() else STOPPING
        await self._settle(source, deferred(left, reason))
        return None

    def _is_open(self) -> bool:
        return self._breaker.state(asyncio.get_running_loop().time()) == "open"

    async def _book(self, source: Source, deliveries: Sequence[Delivery]) -> list[Delivery]:
        """Book deliveries and settle them as they end.

        Returns:
            What time, or the breaker, did not allow.
        """
        left = {delivery.receipt: delivery for delivery in deliveries}
        async with aclosing(self._books.steps(deliveries)) as steps:
            while True:
                limit = asyncio.timeout_at(self._deadline)
                try:
                    async with limit:
                        self._limits.add(limit)
                        step = await anext(steps, None)
                except TimeoutError:
                    if limit.expired():
                        return list(left.values())
                    raise
                finally:
                    self._limits.discard(limit)
                if step is None:
                    return []
                opened = self._measure(step)
                await self._settle(source, step.processed)
                for one in step.processed:
                    left.pop(one.receipt, None)
                if opened:
                    await self.give_back_all(BREAKER_OPEN)
                if self._is_open():
                    return list(left.values())
                if self._books.fault:
                    await self._pause()

    def _measure(self, step: Step) -> bool:
        """Tell everybody who counts; return whether the breaker opened."""
        now, figures = asyncio.get_running_loop().time(), step.figures
        if self._books.fault:
            self._health.not_committed(now, self._books.fault)
        elif figures.commit_seconds:
            self._has_committed = True
            self._failures = 0
            self._health.committed()
        if figures.recorded or figures.upgraded or figures.duplicates:
            self._isolation.booked()
        measure_commit(self._meter, figures, self._clock.now_ms())
        ended = sum(one.result is not DeliveryResult.DEFERRED for one in step.processed)
        opened = self._breaker.add(
            now,
            records=figures.records - figures.references,
            quarantined=figures.quarantined,
            deliveries=ended,
        )
        if opened:
            share = round(self._breaker.share, 3)
            _log.error("the breaker opened: most records are quarantined", quarantined_share=share)
        return opened

    async def _settle(self, source: Source, processed: Sequence[Processed]) -> None:
        """Settle what ended; what the source cannot be told of comes again by itself."""
        if not processed:
            return
        now_ms = self._clock.now_ms()
        try:
            await source.settle(processed)
        except (ConfigurationError, TransientError) as error:
            _log.exception("settling failed", source=source.name, deliveries=len(processed))
            self._health.fault(source.name, str(error))
        ended = self._holdings.release(source.name, [one.receipt for one in processed])
        for held in ended:
            age_ms = now_ms - held.delivery.sent_at_ms
            if held.delivery.sent_at_ms:
                self._meter.observe("delivery_age_seconds", max(0, age_ms) / 1000)
        for one in processed:
            self._ended[one.result] += 1
            self._meter.add("deliveries", source=source.name, result=one.result.lower())
        late = {one.receipt for one in processed if one.result is DeliveryResult.DEFERRED}
        self._remember_deferred(ended, late)
        if late:
            reason = next(one.reason for one in processed if one.receipt in late)
            _log.info("deferred", source=source.name, deliveries=len(late), reason=reason)
        await self._defer_followers(
            source, {held.delivery.group for held in ended if held.delivery.receipt in late} - {""}
        )

    def _remember_deferred(self, ended: Sequence[Held], late: Collection[str]) -> None:
        for held in ended:
            name = held.delivery.name or held.delivery.receipt
            if held.delivery.receipt not in late:
                self._deferred.discard(name)
            elif len(self._deferred) < DEFERRED_MAX:
                self._deferred.add(name)
        if late:
            self._deferred_at = asyncio.get_running_loop().time()

    async def _defer_followers(self, source: Source, groups: Iterable[str]) -> None:
        """Give back what waits behind a deferred delivery of its group: it must not come first."""
        for group in groups:
            for _, held_back in self._queue.give_back(source, group):
                await self._settle(source, deferred(held_back, "an earlier one was deferred"))

    async def give_back_all(self, reason: str) -> None:
        """Defer everything that nobody began to work on."""
        for source, deliveries in self._queue.give_back():
            await self._settle(source, deferred(deliveries, reason))

    async def _isolate(self, batch: Batch, error: Exception) -> None:
        """Try each delivery of a failed batch alone, in order.

        Raises:
            Exception: That which nobody expected, once it hits whatever is tried.
        """
        source, is_alone = batch.source, len(batch.deliveries) == 1
        failed: set[str] = set()
        for delivery in self._in_hand(batch):
            if self._is_open():
                await self._settle(source, deferred([delivery], BREAKER_OPEN))
                continue
            if delivery.group and delivery.group in failed:
                await self._settle(source, deferred([delivery], _explain(error)))
                continue
            again = error if is_alone else await self._try(source, [delivery])
            if again is None or await self._put_aside(source, delivery, again):
                continue
            failed.add(delivery.group)
            await self._settle(source, deferred([delivery], _explain(again)))

    async def _put_aside(self, source: Source, delivery: Delivery, error: Exception) -> bool:
        """Put a delivery aside that failed alone, if it is never to be booked."""
        if not self._isolation.gives_up(delivery, error):
            return False
        try:
            ended = await put_aside(self._books, delivery, error)
        except (ConfigurationError, TransientError):
            raise
        except Exception as again:  # noqa: BLE001 - it is tried once more, later
            self._meter.add("batches_failed")
            said = {"source": source.name, "delivery": delivery.name}
            _log.error("cannot put aside", exc_info=again, **said)
            return False
        name, reason = delivery.name, type(error).__name__
        _log.error("a delivery is put aside", source=source.name, delivery=name, reason=reason)
        opened = self._measure(Step([ended], Figures(records=1, quarantined=1)))
        await self._settle(source, [ended])
        if opened:
            await self.give_back_all(BREAKER_OPEN)
        return True

    async def probe(self) -> None:
        """Ask the ledger whether it answers again, if nothing is left that would tell."""
        if len(self._holdings) or not (self._books.fault or self._health.is_failing):
            return
        try:
            await self._books.probe()
        except (ConfigurationError, TransientError) as error:
            self._health.not_committed(asyncio.get_running_loop().time(), str(error))
        else:
            self._failures = 0
            self._health.committed()

    async def _pause(self) -> None:
        """Wait a while that grows for as long as nothing can be committed."""
        seconds = growing_seconds(PAUSE_FIRST_SECONDS, PAUSE_LAST_SECONDS, self._failures)
        self._failures += 1
        if self._deadline is None:
            await asyncio.sleep(seconds)


def _explain(error: Exception) -> str:
    return f"{type(error).__name__}, which nobody expected; see the worker's log"
