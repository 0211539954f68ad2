"""Lines into outcomes: one JSON value a line, spread over several, or several on one.

A time may stand before the JSON, as in exports of CloudWatch Logs.

A line that only begins a JSON document may be the first of a pretty-printed one. Since JSON
strings hold no raw line breaks, the brackets that are open at the end of each line say all
there is to know; and what may follow at the start of the next line is so narrow (see
`_may_follow`) that a truncated record is told from a document within a line or two.
"""

import re
from typing import Final

from worker.core.decoders.envelopes import excerpt, malformed
from worker.core.decoders.log_events import LINE_TIME
from worker.core.decoders.long_line import RECORDS_START, LongLine
from worker.core.decoders.scan import skip_blank
from worker.core.decoders.values import RecordsBoundError, Values
from worker.core.evidence import Observation
from worker.core.results import Outcome, Position

_BLANK: Final = b" \t\r"
_OPENING: Final = b"{["
_CLOSED_BY: Final = {ord("}"): ord("{"), ord("]"): ord("[")}
_QUOTE: Final = ord('"')
_OBJECT: Final = ord("{")
_BETWEEN_BRACKETS: Final = re.compile(
    rb'(?:[^"{}\[\]]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+',
    re.DOTALL,
)


class _Document:
    """A JSON document that began on one line and has not ended yet."""

    __slots__ = ("first_line", "last_byte", "line_bytes", "line_numbers", "lines", "open")

    def __init__(self, first_line: int) -> None:
        self.first_line = first_line
        self.lines: list[bytes] = []
        # Blank lines are left out, so that they do not simply count up.
        self.line_numbers: list[int] = []
        self.line_bytes = 0
        self.open: list[int] = []
        self.last_byte = 0


