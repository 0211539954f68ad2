"""Reading the two public price tables into one shape: listings with exact prices per unit."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

Json = dict[str, Any]

GEOGRAPHIES = ("us-gov", "us", "eu", "apac", "jp", "au", "ca", "in", "global")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One price as a table lists it.

    Attributes:
        table: `litellm` or `genai-prices`.
        id: The table's own id.
        model: The id without table prefix, Region and geography.
        geography: `us`, `eu`, ..., `global`, `regional`, or `` for a bare id.
        region: AWS Region of the listing, or ``.
        tier: Service tier.
        unit: What is counted.
        above: Long-context threshold in tokens, 0 for the base price.
        usd: USD per unit.
        since: First day of the price, or None.
        until: First day after it, or None.
    """

    table: str
    id: str
    model: str
    geography: str
    region: str
    tier: str
    unit: str
    above: int
    usd: Decimal
    since: date | None = None
    until: date | None = None


LITELLM_TOKEN_UNITS = {
    "input_cost_per_token": "input_tokens",
    "output_cost_per_token": "output_tokens",
    "cache_read_input_token_cost": "cache_read_tokens",
    "cache_creation_input_token_cost": "cache_write_5m_tokens",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h_tokens",
}
LITELLM_OTHER_UNITS = {
    "output_cost_per_image": "images",
    "input_cost_per_image": "input_images",
    "input_cost_per_audio_token": "audio_input_tokens",
    "output_cost_per_audio_token": "audio_output_tokens",
    "input_cost_per_image_token": "image_input_tokens",
    "input_cost_per_video_per_second": "video_seconds",
    "input_cost_per_audio_per_second": "audio_seconds",
}
LITELLM_GUARDRAIL_UNITS = {
    "automatedReasoningPolicyUnits": "guardrail_automated_reasoning_units",
    "contentPolicyImageUnits": "guardrail_content_image_units",
    "contentPolicyUnits": "guardrail_content_units",
    "contextualGroundingPolicyUnits": "guardrail_contextual_grounding_units",
    "sensitiveInformationPolicyFreeUnits": "guardrail_sensitive_information_free_units",
    "sensitiveInformationPolicyUnits": "guardrail_sensitive_information_units",
    "topicPolicyUnits": "guardrail_topic_units",
    "wordPolicyUnits": "guardrail_word_units",
}
LITELLM_TIERS = {
    "": "standard",
    "_batches": "batch",
    "_flex": "flex",
    "_priority": "priority",
    "_ultrafast": "ultrafast",
}
LITELLM_QUALITIES = {"50-steps": "standard", "max-steps": "premium"}

_TOKEN_FIELD = re.compile(
    rf"({'|'.join(sorted(LITELLM_TOKEN_UNITS, key=len, reverse=True))})"
    r"(?:_above_([0-9]+)k_tokens)?(_batches|_flex|_priority|_ultrafast)?"
)
_REGION = re.compile(r"[a-z]{2}(-gov)?-[a-z]+-[0-9]")
_IMAGE_KEY = re.compile(r"([0-9a-z]+)-x-([0-9a-z]+)/([a-z0-9]+-steps)/")


def read_litellm(path: Path) -> dict[str, Json]:
    """The Bedrock entries of litellm's model price file, by its own id."""
    table = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    return {
        identifier: entry
        for identifier, entry in table.items()
        if isinstance(entry, dict) and "bedrock" in str(entry.get("litellm_provider", ""))
    }


def litellm_listings(table: dict[str, Json]) -> Iterator[Listing]:
    """Every price per unit of the table; prices of zero for units that are not billed are left."""
    for identifier, entry in table.items():
        model, geography, region, variant = split_litellm_id(identifier)
        for tier, unit, above, usd in _litellm_prices(entry):
            yield Listing(
                table="litellm",
                id=identifier,
                model=model,
                geography=geography,
                region=region,
                tier=tier,
                unit=unit + variant if unit == "images" else unit,
                above=above,
                usd=usd,
            )


def split_litellm_id(identifier: str) -> tuple[str, str, str, str]:
    """(model, geography, Region, image variant) of an id of litellm's table."""
    variant = ""
    match = _IMAGE_KEY.match(identifier)
    if match:
        # "max" stands for every larger size of a model that has two sizes.
        size = "1024" if match[1] == "max" else match[1]
        variant = f"/{size}x{size}/{LITELLM_QUALITIES[match[3]]}"
        identifier = identifier[match.end() :]
    for prefix in ("bedrock/", "bedrock_mantle/"):
        identifier = identifier.removeprefix(prefix)
    head, _, tail = identifier.partition("/")
    region = head if _REGION.fullmatch(head) else ""
    if region or head == "invoke":
        identifier = tail
    geography, model = split_geography(identifier)
    return model, geography, region, variant


