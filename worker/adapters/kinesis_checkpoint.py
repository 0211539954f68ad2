"""How far a shard may be checkpointed, whatever the order in which its records are settled."""

from __future__ import annotations

from collections import deque
from typing import Final

TRIM_HORIZON: Final = "TRIM_HORIZON"
"""The checkpoint of a shard of which nothing was settled: it is read from its oldest record."""
SHARD_END: Final = "SHARD_END"
"""The checkpoint of a shard that was closed, read to its end and settled."""


class Tracker:
    """Follows the records of one shard from being read to being settled.

    Args:
        checkpoint: Where the shard is read from: a sequence number or `TRIM_HORIZON`.

    Attributes:
        unsettled: How many records were read and are not settled.
    """

    def __init__(self, checkpoint: str) -> None:
        """Begin behind a checkpoint."""
        self._checkpoint = checkpoint
        self._order: deque[str] = deque()
        self._is_settled: dict[str, bool] = {}
        self._is_read_out = False
        self.unsettled = 0

    @property
    def checkpoint(self) -> str:
        """The highest sequence number up to which every record read is settled.

        `SHARD_END` once all of a closed shard is; what it began with while nothing is.
        """
        if self._is_read_out and not self._order:
            return SHARD_END
        return self._checkpoint

    @property
    def span(self) -> int:
        """How many records lie between the checkpoint and the last that was read."""
        return len(self._order)

    def read(self, sequence: str) -> bool:
        """Take note of the next record; False if it is being followed already."""
        if sequence in self._is_settled:
            return False
        self._order.append(sequence)
        self._is_settled[sequence] = False
        self.unsettled += 1
        return True

    def settle(self, sequence: str) -> bool:
        """Take note that a record needs not be read again; False if it was not expected."""
        if self._is_settled.get(sequence, True):
            return False
        self._is_settled[sequence] = True
        self.unsettled -= 1
        while self._order and self._is_settled[self._order[0]]:
            self._checkpoint = self._order.popleft()
            del self._is_settled[self._checkpoint]
        return True

    def end(self) -> None:
        """Take note that the shard is closed and there is no further record."""
        self._is_read_out = True
