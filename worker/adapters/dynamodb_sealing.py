"""Sealing the shared ledger, while others book into it.

1. The watermark is moved. From then on no transaction that would add before it, or change anything
   there, gets through, whatever its worker knows; what was under way before is waited for.
2. All entries are gone through, strongly read, and what is newly sealed is added up. Every so often
   the sums so far are kept, and the place: whoever is killed goes on from there.
3. The sums are compared with the balances, which hold still by now, and stored by day.
4. The seal is complete. Only now entries may be told when to go.

Each step may be done again, and changes nothing then.

Forgetting a person moves entries and balances of sealed days, too. While a seal is being made it
leaves another number of changes in the seal in force, before and after it does so; the sums of a
sealing are stored on condition that the number is what it was before it read anything.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Final, Protocol

import msgspec

from worker.adapters.dynamodb_items import day_key, expires_of, stored_key
from worker.adapters.dynamodb_names import split_leaf
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.dynamodb_seals import NOTE, DynamoSeals, set_expiry, sums_in, with_sums
from worker.adapters.ledger_reading import check_sealable
from worker.adapters.ledger_sealing import joined
from worker.core.codec import Bodies, intern_id
from worker.core.errors import LedgerCorruptError, TransientError
from worker.core.forgotten import Person
from worker.core.ledger import MS_PER_DAY, Amounts, Leaf
from worker.core.seal import Seal, SealedSum, may_go

SETTLE_SECONDS: Final = 60.0
"""How long transactions are waited for that were let through before the watermark moved: a strong
read of another item may for a moment not show what one is just about to write."""

FLUSH_ENTRIES: Final = 200_000
"""Entries after which the sums so far are kept."""

UPDATES_AT_ONCE: Final = 16

OnProgress = Callable[[int], None] | None


class Books(Protocol):
    """What sealing needs to read of a ledger."""

    def postings_after(
        self, after: str | None
    ) -> AsyncIterator[tuple[list[tuple[Leaf, Amounts]], str]]:
        """Yield what entries add to which leaf, a page at a time with the key of its last one."""

    async def balance_sums(
        self, first_day: int | None = None, last_day: int | None = None
    ) -> dict[Leaf, Amounts]:
        """Return balances by leaf, zeros included."""

    async def exact_sums(self, leaves: Iterable[Leaf]) -> dict[Leaf, Amounts]:
        """Return the balances of some leaves, read by key."""

    async def leaves_of(self, shapes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Leaf]:
        """Return leaves by shape and day."""

    async def progress(self, name: str) -> str | None:
        """Return a job's note."""

    async def replace_progress(self, name: str, before: str | None, note: str) -> bool:
        """Replace a job's note if it is still what it was."""


class Place(msgspec.Struct, frozen=True):
    """How far the entries were added up.

    Attributes:
        first_day: First day that is added up.
        day: The watermark.
        changes: The number of changes of the seal.
        after: Key of the last entry that was.
        flushes: How often each attempt kept its sums.
    """

    first_day: int
    day: int
    changes: int = 0
    after: str = ""
    flushes: dict[str, int] = {}


