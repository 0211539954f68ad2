"""CloudTrail's `CreateInferenceProfile`: what an application inference profile stands for.

API reference: CreateInferenceProfile (Amazon Bedrock). The profile's ARN says nothing of its
model, the profile may be deleted before its calls are heard of, and it never changes: what this
event says of it is kept for ever.
"""

from typing import Final

import msgspec

from worker.core.decoders import fields
from worker.core.decoders.fields import FieldError
from worker.core.model_id import is_application_profile
from worker.core.registry import ApplicationProfile
from worker.core.results import Ignored, ProfileSeen

CREATE_PROFILE: Final = "CreateInferenceProfile"
APPLICATION_TAGS: Final = ("ledgerock:application", "application", "app")
"""Tags that name the application, in this order, in any case; else the profile's name does."""
TAGS_MAX: Final = 200
"""API reference: CreateInferenceProfile, `tags`: at most 200."""


class _Tag(msgspec.Struct, gc=False):
    key: str | None = None
    value: str | None = None


class _Source(msgspec.Struct, gc=False):
    copy_from: str | None = msgspec.field(name="copyFrom", default=None)


class _Request(msgspec.Struct, gc=False):
    name: str | None = msgspec.field(name="inferenceProfileName", default=None)
    source: _Source | None = msgspec.field(name="modelSource", default=None)
    tags: list[_Tag | None] | None = None


class _Response(msgspec.Struct, gc=False):
    arn: str | None = msgspec.field(name="inferenceProfileArn", default=None)


class _Event(msgspec.Struct, gc=False):
    error_code: str | None = msgspec.field(name="errorCode", default=None)
    request: _Request | None = msgspec.field(name="requestParameters", default=None)
    response: _Response | None = msgspec.field(name="responseElements", default=None)


_decode_event: Final = msgspec.json.Decoder(_Event).decode


def decode_profile(raw: bytes | msgspec.Raw) -> ProfileSeen | Ignored:
    """Return what one event says.

    Raises:
        FieldError: It says it in a way that cannot be accepted.
        msgspec.ValidationError: A field is of another type.
    """
    event = _decode_event(raw)
    if event.error_code:
        return Ignored(f"{CREATE_PROFILE} that failed: {fields.cut(event.error_code)}")
    request, response = event.request or _Request(), event.response or _Response()
    arn = response.arn or ""
    if not is_application_profile(arn):
        path = "$.responseElements.inferenceProfileArn"
        found = fields.quote(arn) if arn else fields.NOTHING
        raise FieldError(path, "the ARN of an application inference profile", found)
    path = "$.requestParameters.modelSource.copyFrom"
    copied_from = request.source.copy_from if request.source else None
    model = fields.checked_name(copied_from, fields.MODEL_ID_LENGTH_MAX, path)
    if not model:
        raise FieldError(path, "the ARN of a model or profile", fields.NOTHING)
    tags = {fields.cut(tag.key): fields.cut(tag.value) for tag in request.tags or () if tag}
    return ProfileSeen(application_profile(arn, model, fields.cut(request.name), tags))


def application_profile(
    arn: str, model: str, name: str, tags: dict[str, str]
) -> ApplicationProfile:
    """Put a profile together; its tags say which application it belongs to, else its name."""
    by_key = {key.lower(): value for key, value in sorted(tags.items())}
    named = (by_key.get(key) for key in APPLICATION_TAGS)
    return ApplicationProfile(
        arn=arn,
        model=model,
        application=next((value for value in named if value), name),
        tags=tuple(sorted(tags.items())[:TAGS_MAX]),
    )
