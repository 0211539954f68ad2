"""The ports: what the worker needs from the outside, as protocols.

Every port has an in-memory adapter and at least one real one under `worker.adapters`; one
contract suite runs over all adapters of a port.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

import msgspec

from worker.core.batch import Batch
from worker.core.ledger import Amounts, Entry, Leaf, Rated
from worker.core.posting import Poster
from worker.core.results import Malformed


class Committed(msgspec.Struct, gc=False):
    """What a commit did.

    Attributes:
        recorded: Records that were the first sight of their call.
        upgraded: Records that improved what was known.
        duplicates: Records that added nothing.
        postings: What was added to each leaf, net; never a zero.
    """

    recorded: int
    upgraded: int
    duplicates: int
    postings: list[tuple[Leaf, Amounts]]


class Rebooking(msgspec.Struct, frozen=True, gc=False):
    """A call whose posting changes: the entry as it was read, and its new posting."""

    before: Entry
    after: Rated


class Difference(msgspec.Struct, frozen=True, gc=False):
    """A balance that is not the sum of its entries' postings.

    Attributes:
        leaf: Which balance.
        balance: What the ledger says; None if it has no such balance.
        entries: What the entries add up to; None if no entry posts there.
    """

    leaf: Leaf
    balance: Amounts | None
    entries: Amounts | None


class Verification(msgspec.Struct, frozen=True, gc=False):
    """Outcome of comparing all balances with all entries.

    Attributes:
        entries: Entries read.
        balances: Balances read.
        differences: Where they disagree; empty if the ledger is sound.
        unsettled: Balances that others kept writing to, so that nothing can be said of them.
    """

    entries: int
    balances: int
    differences: tuple[Difference, ...]
    unsettled: tuple[Leaf, ...] = ()


class Ledger(Protocol):
    """Entries, and the balances that are their sum.

    All methods may raise `TransientError` (try again), `LedgerCorruptError` (a person must
    look) and `ConfigurationError` (the ledger cannot be opened as asked).
    """

    async def commit(self, batch: Batch, poster: Poster) -> Committed:
        """Book a batch, each of its calls all or not at all, and exactly once.

        An embedded ledger books the batch in one transaction. A shared one may need several;
        after a `TransientError` some may have been made, and committing again books the rest.

        Known calls are merged with what is new about them; `poster` works out the posting of
        what became of them. The batch is left as it was, so that the commit can be retried.
        """

    async def find(self, request_id: str) -> list[Entry]:
        """Return the entries with this request id, of any namespace and account."""

    def scan(self, after: str | None = None) -> AsyncIterator[Sequence[Entry]]:
        """Yield all entries in chunks, in the ledger's own order, after the entry `after`."""

    def pending(self) -> AsyncIterator[Sequence[Entry]]:
        """Yield, in chunks, the calls whose price is pending: the unpriced and the unmetered.

        They are what a late price, or a profile that is known by now, could move.
        """

    async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
        """Replace postings and move their amounts, in one transaction.

        An entry that is no longer at the revision it was read at is left alone.

        Returns:
            How many entries were rebooked.
        """

    async def balances(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> list[tuple[Leaf, Amounts]]:
        """Return the balances of an inclusive range of UTC days; None leaves an end open."""

    async def totals(
        self, field: str, first_day: int | None = None, last_day: int | None = None
    ) -> dict[str, Amounts]:
        """Return balances summed by one field of `Leaf` (`principal`, `day`, ...).

        Args:
            field: The field; days are returned as decimal strings.
            first_day: First UTC day included; None for the first there is.
            last_day: Last UTC day included; None for the last there is.
        """

    async def verify(self) -> Verification:
        """Compare every balance with the sum of its entries' postings, on one snapshot."""

    async def progress(self, name: str) -> str | None:
        """Return the note that a resumable job left under `name`."""

    async def keep_progress(self, name: str, note: str | None) -> None:
        """Leave a note under `name` for a later run to resume from; None removes it."""

    async def close(self) -> None:
        """Release what the ledger holds."""


class QuarantinedRecord(msgspec.Struct, frozen=True):
    """A record that was put aside.

    Attributes:
        id: Taken from where the record stood and what it said, so that the same record
            quarantined again is the same item.
        record: What was wrong with it, where, and its body.
        quarantined_at_ms: Ledger time, epoch milliseconds UTC.
    """

    id: str
    record: Malformed
    quarantined_at_ms: int


class Quarantine(Protocol):
    """Where records wait that could not be understood."""

    async def put(self, records: Sequence[Malformed]) -> list[str]:
        """Keep records durably; idempotent. Returns their ids, in order."""

    def items(self) -> AsyncIterator[QuarantinedRecord]:
        """Yield everything in quarantine, in order of id."""

    async def get(self, item_id: str) -> QuarantinedRecord | None:
        """Return one item by its full id or an unambiguous beginning of it."""

    async def remove(self, item_id: str) -> None:
        """Take an item out, after its record was booked; it is no error if it is gone."""


class StoredObject(msgspec.Struct, frozen=True, gc=False):
    """An object as a listing names it.

    Attributes:
        name: `s3://bucket/key`.
        size_bytes: Stored size.
    """

    name: str
    size_bytes: int


class Folder(msgspec.Struct, frozen=True, gc=False):
    """What the names of some objects begin with, up to a slash.

    Attributes:
        name: `s3://bucket/prefix/`.
    """

    name: str


class ObjectStore(Protocol):
    """Objects that can be listed and read. May be used by several threads at once.

    All methods may raise `TransientError` (try again) and `ConfigurationError` (no such bucket,
    no permission, no credentials), here or from the iterators that they return.
    """

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects whose names begin with `prefix`, in order of name."""

    def level(self, prefix: str) -> Iterator[StoredObject | Folder]:
        """Yield the objects and folders right below `prefix`, which ends in a slash."""

    def open(self, name: str) -> Iterator[bytes]:
        """Yield the content of an object in pieces, all of one version of it.

        A connection that is lost is taken up again where it broke off.

        Raises:
            UnreadableObjectError: It is gone, archived, or changed while it was read.
        """


class Clock(Protocol):
    """The only source of the current time."""

    def now_ms(self) -> int:
        """Return the current time, epoch milliseconds UTC."""
