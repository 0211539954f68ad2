"""Remembering what was worked out, within a bound."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


def remember(cache: dict[Key, Value], key: Key, value: Value, maximum: int) -> Value:
    """Keep `value` under `key` and return it; a cache of `maximum` values starts anew.

    Keys hold text that callers choose (session names, model ids), so every cache needs a
    bound. Starting anew costs a little work now and then and nothing on every use, which is
    what keeps the look-up a plain dictionary's.
    """
    if len(cache) >= maximum:
        cache.clear()
    cache[key] = value
    return value
