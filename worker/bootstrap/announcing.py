"""The announcer as the settings want it: whatever announces, makes the same copies for people."""

from __future__ import annotations

from functools import partial

from worker.announcer import Announcer
from worker.core.people import is_told, is_told_by_hand
from worker.pipeline.budget_states import is_in_grace
from worker.pipeline.usage import UsageWatch
from worker.ports import Clock, EventBus, Ledger, Outbox, Records
from worker.settings import EnforcementSettings


def make_announcer(  # noqa: PLR0913 - what it is put together from
    settings: EnforcementSettings,
    *,
    outbox: Outbox,
    bus: EventBus,
    clock: Clock,
    ledger: Ledger | None = None,
    usage: UsageWatch | None = None,
    records: Records | None = None,
) -> Announcer:
    """Make an announcer that writes down copies for the channels that are set.

    Commands announce as well, and what they announce is settled for everybody: people hear of it
    only through copies that they leave. Whoever works with the outbox next tells them.

    Args:
        settings: Which channels there are; and whether anybody but people acts.
        outbox: What waits to be announced.
        bus: Where it is announced.
        clock: Ledger time.
        ledger: Counts again what usage is not charged.
        usage: Counts what this process quarantined.
        records: Say which grace periods are over, and announced to nobody.
    """
    return Announcer(
        outbox,
        bus,
        clock,
        ledger,
        usage=usage,
        channels=channels_of(settings),
        hears=is_told_by_hand if settings.acts == "off" else is_told,
        in_grace=None if records is None else partial(is_in_grace, records),
    )


def channels_of(settings: EnforcementSettings) -> tuple[str, ...]:
    """Return the names of the channels that are set."""
    named = {"sns": settings.sns_topic, "webhook": settings.webhook_url}
    return tuple(name for name, is_set in named.items() if is_set)
