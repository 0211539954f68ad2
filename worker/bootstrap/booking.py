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
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.objects import ObjectBooks
from worker.pipeline.profiles import ProfileWatch
from worker.pipeline.usage import UsageWatch
from worker.ports import Clock, ObjectReader, ProfileSource
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
    enforcing: Enforcing
    state: State
    outbox: TellingOutbox
    settings: Settings
    dynamo: Dynamo | None
    workflow: WorkflowSteps | None = None


@asynccontextmanager
async def open_booking(settings: Settings) -> AsyncIterator[Booking]:
    """Put together what the container worker and the functions share; close it afterwards.

    Clients connect when they are first used; DynamoDB is reached by one for everything.

    Args:
        settings: Which ledger, prices, registry, quarantine and bus.

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
        poster = with_profiles(make_poster(settings), await state.profiles.profiles())
        outbox = TellingOutbox(state.outbox)
        usage = UsageWatch(outbox=outbox, clock=clock)
        budgets = BudgetWatch(
            ledger=ledger,
            budgets=state.budgets,
            outbox=outbox,
            records=state.records,
            clock=clock,
            registry=lambda: pipeline.poster.registry,
        )
        pipeline = Pipeline(
            ledger=ledger,
            budgets=budgets,
            quarantine=_closed_by(stack, open_quarantine(settings)),
            decoder=Decoder(),
            poster=poster,
            usage=usage,
            profiles=ProfileWatch(
                ledger=ledger,
                store=state.profiles,
                source=_profile_source(settings, stack),
                look_later=budgets.look_later,
            ),
            objects=ObjectBooks(
                reader=_object_reader(stack),
                notes=state.notes,
                clock=clock,
                quarantine_place=settings.quarantine_place,
            ),
        )
        pipeline.directory = await open_directory(
            settings, pipeline, state, outbox=outbox, clock=clock, watch=budgets, stack=stack
        )
        enforcing = open_enforcing(
            settings.enforcement,
            records=state.records,
            outbox=outbox,
            clock=clock,
            registry=lambda: pipeline.poster.registry,
            stack=stack,
            is_gone=lambda subject: is_gone(state.records, subject),
        )
        monitor = Monitor(
            budgets=state.budgets,
            watch=budgets,
            holds=enforcing.suspensions,
            outbox=outbox,
            clock=clock,
            registry=lambda: pipeline.poster.registry,
        )
        tellers = open_tellers(
            settings.enforcement, records=state.records, outbox=outbox, clock=clock, stack=stack
        )
        bus = open_bus(settings) or (SilentBus() if tellers else None)
        announcer = None
        if bus is not None:
            stack.push_async_callback(bus.close)
            announcer = make_announcer(
                settings.enforcement,
                outbox=outbox,
                bus=bus,
                clock=clock,
                ledger=ledger,
                usage=usage,
            )
        yield Booking(
            pipeline=pipeline,
            budgets=budgets,
            announcer=announcer,
            tellers=tellers,
            monitor=monitor,
            enforcing=enforcing,
            workflow=_workflow(settings, enforcing, monitor, state, clock, announcer),
            state=state,
            outbox=outbox,
            settings=settings,
            dynamo=dynamo,
        )


def _workflow(
    settings: Settings,
    enforcing: Enforcing,
    monitor: Monitor,
    state: State,
    clock: Clock,
    announcer: Announcer | None,
) -> WorkflowSteps | None:
    if settings.enforcement.acts != "workflows":
        return None
    return WorkflowSteps(
        steps=enforcing.steps(clock, announcer),
        budgets=state.budgets,
        records=state.records,
        clock=clock,
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
