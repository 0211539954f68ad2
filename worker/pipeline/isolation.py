"""What becomes of a delivery that fails alone: it is tried again, or put aside whole.

One delivery that can never be booked must neither end a worker, nor hold up its shard, nor make
its neighbours come again. A bug, or a ledger in ruins, that hits whatever is tried must end the
worker, though, and not drain a queue into quarantine.
"""

from __future__ import annotations

from typing import Final, Protocol

from worker.core.batch import Batch
from worker.core.errors import ConfigurationError, RefusedError, TransientError
from worker.core.results import DeliveryResult, Malformed, Position
from worker.pipeline.digest import Digest
from worker.ports import Committed, Delivery, Processed

TRIES_MAX: Final = 3
"""Tries in one process after which a delivery is put aside that fails alone, unexpectedly."""
ALIKE_MAX: Final = 5
"""Different deliveries that may fail alone alike, with nothing booked in between."""
REMEMBERED_MAX: Final = 10_000
"""Deliveries whose tries are remembered."""

BOOKABLE: Final = "something that can be booked"
"""What was expected of a delivery that was put aside."""


class Books(Protocol):
    """Books what was put together elsewhere: `worker.pipeline.Pipeline`."""

    async def book(self, digest: Digest) -> Committed:
        """Book a digest, and keep what is malformed."""


class Isolation:
    """Remembers which deliveries failed alone in this process, and how."""

    def __init__(self) -> None:
        """Know of no failure."""
        self._tries: dict[str, int] = {}
        self._alike: dict[type[Exception], set[str]] = {}

    def booked(self) -> None:
        """Note that something was booked: what failed until now does not hit everything."""
        self._alike.clear()

    def gives_up(self, delivery: Delivery, error: Exception) -> bool:
        """Note that a delivery failed alone; return whether it is to be put aside.

        Args:
            delivery: The delivery.
            error: What it failed with, neither `TransientError` nor `ConfigurationError`: those
                say nothing of the delivery.

        Raises:
            Exception: `error`, once it hits whatever is tried.
        """
        if isinstance(error, TransientError | ConfigurationError):
            raise error
        if isinstance(error, RefusedError):
            return True
        name = delivery.name or delivery.receipt
        alike = self._alike.setdefault(type(error), set())
        alike.add(name)
        if len(alike) >= ALIKE_MAX:
            raise error
        tries = self._tries.pop(name, 0) + 1
        if tries >= TRIES_MAX:
            # Should it fail to be put aside, it is to be put aside at the next try.
            tries = TRIES_MAX - 1
            self._tries[name] = tries
            return True
        self._tries[name] = tries
        if len(self._tries) > REMEMBERED_MAX:
            del self._tries[next(iter(self._tries))]
        return False


async def put_aside(books: Books, delivery: Delivery, error: Exception) -> Processed:
    """Keep a delivery that cannot be booked in quarantine, whole; return how it ended.

    Raises:
        TransientError: Not now; it must come again.
        ConfigurationError: The quarantine cannot be used.
    """
    record = Malformed(
        path="$",
        expected=BOOKABLE,
        found=f"{type(error).__name__}: {error}",
        body=delivery.body,
        position=Position(delivery.name or delivery.receipt),
    )
    digest = Digest(
        batch=Batch(),
        records=1,
        ignored=0,
        ignored_reasons={},
        malformed=[record],
        references=[],
    )
    await books.book(digest)
    return Processed(delivery.receipt, DeliveryResult.QUARANTINED, 1, quarantined=1)
