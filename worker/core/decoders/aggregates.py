"""Records that the Kinesis Producer Library has packed into one.

Four magic bytes, a protocol buffers message, and the MD5 of that message. The message holds
tables of partition keys, which do not matter here, and the user records. It is read by hand:
the format has three kinds of fields, libraries for it bring a protocol buffers runtime, and
take an aggregate that is damaged for a plain record without saying why.

Format: "KPL aggregated record format" of the Kinesis Producer Library. Fields that it does not
name are skipped, as protocol buffers demand.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

AGGREGATE_MAGIC: Final = b"\xf3\x89\x9a\xc2"
_DIGEST_BYTES: Final = 16
_RECORDS_FIELD: Final = 3
_DATA_FIELD: Final = 3
_VARINT_BITS_MAX: Final = 64
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES: Final = {_FIXED_64: 8, _FIXED_32: 4}


class AggregateError(Exception):
    """An aggregate that cannot be read. Never leaves this package.

    Attributes:
        expected: What was expected.
        found: What was found.
    """

    def __init__(self, expected: str, found: str) -> None:
        """Keep both."""
        super().__init__(expected, found)
        self.expected = expected
        self.found = found


def user_records(payload: bytes) -> Iterator[bytes | None]:
    """Yield the data of each user record, in order; None for one that cannot be read.

    Nothing is yielded of an aggregate whose digest is wrong.

    Args:
        payload: A record that begins with `AGGREGATE_MAGIC`.

    Raises:
        AggregateError: The aggregate is damaged, from the first byte that cannot be read on.
    """
    message = payload[len(AGGREGATE_MAGIC) : -_DIGEST_BYTES]
    digest = payload[-_DIGEST_BYTES:]
    if len(payload) < len(AGGREGATE_MAGIC) + _DIGEST_BYTES:
        raise AggregateError("an aggregated record and its MD5", f"{len(payload)} bytes")
    # AWS's choice of digest, against damage and not against forgery.
    actual = hashlib.md5(message, usedforsecurity=False).digest()
    if actual != digest:
        raise AggregateError(
            f"an aggregated record of MD5 {digest.hex()}", f"one of MD5 {actual.hex()}"
        )
    for number, value in _fields(message):
        if number == _RECORDS_FIELD:
            if value is None:
                raise AggregateError("a user record of a length", "a number")
            yield _data_of(value)


def _data_of(record: bytes) -> bytes | None:
    data: bytes | None = None
    try:
        for number, value in _fields(record):
            if number == _DATA_FIELD and value is not None:
                data = value  # the last one counts, as everywhere in protocol buffers
    except AggregateError:
        return None  # it spoils none of the others
    return data


def _fields(message: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield number and content of each field of a message; None for plain numbers."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        number, kind = tag >> 3, tag & 7
        if not number:
            raise AggregateError("a field of the aggregated record", "field number 0")
        if kind == _VARINT:
            _, position = _varint(message, position)
            yield number, None
            continue
        if kind == _LENGTH:
            length, position = _varint(message, position)
        elif kind in _FIXED_BYTES:
            length = _FIXED_BYTES[kind]
        else:
            raise AggregateError("a field of the aggregated record", f"wire type {kind}")
        end = position + length
        if end > len(message):
            raise AggregateError(
                f"{length:,} bytes of field {number}", f"{len(message) - position:,} bytes"
            )
        yield number, message[position:end] if kind == _LENGTH else None
        position = end


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Return a number of variable length, and the index after it."""
    value = 0
    for shift in range(0, _VARINT_BITS_MAX, 7):
        if position >= len(message):
            raise AggregateError("a number", "the end of the aggregated record")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:  # noqa: PLR2004 - the bit that says whether more follows
            return value, position
    raise AggregateError("a number of at most 64 bits", "a longer one")
