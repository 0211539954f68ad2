"""The shared ledger: entries and balances in DynamoDB, exactly once under any concurrency.

A batch becomes few transactions. Each puts its calls' entries on condition that they are still
what was read (unknown, or one exact body) and adds the folded sums of the balances they touch.
A transaction in which a condition fails changes nothing; it returns what is there now, that
call is merged anew, and the rest is tried again without it.

Interned values are written before any entry names them. They never change, so writing one
twice does no harm.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from botocore.exceptions import ClientError

from worker.adapters import dynamodb_items as items
from worker.adapters import dynamodb_progress as progress
from worker.adapters.aws_errors import error_code
from worker.adapters.clock import SystemClock
from worker.adapters.dynamodb_entries import DynamoEntries
from worker.adapters.dynamodb_outcome import Outcome, committed, count, refused, told_of
from worker.adapters.dynamodb_purge import purge
from worker.adapters.dynamodb_requests import (
    ATTEMPTS_MAX,
    CONDITION_FAILED,
    Dynamo,
    Reasons,
    backoff,
    is_transient,
)
from worker.adapters.dynamodb_sealing import SETTLE_SECONDS, Expiry, Sealing, rename
from worker.adapters.dynamodb_seals import head_key, seal_of, watermark_check
from worker.adapters.dynamodb_shards import BalanceShards, is_full
from worker.adapters.ledger_reading import known_of
from worker.adapters.pace import Pace
from worker.core.batch import Batch, improve
from worker.core.codec import encode_body, encode_key
from worker.core.errors import TransientError
from worker.core.forgotten import NOTE, Marks, Person, hide, marks_in
from worker.core.ledger import MS_PER_DAY, Amounts, Entry, Leaf
from worker.core.posting import Poster
from worker.core.seal import GUARDED_DAYS, NOTHING_SEALED, Seal, check_past, unsealed, without
from worker.core.transactions import (
    BalanceKey,
    CallWrite,
    Transaction,
    balance_keys,
    pack_by_age,
    payer_item,
)
from worker.ports import Clock, Committed, Rebooking

ROUNDS_MAX: Final = 20
"""How often a call may lose a race for its own entry before the commit is given up."""

MARKS_SECONDS: Final = 30
"""How long the marks of forgotten people are kept in mind."""

HEARS_SECONDS: Final = 300
"""After this long nobody books by marks of before: they are kept in mind for `MARKS_SECONDS`, and
what is then begun ends, or is given up."""

CONCURRENCY: Final = 4
"""Transactions in flight at a time, each with a wide shard of its own."""


class DynamoLedger(DynamoEntries):
    """A `worker.ports.Ledger` in two tables.

    Args:
        prefix: Names the tables, `PREFIX-entries` and `PREFIX-balances`.
        dynamo: The client, for tests.
        prefetch: Read a batch's entries first. Pays where most calls arrive twice (CloudTrail
            beside logs): a strong read of 100 keys costs a ninth of a cancelled transaction.
        create_tables: Make missing tables, for local use.
        discard: Keep nothing, for dry runs: what would be booked stays in memory.
        entries_per_second: How fast `verify` and `rebook` go through the entries at most.
        clock: Tells when calls are booked: for the journal, and for what may be sealed.
        settle_seconds: How long to wait after a watermark was moved; see `dynamodb_sealing`.
    """

    def __init__(  # noqa: PLR0913 - what a shared ledger may be asked for
        self,
        prefix: str = "ledgerock",
        *,
        dynamo: Dynamo | None = None,
        prefetch: bool = True,
        create_tables: bool = False,
        discard: bool = False,
        entries_per_second: int | None = None,
        clock: Clock | None = None,
        settle_seconds: float = SETTLE_SECONDS,
    ) -> None:
        """Open nothing yet: the client is made on first use."""
        pace = Pace(entries_per_second)
        super().__init__(
            prefix,
            dynamo or Dynamo(),
            create_tables=create_tables,
            discard=discard,
            pace=pace,
            clock=clock or SystemClock(),
        )
        self._prefetch = prefetch
        self._days: set[int] = set()
        self._marks_note: str | None = None
        self._heard_until = 0.0
        self._heard_seal = NOTHING_SEALED
        self._settle_seconds = settle_seconds
        self._placing = BalanceShards()
        self._shards: asyncio.Queue[int] = asyncio.Queue()
        # Workers start at random shards, so that two of them seldom want the same one.
        first = random.randrange(items.SHARDS_MAX)  # noqa: S311 - spreads load
        for slot in range(CONCURRENCY):
            self._shards.put_nowait((first + slot) % items.SHARDS_MAX)

    async def commit(self, batch: Batch, poster: Poster, *, touched: bool = False) -> Committed:
        """Book a batch, each call exactly once.

        Who has not heard of a seal yet, for `MARKS_SECONDS` at most, takes sealed records that add
        nothing for duplicates; whatever would add something is checked.

        After a `TransientError` some of its transactions may be booked; committing the batch
        again books the rest, and nothing twice. The same goes for a `RefusedError`, but for the
        calls that are refused.
        """
        await self._prepare()
        try:
            return await self._commit(batch, poster, touched=touched)
        except ClientError as error:  # Of keys and names that no item can have.
            raise refused([error_code(error)], error) from error

    async def _heard(self) -> tuple[Marks | None, Seal]:
        """Return the marks of forgotten people, and the seal in force, as of a moment ago."""
        now = time.monotonic()
        if now >= self._heard_until:
            wanted = [items.note_key(NOTE), head_key()]
            found = await self._dynamo.get_many(self._balances, wanted)
            by_key = {item["pk"]["S"]: item for item in found}
            marks = by_key.get(wanted[0]["pk"]["S"])
            note = None if marks is None else marks["note"]["S"]
            if note != self._marks_note:
                self._names.doubt()
            self._heard_seal = seal_of(by_key.get(wanted[1]["pk"]["S"]))
            self._marks_note, self._heard_until = note, now + MARKS_SECONDS
        return marks_in(self._marks_note), self._heard_seal

    @property
    def hears_after_seconds(self) -> int:
        """Marks are kept in mind for a while, and a commit takes its time."""
        return HEARS_SECONDS

    async def purge(self, person: Person) -> None:
        """Remove what still names a person: balances first, then the parts they are named by."""
        await self._prepare()
        await rename(self, self._dynamo, self._balances, person)
        await purge(self, self._dynamo, self._balances, person)

    async def _commit(self, whole: Batch, poster: Poster, *, touched: bool) -> Committed:
        marks, seal = await self._heard()
        outcome = Outcome(seal=seal)
        open_batch, too_late = unsealed(whole, seal, poster)
        batch = hide(open_batch, marks)
        repeats = dict(batch.repeats)
        wanted = list(batch.bodies) if self._must_read() else []
        _, known = await asyncio.gather(self._intern(batch.interned), self._bodies_of(wanted))
        pending = {key: known.get(key) for key in batch.bodies}
        for _ in range(ROUNDS_MAX):
            writes = await self._writes(batch, pending, poster, outcome)
            if touched:
                outcome.known |= {
                    key: body
                    for key, body in pending.items()
                    if body is not None and key not in outcome.sealed
                }
            pending = await self._book(writes, outcome)
            if not pending:
                seen = known_of(outcome.known.values(), self._decoder)
                return committed(whole.records, repeats, outcome, seen, too_late)
            marks, outcome.seal = await self._heard()
            if outcome.seal.day != seal.day:  # Somebody sealed meanwhile.
                seal = outcome.seal
                open_batch, _ = without(open_batch, open_batch.bodies.keys() - pending.keys())
                open_batch, more = unsealed(open_batch, seal, poster)
                batch, too_late = hide(open_batch, marks), too_late + more
                repeats |= batch.repeats
                await self._intern(batch.interned)
                pending = {key: pending[key] for key in batch.bodies}
        message = f"{len(pending)} calls of a batch kept losing races for their entries"
        raise TransientError(message)

    def _must_read(self) -> bool:
        return self._prefetch or self._discarded is not None

    async def _writes(
        self,
        batch: Batch,
        pending: dict[bytes, bytes | None],
        poster: Poster,
        outcome: Outcome,
    ) -> list[CallWrite]:
        """Work out what to write for calls, given what each is known as."""
        improved = []
        writes = []
        for key, stored in pending.items():
            incoming = batch.bodies[key]
            if stored is None:
                leaf_id, amounts = self._decoder.amounts(incoming)
                leaf = self._decoder.leaf(leaf_id)
                writes.append(CallWrite(key, incoming, None, ((leaf, amounts, leaf_id),)))
            elif incoming != stored:
                if outcome.seal.holds(self._decoder.day(stored)):
                    outcome.sealed.add(key)
                    continue
                better = improve(key, stored, incoming, self._decoder, poster)
                if better is not None:
                    improved.append((key, stored, *better))
        values = {}
        for _, _, _, _, rated in improved:
            for value in (rated.route.facts, rated.route.leaf, rated.route.basis):
                values[value.id] = value.encoded
        await self._intern(values)
        for key, stored, before, after, rated in improved:
            body = encode_body(after.evidence, rated, after.revision)
            writes.append(self._replacement(key, stored, body, before, after))
        return writes

    def _replacement(
        self, key: bytes, stored: bytes, body: bytes, before: Entry, after: Entry, expires: int = 0
    ) -> CallWrite:
        old_leaf, added = self._decoder.amounts(stored)
        taken = Amounts()
        taken.subtract(added)
        new_leaf, amounts = self._decoder.amounts(body)
        return CallWrite(
            key,
            body,
            stored,
            (
                (before.posting.leaf, taken, old_leaf),
                (after.posting.leaf, amounts, new_leaf),
            ),
            expires,
        )

    async def _book(
        self, writes: Iterable[CallWrite], outcome: Outcome
    ) -> dict[bytes, bytes | None]:
        """Make transactions of writes; return calls that turned out to be something else."""
        today = self._clock.now_ms() // MS_PER_DAY
        transactions = list(pack_by_age(writes, today - GUARDED_DAYS))
        if self._discarded is not None:
            for transaction in transactions:
                for write in transaction.writes:
                    self._discarded[write.key] = (write.body, self._names_in(write.body))
                count(outcome, transaction)
            return {}
        await self._note(transactions, outcome)
        lost: dict[bytes, bytes | None] = {}
        answers = await asyncio.gather(
            *(self._transact(transaction, outcome.seal, today) for transaction in transactions),
            return_exceptions=True,
        )
        for transaction, answer in zip(transactions, answers, strict=True):
            if isinstance(answer, BaseException):
                raise answer
            if answer is None:
                count(outcome, transaction)
            else:
                lost |= answer
        return lost

    async def _transact(
        self, transaction: Transaction, seal: Seal, today: int
    ) -> dict[bytes, bytes | None] | None:
        """Make one transaction.

        Calls that somebody may be sealing are booked on condition that the seal is still the
        one that was heeded. Which these are was told by `today`, a UTC day.

        Returns:
            None if it was made. Otherwise it changed nothing, and these are its calls with
            what each is known as now.
        """
        shard = await self._shards.get()
        try:
            for attempt in range(ATTEMPTS_MAX):
                if self._clock.now_ms() // MS_PER_DAY > today + 1:
                    raise TransientError("this machine stood still for a day; commit it again")
                # Made anew each time: a balance that conflicted is spread over shards by now,
                # and one that was full has another layer.
                request = self._request(transaction, shard)
                if transaction.may_be_sealed:
                    request.append((watermark_check(self._balances, seal, shard), None))
                layers = {key: self._placing.layer(key) for _, key in request if key is not None}
                try:
                    reasons = await self._dynamo.transact([item for item, _ in request])
                except ClientError as error:
                    raise refused([error_code(error)], error) from error
                if not reasons:
                    return None
                codes = [str(reason.get("Code")) for reason in reasons]
                if CONDITION_FAILED in codes:
                    return await self._known_now(transaction, reasons)
                full = [
                    key
                    for (_, key), reason in zip(request, reasons, strict=True)
                    if key is not None and is_full(reason)
                ]
                if self._placing.raise_layers(full, layers):
                    continue
                if not is_transient(reasons):
                    raise refused(codes, told_of(reasons))
                self._placing.spread(
                    [
                        key
                        for (_, key), code in zip(request, codes, strict=True)
                        if code == "TransactionConflict" and key is not None
                    ]
                )
                await backoff(attempt)
            message = f"a transaction was cancelled {ATTEMPTS_MAX} times by conflicts or throttles"
            raise TransientError(message)
        finally:
            self._shards.put_nowait(shard)

    def _request(
        self, transaction: Transaction, shard: int
    ) -> list[tuple[dict[str, Any], BalanceKey | None]]:
        request: list[tuple[dict[str, Any], BalanceKey | None]] = []
        for write in transaction.writes:
            put: dict[str, Any] = {
                "TableName": self._entries,
                "Item": items.entry_item(
                    write.key,
                    write.body,
                    self._names_in(write.body),
                    self._pending_shape(write),
                    write.expires,
                ),
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
            if write.expected is None:
                put["ConditionExpression"] = "attribute_not_exists(r)"
            else:
                put["ConditionExpression"] = "b = :b"
                put["ExpressionAttributeValues"] = {":b": {"B": write.expected}}
            request.append(({"Put": put}, None))
        postings: dict[BalanceKey, list[tuple[Leaf, Amounts, int]]] = {}
        for write in transaction.writes:
            for leaf, amounts, leaf_id in write.postings:
                posting = leaf, amounts, self._names.shape_id(leaf_id)
                for key in balance_keys(leaf):
                    postings.setdefault(key, []).append(posting)
        for key in sorted(postings):
            update = items.balance_update(key, postings[key], self._placing.shard(key, shard))
            if update is not None:
                arguments = {"TableName": self._balances, "Key": update[0], **update[1]}
                request.append(({"Update": arguments}, key))
        return request

    def _pending_shape(self, write: CallWrite) -> int | None:
        _, amounts, leaf_id = write.postings[-1]
        is_pending = amounts.unpriced_calls or amounts.unmetered_calls
        return self._names.shape_id(leaf_id) if is_pending else None

    async def _known_now(
        self, transaction: Transaction, reasons: Reasons
    ) -> dict[bytes, bytes | None]:
        """Return a cancelled transaction's calls with what each is known as now."""
        if transaction.may_be_sealed and reasons[-1].get("Code") == CONDITION_FAILED:
            self._heard_until = 0.0  # Somebody has sealed: ask before anything is tried again.
            await backoff(0)
        known: dict[bytes, bytes | None] = {}
        found = []
        for write, reason in zip(transaction.writes, reasons, strict=False):
            known[write.key] = write.expected
            if reason.get("Code") == CONDITION_FAILED:
                item = reason.get("Item")
                known[write.key] = None
                if item:
                    found.append(items.body_and_names(item))
                    known[write.key] = found[-1][0]
        await self._learn(found)
        return known

    async def rebook(self, rebookings: Sequence[Rebooking]) -> int:
        """Replace postings, each only where the entry is still what was read."""
        await self._prepare()
        wanted = {encode_key(item.before.key): item for item in reversed(rebookings)}
        found = await self._items_of(list(wanted))
        bodies = {key: items.body_and_names(item)[0] for key, item in found.items()}
        await self._pace.take(len(bodies))
        await self._intern(
            {
                value.id: value.encoded
                for item in wanted.values()
                for value in (item.after.route.facts, item.after.route.leaf, item.after.route.basis)
            }
        )
        writes = {}
        for key, stored in bodies.items():
            item = wanted[key]
            before, posting = self._decoder.entry(item.before.key, stored), item.after.posting()
            if before.revision == item.before.revision:
                after = Entry(before.key, item.evidence_after, posting, before.revision + 1)
                body = encode_body(after.evidence, item.after, after.revision)
                expires = items.expires_of(found[key])
                writes[key] = self._replacement(key, stored, body, before, after, expires)
        is_forgetting = self._discarded is None and any(
            item.evidence is not None for item in wanted.values()
        )
        if is_forgetting:  # It moves what is sealed, perhaps at this moment.
            await self._seals.disturb()
        try:
            return await self._rebook(writes, wanted)
        finally:
            if is_forgetting:
                await self._seals.disturb()

    async def _rebook(self, writes: dict[bytes, CallWrite], wanted: dict[bytes, Rebooking]) -> int:
        outcome = Outcome()
        for _ in range(ROUNDS_MAX):
            _, outcome.seal = await self._heard()
            writes = {
                key: write
                for key, write in writes.items()
                if wanted[key].evidence is not None
                or not outcome.seal.holds(write.postings[0][0].day)
            }
            lost = await self._book(writes.values(), outcome)
            # One entry that moved cancels its whole transaction: the others are tried again.
            writes = {key: writes[key] for key, now in lost.items() if now == writes[key].expected}
            if not writes:
                break
        return len(outcome.upgraded)

    async def keep_progress(self, name: str, note: str | None) -> None:
        """Keep or remove a job's note."""
        await self._prepare()
        if self._discarded is None:
            await progress.keep(self._dynamo, self._balances, name, note)

    async def replace_progress(self, name: str, before: str | None, note: str) -> bool:
        """Replace a job's note if it is still what it was; a lost answer counts as made."""
        await self._prepare()
        if self._discarded is not None:
            return True
        return await progress.replace(self._dynamo, self._balances, name, before, note)

    # --- Sealing -----------------------------------------------------------------------------

    async def seal(self, day: int, on_progress: Callable[[int], None] | None = None) -> Seal:
        """Seal everything before a day, while others book; see `dynamodb_sealing`."""
        check_past(day, self._clock.now_ms())
        await self._prepare()
        sealing = Sealing(
            self, self._seals, settle_seconds=self._settle_seconds, on_progress=on_progress
        )
        self._heard_until = 0.0
        return await sealing.seal(day)

    async def expire(
        self, after_days: int, now_ms: int, on_progress: Callable[[int], None] | None = None
    ) -> int:
        """Tell entries when to go that are sealed and may go at all; see `dynamodb_sealing`."""
        await self._prepare()
        pages = self._entry_pages("r, o, b, x", None)
        expiry = Expiry(self._dynamo, self._seals, self._entries, after_days, now_ms)
        return await expiry.run(pages, on_progress)

    def moves(self, leaf: Leaf, shape: int, amounts: Amounts) -> list[dict[str, Any]]:
        """Return the parts of a transaction that add to a payer's balance and to no other."""
        key = payer_item(leaf)
        place = self._placing.shard(key, 0)
        update = items.balance_update(key, [(leaf, amounts, shape)], place)
        if update is None:
            return []
        return [{"Update": {"TableName": self._balances, "Key": update[0], **update[1]}}]

    async def _note(self, transactions: Iterable[Transaction], outcome: Outcome) -> None:
        """Write down days that have balances, and callers that have calls, before they have any."""
        days = {
            key.day for transaction in transactions for key in transaction.balances if key.principal
        }
        fresh = sorted(days - self._days)
        calls = outcome.unnoted(transactions)
        notes = [items.known_day_key(day) for day in fresh] + self._journal.items(calls)
        await self._dynamo.put_many(self._balances, notes)
        self._days.update(fresh)
        outcome.noted.update(calls)