class Sealing:
    """One sealing.

    Args:
        books: The ledger.
        seals: Its seals.
        pause: Waits so many seconds.
        settle_seconds: How long to wait after the watermark was moved.
        on_progress: Called with the number of entries looked at so far.
    """

    def __init__(
        self,
        books: Books,
        seals: DynamoSeals,
        *,
        settle_seconds: float = SETTLE_SECONDS,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
        on_progress: OnProgress = None,
    ) -> None:
        """Change nothing yet."""
        self._books = books
        self._seals = seals
        self._settle_seconds = settle_seconds
        self._pause = pause
        self._on_progress = on_progress

    async def seal(self, day: int) -> Seal:
        """Seal everything before a day; see the port."""
        seal = await self._moved(day)
        if seal.is_complete:
            await self._forget_place(seal)  # Whoever completed it may have died before that.
            return seal
        sums = await self._summed(seal)
        leaves = await self._books.leaves_of(sums)
        await self._check(seal, {leaves[key]: amounts for key, amounts in sums.items()})
        by_day: dict[int, dict[int, SealedSum]] = {}
        for (shape, of_day), amounts in sums.items():
            by_day.setdefault(of_day, {})[shape] = SealedSum(amounts, seal.day)
        for of_day in range(max(1, seal.complete_day), seal.day):
            if of_day in by_day and not await self._seals.store(of_day, by_day[of_day], seal):
                raise _somebody_else()
        complete = msgspec.structs.replace(seal, complete_day=seal.day)
        if not await self._seals.change(seal, complete):
            now = await self._seals.head()
            if not now.is_complete or now.day != seal.day:
                raise _somebody_else()
            complete = now
        await self._forget_place(complete)
        return complete

    async def _moved(self, day: int) -> Seal:
        """Move the watermark, unless it is there or further; return the seal in force."""
        seal = await self._seals.head()
        if day <= seal.day:
            return seal
        wanted = msgspec.structs.replace(seal, day=day)
        if not await self._seals.move(seal, wanted):
            raise _somebody_else()
        return wanted

    async def _summed(self, seal: Seal) -> dict[tuple[int, int], Amounts]:
        """Add up what is newly sealed, by leaf shape and day."""
        place = Place(max(1, seal.complete_day), seal.day, seal.changes)
        note = await self._books.progress(NOTE)
        if note is not None:
            noted = msgspec.json.decode(note, type=Place)
            if msgspec.structs.replace(noted, after="", flushes={}) == place:
                place = noted
        if not place.after:
            await self._pause(self._settle_seconds)
        attempt = f"{_attempts_of(seal)}{secrets.token_hex(4)}"
        number = looked_at = since = 0
        sums: dict[tuple[int, int], Amounts] = {}
        async for page, last in self._books.postings_after(place.after or None):
            for leaf, amounts in page:
                if place.first_day <= leaf.day < place.day:
                    key = intern_id(split_leaf(leaf)), leaf.day
                    sums.setdefault(key, Amounts()).add(amounts)
            looked_at, since = looked_at + len(page), since + len(page)
            if self._on_progress is not None:
                self._on_progress(looked_at)
            if since >= FLUSH_ENTRIES:
                await self._seals.flush(attempt, number, sums)
                number, since, sums = number + 1, 0, {}
                flushes = {**place.flushes, attempt: number}
                place = msgspec.structs.replace(place, after=last, flushes=flushes)
                note = await self._keep_place(note, place)
        for key, amounts in (await self._seals.flushed(place.flushes)).items():
            sums.setdefault(key, Amounts()).add(amounts)
        return sums

    async def _keep_place(self, before: str | None, place: Place) -> str:
        note = msgspec.json.encode(place).decode()
        for found in (before, None):  # Whoever completed an earlier seal may have removed it.
            if await self._books.replace_progress(NOTE, found, note):
                return note
        raise _somebody_else()

    async def _forget_place(self, seal: Seal) -> None:
        await forget_place(self._books, self._seals, seal)

    async def _check(self, seal: Seal, entries: dict[Leaf, Amounts]) -> None:
        """Compare with the balances of these days, past the index where that lags behind."""
        first, last = max(1, seal.complete_day), seal.day - 1
        balances = await self._books.balance_sums(first, last)
        zero = Amounts()
        late = [
            leaf
            for leaf in entries.keys() | balances.keys()
            if entries.get(leaf, zero) != balances.get(leaf, zero)
        ]
        if not late:
            return
        exact = await self._books.exact_sums(late)
        balances |= {leaf: exact.get(leaf, zero) for leaf in late}
        try:
            left = "the watermark is in force, but no sums are stored and no entry may go until so"
            check_sealable(entries, balances.items(), seal.day, left)
        except LedgerCorruptError:
            if await self._seals.head() != seal:
                # What was kept on the way may be gone: they have no more use for it.
                raise _somebody_else() from None
            await self._forget_place(seal)  # Once it is mended, everything is added up anew.
            raise


def _somebody_else() -> TransientError:
    message = (
        "somebody else is sealing this ledger, or forgetting a person in it, at the same time; "
        "run it again once that is done"
    )
    return TransientError(message)


def _attempts_of(seal: Seal) -> str:
    """Return what the names of attempts at a seal begin with, in the order of seals."""
    return f"{day_key(seal.day)}.{seal.changes:08d}."


class Places(Protocol):
    """What removing a place needs of a ledger."""

    async def progress(self, name: str) -> str | None:
        """Return a job's note."""


async def forget_place(books: Places, seals: DynamoSeals, seal: Seal) -> None:
    """Remove what sealings left on their way to a seal, and to earlier ones.

    A place on the way to a later one is somebody's who is at it.
    """
    note = await books.progress(NOTE)
    if note is not None:
        place = msgspec.json.decode(note, type=Place)
        if (place.day, place.changes) <= (seal.day, seal.changes):
            await seals.remove_place(note)
    await seals.drop_flushed(_attempts_of(seal))


