"""Batch inference jobs: manifests, output lines, and EventBridge events of their state.

AWS documentation: "View the results of a batch inference job", "Monitor changes to batch
inference jobs with Amazon EventBridge". The job's creation is a CloudTrail event, see
`cloudtrail`; how the records of one job come together is told in `worker.core.job_outputs`.
"""

import re
from datetime import UTC, datetime
from typing import Final

import msgspec

from worker.core.decoders import bodies, fields
from worker.core.decoders.body_usage import ABSENT
from worker.core.decoders.envelopes import (
    DECODE_ERRORS,
    Envelope,
    absent,
    excerpt,
    malformed,
    text_of,
)
from worker.core.decoders.fields import Quantity
from worker.core.evidence import (
    NO_COUNTS,
    QUANTITY_MAX,
    UNKNOWN_ACCOUNT,
    Counts,
    Evidence,
    EvidenceRank,
    Facts,
    Observation,
    OutputSums,
    SourceRank,
    descriptive_rank,
)
from worker.core.job_outputs import (
    CREATE_JOB,
    MANIFEST,
    MANIFEST_NAME,
    TIER_BATCH,
    job_key,
    parse_job_arn,
    parse_output_name,
)
from worker.core.results import Ignored, Malformed, Position

STATE_CHANGE: Final = "Batch Inference Job State Change"
FAILED: Final = "Failed"
"""The only state of which nothing is billed unless a manifest says otherwise."""

LINE: Final = "line of a batch job's output: the job's manifest has the counts"
INPUT_LINE: Final = "line of a batch job's input"

_MONTHS: Final = "JanFebMarAprMayJunJulAugSepOctNovDec"
# `Aug 28, 2024, 10:47:53 PM`; newer Java writes a narrow no-break space before the last word.
_CREATED: Final = re.compile(
    r"(?P<month>[A-Z][a-z]{2}) (?P<day>\d{1,2}), (?P<year>\d{4}), "
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d):(?P<second>\d\d)\s(?P<half>[AP])M",
)
# `Wed Aug 28 22:58:30 UTC 2024`
_CHANGED: Final = re.compile(
    r"[A-Z][a-z]{2} (?P<month>[A-Z][a-z]{2}) +(?P<day>\d{1,2}) "
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d) (?:UTC|GMT|Z) (?P<year>\d{4})",
)
_NOON: Final = 12


class _Manifest(msgspec.Struct, gc=False, rename="camel"):
    total_record_count: Quantity | None = None
    processed_record_count: Quantity | None = None
    error_record_count: Quantity | None = None
    input_token_count: Quantity | None = None
    output_token_count: Quantity | None = None


class _Detail(msgspec.Struct, gc=False, rename="camel"):
    batch_job_arn: str
    batch_model_id: str | None = None
    status: str | None = None
    creation_time: str | None = None


_decode_manifest: Final = msgspec.json.Decoder(_Manifest).decode
_decode_detail: Final = msgspec.json.Decoder(_Detail).decode


class OutputTally:
    """Adds up the lines of one output object.

    Attributes:
        position: Where the first line stood.
    """

    def __init__(self, position: Position) -> None:
        """Start at nothing."""
        self.position = position
        self._records = 0
        self._errors = 0
        self._uncounted = 0
        self._input_tokens = 0
        self._output_tokens = 0

    def add(self, envelope: Envelope) -> None:
        """Count one line."""
        self._records += 1
        if absent(envelope.model_output):
            self._errors += 1
            return
        empty = bodies.Envelope("", None, None, None, None)
        usage = bodies.itemise(empty, ABSENT, envelope.model_output)
        if usage is None or usage.counts.input_tokens is None:
            self._uncounted += 1
            return
        self._input_tokens += usage.counts.input_tokens
        self._output_tokens += usage.counts.output_tokens or 0

    def outcome(self, *, whole: bool) -> Observation | Malformed:
        """Return what the object says of its job: its sums if it was read as a whole."""
        output = parse_output_name(self.position.source)
        if output is None:
            found = f"{self._records:,} lines in {self.position.source or 'a message'}"
            expected = "output of a batch job in an object named .../<job id>/<input file>.out"
            return malformed(Position(self.position.source), b"", expected, found)
        sums = OutputSums(
            self._records,
            self._errors,
            self._uncounted,
            min(self._input_tokens, QUANTITY_MAX),
            min(self._output_tokens, QUANTITY_MAX),
        )
        outputs = ((fields.cut(output.name), sums),) if whole else ()
        facts = _facts_of_output(outputs, EvidenceRank.SIGHTING)
        return Observation(job_key(output.job_id), Evidence(facts, 0, 0, EvidenceRank.SIGHTING))


def is_manifest(envelope: Envelope) -> bool:
    """Whether this is the manifest of a batch job's output."""
    return not absent(envelope.total_record_count) and not absent(envelope.processed_record_count)


def is_line(envelope: Envelope) -> bool:
    """Whether this is a line of a batch job's output, or of its input."""
    return not absent(envelope.model_input) or (
        not absent(envelope.record_id) and not absent(envelope.model_output)
    )


def is_output_line(envelope: Envelope) -> bool:
    """Whether a line has come back from the job."""
    return not absent(envelope.model_output) or not absent(envelope.error)


