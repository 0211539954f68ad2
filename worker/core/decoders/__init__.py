"""Event formats, one file each, and the entry that tells them apart."""

from worker.core.decoders.decoder import Decoder
from worker.core.decoders.limits import DEFAULT_LIMITS, Limits
from worker.core.decoders.objects import ignored_object
from worker.core.decoders.stream import Block

__all__ = ["DEFAULT_LIMITS", "Block", "Decoder", "Limits", "ignored_object"]
