from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.evidence import Counts
from worker.core.money import format_pico_usd
from worker.core.pricing import (
    TOKEN_UNITS,
    AppliedRate,
    RateCard,
    TokenRates,
    charge,
    charge_lines,
    find_unit,
)

USD_PER_MILLION = 10**12
"""Atto-USD per token of a price of 1 USD per million tokens."""

TEN_TO_15 = 10**15
NO_RATES: TokenRates = (None, None, None, None, None)


def applied(rate_atto: int, assumed: str | None = None) -> AppliedRate:
    return AppliedRate(
        rate_atto=rate_atto,
        source="a table",
        effective_from_ms=0,
        confidence="confirmed",
        assumed=assumed,
    )


def make_card(tokens: TokenRates = NO_RATES, **fields: Any) -> RateCard:
    brackets = fields.pop("long_context", ())
    units: dict[str, int] = fields.pop("units", {})
    rates = {
        (unit, threshold): applied(rate)
        for threshold, bracket in ((0, tokens), *brackets)
        for unit, rate in zip(TOKEN_UNITS, bracket, strict=True)
        if rate is not None
    }
    rates |= {(unit, 0): applied(rate) for unit, rate in units.items()}
    rates |= fields.pop("rates", {})
    return RateCard(
        model="provider.model",
        kind="text",
        routing="regional",
        region="us-east-1",
        tier="standard",
        tokens=tokens,
        long_context=brackets,
        units=units,
        rates=rates,
        missing_tokens=None in tokens,
        assumes=any(rate.assumed for rate in rates.values()),
        offers_1h_cache=tokens[4] is not None,
        **fields,
    )


def per_million(*usd: str) -> TokenRates:
    rates = [int(Fraction(price) * USD_PER_MILLION) for price in usd]
    return (rates[0], rates[1], rates[2], rates[3], rates[4])


SONNET = make_card(per_million("3.30", "16.50", "0.33", "4.125", "6.60"))


def test_each_token_count_has_its_own_rate() -> None:
    # 1,000 x 3.30 + 500 x 16.50 + 2,000 x 0.33 + 100 x 4.125 + 10 x 6.60, per million
    result = charge(SONNET, Counts(1000, 500, 2000, 100, 10))
    assert format_pico_usd(result.cost_pico_usd) == "0.0126885"
    assert (result.unrated_units, result.rated, result.assumed_reason) == ((), True, None)


def test_absent_counts_cost_nothing_and_are_not_unrated() -> None:
    assert charge(SONNET, Counts(None, 500)).cost_pico_usd == 8_250_000_000
    nothing = charge(SONNET, Counts())
    assert (nothing.cost_pico_usd, nothing.unrated_units, nothing.rated) == (0, (), True)


def test_a_charge_is_rounded_once_and_not_per_unit() -> None:
    # Five times 0.3 pico-USD: 1.5 rounds to 2, while rounding each part would give 0.
    third = 300_000
    card = make_card((third, third, third, third, third))
    assert charge(card, Counts(1, 1, 1, 1, 1)).cost_pico_usd == 2


def test_a_trillion_dollars_is_exact() -> None:
    card = make_card(per_million("15", "75", "1.5", "18.75", "30"))
    result = charge(card, Counts(66_666_666_666_666_667, 0))
    assert format_pico_usd(result.cost_pico_usd) == "1000000000000.000005"


def test_a_unit_without_a_rate_is_named_and_never_free() -> None:
    card = make_card((USD_PER_MILLION, USD_PER_MILLION, None, None, None))
    result = charge(card, Counts(1_000_000, 0, 5, 0, 7, units=(("images", 1), ("requests", 0))))
    assert result.cost_pico_usd == 10**12
    assert result.unrated_units == ("cache_read_tokens", "cache_write_1h_tokens", "images")
    assert result.rated


def test_a_call_of_which_nothing_has_a_rate_is_not_rated() -> None:
    result = charge(make_card(units={"images": 1}), Counts(10, 20, units=(("requests", 1),)))
    assert not result.rated
    assert result.unrated_units == ("input_tokens", "output_tokens", "requests")


