"""Entries, and the balances that are their sum."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Protocol

import msgspec

from worker.core.batch import Batch
from worker.core.budget_terms import ScopeDays
from worker.core.evidence import Evidence
from worker.core.forgotten import Person
from worker.core.ledger import Amounts, Entry, Leaf, Rated
from worker.core.posting import Poster
from worker.core.seal import Seal, SealedSum
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
        known_pending: What the calls whose price is pending, of those in `known`, add to their
            leaves, as it was before the commit: together with `postings`, what the batch's
            calls are now.
        sealed: Records that came too late: a seal holds their call, or the time they name
            (`core.seal`). They are ignored.
    """

    recorded: int
    upgraded: int
    duplicates: int
    postings: list[tuple[Leaf, Amounts]]
    known: frozenset[Leaf] = frozenset()
    crossings: int = 0
    known_pending: list[tuple[Leaf, Amounts]] = []
    sealed: int = 0

    @property
    def touched(self) -> set[Leaf]:
        """Leaves whose scopes' budgets are due for a look, duplicates' included."""
        return {leaf for leaf, _ in self.postings} | self.known

    @property
    def waiting(self) -> set[Leaf]:
        """Leaves of the batch's calls whose price is pending, duplicates' included."""
        calls: dict[Leaf, int] = {}
        for leaf, amounts in (*self.postings, *self.known_pending):
            more = amounts.unpriced_calls + amounts.unmetered_calls
            calls[leaf] = calls.get(leaf, 0) + more
        return {leaf for leaf, count in calls.items() if count > 0}


class Rebooking(msgspec.Struct, frozen=True, gc=False):
    """A call whose posting changes: the entry as it was read, and its new posting.

    Attributes:
        before: The entry.
        after: Its new posting.
        evidence: What is known of the call from now on, of the same counts, where a person is
            forgotten; None where that stays as it is. `after` names its facts.
    """

    before: Entry
    after: Rated
    evidence: Evidence | None = None

    @property
    def evidence_after(self) -> Evidence:
        """What is known of the call from now on."""
        return self.before.evidence if self.evidence is None else self.evidence


class Difference(msgspec.Struct, frozen=True, gc=False):
    """A balance that is not the sum of its entries' postings, or not what a seal says.

    Attributes:
        leaf: Which balance.
        balance: What the ledger says; None if it has no such balance.
        entries: What the entries add up to; None if no entry posts there. Of a sealed balance
            some may be gone.
        sealed: What the seal says; None if the balance is not sealed, or the seal has no sum.
        seal_day: The watermark of the seal, a UTC day; 0 if the balance is not sealed.
    """

    leaf: Leaf
    balance: Amounts | None
    entries: Amounts | None
    sealed: Amounts | None = None
    seal_day: int = 0


class Verification(msgspec.Struct, frozen=True, gc=False):
    """Outcome of comparing all balances with all entries.

    Attributes:
        entries: Entries read.
        balances: Balances read.
        differences: Where they disagree; empty if the ledger is sound.
        unsettled: Balances that others kept writing to, so that nothing can be said of them.
        sealed: Balances that were compared with the sum a seal stored, and with the entries
            where all of these are left.
        gone: Sealed calls whose entries are not there any more.
    """

    entries: int
    balances: int
    differences: tuple[Difference, ...]
    unsettled: tuple[Leaf, ...] = ()
    sealed: int = 0
    gone: int = 0


