"""Copies of notices for people: one for each channel, under ids that follow from the notice's."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from worker.ports import Notice

Hears = Callable[[str, bytes], bool]
"""Says of an event, by detail type and detail, whether people are told of it."""


def copy_id(notice_id: str, channel: str) -> str:
    """Return the id of the copy for a channel."""
    return f"{notice_id}@{channel}"


def copy_subject(subject: str, channel: str) -> str:
    """Return the subject of the copy for a channel: of its own, so that no list shows it twice."""
    return f"{channel}/{subject}"


def original_key(copy: Notice) -> tuple[str, str]:
    """Return the subject and the id of the notice that a copy was made of."""
    subject = copy.subject.removeprefix(f"{copy.channel}/")
    return subject, copy.id.removesuffix(f"@{copy.channel}")


def copies_of(notice: Notice, detail: bytes, at_ms: int, channels: Sequence[str]) -> list[Notice]:
    """Return the copies of a notice that the bus took.

    Args:
        notice: As it was written down.
        detail: As it was announced.
        at_ms: When it was, epoch milliseconds UTC; people are told in that order.
        channels: Whom it is for.
    """
    return [
        Notice(
            id=copy_id(notice.id, channel),
            detail_type=notice.detail_type,
            subject=copy_subject(notice.subject, channel),
            detail=msgspec.Raw(detail),
            state="pending",
            recorded_at_ms=at_ms,
            due_at_ms=at_ms,
            channel=channel,
        )
        for channel in channels
    ]
