"""What learns of users, roles, keys and agents, and gives them budgets."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Final

from worker.bootstrap.state import State
from worker.bootstrap.tiers import open_tiers
from worker.core.directory import decode_subject
from worker.core.directory_views import TEAM_TAG, view_of
from worker.core.enforcement_names import DIRECTORY
from worker.core.errors import ConfigurationError, TransientError
from worker.core.registry import plain_id
from worker.pipeline import Pipeline
from worker.pipeline.budgets import BudgetWatch
from worker.pipeline.directory import DirectoryWatch
from worker.pipeline.found_keys import KeyWatch
from worker.pipeline.giving import TierGiver
from worker.ports import Clock, Notes, Outbox, Records, Tagging, TierSource
from worker.settings import EnforcementSettings, Settings

TEAM_TAG_NOTE: Final = "team tag"
FOR_EVER_MS: Final = 253_402_300_799_000
"""The end of the year 9999."""


async def open_directory(  # noqa: PLR0913 - the ports that it needs
    settings: Settings,
    pipeline: Pipeline,
    state: State,
    *,
    outbox: Outbox,
    clock: Clock,
    watch: BudgetWatch,
    stack: AsyncExitStack,
) -> DirectoryWatch:
    """Put the directory together; clients connect when they are first used.

    Args:
        settings: Whether agents and keys are watched, and where tiers are.
        pipeline: Its poster says who is who.
        state: Keeps what is learned, and budgets.
        outbox: Takes what is announced.
        clock: Ledger time.
        watch: Looks at budgets.
        stack: Closes what is opened.

    Tiers that cannot be read stop nothing here: whoever gives budgets says so.
    """
    enforcement = settings.enforcement
    source = open_tiers(settings)
    giver = None
    if source is not None:
        _close_with(stack, source)
        giver = TierGiver(
            source=source,
            records=state.records,
            budgets=state.budgets,
            looks=watch.looks,
            outbox=outbox,
            clock=clock,
            registry=lambda: pipeline.poster.registry,
            is_covered=watch.covers,
        )
    return DirectoryWatch(
        ledger=pipeline.ledger,
        records=state.records,
        clock=clock,
        agents=enforcement.agents,
        keys=enforcement.keys,
        team_tag=TEAM_TAG if source is None else await _team_tag(source, state.notes),
        look_later=watch.look_later,
        outbox=outbox,
        giver=giver,
        found_keys=KeyWatch(
            records=state.records,
            outbox=outbox,
            clock=clock,
            own_roles=enforcement.own_roles,
            tagging=_tagging(enforcement, stack),
        ),
    )


async def is_gone(records: Records, principal: str) -> bool:
    """Whether a user, role or agent is known to have been deleted.

    Args:
        records: What is known.
        principal: Its id; of one that was made again under a name, with its unique id.
    """
    subject = plain_id(principal)
    record = await records.get(DIRECTORY, subject)
    if record is None:
        return False
    return not view_of(decode_subject(subject, record.body)).is_alive(principal)


async def _team_tag(source: TierSource, notes: Notes) -> str:
    """Return the tag that names teams; while tiers cannot be read, the one that they last named.

    Calls go on being booked, and to the same teams as before.
    """
    known = await notes.get(TEAM_TAG_NOTE)
    try:
        tag = (await source.tiers()).team_tag
    except (ConfigurationError, TransientError):
        return known or TEAM_TAG
    if tag != (known or TEAM_TAG):
        await notes.put(TEAM_TAG_NOTE, tag, keep_until_ms=FOR_EVER_MS)
    return tag


def _tagging(settings: EnforcementSettings, stack: AsyncExitStack) -> Tagging | None:
    """Open the tags of IAM: only where keys are watched, and somebody may change IAM at all."""
    if not settings.keys or settings.acts == "off":
        return None
    from worker.adapters.iam_clients import IamClients  # noqa: PLC0415 - half a second
    from worker.adapters.iam_tagging import IamTagging  # noqa: PLC0415

    tagging = IamTagging(IamClients(settings.role, settings.account))
    stack.push_async_callback(tagging.close)
    return tagging


def _close_with(stack: AsyncExitStack, source: TierSource) -> None:
    close = getattr(source, "close", None)
    if close is not None:
        stack.push_async_callback(close)
