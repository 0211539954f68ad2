"""Made-up calls, prices and ledgers that the tests of the books are written with."""

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, ParamSpec

from worker.core.batch import Batch, BatchBuilder
from worker.core.catalogue import Catalogue
from worker.core.catalogue_text import parse_models, parse_rates, parse_tiers
from worker.core.evidence import (
    NO_COUNTS,
    Counts,
    Evidence,
    EvidenceRank,
    Facts,
    Observation,
    SourceRank,
    call_key,
    descriptive_rank,
)
from worker.core.posting import Poster
from worker.core.registry import EMPTY_REGISTRY, Registry
from worker.core.report import DIMENSIONS, report_document
from worker.pipeline import Window
from worker.ports import Committed, Ledger

ACCOUNT = "111122223333"
REGION = "us-east-1"
PRO = "amazon.nova-pro-v1:0"
MICRO = "amazon.nova-micro-v1:0"
SONNET = "anthropic.claude-sonnet-4-5-20250929-v1:0"
EMBED = "amazon.titan-embed-text-v2:0"
CANVAS = "amazon.nova-canvas-v1:0"
GPT = "openai.gpt-oss-120b-1:0"
UNLISTED = "acme.unheard-of-v1:0"
NOON = 1_790_856_000_000
"""2026-10-01T12:00:00Z."""
DAY = 86_400_000
HOUR = 3_600_000

RATES = f"""model,routing,unit,usd
{PRO},*,input_tokens,0.8
{PRO},*,output_tokens,3.2
{PRO},*,cache_read_tokens,0.2
{PRO},*,cache_write_5m_tokens,0
{MICRO},*,input_tokens,0.035
{MICRO},*,output_tokens,0.14
{SONNET},regional,input_tokens,3.3
{SONNET},regional,output_tokens,16.5
{SONNET},regional,cache_read_tokens,0.33
{SONNET},regional,cache_write_5m_tokens,4.125
{SONNET},regional,cache_write_1h_tokens,6.6
{SONNET},global,input_tokens,3
{SONNET},global,output_tokens,15
{EMBED},*,input_tokens,0.02
{CANVAS},*,images/1024x1024/standard,0.04
{GPT},*,input_tokens,0.15
{GPT},*,output_tokens,0.6
{GPT},*,cache_read_tokens,0.015
"""
"""Prices of the tests: USD per million tokens, and per image."""

MODELS = f"""model,kind,reason,aliases
{PRO},text,,
{MICRO},text,,
{SONNET},text,,
{GPT},text,,
{EMBED},embedding,,
{CANVAS},image,,
acme.gone-v1:0,text,withdrawn before prices were published,
"""
TIERS = "tier,multiplier,source\nflex,0.5,test\npriority,1.75,test\nbatch,0.5,test\n"


Arguments = ParamSpec("Arguments")


def asynchronous(
    test: Callable[Arguments, Coroutine[Any, Any, None]],
) -> Callable[Arguments, None]:
    """Run a test that is a coroutine."""

    @functools.wraps(test)
    def run(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        asyncio.run(test(*arguments, **named))

    return run


def catalogue(override: str = "") -> Catalogue:
    rows = list(parse_rates(RATES, "rates.csv"))
    if override:
        rows += parse_rates(override, "override.csv", override=True)
    return Catalogue(rows, parse_models(MODELS, "models.csv"), parse_tiers(TIERS, "tiers.csv"))


def poster(override: str = "", registry: Registry = EMPTY_REGISTRY) -> Poster:
    return Poster(catalogue(override), registry)


def request_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-{number:012x}"


def facts(
    model: str = PRO,
    *,
    source: SourceRank = SourceRank.LOG,
    rank: EvidenceRank = EvidenceRank.METERED,
    user: str = "alice",
    **more: Any,
) -> Facts:
    described = descriptive_rank(source, rank)
    fields: dict[str, Any] = {
        "region": REGION,
        "model_id": model,
        "operation": "Converse",
        "identity_arn": f"arn:aws:iam::{ACCOUNT}:user/{user}" if user else "",
    }
    fields.update(more)
    ranked = ("region", "model_id", "operation", "identity_arn", "service_tier", "error_code")
    for name in ranked:
        if fields.get(name):
            fields[f"{name}_rank"] = described
    return Facts(account=ACCOUNT, **fields)


def evidence(
    counts: Counts = NO_COUNTS,
    *,
    model: str = PRO,
    at_ms: int = NOON,
    source: SourceRank = SourceRank.LOG,
    rank: EvidenceRank | None = None,
    conflicting: bool = False,
    **more: Any,
) -> Evidence:
    if rank is None:
        rank = EvidenceRank.SIGHTING if counts == NO_COUNTS else EvidenceRank.METERED
    return Evidence(
        facts=facts(model, source=source, rank=rank, **more),
        occurred_at_ms=at_ms,
        occurred_at_rank=descriptive_rank(source, rank),
        rank=int(rank),
        counts=counts,
        conflicting=conflicting,
    )


def call(number: int, counts: Counts = NO_COUNTS, **more: Any) -> Observation:
    """One record of call `number`; arguments as for `evidence`."""
    return Observation(call_key("aws", ACCOUNT, request_id(number)), evidence(counts, **more))


def fold(poster_: Poster, observations: Iterable[Observation]) -> Batch:
    builder = BatchBuilder(poster_)
    for observation in observations:
        builder.add(observation)
    return builder.build()


async def book(
    ledger: Ledger, poster_: Poster, *observations: Observation, one_by_one: bool = False
) -> list[Committed]:
    groups = [[one] for one in observations] if one_by_one else [list(observations)]
    return [await ledger.commit(fold(poster_, group), poster_) for group in groups]


async def snapshot(ledger: Ledger) -> dict[Any, Any]:
    """Every balance of a ledger, comparable."""
    pairs = await ledger.balances()
    found = dict(pairs)
    assert len(found) == len(pairs)
    return found


async def entries(ledger: Ledger) -> dict[str, Any]:
    return {entry.key: entry async for chunk in ledger.scan() for entry in chunk}


async def documents(ledger: Ledger, window: Window | None = None) -> str:
    """All reports of a ledger as one JSON text."""
    from worker.books import report  # noqa: PLC0415 - keeps this module light for the core's tests

    reports = [await report(ledger, by, window or Window()) for by in DIMENSIONS]
    return json.dumps([report_document(one) for one in reports])
