from collections.abc import Sequence

import pytest

from worker.core.catalogue import Catalogue
from worker.core.catalogue_rows import ModelEntry
from worker.core.catalogue_text import RATE_COLUMNS, parse_instant, parse_rates
from worker.core.errors import ConfigurationError
from worker.core.evidence import Counts
from worker.core.money import format_atto_usd, format_pico_usd, parse_rate_to_atto
from worker.core.price_list import Quote
from worker.core.price_update import Plan, PriceUpdateError, plan_update
from worker.core.price_update_text import apply_changes, instant_text
from worker.core.pricing import charge

NOW = parse_instant("2026-11-22T10:00:00Z")
TODAY = parse_instant("2026-11-22")
HEADER = ",".join(RATE_COLUMNS) + "\n"

PACKAGED = """model,routing,region,tier,unit,above_input_tokens,usd,confidence,sources
acme.m,regional,*,standard,input_tokens,0,3,confirmed,A; B
acme.m,regional,*,standard,output_tokens,0,15,single-source,A
acme.m,*,*,standard,cache_read_tokens,0,0.3,single-source,A
acme.m,regional,*,standard,cache_write_5m_tokens,0,0,single-source,AWS Price List (2026-11)
acme.m,regional,eu-*,standard,input_tokens,0,4,single-source,A
"""
LONG = """model,region,unit,above_input_tokens,usd,confidence,sources
acme.m,*,input_tokens,0,3,confirmed,A; B
acme.m,*,input_tokens,200000,6,single-source,A
"""


def catalogue(packaged: str = PACKAGED, own: str = "") -> Catalogue:
    rows = parse_rates(packaged, "packaged.csv")
    if own:
        rows += parse_rates(own, "own.csv", override=True)
    return Catalogue(rows, [ModelEntry("acme.m", "text", "", ())], [])


def quote(
    unit: str,
    usd: str,
    *,
    region: str = "us-east-1",
    since: str | None = "2026-06-01",
    above: int = 0,
    **other: str,
) -> Quote:
    return Quote(
        model=other.get("model", "acme.m"),
        routing=other.get("routing", "regional"),
        region=region,
        tier=other.get("tier", "standard"),
        unit=unit,
        above_input_tokens=above,
        rate_atto=parse_rate_to_atto(usd, 10**6),
        effective_from_ms=None if since is None else parse_instant(since),
        skus=tuple(other.get("skus", "S1").split()),
    )


def plan(quotes: Sequence[Quote], packaged: str = PACKAGED, own: str = "") -> Plan:
    return plan_update(quotes, catalogue(packaged, own), NOW, TODAY)


def updated(quotes: Sequence[Quote], packaged: str = PACKAGED, own: str = "") -> str:
    """The operator's file after an update; another update changes nothing."""
    text = apply_changes(own, "own.csv", plan(quotes, packaged, own).changes)
    again = plan(quotes, packaged, text)
    assert not again.changes
    assert apply_changes(text, "own.csv", again.changes) == text
    return text


def test_a_price_that_is_as_it_is_changes_nothing() -> None:
    result = plan([quote("input_tokens", "3"), quote("cache_write_5m_tokens", "0")])
    assert (list(result.changes), list(result.kept), result.unchanged) == ([], [], 2)


def test_a_changed_price_is_a_new_row_from_the_date_of_its_offer() -> None:
    assert updated([quote("input_tokens", "2.5")]) == HEADER + (
        "acme.m,regional,us-east-1,standard,input_tokens,0,2.5,1000000,2026-06-01,,"
        "single-source,AWS Price List (SKU S1),\n"
    )


def test_both_sides_of_the_date_have_their_price() -> None:
    text = updated([quote("input_tokens", "2.5")])
    prices = catalogue(own=text)
    charged = []
    for time in ("2026-05-31T23:59:59.999Z", "2026-06-01"):
        card = prices.card("acme.m", "regional", "us-east-1", "standard", parse_instant(time))
        assert card is not None
        # 1,000,000 input tokens, at $3 and then $2.5 a million
        charged.append(format_pico_usd(charge(card, Counts(10**6, 0)).cost_pico_usd))
    assert charged == ["3", "2.5"]
    # Another Region keeps the general rate.
    card = prices.card("acme.m", "regional", "us-west-2", "standard", NOW)
    assert card is not None
    assert format_pico_usd(charge(card, Counts(10**6, 0)).cost_pico_usd) == "3"


@pytest.mark.parametrize("since", [None, "2023-09-28", "2020-01-01"])
def test_an_offer_without_a_later_date_holds_from_today(since: str | None) -> None:
    (change,) = plan([quote("input_tokens", "2.5", since=since)]).changes
    assert change.action == "changed"
    assert change.effective_from_ms == TODAY


def test_a_rate_that_the_catalogue_lacks_is_added_since_its_offer() -> None:
    quotes = [quote("input_tokens", "1.5", tier="flex"), quote("requests", "2", since=None)]
    added = plan(quotes).changes
    assert [(c.action, c.before, c.effective_from_ms) for c in added] == [
        ("added", None, parse_instant("2026-06-01")),
        ("added", None, TODAY),
    ]


def test_a_price_that_rested_on_one_table_is_confirmed() -> None:
    quotes = [quote("output_tokens", "15", skus="S1 S2 S3 S4"), quote("cache_read_tokens", "0.3")]
    assert updated(quotes) == HEADER + (
        "acme.m,regional,us-east-1,standard,cache_read_tokens,0,0.3,1000000,2026-06-01,,"
        "confirmed,A; AWS Price List (SKU S1),\n"
        "acme.m,regional,us-east-1,standard,output_tokens,0,15,1000000,2026-06-01,,"
        'confirmed,"A; AWS Price List (SKU S1, S2, S3 and 1 more)",\n'
    )


