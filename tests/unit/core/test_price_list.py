from importlib import resources
from typing import Any

import msgspec
import pytest

from tests.price_products import MARKETPLACE, SERVICE, marketplace, product
from worker.adapters.catalogue_files import load_catalogue
from worker.adapters.price_list import MAP_FILE, load_price_map
from worker.core.catalogue import Catalogue
from worker.core.catalogue_text import parse_instant
from worker.core.money import format_atto_usd
from worker.core.price_list import Quote, Reading, read_products
from worker.core.price_list_map import PriceListMap, parse_map

NOVA_PRO = "amazon.nova-pro-v1:0"
NOVA_LITE = "amazon.nova-lite-v1:0"
NOVA_2_LITE = "amazon.nova-2-lite-v1:0"
SONNET_4 = "anthropic.claude-sonnet-4-20250514-v1:0"
SONNET_4_5 = "anthropic.claude-sonnet-4-5-20250929-v1:0"
TERRA = "openai.gpt-5.6-terra"

INPUT = "Input tokens"
READ = "Prompt cache read input tokens"
WRITE = "Prompt cache write input tokens"


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture(scope="module")
def price_map() -> PriceListMap:
    return load_price_map()


def read(catalogue: Catalogue, price_map: PriceListMap, *documents: object) -> Reading:
    return read_products(documents, price_map, catalogue)


def said(quote: Quote) -> tuple[str, str, str, str, int, str]:
    """What a quote is for, and its price of a million tokens or of one image."""
    per = 10**6 if quote.unit.endswith("_tokens") else 1
    return (
        quote.model,
        quote.routing,
        quote.tier,
        quote.unit,
        quote.above_input_tokens,
        format_atto_usd(quote.rate_atto * per),
    )


def nova(usage: str, usd: str, **attributes: str) -> dict[str, Any]:
    return product("S1", usd, model="Nova Pro", usagetype=f"USE1-{usage}", **attributes)


def sonnet(usage: str, usd: str) -> dict[str, Any]:
    return marketplace("S1", usd, "Claude Sonnet 4.5", usage)


