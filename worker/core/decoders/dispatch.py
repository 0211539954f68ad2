"""Which decoder a payload belongs to, decided by its structure alone.

Order: a model invocation log is tried first, because nearly everything is one; else one look
at the top level (`Envelope`) names the wrapper, whose parts come back here. Every record ends
as exactly one outcome, and a broken one never spoils its siblings.
"""

import binascii
from collections.abc import Callable
from typing import Final

import msgspec

from worker.core.decoders import (
    batch_jobs,
    cloudwatch_logs,
    eventbridge,
    lambda_events,
    log_events,
    s3_notification,
    sns,
)
from worker.core.decoders.aggregates import AGGREGATE_MAGIC, AggregateError, user_records
from worker.core.decoders.cloudtrail import CloudTrailDecoder
from worker.core.decoders.envelopes import (
    DECODE_ERRORS,
    Envelope,
    Part,
    Shape,
    Unwrapped,
    absent,
    below,
    excerpt,
    malformed,
    text_of,
    top_level_keys,
)
from worker.core.decoders.inflate import Fault, compression, inflate, slices
from worker.core.decoders.invocation_log import InvocationLogDecoder
from worker.core.decoders.limits import DEFAULT_LIMITS, Limits
from worker.core.decoders.quarantined import OWN_RECORD, is_quarantined
from worker.core.decoders.reader import LineReader
from worker.core.decoders.scan import array_elements
from worker.core.decoders.values import RecordsBoundError
from worker.core.evidence import Observation
from worker.core.results import Ignored, Malformed, Outcome, Position

_KNOWN: Final = (
    "a model invocation log, a CloudTrail event or file, an EventBridge event, CloudWatch log "
    "events, an S3 notification, output of a batch job, or one of these in SQS, SNS or Kinesis"
)
_ENVELOPE: Final = msgspec.json.Decoder(Envelope)
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_UTF_16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_BASE64_HEADS: Final = (b"H4sI", b"eJ", b"eA", b"eN", b"eF")
_BLANK: Final = b" \t\r\n"


