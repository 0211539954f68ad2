from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.money import (
    ATTO_PER_PICO,
    MoneyError,
    format_atto_usd,
    format_pico_usd,
    parse_rate_to_atto,
    parse_usd_to_pico,
    round_half_even_to_pico,
)

AMOUNTS = st.integers(min_value=-(10**40), max_value=10**40)


@given(AMOUNTS)
def test_rounding_is_half_even_at_every_size_and_sign(atto: int) -> None:
    assert round_half_even_to_pico(atto) == round(Fraction(atto, ATTO_PER_PICO))


@pytest.mark.parametrize(
    "atto,pico",
    [(500_000, 0), (1_500_000, 2), (2_500_000, 2), (2_500_001, 3), (-500_000, 0), (-1_500_000, -2)],
)
def test_ties_go_to_the_even_neighbour(atto: int, pico: int) -> None:
    assert round_half_even_to_pico(atto) == pico


@given(st.integers(min_value=-(10**27), max_value=10**27))
def test_an_amount_survives_being_written_and_read(pico: int) -> None:
    text = format_pico_usd(pico)
    assert parse_usd_to_pico(text) == pico
    assert Fraction(text) == Fraction(pico, 10**12)
    assert "E" not in text
    assert "." not in text or not text.endswith("0")


@pytest.mark.parametrize(
    "pico,text",
    [
        (0, "0"),
        (10_500_000_000, "0.0105"),
        (1, "0.000000000001"),
        (-1, "-0.000000000001"),
        (10**12, "1"),
        (10**24, "1000000000000"),
        (10**24 + 1, "1000000000000.000000000001"),
        (-120 * 10**12, "-120"),
    ],
)
def test_amounts_are_written_without_exponent_or_trailing_zeros(pico: int, text: str) -> None:
    assert format_pico_usd(pico) == text
    assert parse_usd_to_pico(text) == pico


def test_an_atto_dollar_is_written_in_full() -> None:
    assert format_atto_usd(1) == "0.000000000000000001"
    assert format_atto_usd(33 * 10**11) == "0.0000033"


@given(st.decimals(min_value=0, max_value=10**9, places=5), st.sampled_from([1, 1000, 10**6]))
def test_a_rate_is_the_exact_quotient_of_price_and_units(price: Decimal, per: int) -> None:
    assert parse_rate_to_atto(f"{price:f}", per) == Fraction(price) / per * 10**18


def test_the_finest_rate_is_one_atto_dollar_a_unit() -> None:
    assert parse_rate_to_atto("0.000000000001", 10**6) == 1
    with pytest.raises(MoneyError, match="at most 18 decimals per unit"):
        parse_rate_to_atto("0.0000000000015", 10**6)
    with pytest.raises(MoneyError, match="at most 18 decimals"):
        parse_rate_to_atto("0.0000000000000000001")
    with pytest.raises(MoneyError, match="at most 18 decimals"):
        parse_rate_to_atto("1", 3)


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1e-6", "+1", "1.", ".5", "1,5", "nan", "inf", "0x1", "\u0661", "1_000", "--1"],
)
def test_anything_but_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(MoneyError, match="expected a decimal number of USD"):
        parse_usd_to_pico(text)


def test_length_and_precision_are_bounded() -> None:
    with pytest.raises(MoneyError, match="at most 40 characters"):
        parse_usd_to_pico("1" * 41)
    with pytest.raises(MoneyError, match="at most 12 decimals"):
        parse_usd_to_pico("0.0000000000001")
    with pytest.raises(MoneyError, match="at least 1"):
        parse_rate_to_atto("1", 0)
