"""Booking the objects that notifications name: streamed, in chunks, each version once.

An object is decoded in a thread of its own, so that the event loop stays free for heartbeats,
one chunk ahead of what is being booked and no further. How far a version was booked is noted
after each chunk; a redelivery skips as much. The note only saves work: what is read twice is
booked once all the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import aclosing
from functools import partial
from typing import Any, Final, TypeVar

import msgspec

from worker import __version__
from worker.core.decoders import DEFAULT_LIMITS, Decoder, Limits, ignored_object
from worker.core.decoders.fields import QUARANTINED_BODY_BYTES_MAX
from worker.core.errors import (
    ConfigurationError,
    LedgerockError,
    MissingObjectError,
    TransientError,
    UnreadableObjectError,
)
from worker.core.evidence import Observation
from worker.core.posting import Poster
from worker.core.results import Ignored, Malformed, ObjectReference, Outcome, Position
from worker.pipeline.digest import Digest, Digester, undecodable
from worker.ports import Clock, Delivery, Notes, ObjectReader, OpenedObject

Result = TypeVar("Result")

CHUNK_CALLS: Final = 2_000
"""Calls booked at once."""
CHUNK_OTHERS: Final = 256
"""Malformed records booked at once; each may be 256 KiB."""
CHUNK_MALFORMED_BYTES: Final = 8 * 1_048_576
"""Bytes of malformed records' bodies, after which no more are booked at once."""
CHUNK_RECORDS: Final = 20_000
"""Records of all kinds, those that are no calls included."""

OBJECTS_READ_AT_ONCE: Final = 4
"""Objects that a process reads at once, whoever asks: each holds a few chunks in memory."""

NOTE_KEPT_MS: Final = 15 * 86_400_000
"""A day longer than a queue keeps a message at most."""
DONE: Final = "done"

MISSING_ATTEMPTS: Final = 3
MISSING_MS: Final = 5 * 60_000
"""How long an object that is not there is waited for: so many deliveries, and no longer."""
DENIED_ATTEMPTS: Final = 4
DENIED_MS: Final = 5 * 60_000
"""Deliveries after which an object that may not be read is put aside; two are enough if it is
as old as that.

A function that is invoked asynchronously counts the minutes, and is invoked for the last time
three minutes after the first (AWS documentation: "How Lambda handles errors and retries with
asynchronous invocation"): that is its fourth.
New permissions take a while to be known everywhere, and S3 denies what is missing to those who
may not list the bucket. A notification may also name anybody's bucket, so that it must neither
stop the worker nor come back for ever.
"""
PASSING_ATTEMPTS: Final = 100
PASSING_MS: Final = 6 * 3_600_000
PASSING_ATTEMPTS_UNDATED: Final = 1_000
"""Deliveries after which no fault of reading an object is a passing one any more, if it is as old
as that as well: neither a backlog nor an outage makes a good object a bad one. Where nobody knows
how old it is, only many more deliveries tell as much."""

STRANGE_RECORDS: Final = 100
"""An object that begins with so many malformed records is no log: it is put aside as a whole."""

_OWN_ITEM: Final = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{18}\.json")
"""What the quarantine calls an item, below its place: its id, after the first two digits."""

Refusal = MissingObjectError | UnreadableObjectError | ConfigurationError | TransientError
_REFUSALS: Final = (
    MissingObjectError,
    UnreadableObjectError,
    ConfigurationError,
    TransientError,
)


