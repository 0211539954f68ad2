"""How long to wait before something is tried again."""

from __future__ import annotations

import random
from typing import Final

DOUBLINGS_MAX: Final = 16


def growing_seconds(first: float, last: float, attempt: int) -> float:
    """Return a random time in the upper half of a bound.

    Args:
        first: The bound at first, seconds.
        last: The greatest bound, seconds.
        attempt: How often the bound is doubled.
    """
    bound = min(last, first * 2 ** min(attempt, DOUBLINGS_MAX))
    return random.uniform(bound / 2, bound)  # noqa: S311 - jitter, not a secret
