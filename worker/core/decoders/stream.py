"""Whole objects and files of any size, read in constant memory."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from worker.core.decoders.envelopes import malformed
from worker.core.decoders.inflate import Fault, inflate_layers
from worker.core.decoders.reader import LineReader
from worker.core.decoders.values import RecordsBoundError, Values
from worker.core.results import Ignored, Malformed, Outcome, Position

UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")


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


class _Stream:
    """One object on its way."""

    def __init__(self, values: Values, source: str) -> None:
        self.source = source
        self.reader = LineReader(values, Position(source), 0)
        self.bytes_read = 0
        self.records_max = values.limits.object_records_max
        self.records_left = self.records_max

    def block(self, outcomes: list[Outcome]) -> Block:
        return Block(outcomes, self.reader.line, self.bytes_read)

    def read(self, block: bytes | None, outcomes: list[Outcome]) -> Fault | None:
        """Read one block, or the end if it is None; return a fault if it holds too much."""
        if block is not None and not self.bytes_read and block.startswith(UTF_16_MARKS):
            return Fault(expected="UTF-8", found="UTF-16")
        found = "more; the rest was not read"
        try:
            if block is None:
                self.reader.finish(outcomes)
            else:
                self.bytes_read += len(block)
                self.reader.feed(block, outcomes)
        except RecordsBoundError as error:
            return Fault(expected=str(error), found=found)
        self.records_left -= len(outcomes)
        if self.records_left < 0:
            del outcomes[self.records_left :]
            return Fault(
                expected=f"at most {self.records_max:,} records in one object", found=found
            )
        return None

    def refusal(self, fault: Fault) -> Malformed:
        """Return the one outcome for whatever was not read."""
        position = Position(self.source, self.reader.line)
        refused = malformed(position, b"", fault.expected, fault.found)
        return msgspec.structs.replace(refused, truncated=True)


def read_blocks(values: Values, chunks: Iterable[bytes], source: str) -> Iterator[Block]:
    """Yield the outcomes of a whole object or file, block by block.

    Args:
        values: What decodes the values.
        chunks: The object's bytes, as stored, in pieces of any size.
        source: The object's name, for positions.
    """
    limits = values.limits
    stream = _Stream(values, source)
    values.begin(source)
    outcomes: list[Outcome]
    for block in inflate_layers(chunks, limits, limits.object_bytes_max):
        outcomes = []
        if isinstance(block, Fault):
            # A last line that was cut belongs to the fault; one that is whole still counts.
            stream.read(None, outcomes)
            if outcomes and isinstance(outcomes[-1], Malformed):
                outcomes.pop()
            outcomes.append(stream.refusal(block))
            values.end(source, outcomes, whole=False)
            yield stream.block(outcomes)
            return
        fault = stream.read(block, outcomes)
        if fault is not None:
            outcomes.append(stream.refusal(fault))
            values.end(source, outcomes, whole=False)
        if outcomes:
            yield stream.block(outcomes)
        if fault is not None:
            return
    outcomes = []
    fault = stream.read(None, outcomes)
    if fault is not None:
        outcomes.append(stream.refusal(fault))
    elif not stream.bytes_read:
        outcomes.append(Ignored("empty object", Position(source)))
    values.end(source, outcomes, whole=fault is None)
    if outcomes:
        yield stream.block(outcomes)