class Dispatcher:
    """Turns payloads, lines and JSON values into outcomes; `Decoder` is its public face.

    Attributes:
        limits: The bounds it keeps.
        try_decode: The invocation log decoder's entry, the hot path.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        """Make the decoders of the two kinds of record."""
        self.limits = limits
        self.try_decode: Callable[[bytes | msgspec.Raw], Outcome | None] = (
            InvocationLogDecoder().try_decode
        )
        self._cloudtrail = CloudTrailDecoder()
        self._tallies: dict[str, batch_jobs.OutputTally] = {}

    def payload(
        self, payload: bytes, position: Position, depth: int, outcomes: list[Outcome]
    ) -> None:
        """Decode bytes of any kind: compressed, base64, JSON, lines of JSON.

        Args:
            payload: The bytes.
            position: Where they stand.
            depth: Wrappers around them.
            outcomes: What is appended to, one outcome for every record.

        Raises:
            RecordsBoundError: `outcomes` reached `Limits.records_max`.
        """
        if depth > self.limits.nesting_max:
            expected = f"at most {self.limits.nesting_max} wrappers around a record"
            self._emit(malformed(position, payload, expected, "more"), outcomes)
            return
        if compression(payload):
            self._compressed(payload, position, depth, outcomes)
        elif payload.startswith(AGGREGATE_MAGIC):
            self._aggregate(payload, position, depth, outcomes)
        else:
            self._text(payload, position, depth, outcomes)

    def _aggregate(
        self, payload: bytes, position: Position, depth: int, outcomes: list[Outcome]
    ) -> None:
        """Decode each of the records that the Kinesis Producer Library has packed into one."""
        number = 0
        try:
            for number, data in enumerate(user_records(payload), 1):
                where = below(position, f"#{number - 1}")
                if data is None:
                    expected, found = "a user record with data", "none that can be read"
                    self._emit(malformed(where, payload, expected, found), outcomes)
                else:
                    self.payload(data, where, depth + 1, outcomes)
        except AggregateError as error:
            self._emit(malformed(position, payload, error.expected, error.found), outcomes)
            return
        if not number:
            self._emit(Ignored("aggregated record without user records", position), outcomes)

    def _compressed(
        self, payload: bytes, position: Position, depth: int, outcomes: list[Outcome]
    ) -> None:
        blocks: list[bytes] = []
        fault: Fault | None = None
        for block in inflate((payload,), self.limits, self.limits.message_bytes_max):
            if isinstance(block, Fault):
                fault = block
            else:
                blocks.append(block)
        content = b"".join(blocks)
        if fault is None:
            self.payload(content, position, depth + 1, outcomes)
            return
        # Only whole lines are records: the last one may have been cut by the damage.
        whole = content[: content.rfind(b"\n") + 1]
        if whole.strip(_BLANK):
            self.payload(whole, position, depth + 1, outcomes)
        self._emit(malformed(position, payload, fault.expected, fault.found), outcomes)

    def _text(
        self, payload: bytes, position: Position, depth: int, outcomes: list[Outcome]
    ) -> None:
        text = payload.removeprefix(_BYTE_ORDER_MARK).strip(_BLANK)
        if not text:
            self._emit(Ignored("empty payload", position), outcomes)
        elif text[:1] in b'{["':
            if not self.value(text, position, depth, outcomes):
                self.lines(payload, position, depth, outcomes)
        elif text.startswith(_UTF_16_MARKS):
            self._emit(malformed(position, payload, "UTF-8", "UTF-16"), outcomes)
        elif text.startswith(_BASE64_HEADS) and compression(content := _base64(text)):
            self.payload(content, position, depth + 1, outcomes)
        elif b"\n" in text or log_events.LINE_TIME.match(text):
            self.lines(payload, position, depth, outcomes)
        else:
            self._emit(malformed(position, payload, "JSON", excerpt(payload)), outcomes)

    def lines(
        self, payload: bytes, position: Position, depth: int, outcomes: list[Outcome]
    ) -> None:
        """Decode text of several JSON values: one a line, spread over lines, or joined."""
        start = len(outcomes)
        reader = LineReader(self, position, depth)
        for block in slices((payload,), self.limits.block_bytes):
            reader.feed(block, outcomes)
        reader.finish(outcomes)
        text = payload.strip(_BLANK)
        prose = text[:1] != b"{" and not log_events.LINE_TIME.match(text)
        if prose and all(isinstance(outcome, Malformed) for outcome in outcomes[start:]):
            # A stack trace in a log event is one bad record, however many lines it has.
            del outcomes[start:]
            self._emit(malformed(position, payload, "JSON", excerpt(payload)), outcomes)

    def value(
        self,
        raw: bytes | msgspec.Raw,
        position: Position,
        depth: int,
        outcomes: list[Outcome],
        *,
        log_first: bool = True,
    ) -> bool:
        """Decode one JSON value.

        Args:
            raw: The value.
            position: Where it stands.
            depth: Wrappers around it.
            outcomes: What is appended to.
            log_first: Whether an invocation log is more likely than anything else.

        Returns:
            Whether it was one JSON value; if not, nothing was appended.
        """
        if log_first:
            outcome = self.try_decode(raw)
            if outcome is not None:
                self._emit(placed(outcome, position), outcomes)
                return True
        try:
            envelope = _ENVELOPE.decode(raw)
        except msgspec.ValidationError:
            return self._no_object(raw, position, depth, outcomes)
        except DECODE_ERRORS as error:
            if isinstance(error, msgspec.DecodeError):
                return False
            self._emit(malformed(position, raw, "readable JSON", str(error)), outcomes)
            return True
        if not log_first and not len(envelope.event_source):
            outcome = self.try_decode(raw)
            if outcome is not None:
                self._emit(placed(outcome, position), outcomes)
                return True
        self._object(raw, envelope, position, depth, outcomes)
        return True

    def _no_object(
        self,
        raw: bytes | msgspec.Raw,
        position: Position,
        depth: int,
        outcomes: list[Outcome],
    ) -> bool:
        """Decode a JSON value that is no object: an array of records, or text that holds one."""
        try:
            msgspec.json.decode(raw, type=msgspec.Raw)
        except DECODE_ERRORS:
            return False
        head = bytes(memoryview(raw)[:1])
        if head == b"[":
            self._elements(raw, position, depth, outcomes)
        elif head == b'"' and (text := text_of(msgspec.Raw(raw))) is not None:
            self.payload(text.encode("utf-8", "replace"), position, depth + 1, outcomes)
        else:
            self._emit(malformed(position, raw, _KNOWN, excerpt(raw)), outcomes)
        return True

    def _elements(
        self,
        raw: bytes | msgspec.Raw,
        position: Position,
        depth: int,
        outcomes: list[Outcome],
    ) -> None:
        """Decode an array, each of whose elements is a record or a wrapper by itself."""
        if depth >= self.limits.nesting_max:
            expected = f"at most {self.limits.nesting_max} wrappers around a record"
            self._emit(malformed(position, raw, expected, "more"), outcomes)
            return
        index = -1
        try:
            for index, element in enumerate(array_elements(msgspec.Raw(raw))):
                self.element(element, below(position, f"[{index}]"), depth + 1, outcomes)
        except DECODE_ERRORS as error:
            self._emit(malformed(position, raw, "an array of records", str(error)), outcomes)
            return
        if index < 0:
            self._emit(Ignored("no records", position), outcomes)

    def element(
        self,
        raw: bytes | msgspec.Raw,
        position: Position,
        depth: int,
        outcomes: list[Outcome],
    ) -> None:
        """Decode one element of an array of records."""
        if not self.value(raw, position, depth, outcomes, log_first=False):
            self._emit(malformed(position, raw, "JSON", excerpt(raw)), outcomes)

    def _object(
        self,
        raw: bytes | msgspec.Raw,
        envelope: Envelope,
        position: Position,
        depth: int,
        outcomes: list[Outcome],
    ) -> None:
        if len(envelope.records):
            self._records(envelope.records, "Records", raw, position, (depth, outcomes))
        elif len(envelope.message_type) and len(envelope.log_events):
            # Its malformed log events keep their own bodies: they are records by themselves.
            self._parts(cloudwatch_logs.unwrap_batch(envelope, position), depth, outcomes, None)
        elif (parts := _unwrapped(envelope, position)) is not None:
            self._parts(parts, depth, outcomes, raw)
        elif _is_cloudtrail(envelope):
            outcome = self._cloudtrail.decode(raw)
            self._emit(placed(outcome, position), outcomes)
        elif text_of(envelope.test_event) == "s3:TestEvent":
            self._emit(Ignored("S3 test event", position), outcomes)
        elif batch_jobs.is_line(envelope):
            self._batch_line(envelope, position, outcomes)
        elif batch_jobs.is_manifest(envelope):
            self._emit(batch_jobs.manifest(raw, position), outcomes)
        elif (listed := _listed(envelope)) is not None:
            self._records(listed[1], listed[0], raw, position, (depth, outcomes))
        elif (parts := _event_by_itself(envelope, position)) is not None:
            self._parts(parts, depth, outcomes, raw)
        elif is_quarantined(envelope, raw):
            self._emit(Ignored(OWN_RECORD, position), outcomes)
        else:
            self._emit(_unknown(raw, position), outcomes)

    def _records(
        self,
        array: msgspec.Raw,
        name: str,
        raw: bytes | msgspec.Raw,
        position: Position,
        going: tuple[int, list[Outcome]],
    ) -> None:
        """Decode the elements of what should be an array of records."""
        depth, outcomes = going
        where = below(position, f".{name}")
        if bytes(memoryview(array)[:1]) == b"[":
            self._elements(array, where, depth, outcomes)
        else:
            found = excerpt(array)
            self._emit(malformed(where, raw, "an array", found, f"$.{name}"), outcomes)

    def _batch_line(self, envelope: Envelope, position: Position, outcomes: list[Outcome]) -> None:
        self._emit(batch_jobs.ignored_line(envelope, position), outcomes)
        if batch_jobs.is_output_line(envelope):
            tally = self._tallies.get(position.source)
            if tally is None:
                tally = self._tallies[position.source] = batch_jobs.OutputTally(position)
            tally.add(envelope)

    def begin(self, source: str) -> None:
        """Start with a new object, or another payload, called `source`."""
        self._tallies.pop(source, None)

    def end(self, source: str, outcomes: list[Outcome], *, whole: bool) -> None:
        """Append what can only be said at the end of an object or payload.

        Args:
            source: Its name.
            outcomes: What is appended to.
            whole: Whether all of an object was read, so that its sums are complete.
        """
        tally = self._tallies.pop(source, None)
        if tally is not None:
            outcomes.append(tally.outcome(whole=whole))

    def _parts(
        self,
        parts: Unwrapped,
        depth: int,
        outcomes: list[Outcome],
        body: bytes | msgspec.Raw | None,
    ) -> None:
        for part in parts:
            if isinstance(part, Part):
                if part.shape is Shape.BYTES:
                    self.payload(bytes(part.payload), part.position, depth + 1, outcomes)
                else:
                    outcome = self._cloudtrail.decode(part.payload)
                    self._emit(placed(outcome, part.position), outcomes)
            elif isinstance(part, Malformed) and body is not None:
                whole = malformed(part.position, body, part.expected, part.found, part.path)
                self._emit(whole, outcomes)
            else:
                self._emit(part, outcomes)

    def _emit(self, outcome: Outcome, outcomes: list[Outcome]) -> None:
        if len(outcomes) >= self.limits.records_max:
            raise RecordsBoundError(self.limits.records_max)
        outcomes.append(outcome)


def placed(outcome: Outcome, position: Position) -> Outcome:
    """Return an outcome of a record decoder with the place where the record stood."""
    if isinstance(outcome, Observation):
        return outcome
    return msgspec.structs.replace(outcome, position=position)


def _unwrapped(envelope: Envelope, position: Position) -> Unwrapped | None:
    """Return the parts of a wrapper, or None if this is none."""
    source = text_of(envelope.event_source) or text_of(envelope.topic_source)
    if source is not None and source.startswith("aws:"):
        if source == "aws:sqs":
            return lambda_events.unwrap_queue_message(envelope, position)
        if source == "aws:kinesis":
            return lambda_events.unwrap_stream_record(envelope, position)
        if source == "aws:s3":
            return s3_notification.unwrap(envelope, position)
        if source == "aws:sns":
            return sns.unwrap_record(envelope, position)
    if not absent(envelope.awslogs):
        return cloudwatch_logs.unwrap_lambda_event(envelope, position)
    if len(envelope.detail_type):
        return eventbridge.unwrap(envelope, position)
    if len(envelope.topic_type) and len(envelope.topic_message):
        return sns.unwrap_notification(envelope, position)
    return None


def _listed(envelope: Envelope) -> tuple[str, msgspec.Raw] | None:
    """Return key and value of a list of events that a command-line tool has written."""
    if not absent(envelope.looked_up):
        return "Events", envelope.looked_up
    return None if absent(envelope.events) else ("events", envelope.events)


def _event_by_itself(envelope: Envelope, position: Position) -> Unwrapped | None:
    """Return what one event out of such a list holds, or the rows of a query; None if neither.

    Or the event that an invocation failed at.
    """
    if len(envelope.request_context) and len(envelope.request_payload):
        return lambda_events.unwrap_failed_invocation(envelope, position)
    if not absent(envelope.lookup_event):
        return log_events.unwrap_lookup_event(envelope, position)
    if log_events.is_log_event(envelope):
        return log_events.unwrap_log_event(envelope, position)
    if not absent(envelope.query_message):
        return log_events.unwrap_query_event(envelope, position)
    if not absent(envelope.query_results):
        return log_events.unwrap_query(envelope, position)
    return None


def _is_cloudtrail(envelope: Envelope) -> bool:
    """Whether this is a CloudTrail event, rather than a record of some other Lambda trigger."""
    return bool(
        len(envelope.event_source)
        and len(envelope.event_name)
        and (len(envelope.event_version) or len(envelope.user_identity))
        and not bytes(envelope.event_source).startswith(b'"aws:')
    )


def _unknown(raw: bytes | msgspec.Raw, position: Position) -> Malformed:
    try:
        str(raw, "utf-8")
    except UnicodeDecodeError as error:
        return malformed(position, raw, "UTF-8", f"another byte sequence at {error.start:,}")
    return malformed(position, raw, _KNOWN, top_level_keys(raw))


def _base64(text: bytes) -> bytes:
    try:
        return binascii.a2b_base64(text.translate(None, b"\r\n"), strict_mode=True)
    except ValueError:
        return b""