class Ledger(Protocol):
    """Entries, and the balances that are their sum.

    All methods may raise `TransientError` (try again), `LedgerCorruptError` (a person must
    look) and `ConfigurationError` (the ledger cannot be opened as asked); `commit` and
    `rebook` also `RefusedError` (some call cannot be booked as it is).
    """

    async def commit(self, batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        """Book a batch, each of its calls all or not at all, and exactly once.

        With `touched`, the answer also names the leaves of calls that were known already, and
        which of them are pending: a worker may have died between booking them and looking at
        their budgets, or telling of them.

        An embedded ledger books the batch in one transaction. A shared one may need several;
        after a `TransientError` some may have been made, and committing again books the rest.

        Known calls are merged with what is new about them; `poster` works out the posting of
        what became of them. The batch is left as it was, so that the commit can be retried.
        Calls of people whom the ledger's marks say to be forgotten are booked under their
        pseudonyms (`core.forgotten`). What the seal in force holds is left alone (`core.seal`).
        """

    async def find(self, request_id: str) -> list[Entry]:
        """Return the entries with this request id, of any namespace and account."""

    def scan(self, after: str | None = None) -> AsyncIterator[Sequence[Entry]]:
        """Yield all entries in chunks, in the ledger's own order, after the entry `after`."""

    def pending(
        self, *, models: Collection[str] | None = None, leaves: Collection[Leaf] | None = None
    ) -> AsyncIterator[Sequence[Entry]]:
        """Yield, in chunks, the calls whose price is pending: the unpriced and the unmetered.

        They are what a late price, or a profile that is known by now, could move; no sealed
        call is among them. This reads all balances of a shared ledger, and all entries of an
        embedded one.

        Args:
            models: Only calls that are posted to these models; None for all.
            leaves: Only calls that are posted to these leaves, and perhaps others that differ
                in nothing but the day; None for all. A shared ledger reads no balances then.
        """

    def booked(self, identities: Collection[str], from_ms: int) -> AsyncIterator[Sequence[Entry]]:
        """Yield, in chunks, the calls of some identities that happened from an instant on.

        Perhaps also others, and some twice. They are what a mapping that became known late could
        move; no sealed call is among them. A shared ledger finds them by a journal of what was
        booked, which goes back `core.journal.JOURNAL_DAYS`, and reads nothing else; an embedded
        one goes through all entries. The calls of a session are found by the identity of its role
        as well.

        Args:
            identities: `Leaf.identity` of the callers.
            from_ms: Event time, epoch milliseconds UTC.
        """

    async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
        """Replace postings and move their amounts, in one transaction.

        An entry that is no longer at the revision it was read at is left alone, and so is one
        that is sealed, unless the rebooking forgets a person (it has `evidence`): nothing but the
        name changes then.

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
        """Compare every balance with the sum of its entries' postings, on one snapshot.

        A sealed balance is compared with what its seal says, and the seal with the entries where
        all of them are left.
        """

    async def seal_in_force(self) -> Seal:
        """Return how far the ledger is sealed, strongly read."""

    async def seal(self, day: int, on_progress: Callable[[int], None] | None = None) -> Seal:
        """Seal everything before the beginning of a UTC day, and store what it adds up to.

        First the watermark: from then on nothing can be added before it by anybody, whatever
        they know. Then the sums, from the entries. It may be interrupted anywhere; called again,
        with the same day or a later one, it completes what was begun. A watermark never moves
        back: an earlier day completes what there is, and nothing else.

        Args:
            day: The watermark, a UTC day.
            on_progress: Called with the number of entries looked at so far.

        Returns:
            The seal that is in force, complete.

        Raises:
            ConfigurationError: The day was so short a while ago that deliveries from before it
                may still come (`core.seal.LATE_DAYS`).
            LedgerCorruptError: Balances are not the sum of their entries, so that their sums
                cannot be vouched for; none are stored.
            TransientError: Somebody else is sealing, or forgetting a person, at the same time.
        """

    async def sealed_sums(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> dict[Leaf, SealedSum]:
        """Return what complete seals stored of an inclusive range of UTC days."""

    async def expire(
        self, after_days: int, now_ms: int, on_progress: Callable[[int], None] | None = None
    ) -> int:
        """Let entries go that are sealed and as old as that; balances and sums stay.

        A shared ledger is told when each may go, and lets it go by and by; an embedded one
        removes those whose time has come. Entries of the last days before the watermark are kept
        (`core.seal.KEPT_DAYS`), and those of batch jobs. It may be interrupted and called again.

        Args:
            after_days: How long after the call its entry may go.
            now_ms: Time of now, epoch milliseconds UTC.
            on_progress: Called with the number of entries looked at so far.

        Returns:
            How many entries were removed, or were newly told when to go.
        """

    async def purge(self, person: Person) -> None:
        """Remove what still names a person whom no entry names any more.

        Empty balances of theirs, and the values that only those and earlier revisions of entries
        named. Whoever books meanwhile must know the person's mark.

        Raises:
            TransientError: Something is booked under the name still, or again.
        """

    @property
    def hears_after_seconds(self) -> int:
        """How long others that book into this ledger may take to hear of a mark."""

    async def progress(self, name: str) -> str | None:
        """Return the note that a resumable job left under `name`."""

    async def keep_progress(self, name: str, note: str | None) -> None:
        """Leave a note under `name` for a later run to resume from; None removes it."""

    async def replace_progress(self, name: str, before: str | None, note: str) -> bool:
        """Leave a note under `name` if the one there is still `before` (None: there is none).

        Returns:
            Whether it was left.

        Raises:
            TransientError: It may have been left or not; read before trying again.
        """

    async def close(self) -> None:
        """Release what the ledger holds."""
