"""From events to notices: what the outbox keeps of them."""

from __future__ import annotations

import msgspec

from worker.core.events import Event
from worker.ports import Notice, NoticeState


def notice_of(
    event: Event, recorded_at_ms: int, *, due_at_ms: int = 0, state: NoticeState = "pending"
) -> Notice:
    """Return the notice of an event.

    Args:
        event: To be announced, or only kept where `state` says so.
        recorded_at_ms: Ledger time, epoch milliseconds UTC.
        due_at_ms: Not announced before; by default at once, and before everything with a time.
        state: `pending`, or `late` for what nobody acts on.
    """
    return Notice(
        id=event.id,
        detail_type=event.detail_type,
        subject=event.subject,
        detail=msgspec.Raw(event.detail),
        state=state,
        recorded_at_ms=recorded_at_ms,
        due_at_ms=due_at_ms,
    )
