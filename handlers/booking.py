"""Booking the deliveries of an invocation: in slices, for as long as there is time."""

from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from typing import Final

from handlers.runtime import LOGGER, METER, DeferredError, Invocation
from worker.adapters.clock import SystemClock
from worker.bootstrap import Booking
from worker.core.results import DeliveryResult
from worker.pipeline import Step
from worker.ports import Delivery, Processed
from worker.telemetry import MetricName, measure_commit

SLICE_BYTES: Final = 1_000_000
"""Bodies' bytes that are booked together at most, one larger body excepted: what is compressed in
them may be ten times as much, and what is booked before the deadline is worth the more, the
smaller the slice."""

MS_PER_ATTEMPT: Final = 60_000

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
    """
    booking = await invocation.open()
    with _requests_measured(booking):
        return await _book(invocation, booking, deliveries, stop_early=stop_early)


async def _book(
    invocation: Invocation, booking: Booking, deliveries: Sequence[Delivery], *, stop_early: bool
) -> list[str]:
    waiting = {one.receipt: one for one in deliveries}
    reasons: dict[str, int] = {}
    for chunk in slices(list(waiting.values()), booking.settings.worker.batch_deliveries_max):
        if invocation.is_over:
            break
        async with aclosing(booking.pipeline.steps(chunk, deadline=invocation.deadline)) as steps:
            async for step in steps:
                _measure(step, waiting)
                for one in step.processed:
                    if one.result is DeliveryResult.DEFERRED:
                        reasons[one.reason] = reasons.get(one.reason, 0) + 1
                    else:
                        del waiting[one.receipt]
                if stop_early and reasons:
                    break
        if stop_early and reasons:
            break
    if waiting:
        LOGGER.warning("deliveries must come again", count=len(waiting), reasons=reasons)
    return list(waiting)


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
    return 1 + max(0, _CLOCK.now_ms() - sent_at_ms) // MS_PER_ATTEMPT


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
