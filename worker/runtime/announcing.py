"""Announcing what was written down, on its own: nothing here ever holds up booking.

The bus has rounds of its own, and so has each channel for people: one that is down holds up
nothing else, neither readiness nor the end of the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog

from worker.core.errors import ConfigurationError, TransientError
from worker.ports import Notice
from worker.runtime.health import Health
from worker.runtime.pauses import growing_seconds
from worker.runtime.rounds import UNEXPECTED_MAX, Announced, Announces, Rounds
from worker.telemetry import Meter, measure_announced, measure_told

ROUND_SECONDS: Final = 3.0
"""How often the outbox is looked through when nothing was written down by this worker."""
BACKOFF_LAST_SECONDS: Final = 30.0
LOOK_AT_ALL_SECONDS: Final = 300.0

__all__ = ["Announces", "Announcing", "LookAtAll"]

_log = structlog.get_logger("worker.runtime.announcing")

LookAtAll = Callable[[], Awaitable[Sequence[Notice]]]
"""Looks at all budgets; see `worker.pipeline.budgets.BudgetWatch`."""


class Announcing:
    """The loops of the announcers, and of looking at all budgets.

    Args:
        announcer: Announces on the bus; None where somebody else does.
        look_at_all: Finds what no commit will: budgets made or periods begun meanwhile.
        health: Is told when something cannot be announced on the bus.
        meter: Measures.
        tellers: Tell people, by the name of their channel.
    """

    def __init__(
        self,
        *,
        announcer: Announces | None,
        look_at_all: LookAtAll | None,
        health: Health,
        meter: Meter,
        tellers: Mapping[str, Announces] | None = None,
    ) -> None:
        """Announce nothing yet."""
        self._look_at_all = look_at_all
        self._health = health
        self._meter = meter
        self._bus = Rounds(
            announcer,
            part="announcing",
            pause_seconds=_pause_seconds,
            measure=self._measure,
            report=partial(health.warning, "announcing"),
        )
        self._channels = {
            name: Rounds(
                teller,
                part=f"telling {name}",
                pause_seconds=_pause_seconds,
                measure=partial(self._measure_told, name),
                report=_report_nobody,
            )
            for name, teller in (tellers or {}).items()
        }
        self._unexpected = 0
        self.has_looked = look_at_all is None
        """Whether all budgets have been looked at since the start."""

    def tell(self, notices: Sequence[Notice]) -> None:
        """Announce these at once: they were written down just now."""
        by_channel: dict[str, list[Notice]] = {}
        for notice in notices:
            by_channel.setdefault(notice.channel, []).append(notice)
        for channel, some in by_channel.items():
            rounds = self._channels.get(channel) if channel else self._bus
            if rounds is not None:
                rounds.tell(some)

    def end(self) -> None:
        """Have `run` end after one more look at everything."""
        self._bus.end()

    async def run(self) -> None:
        """Announce what this worker writes down at once, and what else is due every few seconds.

        At the end the bus comes first, for what it takes makes messages for people; a channel
        whose last look failed is not asked once more.

        Raises:
            ExceptionGroup: Of what nobody expected, once it ended several looks in succession.
        """
        async with asyncio.TaskGroup() as group:
            for rounds in self._channels.values():
                group.create_task(rounds.run(insists=False))
            await self._bus.run()
            for rounds in self._channels.values():
                rounds.end()

    async def announce_due(self) -> bool:
        """Announce everything that is due; return whether nothing is left.

        What a channel that fails did not take is left for later, and counts for nothing here.
        """
        is_well = await self._bus.announce_due()
        for rounds in self._channels.values():
            await rounds.safely(rounds.announce_due)
            is_well = is_well and (rounds.is_failing or not rounds.is_cut)
        return is_well

    async def keep_looking(self) -> None:
        """Look at all budgets at once and from time to time, until cancelled."""
        while self._look_at_all is not None:
            if await self._look_safely(self._look_at_all):
                self.has_looked = True
            await asyncio.sleep(LOOK_AT_ALL_SECONDS if self.has_looked else ROUND_SECONDS)

    async def _look_safely(self, look_at_all: LookAtAll) -> bool:
        """Look at all budgets; return whether that did not fail."""
        try:
            await look_at_all()
        except (TransientError, ConfigurationError) as error:
            self._health.warning("budgets", str(error))
            _log.warning("looking at budgets failed", error=str(error))
        except Exception:
            self._unexpected += 1
            _log.exception("an error nobody expected", part="budgets", times=self._unexpected)
            if self._unexpected >= UNEXPECTED_MAX:
                raise
        else:
            self._unexpected = 0
            self._health.warning("budgets", None)
            return True
        return False

    def _measure(self, done: Announced, is_of_all: bool) -> None:  # noqa: FBT001 - of a callback
        measure_announced(self._meter, done, is_of_all=is_of_all)

    def _measure_told(self, channel: str, done: Announced, is_of_all: bool) -> None:  # noqa: FBT001
        measure_told(self._meter, channel, done, is_of_all=is_of_all)


def _pause_seconds(failures: int) -> float:
    if not failures:
        return ROUND_SECONDS
    return growing_seconds(ROUND_SECONDS, BACKOFF_LAST_SECONDS, failures)


def _report_nobody(_reason: str | None) -> None:
    """Leave readiness alone: no worker is any better for a webhook that is back."""
