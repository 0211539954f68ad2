"""What a replay does about budgets: most of the time nothing, and never without being asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from worker.adapters.clock import SystemClock
from worker.adapters.memory_records import MemoryRecords
from worker.adapters.memory_state import MemoryProfiles
from worker.announcer import Announced, Announcer
from worker.bootstrap import State, make_announcer, open_bus, open_state, team_tag
from worker.core.errors import ConfigurationError, TransientError
from worker.core.ledger import Leaf
from worker.pipeline import Pipeline
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.changes import LookLater
from worker.pipeline.directory import DirectoryWatch
from worker.pipeline.profiles import ProfileWatch
from worker.ports import Notice, Records
from worker.settings import Settings

LOOK_ATTEMPTS: Final = 5
RETRY_SECONDS: Final = 0.5


class PatientWatch(BudgetWatch):
    """Looks again after passing faults.

    A replay books again what failed. Were it to do so only because a look failed, after the
    calls were booked, it would tell of duplicates where it had booked something.
    """

    async def look(
        self, leaves: Iterable[Leaf], spending: Collection[Leaf] | None = None
    ) -> list[Notice]:
        """Evaluate the budgets of the leaves' scopes; see `BudgetWatch`."""
        touched = set(leaves)
        for attempt in range(1, LOOK_ATTEMPTS):
            try:
                return await super().look(touched, spending)
            except TransientError:
                await asyncio.sleep(RETRY_SECONDS * attempt)
        return await super().look(touched, spending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Watching:
    """What follows from a replay's bookings.

    Attributes:
        announcer: Announces what was written down; None where that was not asked for.
    """

    announcer: Announcer | None = None

    async def announce(self) -> Announced:
        """Announce what is due, once everything is booked."""
        return Announced() if self.announcer is None else await self.announcer.announce_due()


@asynccontextmanager
async def watching(
    settings: Settings, pipeline: Pipeline, *, announce: bool
) -> AsyncIterator[Watching]:
    """Have a pipeline look at budgets, if there are any.

    Without `announce` only crossings of closed periods are written down, as late, which nobody
    ever acts on. Those of open periods are left to the worker, which is asked to look: old logs
    that are booked by hand must not set anything off.

    Raises:
        ConfigurationError: There is nothing to announce on, or no ledger that keeps budgets.
    """
    if not settings.is_kept:
        if announce:
            message = f"--announce: --ledger {settings.ledger} keeps no budgets; name one that does"
            raise ConfigurationError(message)
        pipeline.profiles = ProfileWatch(
            ledger=pipeline.ledger, store=MemoryProfiles(), at_end=True
        )
        await _learning(settings, pipeline, MemoryRecords())
        yield Watching()
        return
    async with AsyncExitStack() as stack:
        state = open_state(settings)
        stack.push_async_callback(state.close)
        look_later = None
        if await _has_budgets(state):
            pipeline.budgets = PatientWatch(
                ledger=pipeline.ledger,
                budgets=state.budgets,
                outbox=state.outbox,
                records=state.records,
                clock=SystemClock(),
                registry=lambda: pipeline.poster.registry,
                late_only=not announce,
            )
            look_later = pipeline.budgets.look_later
        await _learning(settings, pipeline, state.records, look_later)
        # The decoders know nothing of profiles that were learned of: that is made good at the end.
        pipeline.profiles = ProfileWatch(
            ledger=pipeline.ledger, store=state.profiles, at_end=True, look_later=look_later
        )
        if not announce:
            yield Watching()
            return
        bus = open_bus(settings)
        if bus is None:
            message = (
                "--announce: there is no bus to announce on; name one with LEDGEROCK_BUS, an "
                "EventBridge bus or a file such as file:events.jsonl"
            )
            raise ConfigurationError(message)
        stack.push_async_callback(bus.close)
        announcer = make_announcer(
            settings.enforcement,
            outbox=state.outbox,
            bus=bus,
            clock=SystemClock(),
            ledger=pipeline.ledger,
            records=state.records,
        )
        yield Watching(announcer=announcer)


async def _learning(
    settings: Settings, pipeline: Pipeline, records: Records, look_later: LookLater | None = None
) -> None:
    """Have a pipeline learn of users, roles and agents; calls are moved once all are booked."""
    enforcement = settings.enforcement
    pipeline.directory = DirectoryWatch(
        ledger=pipeline.ledger,
        records=records,
        clock=SystemClock(),
        agents=enforcement.agents,
        keys=enforcement.keys,
        team_tag=await team_tag(settings),
        look_later=look_later,
        at_end=True,
    )
    pipeline.poster = await pipeline.directory.load(pipeline.poster)


async def _has_budgets(state: State) -> bool:
    return any(not budget.is_removed for budget in await state.budgets.budgets())
