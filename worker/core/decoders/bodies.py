"""What the bodies of an invocation log add to its envelope."""

import msgspec

from worker.core.evidence import Counts


class Envelope(msgspec.Struct, gc=False):
    model_id: str
    input_tokens: int | None
    output_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    image_width: msgspec.Raw
    image_height: msgspec.Raw
    video_duration_seconds: msgspec.Raw


class Itemised(msgspec.Struct, gc=False):
    counts: Counts
    service_tier: str = ""


def itemise(
    envelope: Envelope, input_body: msgspec.Raw, output_body: msgspec.Raw
) -> Itemised | None:
    """Return what the bodies add, or None if nothing."""
    return None
