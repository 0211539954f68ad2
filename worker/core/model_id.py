"""What a `modelId` means: which foundation model ran, how it was routed, how it is billed.

A call names its model in many ways: a bare model id, an inference profile that starts with a
geography, an ARN of either, or an ARN that says nothing of the model (application profiles,
provisioned, imported and custom models, prompt routers). AWS documentation: "Supported foundation
models in Amazon Bedrock", "Supported Regions and models for inference profiles".

Model ids are text that the caller sent: nothing here raises on any string, and everything returned
is bounded and made of printable ASCII.
"""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final, Literal, NamedTuple
from urllib.parse import quote

import msgspec

Routing = Literal["regional", "global"]

MODEL_ID_LENGTH_MAX: Final = 2_048
"""Longest `modelId` that Amazon Bedrock accepts (AWS documentation: "InvokeModel")."""

MODEL_TEXT_LENGTH_MAX: Final = 256
"""Longest text shown in place of a model that was not recognised."""

PROFILE_DEPTH_MAX: Final = 4
"""How many profiles in a row are followed; AWS lets a profile copy a system-defined one only."""

PROFILE_RESOURCE: Final = "application-inference-profile/"
"""How the resource of an application inference profile's ARN begins."""

GLOBAL_GEOGRAPHY: Final = "global"

KNOWN_PROVIDERS: Final = frozenset(
    {
        "ai21",
        "amazon",
        "anthropic",
        "arcee",
        "cohere",
        "deepseek",
        "google",
        "liquid",
        "luma",
        "meta",
        "microsoft",
        "minimax",
        "mistral",
        "moonshot",
        "moonshotai",
        "nvidia",
        "openai",
        "qwen",
        "stability",
        "twelvelabs",
        "upstage",
        "writer",
        "xai",
        "zai",
    }
)
"""First segments of model ids; they are never taken for a geography."""

KNOWN_GEOGRAPHIES: Final = frozenset(
    {
        "af",
        "apac",
        "au",
        "ca",
        "cn",
        "eu",
        "global",
        "il",
        "in",
        "jp",
        "kr",
        "me",
        "mx",
        "sa",
        "sg",
        "uk",
        "us",
        "us-gov",
    }
)
"""Prefixes of cross-Region inference profiles. Others are recognised by their shape."""


class Billing(StrEnum):
    """How the use of a model is charged."""

    TOKEN = "token"  # noqa: S105 - a way of billing, not a secret
    """By what each call consumes (tokens, images, seconds)."""
    PROVISIONED = "provisioned"
    """By the hour: provisioned throughput or an endpoint of one's own."""
    IMPORTED = "imported"
    """By the minute of active model copies."""
    CUSTOM_DEPLOYMENT = "custom_deployment"
    """A customised model; its rate is not that of the model it was made from."""
    UNRESOLVED_PROFILE = "unresolved_profile"
    """An application inference profile that is not in the registry."""
    UNRECOGNISED = "unrecognised"
    """The id does not say which model ran."""


class ModelReference(msgspec.Struct, frozen=True):
    """What a `modelId` stands for.

    Attributes:
        model: The foundation-model id without geography and context-window suffix, such as
            `anthropic.claude-sonnet-4-5-20250929-v1:0`; where no model is known, the resource part
            of the ARN (`provisioned-model/abcdefghijkl`) or the id itself, escaped and cut short.
            Never empty.
        routing: `global` if the call could be served anywhere, otherwise `regional`. In-Region and
            geographic inference cost the same.
        region: The Region whose price list applies, empty if neither log nor ARN names it.
        billing: How the use is charged.
        geography: `us`, `eu`, `global`, ...; empty for a model called in its own Region.
        reason: Why the model or its price is not known from the id, else empty.
    """

    model: str
    routing: Routing
    region: str
    billing: Billing
    geography: str = ""
    reason: str = ""


class _Arn(NamedTuple):
    service: str
    region: str
    account: str
    resource: str