@pytest.mark.parametrize(
    "counts,usd",
    [
        (Counts(200_000, 1), "0.200002"),
        (Counts(200_001, 1), "0.400006"),
        (Counts(0, 0, 100_000, 60_000, 40_000), "0.2"),
        (Counts(1, 0, 100_000, 60_000, 40_000), "0.400002"),
        (Counts(1_000_001, 1), "3.000009"),
        (Counts(None, 1), "0.000002"),
    ],
)
def test_a_bracket_rates_the_whole_call_once_all_input_exceeds_it(counts: Counts, usd: str) -> None:
    card = make_card(
        per_million("1", "2", "1", "1", "1"),
        long_context=(
            (200_000, per_million("2", "4", "2", "2", "2")),
            (1_000_000, per_million("3", "6", "3", "3", "3")),
        ),
    )
    assert format_pico_usd(charge(card, counts).cost_pico_usd) == usd


def test_lines_show_the_bracket_and_its_source() -> None:
    dear = applied(2 * USD_PER_MILLION)
    card = make_card(
        per_million("1", "2", "1", "1", "1"),
        long_context=((10, per_million("2", "2", "1", "1", "1")),),
    )
    lines = charge_lines(card, Counts(11, 3, units=(("images", 2), ("requests", 0))))
    assert [(line.unit, line.quantity, line.rate_atto) for line in lines] == [
        ("input_tokens", 11, dear.rate_atto),
        ("output_tokens", 3, dear.rate_atto),
        ("images", 2, None),
    ]
    assert lines[0].source == "a table"
    assert lines[2].source is None


def test_a_bracket_that_lists_one_unit_inherits_the_rest() -> None:
    card = make_card(
        per_million("1", "2", "0.1", "1", "1"),
        long_context=((10, per_million("2", "2", "0.1", "1", "1")),),
    )
    own = {place: rate for place, rate in card.rates.items() if place == ("input_tokens", 10)}
    base = {place: rate for place, rate in card.rates.items() if place[1] == 0}
    lines = charge_lines(msgspec.structs.replace(card, rates=base | own), Counts(11, 3))
    assert [line.rate_atto for line in lines] == [2 * USD_PER_MILLION, 2 * USD_PER_MILLION]
    assert all(line.source for line in lines)


@pytest.mark.parametrize(
    "unit,key",
    [
        ("images/1024x1024/standard", "images/1024x1024/standard"),
        ("images/1024x1024/premium", "images/1024x1024"),
        ("images/512x512/premium", "images"),
        ("images", "images"),
        ("requests", "requests"),
        ("imagesque/1024x1024", "imagesque/1024x1024"),
    ],
)
def test_a_variant_falls_back_to_the_more_general_unit(unit: str, key: str) -> None:
    card = make_card(
        units={"images/1024x1024/standard": 4, "images/1024x1024": 3, "images": TEN_TO_15}
    )
    assert find_unit(card, unit)[0] == key


CANVAS = make_card(
    units={
        "guardrail_content_units": 1,
        "images/2048x2048/premium": 8 * 10**16,
        "images/1024x1024/standard": 4 * 10**16,
        "images/2048x2048/standard": 6 * 10**16,
        "images/1024x1024/premium": 6 * 10**16,
        "images": 6 * 10**16,
    }
)
UNKNOWN = "image size or quality unknown, priced at 0.06 USD an image"
LARGER = "image larger than any size that is listed, priced as images/2048x2048/"


@pytest.mark.parametrize(
    "unit,usd,assumed",
    [
        ("images/1024x1024/standard", "0.04", None),
        ("images/1024x1024/premium", "0.06", None),
        ("images/320x320/standard", "0.04", None),
        ("images/1280x720/standard", "0.04", None),  # 921,600 pixels of 1,048,576
        ("images/2048x512/premium", "0.06", None),  # as many pixels as 1024 x 1024
        ("images/2048x513/premium", "0.08", None),
        ("images/1025x1024/standard", "0.06", None),
        ("images/2048x2048/premium", "0.08", None),
        ("images/4096x1024/premium", "0.08", None),  # as many pixels as 2048 x 2048
        ("images/4096x4096/standard", "0.06", LARGER + "standard"),
        ("images/4096x4096/premium", "0.08", LARGER + "premium"),
        ("images", "0.06", UNKNOWN),
        ("images/512x512", "0.06", UNKNOWN),
        ("images/512x512/ultra", "0.06", UNKNOWN),
        ("images/512/standard", "0.06", UNKNOWN),
        ("images/axb/standard", "0.06", UNKNOWN),
        ("images/1234567x1/standard", "0.06", UNKNOWN),
        ("images/\u0661x\u0661/standard", "0.06", UNKNOWN),
        ("images/512x512/standard/more", "0.06", UNKNOWN),
        ("images" + "/1x1" * 30, "0.06", UNKNOWN),
    ],
)
def test_an_image_costs_what_its_size_class_does(unit: str, usd: str, assumed: str | None) -> None:
    found = charge(CANVAS, Counts(units=((unit, 1),)))
    assert (format_pico_usd(found.cost_pico_usd), found.assumed_reason) == (usd, assumed)
    assert found.unrated_units == ()


