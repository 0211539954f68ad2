"""Which shard of a balance a worker adds to: any will do, as readers add all of them up.

What is known here is a worker's own experience. It makes things quicker or possible, never
right or wrong, so it is bounded and may be forgotten.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from worker.adapters import dynamodb_items as items
from worker.core.transactions import BalanceKey

KNOWN_MAX: Final = 10_000


class BalanceShards:
    """Balances that are hot (several workers want them) or full (an item can hold no more)."""

    def __init__(self) -> None:
        """Start with no experience."""
        self._hot: set[BalanceKey] = set()
        self._layers: dict[BalanceKey, int] = {}

    def shard(self, key: BalanceKey, own: int) -> int:
        """Choose: for wide items the transaction's own shard, for a payer's day one once hot.

        A hot day leaves shard 0 to the workers that have not yet met the conflict.
        """
        shard = 0
        if not key.principal:
            shard = own
        elif key in self._hot:
            shard = random.randrange(1, items.PAYER_SHARDS_MAX)  # noqa: S311 - spreads load
        return items.shard_of(key, shard, self.layer(key))

    def layer(self, key: BalanceKey) -> int:
        """Return the layer of shards that a balance is added to: 0 until an item is full."""
        return self._layers.get(key, 0)

    def spread(self, conflicting: Iterable[BalanceKey]) -> None:
        """From now on, add to balances that conflict in one of several shards."""
        if len(self._hot) > KNOWN_MAX:
            self._hot.clear()
        self._hot.update(conflicting)

    def raise_layers(self, full: Sequence[BalanceKey], layers: Mapping[BalanceKey, int]) -> bool:
        """From now on, add to balances of which an item is full in the next layer of shards.

        Args:
            full: The balances.
            layers: Which layer was full; another transaction may have met it before.

        Returns:
            Whether there is anything full, and room for all of it.
        """
        if not full or any(layers[key] + 1 >= items.LAYERS_MAX for key in full):
            return False
        if len(self._layers) > KNOWN_MAX:
            self._layers.clear()
        for key in full:
            self._layers[key] = max(self.layer(key), layers[key] + 1)
        return True


def is_full(reason: Mapping[str, Any]) -> bool:
    """Whether an update was refused since its item would outgrow what an item may have.

    The service says so in words alone (API reference: TransactWriteItems, "Item size to update
    has exceeded the maximum allowed size").
    """
    message = str(reason.get("Message")).lower()
    return reason.get("Code") == "ValidationError" and "item size" in message
