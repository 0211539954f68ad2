"""A batch job is one call: half price, counted by its manifest, whatever arrives when."""

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.calls import PRO, asynchronous, book, entries, poster, snapshot
from tests.unit.core.decoders.payloads import (
    JOB_ARN,
    batch_job_created,
    batch_job_event,
    batch_line,
    batch_manifest,
    payload,
)
from worker.adapters.memory_ledger import MemoryLedger
from worker.core.decoders import Decoder
from worker.core.evidence import OUTPUTS_MAX, Evidence, Facts, Observation, OutputSums, merge
from worker.core.explanation import Explanation
from worker.core.job_outputs import doubt, job_arn, parse_job_arn, parse_output_name
from worker.core.results import Outcome
from worker.pipeline import Digester, Window

FOLDER = "s3://results/abcdefghwxyz"
RATES = f"""model,routing,tier,unit,usd
{PRO},*,batch,input_tokens,0.4
{PRO},*,batch,output_tokens,1.6
"""


def outcomes(content: bytes, name: str = "message") -> list[Outcome]:
    blocks = Decoder().decode_stream([content], source=name)
    return [outcome for block in blocks for outcome in block.outcomes]


def lines(*numbers: int, name: str = "a.jsonl.out") -> list[Outcome]:
    content = b"\n".join(payload(batch_line(number)) for number in numbers)
    return outcomes(content, f"{FOLDER}/{name}")


def manifest(records: int, input_tokens: int, output_tokens: int) -> list[Outcome]:
    content = payload(batch_manifest(records, input_tokens, output_tokens))
    return outcomes(content, f"{FOLDER}/manifest.json.out")


CREATED = outcomes(payload(batch_job_created()))
COMPLETED = outcomes(payload(batch_job_event("Completed")))
SUBMITTED = outcomes(payload(batch_job_event("Submitted")))
FAILED = outcomes(payload(batch_job_event("Failed")))
MANIFEST = manifest(3, 36, 6)
LINES = [*lines(1, 2), *lines(3, name="b.jsonl.out")]
"""Lines 1, 2 and 3: 11 + 12 + 13 tokens in, 1 + 2 + 3 out."""


def explain(*parts: Sequence[Outcome]) -> dict[str, object]:
    explanation = Explanation(poster(RATES))
    for part in parts:
        explanation.add(part)
    (document,) = (one for one in explanation.documents() if "result" not in one)
    return document


def test_a_job_is_half_the_price_of_its_manifest() -> None:
    document = explain(LINES, MANIFEST, COMPLETED, CREATED)
    # 36 x $0.40 and 6 x $1.60 a million: half of what a call of the standard tier costs.
    assert document["cost_usd"] == "0.000024"
    assert document["status"] == "priced"
    assert document["service_tier"] == "batch"
    assert document["namespace"] == "batch"
    assert document["request_id"] == JOB_ARN
    assert document["account"] == "111122223333"
    assert document["identity"] == "user/111122223333/maria"
    assert document["occurred_at"] == "2026-10-05T11:47:52Z"


def test_the_event_alone_prices_a_manifest_but_knows_no_caller() -> None:
    document = explain(COMPLETED, MANIFEST)
    assert document["cost_usd"] == "0.000024"
    assert document["identity"] == "unknown/111122223333"


def test_a_manifest_alone_is_unpriced_and_says_what_is_missing() -> None:
    document = explain(MANIFEST, LINES)
    assert document["status"] == "unpriced"
    assert document["cost_usd"] is None
    assert document["occurred_at"] is None
    assert document["request_id"] == "abcdefghwxyz"
    assert "CreateModelInvocationJob" in str(document["reason"])


def test_lines_alone_charge_nothing_and_are_seen() -> None:
    document = explain(CREATED, LINES)
    assert (document["status"], document["cost_usd"]) == ("unmetered", None)
    reason = str(document["reason"])
    assert "manifest.json.out was not seen" in reason
    assert "3 output lines of 2 files add up to 36 input and 6 output tokens" in reason


def test_a_job_without_any_output_is_unmetered_and_a_failed_one_costs_nothing() -> None:
    assert explain(CREATED)["status"] == "unmetered"
    failed = explain(SUBMITTED, FAILED, CREATED)
    assert (failed["status"], failed["cost_usd"]) == ("failed", "0")
    # What a job processed before it failed is billed.
    assert explain(FAILED, CREATED, MANIFEST)["cost_usd"] == "0.000024"