def split_geography(identifier: str) -> tuple[str, str]:
    """("us", "amazon.nova-pro-v1:0") of `us.amazon.nova-pro-v1:0`."""
    head, dot, tail = identifier.partition(".")
    if dot and head in GEOGRAPHIES:
        return head, tail
    return "", identifier


def _litellm_prices(entry: Json) -> Iterator[tuple[str, str, int, Decimal]]:
    embeds = entry.get("mode") in ("embedding", "rerank")
    for field, value in entry.items():
        if field == "guardrail_cost_per_unit":
            for name, usd in value.items():
                yield "standard", LITELLM_GUARDRAIL_UNITS[name], 0, Decimal(usd)
            continue
        match = _TOKEN_FIELD.fullmatch(field)
        if match:
            unit, above = LITELLM_TOKEN_UNITS[match[1]], int(match[2] or 0) * 1000
            if Decimal(value) or not embeds:
                yield LITELLM_TIERS[match[3] or ""], unit, above, Decimal(value)
        elif field in LITELLM_OTHER_UNITS and value:
            yield "standard", LITELLM_OTHER_UNITS[field], 0, Decimal(value)
        elif field == "input_cost_per_query":
            unit = "search_units" if entry["mode"] == "rerank" else "requests"
            yield "standard", unit, 0, Decimal(value)


GENAI_UNITS = {
    "input_mtok": "input_tokens",
    "output_mtok": "output_tokens",
    "cache_read_mtok": "cache_read_tokens",
    "cache_write_mtok": "cache_write_5m_tokens",
    "cache_write_1h_mtok": "cache_write_1h_tokens",
    "input_audio_mtok": "audio_input_tokens",
    "output_audio_mtok": "audio_output_tokens",
}


def read_genai(path: Path) -> list[Json]:
    """The models of the `aws` provider in genai-prices' data module.

    The module is read as a syntax tree and never executed: calls become dictionaries.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Provider":
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            identifier = keywords["id"]
            if isinstance(identifier, ast.Constant) and identifier.value == "aws":
                models: list[Json] = _literal(keywords["models"])
                return models
    message = f"{path}: no provider aws"
    raise SystemExit(message)


def _literal(node: ast.expr) -> Any:  # noqa: ANN401
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List):
        return [_literal(element) for element in node.elts]
    if isinstance(node, ast.Dict):
        keys = [_literal(key) for key in node.keys if key is not None]
        return dict(zip(keys, map(_literal, node.values), strict=True))
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
        arguments = [_literal(argument) for argument in node.args]
        if name == "Decimal":
            return Decimal(arguments[0])
        if name == "date":
            return date(*arguments)
        fields = {keyword.arg: _literal(keyword.value) for keyword in node.keywords}
        return {"": name, **fields}
    message = f"unexpected syntax at line {node.lineno}: {ast.unparse(node)[:80]}"
    raise SystemExit(message)


def genai_listings(models: list[Json]) -> Iterator[Listing]:
    """Every price of the table, with the days between which it is dated."""
    for entry in models:
        head, dot, tail = entry["id"].partition(".")
        known = dot and head in ("regional", "global")
        geography, model = (head, tail) if known else ("", entry["id"])
        prices = entry["prices"]
        phases = prices if isinstance(prices, list) else [{"prices": prices}]
        starts = [(phase.get("constraint") or {}).get("start_date") for phase in phases]
        for phase, since, until in zip(phases, starts, [*starts[1:], None], strict=True):
            for field, price in phase["prices"].items():
                if not field or price is None:
                    continue
                for above, mtok in _brackets(price):
                    yield Listing(
                        table="genai-prices",
                        id=entry["id"],
                        model=model,
                        geography=geography,
                        region="",
                        tier="standard",
                        unit=GENAI_UNITS[field],
                        above=above,
                        usd=mtok / 1_000_000,
                        since=since,
                        until=until,
                    )


def _brackets(price: Any) -> Iterator[tuple[int, Decimal]]:  # noqa: ANN401
    if isinstance(price, Decimal):
        yield 0, price
        return
    yield 0, price["base"]
    for tier in price["tiers"]:
        yield tier["start"], tier["price"]
