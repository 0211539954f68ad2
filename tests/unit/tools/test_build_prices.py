"""Rebuilding the catalogue: what the merge of two small tables decides, and says."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tools.build_prices import (
    PRICING_PAGE,
    Decisions,
    build,
    known_ids,
    model_aliases,
    read_decisions,
)
from tools.prices.merge import Row
from tools.prices.tables import read_genai, split_litellm_id

GENAI = """
from decimal import Decimal
from .types import *

providers = [
    Provider(id='other', models=[ModelInfo(id='x', prices=ModelPrice(input_mtok=Decimal('9')))]),
    Provider(
        id='aws',
        models=[%s],
    ),
]
"""


def entry(provider: str = "bedrock", mode: str = "chat", **prices: str) -> dict[str, Any]:
    """An entry of litellm's table, prices in USD per million."""
    fields = {name: Decimal(usd) / 10**6 for name, usd in prices.items()}
    return {"litellm_provider": provider, "mode": mode} | fields


def merged(
    tmp_path: Path,
    litellm: dict[str, dict[str, Any]],
    genai: str = "",
    decisions: Decisions | None = None,
) -> list[Row]:
    path = tmp_path / "data.py"
    path.write_text(GENAI % genai)
    return build(litellm, read_genai(path), decisions or Decisions())


def model(identifier: str, prices: str) -> str:
    return f"ModelInfo(id={identifier!r}, prices={prices}),"


def price(usd: str) -> str:
    return f"ModelPrice(input_mtok=Decimal({usd!r}))"


def usd(row: Row) -> str:
    return f"{(row.usd * 10**6).normalize():f}"


def brief(rows: list[Row]) -> list[tuple[str, str, str, str, bool]]:
    return [(row.routing, row.region, row.tier, usd(row), row.confirmed) for row in rows]


def test_two_tables_that_agree_confirm_a_rate_and_ratios_confirm_more(tmp_path: Path) -> None:
    litellm = {
        "p.m": entry(input_cost_per_token="3", input_cost_per_token_flex="1.5"),
        "us.p.m": entry(input_cost_per_token="3.3", input_cost_per_token_flex="1.65"),
        "global.p.m": entry(input_cost_per_token="3"),
        "p.lonely": entry(input_cost_per_token="1", input_cost_per_token_flex="0.5"),
    }
    rows = merged(tmp_path, litellm, model("regional.p.m", price("3.3")))
    assert brief(rows) == [
        ("regional", "*", "standard", "1", False),
        ("regional", "*", "flex", "0.5", False),
        ("regional", "*", "standard", "3.3", True),
        ("global", "*", "standard", "3", True),
        ("regional", "*", "flex", "1.65", True),
    ]
    (note,) = rows[2].notes
    assert note.startswith("litellm lists p.m at $3 per million: the global rate; AWS bills bare")
    assert rows[3].ratio == "regional is 1.1 x global"
    assert rows[4].ratio == "flex is 0.5 x standard"


def test_where_the_tables_disagree_the_row_says_which_was_taken(tmp_path: Path) -> None:
    litellm = {"p.m": entry(input_cost_per_token="4", input_cost_per_token_priority="8")}
    standard, priority = merged(tmp_path, litellm, model("p.m", price("3")))
    assert (usd(standard), standard.tables) == ("3", ("genai-prices",))
    (note,) = standard.notes
    assert note.startswith("litellm lists p.m at $4 per million: genai-prices is taken")
    (note,) = priority.notes
    assert note.startswith("deviates from 1.75 x standard ($5.25 per million)")


def test_regions_have_rows_only_where_their_price_differs(tmp_path: Path) -> None:
    litellm = {
        "p.m": entry(input_cost_per_token="3"),
        "eu.p.m": entry(input_cost_per_token="4"),
        "jp.p.m": entry(input_cost_per_token="3"),
        "bedrock/eu-west-1/p.m": entry(input_cost_per_token="4"),
        "bedrock/eu-west-2/p.m": entry(input_cost_per_token="5"),
        "bedrock/us-east-1/p.m": entry(input_cost_per_token="3"),
    }
    rows = merged(tmp_path, litellm)
    assert [(row.region, usd(row)) for row in rows] == [
        ("*", "3"),
        ("eu-*", "4"),
        ("eu-west-2", "5"),
    ]


def test_a_rate_that_is_the_same_either_way_is_written_once(tmp_path: Path) -> None:
    litellm = {
        "p.m": entry(input_cost_per_token="3"),
        "global.p.m": entry(input_cost_per_token="3"),
    }
    (row,) = merged(tmp_path, litellm)
    assert row.routing == "*"


