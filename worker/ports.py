"""The ports: what the worker needs from the outside, as protocols.

Every port has an in-memory adapter and at least one real one under `worker.adapters`; one
contract suite runs over all adapters of a port.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from typing import Literal, Protocol

import msgspec

from worker.core.batch import Batch
from worker.core.budget import Budget, ScopeDays
from worker.core.ledger import Amounts, Entry, Leaf, Rated
from worker.core.posting import Poster
from worker.core.registry import ApplicationProfile
from worker.core.results import DeliveryResult, Malformed, ObjectReference
from worker.core.spend import Spend


class Committed(msgspec.Struct, gc=False):
    """What a commit did.

    Attributes:
        recorded: Records that were the first sight of their call.
        upgraded: Records that improved what was known.
        duplicates: Records that added nothing.
        postings: What was added to each leaf, net; never a zero.
        known: Leaves of the calls that were known already and stayed as they are, if asked for.
        crossings: Thresholds found newly crossed afterwards; the pipeline fills it in.
    """

    recorded: int
    upgraded: int
    duplicates: int
    postings: list[tuple[Leaf, Amounts]]
    known: frozenset[Leaf] = frozenset()
    crossings: int = 0

    @property
    def touched(self) -> set[Leaf]:
        """Leaves whose scopes' budgets are due for a look, duplicates' included."""
        return {leaf for leaf, _ in self.postings} | self.known


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

    async def commit(self, batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        """Book a batch, each of its calls all or not at all, and exactly once.

        With `touched`, the answer also names the leaves of calls that were known already: a
        worker may have died between booking them and looking at their budgets.

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

    async def spend(self, ranges: Sequence[ScopeDays]) -> list[Spend]:
        """Return what scopes spent over ranges of their local days, in order, strongly read.

        A shared ledger makes at most one range query for each. Calls without a team are not
        the spend of a team without a name: only `everything` has an empty id.
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

    async def close(self) -> None:
        """Close connections."""


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


class Delivery(msgspec.Struct, frozen=True):
    """What a source hands over at once: a queue's message, a stream's record.

    Attributes:
        body: The payload.
        receipt: The source's handle for settling it.
        name: Where it came from, for people and as the position of its records
            (`sqs:QUEUE/MESSAGE-ID`); the receipt if empty.
        group: Deliveries of one group are booked and settled in their order; empty for none.
        attempts: How often it has been delivered, this time included.
        sent_at_ms: When the source took it in, epoch milliseconds UTC; 0 if unknown.
        source: Name of the source that handed it over.
    """

    body: bytes
    receipt: str = ""
    name: str = ""
    group: str = ""
    attempts: int = 1
    sent_at_ms: int = 0
    source: str = ""


class Processed(msgspec.Struct, frozen=True):
    """How one delivery ended.

    Attributes:
        receipt: The delivery's receipt.
        result: Whether it may be acknowledged: all but `DEFERRED`.
        records: Records decoded in it.
        ignored: Records that are no calls.
        quarantined: Records that were put aside.
        reason: Why it was deferred; otherwise empty.
    """

    receipt: str
    result: DeliveryResult
    records: int
    ignored: int = 0
    quarantined: int = 0
    reason: str = ""


class Source(Protocol):
    """A queue or stream that deliveries come from, at least once.

    Methods may be called concurrently. All may raise `ConfigurationError`, and `receive` a
    `TransientError`; `settle` and `extend` retry what passes and give up quietly on the rest,
    because what was not settled comes again.
    """

    @property
    def name(self) -> str:
        """`sqs:QUEUE` or `kinesis:STREAM`, for logs and metrics."""

    async def receive(self) -> Sequence[Delivery]:
        """Wait for deliveries for as long as one poll takes; empty if there were none."""

    async def settle(self, processed: Sequence[Processed]) -> None:
        """Acknowledge what ended; what was deferred will be received again, after a while."""

    async def extend(self, receipts: Sequence[str]) -> None:
        """Say that these are still being worked on, so that nobody else gets them meanwhile."""

    async def is_drained(self) -> bool:
        """Whether nothing is left to receive right now, for `--burst`."""

    async def close(self) -> None:
        """Give back what is held (leases, connections). Unsettled deliveries come again."""


class OpenedObject(Protocol):
    """A stored object that is being read."""

    @property
    def version(self) -> str:
        """Version id, or the entity tag where the bucket keeps no versions."""

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Yield its content, all of that version; a lost connection is taken up again.

        Raises:
            UnreadableObjectError: It was replaced or deleted meanwhile.
            TransientError: It cannot be read now.
        """

    async def close(self) -> None:
        """Let go of the connection, read to the end or not."""


