"""Merging is a join: commutative, associative and idempotent, for any evidence at all."""

from collections.abc import Sequence
from functools import reduce

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.core.evidence import (
    Counts,
    Evidence,
    EvidenceRank,
    Facts,
    OutputSums,
    has_quantity,
    merge,
)

EXAMPLES = 5 * settings().max_examples

texts = st.sampled_from(["", "a", "b", "c"])
ranks = st.integers(0, 5)
quantities = st.integers(0, 3) | st.just(10**12)
metadata = st.sampled_from([(), (("k", "1"),), (("k", "2"),), (("j", "1"), ("k", "1"))])
counts = st.builds(
    Counts,
    st.none() | quantities,
    st.none() | quantities,
    quantities,
    quantities,
    quantities,
    st.booleans(),
    st.sampled_from([(), (("images", 1),), (("images", 2),), (("requests", 1),)]),
)
sums = st.builds(OutputSums, *[st.integers(0, 2)] * 5)
outputs = st.dictionaries(st.sampled_from(["", "a", "b", "c"]), sums, max_size=3).map(
    lambda by_name: tuple(sorted(by_name.items()))
)
facts = st.builds(
    Facts,
    account=st.sampled_from(["111122223333", "444455556666"]),
    **{
        name: (metadata if name == "metadata" else ranks if name.endswith("_rank") else texts)
        for name in Facts.__struct_fields__
        if name not in {"account", "outputs"}
    },
    outputs=outputs,
)
evidences = st.builds(
    Evidence,
    facts=facts,
    occurred_at_ms=st.integers(0, 3),
    occurred_at_rank=ranks,
    rank=st.sampled_from([int(rank) for rank in EvidenceRank]),
    counts=counts,
    conflicting=st.booleans(),
    session=st.sampled_from(["", "run-1", "run-2"]),
    session_rank=st.integers(0, 3),
)


def join(parts: Sequence[Evidence]) -> Evidence:
    return reduce(merge, parts)


@settings(max_examples=EXAMPLES)
@given(evidences, evidences)
def test_merging_is_commutative(left: Evidence, right: Evidence) -> None:
    assert merge(left, right) == merge(right, left)


@settings(max_examples=EXAMPLES)
@given(evidences, evidences, evidences)
def test_merging_is_associative(one: Evidence, two: Evidence, three: Evidence) -> None:
    assert merge(merge(one, two), three) == merge(one, merge(two, three))


@settings(max_examples=EXAMPLES)
@given(evidences, evidences)
def test_merging_again_adds_nothing_and_says_so(left: Evidence, right: Evidence) -> None:
    assert merge(left, left) is left
    both = merge(left, right)
    assert merge(both, left) is both
    assert merge(both, right) is both


@settings(max_examples=settings().max_examples)
@given(st.lists(st.builds(lambda found: Evidence(Facts("1"), 0, 0, 3, found), counts), min_size=1))
def test_counts_conflict_where_two_that_counted_something_differ(parts: list[Evidence]) -> None:
    something = {part.counts for part in parts if has_quantity(part.counts)}
    merged = join(parts)
    assert merged.conflicting == (len(something) > 1)
    assert merged.counts in (something or {part.counts for part in parts})


def caller(evidence: Evidence) -> tuple[object, ...]:
    facts = evidence.facts
    return (
        facts.caller_rank,
        facts.identity_type,
        facts.principal_id,
        facts.issuer_arn,
        facts.source_identity,
        facts.on_behalf_of,
        facts.invoked_by,
    )


@settings(max_examples=settings().max_examples)
@given(st.lists(evidences, min_size=1, max_size=4))
def test_the_caller_is_that_of_one_record(parts: list[Evidence]) -> None:
    found = caller(join(parts))
    assert found in {caller(part) for part in parts}
    assert found[0] == max(part.facts.caller_rank for part in parts)


@settings(max_examples=settings().max_examples)
@given(st.lists(evidences, min_size=1, max_size=5), st.data())
def test_any_order_with_any_repetition_in_any_split_is_one_evidence(
    parts: list[Evidence], data: st.DataObject
) -> None:
    again = data.draw(st.lists(st.sampled_from(parts), max_size=4))
    shuffled = data.draw(st.permutations([*parts, *again]))
    cut = data.draw(st.integers(1, len(shuffled)))
    halves = [shuffled[:cut], shuffled[cut:]]
    assert join([join(half) for half in halves if half]) == join(parts)
