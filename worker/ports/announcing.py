"""Events that must be announced, and the buses that take them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Literal, Protocol

import msgspec

from worker.core.people import Message

NoticeState = Literal["pending", "announced", "late", "lapsed"]


class Notice(msgspec.Struct, frozen=True):
    """An event that must be announced: at least once, under one id.

    Attributes:
        id: Deterministic event id.
        detail_type: Such as `Budget Threshold Crossed`.
        subject: What it is about, for listing: `budget/NAME`, `usage/2026-11-22`.
        detail: The event's detail, JSON.
        state: `pending` until it is announced; `late` ones and `lapsed` ones never are.
        recorded_at_ms: Ledger time, epoch milliseconds UTC.
        due_at_ms: Not announced before.
        announced_at_ms: When it was; 0 before.
        channel: Who is told: empty for the bus, else `sns` or `webhook`. Each has a copy of its
            own, with an id of its own, so that one that is down holds up no other.
    """

    id: str
    detail_type: str
    subject: str
    detail: msgspec.Raw
    state: NoticeState
    recorded_at_ms: int
    due_at_ms: int = 0
    announced_at_ms: int = 0
    channel: str = ""


class Outbox(Protocol):
    """Events to be announced, written down before the deliveries that caused them are settled.

    A notice's subject is a function of its id: the two together are its key.
    """

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        """Keep notices whose ids are new; return those. What is there already stays as it is.

        After a `TransientError` some may be kept; putting all of them again is safe, and those
        that were kept the first time are not new then.
        """

    def due(self, now_ms: int, channel: str = "") -> AsyncIterator[Sequence[Notice]]:
        """Yield, in chunks, what is pending and due on a channel, the longest due first.

        An index may be behind by a moment: what is missed now is found by the next look.
        """

    async def settle(
        self, notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None = None
    ) -> bool:
        """Turn a pending notice into an announced or lapsed one, keeping what was announced.

        Returns:
            False if it was no longer pending.
        """

    async def find(self, subject: str, notice_id: str) -> Notice | None:
        """Return one notice, strongly read."""

    async def about(self, subject: str) -> list[Notice]:
        """Return the notices on a subject, by time, strongly read."""


class BusEvent(msgspec.Struct, frozen=True):
    """An event as a bus takes it: detail type, JSON of the detail, event time (epoch ms UTC)."""

    detail_type: str
    detail: bytes
    occurred_at_ms: int


class EventBus(Protocol):
    """Where events are announced."""

    async def publish(self, events: Sequence[BusEvent]) -> list[str]:
        """Publish some events.

        Returns:
            For each, in order, an empty string if the bus took it, else why not.

        Raises:
            TransientError: The bus cannot be reached; some may have been taken.
            ConfigurationError: There is no such bus, or no permission.
        """

    async def close(self) -> None:
        """Close connections."""


class Channel(Protocol):
    """How people are told: a topic, a webhook."""

    @property
    def name(self) -> str:
        """What `Notice.channel` calls it."""

    async def tell(self, message: Message) -> None:
        """Tell one message, within less than a minute.

        Raises:
            TransientError: It cannot be reached, or wants to be left alone for a while; the
                message may have been told.
            RefusedMessageError: It refuses this message; others it may take.
            ConfigurationError: There is no such topic, or no permission: nothing can be told.
        """

    async def close(self) -> None:
        """Close connections."""
