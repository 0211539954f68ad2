"""The clock of the machine."""

from __future__ import annotations

import time


class SystemClock:
    """A `worker.ports.Clock` that tells the machine's time."""

    def now_ms(self) -> int:
        """Return the current time, epoch milliseconds UTC."""
        return time.time_ns() // 1_000_000