class ObjectBooks:
    """Reads objects in chunks that the pipeline books one after another.

    Attributes:
        objects_skipped: Objects that were found booked already.
        records_skipped: Records left out of others because they were booked already.

    Args:
        reader: Opens objects.
        notes: Keeps how far each version of an object was booked.
        clock: Ledger time.
        limits: Bounds on what an object may cost.
        chunk_calls: Calls booked at once.
        quarantine_place: Where in S3 quarantined records are kept, `s3://bucket/prefix`: should
            that be told of as well, they are left alone. None for elsewhere.
    """

    def __init__(
        self,
        *,
        reader: ObjectReader,
        notes: Notes,
        clock: Clock,
        limits: Limits = DEFAULT_LIMITS,
        chunk_calls: int = CHUNK_CALLS,
        quarantine_place: str | None = None,
    ) -> None:
        """Read nothing yet."""
        self._own = f"{quarantine_place.rstrip('/')}/" if quarantine_place else None
        self._reader = reader
        self._notes = notes
        self._clock = clock
        self._limits = limits
        self._chunk_calls = chunk_calls
        self._slots = asyncio.Semaphore(OBJECTS_READ_AT_ONCE)
        self.objects_skipped = 0
        self.records_skipped = 0

    async def read(
        self, reference: ObjectReference, delivery: Delivery, poster: Callable[[], Poster]
    ) -> AsyncGenerator[Digest, None]:
        """Yield an object's digests; the one before is booked when the next is asked for.

        What cannot be read, now and later, becomes a digest with one malformed record, which
        holds the delivery's body. Begins once few enough other objects are being read; until
        it ends or is closed, it counts as one of them.

        Raises:
            TransientError: It is not there yet, or cannot be read now.
        """
        if ignored_object(reference.key) is not None or self._is_own(reference):
            return
        async with (
            self._slots,
            aclosing(self._opened(reference, delivery, poster)) as digests,
        ):
            async for digest in digests:
                yield digest

    async def _opened(
        self, reference: ObjectReference, delivery: Delivery, poster: Callable[[], Poster]
    ) -> AsyncGenerator[Digest, None]:
        """Open an object and yield its digests."""
        try:
            opened = await self._reader.open(reference)
        except _REFUSALS as error:
            yield _refused(self._refusal(error, reference, delivery), poster())
            return
        try:
            async with aclosing(self._chunks(opened, reference, delivery, poster)) as digests:
                async for digest in digests:
                    yield digest
        finally:
            await opened.close()

    async def _chunks(
        self,
        opened: OpenedObject,
        reference: ObjectReference,
        delivery: Delivery,
        poster: Callable[[], Poster],
    ) -> AsyncGenerator[Digest, None]:
        """Yield the digests of an object from where an earlier delivery left it."""
        source = name_of(reference)
        note = f"object/{source}@{opened.version}"
        booked = _booked(await self._notes.get(note))
        if booked is None:
            self.objects_skipped += 1
            return
        self.records_skipped += booked
        decoding = _Decoding(opened.pieces(), source, self._limits, booked, self._chunk_calls)
        try:
            ahead = decoding.start(decoding.chunk)
            while True:
                try:
                    chunk = await asyncio.wrap_future(ahead)
                except _REFUSALS as error:
                    # Not noted as done: once it can be read, a redrive goes on from here.
                    yield _refused(self._refusal(error, reference, delivery), poster())
                    return
                if chunk is None:
                    break
                # Only now: booking the chunk before may have taught the poster something.
                digesting = decoding.start(partial(_digest, chunk.outcomes, poster()))
                digest = await asyncio.wrap_future(digesting)
                if digest.batch.profiles or digest.lifecycle:
                    digest.outcomes = chunk.outcomes
                ahead = decoding.start(decoding.chunk)
                yield digest
                await self._note(note, str(chunk.records))
            await self._note(note, DONE)
        finally:
            await decoding.stop()

    async def _note(self, name: str, text: str) -> None:
        keep_until_ms = self._clock.now_ms() + NOTE_KEPT_MS
        await self._notes.put(name, f"{__version__} {text}", keep_until_ms=keep_until_ms)

    def _is_own(self, reference: ObjectReference) -> bool:
        """Whether this is an item of quarantine; logs may lie in the very same folder."""
        name = name_of(reference)
        if self._own is None or not name.startswith(self._own):
            return False
        return _OWN_ITEM.fullmatch(name, len(self._own)) is not None

    def _may_pass(self, delivery: Delivery) -> bool:
        """Whether a passing fault of reading an object is still believed to be one."""
        if not delivery.sent_at_ms:
            return delivery.attempts < PASSING_ATTEMPTS_UNDATED
        age_ms = self._clock.now_ms() - delivery.sent_at_ms
        return delivery.attempts < PASSING_ATTEMPTS or age_ms < PASSING_MS

    def _refusal(self, error: Refusal, reference: ObjectReference, delivery: Delivery) -> Malformed:
        """Return what to put aside for an object that cannot be read.

        Raises:
            TransientError: Not yet: it may be readable later.
        """
        age_ms = self._clock.now_ms() - delivery.sent_at_ms if delivery.sent_at_ms else 0
        if isinstance(error, MissingObjectError):
            if delivery.attempts < MISSING_ATTEMPTS and age_ms < MISSING_MS:
                raise TransientError(f"{error}, or not yet") from error
            found = "nothing: there is no such object"
        elif isinstance(error, UnreadableObjectError):
            found = error.found
        elif isinstance(error, TransientError):
            if self._may_pass(delivery):
                raise error
            found = f"one that could not be read {delivery.attempts:,} times: {error}"
        else:
            enough = 2 if age_ms >= DENIED_MS else DENIED_ATTEMPTS
            if delivery.attempts < enough:
                raise TransientError(str(error)) from error
            found = f"one that may not be read: {error}"
        body = delivery.body
        return Malformed(
            path="$",
            expected="a readable object",
            found=found,
            body=body[:QUARANTINED_BODY_BYTES_MAX],
            truncated=len(body) > QUARANTINED_BODY_BYTES_MAX,
            position=Position(name_of(reference)),
        )


def name_of(reference: ObjectReference) -> str:
    """Return `s3://bucket/key`."""
    return f"s3://{reference.bucket}/{reference.key}"


def no_log(source: str, found: str) -> Malformed:
    """Return what stands for an object that is no log; a redrive reads it again.

    Args:
        source: The object.
        found: What its first record was instead of one.
    """
    return Malformed(
        path="$",
        expected="log records",
        found=f"{found}, and {STRANGE_RECORDS - 1} more that are none",
        body=b"",
        truncated=True,
        position=Position(source),
    )


