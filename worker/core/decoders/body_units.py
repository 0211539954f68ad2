"""Quantities in model bodies that are not tokens: images, searches, guardrails, video.

Units are named as the price catalogue names them; more specific ones start with the general
one (`images/1024x1024/standard`), so that a price for the general one still applies.
"""

from collections.abc import Iterable
from math import ceil
from typing import Annotated, Final

import msgspec

from worker.core.decoders.body_usage import ABSENT, attempt, quantity
from worker.core.decoders.fields import Quantity
from worker.core.evidence import QUANTITY_MAX

IMAGES: Final = "images"
SEARCH_UNITS: Final = "search_units"
VIDEO_SECONDS: Final = "video_seconds"
DOCUMENTS_PER_SEARCH_UNIT: Final = 100
"""AWS documentation: "Pricing and search units": a query holds up to 100 document chunks."""
IMAGE_SIDE_DEFAULT: Final = 1024
IMAGE_QUALITY_DEFAULT: Final = "standard"
"""AWS documentation: "Amazon Nova Canvas: request and response structure", as for Titan."""
IMAGE_QUALITY_PREMIUM: Final = "premium"
SIZED_BY_INPUT: Final = frozenset(
    {"INPAINTING", "OUTPAINTING", "BACKGROUND_REMOVAL", "VIRTUAL_TRY_ON"}
)
"""Tasks whose images are as large as the picture that was sent in (same pages)."""
DIFFUSION_XL: Final = "stable-diffusion-xl"
DIFFUSION_XL_STEPS_STANDARD_MAX: Final = 50
"""AWS documentation: "Amazon Bedrock pricing": above 50 steps, quality is premium."""
DIFFUSION_XL_V0_SIDE_DEFAULT: Final = 512
IMAGE_SIDE_MAX: Final = 100_000
QUALITY_LENGTH_MAX: Final = 32

_GUARDRAIL_UNITS: Final = (
    ("topic_policy_units", "guardrail_topic_units"),
    ("content_policy_units", "guardrail_content_units"),
    ("content_policy_image_units", "guardrail_content_image_units"),
    ("word_policy_units", "guardrail_word_units"),
    ("sensitive_information_policy_units", "guardrail_sensitive_information_units"),
    ("sensitive_information_policy_free_units", "guardrail_sensitive_information_free_units"),
    ("contextual_grounding_policy_units", "guardrail_contextual_grounding_units"),
    ("automated_reasoning_policy_units", "guardrail_automated_reasoning_units"),
)


class _ImageConfig(msgspec.Struct, gc=False):
    width: Annotated[int, msgspec.Meta(ge=1, le=IMAGE_SIDE_MAX)] | None = None
    height: Annotated[int, msgspec.Meta(ge=1, le=IMAGE_SIDE_MAX)] | None = None
    quality: str | None = None


class _ImageRequest(msgspec.Struct, gc=False):
    """Request for images: of Nova Canvas and Titan, or of Stable Diffusion XL (the last three)."""

    task: msgspec.Raw = msgspec.field(name="taskType", default=ABSENT)
    config: msgspec.Raw = msgspec.field(name="imageGenerationConfig", default=ABSENT)
    width: msgspec.Raw = ABSENT
    height: msgspec.Raw = ABSENT
    steps: msgspec.Raw = ABSENT


class _GuardrailUsage(msgspec.Struct, gc=False, rename="camel"):
    """AWS documentation: "GuardrailUsage"."""

    topic_policy_units: Quantity | None = None
    content_policy_units: Quantity | None = None
    content_policy_image_units: Quantity | None = None
    word_policy_units: Quantity | None = None
    sensitive_information_policy_units: Quantity | None = None
    sensitive_information_policy_free_units: Quantity | None = None
    contextual_grounding_policy_units: Quantity | None = None
    automated_reasoning_policy_units: Quantity | None = None


class _GuardrailMetrics(msgspec.Struct, gc=False):
    usage: _GuardrailUsage | None = None


class _Assessment(msgspec.Struct, gc=False, rename="camel"):
    invocation_metrics: _GuardrailMetrics | None = None


_ByGuardrail = dict[str, _Assessment | list[_Assessment | None] | None]
"""Guardrail id to its assessment (input) or assessments (output)."""


class _GuardrailTrace(msgspec.Struct, gc=False, rename="camel"):
    """AWS documentation: "GuardrailTraceAssessment", and its InvokeModel form."""

    input_assessment: _ByGuardrail | list[_ByGuardrail | None] | None = None
    output_assessments: _ByGuardrail | list[_ByGuardrail | None] | None = None
    input: _ByGuardrail | list[_ByGuardrail | None] | None = None
    outputs: _ByGuardrail | list[_ByGuardrail | None] | None = None


class _Trace(msgspec.Struct, gc=False):
    guardrail: _GuardrailTrace | None = None


