"""The breaker: stops the worker when most of what it reads ends in quarantine.

A bad deploy, or a source of something else altogether, must not drain a queue into quarantine.
A lone poison message on a quiet queue is no reason to stop: it takes a hundred records of
several deliveries within minutes. Pure: every method is told what time it is.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Literal

import msgspec

WINDOW_RECORDS: Final = 100
WINDOW_DELIVERIES: Final = 3
WINDOW_SECONDS: Final = 600.0
SHARE_MAX: Final = 0.5
REST_SECONDS: Final = 30.0
REST_SECONDS_MAX: Final = 480.0

BreakerState = Literal["closed", "open", "half-open"]


class _Sample(msgspec.Struct, frozen=True, gc=False):
    at: float
    records: int
    quarantined: int
    deliveries: int


class Breaker:
    """Watches the quarantined share over the latest records.

    Closed, everything goes on. Open, nothing may be received for a while. Then it is half-open:
    one small batch may be tried, and what comes of that closes it or opens it for twice as long.
    """

    def __init__(self) -> None:
        """Begin closed, with an empty window."""
        self._samples: deque[_Sample] = deque()
        self._records = self._quarantined = self._deliveries = 0
        self._tried_records = self._tried_quarantined = 0
        self._opened_at: float | None = None
        self._rest_seconds = REST_SECONDS

    @property
    def share(self) -> float:
        """The quarantined share of the records in the window; 0 if there are none."""
        return self._quarantined / self._records if self._records else 0.0

    def state(self, now: float) -> BreakerState:
        """Return the state at a time (seconds of any clock that never goes back)."""
        if self._opened_at is None:
            return "closed"
        return "half-open" if now >= self._opened_at + self._rest_seconds else "open"

    def seconds_to_rest(self, now: float) -> float:
        """Return how long it stays open from now on; 0 if it is not open."""
        if self._opened_at is None:
            return 0.0
        return max(0.0, self._opened_at + self._rest_seconds - now)

    def add(self, now: float, *, records: int, quarantined: int, deliveries: int) -> bool:
        """Take in what came of some records.

        Args:
            now: The time.
            records: Records decoded, those left out that only name objects.
            quarantined: How many of them were put aside.
            deliveries: Deliveries that ended with them; 0 while an object is still being read.

        Returns:
            Whether the breaker opened by this.
        """
        state = self.state(now)
        if state == "open":
            return False  # what was in flight when it opened
        if state == "half-open":
            return self._judge(now, records, quarantined, deliveries)
        self._samples.append(_Sample(now, records, quarantined, deliveries))
        self._records += records
        self._quarantined += quarantined
        self._deliveries += deliveries
        self._slide(now)
        if (
            self._records >= WINDOW_RECORDS
            and self._deliveries >= WINDOW_DELIVERIES
            and self.share >= SHARE_MAX
        ):
            self._open(now)
            return True
        return False

    def _judge(self, now: float, records: int, quarantined: int, deliveries: int) -> bool:
        """Decide by the batch that was tried: badly at once, well once a delivery has ended.

        Before that, an object may be still to come of which nothing is known. A batch without
        records says nothing.
        """
        self._tried_records += records
        self._tried_quarantined += quarantined
        if not self._tried_records:
            return False
        if self._tried_quarantined >= SHARE_MAX * self._tried_records:
            self._rest_seconds = min(REST_SECONDS_MAX, 2 * self._rest_seconds)
            self._open(now)
            return True
        if deliveries:
            self._opened_at = None
            self._rest_seconds = REST_SECONDS
            self._clear()
        return False

    def _open(self, now: float) -> None:
        self._opened_at = now
        self._tried_records = self._tried_quarantined = 0

    def _clear(self) -> None:
        self._samples.clear()
        self._records = self._quarantined = self._deliveries = 0
        self._tried_records = self._tried_quarantined = 0

    def _slide(self, now: float) -> None:
        """Let go of what is old, and of what a full window does not need."""
        while self._samples:
            oldest = self._samples[0]
            is_old = oldest.at < now - WINDOW_SECONDS
            is_spare = (
                self._records - oldest.records >= WINDOW_RECORDS
                and self._deliveries - oldest.deliveries >= WINDOW_DELIVERIES
            )
            if not (is_old or is_spare):
                return
            self._samples.popleft()
            self._records -= oldest.records
            self._quarantined -= oldest.quarantined
            self._deliveries -= oldest.deliveries
