"""How a quarantined record is written down, whatever holds it: one JSON document each."""

from __future__ import annotations

import base64
from hashlib import blake2b
from typing import Final

import msgspec

from worker.core.decoders.quarantined import StoredRecord
from worker.core.errors import ConfigurationError
from worker.core.results import Malformed, Position
from worker.ports import QuarantinedRecord

ID_BYTES: Final = 10


def quarantine_id(record: Malformed) -> str:
    """Name a record by where it stood and what it said: 20 hexadecimal digits."""
    position = record.position
    parts = (position.source, str(position.line), position.path, record.path, record.expected)
    digest = blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=ID_BYTES)
    digest.update(b"\0" + record.body)
    return digest.hexdigest()


def ambiguous(item_id: str, count: int) -> ConfigurationError:
    """Return the error for the beginning of an id that several items share."""
    return ConfigurationError(
        f"{item_id}: {count} quarantined records begin like this; give more digits"
    )


def _writable(text: str) -> str:
    """Return text that JSON can hold: names of files need not be Unicode."""
    return text.encode("utf-8", "backslashreplace").decode()


def encode_record(item_id: str, record: Malformed, quarantined_at_ms: int) -> bytes:
    """Return the document of a record."""
    stored = StoredRecord(
        id=item_id,
        reason=_writable(record.reason),
        source=_writable(record.position.source),
        line=record.position.line,
        path=_writable(record.position.path),
        at=_writable(record.path),
        expected=_writable(record.expected),
        found=_writable(record.found),
        quarantined_at_ms=quarantined_at_ms,
        truncated=record.truncated,
        body=base64.b64encode(record.body).decode(),
    )
    return msgspec.json.encode(stored)


def decode_record(document: bytes, name: str) -> QuarantinedRecord:
    """Read the document of a record; `name` says where it is kept.

    Raises:
        ConfigurationError: It is something else.
    """
    try:
        stored = msgspec.json.decode(document, type=StoredRecord)
        body = base64.b64decode(stored.body, validate=True)
    except (ValueError, msgspec.MsgspecError) as error:
        raise foreign(name, error) from error
    return QuarantinedRecord(
        id=stored.id,
        record=Malformed(
            path=stored.at,
            expected=stored.expected,
            found=stored.found,
            body=body,
            truncated=stored.truncated,
            position=Position(stored.source, stored.line, stored.path),
        ),
        quarantined_at_ms=stored.quarantined_at_ms,
    )


def foreign(name: str, error: Exception) -> ConfigurationError:
    """Return the error for something in a quarantine that is no record."""
    return ConfigurationError(
        f"{name}: not a quarantined record ({error}); move it out of the quarantine"
    )
