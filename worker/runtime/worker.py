"""The worker: its tasks, how it starts, how it drains and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import structlog

from worker.core.errors import ConfigurationError, LedgerockError, TransientError
from worker.ports import Clock, Source, Stream
from worker.runtime.announcing import Announces, Announcing
from worker.runtime.batching import BatchQueue
from worker.runtime.breaker import Breaker
from worker.runtime.crew import Crew, first_cause
from worker.runtime.health import Health
from worker.runtime.heartbeat import keep_extending
from worker.runtime.holding import Holdings
from worker.runtime.http import make_application, served
from worker.runtime.metrics import WorkerMeter
from worker.runtime.monitoring import Monitoring, Part
from worker.runtime.receiving import Receiving
from worker.runtime.working import STOPPING, Books, Working
from worker.settings import WorkerSettings
from worker.telemetry import RequestCounts

DONE: Final = 0
FAILED: Final = 1
"""Exit codes: drained, or something was left unsettled, which comes again."""

BOOKING_SHARE: Final = 0.75
"""Share of the time for draining that is for booking; the rest is for settling and closing."""
LOOK_SECONDS: Final = 0.2
PROBE_SECONDS: Final = 5.0
"""How often a ledger that failed is asked whether it answers again, while there is no work."""
METRICS_SECONDS: Final = 60.0
"""How often metrics are printed: CloudWatch keeps one value for each minute."""
CLOSE_SECONDS: Final = 3.0
BURST_PATIENCE_SECONDS: Final = 60.0
"""How long a burst waits at most for what it deferred to come again."""

_log = structlog.get_logger("worker.runtime")


class PoisonedError(LedgerockError):
    """A burst met little but records that cannot be understood."""


class Worker:
    """A container worker. `run` it once.

    Args:
        books: Books deliveries.
        sources: Where they come from.
        settings: How to work.
        clock: Ledger time.
        announcer: Announces what was written down; None where somebody else does.
        tellers: Tell people of it, by the name of their channel.
        due: Does what is due besides booking, by name, in this order; see `Monitoring`.
        due_seconds: How often.
        check: Raises if the ledger cannot be used; called at the start.
        requests: Counts requests to DynamoDB.
        burst: End as soon as nothing is left to do.
    """

    def __init__(  # noqa: PLR0913 - what it works with
        self,
        *,
        books: Books,
        sources: Sequence[Source],
        settings: WorkerSettings,
        clock: Clock,
        announcer: Announces | None = None,
        tellers: Mapping[str, Announces] | None = None,
        due: Mapping[str, Part] | None = None,
        due_seconds: float = 5.0,
        check: Callable[[], Awaitable[object]] | None = None,
        requests: Sequence[RequestCounts] = (),
        burst: bool = False,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self._sources = tuple(sources)
        self._settings = settings
        self._clock = clock
        self._check = check
        self._burst = burst
        self.meter = WorkerMeter(settings, requests)
        self.breaker = Breaker()
        in_hand = settings.batches_in_flight + 1
        self.holdings = Holdings(
            deliveries_max=in_hand * settings.batch_deliveries_max,
            bytes_max=in_hand * settings.batch_bytes_max,
        )
        self.health = Health(
            breaker=self.breaker,
            holdings=self.holdings,
            sources=tuple(source.name for source in sources),
            lag_seconds_max=settings.lag_seconds_max,
            streams=[source for source in sources if isinstance(source, Stream)],
        )
        self.queue = BatchQueue(
            sources,
            deliveries_max=settings.batch_deliveries_max,
            bytes_max=settings.batch_bytes_max,
            linger_seconds=settings.linger_ms / 1000,
        )
        self._receiving = Receiving(
            queue=self.queue,
            holdings=self.holdings,
            breaker=self.breaker,
            health=self.health,
            meter=self.meter,
            clock=clock,
            fail_early=burst,
        )
        self.working = Working(
            books=books,
            queue=self.queue,
            holdings=self.holdings,
            breaker=self.breaker,
            health=self.health,
            meter=self.meter,
            clock=clock,
            batches_in_flight=settings.batches_in_flight,
        )
        self.announcing = Announcing(
            announcer=announcer, tellers=tellers, health=self.health, meter=self.meter
        )
        self.monitoring = Monitoring(due or {}, seconds=due_seconds, health=self.health)
        self._crew = Crew()
        self._stopping = asyncio.Event()
        self._forced = asyncio.Event()

    # --- What is seen from outside ------------------------------------------------------------

    def stop(self, why: str = "asked to") -> None:
        """Stop receiving, drain and end; asked a second time, end at once."""
        if self._stopping.is_set():
            _log.warning("ending at once", why=why)
            self._forced.set()
        else:
            _log.info("stopping", why=why, in_hand=len(self.holdings))
            self._stopping.set()

    def unhealthy(self) -> list[str]:
        """Return why the worker is not well; nothing if it is."""
        return self.health.unhealthy(asyncio.get_running_loop().time())

    def unready(self) -> list[str]:
        """Return why the worker is not ready; nothing if it is."""
        return self.health.unready(asyncio.get_running_loop().time(), self._clock.now_ms())

    def metrics(self) -> bytes | None:
        """Return the metrics in Prometheus' text format; None if they are not kept for it."""
        if self.meter.prometheus is None:
            return None
        self._look_at_metrics()
        return self.meter.prometheus.text()

    def print_metrics(self) -> None:
        """Print what was measured since it was printed last, if it is to be printed."""
        if self.meter.embedded is None:
            return
        self._look_at_metrics()
        try:
            self.meter.embedded.print(self._clock.now_ms())
        except OSError as error:
            _log.warning("metrics cannot be printed", error=str(error))

    def _look_at_metrics(self) -> None:
        """Measure what is only measured when somebody looks."""
        self.meter.follow_requests()
        state = self.breaker.state(asyncio.get_running_loop().time())
        self.meter.set("breaker_open", {"closed": 0.0, "half-open": 0.5, "open": 1.0}[state])
        self.meter.set("quarantined_share", self.breaker.share)
        self.meter.set("deliveries_in_flight", len(self.holdings))
        for source, behind in self.health.behind_seconds().items():
            self.meter.set("source_behind_seconds", behind, source=source)

    # --- Its life -----------------------------------------------------------------------------

    async def run(self) -> int:
        """Work until told to stop, or in a burst until nothing is left; return the exit code.

        Raises:
            ConfigurationError: The ledger or a source cannot be used at all.
        """
        application = make_application(
            unhealthy=self.unhealthy, unready=self.unready, metrics=self.metrics
        )
        async with served(application, self._settings.http_port):
            try:
                return await self._live()
            finally:
                self.print_metrics()

    async def _live(self) -> int:
        try:
            await self._begin()
            await self._crew.until(self._stopping)
            return await self._drain()
        except ConfigurationError:
            await self._abandon()
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the process must end
            _log.critical("the worker fails", exc_info=first_cause(error))
            await self._abandon()
            return FAILED
        except BaseException:
            await self._abandon()
            raise

    async def _begin(self) -> None:
        if self._check is not None:
            try:
                await self._check()
            except TransientError as error:
                _log.warning("the ledger cannot be reached yet", error=str(error))
        start = self._crew.start
        start("working", self.working.run())
        start("announcing", self.announcing.run())
        start("doing what is due", self.monitoring.run())
        start("probing", self._probing())
        start("printing metrics", self._printing_metrics())
        for source in self._sources:
            name = source.name
            receivers = 1 if name.startswith("kinesis:") else self._settings.receivers
            for number in range(receivers):
                start(f"receiver {number} of {name}", self._receiving.receive_from(source))
            start(f"reaching {name}", self._reach(source))
            beat = keep_extending(
                source,
                self.holdings,
                self.health,
                visibility_seconds=self._settings.visibility_seconds,
            )
            start(f"heartbeat of {name}", beat)
        if self._burst:
            start("burst", self._until_nothing_is_left())

    async def _probing(self) -> None:
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            await self.working.probe()

    async def _printing_metrics(self) -> None:
        while True:
            await asyncio.sleep(METRICS_SECONDS)
            self.print_metrics()

    async def _reach(self, source: Source) -> None:
        """Note early that a source is reached: a poll of a quiet one takes long to say so."""
        try:
            await source.is_drained()
            self._receiving.note(source)
        except (TransientError, ConfigurationError):
            pass  # the receivers meet it as well, and say what it is
        await asyncio.Event().wait()

    async def _until_nothing_is_left(self) -> None:
        """Stop the worker once nothing is left to receive, to book or to announce."""
        loop = asyncio.get_running_loop()
        while not await self._is_finished(loop.time()):
            if self.breaker.state(loop.time()) != "closed":
                message = "the breaker opened: most records are quarantined; see `quarantine list`"
                raise PoisonedError(message)
            await asyncio.sleep(LOOK_SECONDS)
        self.stop("nothing is left")
        await asyncio.Event().wait()

    async def _is_finished(self, now: float) -> bool:
        if len(self.holdings):
            return False
        if self.working.awaits_deferred(now, BURST_PATIENCE_SECONDS):
            return False
        received = self.holdings.received
        try:
            drained = [await source.is_drained() for source in self._sources]
        except TransientError:
            return False
        if not all(drained):
            return False
        # What a poll was handed before the source was asked may still be on its way here.
        await asyncio.sleep(LOOK_SECONDS)
        if len(self.holdings) or self.holdings.received != received:
            return False
        try:
            if await self.monitoring.run_once():
                return False
            return await self.announcing.announce_due()
        except TransientError:
            return False

    async def _drain(self) -> int:
        """Finish or defer what is in hand, announce, close; return the exit code."""
        loop = asyncio.get_running_loop()
        self.health.is_stopping = True
        begun, seconds = loop.time(), self._settings.drain_seconds
        receivers = self._crew.names(("receiver ", "reaching ", "burst", "doing "))
        expired = asyncio.Event()
        timer = loop.call_at(begun + seconds, expired.set)
        try:
            await self._crew.dismiss(receivers)
            self.working.stop_by(begun + BOOKING_SHARE * seconds)
            self.queue.finish()
            await self._crew.until(self._forced, expired, may_end="working")
            if self._forced.is_set() or expired.is_set():
                return await self._give_up()
            await self.working.give_back_all(STOPPING)
            await self._crew.dismiss([*self._crew.names(("heartbeat ",)), "working"])
            self._crew.start("closing", self._close_sources())
            await self._crew.until(self._forced, expired, may_end="closing")
            await self._crew.dismiss(["closing"])
            self.announcing.end()
            await self._crew.until(self._forced, expired, may_end="announcing")
            if self._forced.is_set() or expired.is_set():
                return await self._give_up()
        finally:
            timer.cancel()
        await self._crew.dismiss()
        _log.info("stopped", seconds=round(loop.time() - begun, 3), **self.working.totals())
        return DONE

    async def _give_up(self) -> int:
        _log.error("not drained in time: the rest comes again", in_hand=len(self.holdings))
        await self._abandon()
        return FAILED

    async def _abandon(self) -> None:
        """End everything where it stands."""
        await self._crew.dismiss()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._close_sources()
        except (TimeoutError, LedgerockError) as error:
            _log.warning("sources were not closed", error=str(error))

    async def _close_sources(self) -> None:
        await asyncio.gather(*(source.close() for source in self._sources))
