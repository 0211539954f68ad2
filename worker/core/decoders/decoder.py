"""The one entry to all decoders."""

from collections.abc import Iterable, Iterator

from worker.core.decoders.dispatch import Dispatcher
from worker.core.decoders.envelopes import malformed
from worker.core.decoders.limits import DEFAULT_LIMITS, Limits
from worker.core.decoders.lines import LineAssembler
from worker.core.decoders.stream import Block, read_blocks
from worker.core.decoders.values import RecordsBoundError
from worker.core.results import Outcome, Position


class Decoder:
    """Turns what any transport hands over into outcomes, one for every record, in order.

    Nothing here raises on any input: what cannot be understood is a `Malformed` outcome that
    says what was expected and found, and where. A decoder keeps caches; use one per thread.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        """Decode within `limits`."""
        self._dispatcher = Dispatcher(limits)

    @property
    def limits(self) -> Limits:
        """The bounds that this decoder keeps."""
        return self._dispatcher.limits

    def decode(self, payload: bytes, *, source: str = "") -> Iterator[Outcome]:
        """Return the outcomes of one payload that is held in memory.

        Args:
            payload: A queue body, a Lambda event, the data of a stream record or of a log
                subscription, the content of a small file: JSON, lines of JSON, joined JSON
                values, or any of these as gzip, zlib or base64 of one of them.
            source: Name for positions (a message id, a sequence number).
        """
        outcomes: list[Outcome] = []
        position = Position(source)
        self._dispatcher.begin(source)
        try:
            self._dispatcher.payload(payload, position, 0, outcomes)
        except RecordsBoundError as error:
            found = "more; the rest was not read"
            outcomes.append(malformed(position, payload, str(error), found))
        # A payload may be a part of an object, or one record of it that is redriven.
        self._dispatcher.end(source, outcomes, whole=False)
        return iter(outcomes)

    def decode_stream(self, chunks: Iterable[bytes], *, source: str) -> Iterator[Block]:
        """Yield the outcomes of a whole object or file, of any size, in constant memory.

        Args:
            chunks: Its bytes as stored (gzip of any number of members, zlib or plain), in
                pieces of any size; how they are cut does not matter.
            source: Its name, for positions (`s3://bucket/key`, a path).
        """
        return read_blocks(self._dispatcher, chunks, source)

    def decode_lines(
        self, lines: list[bytes], *, source: str, first_line: int = 1
    ) -> list[Outcome]:
        """Return the outcomes of complete lines, held in memory, without their line feeds.

        Args:
            lines: The lines. A document spread over several must be whole.
            source: Name for positions.
            first_line: One-based number of the first line.
        """
        outcomes: list[Outcome] = []
        position = Position(source)
        self._dispatcher.begin(source)
        try:
            assembler = LineAssembler(self._dispatcher, position, 0)
            assembler.lines(lines, first_line, outcomes)
            assembler.finish(outcomes)
        except RecordsBoundError as error:
            found = "more; the rest was not read"
            outcomes.append(malformed(position, b"", str(error), found))
        self._dispatcher.end(source, outcomes, whole=False)
        return outcomes
