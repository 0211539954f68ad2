"""Records that were quarantined, as they are stored: they may lie in the bucket of the logs."""

from __future__ import annotations

from typing import Final

import msgspec

from worker.core.decoders.envelopes import DECODE_ERRORS, Envelope

OWN_RECORD: Final = "quarantined record of the ledger itself"
"""Why one is ignored: it was put aside already, and would be for ever."""


class StoredRecord(msgspec.Struct, frozen=True):
    """A quarantined record as its file holds it.

    `source`, `line` and `path` lead to the record, `at` to what is wrong within it; `body` is
    base64.
    """

    id: str
    reason: str
    source: str
    line: int
    path: str
    at: str
    expected: str
    found: str
    quarantined_at_ms: int
    truncated: bool
    body: str


_STORED: Final = msgspec.json.Decoder(StoredRecord)


def is_quarantined(envelope: Envelope, raw: bytes | msgspec.Raw) -> bool:
    """Whether this is a quarantined record: all keys of one are there, with such values."""
    if not len(envelope.quarantined_at_ms):
        return False
    try:
        _STORED.decode(raw)
    except DECODE_ERRORS:
        return False
    return True
