"""What the bodies of an invocation log add to its envelope.

AWS documentation: "Monitor model invocation using CloudWatch Logs and Amazon S3",
"Converse", and the request and response pages of each model family. `Converse` and
`InvokeModel` log one object, `InvokeModelWithResponseStream` a list of chunks among which
bare texts may stand, and a body may be absent, null or a JSON text. Content is skipped over,
never built. The envelope's counts always win: they are what AWS meters. The body fills what
the envelope lacks, and alone knows how long cache writes live, images, and service tiers.

A request says what was asked for, in the caller's words: it sizes what a response proves, but
sets no price by itself. The tier of `InvokeModel` is asked for in an HTTP header (AWS
documentation: "Service tiers for optimizing performance and cost"), so a `service_tier` in its
input body is any text; only the tier that a response names counts.
"""

from typing import Final

import msgspec

from worker.core.decoders import body_units
from worker.core.decoders.body_usage import (
    ABSENT,
    BilledUnits,
    Usage,
    attempt,
    from_billed_units,
    quantity,
    read_metrics,
    read_tier,
    read_usage,
    titan_output_tokens,
)
from worker.core.evidence import QUANTITY_MAX, Counts

INTERVENED: Final = b'"INTERVENED"'


class Envelope(msgspec.Struct, gc=False):
    """What the record says outside its bodies; counts are None where absent.

    Sizes and duration are undecoded JSON values, `ABSENT` where the record has none; `failed`
    is whether the record has an error code.
    """

    model_id: str
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    image_width: msgspec.Raw = ABSENT
    image_height: msgspec.Raw = ABSENT
    video_duration_seconds: msgspec.Raw = ABSENT
    failed: bool = False


class Itemised(msgspec.Struct, gc=False):
    """Envelope and bodies together.

    Attributes:
        counts: The counts of both.
        service_tier: As the catalogue names it, empty if the output body does not tell.
    """

    counts: Counts
    service_tier: str = ""


class _Part(msgspec.Struct, gc=False):
    """An output body, or one chunk of it. Every value stays undecoded until it is wanted."""

    usage: msgspec.Raw = ABSENT
    message: msgspec.Raw = ABSENT
    delta: msgspec.Raw = ABSENT
    response: msgspec.Raw = ABSENT
    metadata: msgspec.Raw = ABSENT
    meta: msgspec.Raw = ABSENT
    results: msgspec.Raw = ABSENT
    images: msgspec.Raw = ABSENT
    artifacts: msgspec.Raw = ABSENT
    trace: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT
    prompt_token_count: msgspec.Raw = ABSENT
    generation_token_count: msgspec.Raw = ABSENT
    service_tier_camel: msgspec.Raw = msgspec.field(name="serviceTier", default=ABSENT)
    input_text_token_count: msgspec.Raw = msgspec.field(name="inputTextTokenCount", default=ABSENT)
    total_output_text_token_count: msgspec.Raw = msgspec.field(
        name="totalOutputTextTokenCount", default=ABSENT
    )
    metrics: msgspec.Raw = msgspec.field(name="amazon-bedrock-invocationMetrics", default=ABSENT)
    action: msgspec.Raw = msgspec.field(name="amazon-bedrock-guardrailAction", default=ABSENT)
    assessment: msgspec.Raw = msgspec.field(
        name="amazon-bedrock-guardrailAssessment", default=ABSENT
    )
    model_trace: msgspec.Raw = msgspec.field(name="amazon-bedrock-trace", default=ABSENT)


class _Inner(msgspec.Struct, gc=False):
    """What chunks nest: `message`, `delta`, `response` and `metadata`."""

    usage: msgspec.Raw = ABSENT
    meta: msgspec.Raw = ABSENT
    trace: msgspec.Raw = ABSENT
    service_tier: msgspec.Raw = ABSENT
    service_tier_camel: msgspec.Raw = msgspec.field(name="serviceTier", default=ABSENT)


class _Meta(msgspec.Struct, gc=False):
    billed_units: BilledUnits | None = None


class _Request(msgspec.Struct, gc=False):
    """An input body."""

    documents: msgspec.Raw = ABSENT


class _Found(msgspec.Struct):
    """What has been read from the parts of an output body so far."""

    usage: Usage
    metrics: Usage
    units: dict[str, int]
    service_tier: str = ""
    images: int | None = None
    search_units: int | None = None
    results: int | None = None
    intervened: bool = False


_Chunk = _Part | str | int | float | bool | None

