"""Booking the deliveries of an invocation: in slices, for as long as there is time."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Final

from handlers.runtime import LOGGER, METER, DeferredError, Invocation
from worker.adapters.clock import SystemClock
from worker.bootstrap import Booking
from worker.core.errors import ConfigurationError, TransientError
from worker.core.results import DeliveryResult
from worker.pipeline import Figures, Step, put_aside
from worker.ports import Delivery, Processed
from worker.telemetry import MetricName, measure_commit

SLICE_BYTES: Final = 1_000_000
"""Bodies' bytes that are booked together at most, one larger body excepted: what is compressed in
them may be ten times as much, and what is booked before the deadline is worth the more, the
smaller the slice."""

MS_PER_ATTEMPT: Final = 60_000
ATTEMPTS_GUESSED_MAX: Final = 50
"""No guess is higher: a backlog is old, though nothing in it was ever tried."""

OUT_OF_TIME: Final = "out of time"

_CLOCK: Final = SystemClock()


async def book(
    invocation: Invocation, deliveries: Sequence[Delivery], *, stop_early: bool = False
) -> list[str]:
    """Book deliveries; each is looked at once, however often it is in the batch.

    Args:
        invocation: Says how much time there is.
        deliveries: In their order, each receipt naming one.
        stop_early: Begin nothing more after the first slice that cannot be finished.

    Returns:
        Receipts of those that must come again, in order: deferred ones, and ones that there was
        no time for.

    Raises:
        LedgerockError: Nothing can be said of any of them; all must come again.
        Exception: One that nobody expected, likewise. A batch of which only some deliveries fail
            raises nothing: those come again, or are put aside once they will never be booked.
    """
    booking = await invocation.open()
    with _requests_measured(booking):
        return await _book(invocation, booking, deliveries, stop_early=stop_early)


async def _book(
    invocation: Invocation, booking: Booking, deliveries: Sequence[Delivery], *, stop_early: bool
) -> list[str]:
    work = _Work(invocation, booking, deliveries, stop_early=stop_early)
    waiting = work.waiting
    for chunk in slices(list(waiting.values()), booking.settings.worker.batch_deliveries_max):
        if work.is_over:
            break
        await work.book(chunk)
    if work.failure is not None and not work.has_ended:
        raise work.failure
    if waiting:
        LOGGER.warning("deliveries must come again", count=len(waiting), reasons=work.reasons)
    return list(waiting)


class _Work:
    """What became of the deliveries of an invocation so far.

    Attributes:
        waiting: What did not end, by receipt.
        reasons: Why deliveries were deferred, and how many.
        has_ended: Whether any ended.
        failure: The last error that nobody expected, of a delivery that was tried alone.
    """

    def __init__(
        self,
        invocation: Invocation,
        booking: Booking,
        deliveries: Sequence[Delivery],
        *,
        stop_early: bool,
    ) -> None:
        self._invocation = invocation
        self._pipeline = booking.pipeline
        self._stop_early = stop_early
        self._deliveries = {one.receipt: one for one in deliveries}
        self._deferred: set[str] = set()
        self.waiting = dict(self._deliveries)
        self.reasons: dict[str, int] = {}
        self.has_ended = False
        self.failure: Exception | None = None

    @property
    def is_over(self) -> bool:
        """Whether nothing more may be begun."""
        return self._invocation.is_over or (self._stop_early and bool(self.reasons))

    async def book(self, chunk: Sequence[Delivery]) -> None:
        """Book deliveries together; if they fail, each alone, in order."""
        error = await self._try(chunk)
        if error is None:
            return
        left = [one for one in chunk if one.receipt in self.waiting.keys() - self._deferred]
        if not left:
            raise error
        for delivery in left:
            if self.is_over:
                return
            again = error if len(chunk) == 1 else await self._try([delivery])
            if again is not None:
                await self._failed_alone(delivery, again)

    async def _try(self, chunk: Sequence[Delivery]) -> Exception | None:
        """Book deliveries; return an error that says something of them."""
        pipeline, deadline = self._pipeline, self._invocation.deadline
        try:
            async with aclosing(pipeline.steps(chunk, deadline=deadline)) as steps:
                async for step in steps:
                    self._take(step)
                    if self._stop_early and self.reasons:
                        break
        except (ConfigurationError, TransientError):
            raise
        except Exception as error:  # noqa: BLE001 - raised again, if nothing else ended
            return error
        return None

    async def _failed_alone(self, delivery: Delivery, error: Exception) -> None:
        """Put a delivery aside that will never be booked; any other must come again."""
        reason = type(error).__name__
        if self._invocation.isolation.gives_up(delivery, error):
            try:
                async with asyncio.timeout_at(self._invocation.deadline):
                    ended = await put_aside(self._pipeline, delivery, error)
            except (TransientError, TimeoutError) as fault:
                reason = str(fault) or OUT_OF_TIME
            else:
                LOGGER.error("delivery put aside", delivery=delivery.name, error_type=reason)
                self._take(Step([ended], Figures(records=1, quarantined=1)))
                return
        else:
            self.failure = error
        self._take(
            Step(
                [Processed(delivery.receipt, DeliveryResult.DEFERRED, 0, reason=reason)], Figures()
            )
        )

    def _take(self, step: Step) -> None:
        """Note how deliveries ended, and what was booked."""
        _measure(step, self._deliveries)
        figures = step.figures
        if figures.recorded or figures.upgraded or figures.duplicates:
            self._invocation.isolation.booked()
        for one in step.processed:
            if one.result is DeliveryResult.DEFERRED:
                self.reasons[one.reason] = self.reasons.get(one.reason, 0) + 1
                self._deferred.add(one.receipt)
            else:
                del self.waiting[one.receipt]
                self.has_ended = True


async def book_one(invocation: Invocation, delivery: Delivery) -> None:
    """Book the one delivery of an asynchronous invocation.

    Raises:
        DeferredError: It is not booked (completely). Lambda invokes again, twice by default, and
            then hands the event to the function's destination on failure, or its dead-letter
            queue (AWS documentation: "How Lambda handles errors and retries with asynchronous
            invocation"). What was booked stays booked.
    """
    if await book(invocation, [delivery]):
        raise DeferredError(f"{delivery.name} is not booked completely; it must come again")


def attempts_since(sent_at_ms: int) -> int:
    """Guess how often something was handed over that its trigger has no count of.

    Lambda takes longer and longer to come back, so this may be more than it was. It decides only
    how long an object is waited for that cannot be read, which must not be for ever.

    Args:
        sent_at_ms: When it was first there, epoch milliseconds UTC; 0 if unknown.
    """
    if not sent_at_ms:
        return 1
    guess = 1 + max(0, _CLOCK.now_ms() - sent_at_ms) // MS_PER_ATTEMPT
    return min(guess, ATTEMPTS_GUESSED_MAX)


def slices(deliveries: Sequence[Delivery], count_max: int) -> Iterator[list[Delivery]]:
    """Cut deliveries into slices of so many, and of `SLICE_BYTES` of bodies, at most."""
    chunk: list[Delivery] = []
    size = 0
    for delivery in deliveries:
        if chunk and (len(chunk) >= count_max or size + len(delivery.body) > SLICE_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(delivery)
        size += len(delivery.body)
    if chunk:
        yield chunk


@contextmanager
def _requests_measured(booking: Booking) -> Iterator[None]:
    """Count what requests to DynamoDB met with meanwhile."""
    dynamo = booking.dynamo
    if dynamo is None:
        yield
        return
    retries, conflicts, throttles = dynamo.retries, dynamo.conflicts, dynamo.throttles
    try:
        yield
    finally:
        met: dict[MetricName, int] = {
            "request_retries": dynamo.retries - retries,
            "request_conflicts": dynamo.conflicts - conflicts,
            "request_throttles": dynamo.throttles - throttles,
        }
        for name, count in met.items():
            if count:
                METER.add(name, count)


def _measure(step: Step, deliveries: dict[str, Delivery]) -> None:
    now_ms = _CLOCK.now_ms()
    measure_commit(METER, step.figures, now_ms)
    for one in step.processed:
        _measure_delivery(one, deliveries[one.receipt], now_ms)


def _measure_delivery(one: Processed, delivery: Delivery, now_ms: int) -> None:
    METER.add("deliveries", source=delivery.source, result=one.result.value.lower())
    if one.result is not DeliveryResult.DEFERRED and delivery.sent_at_ms:
        METER.observe("delivery_age_seconds", max(0, now_ms - delivery.sent_at_ms) / 1000)