@pytest.mark.parametrize(
    "document, expected",
    [
        # Amazon's own models: per thousand.
        (
            nova("NovaPro-input-tokens", "0.0008000000", inferenceType=INPUT),
            (NOVA_PRO, "regional", "standard", "input_tokens", 0, "0.8"),
        ),
        (
            nova("NovaPro-input-tokens-batch", "0.0004", inferenceType=INPUT),
            (NOVA_PRO, "regional", "batch", "input_tokens", 0, "0.4"),
        ),
        (
            nova("NovaPro-input-tokens", "0.0004", inferenceType=INPUT, feature="Batch Inference"),
            (NOVA_PRO, "regional", "batch", "input_tokens", 0, "0.4"),
        ),
        (
            nova("NovaPro-input-tokens-flex", "0.0004", inferenceType="Input tokens flex"),
            (NOVA_PRO, "regional", "flex", "input_tokens", 0, "0.4"),
        ),
        (
            nova("NovaPro-output-tokens-priority", "0.0056", feature="On-demand Inference"),
            (NOVA_PRO, "regional", "priority", "output_tokens", 0, "5.6"),
        ),
        (
            nova("NovaPro-cache-read-input-token-count", "0.0002", inferenceType=READ),
            (NOVA_PRO, "regional", "standard", "cache_read_tokens", 0, "0.2"),
        ),
        (
            nova("NovaPro-cache-write-input-token-count", "0.0000000000", inferenceType=WRITE),
            (NOVA_PRO, "regional", "standard", "cache_write_5m_tokens", 0, "0"),
        ),
        (
            product(
                "S1",
                "0.0005250000",
                model="Nova 2.0 Lite",
                usagetype="USE1-Nova2.0Lite-input-tokens-priority-cross-region-global",
            ),
            (NOVA_2_LITE, "global", "priority", "input_tokens", 0, "0.525"),
        ),
        (
            product(
                "S1", "0.0003", model="Nova 2.0 Lite", inferenceType=f"Cross-region global {INPUT}"
            ),
            (NOVA_2_LITE, "global", "standard", "input_tokens", 0, "0.3"),
        ),
        (
            product("S1", "0.0000600000", usagetype="NovaLite-input-tokens"),
            (NOVA_LITE, "regional", "standard", "input_tokens", 0, "0.06"),
        ),
        # The id stands in the usage type; the unit is read, not assumed.
        (
            product(
                "S1",
                "0.0006000000",
                inferenceType="Input tokens flex",
                usagetype="APN1-zai.glm5-mantle-input-tokens-flex",
                service_tier="flex",
            ),
            ("zai.glm-5", "regional", "flex", "input_tokens", 0, "0.6"),
        ),
        (
            product(
                "S1",
                "1.25",
                unit="1M tokens",
                model="xai.grok-4.3",
                usagetype="USE1-xai.grok-4.3-mantle-input-tokens-standard",
            ),
            ("xai.grok-4.3", "regional", "standard", "input_tokens", 0, "1.25"),
        ),
        (
            product(
                "S1",
                "0.003",
                service=SERVICE,
                usagetype="USE1-Claude4Sonnet-input-tokens-cross-region-global",
            ),
            (SONNET_4, "global", "standard", "input_tokens", 0, "3"),
        ),
        # Marketplace models: per million, in "Units".
        (
            sonnet("USE1-MP:USE1_InputTokenCount-Units", "3.3000000000"),
            (SONNET_4_5, "regional", "standard", "input_tokens", 0, "3.3"),
        ),
        (
            sonnet("USE1-MP:USE1_OutputTokenCount_Global-Units", "15"),
            (SONNET_4_5, "global", "standard", "output_tokens", 0, "15"),
        ),
        (
            sonnet("USE1-MP:USE1_InputTokenCount_Global_Batch-Units", "1.5"),
            (SONNET_4_5, "global", "batch", "input_tokens", 0, "1.5"),
        ),
        (
            sonnet("USE1-MP:USE1_CacheReadInputTokenCount-Units", "0.33"),
            (SONNET_4_5, "regional", "standard", "cache_read_tokens", 0, "0.33"),
        ),
        (
            sonnet("USE1-MP:USE1_CacheWriteInputTokenCount_Global-Units", "3.75"),
            (SONNET_4_5, "global", "standard", "cache_write_5m_tokens", 0, "3.75"),
        ),
        (
            sonnet("USE1-MP:USE1_CacheWrite1hInputTokenCount-Units", "6.6"),
            (SONNET_4_5, "regional", "standard", "cache_write_1h_tokens", 0, "6.6"),
        ),
        (
            sonnet("USE1_input_tokens_standard-Units", "3.3"),
            (SONNET_4_5, "regional", "standard", "input_tokens", 0, "3.3"),
        ),
        (
            sonnet("USE1_input_tokens_global_standard-Units", "3"),
            (SONNET_4_5, "global", "standard", "input_tokens", 0, "3"),
        ),
        (
            sonnet("EU-MP:EU_cache_write_tokens_1h_global_standard-Units", "6"),
            (SONNET_4_5, "global", "standard", "cache_write_1h_tokens", 0, "6"),
        ),
        (
            marketplace(
                "S1", "4.4", "OpenAI GPT-5.6 Terra", "MP:USE1_input_tokens_long_ctx_standard-Units"
            ),
            (TERRA, "regional", "standard", "input_tokens", 272_000, "4.4"),
        ),
        (
            product(
                "S1",
                "3.0000000000",
                service=MARKETPLACE,
                unit="Units",
                description="AWS Marketplace software usage|x|Million Input Tokens Regional",
                servicename="Claude Sonnet 4 (Amazon Bedrock Edition)",
            ),
            (SONNET_4, "regional", "standard", "input_tokens", 0, "3"),
        ),
        # Images.
        (
            product(
                "S1", "0.04", unit="image", model="Nova Canvas", inferenceType="T2I 1024 Standard"
            ),
            (
                "amazon.nova-canvas-v1:0",
                "regional",
                "standard",
                "images/1024x1024/standard",
                0,
                "0.04",
            ),
        ),
        (
            product(
                "S1",
                "0.01",
                unit="image",
                titanModel="Titan Image Generator V2",
                inferenceType="T2I 512 Premium",
            ),
            (
                "amazon.titan-image-generator-v2:0",
                "regional",
                "standard",
                "images/512x512/premium",
                0,
                "0.01",
            ),
        ),
    ],
)
def test_a_product_becomes_the_rate_that_it_is(
    document: dict[str, Any],
    expected: tuple[object, ...],
    catalogue: Catalogue,
    price_map: PriceListMap,
) -> None:
    reading = read(catalogue, price_map, document)
    assert not reading.unknown
    (quote,) = reading.quotes
    assert said(quote) == expected
    assert quote.region == "us-east-1"
    assert quote.skus == ("S1",)
    assert quote.effective_from_ms == parse_instant("2026-06-01")


