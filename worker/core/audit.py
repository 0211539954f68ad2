"""The audit log's entries: chained by hashes, so that none can be changed unseen.

    commitment   SHA-256 of a random salt and the entry's details: who, to whom, why, what was
                 there before and after
    hash         SHA-256 of the entry's number, time, act, commitment, replacements, and the hash
                 of the entry before it

Names of people stand in the details alone. What is hashed into the chain is their commitment,
which says nothing of them without the salt. So a person can be forgotten and the chain holds:

1. An entry is appended whose `replaced` names the numbers of the entries that mention the person,
   each with the commitment of its new details, in which a pseudonym stands for the name.
2. Their details and salts are then replaced by the new ones. Commitments and hashes stay.

Details are sound if they are what the entry committed to, or what the last entry that replaced
them says. Whoever changes them otherwise is found out, before and after. If the process dies
between the two steps, the check says so, and forgetting the person again completes it.

A chain cannot say that it ends too soon, so its head is kept apart: how many entries there are,
and the hash of the last. Whoever may write everything can rewrite everything: to prove more, note
the head's number and hash elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

FORMAT: Final = "ledgerock-audit-1"
"""Hashed into every entry; another way of hashing is another format."""
GENESIS: Final = "0" * 64
"""Stands for the hash of the entry before the first."""
SALT_BYTES_MIN: Final = 16
TEXT_BYTES_MAX: Final = 60_000
"""Of one of the details, as JSON; what is longer is cut, and its hash kept."""
ACT_FORGET: Final = "Person Forgotten"

Order = tuple[str, int]
"""What an entry's replaced details must commit to, and the number of the entry that says so."""


class AuditDetails(msgspec.Struct, frozen=True):
    """What an entry says that may name people.

    Attributes:
        actor: Who did it: `ledgerock`, or a person.
        subject: To whom or what: a principal, a budget, a key.
        why: One line.
        before: What was there before, as text or JSON.
        after: What was there afterwards.
    """

    actor: str
    subject: str
    why: str = ""
    before: str = ""
    after: str = ""


class Replacement(msgspec.Struct, frozen=True):
    """Says that an earlier entry's details were replaced, and what the new ones commit to."""

    number: int
    commitment: str


class AuditEntry(msgspec.Struct, frozen=True):
    """One act, as the log keeps it.

    Attributes:
        number: 1, 2, 3 ...
        at_ms: When it was written down, epoch milliseconds UTC.
        act: What was done: `Principal Suspended`, `Policy Attached`, ...; names nobody.
        details: See `AuditDetails`.
        salt: Of the details' commitment, hexadecimal.
        commitment: To the details as they were first written down, hexadecimal.
        previous_hash: Hash of the entry before; `GENESIS` of the first.
        hash: Of this entry.
        replaced: Earlier entries whose details this one replaced.
        replaced_by: Number of the entry that replaced these details; 0 for none. Not hashed.
    """

    number: int
    at_ms: int
    act: str
    details: AuditDetails
    salt: str
    commitment: str
    previous_hash: str
    hash: str
    replaced: tuple[Replacement, ...] = ()
    replaced_by: int = 0


class AuditHead(msgspec.Struct, frozen=True):
    """Where the chain ends: the number and the hash of the last entry; 0 and `GENESIS` of none."""

    number: int = 0
    hash: str = GENESIS


class AuditProblem(msgspec.Struct, frozen=True):
    """Something that is wrong with the log: at which entry (0 for the head), and what."""

    number: int
    problem: str


def audit_text(value: object) -> str:
    """Return a value as details hold it: text as it is, anything else as JSON, none as nothing.

    Text that no record could hold is cut, and says what the whole was.
    """
    if value is None:
        return ""
    if isinstance(value, str):
        text = value.encode("utf-8", "replace").decode()
    else:
        text = msgspec.json.encode(value, order="sorted").decode()
    kept = TEXT_BYTES_MAX
    if len(msgspec.json.encode(text)) <= kept:
        return text
    while len(msgspec.json.encode(text[:kept])) > TEXT_BYTES_MAX - 200:
        kept = kept * 3 // 4
    whole = text.encode()
    digest = hashlib.sha256(whole).hexdigest()
    return f"{text[:kept]}... (cut: {len(whole)} bytes in all, their SHA-256 is {digest})"


def commitment_of(details: AuditDetails, salt: bytes) -> str:
    """Return what details commit to under a salt.

    Raises:
        ValueError: The salt is too short to hide anything.
    """
    if len(salt) < SALT_BYTES_MIN:
        raise ValueError(f"a salt has at least {SALT_BYTES_MIN} bytes, this one {len(salt)}")
    return hashlib.sha256(salt + msgspec.json.encode(msgspec.structs.astuple(details))).hexdigest()


def hash_of(entry: AuditEntry) -> str:
    """Work out an entry's hash from what it says."""
    hashed = (
        FORMAT,
        entry.number,
        entry.at_ms,
        entry.act,
        entry.commitment,
        [(one.number, one.commitment) for one in entry.replaced],
        entry.previous_hash,
    )
    return hashlib.sha256(msgspec.json.encode(hashed)).hexdigest()


def chained(
    previous: AuditHead,
    *,
    at_ms: int,
    act: str,
    details: AuditDetails,
    salt: bytes,
    replaced: Sequence[Replacement] = (),
) -> AuditEntry:
    """Return the entry that follows the last one.

    Args:
        previous: Where the chain ends.
        at_ms: See `AuditEntry`.
        act: The same.
        details: The same.
        salt: Random bytes, at least `SALT_BYTES_MIN`, used for this entry alone.
        replaced: See `AuditEntry`.
    """
    entry = AuditEntry(
        number=previous.number + 1,
        at_ms=at_ms,
        act=act,
        details=details,
        salt=salt.hex(),
        commitment=commitment_of(details, salt),
        previous_hash=previous.hash,
        hash="",
        replaced=tuple(replaced),
    )
    return msgspec.structs.replace(entry, hash=hash_of(entry))