def _booked(note: str | None) -> int | None:
    """Return how many records a note says were booked; None if all were.

    Another version of this package may have read the records differently: it counts for nothing.
    """
    version, _, text = (note or "").partition(" ")
    if version != __version__:
        return 0
    return None if text == DONE else int(text)


def _refused(malformed: Malformed, poster: Poster) -> Digest:
    return _digest([malformed], poster)


def _digest(outcomes: list[Outcome], poster: Poster) -> Digest:
    digester = Digester(poster)
    digester.add(outcomes)
    return digester.digest()


def _may_be_no_log(outcomes: list[Outcome]) -> bool:
    """Whether more of an object's beginning tells whether it is a log."""
    return len(outcomes) < STRANGE_RECORDS and all(isinstance(one, Malformed) for one in outcomes)


class _Chunk(msgspec.Struct, gc=False):
    """Records to be booked at once, and how many there were up to their end."""

    outcomes: list[Outcome]
    records: int


class _StoppedError(BaseException):
    """Unwinds the decoder's thread, through whatever catches mere exceptions."""


class _Decoding:
    """Decodes an object in a thread of its own.

    The thread pulls the pieces of the object from the event loop, and hands over chunks when
    asked to. All methods but `chunk` are called on the event loop.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        source: str,
        limits: Limits,
        skipped: int,
        chunk_calls: int,
    ) -> None:
        """Begin nothing yet; `skipped` records from the start are left out."""
        self._loop = asyncio.get_running_loop()
        self._pieces = pieces
        self._source = source
        self._skipped = skipped
        self._chunk_calls = chunk_calls
        # Not the loop's own executor: it looks up addresses, which reading a piece may need.
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="object")
        self._blocks = Decoder(limits).decode_stream(self._pulled(), source=source)
        self._records = 0
        self._fault: Exception | None = None
        self._pulling: asyncio.Task[bytes | None] | None = None
        self._working: Future[Any] | None = None
        self._stopped = False

    def start(self, work: Callable[[], Result]) -> Future[Result]:
        """Have the thread do something, once it has done what it was told before."""
        future = self._executor.submit(work)
        self._working = future
        return future

    def chunk(self) -> _Chunk | None:
        """Return the next records; None after the last.

        Raises:
            LedgerockError: The object cannot be read on; all before it was returned.
        """
        if self._fault is not None:
            raise self._fault
        outcomes: list[Outcome] = []
        calls = others = malformed_bytes = 0
        first = self._records == 0 == self._skipped
        try:
            for block in self._blocks:
                new = block.outcomes[max(0, self._skipped - self._records) :]
                self._records += len(block.outcomes)
                outcomes += new
                calls += sum(isinstance(one, Observation) for one in new)
                others += sum(not isinstance(one, Observation | Ignored) for one in new)
                malformed_bytes += sum(len(one.body) for one in new if isinstance(one, Malformed))
                if malformed_bytes >= CHUNK_MALFORMED_BYTES and not (
                    first and _may_be_no_log(outcomes)
                ):
                    break
                if (
                    calls >= self._chunk_calls
                    or others >= CHUNK_OTHERS
                    or len(outcomes) >= CHUNK_RECORDS
                ):
                    break
        except LedgerockError as error:
            if not outcomes:
                raise
            self._fault = error
        except Exception as error:  # noqa: BLE001 - one object must not hold up the others
            outcomes.append(undecodable(error, b"", Position(self._source)))
        if first and (whole := self._no_log(outcomes)) is not None:
            self._blocks = iter(())
            self._fault = None
            # As if nothing was read: a redelivery comes to the same end, not to the rest.
            return _Chunk([whole], 0)
        return _Chunk(outcomes, self._records) if outcomes else None

    def _no_log(self, outcomes: list[Outcome]) -> Malformed | None:
        """Return what stands for the object, if it begins as no log does."""
        beginning = outcomes[:STRANGE_RECORDS]
        malformed = [one for one in beginning if isinstance(one, Malformed)]
        if len(malformed) < STRANGE_RECORDS:
            return None
        return no_log(self._source, malformed[0].found)

    def _pulled(self) -> Iterator[bytes]:
        """Yield the object's pieces, in the thread."""
        while True:
            if self._stopped:
                raise _StoppedError
            pulling = asyncio.run_coroutine_threadsafe(self._pull(), self._loop)
            try:
                piece = pulling.result()
            except CancelledError:
                raise _StoppedError from None
            if piece is None:
                return
            yield piece

    async def _pull(self) -> bytes | None:
        if self._stopped:
            raise _StoppedError
        self._pulling = asyncio.current_task()
        return await anext(self._pieces, None)

    async def stop(self) -> None:
        """End the thread, wherever it is, and let go of the pieces."""
        self._stopped = True
        if self._pulling is not None:
            self._pulling.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
        cancelled: asyncio.CancelledError | None = None
        while self._working is not None and not self._working.done():
            # A moment at most: nothing may go on with the pieces while they are closed.
            try:
                ended, _ = await asyncio.wait([asyncio.wrap_future(self._working)])
                for one in ended:
                    one.exception()  # which nobody else will ask for
            except asyncio.CancelledError as error:
                cancelled = error
        await self._pieces.aclose()
        if cancelled is not None:
            raise cancelled
