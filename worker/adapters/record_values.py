"""What adapters of records share: what may be written at once, and how a partition is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from worker.ports import Record

RECORDS_PER_CHUNK: Final = 100
RECORDS_PER_WRITE: Final = 50
BODY_BYTES_MAX: Final = 300_000
WRITE_BYTES_MAX: Final = 600_000
NAME_BYTES_MAX: Final = 1_000
LAST: Final = "\U0010ffff"
"""Comes after everything that a name may go on with: the last code point, of no character."""


def check_records(records: Sequence[Record]) -> None:
    """Refuse what no adapter could write, so that all of them refuse it.

    Raises:
        ValueError: Says which record, and what is the matter with it.
    """
    if len(records) > RECORDS_PER_WRITE:
        raise ValueError(f"{len(records)} records at once; at most {RECORDS_PER_WRITE}")
    if len({(one.partition, one.name) for one in records}) != len(records):
        raise ValueError("two records of one write have the same key")
    for record in records:
        which = f"record {record.name!r} of {record.partition!r}"
        if not record.partition or not record.name:
            raise ValueError(f"{which}: neither its partition nor its name may be empty")
        if record.version < 1:
            raise ValueError(f"{which}: the version {record.version} is none; the first is 1")
        if len(record.body) > BODY_BYTES_MAX:
            size = len(record.body)
            raise ValueError(f"{which}: its body has {size} bytes; at most {BODY_BYTES_MAX}")
    if sum(len(record.body) for record in records) > WRITE_BYTES_MAX:
        raise ValueError(f"the bodies of one write have more than {WRITE_BYTES_MAX} bytes")


def chunks(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """Yield some records at a time."""
    for start in range(0, len(records), RECORDS_PER_CHUNK):
        yield records[start : start + RECORDS_PER_CHUNK]
