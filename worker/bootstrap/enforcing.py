"""Everything that suspends, restores and tells people, for the worker, functions and commands."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import cast

from worker.announcer import Announcer, Teller
from worker.core.agent_roles import roles_of
from worker.core.enforcement import Mode
from worker.core.registry import Registry
from worker.core.targets import Protection, of_one_life, own_patterns, targets_of
from worker.enforcer import Acts, Enforcer, Hands, Snapshots, Steps
from worker.pipeline.audit import AuditLog
from worker.pipeline.suspensions import Suspensions
from worker.ports import Channel, Clock, Enforcement, Outbox, Records, Target
from worker.settings import EnforcementSettings

IsGone = Callable[[str], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforcing:
    """What enforcement works with.

    Attributes:
        suspensions: Who is held and why.
        enforcer: Suspends and restores.
        audit: The log of every act.
    """

    suspensions: Suspensions
    enforcer: Enforcer
    audit: AuditLog

    def steps(self, clock: Clock, announcer: Announcer | None) -> Steps:
        """Return the steps of the workflows."""
        return Steps(
            suspensions=self.suspensions,
            enforcer=self.enforcer,
            clock=clock,
            announce=None if announcer is None else announcer.announce,
        )


def open_enforcing(  # noqa: PLR0913 - the ports that it needs
    settings: EnforcementSettings,
    *,
    records: Records,
    outbox: Outbox,
    clock: Clock,
    registry: Callable[[], Registry],
    stack: AsyncExitStack,
    enforcement: Enforcement | None = None,
    is_gone: IsGone,
) -> Enforcing:
    """Put enforcement together. Clients connect when they are first used.

    Args:
        settings: Who acts, and how.
        records: Keeps suspensions, snapshots and the audit log.
        outbox: Takes what has to be announced.
        clock: Ledger time.
        registry: Returns the registry in force, for the roles of agents.
        stack: Closes what is opened.
        enforcement: Acts; IAM by default.
        is_gone: Who is known to have been deleted.

    Raises:
        ConfigurationError: A role or pattern of the settings is none.
    """
    mode = cast("Mode", settings.mode)
    suspensions = Suspensions(records=records, outbox=outbox, clock=clock, mode=mode)
    audit = AuditLog(records, clock)
    acting = enforcement or open_enforcement(settings)
    stack.push_async_callback(acting.close)

    async def targets(principal: str) -> Sequence[Target]:
        known = registry()
        roles, shared = roles_of(known, principal, clock.now_ms())
        found = targets_of(principal, roles, shared)
        return of_one_life(principal, found, known.learned.incarnations)

    hands = Hands(
        enforcement=acting,
        snapshots=Snapshots(records),
        audit=audit,
        targets_of=targets,
        is_gone=is_gone,
    )
    enforcer = Enforcer(
        suspensions=suspensions, hands=hands, clock=clock, acts=cast("Acts", settings.acts)
    )
    return Enforcing(suspensions=suspensions, enforcer=enforcer, audit=audit)


def open_enforcement(settings: EnforcementSettings) -> Enforcement:
    """Open IAM, in the worker's account and through the role in others."""
    from worker.adapters.iam_clients import IamClients  # noqa: PLC0415 - half a second
    from worker.adapters.iam_enforcement import IamEnforcement  # noqa: PLC0415
    from worker.adapters.iam_requests import IamRequests  # noqa: PLC0415

    protection = Protection(settings.protected, own_patterns(settings.own_roles))
    return IamEnforcement(
        IamRequests(IamClients(settings.role, settings.account)), protection=protection
    )


def open_tellers(
    settings: EnforcementSettings,
    *,
    records: Records,
    outbox: Outbox,
    clock: Clock,
    stack: AsyncExitStack,
) -> dict[str, Teller]:
    """Open the channels through which people are told, each with a teller of its own, by name.

    Raises:
        ConfigurationError: One is not what it must be.
    """
    channels: list[Channel] = []
    if settings.sns_topic:
        from worker.adapters.sns_channel import SnsChannel  # noqa: PLC0415 - half a second

        channels.append(SnsChannel(settings.sns_topic))
    if settings.webhook_url:
        from worker.adapters.webhook_channel import WebhookChannel  # noqa: PLC0415

        channels.append(WebhookChannel(settings.webhook_url, settings.webhook_secret, clock))
    for channel in channels:
        stack.push_async_callback(channel.close)
    return {channel.name: Teller(outbox, channel, records, clock) for channel in channels}
