"""The packaged catalogue: what it must say whoever rebuilds it."""

import csv
from importlib import resources
from pathlib import Path

import pytest

from worker.adapters.catalogue_files import MODELS_FILE, PACKAGED, TIERS_FILE, load_catalogue
from worker.core.catalogue import Catalogue
from worker.core.catalogue_check import check_catalogue, coverage
from worker.core.catalogue_text import parse_instant, parse_rates
from worker.core.evidence import Counts
from worker.core.money import format_atto_usd, format_pico_usd
from worker.core.pricing import TOKEN_UNITS, charge

NOW = parse_instant("2026-11-22")
KNOWN_IDS = Path(__file__).parent / "data/known_model_ids.csv"
GEOGRAPHIES = ("us-gov.", "us.", "eu.", "apac.", "jp.", "au.", "ca.", "in.", "global.", "regional.")

SONNET_4_5 = "anthropic.claude-sonnet-4-5-20250929-v1:0"


@pytest.fixture(scope="module")
def prices() -> Catalogue:
    return load_catalogue()


def known_ids() -> list[dict[str, str]]:
    with KNOWN_IDS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def bare(identifier: str) -> str:
    """A table's id without its table prefix, Region, image size and geography."""
    model = identifier.rpartition("/")[2]
    for geography in GEOGRAPHIES:
        model = model.removeprefix(geography)
    return model


def test_every_bedrock_id_of_both_tables_resolves_to_rates_or_to_a_reason(
    prices: Catalogue,
) -> None:
    unresolved = []
    for record in known_ids():
        if record["reason"]:
            continue
        model = bare(record["id"])
        priced = any(
            prices.card(model, routing, "us-east-1", "standard", NOW)
            for routing in ("regional", "global")
        )
        if prices.canonical(model) != record["model"] or priced == bool(prices.reason(model)):
            unresolved.append(record["id"])
    assert unresolved == []


def test_an_operator_could_have_written_every_packaged_row() -> None:
    tables = Path(str(resources.files("worker").joinpath(PACKAGED)))
    for path in sorted(tables.glob("*.csv")):
        if path.name not in (MODELS_FILE, TIERS_FILE):
            assert parse_rates(path.read_text(encoding="utf-8"), path.name, override=True)


def test_the_committed_list_covers_both_tables() -> None:
    records = known_ids()
    tables = [record["table"] for record in records]
    assert (tables.count("litellm"), tables.count("genai-prices")) == (614, 118)
    reasons = {record["reason"] for record in records if record["reason"]}
    assert len(reasons) == 2
    assert all(
        "commitment" in record["id"] or "claude_platform" in record["id"]
        for record in records
        if record["reason"]
    )


def test_the_catalogue_passes_its_own_rules(prices: Catalogue) -> None:
    assert [f for f in check_catalogue(prices) if f.severity != "info"] == []


def test_coverage_is_known(prices: Catalogue) -> None:
    counted = coverage(prices)
    assert counted.models == counted.models_with_rates + counted.models_with_reason
    assert counted.rows_by_confidence["confirmed"] >= 600
    assert sum(counted.rows_by_confidence.values()) == counted.rows


def test_every_row_names_its_source_and_date_and_every_dropped_figure_is_noted(
    prices: Catalogue,
) -> None:
    for row in prices.rows:
        assert row.sources, row.origin
        assert "(20" in row.sources, row.origin
        tables = ("genai-prices" in row.sources) + ("litellm" in row.sources)
        ratio = "published ratio" in row.sources
        assert (row.confidence == "confirmed") == (tables == 2 or ratio), row.origin


@pytest.mark.parametrize(
    "model,region,counts,usd",
    [
        ("anthropic.claude-3-sonnet-20240229-v1:0", "us-east-1", Counts(1000, 500), "0.0105"),
        (
            "anthropic.claude-sonnet-4-20250514-v1:0",
            "us-east-1",
            Counts(4315, 3, 15388, 13384),
            "0.0677964",
        ),
        ("amazon.nova-pro-v1:0", "us-east-1", Counts(1500, 800), "0.00376"),
        # The EU and APAC profiles of Nova cost more: 1.05/4.20 and 0.84/3.36 per million.
        ("amazon.nova-pro-v1:0", "eu-central-1", Counts(1500, 800), "0.004935"),
        ("amazon.nova-pro-v1:0", "ap-northeast-1", Counts(1500, 800), "0.003948"),
        ("amazon.nova-2-lite-v1:0", "us-west-2", Counts(10_000, 2000), "0.0088"),
        ("amazon.nova-micro-v1:0", "us-east-1", Counts(5000, 1000), "0.000315"),
        # Writes to the cache of a Nova model are published at $0: 4,000 x 0.20 per million.
        ("amazon.nova-pro-v1:0", "us-east-1", Counts(0, 0, 4000, 9000), "0.0008"),
    ],
)
def test_known_calls_cost_what_they_cost(
    prices: Catalogue, model: str, region: str, counts: Counts, usd: str
) -> None:
    card = prices.card(model, "regional", region, "standard", NOW)
    assert card is not None
    result = charge(card, counts)
    assert format_pico_usd(result.cost_pico_usd) == usd
    assert (result.unrated_units, result.assumed_reason) == ((), None)


@pytest.mark.parametrize(
    "routing,base,above",
    [
        ("regional", "3.3 16.5 0.33 4.125 6.6", "6.6 24.75 0.66 8.25 13.2"),
        ("global", "3 15 0.3 3.75 6", "6 22.5 0.6 7.5 12"),
    ],
)
def test_sonnet_4_5_is_a_tenth_dearer_regionally_and_has_a_bracket(
    prices: Catalogue, routing: str, base: str, above: str
) -> None:
    card = prices.card(SONNET_4_5, routing, "us-east-1", "standard", NOW)
    assert card is not None
    ((threshold, rates),) = card.long_context
    assert threshold == 200_000
    for tokens, usd in ((card.tokens, base), (rates, above)):
        found = [format_atto_usd((rate or 0) * 10**6) for rate in tokens]
        assert found == usd.split(), TOKEN_UNITS
    assert card.offers_1h_cache
    assert (card.assumed_tier_reason, card.assumed_routing_reason) == (None, None)


def test_prices_change_on_their_day(prices: Catalogue) -> None:
    costs = []
    for at in ("2026-08-20T23:59:59.999Z", "2026-08-21T00:00:00Z"):
        card = prices.card(
            "openai.gpt-5.6-sol", "global", "us-east-1", "standard", parse_instant(at)
        )
        assert card is not None
        costs.append(format_pico_usd(charge(card, Counts(1_000_000)).cost_pico_usd))
    # Beyond 272,000 input tokens: 10 and then 8 USD per million.
    assert costs == ["10", "8"]


def test_guardrail_units_are_priced_beside_a_model(prices: Catalogue) -> None:
    card = prices.card(SONNET_4_5, "global", "us-east-1", "standard", NOW)
    assert card is not None
    counts = Counts(1000, 0, units=(("guardrail_content_units", 2), ("guardrail_word_units", 9)))
    result = charge(card, counts)
    assert format_pico_usd(result.cost_pico_usd) == "0.0033"
    assert result.unrated_units == ()