def manifest(raw: bytes | msgspec.Raw, position: Position) -> Observation | Malformed:
    """Return the counts of a job. Which job, only the name of the manifest says."""
    output = parse_output_name(position.source)
    if output is None:
        found = position.source or "one without a name"
        expected = f"the manifest of a batch job in an object named .../<job id>/{MANIFEST}"
        return malformed(position, raw, expected, fields.shorten(found, fields.NAME_LENGTH_MAX))
    try:
        counted = _decode_manifest(raw)
    except msgspec.ValidationError as error:
        refused = fields.field_error(raw, str(error))
        return malformed(position, raw, refused.expected, refused.found, refused.path)
    except DECODE_ERRORS as error:
        return malformed(position, raw, "the manifest of a batch job", str(error))
    counts = NO_COUNTS
    rank = EvidenceRank.SIGHTING
    if counted.input_token_count is not None or counted.output_token_count is not None:
        counts = Counts(counted.input_token_count, counted.output_token_count)
        rank = EvidenceRank.METERED
    sums = OutputSums(
        counted.processed_record_count or 0,
        counted.error_record_count or 0,
        0,
        counted.input_token_count or 0,
        counted.output_token_count or 0,
    )
    facts = _facts_of_output(((MANIFEST_NAME, sums),), rank)
    # A manifest says neither when the job ran nor where: rank 0 gives way to whatever does.
    return Observation(job_key(output.job_id), Evidence(facts, 0, 0, int(rank), counts))


def _facts_of_output(outputs: tuple[tuple[str, OutputSums], ...], rank: EvidenceRank) -> Facts:
    described = descriptive_rank(SourceRank.COMPLETION, rank)
    return Facts(
        account=UNKNOWN_ACCOUNT,
        operation=CREATE_JOB,
        operation_rank=described,
        service_tier=TIER_BATCH,
        service_tier_rank=described,
        outputs=outputs,
    )


def state_change(envelope: Envelope, position: Position) -> Observation | Malformed:
    """Return what an event says of its job: the model, since when, and whether it failed.

    Args:
        envelope: The event.
        position: Where its `detail` stands.
    """
    try:
        detail = _decode_detail(envelope.detail)
    except msgspec.ValidationError as error:
        refused = fields.field_error(envelope.detail, str(error), "$.detail")
        return malformed(position, envelope.detail, refused.expected, refused.found, refused.path)
    except DECODE_ERRORS as error:
        return malformed(position, envelope.detail, "the state of a batch job", str(error))
    arn = parse_job_arn(detail.batch_job_arn)
    if arn is None:
        found = fields.quote(detail.batch_job_arn)
        path = "$.detail.batchJobArn"
        return malformed(position, envelope.detail, "the ARN of a batch job", found, path)
    created_ms = _time_ms(detail.creation_time or "") or _time_ms(text_of(envelope.time) or "")
    if created_ms is None:
        expected, found = "the time of a batch job", excerpt(envelope.time)
        return malformed(position, envelope.detail, expected, found, "$.time")
    described = descriptive_rank(SourceRank.COMPLETION, EvidenceRank.SIGHTING)
    try:
        model_id = fields.checked_name(
            detail.batch_model_id, fields.MODEL_ID_LENGTH_MAX, "$.detail.batchModelId"
        )
    except fields.FieldError as error:
        return malformed(position, envelope.detail, error.expected, error.found, error.path)
    failed = detail.status == FAILED
    facts = Facts(
        account=arn.account,
        region=arn.region,
        region_rank=described,
        model_id=model_id,
        model_id_rank=described if model_id else 0,
        operation=CREATE_JOB,
        operation_rank=described,
        service_tier=TIER_BATCH,
        service_tier_rank=described,
        error_code=FAILED if failed else "",
        error_code_rank=described if failed else 0,
    )
    evidence = Evidence(facts, created_ms, described, int(EvidenceRank.SIGHTING))
    return Observation(job_key(arn.job_id), evidence)


def ignored_line(envelope: Envelope, position: Position) -> Ignored:
    """Return the outcome of a line by itself: it charges nothing."""
    return Ignored(LINE if is_output_line(envelope) else INPUT_LINE, position)


def _month(name: str) -> int:
    """Return the number of a month; raises ValueError where there is none of that name."""
    index, rest = divmod(_MONTHS.index(name), 3)
    return index + 1 if not rest else 0


def _time_ms(text: str) -> int | None:
    """Read a time as these events write it, or as ISO-8601; None if it is neither."""
    match = _CREATED.fullmatch(text) or _CHANGED.fullmatch(text)
    try:
        if match is None:
            instant = msgspec.convert(text, fields.Instant)
            return fields.epoch_ms(instant.astimezone(UTC), "$.time", text.encode())
        parts = match.groupdict()
        hour = int(parts["hour"])
        if "half" in parts:
            if not 1 <= hour <= _NOON:
                return None
            hour = hour % _NOON + (_NOON if parts["half"] == "P" else 0)
        instant = datetime(
            int(parts["year"]),
            _month(parts["month"]),
            int(parts["day"]),
            hour,
            int(parts["minute"]),
            int(parts["second"]),
            tzinfo=UTC,
        )
        return fields.epoch_ms(instant, "$.time", text.encode())
    except (ValueError, OverflowError, msgspec.ValidationError, fields.FieldError):
        return None
