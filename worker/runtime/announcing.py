"""Announcing what was written down, on its own: nothing here ever holds up booking.

The bus has rounds of its own, and so has each channel for people: one that is down holds up
nothing else, neither readiness nor the end of the worker.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

from worker.ports import Notice
from worker.runtime.health import Health
from worker.runtime.pauses import growing_seconds
from worker.runtime.rounds import Announced, Announces, Rounds
from worker.telemetry import Meter, measure_announced, measure_told

ROUND_SECONDS: Final = 3.0
"""How often the outbox is looked through when nothing was written down by this worker."""
BACKOFF_LAST_SECONDS: Final = 30.0

__all__ = ["Announces", "Announcing"]


class Announcing:
    """The loops of the announcers, and of looking at all budgets.

    Args:
        announcer: Announces on the bus; None where somebody else does.
        health: Is told when something cannot be announced on the bus.
        meter: Measures.
        tellers: Tell people, by the name of their channel.
    """

    def __init__(
        self,
        *,
        announcer: Announces | None,
        health: Health,
        meter: Meter,
        tellers: Mapping[str, Announces] | None = None,
    ) -> None:
        """Announce nothing yet."""
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
