"""Where workflows act: nobody but them does, and what they left undone is announced once more."""

from __future__ import annotations

from typing import Final

from worker.core.enforcement import Suspension
from worker.core.suspension import DAILY_MS, Postponed, is_claimed, is_settled
from worker.pipeline.suspensions import Suspensions

REMIND_MS: Final = 900_000
"""A workflow had time enough by then, its own retries included."""


async def remind(suspensions: Suspensions, suspension: Suspension, now_ms: int) -> bool:
    """Announce once more what is due for long; return whether that was the case.

    Every workflow that is started by a reminder reads what is to be done, as always.

    Raises:
        TransientError: Doing it again is safe.
    """
    due_at_ms = suspension.due_at_ms
    if is_claimed(suspension, now_ms):
        return False
    if is_settled(suspension):
        until_ms = now_ms + DAILY_MS if suspension.phase == "suspended" else 0
        await suspensions.turn(suspension.principal, Postponed(due_at_ms, until_ms))
        return False
    if now_ms < due_at_ms + REMIND_MS:
        return False
    await suspensions.announce_again(suspension)
    postponed = Postponed(due_at_ms, now_ms)
    return await suspensions.turn(suspension.principal, postponed) is not None