def test_a_second_change_ends_the_row_of_the_first_and_touches_no_other_line() -> None:
    first = updated([quote("input_tokens", "2.5"), quote("output_tokens", "14")])
    own = f"{first}\n# agreed in May\n"
    second = updated([quote("input_tokens", "2", since="2026-09-01", skus="S2")], own=own)
    before = own.splitlines()
    after = second.splitlines()
    assert after[1] == before[1].replace("2026-06-01,,", "2026-06-01,2026-09-01,")
    assert after[2:-1] == before[2:]
    assert after[-1] == (
        "acme.m,regional,us-east-1,standard,input_tokens,0,2,1000000,2026-09-01,,"
        "single-source,AWS Price List (SKU S2),"
    )
    prices = catalogue(own=second)
    rates = []
    for time in ("2026-05-31", "2026-06-01", "2026-08-31", "2026-09-01"):
        card = prices.card("acme.m", "regional", "us-east-1", "standard", parse_instant(time))
        assert card is not None
        rates.append(format_atto_usd(card.rates["input_tokens", 0].rate_atto * 10**6))
    assert rates == ["3", "2.5", "2.5", "2"]


def test_a_row_cannot_end_before_it_begins() -> None:
    own = updated([quote("input_tokens", "2.5", since=None)])
    with pytest.raises(PriceUpdateError, match=r"own\.csv:2: .* --effective-from"):
        plan([quote("input_tokens", "2", since=None)], own=own)


def test_rows_of_the_operator_stay_and_are_named() -> None:
    own = "model,unit,usd\nacme.m,input_tokens,1\n"
    result = plan([quote("input_tokens", "2.5"), quote("output_tokens", "14")], own=own)
    assert [change.quote.unit for change in result.changes] == ["output_tokens"]
    (kept,) = result.kept
    assert (kept.quote.unit, kept.row.origin) == ("input_tokens", "own.csv:2")
    assert "your own row" in kept.reason


def test_a_file_with_fewer_columns_gets_those_that_new_rows_need() -> None:
    own = "model,unit,usd,region\r\nacme.other,input_tokens,1,eu-west-1\r\n# said so\r\n"
    text = updated([quote("input_tokens", "2.5")], own=own)
    lines = text.split("\r\n")
    assert lines[0] == (
        "model,unit,usd,region,routing,tier,above_input_tokens,per,effective_from,effective_to,"
        "confidence,sources,note"
    )
    assert lines[1:3] == ["acme.other,input_tokens,1,eu-west-1,,,,,,,,,", "# said so"]
    assert lines[3] == (
        "acme.m,input_tokens,2.5,us-east-1,regional,standard,0,1000000,2026-06-01,,"
        "single-source,AWS Price List (SKU S1),"
    )
    assert lines[4:] == [""]


def test_a_new_row_ends_where_a_later_one_of_the_operator_begins() -> None:
    row = "acme.m,regional,us-east-1,standard,input_tokens,0,1,,2027-01-01,,operator,mine,"
    own = f"{HEADER}{row}\n"
    (change,) = plan([quote("input_tokens", "2.5")], own=own).changes
    assert change.effective_to_ms == parse_instant("2027-01-01")
    catalogue(own=updated([quote("input_tokens", "2.5")], own=own))


def test_a_new_row_begins_where_an_ended_one_of_the_operator_ends() -> None:
    key = "acme.m,regional,us-east-1,standard,input_tokens,0"
    own = f"{HEADER}{key},1,,2026-01-01,2026-08-01,operator,mine,\n"
    (change,) = plan([quote("input_tokens", "2.5")], own=own).changes
    assert change.effective_from_ms == parse_instant("2026-08-01")


def test_base_and_long_context_rates_move_together() -> None:
    base, long = quote("input_tokens", "3"), quote("input_tokens", "6", above=200_000)
    text = updated([base, long], LONG)
    assert [line.split(",")[5:7] for line in text.splitlines()[1:]] == [["0", "3"], ["200000", "6"]]
    card = catalogue(LONG, text).card("acme.m", "regional", "us-east-1", "standard", NOW)
    assert card is not None
    assert not card.assumes


def test_a_long_context_rate_is_not_confirmed_on_its_own() -> None:
    result = plan([quote("input_tokens", "6", above=200_000)], LONG)
    assert not result.changes
    assert "would count as assumed" in result.kept[0].reason


def test_a_model_that_only_the_operators_map_knows_is_the_operators() -> None:
    (change,) = plan([quote("input_tokens", "1", model="acme.nine")]).changes
    assert change.confidence == "operator"


def test_the_rate_of_a_geography_is_compared_in_its_regions() -> None:
    (change,) = plan([quote("input_tokens", "4", region="eu-west-1")]).changes
    assert change.action == "confirmed"
    assert change.before is not None
    assert change.before.region == "eu-*"


def test_a_changed_file_is_noticed() -> None:
    own = updated([quote("input_tokens", "2.5")])
    changes = plan([quote("input_tokens", "2", since="2026-09-01")], own=own).changes
    with pytest.raises(ConfigurationError, match=r"own\.csv:2: not found"):
        apply_changes(HEADER, "own.csv", changes)


def test_an_instant_is_a_date_where_it_is_midnight() -> None:
    assert instant_text(parse_instant("2026-06-01")) == "2026-06-01"
    assert instant_text(parse_instant("2026-06-01T00:00:01Z")) == "2026-06-01T00:00:01Z"