class LineAssembler:
    """Takes the lines of one text in order, in as many calls as the reader likes."""

    def __init__(self, values: Values, position: Position, depth: int) -> None:
        """Decode through `values` lines that stand at `position`, inside `depth` wrappers."""
        self._values = values
        self._position = position
        self._depth = depth
        self._document: _Document | None = None
        self._long_document: LongLine | None = None

    def lines(self, lines: list[bytes], first_line: int, outcomes: list[Outcome]) -> None:
        """Append the outcomes of complete lines, without their line feeds.

        The hot path: a plain loop over invocation logs, one decode each.
        """
        try_decode = self._values.try_decode
        append = outcomes.append
        idle = self._document is None and self._long_document is None
        line_number = first_line
        for line in lines:
            if not line:
                line_number += 1
                continue
            if idle:
                outcome = try_decode(line)
                if outcome.__class__ is Observation:
                    append(outcome)
                    line_number += 1
                    continue
            self._line(line, line_number, outcomes)
            idle = self._document is None and self._long_document is None
            line_number += 1

    def finish(self, outcomes: list[Outcome]) -> None:
        """Append the outcomes of lines that waited for more."""
        if self._long_document is not None:
            self._long_document.finish(outcomes)
            self._long_document = None
        if self._document is not None:
            self._give_up(self._document, outcomes)

    def _line(self, line: bytes, line_number: int, outcomes: list[Outcome]) -> None:
        if self._long_document is not None:
            self._long_document.feed(line + b"\n", outcomes)
            if self._long_document.is_over:
                self._long_document = None
            return
        document = self._document
        if document is not None:
            if not line.strip(_BLANK):
                return
            end = _scan(document, line, 0, self._values.limits.json_depth_max)
            if end is None:
                self._give_up(document, outcomes)
            else:
                self._extend(document, line, line_number, end, outcomes)
                return
        self._fresh(line, line_number, outcomes)

    def _extend(
        self,
        document: _Document,
        line: bytes,
        line_number: int,
        end: int,
        outcomes: list[Outcome],
    ) -> None:
        document.lines.append(line)
        document.line_numbers.append(line_number)
        document.line_bytes += len(line) + 1
        if document.open:
            if document.line_bytes > self._values.limits.line_bytes_max:
                self._outgrow(document, outcomes)
            return
        self._document = None
        whole = b"\n".join([*document.lines[:-1], line[:end]])
        position = self.at(document.first_line)
        if not self._values.value(whole, position, self._depth, outcomes):
            self._document = document
            self._give_up(document, outcomes)
        elif line[end:].strip(_BLANK):
            self._fresh(line[end:], line_number, outcomes)

    def _outgrow(self, document: _Document, outcomes: list[Outcome]) -> None:
        """Go on with a document that is too long to be held: by its records, if it has any."""
        whole = b"\n".join([*document.lines, b""])
        if RECORDS_START.match(whole) is None:
            self._give_up(document, outcomes)
            return
        self._document = None
        position = self.at(document.first_line)
        self._long_document = LongLine(self._values, position, self._depth)
        self._long_document.feed(whole, outcomes)

    def _give_up(self, document: _Document, outcomes: list[Outcome]) -> None:
        """Take each line of a document that turned out not to be one for itself."""
        self._document = None
        for line_number, line in zip(document.line_numbers, document.lines, strict=True):
            self._fresh(line, line_number, outcomes, alone=True)

    def _fresh(
        self, line: bytes, line_number: int, outcomes: list[Outcome], *, alone: bool = False
    ) -> None:
        """Take a line that begins outside any document."""
        text = line.strip(_BLANK)
        if line_number == 1:
            text = text.removeprefix(b"\xef\xbb\xbf").strip(_BLANK)
        if not text:
            return
        position = self.at(line_number)
        if self._values.value(text, position, self._depth, outcomes):
            return
        if stamp := LINE_TIME.match(text):
            text = text[stamp.end() :]
            if self._values.value(text, position, self._depth, outcomes):
                return
        self._several(text, line_number, outcomes, alone=alone)

    def _several(
        self, text: bytes, line_number: int, outcomes: list[Outcome], *, alone: bool
    ) -> None:
        """Take a line that is not one JSON value: several, the beginning of one, or neither."""
        count = 0
        start = 0
        while start < len(text):
            position = self.at(line_number, count)
            document = _Document(line_number)
            end = None
            if text[start] in _OPENING:
                end = _scan(document, text, start, self._values.limits.json_depth_max)
            if end is None or document.open:
                goes_on = None if alone or end is None else document
                self._rest(text[start:], position, goes_on, outcomes)
                return
            value = text[start:end]
            following = skip_blank(text, end)
            if not self._values.value(value, position, self._depth, outcomes):
                if following < len(text) and text[following] not in _OPENING:
                    # Prose that begins with a bracket (`[ERROR] ...`) is one bad record.
                    value, following = text[start:], len(text)
                outcomes.append(malformed(position, value, "one JSON value", excerpt(value)))
            count += 1
            if count > self._values.limits.records_max:
                raise RecordsBoundError(self._values.limits.records_max)
            start = following

    def _rest(
        self, rest: bytes, position: Position, document: _Document | None, outcomes: list[Outcome]
    ) -> None:
        """Take the end of a line: the beginning of a document, or nothing that can be read."""
        if document is None:
            if RECORDS_START.match(rest) is None:
                outcomes.append(malformed(position, rest, "one JSON value", excerpt(rest)))
                return
            # A file of records that was cut: those before the cut are whole.
            cut = LongLine(self._values, position, self._depth, records_only=True)
            cut.feed(rest, outcomes)
            cut.finish(outcomes)
            return
        document.lines.append(rest)
        document.line_numbers.append(document.first_line)
        document.line_bytes = len(rest) + 1
        self._document = document

    def at(self, line_number: int, count: int = 0) -> Position:
        """Return the position of the value number `count` of a line.

        Text inside a wrapper has lines of its own, which then go into the path.
        """
        outer = self._position
        suffix = f"#{count}" if count else ""
        if not outer.line and outer.path == "$":
            return Position(outer.source, line_number, outer.path + suffix)
        return Position(outer.source, outer.line, f"{outer.path}:{line_number}{suffix}")


def _scan(document: _Document, line: bytes, start: int, depth_max: int) -> int | None:
    """Follow the brackets of `line` from `start` on.

    Returns:
        The index after the bracket that closes the document, or the line's length if it goes
        on; None if it cannot be a line of it.
    """
    stack = document.open
    position = skip_blank(line, start)
    if document.last_byte and not _may_follow(document, line[position]):
        return None
    while True:
        match = _BETWEEN_BRACKETS.match(line, position)
        position = position if match is None else match.end()
        if position == len(line):
            document.last_byte = line.rstrip(_BLANK)[-1]
            return position
        byte = line[position]
        if byte == _QUOTE:
            return None
        if byte in _OPENING:
            stack.append(byte)
            if len(stack) > depth_max:
                return None
        elif stack and stack[-1] == _CLOSED_BY[byte]:
            stack.pop()
        else:
            return None
        position += 1
        if not stack:
            return position


def _may_follow(document: _Document, byte: int) -> bool:
    """Whether a line of a document may start with `byte`, after how the last one ended."""
    last = document.last_byte
    if last in b"{,":
        if document.open[-1] == _OBJECT:
            return byte in b'"}'
        return byte not in b",:"
    if last in b"[:":
        return byte not in b",:"
    return byte in b",:}]"
