"""Token counts in model bodies: one reader for the usage blocks of every family.

Each family says the same in its own words, and not all mean the same by "input". Converse and
Claude exclude cached tokens from it; the OpenAI-style blocks include them and name the part
(`*_details.cached_tokens`). What leaves this module is disjoint.
"""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from worker.core.decoders import fields
from worker.core.decoders.fields import Quantity
from worker.core.evidence import QUANTITY_MAX

ABSENT: Final = msgspec.Raw()
"""A JSON value that is not there."""

_T = TypeVar("_T")


class Usage(msgspec.Struct, gc=False):
    """Disjoint token counts as a body reports them; None where it says nothing.

    Attributes:
        input_tokens: Input, without cached tokens.
        output_tokens: Output.
        cache_read_tokens: Read from the cache.
        cache_write_tokens: Written to the cache, whatever the time to live.
        cache_write_5m_tokens: Written with five minutes to live.
        cache_write_1h_tokens: Written with one hour to live.
        inclusive_input_tokens: Input as the block gave it, where that includes cached tokens.
        service_tier: As the catalogue names it; empty if the block does not tell.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_write_5m_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    inclusive_input_tokens: int | None = None
    service_tier: str = ""

    def absorb(self, later: "Usage") -> None:
        """Take over what a later part of the same stream says.

        Output counts are cumulative, so the last one stands. The other counts are final when
        first reported; some streams repeat them as zero at the end, which must not erase them.
        """
        if later.output_tokens is not None:
            self.output_tokens = later.output_tokens
        # A zero gives way (`or`), but is kept where nothing was known.
        self.input_tokens = later.input_tokens or _either(self.input_tokens, later.input_tokens)
        if later.cache_read_tokens is not None:
            self.cache_read_tokens = later.cache_read_tokens or self.cache_read_tokens or 0
        if later.cache_write_tokens is not None:
            self.cache_write_tokens = later.cache_write_tokens or self.cache_write_tokens or 0
        if later.cache_write_5m_tokens or later.cache_write_1h_tokens:
            self.cache_write_5m_tokens = later.cache_write_5m_tokens
            self.cache_write_1h_tokens = later.cache_write_1h_tokens
        self.inclusive_input_tokens = later.inclusive_input_tokens or self.inclusive_input_tokens
        self.service_tier = later.service_tier or self.service_tier

    def is_empty(self) -> bool:
        """Whether nothing at all is known."""
        return self == _EMPTY


_EMPTY: Final = Usage()


class _CacheDetail(msgspec.Struct, gc=False, rename="camel"):
    ttl: str | None = None
    input_tokens: Quantity | None = None


class _CacheCreation(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: Quantity | None = None
    ephemeral_1h_input_tokens: Quantity | None = None


class _Included(msgspec.Struct, gc=False):
    """`prompt_tokens_details` and `input_tokens_details`: parts of the input count."""

    cached_tokens: Quantity | None = None


class BilledUnits(msgspec.Struct, gc=False):
    """Cohere's `billed_units`."""

    input_tokens: Quantity | None = None
    output_tokens: Quantity | None = None
    search_units: Quantity | None = None
    images: Quantity | None = None


class _Block(msgspec.Struct, gc=False):
    """A usage block. The names of the families do not clash, so one decode reads any of them.

    In this order: Claude, OpenAI (Chat Completions and Responses) and those that follow it,
    Cohere; Converse and Nova (AWS documentation: "TokenUsage", "CacheDetail").
    """

    input_tokens: Quantity | None = None
    output_tokens: Quantity | None = None
    cache_read_input_tokens: Quantity | None = None
    cache_creation_input_tokens: Quantity | None = None
    cache_creation: _CacheCreation | None = None
    prompt_tokens: Quantity | None = None
    completion_tokens: Quantity | None = None
    prompt_tokens_details: _Included | None = None
    input_tokens_details: _Included | None = None
    billed_units: BilledUnits | None = None
    service_tier: msgspec.Raw = ABSENT
    input: Quantity | None = msgspec.field(name="inputTokens", default=None)
    output: Quantity | None = msgspec.field(name="outputTokens", default=None)
    cache_read: Quantity | None = msgspec.field(name="cacheReadInputTokens", default=None)
    cache_read_count: Quantity | None = msgspec.field(name="cacheReadInputTokenCount", default=None)
    cache_write: Quantity | None = msgspec.field(name="cacheWriteInputTokens", default=None)
    cache_write_count: Quantity | None = msgspec.field(
        name="cacheWriteInputTokenCount", default=None
    )
    cache_details: list[_CacheDetail | None] | None = msgspec.field(
        name="cacheDetails", default=None
    )


class _Tier(msgspec.Struct, gc=False):
    type: str | None = None


class _Metrics(msgspec.Struct, gc=False, rename="camel"):
    """`amazon-bedrock-invocationMetrics`, which Bedrock adds to the last chunk of a stream."""

    input_token_count: Quantity | None = None
    output_token_count: Quantity | None = None
    cache_read_input_token_count: Quantity | None = None
    cache_write_input_token_count: Quantity | None = None


class _TitanResult(msgspec.Struct, gc=False, rename="camel"):
    token_count: Quantity | None = None


