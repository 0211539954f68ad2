"""The audit log: who did what to whom, and why. Entries are appended, and never change.

An entry and the log's head are written together, on condition that the head is what it was: of
several who append at once one is first, and the others append after it. So the log neither forks
nor loses an entry, wherever a process dies; what is said to be appended is there. How entries hang
together, and how a person is forgotten, is said in `worker.core.audit`.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final

import msgspec

from worker.core.audit import (
    ACT_FORGET,
    AuditDetails,
    AuditEntry,
    AuditHead,
    AuditProblem,
    ChainCheck,
    Order,
    Replacement,
    audit_text,
    chained,
    commitment_of,
    overruled_by,
    with_details,
)
from worker.core.enforcement_names import AUDIT, AUDIT_HEAD, audit_name, once_partition
from worker.core.errors import LedgerCorruptError, TransientError
from worker.ports import Clock, Record, Records

ATTEMPTS: Final = 40
"""How often an entry is appended anew because somebody else was first."""
PAUSE_FIRST_SECONDS: Final = 0.005
PAUSE_LAST_SECONDS: Final = 0.5
ENTRIES_PER_PAGE: Final = 200
SALT_BYTES: Final = 32
REPLACED_PER_ENTRY: Final = 1_000
ROUNDS: Final = 10
"""How often a log is gone through to forget a person while others change it."""

_encode: Final = msgspec.json.Encoder().encode
_entry: Final = msgspec.json.Decoder(AuditEntry).decode
_head: Final = msgspec.json.Decoder(AuditHead).decode
_number: Final = msgspec.json.Decoder(int).decode

Rewrite = Callable[[AuditDetails], AuditDetails]
"""Returns details as they are to be from now on."""
_Found = tuple[Record, AuditEntry, AuditDetails]
"""An entry, where it is kept, and the details that it is to have."""


class AuditCheck(msgspec.Struct, frozen=True):
    """What came of checking a log.

    Attributes:
        entries: How many it has.
        head: Where it ends: to be noted elsewhere by whoever wants to prove more later.
        replaced: Entries in which a person was forgotten; their chain holds all the same.
        problems: Everything that is wrong; empty if the log is sound.
    """

    entries: int
    head: AuditHead
    replaced: int
    problems: tuple[AuditProblem, ...]


class AuditLog:
    """The log, in records.

    Args:
        records: Where it is kept.
        clock: Ledger time.
        salt: Makes random bytes.
        pause: Waits so many seconds.
    """

    def __init__(
        self,
        records: Records,
        clock: Clock,
        *,
        salt: Callable[[int], bytes] = secrets.token_bytes,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Read nothing yet."""
        self._records = records
        self._clock = clock
        self._salt = salt
        self._pause = pause
        self._turn = asyncio.Lock()

    async def append(  # noqa: PLR0913 - an entry has as many parts
        self,
        *,
        act: str,
        actor: str,
        subject: str,
        why: str = "",
        before: object = None,
        after: object = None,
        once: str = "",
    ) -> AuditEntry:
        """Append an entry: one read and one write, more only where others append at once.

        Args:
            act: What was done (`Principal Suspended`); names nobody.
            actor: Who did it: `ledgerock`, or a person.
            subject: To whom or what.
            why: One line.
            before: What was there before: text, or anything that JSON can say.
            after: What was there afterwards.
            once: Names the act itself, where it may be said twice: of two entries under one
                name only the first is kept. Should name nobody; a hash of it is kept.

        Returns:
            The entry; the earlier one if there is one under the name `once`.

        Raises:
            TransientError: It may have been appended or not.
            LedgerCorruptError: The log's head cannot be read.
        """
        texts = (audit_text(value) for value in (actor, subject, why, before, after))
        return await self._append(act, AuditDetails(*texts), once)

    async def _append(
        self, act: str, details: AuditDetails, once: str, replaced: Sequence[Replacement] = ()
    ) -> AuditEntry:
        at_ms, salt = self._clock.now_ms(), self._salt(SALT_BYTES)
        fault: TransientError | None = None
        tried: AuditEntry | None = None
        async with self._turn:
            for attempt in range(ATTEMPTS):
                try:
                    if attempt:
                        await self._pause(_jittered(attempt))
                    head = await self._records.get(AUDIT, AUDIT_HEAD)
                    # What is not known to be written may be: it is looked for before it is
                    # written anew, and at the same place it is the very same entry.
                    kept = await self._kept(tried, once if attempt else "")
                    if kept is not None:
                        return kept
                    tried = chained(
                        _head_in(head),
                        at_ms=at_ms,
                        act=act,
                        details=details,
                        salt=salt,
                        replaced=replaced,
                    )
                    if await self._records.write(_records_of(tried, head, once)):
                        return tried
                except TransientError as error:
                    fault = error
        message = (
            f"the audit log could not be appended to in {ATTEMPTS} attempts"
            f"{f' ({fault})' if fault else ''}; `ledgerock verify --audit` says whether it is sound"
        )
        raise TransientError(message) from fault

    async def _kept(self, tried: AuditEntry | None, once: str) -> AuditEntry | None:
        """Return the entry that was to be appended, if it was."""
        if tried is not None:
            found = await self._at(tried.number)
            if found is not None and found.hash == tried.hash:
                return found
        if once:
            mark = await self._records.get(*_mark(once))
            if mark is not None:
                return await self._at(_number(mark.body))
        return None

    async def _at(self, number: int) -> AuditEntry | None:
        record = await self._records.get(AUDIT, audit_name(number))
        return None if record is None else _entry_in(record)

    async def entries(self, *, after: int = 0) -> AsyncIterator[Sequence[AuditEntry]]:
        """Yield the entries after a number, in pages, in their order.

        Raises:
            LedgerCorruptError: One cannot be read.
        """
        async for page in self._pages(audit_name(after)):
            yield [_entry_in(record) for record in page]

    async def _pages(self, after: str) -> AsyncIterator[Sequence[Record]]:
        while True:
            page = await self._records.partition(AUDIT, after=after, limit=ENTRIES_PER_PAGE)
            entries = [record for record in page if record.name != AUDIT_HEAD]
            if entries:
                yield entries
            if len(page) < ENTRIES_PER_PAGE:
                return
            after = page[-1].name

    async def check(self, noted: AuditHead | None = None) -> AuditCheck:
        """Check the whole log; entries may be appended meanwhile.

        Args:
            noted: Where an earlier check found that it ended; the hash may be its beginning.
        """
        check = ChainCheck(noted)
        after = ""
        while True:
            before = check.entries
            async for page in self._pages(after):
                for record in page:
                    _check(check, record)
                after = page[-1].name
            # Read after the entries: it names at least the last of those.
            head = await self._records.get(AUDIT, AUDIT_HEAD)
            try:
                kept = _head_in(head)
            except LedgerCorruptError:
                kept = None
            if kept is None or kept.number <= check.end.number or check.entries == before:
                break
        problems = check.finish(kept)
        if kept is None:
            problems.insert(0, AuditProblem(0, "the log's head cannot be read"))
        return AuditCheck(check.entries, check.end, check.replaced, tuple(problems))

    async def forget(self, rewrite: Rewrite, *, actor: str, subject: str, why: str = "") -> int:
        """Have a pseudonym stand for a person in all entries so far; the chain holds.

        This goes through the whole log. Doing it again completes what a crash interrupted.

        Args:
            rewrite: Returns an entry's details without the person's name; unchanged if they do
                not mention it, or not any more.
            actor: Who wants it.
            subject: The pseudonym.
            why: One line.

        Returns:
            In how many entries the person was mentioned.

        Raises:
            TransientError: It may have been done in part; do it again.
        """
        forgotten: set[int] = set()
        for _ in range(ROUNDS):
            found = await self._mentioning(rewrite, subject)
            if not found:
                return len(forgotten)
            forgotten |= {entry.number for _, entry, new in found if new != entry.details}
            about = rewrite(AuditDetails(*(audit_text(text) for text in (actor, subject, why))))
            for start in range(0, len(found), REPLACED_PER_ENTRY):
                await self._replace(found[start : start + REPLACED_PER_ENTRY], about)
        raise TransientError("the audit log kept being changed by others; forget again")

    async def _mentioning(self, rewrite: Rewrite, subject: str) -> list[_Found]:
        """Return the entries that mention a person, and those that were replaced in vain.

        Of two who forget a person at once, one may replace details last, and the other say last
        what they are: these are replaced once more, as they are.
        """
        found: dict[int, _Found] = {}
        orders: dict[int, list[Order]] = {}
        about: dict[int, str] = {}
        async for page in self._pages(""):
            for record in page:
                entry = _entry_in(record)
                new = rewrite(entry.details)
                if entry.replaced_by or new != entry.details:
                    found[entry.number] = record, entry, new
                for one in entry.replaced:
                    orders.setdefault(one.number, []).append((one.commitment, entry.number))
                    about[entry.number] = entry.details.subject
        return [
            (record, entry, new)
            for record, entry, new in found.values()
            if new != entry.details
            or about.get(overruled_by(entry, orders.get(entry.number, ()))) == subject
        ]

    async def _replace(self, found: Sequence[_Found], about: AuditDetails) -> None:
        salts = [self._salt(SALT_BYTES) for _ in found]
        replaced = [
            Replacement(entry.number, commitment_of(new, salt))
            for (_, entry, new), salt in zip(found, salts, strict=True)
        ]
        said = await self._append(ACT_FORGET, about, "", replaced)
        for (record, entry, new), salt in zip(found, salts, strict=True):
            body = _encode(with_details(entry, new, salt, said.number))
            after = msgspec.structs.replace(record, body=body, version=record.version + 1)
            # Somebody else may have replaced them meanwhile: the next round finds what is left.
            await self._records.write([after])


