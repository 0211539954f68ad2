"""S3 event notifications, one element of their `Records` at a time.

AWS documentation: "Event message structure".
"""

from typing import Final
from urllib.parse import unquote_plus

import msgspec

from worker.core.decoders.envelopes import (
    DECODE_ERRORS,
    Envelope,
    Unwrapped,
    excerpt,
    malformed,
    text_of,
)
from worker.core.decoders.objects import ignored_object
from worker.core.results import Ignored, ObjectReference, Position


class _Bucket(msgspec.Struct, frozen=True, gc=False):
    name: str


class _Object(msgspec.Struct, frozen=True, gc=False):
    key: str
    size: int | None = None
    version_id: str | None = msgspec.field(name="versionId", default=None)


class _Entity(msgspec.Struct, frozen=True, gc=False):
    bucket: _Bucket
    object: _Object


_ENTITY: Final = msgspec.json.Decoder(_Entity)
_CREATED: Final = "ObjectCreated:"


def unwrap(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield the object that a notification names; its key arrives URL-encoded."""
    name = text_of(envelope.event_name)
    if name is None:
        found = excerpt(envelope.event_name)
        yield malformed(
            position, envelope.event_name, "the name of an S3 event", found, "$.eventName"
        )
        return
    if not name.removeprefix("s3:").startswith(_CREATED):
        yield Ignored(f"S3 event: {excerpt(name.encode('utf-8', 'replace'))}", position)
        return
    try:
        entity = _ENTITY.decode(envelope.s3)
    except DECODE_ERRORS as error:
        expected = "s3.bucket.name and s3.object.key"
        yield malformed(position, envelope.s3, expected, str(error), "$.s3")
        return
    key = unquote_plus(entity.object.key)
    reason = ignored_object(key)
    if reason is not None:
        yield Ignored(f"object that holds no records: {reason}", position)
        return
    yield ObjectReference(
        bucket=entity.bucket.name,
        key=key,
        version_id=entity.object.version_id or "",
        size_bytes=-1 if entity.object.size is None else entity.object.size,
        position=position,
    )