_decode_part: Final = msgspec.json.Decoder(_Part).decode
_decode_chunks: Final = msgspec.json.Decoder(list[_Chunk]).decode
_decode_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_inner: Final = msgspec.json.Decoder(_Inner).decode
_decode_meta: Final = msgspec.json.Decoder(_Meta).decode
_decode_request: Final = msgspec.json.Decoder(_Request).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_NO_REQUEST: Final = _Request()
_QUOTE: Final = ord('"')
_BRACKET: Final = ord("[")


def itemise(
    envelope: Envelope, input_body: msgspec.Raw, output_body: msgspec.Raw
) -> Itemised | None:
    """Return envelope and bodies together, or None if the bodies add nothing.

    Never raises for whatever the bodies hold.

    Args:
        envelope: The counts outside the bodies.
        input_body: `inputBodyJson`, undecoded; empty if absent.
        output_body: `outputBodyJson`, undecoded; empty if absent.
    """
    asked = _unwrapped(input_body)
    request = attempt(_decode_request, asked) or _NO_REQUEST
    found = _Found(usage=Usage(), metrics=Usage(), units={})
    for part in _parts(_unwrapped(output_body)):
        _read_part(found, part)
    if found.images is not None:
        # Zero stays: that no image came out is knowledge, unlike a body that is not there.
        unit = body_units.image_unit(
            envelope.model_id, asked, envelope.image_width, envelope.image_height
        )
        found.units[unit] = found.images
    _finish_units(found, envelope, request)
    usage, metrics = found.usage, found.metrics
    if metrics.input_tokens is not None and metrics.input_tokens == usage.inclusive_input_tokens:
        # The metrics repeat an input count from which the cached part was already taken out.
        metrics.input_tokens = None
    usage.absorb(metrics)
    tier = found.service_tier or usage.service_tier
    if usage.is_empty() and not found.units and not tier and not found.intervened:
        return None
    counts = _counts(envelope, usage, found)
    return Itemised(counts=counts, service_tier=tier)


def _unwrapped(body: msgspec.Raw) -> bytes | msgspec.Raw:
    """A body that is a JSON text holds the body proper."""
    if not _starts_with(body, _QUOTE):
        return body
    text = attempt(_decode_text, body)
    return body if text is None else text.encode("utf-8", "replace")


def _starts_with(body: bytes | msgspec.Raw, byte: int) -> bool:
    # Trying a wrong type and catching the error would take longer than reading a small body.
    return len(body) > 0 and memoryview(body)[0] == byte


def _parts(body: bytes | msgspec.Raw) -> list[_Part]:
    """The output body as parts: itself, or the chunks of a stream."""
    if not _starts_with(body, _BRACKET):
        single = attempt(_decode_part, body)
        if single is not None:
            return [single]
    chunks = attempt(_decode_chunks, body)
    if chunks is not None:
        return [chunk for chunk in chunks if isinstance(chunk, _Part)]
    # A chunk of an unforeseen kind spoils the typed list; take the others one by one.
    items = attempt(_decode_items, body) or []
    parts = (attempt(_decode_part, item) for item in items)
    return [part for part in parts if part is not None]


def _read_part(found: _Found, part: _Part) -> None:
    # A stream has hundreds of chunks of mere content: every step first asks whether it must.
    if part.message or part.delta or part.response or part.metadata:
        _read_nested(found, part)
    if part.usage:
        found.usage.absorb(read_usage(part.usage))
    if part.metrics:
        found.metrics.absorb(read_metrics(part.metrics))
    if part.meta:
        _read_meta(found, part.meta)
    _read_flat_counts(found.usage, part)
    if part.service_tier or part.service_tier_camel:
        tier = read_tier(part.service_tier_camel, part.service_tier)
        found.service_tier = tier or found.service_tier
    _read_units(found, part)


def _read_nested(found: _Found, part: _Part) -> None:
    if part.message:
        # Claude's `message_start`: its output count is provisional (1 to 8), so only a later
        # `message_delta` may say how much was written.
        started = _read_inner(found, part.message)
        started.output_tokens = None
        found.usage.absorb(started)
    if part.delta and b'"usage"' in bytes(part.delta):
        found.usage.absorb(_read_inner(found, part.delta))
    for nested in (part.response, part.metadata):
        if nested:
            found.usage.absorb(_read_inner(found, nested))


def _read_units(found: _Found, part: _Part) -> None:
    if part.results:
        found.results = body_units.count_items(part.results)
    if part.images or part.artifacts:
        for pictures in (part.images, part.artifacts):
            found.images = _sum(found.images, body_units.count_items(pictures))
    if part.trace:
        body_units.add_guardrail_units(found.units, part.trace)
    if part.model_trace:
        body_units.add_guardrail_units(found.units, part.model_trace)
    if part.assessment:
        body_units.add_assessment_units(found.units, part.assessment)
    if part.action and bytes(part.action) == INTERVENED:
        found.intervened = True


