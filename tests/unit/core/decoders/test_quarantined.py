"""Stored records of the quarantine, among the records of a log."""

import json
from typing import Any

import pytest

from worker.adapters.quarantine_records import encode_record, quarantine_id
from worker.core.decoders import Decoder
from worker.core.results import Ignored, Malformed, Position

RECORD = Malformed("$.input", "JSON", "nothing", b"\x00garbage", position=Position("s3://b/k", 7))
DOCUMENT = encode_record(quarantine_id(RECORD), RECORD, 1_790_856_000_000)


def outcomes(document: dict[str, Any]) -> list[Any]:
    return list(Decoder().decode(json.dumps(document).encode(), source="s3://b/aside"))


@pytest.mark.parametrize("document", [DOCUMENT, DOCUMENT + b"\n", b"[" + DOCUMENT + b"]"])
def test_a_stored_record_is_no_call(document: bytes) -> None:
    [outcome] = Decoder().decode(document, source="s3://b/aside")
    assert isinstance(outcome, Ignored)
    assert outcome.reason == "quarantined record of the ledger itself"
    assert outcome.position.source == "s3://b/aside"


@pytest.mark.parametrize("key", sorted(json.loads(DOCUMENT)))
def test_what_merely_looks_like_one_is_put_aside(key: str) -> None:
    stored = json.loads(DOCUMENT)
    for changed in ({**stored, key: None}, {k: v for k, v in stored.items() if k != key}):
        [outcome] = outcomes(changed)
        assert isinstance(outcome, Malformed), changed