class ObjectReader(Protocol):
    """Reads the objects that notifications name."""

    async def open(self, reference: ObjectReference) -> OpenedObject:
        """Begin to read one.

        Raises:
            MissingObjectError: There is no such object (yet).
            UnreadableObjectError: It can never be read as it is (archived).
            TransientError: Try again.
            ConfigurationError: No permission, no such bucket.
        """

    async def close(self) -> None:
        """Close connections."""


class Notes(Protocol):
    """Small notes under a name, that outlive a process: how far an object was booked."""

    async def get(self, name: str) -> str | None:
        """Return a note, strongly read."""

    async def put(self, name: str, note: str, *, keep_until_ms: int) -> None:
        """Keep a note, at least until then."""


class BudgetStore(Protocol):
    """Where budgets are kept."""

    async def budgets(self) -> list[Budget]:
        """Return all budgets, strongly read, by name, removed ones included."""

    async def put(self, budget: Budget) -> bool:
        """Keep a budget on condition that its revision follows the one that is kept.

        Returns:
            False if somebody else was first; nothing was changed then.

        Raises:
            TransientError: It may have been kept or not; read the budgets before trying again.
        """


NoticeState = Literal["pending", "announced", "late", "lapsed"]


class Notice(msgspec.Struct, frozen=True):
    """An event that must be announced: at least once, under one id.

    Attributes:
        id: Deterministic event id.
        detail_type: Such as `Budget Threshold Crossed`.
        subject: What it is about, for listing: `budget/NAME`, `usage/2026-11-22`.
        detail: The event's detail, JSON.
        state: `pending` until it is announced; `late` ones and `lapsed` ones never are.
        recorded_at_ms: Ledger time, epoch milliseconds UTC.
        due_at_ms: Not announced before.
        announced_at_ms: When it was; 0 before.
    """

    id: str
    detail_type: str
    subject: str
    detail: msgspec.Raw
    state: NoticeState
    recorded_at_ms: int
    due_at_ms: int = 0
    announced_at_ms: int = 0


class Outbox(Protocol):
    """Events to be announced, written down before the deliveries that caused them are settled.

    A notice's subject is a function of its id: the two together are its key.
    """

    async def put(self, notices: Sequence[Notice]) -> list[Notice]:
        """Keep notices whose ids are new; return those. What is there already stays as it is.

        After a `TransientError` some may be kept; putting all of them again is safe, and those
        that were kept the first time are not new then.
        """

    def due(self, now_ms: int) -> AsyncIterator[Sequence[Notice]]:
        """Yield, in chunks, what is pending and due, the longest due first.

        An index may be behind by a moment: what is missed now is found by the next look.
        """

    async def settle(
        self, notice: Notice, state: NoticeState, at_ms: int, detail: bytes | None = None
    ) -> bool:
        """Turn a pending notice into an announced or lapsed one, keeping what was announced.

        Returns:
            False if it was no longer pending.
        """

    async def about(self, subject: str) -> list[Notice]:
        """Return the notices on a subject, by time, strongly read."""


class BusEvent(msgspec.Struct, frozen=True):
    """An event as a bus takes it: detail type, JSON of the detail, event time (epoch ms UTC)."""

    detail_type: str
    detail: bytes
    occurred_at_ms: int


class EventBus(Protocol):
    """Where events are announced."""

    async def publish(self, events: Sequence[BusEvent]) -> list[str]:
        """Publish some events.

        Returns:
            For each, in order, an empty string if the bus took it, else why not.

        Raises:
            TransientError: The bus cannot be reached; some may have been taken.
            ConfigurationError: There is no such bus, or no permission.
        """

    async def close(self) -> None:
        """Close connections."""


class ProfileStore(Protocol):
    """Application inference profiles that were seen, for ever, deleted ones included."""

    async def profiles(self) -> list[ApplicationProfile]:
        """Return all profiles, strongly read."""

    async def learn(self, profiles: Sequence[ApplicationProfile]) -> int:
        """Keep profiles that are new, or whose tags are known by now; return how many."""


class ProfileSource(Protocol):
    """Asks AWS what an application inference profile stands for (`GetInferenceProfile`)."""

    async def profile(self, arn: str) -> ApplicationProfile | None:
        """Return a profile with its tags; None if it is gone, or not ours to see.

        Raises:
            TransientError: Try again.
        """

    async def close(self) -> None:
        """Close connections."""


class Clock(Protocol):
    """The only source of the current time."""

    def now_ms(self) -> int:
        """Return the current time, epoch milliseconds UTC."""
