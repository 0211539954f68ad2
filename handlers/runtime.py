"""What all functions share: the event loop, open clients, a deadline, logs, metrics and traces.

Lambda freezes the process between invocations and may end it at any instruction. Nothing is kept
in memory that a later invocation would need: what was not reported as done comes again.
"""

import asyncio
import atexit
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import cache, wraps
from importlib import import_module
from typing import Any, Final

from aws_lambda_powertools import Logger, Tracer
from aws_lambda_powertools.utilities.typing import LambdaContext

from handlers.measures import SERVICE, EmbeddedMeter, print_cold_start
from handlers.opening import open_function
from worker.bootstrap import Booking
from worker.core.errors import LedgerockError, TransientError
from worker.pipeline import Isolation
from worker.telemetry import LOG_LEVEL_VARIABLE, explain_exception, log_level

MARGIN_SECONDS: Final = 2.0
"""Kept free at the end of an invocation, to report what was done and to print metrics."""
MARGIN_SHARE: Final = 0.2
"""The margin is at most this share of what time there is."""

SHARED: Final = (
    "bedrock_profiles",
    "dynamodb_budgets",
    "dynamodb_journal",
    "dynamodb_ledger",
    "dynamodb_notes",
    "dynamodb_outbox",
    "dynamodb_profiles",
    "dynamodb_records",
    "s3_reader",
)
"""Adapters that are otherwise imported when they are needed, half a second of it."""

Event = Any
"""Whatever Lambda was invoked with: JSON of any shape."""
Answer = dict[str, Any] | None
Opener = Callable[[], AbstractAsyncContextManager[Booking]]

LOGGER: Final = Logger(
    service=SERVICE,
    level=log_level().upper() if os.environ.get(LOG_LEVEL_VARIABLE) else None,
    utc=True,
)
METER: Final = EmbeddedMeter()


class DeferredError(TransientError):
    """An invocation could not finish what it was given; Lambda is to invoke again."""


class FailedError(LedgerockError):
    """Something happened that nobody expected; says what and where, quoting nobody's text."""


class Process:
    """One process of a function: its event loop, and what was opened on it.

    Args:
        opener: Opens what invocations work with, on the first of them.
    """

    def __init__(self, opener: Opener) -> None:
        """Open nothing yet."""
        self._opener = opener
        self._runner = asyncio.Runner()
        self._stack = AsyncExitStack()
        self._booking: Booking | None = None
        self.is_cold = True
        self.isolation = Isolation()

    def run(self, work: "Work", event: Event, context: LambdaContext) -> Answer:
        """Run one invocation to its end."""
        return self._runner.run(self._invoke(work, event, context))

    async def _invoke(self, work: "Work", event: Event, context: LambdaContext) -> Answer:
        seconds = context.get_remaining_time_in_millis() / 1000
        margin = min(MARGIN_SECONDS, seconds * MARGIN_SHARE)
        deadline = asyncio.get_running_loop().time() + seconds - margin
        return await work(event, Invocation(self, deadline, context.aws_request_id))

    async def booking(self) -> Booking:
        """Return what was opened; an invocation that fails to leaves it to the next one."""
        if self._booking is None:
            self._booking = await self._stack.enter_async_context(self._opener())
            settings = self._booking.settings
            LOGGER.info("opened", extra={"ledger": settings.ledger, "bus": settings.worker.bus})
        return self._booking

    def close(self) -> None:
        """Close what was opened; the next invocation would open it anew."""
        if self._booking is not None:
            self._booking = None
            self._runner.run(self._stack.aclose())
        self._runner.close()
        self._runner = asyncio.Runner()


class Invocation:
    """One invocation of a function.

    Attributes:
        deadline: When it must be done (time of the event loop, seconds).
        request_id: The same for each attempt at one event.
        isolation: Remembers deliveries that failed alone, across invocations.
    """

    def __init__(self, process: Process, deadline: float, request_id: str) -> None:
        """Belong to a process."""
        self._process = process
        self.deadline = deadline
        self.request_id = request_id
        self.isolation = process.isolation

    async def open(self) -> Booking:
        """Return the open pipeline and its company; they are opened once in a process.

        Raises:
            DeferredError: There was no time for it.
        """
        try:
            async with asyncio.timeout_at(self.deadline):
                return await self._process.booking()
        except TimeoutError as error:
            raise DeferredError("out of time before anything was begun") from error

    @property
    def is_over(self) -> bool:
        """Whether there is no time left to begin anything."""
        return asyncio.get_running_loop().time() >= self.deadline


Work = Callable[[Event, Invocation], Awaitable[Answer]]
Handler = Callable[[Event, LambdaContext], Answer]


def handler_of(work: Work) -> Handler:
    """Return a Lambda handler that runs `work` on the process's event loop."""

    @LOGGER.inject_lambda_context(clear_state=True)
    @wraps(work)
    def handler(event: Event, context: LambdaContext) -> Answer:
        if PROCESS.is_cold:
            PROCESS.is_cold = False
            print_cold_start(context)
        try:
            return PROCESS.run(work, event, context)
        except LedgerockError as error:
            line = {"error_type": type(error).__name__, "error": str(error)}
            LOGGER.error("invocation failed", extra=line)  # noqa: TRY400 - raised to the runtime
            raise
        except Exception as error:  # noqa: BLE001 - raised again, without what it quotes
            line = dict(explain_exception(None, "error", {"exc_info": error}))
            LOGGER.error("invocation failed", extra=line)  # noqa: TRY400 - raised to the runtime
            # The runtime prints what is raised, and the message may quote what callers wrote.
            place = (line["error_at"] or ["nowhere"])[-1]
            raise FailedError(f"{type(error).__name__} at {place}") from None
        finally:
            METER.flush()

    def entry(event: Event, context: LambdaContext) -> Answer:
        if not is_traced(os.environ):
            return handler(event, context)
        traced = tracer().capture_lambda_handler(
            handler, capture_response=False, capture_error=False
        )
        answer: Answer = traced(event, context)
        return answer

    return entry


def is_traced(environment: Mapping[str, str]) -> bool:
    """Whether X-Ray wants to hear of this invocation: the tracer takes 200 ms to import."""
    return "Sampled=1" in environment.get("_X_AMZN_TRACE_ID", "")


@cache
def tracer() -> Tracer:
    """Return the tracer.

    It patches no clients: their requests are concurrent, which the SDK's subsegments, kept per
    thread, are not made for.
    """
    return Tracer(service=SERVICE, auto_patch=False)


def _open() -> AbstractAsyncContextManager[Booking]:
    return open_function(os.environ)


def _import_shared() -> None:
    """Import what a shared ledger takes: before an event, Lambda has CPU to spare."""
    for name in SHARED:
        import_module(f"worker.adapters.{name}")


if "AWS_LAMBDA_RUNTIME_API" in os.environ:
    _import_shared()
PROCESS: Final = Process(_open)
atexit.register(PROCESS.close)
