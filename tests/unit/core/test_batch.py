from typing import Any

import pytest

from tests.calls import ACCOUNT, DAY, MICRO, NOON, PRO, UNLISTED, call, evidence, fold, poster
from worker.core.batch import Batch, BatchBuilder, reconcile
from worker.core.codec import Bodies, decode_key, encode_key
from worker.core.evidence import Counts, EvidenceRank, SourceRank, merge
from worker.core.ledger import Amounts, Status, amounts_of

POSTER = poster()


def read(batch: Batch) -> dict[str, Any]:
    bodies = Bodies(batch.interned.get)
    return {
        decode_key(key): bodies.entry(decode_key(key), body) for key, body in batch.bodies.items()
    }


def sums(batch: Batch) -> dict[tuple[str, int], Amounts]:
    bodies = Bodies(batch.interned.get)
    leaves = {bodies.leaf(leaf_id): amounts for leaf_id, amounts in batch.leaves.items()}
    return {(leaf.model, leaf.day): amounts for leaf, amounts in leaves.items()}


# --- Folding ---------------------------------------------------------------------------------


def test_an_empty_builder_folds_nothing() -> None:
    batch = BatchBuilder(POSTER).build()
    assert batch == Batch()


def test_calls_of_one_leaf_are_folded_and_every_status_is_counted() -> None:
    observations = [
        call(1, Counts(1_000, 500)),
        call(2, Counts(1, 1), rank=EvidenceRank.PARTIAL, source=SourceRank.API_EVENT),
        call(3),
        call(4, error_code="ThrottlingException"),
        call(5, Counts(7, 7), model=UNLISTED),
        call(6, Counts(1_000, 500, 1, 2, 0), at_ms=NOON + DAY),
        call(7, Counts(1, 1, 1, 1, 1, True), model=MICRO),
    ]
    batch = fold(POSTER, observations)
    day = NOON // DAY
    # 1,000 x 0.8 + 500 x 3.2, then 1 x 0.8 + 1 x 3.2, in USD a million tokens
    assert sums(batch)[PRO, day] == Amounts(
        calls=4,
        cost_pico_usd=2_400_000_000 + 4_000_000,
        input_tokens=1_001,
        output_tokens=501,
        estimated_pico_usd=4_000_000,
        estimated_calls=1,
        unmetered_calls=1,
        failed_calls=1,
    )
    unlisted = Amounts(calls=1, input_tokens=7, output_tokens=7, unpriced_calls=1)
    assert sums(batch)[UNLISTED, day] == unlisted
    assert sums(batch)[PRO, day + 1].cost_pico_usd == 2_400_000_000 + 200_000
    assert sums(batch)[MICRO, day].estimated_calls == 1
    total, by_entry = Amounts(), Amounts()
    for amounts in batch.leaves.values():
        total.add(amounts)
    for entry in read(batch).values():
        posting = entry.posting
        by_entry.add(amounts_of(entry.evidence, posting.cost_pico_usd, posting.status))
    assert total == by_entry
    assert batch.records == 7
    assert batch.repeats == {}


def test_records_of_one_call_are_merged_and_counted() -> None:
    sighting, log = call(1), call(1, Counts(1, 2))
    batch = fold(POSTER, [sighting, log, log, call(1, Counts(1, 2)), call(2), sighting])
    assert batch.records == 6
    assert len(batch.bodies) == 2
    assert batch.repeats == {encode_key(log.key): (4, 1)}
    assert read(batch)[log.key].evidence == merge(sighting.evidence, log.evidence)


def test_a_builder_is_empty_after_building() -> None:
    builder = BatchBuilder(POSTER)
    builder.add(call(1))
    assert len(builder) == 1
    builder.build()
    assert len(builder) == 0
    assert builder.build() == Batch()


def test_a_call_that_cannot_be_posted_does_not_spoil_its_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing, healthy = call(1, Counts(1, 1), model=MICRO), call(2, Counts(1, 1))
    real = POSTER.rate

    def rate(one: Any) -> Any:
        if one.facts.model_id == MICRO:
            raise ZeroDivisionError("no such luck")
        return real(one)

    monkeypatch.setattr(POSTER, "rate", rate)
    builder = BatchBuilder(POSTER)
    for one in (failing, healthy, call(1), call(1, Counts(1, 1), model=MICRO)):
        builder.add(one)
    batch = builder.build()
    assert batch.records == 1
    assert list(read(batch)) == [healthy.key]
    assert batch.repeats == {}
    [(key, kept, error)] = builder.take_failures()
    assert key == failing.key
    assert kept == merge(failing.evidence, evidence())
    assert str(error) == "no such luck"
    assert builder.take_failures() == []


# --- Reconciling -----------------------------------------------------------------------------


def test_nothing_known_means_everything_is_new() -> None:
    batch = fold(POSTER, [call(1), call(1, Counts(1, 1)), call(2)])
    nothing: dict[int, bytes] = {}
    result = reconcile(batch, {}, nothing.get, POSTER)
    assert result.inserts == batch.bodies
    assert result.leaves == batch.leaves
    assert (result.recorded, result.upgraded, result.duplicates) == (2, 1, 0)


@pytest.mark.parametrize("others", [0, 1, 50])
def test_better_evidence_replaces_and_posts_the_difference(others: int) -> None:
    """Alone, half of its batch, or a small part of it: both ways of correcting the sums."""
    stored = fold(POSTER, [call(1, Counts(1_000, 500), rank=EvidenceRank.PARTIAL)])
    batch = fold(POSTER, [call(1, Counts(1_000, 600)), *(call(10 + one) for one in range(others))])
    result = reconcile(batch, stored.bodies, stored.interned.get, POSTER)
    assert list(result.replacements) == list(stored.bodies)
    assert len(result.inserts) == others
    [delta] = result.leaves.values()
    assert delta == Amounts(
        calls=others,
        cost_pico_usd=100 * 3_200_000,
        output_tokens=100,
        estimated_pico_usd=-2_400_000_000,
        estimated_calls=-1,
        unmetered_calls=others,
    )
    assert (result.recorded, result.upgraded, result.duplicates) == (others, 1, 0)
    values = {**stored.interned, **result.interned}
    [(key, body)] = result.replacements.items()
    entry = Bodies(values.get).entry(decode_key(key), body)
    assert (entry.revision, entry.posting.status) == (2, Status.PRICED)
    assert entry.posting.leaf.principal == f"user/{ACCOUNT}/alice"


def test_worse_evidence_is_a_duplicate_and_leaves_no_trace() -> None:
    stored = fold(POSTER, [call(1, Counts(1_000, 500))])
    batch = fold(POSTER, [call(1), call(1)])
    result = reconcile(batch, stored.bodies, stored.interned.get, POSTER)
    assert (result.inserts, result.replacements, result.leaves) == ({}, {}, {})
    assert (result.recorded, result.upgraded, result.duplicates) == (0, 0, 2)


def test_a_move_that_changes_no_sum_touches_no_balance() -> None:
    """CloudTrail's principal id improves the evidence; what was posted stays as it is."""
    stored = fold(POSTER, [call(1, Counts(1, 1))])
    trail = call(1, source=SourceRank.API_EVENT, principal_id="AIDA1")
    result = reconcile(fold(POSTER, [trail]), stored.bodies, stored.interned.get, POSTER)
    assert len(result.replacements) == 1
    assert result.leaves == {}
    assert (result.recorded, result.upgraded, result.duplicates) == (0, 1, 0)
