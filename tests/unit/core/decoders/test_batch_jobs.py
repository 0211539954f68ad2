import gzip
import json
from typing import Any

import pytest

from tests.unit.core.decoders.payloads import (
    JOB_ARN,
    batch_job_created,
    batch_job_event,
    batch_line,
    batch_manifest,
    brief,
    decode,
    payload,
    queue_event,
    text,
)
from worker.core.decoders import Decoder
from worker.core.evidence import Counts, EvidenceRank, Observation, OutputSums
from worker.core.results import Ignored, Malformed, Outcome

KEY = "batch/-/abcdefghwxyz"
FOLDER = "s3://results/nightly/abcdefghwxyz"
CREATED_MS = 1_791_200_873_000
"""2026-10-05T11:47:53Z"""


def read(content: bytes, name: str = f"{FOLDER}/manifest.json.out") -> list[Outcome]:
    return [
        outcome
        for block in Decoder().decode_stream([content], source=name)
        for outcome in block.outcomes
    ]


def observation(outcomes: list[Outcome]) -> Observation:
    found = [outcome for outcome in outcomes if isinstance(outcome, Observation)]
    assert len(found) == 1
    assert found[0].key == KEY
    return found[0]


def lines(*numbers: int) -> bytes:
    return b"\n".join(payload(batch_line(number)) for number in numbers)


# --- Manifests -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        f"{FOLDER}/manifest.json.out",
        "s3://results/abcdefghwxyz/manifest.json.out",
        "/var/logs/abcdefghwxyz/manifest.json.out",
        "abcdefghwxyz/manifest.json.out",
        "copies\\abcdefghwxyz\\manifest.json.out",
        "abcdefghwxyz/manifest.json.out.gz",
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_a_manifest_has_the_counts_of_the_job_that_its_folder_names(
    name: str, indent: int | None
) -> None:
    content = json.dumps(batch_manifest(3, 36, 6), indent=indent).encode()
    if name.endswith(".gz"):
        content = gzip.compress(content)
    evidence = observation(read(content, name)).evidence
    assert evidence.rank == EvidenceRank.METERED
    assert evidence.counts == Counts(36, 6)
    assert evidence.facts.service_tier == "batch"
    assert evidence.facts.account == "-"
    assert evidence.facts.outputs == (("", OutputSums(3, 0, 0, 36, 6)),)
    # It says neither when nor where nor who: anything else that is known comes first.
    assert evidence.occurred_at_rank == 0
    assert not evidence.facts.region_rank + evidence.facts.model_id_rank


@pytest.mark.parametrize("name", ["", "manifest.json.out", "results/manifest.json.out", "message"])
def test_a_manifest_in_no_jobs_folder_is_put_aside(name: str) -> None:
    (outcome,) = read(payload(batch_manifest(3, 36, 6)), name)
    assert isinstance(outcome, Malformed)
    assert ".../<job id>/manifest.json.out" in outcome.expected


def test_a_manifest_without_token_counts_is_a_sighting() -> None:
    manifest = {"totalRecordCount": 3, "processedRecordCount": 3}
    evidence = observation(read(payload(manifest))).evidence
    assert evidence.rank == EvidenceRank.SIGHTING
    assert evidence.counts == Counts()


@pytest.mark.parametrize("value", [-1, "12", 1.5, 10**13, True])
def test_a_count_that_is_none_is_refused(value: object) -> None:
    (outcome,) = read(payload(batch_manifest(3, 36, 6) | {"outputTokenCount": value}))
    assert isinstance(outcome, Malformed)
    assert outcome.path == "$.outputTokenCount"


# --- Lines -----------------------------------------------------------------------------------


@pytest.mark.parametrize("block_bytes", [10, 100_000])
def test_lines_charge_nothing_and_their_sums_stand_by_the_name_of_their_object(
    block_bytes: int,
) -> None:
    failed = batch_line(8, error={"errorCode": 400, "errorMessage": "bad request"})
    del failed["modelOutput"]
    silent = batch_line(9, modelOutput={"image": "none"})
    content = lines(1, 2) + b"\n" + payload(failed) + b"\n" + payload(silent) + b"\n"
    pieces = (content[at : at + block_bytes] for at in range(0, len(content), block_bytes))
    blocks = Decoder().decode_stream(pieces, source=f"{FOLDER}/questions.jsonl.out")
    outcomes = [outcome for block in blocks for outcome in block.outcomes]
    assert [type(outcome) for outcome in outcomes] == [Ignored] * 4 + [Observation]
    evidence = observation(outcomes).evidence
    assert evidence.rank == EvidenceRank.SIGHTING
    assert evidence.facts.outputs == (("questions.jsonl.out", OutputSums(4, 1, 1, 23, 3)),)


@pytest.mark.parametrize(
    "output, tokens",
    [
        ({"usage": {"inputTokens": 5, "outputTokens": 6, "totalTokens": 11}}, (5, 6)),
        ({"usage": {"input_tokens": 5, "output_tokens": 6}}, (5, 6)),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 6}}, (5, 6)),
        ({"inputTextTokenCount": 5, "results": [{"tokenCount": 6}]}, (5, 6)),
        ({"embedding": [0.1], "inputTextTokenCount": 5}, (5, 0)),
        ({"prompt_token_count": 5, "generation_token_count": 6}, (5, 6)),
    ],
)
def test_usage_is_read_as_in_the_bodies_of_logs(output: Any, tokens: tuple[int, int]) -> None:
    content = payload(batch_line(1, modelOutput=output))
    ((_, sums),) = observation(read(content, f"{FOLDER}/a.jsonl.out")).evidence.facts.outputs
    assert sums == OutputSums(1, 0, 0, *tokens)


