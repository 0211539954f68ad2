"""A line too long to be held: its JSON values one by one, or its records one by one.

CloudTrail files are one line of `{"Records":[…]}`, whatever their size, and Firehose joins
log batches without line breaks. Both are cut into values here, without decoding, holding one
value at a time. A single value that is itself too long is refused and passed over.
"""

import re
from enum import IntEnum
from typing import Final

import msgspec

from worker.core.decoders.envelopes import excerpt, malformed
from worker.core.decoders.fields import QUARANTINED_BODY_BYTES_MAX
from worker.core.decoders.scan import DEPTH_MAX, ContainerScanner, scalar_end, skip_blank
from worker.core.decoders.values import RecordsBoundError, Values
from worker.core.results import Outcome, Position

_OPENING: Final = b"{["
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
RECORDS_START: Final = re.compile(rb'\{\s*+"(Records|[Ee]vents)"\s*+:\s*+\[')
"""How a file of records begins: one object that holds one array."""


class _State(IntEnum):
    BETWEEN = 0
    """Between two values."""
    VALUE = 1
    """Inside a value."""
    BETWEEN_RECORDS = 2
    """Between two elements of `Records`."""
    RECORD = 3
    """Inside an element of `Records`."""
    AFTER_RECORDS = 4
    """Behind the array, inside the object that held it."""
    PASSING_VALUE = 5
    """Inside a value that was refused."""
    PASSING_RECORD = 6
    """Inside an element that was refused."""
    REFUSING_LINE = 7
    """Before something that is no JSON, while there is not enough of it to be kept."""
    PASSING_LINE = 8
    """Behind something that is no JSON."""


