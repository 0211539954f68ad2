"""The interned values that a process has met, within bounds.

Values are asked for right after they were made sure of. Forgetting all of them when there are
too many would forget ones that a commit in flight is about to read, so they are kept in two
generations: what was used since the last turn survives it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

INTERNED_PER_GENERATION: Final = 50_000


class InternedCache:
    """Encodings of interned values by id.

    Args:
        per_generation: Values kept at least; up to twice as many are kept at most. Must exceed
            what all the commits of a process need at a time.
    """

    def __init__(self, per_generation: int = INTERNED_PER_GENERATION) -> None:
        """Start empty."""
        self._per_generation = per_generation
        self._young: dict[int, bytes] = {}
        self._old: dict[int, bytes] = {}

    def get(self, value_id: int) -> bytes | None:
        """Return a value, or None if it is not known here."""
        encoded = self._young.get(value_id)
        return self._old.get(value_id) if encoded is None else encoded

    def missing(self, value_ids: Iterable[int]) -> list[int]:
        """Return the ids that are not known; those that are will be known for a while."""
        unknown: dict[int, None] = {}
        for value_id in value_ids:
            if value_id not in self._young:
                encoded = self._old.get(value_id)
                if encoded is None:
                    unknown[value_id] = None
                else:
                    self._young[value_id] = encoded
        return list(unknown)

    def keep(self, values: Mapping[int, bytes]) -> None:
        """Take in values of the ledger."""
        if len(self._young) > self._per_generation:
            self._old, self._young = self._young, {}
        self._young.update(values)
