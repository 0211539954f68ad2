"""What lines and long lines are decoded through: the dispatcher, as its readers see it."""

from typing import Protocol

import msgspec

from worker.core.decoders.limits import Limits
from worker.core.results import Outcome, Position


class RecordsBoundError(Exception):
    """More records at once than `Limits.records_max`. Never leaves this package."""

    def __init__(self, records_max: int) -> None:
        """Name the bound."""
        super().__init__(f"at most {records_max:,} records at once")


class Values(Protocol):
    """What decodes the values that a reader has put together."""

    limits: Limits

    def begin(self, source: str) -> None:
        """Start with a new object called `source`."""
        ...

    def end(self, source: str, outcomes: list[Outcome], *, whole: bool) -> None:
        """Append what can only be said at the end of an object."""
        ...

    def try_decode(self, raw: bytes | msgspec.Raw, /) -> Outcome | None:
        """Decode an invocation log; None if it is none."""
        ...

    def value(
        self,
        raw: bytes | msgspec.Raw,
        position: Position,
        depth: int,
        outcomes: list[Outcome],
    ) -> bool:
        """Decode one JSON value; False, and nothing appended, if it is not one."""
        ...

    def element(
        self,
        raw: bytes | msgspec.Raw,
        position: Position,
        depth: int,
        outcomes: list[Outcome],
    ) -> None:
        """Decode one element of an array of records."""
        ...
