"""Every case is a record as it arrives and, readable, all that it must be understood to say.

A field that a case does not name must have its default; ranks must follow from the source.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from worker.core.decoders.cloudtrail import CloudTrailDecoder
from worker.core.decoders.invocation_log import InvocationLogDecoder
from worker.core.directory import LifecycleFact
from worker.core.evidence import (
    Counts,
    Evidence,
    EvidenceRank,
    Facts,
    Observation,
    SourceRank,
    descriptive_rank,
)
from worker.core.results import Ignored, LifecycleSeen, Malformed, Outcome

CASES = sorted(Path(__file__).parent.glob("*.json"))
RANKED = [name for name in Facts.__struct_fields__ if f"{name}_rank" in Facts.__struct_fields__]
CALLER = {
    "identity_type",
    "principal_id",
    "issuer_arn",
    "source_identity",
    "on_behalf_of",
    "invoked_by",
}


def decode(record: dict[str, Any]) -> Outcome | None:
    raw = json.dumps(record).encode()
    if "eventSource" in record:
        return CloudTrailDecoder().decode(raw)
    return InvocationLogDecoder().try_decode(raw)


def expected_observation(expected: dict[str, Any]) -> Observation:
    rank = EvidenceRank[expected["rank"]]
    described = descriptive_rank(SourceRank[expected.get("source", "LOG")], rank)
    values = dict(expected["facts"])
    if "metadata" in values:
        values["metadata"] = tuple((key, value) for key, value in values["metadata"])
    # Cases name the caller as AWS does; a role's session is kept apart from its facts.
    arn, _, session = values.get("identity_arn", "").partition("/")
    if ":assumed-role" in arn:
        role, _, session = session.partition("/")
        values["identity_arn"] = f"{arn}/{role}"
    else:
        session = ""
    values |= {f"{name}_rank": described for name in RANKED if name in values}
    values["caller_rank"] = described if CALLER & values.keys() else 0
    facts = Facts(**values)
    counts = msgspec.convert(
        {"units": [], **expected["counts"]}, _NamedCounts, strict=True
    ).as_counts()
    occurred_at = datetime.fromisoformat(expected["occurred_at"]).astimezone(UTC)
    occurred_at_ms = round(occurred_at.timestamp() * 1000)
    evidence = Evidence(
        facts,
        occurred_at_ms,
        described,
        int(rank),
        counts,
        session=session,
        session_rank=described if session else 0,
    )
    return Observation(expected["key"], evidence)


class _NamedCounts(msgspec.Struct, forbid_unknown_fields=True):
    units: tuple[tuple[str, int], ...]
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_ttl_known: bool = False

    def as_counts(self) -> Counts:
        return Counts(**msgspec.structs.asdict(self))


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_record_says_what_the_case_expects(path: Path) -> None:
    case = json.loads(path.read_text())
    outcome = decode(case["record"])
    expected = case["expected"]
    if "malformed" in expected:
        assert isinstance(outcome, Malformed)
        assert {name: getattr(outcome, name) for name in ("path", "expected", "found")} == (
            expected["malformed"]
        )
        assert json.loads(outcome.body) == case["record"]
        assert not outcome.truncated
    elif "ignored" in expected:
        assert outcome == Ignored(expected["ignored"])
    elif "fact" in expected:
        assert outcome == LifecycleSeen(msgspec.convert(expected["fact"], LifecycleFact))
    else:
        assert outcome == expected_observation(expected)


def test_there_are_cases() -> None:
    assert len(CASES) > 60