_decode_items: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_image_request: Final = msgspec.json.Decoder(_ImageRequest).decode
_decode_image_config: Final = msgspec.json.Decoder(_ImageConfig).decode
_decode_trace: Final = msgspec.json.Decoder(_Trace).decode
_decode_assessment: Final = msgspec.json.Decoder(_Assessment).decode
_decode_assessments: Final = msgspec.json.Decoder(_ByGuardrail).decode
_decode_text: Final = msgspec.json.Decoder(str).decode
_decode_number: Final = msgspec.json.Decoder(
    Annotated[float, msgspec.Meta(ge=0, le=QUANTITY_MAX)]
).decode


def count_items(raw: msgspec.Raw) -> int | None:
    """Count the elements of a list that are not null, without building them."""
    items = attempt(_decode_items, raw)
    if items is None:
        return None
    return sum(bytes(memoryview(item)[:5]) != b"null" for item in items)


def image_unit(
    model_id: str,
    request: bytes | msgspec.Raw,
    logged_width: msgspec.Raw,
    logged_height: msgspec.Raw,
) -> str:
    """The unit of one generated image: by size and quality where the model is priced so.

    What is not known is left out: `images/1024x1024` where only the size is, else `images`.

    Args:
        model_id: As received.
        request: The input body; empty if it was not delivered.
        logged_width: `outputImageWidth` of the envelope, for requests that name no size.
        logged_height: `outputImageHeight`, likewise.
    """
    wanted = attempt(_decode_image_request, request)
    width, height = _side(logged_width), _side(logged_height)
    amazon = "nova-canvas" in model_id or "titan-image" in model_id
    diffusion = DIFFUSION_XL in model_id
    if not amazon and not diffusion and (wanted is None or not wanted.config):
        return IMAGES
    if wanted is None:
        return f"{IMAGES}/{width}x{height}" if width and height else IMAGES
    default = IMAGE_SIDE_DEFAULT
    if diffusion:
        steps = quantity(wanted.steps) or 0
        premium = steps > DIFFUSION_XL_STEPS_STANDARD_MAX
        quality = IMAGE_QUALITY_PREMIUM if premium else IMAGE_QUALITY_DEFAULT
        width, height = _side(wanted.width) or width, _side(wanted.height) or height
        if f"{DIFFUSION_XL}-v0" in model_id:
            default = DIFFUSION_XL_V0_SIDE_DEFAULT
    else:
        config = attempt(_decode_image_config, wanted.config) or _ImageConfig()
        quality = (config.quality or IMAGE_QUALITY_DEFAULT).lower()
        width, height = config.width or width, config.height or height
        if not (width and height) and attempt(_decode_text, wanted.task) in SIZED_BY_INPUT:
            return IMAGES
    size = f"{IMAGES}/{width or default}x{height or default}"
    if len(quality) > QUALITY_LENGTH_MAX or not (quality.isascii() and quality.isalnum()):
        return size
    return f"{size}/{quality}"


def _side(raw: msgspec.Raw) -> int | None:
    side = quantity(raw)
    return side if side and side <= IMAGE_SIDE_MAX else None


def search_units(documents: int | None) -> int:
    """Search units of one reranking query; one at least."""
    return max(1, -(-(documents or 0) // DOCUMENTS_PER_SEARCH_UNIT))


def video_seconds(duration: msgspec.Raw) -> int | None:
    """Whole seconds of a generated video, rounded up; None if not logged."""
    seconds = attempt(_decode_number, duration)
    return None if seconds is None else ceil(seconds)


def add_guardrail_units(units: dict[str, int], trace: msgspec.Raw) -> None:
    """Add what the guardrails named in a `trace` object used.

    A request with several guardrails, or an answer assessed in several parts, has one
    assessment each; every one of them is billed.
    """
    decoded = attempt(_decode_trace, trace)
    if decoded is None or decoded.guardrail is None:
        return
    guardrail = decoded.guardrail
    for assessments in (
        guardrail.input_assessment,
        guardrail.output_assessments,
        guardrail.input,
        guardrail.outputs,
    ):
        groups = assessments if isinstance(assessments, list) else [assessments]
        for group in groups:
            _add_group(units, group)


def add_assessment_units(units: dict[str, int], raw: msgspec.Raw) -> None:
    """Add the units of `amazon-bedrock-guardrailAssessment`: one assessment, or one by id."""
    assessment = attempt(_decode_assessment, raw)
    if assessment is not None and assessment.invocation_metrics is not None:
        _add(units, (assessment,))
    else:
        _add_group(units, attempt(_decode_assessments, raw))


def _add_group(units: dict[str, int], group: _ByGuardrail | None) -> None:
    for value in (group or {}).values():
        _add(units, value if isinstance(value, list) else (value,))


def _add(units: dict[str, int], assessments: Iterable[_Assessment | None]) -> None:
    for assessment in assessments:
        metrics = assessment.invocation_metrics if assessment is not None else None
        if metrics is None or metrics.usage is None:
            continue
        for field, unit in _GUARDRAIL_UNITS:
            used = getattr(metrics.usage, field)
            if used:
                units[unit] = units.get(unit, 0) + used
