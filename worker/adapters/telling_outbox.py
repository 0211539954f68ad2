"""An outbox that tells this process what was just written down, so that it is announced at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

from worker.ports import Notice, NoticeState, Outbox


class TellingOutbox:
    """A `worker.ports.Outbox` in front of another.

    Attributes:
        tell: Called with notices that were new when they were put; None calls nobody.

    Args:
        outbox: Keeps the notices.
    """

    def __init__(self, outbox: Outbox) -> None:
        """Tell nobody yet."""
        self._outbox = outbox
        self.tell: Callable[[Sequence[Notice]], None] | None = None

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        """Keep notices whose ids are new, and tell of those."""
        new = await self._outbox.put(notices)
        if new and self.tell is not None:
            self.tell(new)
        return new

    def due(self, now_ms: int, channel: str = "") -> AsyncIterator[Sequence[Notice]]:
        """Yield what is pending and due on a channel; see the port."""
        return self._outbox.due(now_ms, channel)

    async def settle(
        self, notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None = None
    ) -> bool:
        """Turn a pending notice into an announced or lapsed one; see the port."""
        return await self._outbox.settle(notice, state, at_ms, detail)

    async def find(self, subject: str, notice_id: str) -> Notice | None:
        """Return one notice; see the port."""
        return await self._outbox.find(subject, notice_id)

    async def about(self, subject: str) -> list[Notice]:
        """Return the notices on a subject; see the port."""
        return await self._outbox.about(subject)
