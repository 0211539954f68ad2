"""Decompression in blocks, by magic number, within bounds."""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from isal import isal_zlib

from worker.core.decoders.limits import Limits

GZIP_MAGIC: Final = b"\x1f\x8b"
_ZLIB_HEADERS: Final = (b"\x78\x01", b"\x78\x5e", b"\x78\x9c", b"\x78\xda")
_GZIP_WINDOW_BITS: Final = 31
_ZLIB_WINDOW_BITS: Final = 15
_INPUT_BYTES: Final = 64 * 1024
_RESCUE_BYTES_MAX: Final = 8 * 1024 * 1024
_MAGIC_BYTES: Final = 2
# The stubs declare the class of isal's errors as an instance.
_IsalError: type[Exception] = isal_zlib.error  # type: ignore[assignment]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why the bytes of a payload end here: the last thing that `inflate` yields, if at all.

    Attributes:
        expected: What was expected (`a complete gzip stream`).
        found: What was found instead.
    """

    expected: str
    found: str


class _Decompressor(Protocol):
    """The part of `zlib.decompressobj` that is used here."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def unconsumed_tail(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = ..., /) -> bytes: ...


def compression(head: bytes) -> str:
    """Return `gzip`, `zlib` or an empty string, by the first two bytes of a payload."""
    if head[:_MAGIC_BYTES] == GZIP_MAGIC:
        return "gzip"
    return "zlib" if head[:_MAGIC_BYTES] in _ZLIB_HEADERS else ""


