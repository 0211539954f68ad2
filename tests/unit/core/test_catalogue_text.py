from fractions import Fraction

import pytest

from worker.core.catalogue_rows import BEDROCK_LAUNCH_MS, RateRow
from worker.core.catalogue_text import (
    KNOWN_UNITS,
    parse_instant,
    parse_models,
    parse_rates,
    parse_tiers,
)
from worker.core.decoders import body_units
from worker.core.errors import ConfigurationError

HEADER = (
    "model,routing,region,tier,unit,above_input_tokens,usd,per,"
    "effective_from,effective_to,confidence,sources,note\n"
)


def full(**fields: str) -> str:
    values = {
        "model": "m",
        "routing": "regional",
        "region": "us-east-1",
        "tier": "standard",
        "unit": "input_tokens",
        "above_input_tokens": "0",
        "usd": "3.3",
        "per": "1000000",
        "effective_from": "2025-01-01",
        "effective_to": "",
        "confidence": "confirmed",
        "sources": "a table",
        "note": "",
    }
    return HEADER + ",".join((values | fields).values()) + "\n"


def test_a_full_row_is_read_as_it_stands() -> None:
    text = full(above_input_tokens="200000", effective_to="2026-01-01T00:00:00Z", note='"a, b"')
    assert parse_rates(text, "x.csv") == [
        RateRow(
            model="m",
            routing="regional",
            region="us-east-1",
            tier="standard",
            unit="input_tokens",
            above_input_tokens=200_000,
            rate_atto=3_300_000_000_000,
            effective_from_ms=parse_instant("2025-01-01"),
            effective_to_ms=parse_instant("2026-01-01"),
            confidence="confirmed",
            sources="a table",
            note="a, b",
            origin="x.csv:2",
        )
    ]


def test_three_columns_are_enough_for_an_operator() -> None:
    text = (
        "\ufeffusd,model,unit\r\n3,acme.m,input_tokens\r\n\r\n# a remark\r\n"
        "0.04,acme.m,images/1024x1024\r\n"
    )
    tokens, images = parse_rates(text, "mine.csv", override=True)
    assert (tokens.rate_atto, images.rate_atto) == (3 * 10**12, 4 * 10**16)
    assert (tokens.routing, tokens.region, tokens.tier) == ("*", "*", "standard")
    assert tokens.effective_from_ms == BEDROCK_LAUNCH_MS
    assert tokens.effective_to_ms is None
    assert (tokens.confidence, tokens.override) == ("operator", True)
    assert images.origin == "mine.csv:5"


@pytest.mark.parametrize(
    "column,value,expected",
    [
        ("model", "", "a model id"),
        ("model", "a b", "a model id"),
        ("routing", "local", "one of regional, global, *"),
        ("region", "Virginia", "an AWS Region, a geography such as eu-*, or *"),
        ("region", "us-east-*", "an AWS Region, a geography such as eu-*, or *"),
        ("region", "us-east1", "an AWS Region, a geography such as eu-*, or *"),
        ("tier", "reserved", "one of standard, priority, flex, batch, ultrafast"),
        ("unit", "Input Tokens", "a unit such as input_tokens"),
        ("above_input_tokens", "-1", "a number of tokens from 0"),
        ("above_input_tokens", "1.5", "a number of tokens from 0"),
        ("usd", "", "a price in USD that is exact per unit"),
        ("usd", "1e-6", "a price in USD that is exact per unit"),
        ("usd", "0.1234567890123456", "at most 18 decimals per unit"),
        ("usd", "-1", "a price of at least 0"),
        ("per", "0", "a whole number of units of at least 1"),
        ("per", "million", "a whole number of units of at least 1"),
        ("per", "3000000", "a price in USD that is exact per unit"),
        ("effective_from", "yesterday", "an ISO date or time"),
        ("effective_to", "2024-01-01", "a time after effective_from"),
        ("effective_to", "2025-01-01", "a time after effective_from"),
        ("confidence", "sure", "one of confirmed, single-source, operator"),
    ],
)
def test_a_malformed_field_names_file_line_column_and_what_was_expected(
    column: str, value: str, expected: str
) -> None:
    fields = {column: value}
    if column == "per" and value == "3000000":
        fields["usd"] = "1"
    with pytest.raises(ConfigurationError) as raised:
        parse_rates(full(**fields), "x.csv")
    message = str(raised.value)
    named = "usd" if value == "3000000" else column
    assert message.startswith(f"x.csv:2: {named}: found ")
    assert expected in message


SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.mark.parametrize(
    "model,expected",
    [
        (f"us.{SONNET}", f"'{SONNET}': the model's id alone"),
        (f"us-gov.{SONNET}", f"'{SONNET}': the model's id alone"),
        (f"global.{SONNET}", f"'{SONNET}': the model's id alone"),
        (f"arn:aws:bedrock:us-east-1::foundation-model/{SONNET}", f"'{SONNET}': the model's"),
        (
            f"arn:aws:bedrock:us-east-1:111122223333:inference-profile/eu.{SONNET}",
            f"'{SONNET}': the model's id alone",
        ),
        (f"us-east-1.{SONNET}", f"'{SONNET}': the model's id alone"),
        (f"bedrock/us-gov-west-1/{SONNET}", f"'{SONNET}': the model's id alone"),
        ("amazon.nova-pro-v1:0:300k", "'amazon.nova-pro-v1:0': the model's id alone"),
        ("claude-sonnet-4-5", "(the model id is neither provider.model nor an ARN"),
        (
            "arn:aws:bedrock:us-east-1:111122223333:provisioned-model/abc",
            "(provisioned throughput is billed by the hour, not by token)",
        ),
        ("", "a model id"),
    ],
)
def test_an_operators_model_that_no_call_resolves_to_is_refused_with_the_id_to_write(
    model: str, expected: str
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_rates(f"model,unit,usd\n{model},input_tokens,1\n", "mine.csv", override=True)
    assert str(raised.value).startswith(f"mine.csv:2: model: found {model[:80]!r}, expected ")
    assert expected in str(raised.value)


@pytest.mark.parametrize(
    "unit", ["input_token", "images/large", "images/1024x1024/a/b", "guardrail_topic_unit"]
)
def test_an_operators_unit_that_nothing_counts_is_refused_with_those_that_there_are(
    unit: str,
) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_rates(f"model,unit,usd\nacme.m,{unit},1\n", "mine.csv", override=True)
    assert str(raised.value).startswith(f"mine.csv:2: unit: found {unit!r}, expected one of input")
    for known in (*KNOWN_UNITS, "images/WxH/QUALITY"):
        assert known in str(raised.value)


def test_every_unit_that_is_counted_is_known() -> None:
    counted = [unit for _, unit in body_units._GUARDRAIL_UNITS]
    counted += [body_units.IMAGES, body_units.SEARCH_UNITS, body_units.VIDEO_SECONDS]
    counted += ["images/1024x1024", "images/1024x1024/premium"]
    lines = "\n".join(f"acme.m,{unit},1" for unit in counted)
    rows = parse_rates(f"model,unit,usd\n{lines}\n", "mine.csv", override=True)
    assert [row.unit for row in rows] == counted


def test_only_token_units_have_long_context_rates() -> None:
    with pytest.raises(ConfigurationError, match=r"x\.csv:2: above_input_tokens: .*only input"):
        parse_rates(full(unit="images", per="1", above_input_tokens="5"), "x.csv")


@pytest.mark.parametrize(
    "text,message",
    [
        ("", "x.csv:1: header: found '', expected a column model"),
        ("model,unit\n", "x.csv:1: header: found 'model,unit', expected a column usd"),
        ("model,unit,usd,colour\n", "x.csv:1: header: found 'colour', expected columns among"),
        ("model,unit,usd,usd\n", "x.csv:1: header: found 'model,unit,usd,usd', expected each"),
        ("model,unit,usd\nm,images\n", "x.csv:2: row: found '2 fields', expected 3 fields"),
        ('model,unit,usd\nm,"images"x,1\n', "x.csv:2: not valid CSV"),
    ],
)
def test_a_malformed_table_names_the_line(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        parse_rates(text, "x.csv")
    assert str(raised.value).startswith(message)


def test_models_are_listed_once_with_kind_and_aliases() -> None:
    (entry,) = parse_models("model,kind,reason,aliases\nm,text,,a;b\n", "models.csv")
    assert (entry.model, entry.kind, entry.reason, entry.aliases) == ("m", "text", "", ("a", "b"))
    for row in ("m,,,", "m,text,,a b", " m,text,,", "m,text,,\nm,text,,"):
        with pytest.raises(ConfigurationError, match=r"models\.csv:[23]: "):
            parse_models(f"model,kind,reason,aliases\n{row}\n", "models.csv")


def test_tiers_are_listed_once_with_an_exact_multiplier() -> None:
    (rule,) = parse_tiers("tier,multiplier,source\npriority,1.75,published\n", "tiers.csv")
    assert (rule.tier, rule.multiplier, rule.source) == ("priority", Fraction(7, 4), "published")
    for row in ("turbo,1,", "flex,0,", "flex,-1,", "flex,half,", "flex,0.5,\nflex,0.5,"):
        with pytest.raises(ConfigurationError, match=r"tiers\.csv:[23]: (tier|multiplier): "):
            parse_tiers(f"tier,multiplier,source\n{row}\n", "tiers.csv")


@pytest.mark.parametrize(
    "text,instant_ms",
    [
        ("1970-01-01", 0),
        ("2023-09-28", BEDROCK_LAUNCH_MS),
        ("2023-09-28T02:00:00+02:00", BEDROCK_LAUNCH_MS),
        ("2023-09-28T00:00:00.250Z", BEDROCK_LAUNCH_MS + 250),
    ],
)
def test_instants_are_utc_unless_they_say_otherwise(text: str, instant_ms: int) -> None:
    assert parse_instant(text) == instant_ms
