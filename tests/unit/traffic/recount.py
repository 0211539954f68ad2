"""A slow, separate count of written traffic: parse everything, trust nothing but the files.

Whatever the wrapping, it looks for records inside: it opens gzip, zlib and base64, parses strings
that are JSON, and walks through every object. Prices are decimal USD per million tokens.
"""

import base64
import binascii
import json
import zlib
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

USD_PER_MILLION: dict[str, tuple[str, str, str, str, str]] = {
    "regional anthropic.claude-sonnet-4-5": ("3.3", "16.5", "0.33", "4.125", "6.6"),
    "global anthropic.claude-sonnet-4-5": ("3", "15", "0.3", "3.75", "6"),
    "regional anthropic.claude-haiku-4-5": ("1.1", "5.5", "0.11", "1.375", "2.2"),
    "global anthropic.claude-haiku-4-5": ("1", "5", "0.1", "1.25", "2"),
    "regional anthropic.claude-opus-4-5": ("5.5", "27.5", "0.55", "6.875", "11"),
    "regional anthropic.claude-sonnet-4-2025": ("3", "15", "0.3", "3.75", "3.75"),
    "regional anthropic.claude-3-sonnet": ("3", "15", "0", "0", "0"),
    "regional anthropic.claude-3-haiku": ("0.25", "1.25", "0", "0", "0"),
    "regional amazon.nova-pro": ("0.8", "3.2", "0.2", "0", "0"),
    "regional amazon.nova-lite": ("0.06", "0.24", "0.015", "0", "0"),
    "regional amazon.nova-micro": ("0.035", "0.14", "0.00875", "0", "0"),
    "regional amazon.nova-2-lite": ("0.33", "2.75", "0", "0", "0"),
    "regional meta.llama3-3-70b": ("0.72", "0.72", "0", "0", "0"),
    "regional mistral.mistral-large-2402": ("4", "12", "0", "0", "0"),
    "regional amazon.titan-embed-text-v2": ("0.02", "0", "0", "0", "0"),
    "regional openai.gpt-oss-120b": ("0.15", "0.6", "0", "0", "0"),
}
USD_PER_IMAGE = {
    (1024, "standard"): "0.04",
    (1024, "premium"): "0.06",
    (2048, "standard"): "0.06",
    (2048, "premium"): "0.08",
}
TIERS = {"flex": Decimal("0.5"), "priority": Decimal("1.75")}
RESOLVED_PROFILE = "application-inference-profile/abcd1234efgh"


@dataclass
class Facts:
    """What the records of one call say, the best counts first."""

    rank: int = -1
    counts: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)
    model_id: str = ""
    arn: str = ""
    day: str = ""
    tier: str = ""
    extra_usd: Decimal = Decimal(0)

    def cost_usd(self) -> Decimal:
        """Price the call; what has no price costs nothing here."""
        tail = self.model_id.rsplit(":inference-profile/", 1)[-1]
        tail = tail.rsplit("foundation-model/", 1)[-1]
        routing = "global" if tail.startswith("global.") else "regional"
        name = tail.removeprefix("global.").removeprefix("us.").removeprefix("eu.")
        if self.model_id.endswith(RESOLVED_PROFILE):
            name = "anthropic.claude-sonnet-4-5"
        for key, prices in USD_PER_MILLION.items():
            if f"{routing} {name}".startswith(key):
                cost = sum(
                    (
                        Decimal(price) * count
                        for price, count in zip(prices, self.counts, strict=True)
                    ),
                    Decimal(0),
                )
                return cost / 10**6 * TIERS.get(self.tier, Decimal(1)) + self.extra_usd
        return self.extra_usd


@dataclass
class Recount:
    """Everything that the files add up to."""

    records: int = 0
    malformed: int = 0
    calls: dict[str, Facts] = field(default_factory=lambda: defaultdict(Facts))

    def cost_usd(self) -> Decimal:
        """Total cost."""
        return sum((call.cost_usd() for call in self.calls.values()), Decimal(0))


def recount(root: Path) -> Recount:
    """Count everything below a folder of logs."""
    result = Recount()
    for path in sorted(root.rglob("*")):
        if path.is_file() and "/data/" not in str(path):
            for line in opened(path.read_bytes()).splitlines():
                try:
                    document = json.loads(line)
                except ValueError:
                    result.malformed += 1
                    continue
                for record in walk(document):
                    count(result, record)
    return result