@pytest.mark.parametrize(
    "counted, difference",
    [
        ((3, 30, 6), "+0 records, +6 input and +0 output tokens"),
        ((3, 40, 9), "+0 records, -4 input and -3 output tokens"),
        ((2, 36, 6), "+1 records, +0 input and +0 output tokens"),
    ],
)
def test_lines_that_differ_from_the_manifest_make_an_estimate_of_it(
    counted: tuple[int, int, int], difference: str
) -> None:
    document = explain(manifest(*counted), LINES, CREATED)
    assert document["status"] == "estimated"
    assert difference in str(document["reason"])
    alone = explain(manifest(*counted), CREATED)
    assert document["cost_usd"] == alone["cost_usd"]
    assert alone["status"] == "priced"


def test_some_of_the_lines_are_no_difference() -> None:
    assert explain(MANIFEST, lines(1, 2), CREATED)["status"] == "priced"


def test_lines_whose_usage_is_not_told_cannot_prove_a_difference() -> None:
    silent = payload(batch_line(3, modelOutput={"image": "none"}))
    unread = outcomes(silent, f"{FOLDER}/b.jsonl.out")
    assert explain(MANIFEST, lines(1, 2), unread, CREATED)["status"] == "priced"


def deliveries() -> list[list[Outcome]]:
    return [CREATED, COMPLETED, SUBMITTED, MANIFEST, lines(1, 2), lines(3, name="b.jsonl.out")]


@settings(max_examples=settings().max_examples)
@given(st.data())
def test_no_order_repetition_or_split_of_deliveries_changes_a_balance(data: st.DataObject) -> None:
    parts = deliveries()
    again = data.draw(st.lists(st.sampled_from(parts), max_size=4))
    shuffled = data.draw(st.permutations([*parts, *again]))
    together = data.draw(st.booleans())

    @asynchronous
    async def run() -> None:
        expected, found = MemoryLedger(), MemoryLedger()
        await book(expected, poster(RATES), *observations(parts))
        await book(found, poster(RATES), *observations(shuffled), one_by_one=not together)
        balances = await snapshot(found)
        assert balances == await snapshot(expected)
        ((leaf, amounts),) = balances.items()
        assert (amounts.calls, amounts.cost_pico_usd) == (1, 24_000_000)
        assert (leaf.account, leaf.principal) == ("111122223333", "user/111122223333/maria")
        kept = {key: entry.evidence for key, entry in (await entries(found)).items()}
        assert kept == {key: entry.evidence for key, entry in (await entries(expected)).items()}

    run()


def observations(parts: Sequence[Sequence[Outcome]]) -> list[Observation]:
    return [one for part in parts for one in part if isinstance(one, Observation)]


def test_what_names_no_time_belongs_to_every_window() -> None:
    digester = Digester(poster(RATES), Window(1_791_158_400_000, 1_791_244_800_000))
    for part in (MANIFEST, LINES, CREATED):
        digester.add(part)
    assert digester.digest().batch.records == 4
    digester = Digester(poster(RATES), Window(0, 1))
    digester.add(CREATED)
    assert digester.digest().batch.records == 0


def test_only_so_many_output_objects_are_kept_and_in_no_particular_order() -> None:
    def evidence(number: int) -> Evidence:
        sums = OutputSums(1, 0, 0, number, 0)
        return Evidence(Facts("-", outputs=((f"{number:03d}", sums),)), 0, 0, 0)

    up = down = evidence(0)
    for number in range(300):
        up = merge(up, evidence(number))
        down = merge(down, evidence(299 - number))
    assert up == down
    assert len(up.facts.outputs) == OUTPUTS_MAX
    full = Facts("-", outputs=(("", OutputSums(1, 0, 0, 0, 0)), *up.facts.outputs[:-1]))
    assert doubt(full) == ""


def test_arns_and_names() -> None:
    assert parse_job_arn(JOB_ARN) == ("us-east-1", "111122223333", "abcdefghwxyz")
    government = (
        "arn:aws-us-gov:bedrock:us-gov-west-1:111122223333:model-invocation-job/aaaabbbbcccc"
    )
    parts = parse_job_arn(government)
    assert parts is not None
    facts = Facts(parts.account, region=parts.region)
    assert job_arn(facts, parts.job_id) == government
    assert job_arn(Facts("-"), "aaaabbbbcccc") == "aaaabbbbcccc"
    assert parse_output_name(f"{FOLDER}/day 1.jsonl.out") == ("abcdefghwxyz", "day 1.jsonl.out")
    assert parse_output_name(f"{FOLDER}/") is None
    assert parse_output_name("abcdefghwxyz") is None
