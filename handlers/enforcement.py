"""The tasks of the suspension and restoration workflows: Step Functions invokes this.

It answers plain JSON, and raises what failed by its name, which is what the workflows'
definitions (`infra.workflows`) tell errors by. Nothing is ever answered as if it had been done.
"""

import asyncio
from typing import Any, Final

from handlers.runtime import METER, Answer, DeferredError, Event, Invocation, handler_of
from worker.telemetry import measure_enforced

STANDING_DOWN: Final[dict[str, Any]] = {
    "decision": "stand_down",
    "deadline": "1970-01-01T00:00:00.000Z",
    "work": {"reason": "LEDGEROCK_ENFORCEMENT is not workflows: somebody else acts, or nobody"},
}
"""What every step is answered where workflows do not act; no execution succeeds by it."""


async def _work(event: Event, invocation: Invocation) -> Answer:
    """Do one step.

    Raises:
        DeferredError: There was no time for it; doing it again is safe.
        LedgerockError: What the step raises.
    """
    booking = await invocation.open()
    if booking.workflow is None:
        return STANDING_DOWN
    try:
        async with asyncio.timeout_at(invocation.deadline):
            return await booking.workflow.answer(event)
    except TimeoutError as error:
        raise DeferredError("out of time; the step is done again") from error
    finally:
        measure_enforced(METER, booking.workflow.take_figures())


handler = handler_of(_work)
