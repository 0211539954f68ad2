"""Batch inference jobs: what their output objects say, and whether it agrees.

A job is one call. Four kinds of records describe it, and only one thing is known to all of
them: the job's id, the last segment of its ARN.

| record | knows |
|---|---|
| CloudTrail `CreateModelInvocationJob` | ARN (so account and Region), caller, model, time |
| EventBridge `Batch Inference Job State Change` | ARN, model, time, whether the job failed |
| `.../<job id>/manifest.json.out` | the counts of the whole job |
| `.../<job id>/<input file>.out` | one line for every record, most with their usage |

So the id is what a job is booked under (`job_key`), and the evidence of all four merges. Each
output object contributes its sums under its own name, and the manifest its totals under the
empty name: a union of maps, in which the greater value of a name wins, is a lattice of its own.
Only the manifest's counts charge. Lines are compared with them (`doubt`), so that a file that
is read twice, later, or not at all changes no balance.

AWS documentation: "View the results of a batch inference job", "Monitor changes to batch
inference jobs with Amazon EventBridge".
"""

import re
from typing import Final, NamedTuple

from worker.core.evidence import (
    OUTPUTS_MAX,
    QUANTITY_MAX,
    UNKNOWN_ACCOUNT,
    Facts,
    OutputSums,
    call_key,
)

TIER_BATCH: Final = "batch"
CREATE_JOB: Final = "CreateModelInvocationJob"
MANIFEST: Final = "manifest.json.out"
MANIFEST_NAME: Final = ""
"""Name of the manifest among the output objects; no object of S3 has an empty one."""

NO_MODEL_REASON: Final = (
    "the manifest of a batch job names neither model nor caller; replay its CloudTrail event "
    f"{CREATE_JOB} or its EventBridge event"
)

_JOB_ARN: Final = re.compile(
    r"arn:aws(?:-[a-z0-9-]{1,24})?:bedrock:(?P<region>[a-z0-9-]{1,32}):(?P<account>[0-9]{12})"
    r":model-invocation-job/(?P<job_id>[a-z0-9]{12})",
    re.ASCII,
)
_OUTPUT_NAME: Final = re.compile(
    r"(?:.*[/\\])?(?P<job_id>[a-z0-9]{12})[/\\](?P<name>[^/\\]+?)(?:\.gz)?",
    re.ASCII | re.DOTALL,
)
_PARTITIONS: Final = (("us-gov-", "aws-us-gov"), ("cn-", "aws-cn"), ("us-isob-", "aws-iso-b"))


class JobArn(NamedTuple):
    """The parts of a job's ARN."""

    region: str
    account: str
    job_id: str


class JobOutput(NamedTuple):
    """An output object of a job, by its name.

    Attributes:
        job_id: The folder it lies in.
        name: The rest of its name, without `.gz`.
    """

    job_id: str
    name: str


def parse_job_arn(text: str) -> JobArn | None:
    """Split the ARN of a batch inference job; None if it is none.

    AWS documentation: "CreateModelInvocationJob", `jobArn`.
    """
    match = _JOB_ARN.fullmatch(text)
    return None if match is None else JobArn(match["region"], match["account"], match["job_id"])


def job_arn(facts: Facts, job_id: str) -> str:
    """Return the ARN of a job as far as the evidence tells, else its id."""
    if facts.account == UNKNOWN_ACCOUNT or not facts.region:
        return job_id
    partition = next((name for head, name in _PARTITIONS if facts.region.startswith(head)), "aws")
    return f"arn:{partition}:bedrock:{facts.region}:{facts.account}:model-invocation-job/{job_id}"


def parse_output_name(source: str) -> JobOutput | None:
    """Return job and name of an output object, given its path or `s3://` name.

    Bedrock writes to `<output prefix>/<job id>/`: `manifest.json.out`, and `<input file>.out`
    for every input file.
    """
    match = _OUTPUT_NAME.fullmatch(source)
    return None if match is None else JobOutput(match["job_id"], match["name"])


def job_key(job_id: str) -> str:
    """Return the key that a job is booked under; its account is no part of it."""
    return call_key("batch", UNKNOWN_ACCOUNT, job_id)


def doubt(facts: Facts) -> str:
    """Say what the output objects of a job leave open, or nothing if they agree.

    Lines that are fewer than the manifest has records are taken for a part of them: other
    output files may not have been read (yet).
    """
    outputs = dict(facts.outputs)
    manifest = outputs.pop(MANIFEST_NAME, None)
    if not outputs or (manifest and len(facts.outputs) >= OUTPUTS_MAX):
        return ""  # nothing to compare, or more than was kept
    lines = _total(tuple(outputs.values()))
    found = (
        f"{lines.records:,} output lines of {len(outputs)} files add up to "
        f"{lines.input_tokens:,} input and {lines.output_tokens:,} output tokens"
    )
    if manifest is None:
        return f"no counts: the job's {MANIFEST} was not seen; {found}, which charge nothing"
    input_more = lines.input_tokens - manifest.input_tokens
    output_more = lines.output_tokens - manifest.output_tokens
    too_many = lines.records > manifest.records
    whole = lines.records == manifest.records and not lines.uncounted
    if too_many or input_more > 0 or output_more > 0 or (whole and (input_more or output_more)):
        return (
            f"lines and manifest differ by {lines.records - manifest.records:+,} records, "
            f"{input_more:+,} input and {output_more:+,} output tokens: the manifest's were taken"
        )
    return ""


def _total(sums: tuple[OutputSums, ...]) -> OutputSums:
    return OutputSums(*(min(sum(column), QUANTITY_MAX) for column in zip(*sums, strict=True)))
