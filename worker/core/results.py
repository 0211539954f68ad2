"""What came of a record and of a delivery: every outcome has a name.

Decoders yield one `Outcome` for every record they meet, in order. Only the pure side lives
here; whether an observation was `Recorded`, `Upgraded` or a `Duplicate` is known once the
ledger has spoken.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from worker.core.directory import LifecycleFact
from worker.core.evidence import Observation
from worker.core.registry import ApplicationProfile

POSTABLE: Final = "a call that can be priced and attributed"
"""What was expected of a decoded call whose pricing or attribution failed."""


class RecordResult(StrEnum):
    """What happened to one record. Every record gets exactly one."""

    RECORDED = "Recorded"
    """First sight of the call: it was booked."""
    UPGRADED = "Upgraded"
    """The call was known and the record improved its evidence."""
    DUPLICATE = "Duplicate"
    """The record added nothing."""
    IGNORED = "Ignored"
    """The record describes no call, by design; or a call that a seal holds (`core.seal`)."""
    QUARANTINED = "Quarantined"
    """The record could not be understood; it is kept aside with a reason."""


class DeliveryResult(StrEnum):
    """How a delivery ended."""

    ACKNOWLEDGED = "Acknowledged"
    """Everything in it is booked or quarantined; it may be deleted at its source."""
    DEFERRED = "Deferred"
    """A passing fault (throttle, network): it must be delivered again."""
    QUARANTINED = "Quarantined"
    """The delivery as a whole could not be read."""


class Position(msgspec.Struct, frozen=True, gc=False):
    """Where a record stood.

    Attributes:
        source: File path, `s3://bucket/key`, queue message id or sequence number.
        line: One-based line within the source; 0 when it has no lines.
        path: JSON path within the line or payload, e.g. `$.Records[3]`; `$` for all of it.
    """

    source: str = ""
    line: int = 0
    path: str = "$"


class Ignored(msgspec.Struct, frozen=True, gc=False):
    """A record that is no call and is not meant to be one.

    Attributes:
        reason: Why, for people (`CloudWatch Logs control message`).
        position: Where it stood.
    """

    reason: str
    position: Position = Position()


class Malformed(msgspec.Struct, frozen=True, gc=False):
    """A record that should have been understood and was not. It goes to quarantine.

    Attributes:
        path: JSON path of the offending value (`$.input.inputTokenCount`).
        expected: What was expected there.
        found: What was found there, shortened.
        body: The raw record, for the redrive; cut to `QUARANTINED_BODY_BYTES_MAX` when larger.
        truncated: Whether `body` was cut (a redrive must then go back to the source).
        position: Where it stood.
    """

    path: str
    expected: str
    found: str
    body: bytes
    truncated: bool = False
    position: Position = Position()

    @property
    def reason(self) -> str:
        """One line for people: what was wrong, and where."""
        return f"{self.path}: expected {self.expected}, found {self.found}"


class ObjectReference(msgspec.Struct, frozen=True, gc=False):
    """A notification that names an S3 object holding records; the transport fetches it.

    Attributes:
        bucket: Bucket name.
        key: Object key, decoded (notifications sent by S3 itself URL-encode it).
        version_id: Object version, or empty.
        size_bytes: Size as announced, -1 if absent.
        position: Where the notification stood.
    """

    bucket: str
    key: str
    version_id: str = ""
    size_bytes: int = -1
    position: Position = Position()


class ProfileSeen(msgspec.Struct, frozen=True, gc=False):
    """An event that says what an application inference profile stands for.

    Attributes:
        profile: The profile, with its tags.
        position: Where the event stood.
    """

    profile: ApplicationProfile
    position: Position = Position()


class LifecycleSeen(msgspec.Struct, frozen=True, gc=False):
    """An event in the life of a user, role, key or agent: made, changed, tagged, deleted.

    Attributes:
        fact: What it says.
        position: Where the event stood.
    """

    fact: LifecycleFact
    position: Position = Position()


Outcome = Observation | Ignored | Malformed | ObjectReference | ProfileSeen | LifecycleSeen
"""What a decoder yields for one record."""