def _check(check: ChainCheck, record: Record) -> None:
    try:
        entry = _entry(record.body)
    except msgspec.MsgspecError as error:
        check.unreadable(record.name, str(error))
        return
    if record.name != audit_name(entry.number):
        check.misplaced(record.name, entry.number)
    check.add(entry)


def _jittered(attempt: int) -> float:
    longest = min(PAUSE_LAST_SECONDS, PAUSE_FIRST_SECONDS * 2.0**attempt)
    return random.uniform(0, longest)  # noqa: S311 - jitter, not a secret


def _mark(once: str) -> tuple[str, str]:
    return once_partition(hashlib.sha256(once.encode("utf-8", "replace")).hexdigest()), "once"


def _records_of(entry: AuditEntry, head: Record | None, once: str) -> list[Record]:
    version = 1 if head is None else head.version + 1
    end = AuditHead(entry.number, entry.hash)
    written = [
        Record(AUDIT, audit_name(entry.number), _encode(entry), 1),
        Record(AUDIT, AUDIT_HEAD, _encode(end), version),
    ]
    if once:
        written.append(Record(*_mark(once), _encode(entry.number), 1))
    return written


def _head_in(record: Record | None) -> AuditHead:
    if record is None:
        return AuditHead()
    try:
        return _head(record.body)
    except msgspec.MsgspecError as error:
        raise LedgerCorruptError(f"the audit log's head cannot be read: {error}") from error


def _entry_in(record: Record) -> AuditEntry:
    try:
        return _entry(record.body)
    except msgspec.MsgspecError as error:
        message = f"the audit log's entry {record.name} cannot be read: {error}"
        raise LedgerCorruptError(message) from error