def test_dated_prices_keep_their_days_and_brackets_their_threshold(tmp_path: Path) -> None:
    phases = (
        "[ConditionalPrice(prices=ModelPrice(input_mtok=Decimal('5'))),"
        " ConditionalPrice(constraint=StartDateConstraint(start_date=datetime.date(2026, 8, 21)),"
        " prices=ModelPrice(input_mtok=TieredPrices(base=Decimal('4'),"
        " tiers=[Tier(start=272000, price=Decimal('8'))])))]"
    )
    first, second, bracket = merged(tmp_path, {}, model("p.m", phases))
    change = date(2026, 8, 21)
    assert (first.since, first.until, usd(first)) == (None, change, "5")
    assert (second.since, second.until, usd(second)) == (change, None, "4")
    assert (bracket.above, bracket.since, usd(bracket)) == (272_000, change, "8")


def test_decisions_exclude_reject_alias_and_add(tmp_path: Path) -> None:
    litellm = {
        "amazon.nova": entry(cache_read_input_token_cost="0.2"),
        "other": entry(input_cost_per_token="1"),
        "bedrock/eu-west-1/amazon.nova": entry(cache_read_input_token_cost="9"),
        "bedrock/x/1-month-commitment/amazon.nova": entry(input_cost_per_token="1"),
        "amazon.no-such": entry(input_cost_per_token="1"),
    }
    decisions = Decisions(
        aliases={"other": "amazon.nova"},
        unpriced={"amazon.no-such": ("text", "no such model")},
        excluded={"*-month-commitment/*": "not by token"},
        rejected={("bedrock/eu-west-1/amazon.nova", "cache_read_tokens"): "a misprint"},
        rows=[("amazon.nova*", "cache_write_5m_tokens", "published at $0")],
    )
    rows = merged(tmp_path, litellm, "", decisions)
    assert [(row.unit, usd(row)) for row in rows] == [
        ("cache_read_tokens", "0.2"),
        ("input_tokens", "1"),
        ("cache_write_5m_tokens", "0"),
    ]
    assert rows[0].notes == (
        "litellm lists bedrock/eu-west-1/amazon.nova at $9 per million: a misprint",
    )
    assert [record[2:] for record in known_ids(litellm, [], decisions)] == [
        ["amazon.no-such", ""],
        ["amazon.nova", ""],
        ["amazon.nova", ""],
        ["", "not by token"],
        ["amazon.nova", ""],
    ]


def test_a_decided_price_adds_a_row_or_replaces_one_and_notes_what_a_table_lists(
    tmp_path: Path,
) -> None:
    images = {"output_cost_per_image": Decimal("0.06")}
    litellm = {
        "p.m": entry(mode="image_generation") | images,
        "1024-x-1024/50-steps/p.m": entry(mode="image_generation") | images,
    }
    decisions = Decisions(
        prices=[
            ("p.m", "images/1024x1024/standard=0.04", "small"),
            ("p.m", "images/2048x2048/premium=0.08", "large"),
            ("p.other", "images=1", "no such model"),
        ]
    )
    rows = merged(tmp_path, litellm, decisions=decisions)
    assert [(row.unit, str(row.usd), row.tables, row.confirmed) for row in rows] == [
        ("images", "0.06", ("litellm",), False),
        ("images/1024x1024/standard", "0.04", (PRICING_PAGE,), False),
        ("images/2048x2048/premium", "0.08", (PRICING_PAGE,), False),
    ]
    assert rows[1].notes == (
        "small",
        "litellm lists $0.06 for images/1024x1024/standard",
        "litellm lists $0.06 for any size",
    )
    assert rows[2].notes == ("large", "litellm lists $0.06 for any size")


@pytest.mark.parametrize(
    "identifier,expected",
    [
        ("us-gov.p.m-v1:0", ("p.m-v1:0", "us-gov", "", "")),
        ("bedrock/us-gov-west-1/p.m", ("p.m", "", "us-gov-west-1", "")),
        ("bedrock_mantle/us-gov-east-1/p.m", ("p.m", "", "us-gov-east-1", "")),
        ("bedrock/invoke/p.m", ("p.m", "", "", "")),
        ("512-x-512/max-steps/p.m", ("p.m", "", "", "/512x512/premium")),
        ("max-x-max/50-steps/bedrock/p.m", ("p.m", "", "", "/1024x1024/standard")),
    ],
)
def test_an_id_of_litellm_splits_into_model_place_and_image(
    identifier: str, expected: tuple[str, str, str, str]
) -> None:
    assert split_litellm_id(identifier) == expected


def test_version_forms_become_aliases_unless_two_models_share_them() -> None:
    models = {"p.a-v1:0", "p.b-v1:0", "p.b-v1:1", "p.c-v1", "anthropic.d", "p.e-v0:2"}
    assert model_aliases(models, Decisions()) == {
        "p.a-v1:0": ["p.a", "p.a-v1"],
        "p.c-v1": ["p.c-v1:0"],
        "anthropic.d": ["anthropic.d-v1", "anthropic.d-v1:0"],
    }


def test_the_decisions_in_the_repository_are_readable() -> None:
    decisions = read_decisions()
    assert decisions.canonical("anthropic.claude-haiku-4-5").endswith("20251001-v1:0")
    assert decisions.exclusion("bedrock/claude_platform/claude-opus-5")
    assert not decisions.exclusion("bedrock/us-east-1/anthropic.claude-v1")
