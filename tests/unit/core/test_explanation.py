from worker.adapters.catalogue_files import load_catalogue
from worker.core.decoders import Decoder
from worker.core.evidence import Counts, Evidence, EvidenceRank, Facts, Observation
from worker.core.explanation import Explanation, explain_call, explain_other
from worker.core.posting import Poster, Terms
from worker.core.registry import EMPTY_REGISTRY
from worker.core.results import Ignored, Malformed, ObjectReference, Position

KEY = "aws/111122223333/r1"
AT_MS = 1_790_856_000_000
SONNET_4 = "anthropic.claude-sonnet-4-20250514-v1:0"

POSTER = Poster(load_catalogue(), EMPTY_REGISTRY)


def evidence(
    counts: Counts, model_id: str, rank: EvidenceRank = EvidenceRank.ITEMISED, **facts: str
) -> Evidence:
    return Evidence(
        Facts(account="111122223333", region="us-east-1", model_id=model_id, **facts),  # type: ignore[arg-type]
        occurred_at_ms=AT_MS,
        occurred_at_rank=28,
        rank=rank,
        counts=counts,
    )


def test_every_cached_token_has_its_rate() -> None:
    # Sonnet 4: 4,315 x 3 + 3 x 15 + 15,388 x 0.3 + 13,384 x 3.75 USD a million = 0.0677964.
    counts = Counts(4_315, 3, 15_388, 13_384, cache_write_ttl_known=True)
    call = explain_call(KEY, evidence(counts, f"us.{SONNET_4}"), POSTER)
    assert call["cost_usd"] == "0.0677964"
    assert call["model"] == SONNET_4
    assert call["model_id"] == f"us.{SONNET_4}"
    assert call["geography"] == "us"
    assert [(rate["unit"], rate["quantity"], rate["usd_per_unit"]) for rate in call["rates"]] == [
        ("input_tokens", 4_315, "0.000003"),
        ("output_tokens", 3, "0.000015"),
        ("cache_read_tokens", 15_388, "0.0000003"),
        ("cache_write_5m_tokens", 13_384, "0.00000375"),
    ]


def test_a_unit_without_a_rate_is_named_and_makes_an_estimate() -> None:
    counts = Counts(1_000, 500, units=(("paperclips", 2),))
    call = explain_call(KEY, evidence(counts, SONNET_4), POSTER)
    assert call["unrated_units"] == ["paperclips"]
    assert call["units"] == {"paperclips": 2}
    assert call["status"] == "estimated"
    assert call["cost_usd"] == "0.0105"
    assert "paperclips" in call["reason"]
    assert "paperclips" not in [rate["unit"] for rate in call["rates"]]


def test_unknown_costs_are_null_and_failed_calls_cost_nothing() -> None:
    counts = Counts(10, 20)
    unpriced = explain_call(KEY, evidence(counts, "acme.frontier-9-v1:0"), POSTER)
    assert (unpriced["status"], unpriced["cost_usd"], unpriced["rates"]) == ("unpriced", None, [])
    assert unpriced["tokens"]["input_tokens"] == 10
    provisioned = "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abc"
    unmetered = explain_call(KEY, evidence(counts, provisioned), POSTER)
    assert (unmetered["status"], unmetered["cost_usd"]) == ("unmetered", None)
    seen = evidence(Counts(), SONNET_4, EvidenceRank.SIGHTING, error_code="ThrottlingException")
    failed = explain_call(KEY, seen, POSTER)
    assert (failed["status"], failed["cost_usd"], failed["rates"]) == ("failed", "0", [])
    assert failed["error_code"] == "ThrottlingException"
    assert failed["evidence"] == "sighting"


def test_absent_counts_are_null_for_input_and_output_and_zero_for_caches() -> None:
    call = explain_call(KEY, evidence(Counts(output_tokens=5), SONNET_4), POSTER)
    assert call["tokens"] == {
        "input_tokens": None,
        "output_tokens": 5,
        "cache_read_tokens": 0,
        "cache_write_5m_tokens": 0,
        "cache_write_1h_tokens": 0,
    }
    assert call["status"] == "estimated"


def test_an_assumed_rate_says_so() -> None:
    seen = evidence(Counts(1_000, 500), "global.amazon.nova-micro-v1:0")
    call = explain_call(KEY, seen, POSTER)
    assert call["routing"] == "global"
    assert all("no global rate is listed" in rate["assumed"] for rate in call["rates"])


def test_records_that_are_no_calls_say_what_they_are_and_where_they_stood() -> None:
    position = Position("queue", 0, "$.Records[3]")
    assert explain_other(Ignored("a test", position)) == {
        "result": "Ignored",
        "reason": "a test",
        "path": "$.Records[3]",
        "source": "queue",
    }
    assert explain_other(Malformed("$.x", "an int", "str", b"{}", position=position)) == {
        "result": "Quarantined",
        "reason": "$.x: expected an int, found str",
        "path": "$.x",
        "expected": "an int",
        "found": "str",
        "record": "$.Records[3]",
        "source": "queue",
    }
    reference = explain_other(ObjectReference("logs", "a/b.json.gz"))
    assert reference["result"] == "Ignored"
    assert "s3://logs/a/b.json.gz" in reference["reason"]


def test_a_call_that_cannot_be_priced_for_a_fault_of_ours_spoils_nothing_else() -> None:
    class Broken(Poster):
        def terms(self, evidence: Evidence) -> Terms:
            if evidence.facts.model_id == "broken":
                raise RuntimeError("a bug in a price rule")
            return super().terms(evidence)

    explanation = Explanation(Broken(load_catalogue(), EMPTY_REGISTRY))
    explanation.add(
        [
            Observation(KEY, evidence(Counts(1, 1), "broken")),
            Observation(f"{KEY}0", evidence(Counts(1_000, 500), SONNET_4)),
        ]
    )
    first, second = explanation.documents()
    assert first["result"] == "Quarantined"
    assert "RuntimeError: a bug in a price rule" in first["reason"]
    assert second["cost_usd"] == "0.0105"


def test_a_payload_explains_as_a_whole_in_the_order_first_seen() -> None:
    explanation = Explanation(POSTER)
    explanation.add(Decoder().decode(b"[1]"))
    assert [document["result"] for document in explanation.documents()] == ["Quarantined"]
