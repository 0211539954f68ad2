"""Everything that books deliveries, without any source."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from worker.adapters.clock import SystemClock
from worker.adapters.silent_bus import SilentBus
from worker.adapters.telling_outbox import TellingOutbox
from worker.announcer import Announcer, Teller
from worker.bootstrap.announcing import make_announcer
from worker.bootstrap.books import open_bus, open_ledger, open_quarantine
from worker.bootstrap.directory import is_gone, open_directory
from worker.bootstrap.enforcing import Enforcing, open_enforcing, open_tellers
from worker.bootstrap.posters import make_poster, with_profiles
from worker.bootstrap.state import State, open_state
from worker.core.decoders import Decoder
from worker.enforcer.workflow import WorkflowSteps
from worker.monitor import Monitor
from worker.pipeline import Pipeline
from worker.pipeline.budget_census import BudgetCensus
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.objects import ObjectBooks
from worker.pipeline.profiles import ProfileWatch
from worker.pipeline.usage import UsageWatch
from worker.ports import Clock, Ledger, ObjectReader, ProfileSource
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.adapters.dynamodb_requests import Dynamo

_Part = TypeVar("_Part")


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """Everything that books deliveries and announces crossings, without any source.

    Attributes:
        pipeline: Books deliveries, and looks at budgets and usage.
        budgets: Looks at budgets; the pipeline's own.
        announcer: Announces what was written down; None where somebody else does.
        tellers: Tell people of it, by the name of their channel.
        monitor: Does what is due about budgets.
        census: Counts budgets by their states.
        enforcing: Suspends and restores.
        state: What is kept beside the ledger.
        outbox: The state's, able to tell what this process writes down.
        settings: What it was made from.
        dynamo: Makes all requests to DynamoDB, and counts them; None without a shared ledger.
        workflow: Answers the tasks of the workflows of suspension and restoration.
    """

    pipeline: Pipeline
    budgets: BudgetWatch
    announcer: Announcer | None
    tellers: dict[str, Teller]
    monitor: Monitor
    census: BudgetCensus
    enforcing: Enforcing
    state: State
    outbox: TellingOutbox
    settings: Settings
    dynamo: Dynamo | None
    workflow: WorkflowSteps | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What everything else stands on."""

    settings: Settings
    stack: AsyncExitStack
    clock: Clock
    ledger: Ledger
    state: State
    outbox: TellingOutbox
    usage: UsageWatch


