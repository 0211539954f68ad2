"""What one look at the outbox did, and what announcers remember between looks."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

import msgspec

REMEMBERED_MAX: Final = 10_000


class Announced(msgspec.Struct):
    """What one look at the outbox did.

    Attributes:
        announced: Notices that the bus or the channel took.
        failed: Notices that were looked at, were due and are still pending.
        lapsed: Notices that had become untrue, or can never be announced.
        waiting: Notices that were due, but wait: usage for its day to end, a grace period's copy
            for its announcement, a message that was refused for its next try.
        oldest_wait_ms: For how long the oldest of the failed ones has been due.
        faults: Why something failed or can never be announced; each reason once.
        is_cut: The look ended before everything was looked at: look again.
    """

    announced: int = 0
    failed: int = 0
    lapsed: int = 0
    waiting: int = 0
    oldest_wait_ms: int = 0
    faults: list[str] = []
    is_cut: bool = False

    def add_fault(self, reason: str) -> None:
        """Keep a reason, unless it is there."""
        if reason not in self.faults:
            self.faults.append(reason)


def remember(kept: OrderedDict[str, Any], name: str, value: Any) -> None:  # noqa: ANN401
    """Keep a value under a name, and no more than the latest `REMEMBERED_MAX`."""
    kept[name] = value
    kept.move_to_end(name)
    while len(kept) > REMEMBERED_MAX:
        kept.popitem(last=False)
