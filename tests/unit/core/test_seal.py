"""Sealing, the pure half: periods, and what is left of a batch."""

from typing import Any

import pytest

from tests.calls import DAY, MICRO, NOON, PRO, call, fold, poster
from tests.sealing import TODAY
from worker.core.batch import BatchBuilder
from worker.core.codec import Bodies, encode_key
from worker.core.errors import ConfigurationError
from worker.core.evidence import Counts, EvidenceRank, SourceRank
from worker.core.ledger import MS_PER_DAY, Amounts
from worker.core.seal import (
    GUARDED_DAYS,
    KEPT_DAYS,
    LATE_DAYS,
    NOTHING_SEALED,
    Seal,
    check_closed,
    day_after,
    day_text,
    decode_amounts,
    encode_amounts,
    is_proven,
    seal_in,
    seal_note,
    unsealed,
)

POSTER = poster()
SEAL = Seal(TODAY, TODAY)
PLENTY = Counts(1_000, 500)


@pytest.mark.parametrize(
    "period,after",
    [
        ("2026", "2027-01-01"),
        ("2026-09", "2026-10-01"),
        ("2026-12", "2027-01-01"),
        ("2028-02", "2028-03-01"),
        ("2026-09-30", "2026-10-01"),
        ("2028-02-28", "2028-02-29"),
        ("2026-12-31", "2027-01-01"),
        ("9998", "9999-01-01"),
    ],
)
def test_a_period_ends_at_midnight(period: str, after: str) -> None:
    assert day_text(day_after(period)) == after


@pytest.mark.parametrize(
    "period", ["", "26", "2026-9", "2026-00", "2026-13", "2026-02-29", "2026-09-31", "9999", "٢٠٢٦"]
)
def test_what_is_no_period_is_refused(period: str) -> None:
    with pytest.raises(ConfigurationError, match="is no period; give a year, a month or a day"):
        day_after(period)


def test_a_period_may_be_sealed_once_late_deliveries_have_come() -> None:
    opens_ms = (TODAY + LATE_DAYS) * MS_PER_DAY
    assert check_closed("2026-09", opens_ms) == TODAY
    with pytest.raises(ConfigurationError, match="2026-09 cannot be sealed before 2026-10-08"):
        check_closed("2026-09", opens_ms - 1)


def test_calls_that_somebody_may_seal_are_guarded_long_before() -> None:
    """Clocks may differ by days, and a call may take days, without anything slipping by."""
    assert LATE_DAYS - GUARDED_DAYS >= 5
    assert KEPT_DAYS >= GUARDED_DAYS


def test_a_seal_holds_what_is_before_it_and_says_when() -> None:
    assert [SEAL.holds(day) for day in (1, TODAY - 1, TODAY)] == [True, True, False]
    assert not SEAL.holds(0)
    assert not NOTHING_SEALED.holds(1)
    half = Seal(TODAY, TODAY - 5)
    assert (half.is_complete, half.holds(TODAY - 1), half.sums_hold(TODAY - 1)) == (
        False,
        True,
        False,
    )
    assert half.may_go_before_day == TODAY - 5 - KEPT_DAYS
    for seal in (NOTHING_SEALED, SEAL, Seal(TODAY, 3, 2, 7)):
        assert seal_in(seal_note(seal)) == seal
    assert seal_in(None) == NOTHING_SEALED


def test_sums_beyond_64_bits_are_stored_exactly() -> None:
    amounts = Amounts(3, 10**30 + 1, 2**63, -(2**63), 5, 6, 7, -(10**25), 9, 10, 11, 12)
    assert decode_amounts(encode_amounts(amounts)) == amounts


def test_entries_prove_a_seal_unless_some_are_gone() -> None:
    sealed = Amounts(2, 100)
    for may_be_gone in (False, True):
        assert is_proven(Amounts(2, 100), sealed, may_be_gone=may_be_gone)
        assert not is_proven(Amounts(2, 99), sealed, may_be_gone=may_be_gone)
        assert not is_proven(Amounts(3, 100), sealed, may_be_gone=may_be_gone)
        assert not is_proven(Amounts(1, 101), sealed, may_be_gone=may_be_gone)
    for left in (Amounts(1, 70), Amounts(1, 100), Amounts()):
        assert is_proven(left, sealed, may_be_gone=True)
        assert not is_proven(left, sealed, may_be_gone=False)