def opened(data: bytes) -> bytes:
    """Inflate gzip or zlib, as far as it goes; anything else is returned as it is."""
    try:
        return zlib.decompressobj(47).decompress(data)
    except zlib.error:
        return data


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Yield the records inside, however they are wrapped."""
    if isinstance(value, dict):
        if "schemaType" in value or value.get("eventSource") == "bedrock.amazonaws.com":
            yield value
        else:
            for part in value.values():
                yield from walk(part)
    elif isinstance(value, list):
        for part in value:
            yield from walk(part)
    elif isinstance(value, str):
        if value.startswith("{"):
            yield from walk(json.loads(value))
        elif value.startswith("H4sI"):
            try:
                yield from walk(json.loads(opened(base64.b64decode(value, validate=True))))
            except binascii.Error:
                return


def count(result: Recount, record: dict[str, Any]) -> None:
    """Add one record to what is known of its call."""
    if "schemaType" in record:
        if "requestId" not in record or not counts_are_numbers(record):
            result.malformed += 1
            return
        result.records += 1
        call = result.calls[record["requestId"]]
        merge_log(call, record)
    elif details := record.get("serviceEventDetails"):
        result.records += 1
        entries = details["AdditionalEventData"]["additionalEntries"]
        if isinstance(entries, list):
            entries = {entry["key"]: entry["value"] for entry in entries}
        merge_trail(result.calls[details["parentRequestId"]], record, entries)
    elif record["eventName"] != "ListFoundationModels":
        result.records += 1
        call = result.calls[record["requestID"]]
        merge_trail(call, record, record.get("additionalEventData") or {})


def counts_are_numbers(record: dict[str, Any]) -> bool:
    """Whether every count that is there is a number of things."""
    sides = (record["input"], record["output"])
    counts = [value for side in sides for key, value in side.items() if key.endswith("TokenCount")]
    return all(isinstance(value, int) and value >= 0 for value in counts)


def merge_log(call: Facts, record: dict[str, Any]) -> None:
    """Take what an invocation log says; a record without counts takes nothing away."""
    sent, received = record["input"], record["output"]
    call.model_id, call.arn = record["modelId"], record["identity"]["arn"]
    call.day = record["timestamp"][:10]
    body = received.get("outputBodyJson")
    if isinstance(body, dict) and "images" in body:
        config = sent["inputBodyJson"]["imageGenerationConfig"]
        price = USD_PER_IMAGE[config["width"], config["quality"]]
        call.extra_usd = len(body["images"]) * Decimal(price)
    if isinstance(body, dict) and "results" in body:
        call.extra_usd = Decimal("0.001")
    if isinstance(body, dict) and "serviceTier" in body:
        call.tier = body["serviceTier"]["type"]
    if "inputTokenCount" in sent:
        metrics = {**sent, **received}
    elif isinstance(body, list):
        metrics = body[-2]["amazon-bedrock-invocationMetrics"]
    else:
        return
    write = metrics.get("cacheWriteInputTokenCount", 0)
    hour_write = one_hour_writes(body)
    call.rank, call.counts = (
        2,
        (
            metrics["inputTokenCount"],
            metrics.get("outputTokenCount", 0),
            metrics.get("cacheReadInputTokenCount", 0),
            write - hour_write,
            hour_write,
        ),
    )


def one_hour_writes(body: Any) -> int:
    """Return the tokens written for one hour, in whichever way a body says so."""
    if isinstance(body, list):
        body = body[0]["message"]
    usage = body.get("usage", {}) if isinstance(body, dict) else {}
    if "cache_creation" in usage:
        return int(usage["cache_creation"]["ephemeral_1h_input_tokens"])
    details = usage.get("cacheDetails", [])
    return sum(detail["inputTokens"] for detail in details if detail["ttl"] == "1h")


def merge_trail(call: Facts, record: dict[str, Any], entries: dict[str, Any]) -> None:
    """Take what CloudTrail says where no log said better."""
    if not call.model_id:
        parameters = record.get("requestParameters") or {}
        resources = record.get("resources") or [{}]
        call.model_id = parameters.get("modelId") or resources[0]["ARN"]
        call.arn, call.day = record["userIdentity"]["arn"], record["eventTime"][:10]
    if "inputTokens" in entries and call.rank < 1:
        call.rank, call.counts = 1, (entries["inputTokens"], entries["outputTokens"], 0, 0, 0)
