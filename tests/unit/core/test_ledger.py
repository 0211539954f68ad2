import pytest

from tests.calls import evidence
from worker.core.evidence import Counts
from worker.core.ledger import AMOUNT_FIELDS, Amounts, Status, amounts_of

FULL = evidence(Counts(1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    "status,expected",
    [
        (Status.PRICED, Amounts(1, 9, 1, 2, 3, 4, 5)),
        (Status.ESTIMATED, Amounts(1, 9, 1, 2, 3, 4, 5, estimated_pico_usd=9, estimated_calls=1)),
        (Status.UNPRICED, Amounts(1, 9, 1, 2, 3, 4, 5, unpriced_calls=1)),
        (Status.UNMETERED, Amounts(1, 9, 1, 2, 3, 4, 5, unmetered_calls=1)),
        (Status.FAILED, Amounts(1, 9, 1, 2, 3, 4, 5, failed_calls=1)),
    ],
)
def test_a_call_counts_once_under_its_status(status: Status, expected: Amounts) -> None:
    assert amounts_of(FULL, 9, status) == expected


def test_absent_counts_add_nothing() -> None:
    assert amounts_of(evidence(), 0, Status.UNMETERED) == Amounts(calls=1, unmetered_calls=1)


def test_what_is_added_can_be_subtracted() -> None:
    balance = Amounts(*range(1, len(AMOUNT_FIELDS) + 1))
    other = amounts_of(FULL, 10**30, Status.ESTIMATED)
    balance.add(other)
    assert balance.cost_pico_usd == 2 + 10**30
    balance.subtract(other)
    assert balance == Amounts(*range(1, len(AMOUNT_FIELDS) + 1))
    balance.subtract(balance)
    assert balance.is_zero()


@pytest.mark.parametrize("name", AMOUNT_FIELDS)
def test_any_figure_keeps_amounts_from_being_zero(name: str) -> None:
    assert not Amounts(**{name: -1}).is_zero()