def _read_inner(found: _Found, raw: msgspec.Raw) -> Usage:
    inner = attempt(_decode_inner, raw)
    if inner is None:
        return Usage()
    if inner.meta:
        _read_meta(found, inner.meta)
    if inner.trace:
        body_units.add_guardrail_units(found.units, inner.trace)
    if inner.service_tier or inner.service_tier_camel:
        tier = read_tier(inner.service_tier_camel, inner.service_tier)
        found.service_tier = tier or found.service_tier
    return read_usage(inner.usage)


def _read_meta(found: _Found, raw: msgspec.Raw) -> None:
    """Cohere: `meta.billed_units`."""
    meta = attempt(_decode_meta, raw)
    units = meta.billed_units if meta is not None else None
    if units is not None:
        found.usage.absorb(from_billed_units(units))
        found.search_units = _sum(found.search_units, units.search_units)


def _read_flat_counts(usage: Usage, part: _Part) -> None:
    """Titan and Llama put counts beside the content."""
    if part.input_text_token_count or part.total_output_text_token_count or part.results:
        output_tokens = quantity(part.total_output_text_token_count)
        if output_tokens is None:
            output_tokens = titan_output_tokens(part.results)
        usage.absorb(
            Usage(input_tokens=quantity(part.input_text_token_count), output_tokens=output_tokens)
        )
    if part.prompt_token_count or part.generation_token_count:
        usage.absorb(
            Usage(
                input_tokens=quantity(part.prompt_token_count),
                output_tokens=quantity(part.generation_token_count),
            )
        )


def _sum(known: int | None, more: int | None) -> int | None:
    return known if more is None else (known or 0) + more


def _finish_units(found: _Found, envelope: Envelope, request: _Request) -> None:
    """Add the units that take envelope, request and response together."""
    units = found.units
    if found.search_units is not None:
        units[body_units.SEARCH_UNITS] = found.search_units
    elif "rerank" in envelope.model_id.lower() and _reranked(found, envelope, request):
        documents = body_units.count_items(request.documents)
        units[body_units.SEARCH_UNITS] = body_units.search_units(documents or found.results)
    if envelope.video_duration_seconds:
        seconds = body_units.video_seconds(envelope.video_duration_seconds)
        if seconds is not None:
            units[body_units.VIDEO_SECONDS] = seconds
    for unit, count in units.items():
        units[unit] = min(count, QUANTITY_MAX)


def _reranked(found: _Found, envelope: Envelope, request: _Request) -> bool:
    """Whether a query was served: by its results, else by a request that did not fail."""
    if envelope.failed:
        return bool(found.results)
    return bool(request.documents) or found.results is not None


def _counts(envelope: Envelope, usage: Usage, found: _Found) -> Counts:
    input_tokens = envelope.input_tokens
    output_tokens = envelope.output_tokens
    cache_read = envelope.cache_read_tokens
    cache_write = envelope.cache_write_tokens
    inclusive = usage.inclusive_input_tokens
    if inclusive is not None and input_tokens == inclusive:
        # The body proves that the envelope's input includes the cached tokens: adding them
        # would count them twice, so they are taken out of it. Its own cache count stands.
        if cache_read is None:
            cache_read = min(usage.cache_read_tokens or 0, inclusive)
            input_tokens = inclusive - cache_read
    elif cache_read is None:
        cache_read = usage.cache_read_tokens
    if input_tokens is None:
        input_tokens = usage.input_tokens
    if output_tokens is None:
        output_tokens = usage.output_tokens
    if cache_write is None:
        cache_write = usage.cache_write_tokens
    if found.intervened and input_tokens is None and output_tokens is None:
        # A guardrail blocked the request before any model saw it.
        input_tokens = output_tokens = 0
    total = cache_write or 0
    write_1h = min(usage.cache_write_1h_tokens or 0, total)
    split = (usage.cache_write_5m_tokens or 0) + (usage.cache_write_1h_tokens or 0)
    return Counts(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cache_read_tokens=cache_read or 0,
        cache_write_5m_tokens=total - write_1h,
        cache_write_1h_tokens=write_1h,
        # Without any write there is nothing to know: False, so that equal counts are equal.
        cache_write_ttl_known=total > 0 and split == total,
        units=tuple(sorted(found.units.items())),
    )