_ARN = re.compile(
    r"arn:aws(?:-[a-z0-9-]{1,24})?:(?P<service>[a-z0-9-]{1,32}):(?P<region>[a-z0-9-]{0,32})"
    r":(?P<account>[0-9]{0,12}):(?P<resource>[A-Za-z0-9][A-Za-z0-9._:/-]{0,1023})",
    re.ASCII,
)
_REGION = re.compile(r"[a-z0-9-]{1,32}", re.ASCII)
_MODEL_ID = re.compile(
    r"[A-Za-z][A-Za-z0-9-]{0,62}\.[A-Za-z0-9][A-Za-z0-9._-]{0,127}(?::[A-Za-z0-9]{1,16}){0,3}",
    re.ASCII,
)
# After the version (`-v1:0`): the context window (`:28k`), the longest input (`:512`) or the
# multimodal variant (`:mm`) of a model that can be customised or bought as throughput.
_VARIANT_SUFFIX = re.compile(r"(?::[0-9]{1,5}k|(?<=:[0-9]):(?:mm|[0-9]{1,5}))\Z", re.ASCII)
_GEOGRAPHY_SHAPE = re.compile(r"[a-z]{2,6}(?:-[a-z]{2,6})?", re.ASCII)
_PROVIDER_SHAPE = re.compile(r"[a-z]{2}[a-z0-9]{0,30}", re.ASCII)
_UNKNOWN_MODEL_SHAPE = re.compile(r"[a-z]{3,31}[0-9]{0,3}\.[a-z][a-z0-9.]*-", re.ASCII)

_NOT_BY_TOKEN: Final = {
    "provisioned-model": (
        Billing.PROVISIONED,
        "provisioned throughput is billed by the hour, not by token",
    ),
    "imported-model": (
        Billing.IMPORTED,
        "an imported model is billed by the minute of active copies, not by token",
    ),
    "custom-model-deployment": (
        Billing.CUSTOM_DEPLOYMENT,
        "a custom model deployment is not billed at the rates of its base model",
    ),
    "custom-model": (
        Billing.CUSTOM_DEPLOYMENT,
        "a custom model is not billed at the rates of its base model",
    ),
    "endpoint": (
        Billing.PROVISIONED,
        "a marketplace model on its own endpoint is billed by instance hour, not by token",
    ),
    "marketplace/model-endpoint": (
        Billing.PROVISIONED,
        "a marketplace model on its own endpoint is billed by instance hour, not by token",
    ),
}

_NO_MODEL_NAMED: Final = {
    "default-prompt-router": "a prompt router chose the model; its id does not say which one ran",
    "prompt-router": "a prompt router chose the model; its id does not say which one ran",
    "prompt": "a managed prompt names the model; its ARN does not say which one ran",
}


def resolve_model(
    model_id: str, region: str, profile_model: Callable[[str], str | None]
) -> ModelReference:
    """Say which model a `modelId` stands for and how it is billed.

    Args:
        model_id: As received: a model id, an inference profile id, or an ARN, of any partition.
        region: The calling Region, which sets the price; empty if unknown.
        profile_model: Returns the id or ARN that an application inference profile was copied from,
            given the profile's ARN; None if the profile is not known.

    Returns:
        The reference. Never raises, whatever the strings.
    """
    region = region if _REGION.fullmatch(region) else ""
    followed = model_id
    for _ in range(PROFILE_DEPTH_MAX):
        arn = _parse_arn(followed)
        if arn is None:
            return _from_bare_id(followed, region)
        # The first ARN is what the caller used; one that it was copied from may be elsewhere.
        region = region or arn.region
        kind, _separator, name = arn.resource.partition("/")
        if arn.service == "bedrock" and f"{kind}/" == PROFILE_RESOURCE and name:
            copied_from = profile_model(followed)
            if copied_from is None:
                return _unresolved_profile(arn.resource, region)
            followed = copied_from
            continue
        return _from_arn(arn, followed, region)
    return _unrecognised(model_id, region, "the inference profiles refer to each other too deeply")


def is_application_profile(model_id: str) -> bool:
    """Whether `model_id` is the ARN of an application inference profile."""
    arn = _parse_arn(model_id)
    return (
        arn is not None and arn.service == "bedrock" and arn.resource.startswith(PROFILE_RESOURCE)
    )