def test_images_of_several_sizes_add_up() -> None:
    # 3 x 0.04 + 2 x 0.08 + 1 x 0.06
    counts = Counts(
        units=(
            ("images", 1),
            ("images/1000x1000/standard", 3),
            ("images/2048x2048/premium", 2),
            ("images/9000x9000/premium", 0),
        )
    )
    found = charge(CANVAS, counts)
    assert format_pico_usd(found.cost_pico_usd) == "0.34"
    assert found.assumed_reason == UNKNOWN


def test_one_price_for_all_images_is_no_assumption() -> None:
    card = make_card(units={"images": 7 * 10**16})
    found = charge(card, Counts(units=(("images", 1), ("images/9x9/premium", 1))))
    assert (format_pico_usd(found.cost_pico_usd), found.assumed_reason) == ("0.14", None)


def test_an_image_without_size_has_no_rate_where_only_sizes_have() -> None:
    card = make_card(units={"images/1024x1024/standard": 4 * 10**16})
    found = charge(card, Counts(units=(("images", 2), ("images/512x512/premium", 1))))
    assert (found.rated, found.unrated_units) == (False, ("images", "images/512x512/premium"))


def test_assumptions_about_size_and_tier_are_both_told() -> None:
    derived = applied(3 * 10**16, "the standard rate times 0.5 is used")
    rates = {("images/1024x1024/standard", 0): derived}
    card = make_card(units={"images/1024x1024/standard": 3 * 10**16}, rates=rates)
    found = charge(card, Counts(units=(("images/2048x2048/standard", 1),)))
    assert found.assumed_reason == (
        "image larger than any size that is listed, priced as images/1024x1024/standard;"
        " the standard rate times 0.5 is used"
    )


@given(st.text(max_size=40).map("images/".__add__) | st.text(max_size=40))
def test_no_unit_upsets_the_look_up(unit: str) -> None:
    key, _ = find_unit(CANVAS, unit)
    assert key == unit or key in CANVAS.units


def test_images_are_charged_each() -> None:
    card = make_card(units={"images/1024x1024": 4 * 10**16, "images": 10**16})
    counts = Counts(units=(("images/1024x1024/standard", 3), ("images/2048x2048/premium", 1)))
    assert format_pico_usd(charge(card, counts).cost_pico_usd) == "0.13"


def test_an_assumption_counts_only_where_the_call_meets_it() -> None:
    card = make_card(
        per_million("1", "1", "1", "1", "1"),
        rates={("cache_read_tokens", 0): applied(USD_PER_MILLION, "the standard rate is used")},
        assumed_tier_reason="the standard rate is used",
    )
    assert charge(card, Counts(5, 5)).assumed_reason is None
    assert charge(card, Counts(5, 5, 1)).assumed_reason == "the standard rate is used"


RATES = st.one_of(st.none(), st.integers(min_value=0, max_value=10**15))
QUANTITIES = st.integers(min_value=0, max_value=10**12)


@given(st.tuples(*[RATES] * 5), st.tuples(*[QUANTITIES] * 5))
def test_a_charge_is_the_exact_sum_of_rates_times_counts(
    rates: TokenRates, quantities: tuple[int, int, int, int, int]
) -> None:
    result = charge(make_card(rates), Counts(*quantities))
    rated = [(q, r) for q, r in zip(quantities, rates, strict=True) if r is not None]
    exact = sum((Fraction(quantity * rate, 10**6) for quantity, rate in rated), Fraction(0))
    assert result.cost_pico_usd == round(exact)
    assert len(result.unrated_units) == sum(
        1 for q, r in zip(quantities, rates, strict=True) if q and r is None
    )
    lines = charge_lines(make_card(rates), Counts(*quantities))
    assert sum(line.quantity * (line.rate_atto or 0) for line in lines) == exact * 10**6