@pytest.mark.parametrize(
    "document, reason",
    [
        (
            product("S1", "0.066", unit="1K TPM Hour", usagetype="USE1-MP:USE1_Tokens-Units"),
            "committed tokens",
        ),
        (sonnet("APS7-MP:APS7_Reserved_1Month_InputTPM_Geo-Units", "1"), "committed tokens"),
        (
            sonnet("USE1-MP:USE1_ProvisionedThroughput_NoCommit_ModelUnits_Usage-Units", "1"),
            "billed by the hour",
        ),
        (nova("NovaPro-Customization-Training", "0.008"), "customisation"),
        (nova("NovaPro-input-tokens-custom-model", "0.0008", inferenceType=INPUT), "customisation"),
        (nova("NovaPro-Customization-Storage", "1.95", unit="Model/month"), "customisation"),
        (product("S1", "1.95", unit="GB-Mo", usagetype="USE1-Models"), "storage"),
        (
            product("S1", "0.00015", usagetype="USE1-Guardrail-TopicPolicyUnitsConsumed"),
            "guardrail units",
        ),
        (
            product("S1", "0.06", unit="image", inferenceType="Custom T2I 1024 Standard"),
            "customisation",
        ),
        (
            product("S1", "0.08", unit="seconds", usagetype="USE1-NovaReel-T2V"),
            "billed by time",
        ),
        (nova("NovaPro-input-image-token-count", "0.001"), "tokens of images"),
    ],
)
def test_what_is_no_rate_of_a_call_is_left_out_for_a_reason(
    document: dict[str, Any], reason: str, catalogue: Catalogue, price_map: PriceListMap
) -> None:
    reading = read(catalogue, price_map, document)
    assert not reading.unknown
    assert not reading.quotes
    (skipped,) = reading.skipped
    assert reason in skipped.reason


def without(document: dict[str, Any], *path: str) -> dict[str, Any]:
    """The document with the innermost of a path of keys taken out; `*` is any key."""
    copied: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    place = copied
    for key in path[:-1]:
        place = next(iter(place.values())) if key == "*" else place[key]
    del place[path[-1]]
    return copied


PRICED = nova("NovaPro-input-tokens", "0.0008", inferenceType=INPUT)


@pytest.mark.parametrize(
    "document, problem",
    [
        ("text", "is no product with a SKU"),
        ({}, "is no product with a SKU"),
        (product("S1", "0.0012", service_tier="standard"), "has neither usagetype"),
        (product("S1", "1", usagetype="USE1-Nova9-input-tokens"), "no model is named 'nova9'"),
        (
            product("S1", "1", model="Nova Pro", usagetype="USE1-NovaProX-input-tokens"),
            "no model is named 'novaprox'",
        ),
        (nova("NovaLite-input-tokens", "0.0008"), "names more than one model"),
        (product("S1", "1", inferenceType=INPUT), "names no model"),
        (nova("NovaPro-input-tokens-turbo", "0.0008"), "'turbo' is not in the map"),
        (nova("NovaPro-input-tokens", "1", inferenceType="Deep input tokens"), "'deep' is not in"),
        (nova("NovaPro-input-tokens", "1", feature="Quantum Inference"), "feature 'Quantum"),
        (nova("NovaPro-input-tokens", "1", service_tier="gold"), "service_tier 'gold'"),
        (nova("NovaPro-thoughts", "1"), "counts nothing that is in the map"),
        (nova("NovaPro-input-tokens", "1", inferenceType="Output tokens"), "different units"),
        (nova("NovaPro-input-tokens-flex", "1", feature="Batch Inference"), "more than one tier"),
        (nova("NovaPro-input-tokens-long-ctx", "1"), "has 0 thresholds of amazon.nova-pro"),
        (nova("NovaPro-input-tokens", "0.0008", unit="10K tokens"), "a price per '10K tokens'"),
        (nova("NovaPro-input-tokens", "0.0008", unit="image"), "a price per 'image'"),
        (
            nova("NovaPro-input-tokens", "0.8", unit="Units", description="a|b|Thousand Tokens"),
            "says no million",
        ),
        (nova("NovaPro-input-tokens", "0"), "a price of $0 of input_tokens"),
        (nova("NovaPro-input-tokens", "-1"), "a price below $0"),
        (nova("NovaPro-input-tokens", "8E-4"), "price: expected a decimal number"),
        (nova("NovaPro-input-tokens", "1", effective="soon"), "effectiveDate 'soon' is no date"),
        (nova("NovaPro-input-tokens", "1", region="Mars"), "regionCode 'Mars' is no AWS Region"),
        (without(PRICED, "product", "attributes", "regionCode"), "regionCode ''"),
        (without(PRICED, "terms", "OnDemand"), "has 0 on-demand offers"),
        (
            without(PRICED, "terms", "OnDemand", "*", "priceDimensions", "*", "pricePerUnit"),
            "has no price in USD",
        ),
    ],
)
def test_what_the_map_does_not_say_is_unknown_and_not_guessed(
    document: object, problem: str, catalogue: Catalogue, price_map: PriceListMap
) -> None:
    reading = read(catalogue, price_map, document)
    assert not reading.quotes
    (unknown,) = reading.unknown
    assert problem in unknown.problem