def test_a_batch_without_old_calls_is_left_as_it_was() -> None:
    batch = fold(POSTER, [call(1, PLENTY, at_ms=NOON), call(1, PLENTY, at_ms=NOON)])
    assert unsealed(batch, SEAL, POSTER) == (batch, 0)
    assert unsealed(batch, SEAL, POSTER)[0] is batch
    old = fold(POSTER, [call(1, PLENTY, at_ms=NOON - DAY)])
    assert unsealed(old, NOTHING_SEALED, POSTER)[0] is old


def test_of_a_batch_only_what_is_not_sealed_is_left() -> None:
    fresh = [call(1, PLENTY, at_ms=NOON), call(2, PLENTY, at_ms=NOON, user="bob")]
    old = [call(n, PLENTY, at_ms=NOON - DAY, user=f"old{n}", model=MICRO) for n in (3, 4, 4)]
    batch = fold(POSTER, [*fresh, *old])
    left, sealed = unsealed(batch, SEAL, POSTER)
    expected = fold(POSTER, fresh)
    assert sealed == 3
    assert (left.bodies, left.leaves, left.interned) == (
        expected.bodies,
        expected.leaves,
        expected.interned,
    )
    assert (left.records, left.repeats) == (2, {})
    assert batch.records == 5


def test_what_is_left_of_a_call_is_priced_as_if_nothing_else_had_come() -> None:
    before = call(1, Counts(9_000, 900), at_ms=TODAY * MS_PER_DAY - 1)
    after = [call(1, Counts(1_000, n), at_ms=TODAY * MS_PER_DAY) for n in (1, 2)]
    left, sealed = unsealed(fold(POSTER, [before, *after]), SEAL, POSTER)
    expected = fold(POSTER, after)
    assert sealed == 1
    assert (left.bodies, left.leaves) == (expected.bodies, expected.leaves)
    [body] = left.bodies.values()
    leaf_id, amounts = Bodies(left.interned.get).amounts(body)
    assert (amounts.calls, Bodies(left.interned.get).leaf(leaf_id).model) == (1, PRO)
    # 1,000 x 0.8 + 2 x 3.2 USD a million.
    assert amounts.cost_pico_usd == 806_400_000


def test_what_may_be_gone_by_now_follows_the_lowest_age() -> None:
    seal = Seal(day=100, complete_day=100)
    assert seal.as_of(10**15) == seal
    told = seal.told(400, 100 * MS_PER_DAY)
    assert (told.told_day, told.told_after_days, told.expired_day) == (100 - KEPT_DAYS, 400, 0)
    assert told.as_of(450 * MS_PER_DAY).expired_day == 51
    assert told.as_of(450 * MS_PER_DAY - 3_600_001).expired_day == 50  # clocks differ by an hour
    assert told.as_of(900 * MS_PER_DAY).expired_day == 100 - KEPT_DAYS
    sooner = told.told(30, 100 * MS_PER_DAY)
    assert (sooner.told_after_days, sooner.expired_day) == (30, 71)
    later = sooner.told(400, 101 * MS_PER_DAY)
    assert (later.told_after_days, later.expired_day) == (30, 72)


def test_a_call_of_which_a_part_cannot_be_posted_is_put_aside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A seal may leave that part alone, and committing must not fail for good then."""
    midnight = TODAY * MS_PER_DAY
    log, healthy = call(1, PLENTY, at_ms=midnight - 1), call(2, PLENTY, at_ms=midnight)
    trail = call(1, source=SourceRank.API_EVENT, rank=EvidenceRank.SIGHTING, at_ms=midnight + 5)
    real = POSTER.rate

    def rate(one: Any) -> Any:
        if one.occurred_at_ms == midnight + 5:
            raise ZeroDivisionError("no such luck")
        return real(one)

    monkeypatch.setattr(POSTER, "rate", rate)
    builder = BatchBuilder(POSTER)
    for one in (log, trail, healthy):
        builder.add(one)
    batch = builder.build()
    left, sealed = unsealed(batch, SEAL, POSTER)
    assert (list(left.bodies), left.records, sealed) == ([encode_key(healthy.key)], 1, 0)
    [(key, _, error)] = builder.take_failures()
    assert (key, str(error)) == (log.key, "no such luck")