def test_lines_of_the_input_say_nothing_of_the_job() -> None:
    line = {"recordId": "CALL0000001", "modelInput": {"messages": []}}
    assert read(payload(line), "in/questions.jsonl") == [
        Ignored("line of a batch job's input", outcome.position)  # type: ignore[union-attr]
        for outcome in read(payload(line), "in/questions.jsonl")
    ]


def test_lines_of_an_unknown_job_are_put_aside_once() -> None:
    outcomes = read(lines(1, 2, 3), "downloads/questions.jsonl.out")
    assert [kind for kind, _ in brief(outcomes)] == ["Ignored"] * 3 + ["Malformed"]


@pytest.mark.parametrize("cut", [None, 60])
def test_sums_are_only_told_of_an_object_that_was_read_whole(cut: int | None) -> None:
    content = gzip.compress(lines(*range(50)), mtime=0)
    name = f"{FOLDER}/questions.jsonl.out.gz"
    if cut is not None:
        outcomes = read(content[:-cut], name)
        assert observation(outcomes).evidence.facts.outputs == ()
        assert any(isinstance(outcome, Malformed) for outcome in outcomes)
    else:
        assert observation(read(content, name)).evidence.facts.outputs


def test_a_line_that_is_decoded_by_itself_is_a_sighting_of_its_job() -> None:
    outcomes = list(Decoder().decode(lines(1), source=f"{FOLDER}/questions.jsonl.out"))
    assert observation(outcomes).evidence.facts.outputs == ()


def test_objects_do_not_mix() -> None:
    decoder = Decoder()
    for numbers in ((1, 2), (3,)):
        for name in ("a.jsonl.out", "b.jsonl.out"):
            blocks = decoder.decode_stream([lines(*numbers)], source=f"{FOLDER}/{name}")
            outcomes = [outcome for block in blocks for outcome in block.outcomes]
            ((found, sums),) = observation(outcomes).evidence.facts.outputs
            assert (found, sums.records) == (name, len(numbers))


# --- Events ----------------------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_event_names_account_region_model_and_time(*, wrapped: bool) -> None:
    event = batch_job_event()
    evidence = observation(decode(queue_event(text(event)) if wrapped else event)).evidence
    facts = evidence.facts
    assert (facts.account, facts.region) == ("111122223333", "us-east-1")
    assert facts.model_id.endswith("foundation-model/amazon.nova-pro-v1:0")
    assert facts.service_tier == "batch"
    assert evidence.rank == EvidenceRank.SIGHTING
    assert evidence.occurred_at_ms == CREATED_MS
    assert facts.error_code == ""


@pytest.mark.parametrize(
    "created, changed, occurred_at_ms",
    [
        ("Oct 5, 2026, 11:47:53\u202fAM", "", CREATED_MS),
        ("Oct 5, 2026, 11:47:53 PM", "", CREATED_MS + 12 * 3_600_000),
        ("Oct 5, 2026, 12:47:53 AM", "", CREATED_MS - 11 * 3_600_000),
        ("2026-10-05T11:47:53Z", "", CREATED_MS),
        (None, "Mon Oct 05 11:47:53 UTC 2026", CREATED_MS),
        (None, "2026-10-05T11:47:53Z", CREATED_MS),
        ("yesterday", "Mon Oct  5 11:47:53 UTC 2026", CREATED_MS),
    ],
)
def test_times_are_read_however_they_are_written(
    created: str | None, changed: str, occurred_at_ms: int
) -> None:
    event = batch_job_event(creationTime=created) | {"time": changed}
    assert observation(decode(event)).evidence.occurred_at_ms == occurred_at_ms


@pytest.mark.parametrize(
    "created", ["Oct 35, 2026, 11:47:53 AM", "Oct 5, 2026, 13:47:53 AM", "anF 5, 2026, 1:47:53 AM"]
)
def test_an_event_without_a_time_is_put_aside(created: str) -> None:
    (outcome,) = decode(batch_job_event(creationTime=created) | {"time": "Oct Mon"})
    assert isinstance(outcome, Malformed)
    assert outcome.path == "$.time"


@pytest.mark.parametrize(
    "arn", ["", "abcdefghwxyz", JOB_ARN + "x", JOB_ARN.replace("1111", "11"), None, 5]
)
def test_an_event_of_no_job_is_put_aside(arn: object) -> None:
    (outcome,) = decode(batch_job_event(batchJobArn=arn))
    assert isinstance(outcome, Malformed)
    assert outcome.path == "$.detail.batchJobArn"


@pytest.mark.parametrize(
    "status, error_code",
    [("Failed", "Failed"), ("Stopped", ""), ("Expired", ""), ("PartiallyCompleted", "")],
)
def test_only_a_failed_job_is_believed_to_cost_nothing(status: str, error_code: str) -> None:
    assert observation(decode(batch_job_event(status))).evidence.facts.error_code == error_code


def test_all_sources_agree_on_the_key() -> None:
    outcomes = [
        *decode(batch_job_created()),
        *decode(batch_job_event()),
        *read(payload(batch_manifest(1, 11, 1))),
        *read(lines(1), f"{FOLDER}/a.jsonl.out"),
    ]
    assert [kind for kind, _ in brief(outcomes)] == [KEY, KEY, KEY, "Ignored", KEY]