class Expiry:
    """Tells entries when to go.

    Args:
        dynamo: Makes requests.
        seals: Seals of the ledger.
        table: The table of entries.
        after_days: How long after the call.
        now_ms: Time of now, epoch milliseconds UTC.
    """

    def __init__(
        self, dynamo: Dynamo, seals: DynamoSeals, table: str, after_days: int, now_ms: int
    ) -> None:
        """Change nothing yet."""
        self._dynamo = dynamo
        self._seals = seals
        self._table = table
        self._after_days = after_days
        self._after_seconds = after_days * MS_PER_DAY // 1_000
        self._now_ms = now_ms
        self._now = now_ms // 1_000
        self._decoder = Bodies(lambda _: None)
        self._at_once = asyncio.Semaphore(UPDATES_AT_ONCE)

    async def run(self, pages: AsyncIterator[list[dict[str, Any]]], on_progress: OnProgress) -> int:
        """Go through entries; return how many were newly told."""
        seal = await self._seals.head()
        before = seal.may_go_before_day
        if not before:
            return 0
        expired = seal.told(self._after_days, self._now_ms)
        # First of all: whoever reads from now on is told that some may be missing.
        if expired != seal and not await self._seals.change(seal, expired):
            raise _somebody_else()
        told = looked_at = 0
        async for page in pages:
            wanted = [item for item in page if self._may_go(item, before)]
            told += sum(await asyncio.gather(*map(self._tell, wanted)))
            looked_at += len(page)
            if on_progress is not None:
                on_progress(looked_at)
        return told

    def _may_go(self, item: dict[str, Any], before_day: int) -> bool:
        day = self._decoder.day(bytes(item["b"]["B"]))
        return day < before_day and may_go(stored_key(item), day)

    async def _tell(self, item: dict[str, Any]) -> bool:
        at_ms = self._decoder.at_ms(bytes(item["b"]["B"]))
        # Never long ago: items that expired more than five years ago are left alone for good.
        wanted = max(self._now, at_ms // 1_000 + self._after_seconds)
        stated = expires_of(item)
        if stated == wanted or 0 < stated <= self._now >= wanted:
            return False
        async with self._at_once:
            return await set_expiry(self._dynamo, self._table, item, wanted)


class Renaming(Protocol):
    """What renaming needs of a ledger."""

    async def leaves_of(self, shapes: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Leaf]:
        """Return leaves by shape and day."""

    async def exact_sums(self, leaves: Iterable[Leaf]) -> dict[Leaf, Amounts]:
        """Return the balances of some leaves, read by key."""

    async def hold_leaf(self, leaf: Leaf) -> int:
        """Make sure that the ledger holds what a leaf is made of; return its shape."""

    def moves(self, leaf: Leaf, shape: int, amounts: Amounts) -> list[dict[str, Any]]:
        """Return the parts of a transaction that add to a payer's balance and to no other."""

    async def progress(self, name: str) -> str | None:
        """Return a job's note."""


async def rename(books: Renaming, dynamo: Dynamo, table: str, person: Person) -> None:
    """Have the pseudonym stand for a person in sums of seals, and in what is left of balances.

    What is left, once all entries were rewritten, is of calls whose entries are gone. It moves
    together with the sum, on condition that this is what was read: of several who do this at once
    one does it. Everybody's sums stay, since they are not of people.

    Raises:
        TransientError: Somebody else is at it.
    """
    seals = DynamoSeals(dynamo, table)
    # A sealing that is under way, or was interrupted, would go on with names that are about to go.
    # What it has stored is of days that the next one stores anew.
    seal = await seals.disturb()
    before = seal if seal.is_complete else msgspec.structs.replace(seal, changes=seal.changes - 1)
    await forget_place(books, seals, before)
    for item in await seals.items_between(0, seal.complete_day - 1) if seal.complete_day else ():
        leaves = await books.leaves_of(sums_in(item))
        for (shape, day), leaf in leaves.items():
            hidden = person.leaf(leaf)
            if hidden == leaf:
                continue
            sums = sums_in(item)
            new_shape = await books.hold_leaf(hidden)
            left = (await books.exact_sums([leaf])).get(leaf, Amounts())
            taken = Amounts()
            taken.subtract(left)
            one = sums.pop((shape, day))
            sums[new_shape, day] = joined(sums.get((new_shape, day)), one)
            after = with_sums(item, sums)
            put = {
                "TableName": table,
                "Item": after,
                "ConditionExpression": "b = :b",
                "ExpressionAttributeValues": {":b": item["b"]},
            }
            moved = [*books.moves(leaf, shape, taken), *books.moves(hidden, new_shape, left)]
            if await dynamo.transact([{"Put": put}, *moved]):
                message = (
                    "sums of seals, or balances, are being written to; forget the person again"
                )
                raise TransientError(message)
            item = after  # noqa: PLW2901 - the next condition is on what was just written
