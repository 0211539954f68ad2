"""Cuts the blocks of a text into lines, and tells the few that are too long to be held."""

from worker.core.decoders.lines import LineAssembler
from worker.core.decoders.long_line import LongLine
from worker.core.decoders.values import RecordsBoundError, Values
from worker.core.results import Outcome, Position


class LineReader:
    """Takes a text block by block.

    Attributes:
        line: One-based number of the line that was reached.
    """

    def __init__(self, values: Values, position: Position, depth: int) -> None:
        """Decode through `values` a text that stands at `position`, inside `depth` wrappers."""
        self._values = values
        self._position = position
        self._depth = depth
        self._assembler = LineAssembler(values, position, depth)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._long_line: LongLine | None = None
        self.line = 1

    def feed(self, block: bytes, outcomes: list[Outcome]) -> None:
        """Append the outcomes of all lines that end in `block`.

        Raises:
            RecordsBoundError: There are more than `Limits.records_max`.
        """
        rest = block
        while rest:
            if self._long_line is None:
                rest = self._feed_lines(rest, outcomes)
            else:
                rest = self._feed_long_line(self._long_line, rest, outcomes)
        if len(outcomes) > self._values.limits.records_max:
            raise RecordsBoundError(self._values.limits.records_max)

    def _feed_lines(self, block: bytes, outcomes: list[Outcome]) -> bytes:
        """Take a block up to its end, or up to a long line; return what is left."""
        if not self._held_bytes and not block.strip(b"\n"):
            self.line += len(block)
            return b""
        lines = block.split(b"\n")
        if self._held_bytes + len(lines[0]) > self._values.limits.line_bytes_max:
            self._assembler.finish(outcomes)
            self._long_line = LongLine(self._values, self._assembler.at(self.line))
            joined = b"".join([*self._held, block])
            self._held = []
            self._held_bytes = 0
            return joined
        self._held.append(lines[0])
        self._held_bytes += len(lines[0])
        if len(lines) == 1:
            return b""
        lines[0] = b"".join(self._held)
        tail = lines.pop()
        self._assembler.lines(lines, self.line, outcomes)
        self.line += len(lines)
        self._held = [tail]
        self._held_bytes = len(tail)
        return b""

    def _feed_long_line(self, long_line: LongLine, block: bytes, outcomes: list[Outcome]) -> bytes:
        head, line_feed, rest = block.partition(b"\n")
        long_line.feed(head, outcomes)
        if line_feed:
            long_line.finish(outcomes)
            self._long_line = None
            self.line += 1
        return rest

    def finish(self, outcomes: list[Outcome]) -> None:
        """Append the outcomes of the last line, which no line feed ends, and of what waited."""
        if self._long_line is not None:
            self._long_line.finish(outcomes)
            return
        if self._held_bytes:
            self._assembler.lines([b"".join(self._held)], self.line, outcomes)
        self._assembler.finish(outcomes)
