"""Booking the objects that notifications name: streamed, in chunks, each version once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable

from worker.core.posting import Poster
from worker.core.results import ObjectReference
from worker.pipeline.digest import Digest
from worker.ports import Clock, Delivery, Notes, ObjectReader


class ObjectBooks:
    """Reads objects in chunks that the pipeline books one after another.

    Args:
        reader: Opens objects.
        notes: Keeps how far each version of an object was booked.
        clock: Ledger time.
    """

    def __init__(self, *, reader: ObjectReader, notes: Notes, clock: Clock) -> None:
        """Read nothing yet."""

    async def read(
        self, reference: ObjectReference, delivery: Delivery, poster: Callable[[], Poster]
    ) -> AsyncGenerator[Digest, None]:
        """Yield an object's digests; the one before is booked when the next is asked for.

        Raises:
            TransientError: It is not there yet, or cannot be read now.
        """
        raise NotImplementedError
        yield
