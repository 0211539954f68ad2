"""Whole objects and files of any size, read in constant memory."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from worker.core.decoders.dispatch import Dispatcher, RecordsBoundError
from worker.core.decoders.envelopes import malformed
from worker.core.decoders.inflate import Fault, inflate
from worker.core.decoders.lines import LineAssembler
from worker.core.decoders.long_line import LongLine
from worker.core.results import Ignored, Outcome, Position

_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


class Block(NamedTuple):
    """The outcomes of one stretch of a stream; a consumer steps once for hundreds of records.

    Attributes:
        outcomes: Outcomes of the records that ended in this block, in order.
        line: One-based number of the line that the block ends in.
        bytes_read: Decompressed bytes read so far, this block included.
    """

    outcomes: list[Outcome]
    line: int
    bytes_read: int


class _Reader:
    """Cuts blocks into lines."""

    def __init__(self, dispatcher: Dispatcher, source: str) -> None:
        self._dispatcher = dispatcher
        self._source = source
        self._line_bytes_max = dispatcher.limits.line_bytes_max
        self._assembler = LineAssembler(dispatcher, Position(source), 0)
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._long_line: LongLine | None = None
        self.line = 1

    def feed(self, block: bytes, outcomes: list[Outcome]) -> None:
        """Append the outcomes of all lines that end in `block`."""
        if self._long_line is not None:
            self._feed_long_line(self._long_line, block, outcomes)
            return
        lines = block.split(b"\n")
        self._held_bytes += len(lines[0])
        if self._held_bytes > self._line_bytes_max:
            self._assembler.finish(outcomes)
            self._long_line = LongLine(self._dispatcher, Position(self._source, self.line))
            joined = b"".join([*self._held, block])
            self._held = []
            self._held_bytes = 0
            self._feed_long_line(self._long_line, joined, outcomes)
            return
        self._held.append(lines[0])
        if len(lines) == 1:
            return
        lines[0] = b"".join(self._held)
        tail = lines.pop()
        self._assembler.lines(lines, self.line, outcomes)
        self.line += len(lines)
        self._held = [tail]
        self._held_bytes = len(tail)

    def _feed_long_line(self, long_line: LongLine, block: bytes, outcomes: list[Outcome]) -> None:
        head, line_feed, rest = block.partition(b"\n")
        long_line.feed(head, outcomes)
        if line_feed:
            long_line.finish(outcomes)
            self._long_line = None
            self.line += 1
            self.feed(rest, outcomes)

    def finish(self, outcomes: list[Outcome]) -> None:
        """Append the outcomes of the last line, which no line feed ends."""
        if self._long_line is not None:
            self._long_line.finish(outcomes)
            return
        if self._held_bytes:
            self._assembler.lines([b"".join(self._held)], self.line, outcomes)
        self._assembler.finish(outcomes)


def read_blocks(dispatcher: Dispatcher, chunks: Iterable[bytes], source: str) -> Iterator[Block]:
    """Yield the outcomes of a whole object or file, block by block.

    Args:
        dispatcher: What decodes the values.
        chunks: The object's bytes, as stored, in pieces of any size.
        source: The object's name, for positions.
    """
    limits = dispatcher.limits
    reader = _Reader(dispatcher, source)
    bytes_read = 0
    records = 0
    fault: Fault | None = None
    outcomes: list[Outcome] = []
    for block in inflate(chunks, limits, limits.object_bytes_max):
        if isinstance(block, Fault):
            fault = block
            break
        if not bytes_read and block.startswith(_UTF_16_MARKS):
            fault = Fault(expected="UTF-8", found="UTF-16")
            bytes_read += len(block)
            break
        bytes_read += len(block)
        outcomes = []
        fault = _bounded(reader, block, outcomes, limits.object_records_max - records)
        records += len(outcomes)
        if outcomes or fault:
            yield Block(outcomes, reader.line, bytes_read)
        if fault is not None:
            yield Block([_refusal(fault, source, reader.line)], reader.line, bytes_read)
            return
    outcomes = []
    if fault is None or fault.found != "UTF-16":
        last = _bounded(reader, None, outcomes, limits.object_records_max - records)
        fault = fault or last
    if fault is not None:
        outcomes.append(_refusal(fault, source, reader.line))
    elif not bytes_read:
        outcomes.append(Ignored("empty object", Position(source)))
    if outcomes:
        yield Block(outcomes, reader.line, bytes_read)


def _bounded(
    reader: _Reader, block: bytes | None, outcomes: list[Outcome], records_max: int
) -> Fault | None:
    """Read one block, or the end if it is None; return the fault if it holds too many records."""
    try:
        if block is None:
            reader.finish(outcomes)
        else:
            reader.feed(block, outcomes)
    except RecordsBoundError as error:
        return Fault(expected=str(error), found="more; the rest was not read")
    if len(outcomes) > records_max:
        del outcomes[records_max:]
        return Fault(expected="fewer records in one object", found="more; the rest was not read")
    return None


def _refusal(fault: Fault, source: str, line: int) -> Outcome:
    return malformed(Position(source, line), b"", fault.expected, fault.found)
