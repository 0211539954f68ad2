"""The bounds that every payload is read under."""

from dataclasses import dataclass
from typing import Final

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
_GIB: Final = 1024 * _MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a payload may cost at most. Beyond a bound it is refused, with the bound's name.

    Attributes:
        line_bytes_max: Longest line, JSON value or array element that is held in memory.
        message_bytes_max: Largest decompressed payload of one message (queue body, stream
            record, log subscription), which is decoded as a whole.
        object_bytes_max: Largest decompressed object or file, which is read as a stream.
        compression_ratio_max: Decompressed bytes per compressed byte. Genuine logs stay
            around 100; deflate ends at 1,032.
        compression_ratio_from_bytes: The ratio is not looked at before this much output.
        nesting_max: Wrappers around a record (a notification in a topic message in a queue).
        json_depth_max: Brackets open at once in a document that spans several lines.
        records_max: Records in one message, line or JSON value.
        object_records_max: Records in one object or file.
        block_bytes: Decompressed bytes that are read and decoded at a time.
    """

    line_bytes_max: int = 16 * _MIB
    message_bytes_max: int = 64 * _MIB
    object_bytes_max: int = 8 * _GIB
    compression_ratio_max: int = 300
    compression_ratio_from_bytes: int = 16 * _MIB
    nesting_max: int = 8
    json_depth_max: int = 128
    records_max: int = 200_000
    object_records_max: int = 50_000_000
    block_bytes: int = 256 * _KIB

    def __post_init__(self) -> None:
        """Refuse bounds that nothing could meet."""
        for name in self.__slots__:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.block_bytes > self.line_bytes_max:
            # Lines inside one block are not measured: they cannot be longer than the block.
            raise ValueError(
                f"block_bytes must be at most line_bytes_max ({self.line_bytes_max}), "
                f"not {self.block_bytes}"
            )


DEFAULT_LIMITS: Final = Limits()