@asynccontextmanager
async def open_booking(settings: Settings) -> AsyncIterator[Booking]:
    """Put together what the container worker and the functions share; close it afterwards.

    Clients connect when they are first used; DynamoDB is reached by one for everything.

    Args:
        settings: Which ledger, prices, registry, quarantine and bus; who enforces, and how.

    Raises:
        ConfigurationError: A setting is wrong, or something cannot be opened.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        dynamo = None
        if settings.ledger_tables is not None:
            from worker.adapters.dynamodb_requests import Dynamo  # noqa: PLC0415 - half a second

            dynamo = Dynamo()
        ledger = open_ledger(settings, dynamo=dynamo)
        stack.push_async_callback(ledger.close)
        state = open_state(settings, dynamo=dynamo)
        stack.push_async_callback(state.close)
        outbox = TellingOutbox(state.outbox)
        base = _Base(
            settings=settings,
            stack=stack,
            clock=clock,
            ledger=ledger,
            state=state,
            outbox=outbox,
            usage=UsageWatch(outbox=outbox, clock=clock),
        )
        pipeline, budgets = await _pipeline(base)
        enforcing = _enforcing(base, pipeline)
        if pipeline.directory is not None:
            pipeline.directory.agent_moved = enforcing.suspensions.look_again
        monitor = Monitor(
            budgets=state.budgets,
            watch=budgets,
            holds=enforcing.suspensions,
            outbox=outbox,
            clock=clock,
            registry=lambda: pipeline.poster.registry,
        )
        announcer, tellers = _announcers(base)
        yield Booking(
            pipeline=pipeline,
            budgets=budgets,
            announcer=announcer,
            tellers=tellers,
            monitor=monitor,
            census=BudgetCensus(watch=budgets, records=state.records, clock=clock),
            enforcing=enforcing,
            workflow=_workflow(base, enforcing, monitor, announcer),
            state=state,
            outbox=outbox,
            settings=settings,
            dynamo=dynamo,
        )


async def _pipeline(base: _Base) -> tuple[Pipeline, BudgetWatch]:
    """Put together what books, and what looks at budgets after it."""
    settings, state, stack = base.settings, base.state, base.stack
    budgets = BudgetWatch(
        ledger=base.ledger,
        budgets=state.budgets,
        outbox=base.outbox,
        records=state.records,
        clock=base.clock,
        registry=lambda: pipeline.poster.registry,
    )
    pipeline = Pipeline(
        ledger=base.ledger,
        budgets=budgets,
        quarantine=_closed_by(stack, open_quarantine(settings)),
        decoder=Decoder(),
        poster=with_profiles(make_poster(settings), await state.profiles.profiles()),
        usage=base.usage,
        profiles=ProfileWatch(
            ledger=base.ledger,
            store=state.profiles,
            source=_profile_source(settings, stack),
            look_later=budgets.look_later,
        ),
        objects=ObjectBooks(
            reader=_object_reader(stack),
            notes=state.notes,
            clock=base.clock,
            quarantine_place=settings.quarantine_place,
        ),
    )
    pipeline.directory = await open_directory(
        settings, pipeline, state, outbox=base.outbox, clock=base.clock, watch=budgets, stack=stack
    )
    return pipeline, budgets


def _enforcing(base: _Base, pipeline: Pipeline) -> Enforcing:
    records = base.state.records
    return open_enforcing(
        base.settings.enforcement,
        records=records,
        outbox=base.outbox,
        clock=base.clock,
        registry=lambda: pipeline.poster.registry,
        stack=base.stack,
        is_gone=lambda subject: is_gone(records, subject),
    )


def _announcers(base: _Base) -> tuple[Announcer | None, dict[str, Teller]]:
    """Put together who announces on the bus, and who tells people, by channel."""
    enforcement = base.settings.enforcement
    tellers = open_tellers(
        enforcement,
        records=base.state.records,
        outbox=base.outbox,
        clock=base.clock,
        stack=base.stack,
    )
    bus = open_bus(base.settings) or (SilentBus() if tellers else None)
    if bus is None:
        return None, tellers
    base.stack.push_async_callback(bus.close)
    announcer = make_announcer(
        enforcement,
        outbox=base.outbox,
        bus=bus,
        clock=base.clock,
        ledger=base.ledger,
        usage=base.usage,
        records=base.state.records,
    )
    return announcer, tellers


def _workflow(
    base: _Base, enforcing: Enforcing, monitor: Monitor, announcer: Announcer | None
) -> WorkflowSteps | None:
    if base.settings.enforcement.acts != "workflows":
        return None
    return WorkflowSteps(
        steps=enforcing.steps(base.clock, announcer),
        budgets=base.state.budgets,
        records=base.state.records,
        clock=base.clock,
        look=monitor.settle,
        notify=None if announcer is None else announcer.announce_due,
    )


def _object_reader(stack: AsyncExitStack) -> ObjectReader:
    from worker.adapters.s3_reader import S3Reader  # noqa: PLC0415 - half a second

    return _closed_by(stack, S3Reader())


def _profile_source(settings: Settings, stack: AsyncExitStack) -> ProfileSource | None:
    if not settings.worker.resolve_profiles:
        return None
    from worker.adapters.bedrock_profiles import BedrockProfiles  # noqa: PLC0415 - half a second

    return _closed_by(stack, BedrockProfiles())


def _closed_by(stack: AsyncExitStack, part: _Part) -> _Part:
    """Have a part closed with the rest, if it holds anything."""
    close = getattr(part, "close", None)
    if close is not None:
        stack.push_async_callback(close)
    return part


@asynccontextmanager
async def open_pipeline(
    settings: Settings, *, must_exist: bool = False, discard: bool = False
) -> AsyncIterator[Pipeline]:
    """Put a pipeline together, and close its ledger afterwards.

    Args:
        settings: Which ledger, prices, registry and quarantine.
        must_exist: Refuse to make a new ledger.
        discard: Keep nothing of what is booked, for dry runs.
    """
    poster = make_poster(settings)
    async with AsyncExitStack() as stack:
        ledger = open_ledger(settings, must_exist=must_exist, discard=discard)
        stack.push_async_callback(ledger.close)
        quarantine = open_quarantine(settings, discard=discard)
        stack.push_async_callback(quarantine.close)
        yield Pipeline(ledger=ledger, quarantine=quarantine, decoder=Decoder(), poster=poster)