def with_details(entry: AuditEntry, details: AuditDetails, salt: bytes, by: int) -> AuditEntry:
    """Return an entry with other details, which the entry `by` says that it has now."""
    return msgspec.structs.replace(entry, details=details, salt=salt.hex(), replaced_by=by)


def commits_to(entry: AuditEntry) -> str:
    """Return what an entry's details, as they are now, commit to; empty if their salt is none."""
    try:
        salt = bytes.fromhex(entry.salt)
        return commitment_of(entry.details, salt) if salt.hex() == entry.salt else ""
    except ValueError:
        return ""


def overruled_by(entry: AuditEntry, orders: Sequence[Order]) -> int:
    """Return the entry that says last what replaced details are, if it is not what they are.

    Args:
        entry: It has details as one of the orders says.
        orders: All for this entry, in the order of the log.

    Returns:
        Its number; 0 if the details are as it says, or as nobody said.
    """
    now = commits_to(entry), entry.replaced_by
    return orders[-1][1] if now in orders and now != orders[-1] else 0


def check_chain(entries: Iterable[AuditEntry], head: AuditHead | None) -> list[AuditProblem]:
    """Check a whole log.

    Args:
        entries: In the order in which they are kept.
        head: What is kept as the head; None if there is none.

    Returns:
        Everything that is wrong; nothing if the log is sound.
    """
    check = ChainCheck()
    for entry in entries:
        check.add(entry)
    return check.finish(head)


class ChainCheck:
    """Checks a log entry by entry, in any number of them.

    Args:
        noted: Where an earlier check found that it ended; the hash may be its beginning.

    Attributes:
        end: The head that fits the entries so far.
        entries: How many there were.
        replaced: How many of them have details that were replaced as a later one says.
    """

    def __init__(self, noted: AuditHead | None = None) -> None:
        """Begin before the first entry."""
        self._noted = noted
        self.end = AuditHead()
        self.entries = 0
        self.replaced = 0
        self._problems: list[AuditProblem] = []
        # By number: what details that are not the first ones commit to, and who replaced them.
        self._other: dict[int, Order] = {}
        # By number: what replaced details must commit to, by whose word; the last one counts.
        self._ordered: dict[int, list[Order]] = {}
        self._gaps: list[range] = []

    def add(self, entry: AuditEntry) -> None:
        """Check the next entry."""
        self.entries += 1
        self._note_details(entry)
        noted = self._noted
        if noted and entry.number == noted.number and not entry.hash.startswith(noted.hash):
            self._say(entry.number, f"is another one than was noted: {entry.hash[:16]} is its hash")
        if hash_of(entry) != entry.hash:
            self._say(entry.number, "was changed: its hash is not that of what it says")
        if entry.number <= self.end.number:
            self._say(entry.number, f"is out of order: it stands after entry {self.end.number}")
            return
        if entry.number > self.end.number + 1:
            self._missing(self.end.number + 1, entry.number - 1)
        elif entry.previous_hash != self.end.hash:
            self._say(entry.number, "does not follow the entry before it: the hash is another one")
        self.end = AuditHead(entry.number, entry.hash)

    def unreadable(self, name: str, why: str) -> None:
        """Say that what is kept under a name is no entry."""
        self.entries += 1
        self._say(self.end.number + 1, f"{name!r} holds no entry that can be read: {why}")

    def misplaced(self, name: str, number: int) -> None:
        """Say that an entry is kept under a name that is not its own."""
        self._say(number, f"is kept as {name!r}, which is not its place")

    def _note_details(self, entry: AuditEntry) -> None:
        now = commits_to(entry)
        if now != entry.commitment or entry.replaced_by:
            self._other[entry.number] = now, entry.replaced_by
        for one in entry.replaced:
            self._ordered.setdefault(one.number, []).append((one.commitment, entry.number))

    def _missing(self, first: int, last: int) -> None:
        which = "is missing" if first == last else f"and all up to {last} are missing"
        self._say(first, which)
        self._gaps.append(range(first, last + 1))

    def _say(self, number: int, problem: str) -> None:
        self._problems.append(AuditProblem(number, problem))

    def finish(self, head: AuditHead | None) -> list[AuditProblem]:
        """Return all problems by number, once all entries were added.

        Args:
            head: What is kept as the head; None if there is none.
        """
        for number in sorted(self._other.keys() | self._ordered.keys()):
            if not any(number in gap for gap in self._gaps):
                self._judge_details(number)
        if self._noted and self._noted.number > self.end.number:
            self._say(self._noted.number, f"was noted, but the log ends with {self.end.number}")
        head = AuditHead() if head is None else head
        if head.number > self.end.number:
            self._missing(self.end.number + 1, head.number)
        elif head != self.end:
            problem = (
                f"the log's head names entry {head.number} and the hash {head.hash[:16]}; the "
                f"last entry is {self.end.number}, its hash {self.end.hash[:16]}"
            )
            self._say(0, problem)
        return sorted(self._problems, key=lambda one: one.number)

    def _judge_details(self, number: int) -> None:
        ordered = self._ordered.get(number, [])
        now = self._other.get(number)
        if ordered and now == ordered[-1]:
            self.replaced += 1
        elif ordered and (now is None or now in ordered):
            by = ordered[-1][1]
            problem = (
                f"still has details that were to be forgotten by entry {by}: if nobody is just "
                "doing so, run `ledgerock principals forget` again"
            )
            self._say(number, problem)
        else:
            self._say(number, "has details that were changed: they are not what it committed to")