def _parse_arn(text: str) -> _Arn | None:
    if len(text) > MODEL_ID_LENGTH_MAX or not text.startswith("arn:"):
        return None
    match = _ARN.fullmatch(text)
    if match is None:
        return None
    return _Arn(match["service"], match["region"], match["account"], match["resource"])


def _from_arn(arn: _Arn, text: str, region: str) -> ModelReference:
    kind, _separator, name = arn.resource.partition("/")
    if kind == "marketplace":
        second, _separator, name = name.partition("/")
        kind = f"{kind}/{second}"
    is_endpoint = kind in {"endpoint", "marketplace/model-endpoint"}
    if arn.service != ("sagemaker" if is_endpoint else "bedrock"):
        return _unrecognised(text, region, f"an ARN of {arn.service} is not a model's")
    if not name:
        return _unrecognised(text, region, "the ARN names no model")
    if kind in {"foundation-model", "inference-profile"}:
        return _from_bare_id(name, region)
    if kind in _NOT_BY_TOKEN:
        billing, reason = _NOT_BY_TOKEN[kind]
        return ModelReference(
            model=arn.resource[:MODEL_TEXT_LENGTH_MAX],
            routing="regional",
            region=region,
            billing=billing,
            reason=reason,
        )
    reason = _NO_MODEL_NAMED.get(kind, f"{kind[:64]} is not a known kind of model ARN")
    return ModelReference(
        model=arn.resource[:MODEL_TEXT_LENGTH_MAX],
        routing="regional",
        region=region,
        billing=Billing.UNRECOGNISED,
        reason=reason,
    )


def _from_bare_id(text: str, region: str) -> ModelReference:
    if not text:
        return _unrecognised(text, region, "the record names no model")
    if text.startswith("arn:"):
        return _unrecognised(text, region, "the model's ARN is malformed")
    if len(text) > MODEL_ID_LENGTH_MAX or not _MODEL_ID.fullmatch(text):
        return _unrecognised(
            text, region, "the model id is neither provider.model nor an ARN; it names no model"
        )
    geography, model = _split_geography(text)
    return ModelReference(
        model=_VARIANT_SUFFIX.sub("", model),
        routing="global" if geography == GLOBAL_GEOGRAPHY else "regional",
        region=region,
        billing=Billing.TOKEN,
        geography=geography,
    )


def _split_geography(text: str) -> tuple[str, str]:
    """Split `us.anthropic.claude-...` into (`us`, `anthropic.claude-...`).

    Versions hold dots as well (`zai.glm-4.7`, `deepseek.v3.2`), so a first segment is a geography
    only if a provider and a model follow it.
    """
    first, _separator, rest = text.partition(".")
    if first in KNOWN_PROVIDERS:
        return "", text
    provider, dot, model = rest.partition(".")
    if not dot or not model:
        return "", text
    if first in KNOWN_GEOGRAPHIES and (
        provider in KNOWN_PROVIDERS or _PROVIDER_SHAPE.fullmatch(provider)
    ):
        return first, rest
    if _GEOGRAPHY_SHAPE.fullmatch(first) and (
        provider in KNOWN_PROVIDERS or _UNKNOWN_MODEL_SHAPE.match(rest)
    ):
        return first, rest
    return "", text


def _unresolved_profile(resource: str, region: str) -> ModelReference:
    return ModelReference(
        model=resource[:MODEL_TEXT_LENGTH_MAX],
        routing="regional",
        region=region,
        billing=Billing.UNRESOLVED_PROFILE,
        reason="the application inference profile is not in the registry; "
        "add it with the model that it was copied from",
    )


def _unrecognised(text: str, region: str, reason: str) -> ModelReference:
    shown = quote(text[:MODEL_TEXT_LENGTH_MAX], safe=":/@+=,", errors="replace")
    return ModelReference(
        model=shown[:MODEL_TEXT_LENGTH_MAX] or "unknown",
        routing="regional",
        region=region,
        billing=Billing.UNRECOGNISED,
        reason=reason,
    )