def test_an_unknown_product_says_all_about_itself(
    catalogue: Catalogue, price_map: PriceListMap
) -> None:
    document = nova("NovaPro-turbo-tokens", "1", description="$1 per 1K turbo tokens")
    (unknown,) = read(catalogue, price_map, document).unknown
    assert unknown.sku == "S1"
    assert dict(unknown.fields) == {
        "regionCode": "us-east-1",
        "servicecode": "AmazonBedrock",
        "model": "Nova Pro",
        "usagetype": "USE1-NovaPro-turbo-tokens",
        "sku": "S1",
        "unit": "1K tokens",
        "description": "$1 per 1K turbo tokens",
    }


def test_a_price_in_brackets_is_unknown(catalogue: Catalogue, price_map: PriceListMap) -> None:
    document: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(PRICED))
    (term,) = document["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    term["priceDimensions"]["second"] = dimension | {"beginRange": "1000"}
    (unknown,) = read(catalogue, price_map, document).unknown
    assert unknown.problem == "has 2 price brackets, expected one from 0 on"


def test_products_that_agree_are_one_rate_since_the_earlier_date(
    catalogue: Catalogue, price_map: PriceListMap
) -> None:
    usage = "USE1-NovaPro-input-tokens"
    reading = read(
        catalogue,
        price_map,
        product("S2", "0.0008", usagetype=usage, effective="2026-05-01T00:00:00Z"),
        product("S1", "0.8", usagetype=usage, unit="1M tokens"),
        product("S1", "0.8", usagetype=usage, unit="1M tokens"),
    )
    (quote,) = reading.quotes
    assert quote.skus == ("S1", "S2")
    assert quote.effective_from_ms == parse_instant("2026-05-01")
    assert [skipped.reason for skipped in reading.skipped] == ["listed twice"]


def test_products_that_disagree_are_unknown(catalogue: Catalogue, price_map: PriceListMap) -> None:
    usage = "USE1-NovaPro-input-tokens"
    reading = read(
        catalogue,
        price_map,
        product("S1", "0.0008", usagetype=usage),
        product("S2", "0.0009", usagetype=usage),
    )
    assert not reading.quotes
    expected = "different prices of one rate: S1 $0.0000008, S2 $0.0000009 a unit"
    assert [(item.sku, item.problem) for item in reading.unknown] == [
        ("S1", expected),
        ("S2", expected),
    ]


def test_the_runtime_endpoint_goes_before_mantle(
    catalogue: Catalogue, price_map: PriceListMap
) -> None:
    reading = read(
        catalogue,
        price_map,
        product("S1", "0.0002", usagetype="USE1-qwen.qwen3-32b-mantle-input-tokens-standard"),
        product("S2", "0.00015", usagetype="USE1-Qwen3-32B-input-tokens"),
    )
    (quote,) = reading.quotes
    assert said(quote)[-1] == "0.15"
    assert quote.skus == ("S2",)
    (skipped,) = reading.skipped
    assert skipped.sku == "S1"
    assert "bedrock-mantle" in skipped.reason


def test_an_operators_map_explains_what_the_packaged_one_does_not(catalogue: Catalogue) -> None:
    own = """
    [names]
    "Nova Nine" = "acme.nova-nine-v1:0"
    [dimensions]
    "thought tokens" = "output_tokens"
    [[skip]]
    field = "sku"
    pattern = "^S3$"
    reason = "seen, and not ours"
    [[row]]
    match = { sku = "S4", service_tier = "standard" }
    model = "zai.glm-5"
    unit = "output_tokens"
    """
    packaged = load_price_map()
    assert "novanine" not in packaged.names
    text = resources.files("worker").joinpath(MAP_FILE).read_text(encoding="utf-8")
    price_map = parse_map([(own, "own.toml"), (text, "packaged")])
    reading = read(
        catalogue,
        price_map,
        product("S1", "0.001", usagetype="USE1-NovaNine-input-tokens"),
        product("S2", "0.002", usagetype="USE1-NovaPro-thought-tokens-batch"),
        product("S3", "0.003"),
        product("S4", "0.0012", service_tier="standard"),
    )
    assert not reading.unknown
    assert [said(quote) for quote in reading.quotes] == [
        ("acme.nova-nine-v1:0", "regional", "standard", "input_tokens", 0, "1"),
        (NOVA_PRO, "regional", "batch", "output_tokens", 0, "2"),
        ("zai.glm-5", "regional", "standard", "output_tokens", 0, "1.2"),
    ]
    assert [skipped.reason for skipped in reading.skipped] == ["seen, and not ours"]
