"""EventBridge events, by their `detail-type`.

AWS documentation: "AWS service events delivered via AWS CloudTrail", "Amazon S3 event
notifications using Amazon EventBridge", "Monitor changes to batch inference jobs with Amazon
EventBridge".
"""

from typing import Final

import msgspec

from worker.core.decoders import batch_jobs
from worker.core.decoders.envelopes import (
    DECODE_ERRORS,
    Envelope,
    Part,
    Shape,
    Unwrapped,
    below,
    excerpt,
    malformed,
    text_of,
)
from worker.core.decoders.objects import ignored_object
from worker.core.results import Ignored, Malformed, ObjectReference, Position

_CLOUDTRAIL_DETAIL_TYPES: Final = frozenset(
    {"AWS API Call via CloudTrail", "AWS Service Event via CloudTrail"}
)
_OBJECT_CREATED_TYPE: Final = "Object Created"
_KNOWN_DETAIL_TYPES: Final = _CLOUDTRAIL_DETAIL_TYPES | {
    _OBJECT_CREATED_TYPE,
    batch_jobs.STATE_CHANGE,
}


class _Bucket(msgspec.Struct, frozen=True, gc=False):
    name: str


class _Object(msgspec.Struct, frozen=True, gc=False):
    key: str
    size: int | None = None
    version_id: str | None = msgspec.field(name="version-id", default=None)


class _ObjectCreated(msgspec.Struct, frozen=True, gc=False):
    bucket: _Bucket
    object: _Object


_OBJECT_CREATED: Final = msgspec.json.Decoder(_ObjectCreated)


def unwrap(envelope: Envelope, position: Position) -> Unwrapped:
    """Yield what an event's `detail` holds."""
    kind = text_of(envelope.detail_type)
    if kind is None:
        yield malformed(
            position,
            envelope.detail_type,
            "an EventBridge detail-type",
            excerpt(envelope.detail_type),
            "$.detail-type",
        )
        return
    where = below(position, ".detail")
    if kind not in _KNOWN_DETAIL_TYPES:
        yield Ignored(f"EventBridge event: {excerpt(kind.encode('utf-8', 'replace'))}", position)
    elif bytes(envelope.detail)[:1] != b"{":
        yield malformed(where, envelope.detail, "an object", excerpt(envelope.detail))
    elif kind == _OBJECT_CREATED_TYPE:
        yield _object_created(envelope.detail, where)
    elif kind == batch_jobs.STATE_CHANGE:
        yield batch_jobs.state_change(envelope, where)
    else:
        yield Part(where, envelope.detail, Shape.CLOUDTRAIL)


def _object_created(
    detail: msgspec.Raw, position: Position
) -> Ignored | Malformed | ObjectReference:
    """Return the object that was created. Its key, unlike in S3's own notifications, is plain."""
    try:
        created = _OBJECT_CREATED.decode(detail)
    except DECODE_ERRORS as error:
        return malformed(position, detail, "bucket.name and object.key", str(error))
    reason = ignored_object(created.object.key)
    if reason is not None:
        return Ignored(f"object that holds no records: {reason}", position)
    return ObjectReference(
        bucket=created.bucket.name,
        key=created.object.key,
        version_id=created.object.version_id or "",
        size_bytes=-1 if created.object.size is None else created.object.size,
        position=position,
    )
