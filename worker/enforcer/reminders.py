"""Where workflows act: nobody but them does, and what is due for them is announced once more."""

from __future__ import annotations

from typing import Final

from worker.core.enforcement import Suspension
from worker.core.suspension import Postponed, is_claimed, is_settled
from worker.pipeline.suspensions import Suspensions

REMIND_MS: Final = 900_000
"""A workflow had time enough by then, its own retries included."""


async def remind(suspensions: Suspensions, suspension: Suspension, now_ms: int) -> bool:
    """Announce once more what is due; return whether that was the case.

    What was left undone is announced when it is due for `REMIND_MS`. So is a re-check of what was
    verified, but at once as well, since no event of its own calls for one: whom the principal acts
    through has changed, a slow worker may have left something, or a day has passed.

    Every workflow that is started by a reminder reads what is to be done, as always.

    Raises:
        TransientError: Doing it again is safe.
    """
    due_at_ms = suspension.due_at_ms
    if is_claimed(suspension, now_ms):
        return False
    is_recheck = is_settled(suspension)
    if not is_recheck and now_ms < due_at_ms + REMIND_MS:
        return False
    await suspensions.announce_again(suspension)
    postponed = Postponed(due_at_ms, now_ms + REMIND_MS if is_recheck else now_ms)
    return await suspensions.turn(suspension.principal, postponed) is not None