_decode_block: Final = msgspec.json.Decoder(_Block).decode
_decode_metrics: Final = msgspec.json.Decoder(_Metrics).decode
_decode_titan: Final = msgspec.json.Decoder(list[_TitanResult]).decode
_decode_tier: Final = msgspec.json.Decoder(str | _Tier | None).decode
_decode_quantity: Final = msgspec.json.Decoder(Quantity | None).decode


def attempt(decode: Callable[[bytes | msgspec.Raw], _T], raw: bytes | msgspec.Raw) -> _T | None:
    """Decode a part of a body; None if it is absent or not of the expected shape.

    Bodies hold whatever models and callers put there. A part that is not understood adds
    nothing; it never costs the envelope its counts.
    """
    if not raw:
        return None
    try:
        return decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def quantity(raw: msgspec.Raw) -> int | None:
    """Read a bare count, None if there is none."""
    return attempt(_decode_quantity, raw)


def read_usage(raw: msgspec.Raw) -> Usage:
    """Read a usage block of any family; empty if it is none."""
    block = attempt(_decode_block, raw)
    if block is None:
        return Usage()
    if block.input is not None or block.output is not None:
        usage = _from_converse(block)
    else:
        usage = _from_native(block)
    if block.service_tier:
        usage.service_tier = read_tier(block.service_tier)
    return usage


def read_tier(*places: msgspec.Raw) -> str:
    """The service tier from the first place that names one: a text or `{"type": ...}`."""
    for place in places:
        value = attempt(_decode_tier, place)
        tier = fields.service_tier(value.type if isinstance(value, _Tier) else value)
        if tier:
            return tier
    return ""


def read_metrics(raw: msgspec.Raw) -> Usage:
    """Read `amazon-bedrock-invocationMetrics`; empty if it is none."""
    block = attempt(_decode_metrics, raw)
    if block is None:
        return Usage()
    return Usage(
        input_tokens=block.input_token_count,
        output_tokens=block.output_token_count,
        cache_read_tokens=block.cache_read_input_token_count,
        cache_write_tokens=block.cache_write_input_token_count,
    )


def titan_output_tokens(results: msgspec.Raw) -> int | None:
    """Sum the `tokenCount` of Titan's results; None if there are none."""
    parts = attempt(_decode_titan, results)
    counts = [part.token_count for part in parts or () if part.token_count is not None]
    return min(sum(counts), QUANTITY_MAX) if counts else None


def _from_native(block: _Block) -> Usage:
    if block.prompt_tokens is not None or block.completion_tokens is not None:
        return _inclusive(block.prompt_tokens, block.completion_tokens, block.prompt_tokens_details)
    if block.input_tokens_details is not None:
        return _inclusive(block.input_tokens, block.output_tokens, block.input_tokens_details)
    if block.billed_units is not None:
        return from_billed_units(block.billed_units)
    usage = Usage(
        input_tokens=block.input_tokens,
        output_tokens=block.output_tokens,
        cache_read_tokens=block.cache_read_input_tokens,
        cache_write_tokens=block.cache_creation_input_tokens,
    )
    split = block.cache_creation
    if split is not None:
        _set_split(usage, split.ephemeral_5m_input_tokens, split.ephemeral_1h_input_tokens)
    return usage


def from_billed_units(units: BilledUnits) -> Usage:
    """Token counts of Cohere's billed units."""
    return Usage(input_tokens=units.input_tokens, output_tokens=units.output_tokens)


def _inclusive(total: int | None, output: int | None, included: _Included | None) -> Usage:
    """Separate cached tokens from an input count that includes them."""
    cached = included.cached_tokens if included is not None else None
    if total is None or not cached or cached > total:
        # More cached than there was: the block does not mean what it should. Count the input
        # at the full rate rather than subtract.
        return Usage(input_tokens=total, output_tokens=output)
    return Usage(
        input_tokens=total - cached,
        output_tokens=output,
        cache_read_tokens=cached,
        inclusive_input_tokens=total,
    )


def _from_converse(block: _Block) -> Usage:
    usage = Usage(
        input_tokens=block.input,
        output_tokens=block.output,
        cache_read_tokens=_either(block.cache_read, block.cache_read_count),
        cache_write_tokens=_either(block.cache_write, block.cache_write_count),
    )
    if block.cache_details is None:
        return usage
    by_ttl: dict[str | None, int] = {}
    for detail in block.cache_details:
        if detail is not None:
            by_ttl[detail.ttl] = by_ttl.get(detail.ttl, 0) + (detail.input_tokens or 0)
    if by_ttl and by_ttl.keys() <= {"5m", "1h"}:
        _set_split(usage, by_ttl.get("5m", 0), by_ttl.get("1h", 0))
    return usage


def _set_split(usage: Usage, write_5m: int | None, write_1h: int | None) -> None:
    if write_5m is None and write_1h is None:
        return
    usage.cache_write_5m_tokens = write_5m or 0
    usage.cache_write_1h_tokens = write_1h or 0
    if usage.cache_write_tokens is None:
        written = usage.cache_write_5m_tokens + usage.cache_write_1h_tokens
        usage.cache_write_tokens = min(written, QUANTITY_MAX)


def _either(preferred: int | None, other: int | None) -> int | None:
    return other if preferred is None else preferred
