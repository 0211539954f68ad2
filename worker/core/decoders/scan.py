"""Where JSON values end, found without decoding them and however they are cut in pieces."""

import re
from collections.abc import Iterator
from typing import Final

import msgspec

_QUOTE: Final = ord('"')
_OPENING: Final = b"{["
_CLOSING: Final = b"}]"

# Possessive quantifiers keep these linear, and free of backtracking state, on any input.
_BETWEEN_BRACKETS: Final = re.compile(
    rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+',
    re.DOTALL,
)
_IN_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_BLANK: Final = re.compile(rb"[ \t\r\n]*+")
_SCALAR: Final = re.compile(rb'(?:"[^"\\]*+(?:\\.[^"\\]*+)*+"|[^,\]\[{}" \t\r\n]++)', re.DOTALL)

WHOLE_ARRAY_BYTES_MAX: Final = 1024 * 1024
"""Arrays up to this size are split by msgspec at once, larger ones element by element."""

DEPTH_MAX: Final = 1_000
"""Brackets open at once; scanning stops beyond it, as decoders refuse such values anyway."""

_RAW_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])


class ContainerScanner:
    """Finds the end of one JSON object or array that arrives in pieces.

    Only brackets outside strings are counted; whether the text between them is JSON is left
    to the decoder.

    Attributes:
        depth: Brackets open at the point that was reached.
        in_string: Whether that point lies inside a string.
    """

    __slots__ = ("depth", "in_string")

    def __init__(self, depth: int = 0) -> None:
        """Start outside any string, with `depth` brackets already open."""
        self.depth = depth
        self.in_string = False

    def feed(self, buffer: bytes, start: int, stop_depth: int = 0) -> tuple[bool, int]:
        """Scan `buffer` from `start`.

        Returns:
            Whether a bracket was closed that brought the depth down to `stop_depth`, and the
            index after it; else False and the index from which to go on once more bytes are
            appended (the end, or a lone backslash at the end). It may stop early, with
            `depth` above `DEPTH_MAX`.
        """
        length = len(buffer)
        position = start
        while True:
            if self.in_string:
                position = _end(_IN_STRING, buffer, position)
                if position == length or buffer[position] != _QUOTE:
                    return False, position
                self.in_string = False
                position += 1
            position = _end(_BETWEEN_BRACKETS, buffer, position)
            if position == length:
                return False, position
            byte = buffer[position]
            position += 1
            if byte == _QUOTE:
                self.in_string = True
            elif byte in _OPENING:
                self.depth += 1
                if self.depth > DEPTH_MAX:
                    return False, position
            else:
                self.depth -= 1
                if self.depth <= stop_depth:
                    return True, position


def _end(pattern: re.Pattern[bytes], buffer: bytes, position: int) -> int:
    match = pattern.match(buffer, position)
    return position if match is None else match.end()


def skip_blank(buffer: bytes, position: int) -> int:
    """Return the index of the first byte at or after `position` that is no white space."""
    return _end(_BLANK, buffer, position)


def container_end(buffer: bytes, start: int) -> int:
    """Return the index after the object or array that begins at `start`, or -1 if it is open."""
    closed, end = ContainerScanner().feed(buffer, start)
    return end if closed else -1


def array_elements(raw: msgspec.Raw) -> Iterator[msgspec.Raw | bytes]:
    """Yield the elements of a JSON array, undecoded, holding few of them at a time.

    Args:
        raw: A JSON array whose syntax has been checked (it came out of a decoder).

    Raises:
        msgspec.DecodeError: It is no array.
    """
    if len(raw) <= WHOLE_ARRAY_BYTES_MAX:
        yield from _RAW_LIST.decode(raw)
        return
    buffer = bytes(raw)
    position = skip_blank(buffer, 0)
    if buffer[position : position + 1] != b"[":
        raise msgspec.ValidationError("Expected `array`")
    position += 1
    while True:
        start = skip_blank(buffer, position)
        if buffer[start] in _OPENING:
            end = container_end(buffer, start)
        else:
            end = _end(_SCALAR, buffer, start)
        if end <= start:
            raise msgspec.ValidationError("an element that is nested too deeply")
        yield buffer[start:end]
        position = skip_blank(buffer, end) + 1
        if buffer[position - 1] in _CLOSING:
            return


def scalar_end(buffer: bytes, start: int) -> int:
    """Return the index after the string, number or literal that begins at `start`.

    It is `start` itself if none begins there, or if a string does that does not end.
    """
    return _end(_SCALAR, buffer, start)