def slices(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Cut chunks of any size anew into slices of exactly `size` bytes (the last may be short).

    What is decoded then cannot depend on how a transport happened to cut its bytes.
    """
    held: list[bytes] = []
    held_bytes = 0
    for chunk in chunks:
        held.append(chunk)
        held_bytes += len(chunk)
        if held_bytes < size:
            continue
        joined = b"".join(held) if len(held) > 1 else chunk
        whole = held_bytes - held_bytes % size
        for start in range(0, whole, size):
            yield joined[start : start + size]
        held = [joined[whole:]]
        held_bytes -= whole
    if held_bytes:
        yield b"".join(held)


def inflate(chunks: Iterable[bytes], limits: Limits, bytes_max: int) -> Iterator[bytes | Fault]:
    """Yield the decompressed bytes of a payload in blocks of at most `limits.block_bytes`.

    Plain bytes pass through. Gzip may have several members and zero padding. Whatever goes
    wrong, all bytes before the fault are yielded first, as far as they can be recovered.

    Args:
        chunks: The payload, in pieces of any size.
        limits: Bounds on the compression ratio and the block size.
        bytes_max: Largest decompressed size.
    """
    stream = slices(chunks, _INPUT_BYTES)
    first = next(stream, b"")
    kind = compression(first)
    blocks = _Inflation(kind, limits).run(first, stream) if kind else _plain(first, stream, limits)
    total = 0
    for block in blocks:
        if isinstance(block, bytes):
            total += len(block)
            if total > bytes_max:
                kept = len(block) - (total - bytes_max)
                if kept:
                    yield block[:kept]
                yield Fault(
                    expected=f"at most {bytes_max:,} bytes of content",
                    found="more; the rest was not read",
                )
                return
        yield block


LAYERS_MAX: Final = 3
"""Compressions inside each other that are undone: Firehose can compress what is compressed."""


def inflate_layers(
    chunks: Iterable[bytes], limits: Limits, bytes_max: int, layers_max: int = LAYERS_MAX
) -> Iterator[bytes | Fault]:
    """Do the same as `inflate`, also for content that is itself compressed.

    A Firehose stream that compresses its output writes gzip of the gzip members that CloudWatch
    Logs sent (AWS documentation: "Send CloudWatch Logs to Firehose").
    """
    blocks = inflate(chunks, limits, bytes_max)
    first = next(blocks, None)
    if first is None:
        return
    if isinstance(first, Fault) or layers_max <= 1 or not compression(first):
        yield first
        yield from blocks
        return
    outer_fault: Fault | None = None

    def content() -> Iterator[bytes]:
        nonlocal outer_fault
        yield first
        for block in blocks:
            if isinstance(block, Fault):
                outer_fault = block
                return
            yield block

    for block in inflate_layers(content(), limits, bytes_max, layers_max - 1):
        if isinstance(block, Fault):
            # What the inner layer lacks, if the outer one broke off, is the outer one's fault.
            yield outer_fault or block
            return
        yield block
    if outer_fault is not None:
        yield outer_fault


def _plain(first: bytes, stream: Iterator[bytes], limits: Limits) -> Iterator[bytes | Fault]:
    def everything() -> Iterator[bytes]:
        yield first
        yield from stream

    yield from slices(everything(), limits.block_bytes)


class _Inflation:
    """One compressed payload on its way through the decompressor."""

    def __init__(self, kind: str, limits: Limits) -> None:
        self.kind = kind
        self.limits = limits
        self.window_bits = _GZIP_WINDOW_BITS if kind == "gzip" else _ZLIB_WINDOW_BITS
        self.consumed_bytes = 0
        self.produced_bytes = 0
        self.history: list[bytes] = []
        self.history_bytes = 0
        self.member_bytes = 0
        self.engine = self._new_engine()

    def _new_engine(self) -> _Decompressor:
        self.history = []
        self.history_bytes = 0
        self.member_bytes = 0
        engine: _Decompressor = isal_zlib.decompressobj(self.window_bits)
        return engine

    def run(self, first: bytes, stream: Iterator[bytes]) -> Iterator[bytes | Fault]:
        """Yield the content of all members, and the fault that ends them if there is one."""
        data = first
        while data:
            for block in self._slice(data):
                yield block
                if isinstance(block, Fault):
                    return
            if not self.engine.eof:
                data = next(stream, b"")
                continue
            data = self._after_member(stream)
            if data:
                if self.kind != "gzip" or compression(data) != "gzip":
                    yield self._fault("bytes after its end that are no gzip member")
                    return
                self.engine = self._new_engine()
        if not self.engine.eof:
            yield self._fault("its end missing")

    def _after_member(self, stream: Iterator[bytes]) -> bytes:
        """Return what follows a member, without zero padding; empty at the end."""
        rest = self.engine.unused_data.lstrip(b"\0")
        # A member's end and the next one's magic may fall into different slices.
        while len(rest) < _MAGIC_BYTES:
            more = next(stream, b"")
            if not more:
                break
            rest = (rest + more).lstrip(b"\0")
        return rest

    def _slice(self, data: bytes) -> Iterator[bytes | Fault]:
        """Push one slice of input through, block by block."""
        self.history_bytes += len(data)
        self.history.append(data)
        if self.history_bytes > _RESCUE_BYTES_MAX:
            self.history = []
        self.consumed_bytes += len(data)
        pending = data
        while pending or not self.engine.eof:
            try:
                block = self.engine.decompress(pending, self.limits.block_bytes)
            except _IsalError as error:
                for block in self._rescue():
                    self.produced_bytes += len(block)
                    yield block
                yield self._fault(f"damage ({error})")
                return
            if block:
                self.produced_bytes += len(block)
                self.member_bytes += len(block)
                yield block
            if self._is_bomb():
                yield Fault(
                    expected=f"at most {self.limits.compression_ratio_max} decompressed bytes "
                    f"per compressed byte",
                    found=f"{self.produced_bytes:,} bytes out of {self.consumed_bytes:,}; "
                    "the rest was not read",
                )
                return
            pending = self.engine.unconsumed_tail
            if self.engine.eof or (not pending and len(block) < self.limits.block_bytes):
                break
        if self.engine.eof:
            self.consumed_bytes -= len(self.engine.unused_data)

    def _is_bomb(self) -> bool:
        return (
            self.produced_bytes > self.limits.compression_ratio_from_bytes
            and self.produced_bytes > self.consumed_bytes * self.limits.compression_ratio_max
        )

    def _rescue(self) -> Iterator[bytes]:
        """Yield what the damaged slice still held before the damage.

        A decompressor that raises keeps what it had already made of its input. The member is
        run again from its start, byte by byte at the end, unless it is too long to be kept.
        """
        engine = zlib.decompressobj(self.window_bits)
        skipped_bytes = self.member_bytes
        if not self.history:
            return
        pieces = [*self.history[:-1], *(bytes((byte,)) for byte in self.history[-1])]
        for piece in pieces:
            data = piece
            while True:
                try:
                    block = engine.decompress(data, self.limits.block_bytes)
                except zlib.error:
                    return
                fresh = block[skipped_bytes:]
                skipped_bytes = max(0, skipped_bytes - len(block))
                if fresh:
                    yield fresh
                data = engine.unconsumed_tail
                if not data and len(block) < self.limits.block_bytes:
                    break

    def _fault(self, found: str) -> Fault:
        return Fault(
            expected=f"a complete {self.kind} stream",
            found=f"{found}, after {self.produced_bytes:,} decompressed bytes",
        )
