"""Deliveries in memory: the reference of what a source does, for tests and demonstrations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from worker.adapters.message_groups import MessageGroups
from worker.core.results import DeliveryResult
from worker.ports import Clock, Delivery, Processed

RECEIVE_MAX = 10
DEFER_FIRST_MS = 2_000
DEFER_LAST_MS = 15 * 60 * 1_000


@dataclass(slots=True)
class _Message:
    """A message that waits, or is invisible until `visible_at_ms`."""

    number: int
    body: bytes
    group: str
    sent_at_ms: int
    visible_at_ms: int
    attempts: int = 0
    receipt: str = ""


class MemorySource:
    """A `worker.ports.Source` that behaves like a queue of SQS, on a clock of one's choice.

    What is received stays invisible for a while; what was not settled by then comes again, and
    only its newest receipt is good. What is deferred comes again after 2 seconds, then 4, and so
    on. Messages of a group come, and end, in their order: none comes while an earlier one of
    its group is invisible, and none is removed before an earlier one.

    Attributes:
        given_up: How many receipts could not be settled or extended, by reason.

    Args:
        clock: Decides what is visible.
        name: The source's name.
        visibility_seconds: For how long what is received stays invisible.
        poll_seconds: How long `receive` waits for a message to be sent when there is none.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        name: str = "memory:queue",
        visibility_seconds: int = 60,
        poll_seconds: float = 0.0,
    ) -> None:
        """Hold no messages."""
        self._clock = clock
        self._name = name
        self._visibility_ms = visibility_seconds * 1_000
        self._poll_seconds = poll_seconds
        self._messages: dict[int, _Message] = {}
        self._receipts: dict[str, int] = {}
        self._sent = 0
        self._arrived = asyncio.Event()
        self._groups = MessageGroups(lambda: clock.now_ms() / 1_000)
        self.given_up: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return how many messages were not acknowledged yet, visible or not."""
        return len(self._messages)

    @property
    def name(self) -> str:
        """Name given."""
        return self._name

    def send(self, body: bytes, *, group: str = "") -> str:
        """Add a message; return its name, as deliveries will carry it."""
        self._sent += 1
        now_ms = self._clock.now_ms()
        self._messages[self._sent] = _Message(self._sent, body, group, now_ms, now_ms)
        self._arrived.set()
        return self._name_of(self._sent)

    def _name_of(self, number: int) -> str:
        return f"{self._name}/{number}"

    async def receive(self) -> Sequence[Delivery]:
        """Return up to ten visible messages; wait for one if there is none."""
        deliveries = self._take()
        if deliveries or not self._poll_seconds:
            await asyncio.sleep(0)
            return deliveries
        self._arrived.clear()
        try:
            async with asyncio.timeout(self._poll_seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass
        return self._take()

    def _visible(self) -> list[_Message]:
        now_ms = self._clock.now_ms()
        held_up: set[str] = set()
        visible: list[_Message] = []
        for message in self._messages.values():
            if message.visible_at_ms > now_ms:
                held_up.add(message.group)
            elif not message.group or message.group not in held_up:
                visible.append(message)
                if len(visible) == RECEIVE_MAX:
                    break
        return visible

    def _take(self) -> list[Delivery]:
        visible = self._visible()
        return [self._deliver(message) for message in visible]

    def _deliver(self, message: _Message) -> Delivery:
        self._receipts.pop(message.receipt, None)
        message.attempts += 1
        message.visible_at_ms = self._clock.now_ms() + self._visibility_ms
        message.receipt = f"{self._name_of(message.number)}#{message.attempts}"
        self._receipts[message.receipt] = message.number
        if message.group:
            self._groups.add(message.group, message.receipt, message.visible_at_ms / 1_000)
        return Delivery(
            body=message.body,
            receipt=message.receipt,
            name=self._name_of(message.number),
            group=message.group,
            attempts=message.attempts,
            sent_at_ms=message.sent_at_ms,
            source=self._name,
        )

    async def settle(self, processed: Sequence[Processed]) -> None:
        """Remove what ended; what was deferred is visible again after a while."""
        decisions = self._groups.settle(
            (one.receipt, one.result is not DeliveryResult.DEFERRED) for one in processed
        )
        for receipt in decisions.acknowledge:
            message = self._held(receipt)
            if message is not None:
                del self._messages[message.number]
                del self._receipts[receipt]
        for receipts in decisions.defer.values():
            first = self._receipts.get(receipts[0])
            attempts = 1 if first is None else self._messages[first].attempts
            wait_ms = min(DEFER_LAST_MS, DEFER_FIRST_MS << min(attempts - 1, 20))
            self._hide(receipts, wait_ms)

    async def extend(self, receipts: Sequence[str]) -> None:
        """Keep messages invisible for as long again."""
        wanted = list(dict.fromkeys((*receipts, *self._groups.waiting())))
        ends_at_ms = self._clock.now_ms() + self._visibility_ms
        self._groups.extend(wanted, ends_at_ms / 1_000)
        self._hide(wanted, self._visibility_ms)

    def _hide(self, receipts: Sequence[str], wait_ms: int) -> None:
        for receipt in receipts:
            message = self._held(receipt)
            if message is not None:
                message.visible_at_ms = self._clock.now_ms() + wait_ms

    def _held(self, receipt: str) -> _Message | None:
        """Return the message of a receipt that is still good."""
        number = self._receipts.get(receipt)
        message = None if number is None else self._messages[number]
        if message is None or message.visible_at_ms <= self._clock.now_ms():
            self.given_up["stale receipt"] += 1
            return None
        return message

    async def is_drained(self) -> bool:
        """Whether no message is visible right now."""
        return not self._visible()

    async def close(self) -> None:
        """Hold nothing: what is not settled comes again once it is visible."""