class LongLine:
    """Takes one long line (or another text without line breaks that matter) in pieces."""

    def __init__(
        self,
        values: Values,
        position: Position,
        depth: int = 0,
        *,
        records_only: bool = False,
    ) -> None:
        """Decode through `values` what stands at `position`, inside `depth` wrappers.

        With `records_only` a file of records is taken record by record however short it is.
        """
        self._values = values
        self._position = position
        self._depth = depth
        self._records_only = records_only
        self._bytes_max = values.limits.line_bytes_max
        self._state = _State.BETWEEN
        self._scanner = ContainerScanner()
        self._buffer = b""
        self._start = 0
        self._reached = 0
        self._value_count = 0
        self._record_count = 0
        self._array_name = "Records"

    def feed(self, data: bytes, outcomes: list[Outcome]) -> None:
        """Append the outcomes of all values that end within `data`."""
        self._buffer = self._buffer[self._start :] + data
        self._reached -= self._start
        self._start = 0
        while self._step(outcomes):
            pass

    @property
    def is_over(self) -> bool:
        """Whether everything that was begun has ended."""
        return self._state is _State.BETWEEN and self._start == len(self._buffer)

    def finish(self, outcomes: list[Outcome]) -> None:
        """Append the outcome of what the end of the line has cut off."""
        if self._state in (_State.VALUE, _State.RECORD):
            rest = self._buffer[self._start :]
            outcomes.append(malformed(self._here(), rest, "one JSON value", excerpt(rest)))
        elif self._state is _State.REFUSING_LINE:
            self._refuse_rest(outcomes)
        elif self._state in (_State.BETWEEN_RECORDS, _State.AFTER_RECORDS):
            rest = self._buffer[self._start :]
            outcomes.append(
                malformed(self._here(), rest, f"the end of {self._array_name}", "the line's end")
            )

    def _step(self, outcomes: list[Outcome]) -> bool:
        """Do what can be done next; False when more bytes are needed."""
        state = self._state
        if state is _State.PASSING_LINE:
            self._move(len(self._buffer))
            return False
        if state is _State.REFUSING_LINE:
            if len(self._buffer) - self._start <= QUARANTINED_BODY_BYTES_MAX:
                return False
            self._refuse_rest(outcomes)
            return True
        if state in (_State.VALUE, _State.RECORD):
            return self._inside(outcomes)
        if state in (_State.PASSING_VALUE, _State.PASSING_RECORD, _State.AFTER_RECORDS):
            closed, end = self._scanner.feed(self._buffer, self._start)
            self._move(end)
            if self._scanner.depth > DEPTH_MAX:
                self._state = _State.PASSING_LINE
                return True
            if closed:
                passed_record = state is _State.PASSING_RECORD
                self._state = _State.BETWEEN_RECORDS if passed_record else _State.BETWEEN
            return closed
        self._move(skip_blank(self._buffer, self._start))
        if self._start == len(self._buffer):
            return False
        return self._between(outcomes)

    def _between(self, outcomes: list[Outcome]) -> bool:
        byte = self._buffer[self._start]
        in_records = self._state is _State.BETWEEN_RECORDS
        if byte in _OPENING:
            self._state = _State.RECORD if in_records else _State.VALUE
            self._scanner = ContainerScanner()
            self._reached = self._start
            return True
        if in_records and byte == ord(","):
            self._move(self._start + 1)
            return True
        if in_records and byte == ord("]"):
            self._scanner = ContainerScanner(1)
            self._move(self._start + 1)
            self._state = _State.AFTER_RECORDS
            return True
        if in_records:
            return self._scalar(outcomes)
        if self._buffer.startswith(_BYTE_ORDER_MARK, self._start) and not self._value_count:
            self._move(self._start + len(_BYTE_ORDER_MARK))
            return True
        self._state = _State.REFUSING_LINE
        return True

    def _scalar(self, outcomes: list[Outcome]) -> bool:
        """Take an element that is no container: a record it cannot be, but it is counted."""
        end = scalar_end(self._buffer, self._start)
        if end == len(self._buffer) or (end == self._start and self._buffer[end] == ord('"')):
            if len(self._buffer) - self._start <= self._bytes_max:
                return False
            end = self._start
        if end == self._start or end - self._start > self._bytes_max:
            self._state = _State.REFUSING_LINE
            return True
        raw = self._buffer[self._start : end]
        self._values.element(raw, self._here(), self._depth + 1, outcomes)
        self._record_count += 1
        self._move(end)
        return True

    def _refuse_rest(self, outcomes: list[Outcome]) -> None:
        rest = self._buffer[self._start :]
        outcomes.append(malformed(self._here(), rest, "one JSON value", excerpt(rest)))
        self._state = _State.PASSING_LINE

    def _inside(self, outcomes: list[Outcome]) -> bool:
        if self._records_only and self._state is _State.VALUE and self._enter_records():
            return True
        closed, end = self._scanner.feed(self._buffer, self._reached)
        self._reached = end
        if self._scanner.depth > DEPTH_MAX:
            self._state = _State.REFUSING_LINE
            return True
        if end - self._start > self._bytes_max:
            self._too_long(outcomes, closed=closed)
            return True
        if not closed:
            return False
        raw = self._buffer[self._start : end]
        if self._state is _State.RECORD:
            self._values.element(raw, self._here(), self._depth + 1, outcomes)
            self._record_count += 1
            self._state = _State.BETWEEN_RECORDS
        else:
            if not self._values.value(raw, self._here(), self._depth, outcomes):
                outcomes.append(malformed(self._here(), raw, "JSON", excerpt(raw)))
            self._value_count += 1
            self._state = _State.BETWEEN
            if len(outcomes) > self._values.limits.records_max:
                raise RecordsBoundError(self._values.limits.records_max)
        self._move(end)
        return True

    def _enter_records(self) -> bool:
        """Take the value that has begun record by record, if it is a file of records."""
        prefix = RECORDS_START.match(self._buffer, self._start)
        if prefix is None:
            return False
        self._array_name = prefix[1].decode()
        self._move(prefix.end())
        self._state = _State.BETWEEN_RECORDS
        return True

    def _too_long(self, outcomes: list[Outcome], *, closed: bool) -> None:
        in_records = self._state is _State.RECORD
        if not in_records and self._enter_records():
            return
        refused = self._buffer[self._start : self._start + self._bytes_max]
        expected = f"a JSON value of at most {self._bytes_max:,} bytes"
        refusal = malformed(self._here(), refused, expected, "a longer one")
        outcomes.append(msgspec.structs.replace(refusal, truncated=True))
        if in_records:
            self._record_count += 1
            self._state = _State.BETWEEN_RECORDS if closed else _State.PASSING_RECORD
        else:
            self._value_count += 1
            self._state = _State.BETWEEN if closed else _State.PASSING_VALUE
        self._move(self._reached)

    def _move(self, start: int) -> None:
        self._start = start
        self._reached = start

    def _here(self) -> Position:
        outer = self._position
        path = outer.path + (f"#{self._value_count}" if self._value_count else "")
        if self._state in (_State.RECORD, _State.BETWEEN_RECORDS):
            path = f"{path}.{self._array_name}[{self._record_count}]"
        return Position(outer.source, outer.line, path)
