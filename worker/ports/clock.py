"""The time."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """The only source of the current time."""

    def now_ms(self) -> int:
        """Return the current time, epoch milliseconds UTC."""
