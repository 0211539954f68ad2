import asyncio
import gzip
import random
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.calls import DAY, NOON, asynchronous, entries, poster
from tests.notifications import BUCKET, naming
from tests.records import event, line, log, poison
from worker import __version__
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_objects import MemoryObject, MemoryObjectReader
from worker.adapters.memory_state import MemoryNotes
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.core.decoders import Block, Decoder, Limits
from worker.core.errors import (
    ConfigurationError,
    LedgerockError,
    TransientError,
    UnreadableObjectError,
)
from worker.core.results import DeliveryResult, ObjectReference
from worker.pipeline import Figures, Pipeline
from worker.pipeline import objects as objects_module
from worker.pipeline.objects import DENIED_ATTEMPTS, NOTE_KEPT_MS, ObjectBooks
from worker.ports import Processed

KEY = "AWSLogs/111122223333/BedrockModelInvocationLogs/us-east-1/2026/10/01/12/a b+ü.json.gz"
NAME = f"s3://{BUCKET}/{KEY}"
REFERENCE = ObjectReference(BUCKET, KEY)
CALLS = 1_500
FEW = 400
ROWS = [line(log(number)) for number in range(CALLS)]
PLAIN = b"\n".join(ROWS)
CONTENT = gzip.compress(PLAIN)
SMALL_BLOCKS = Limits(block_bytes=4_096)


class Still:
    def now_ms(self) -> int:
        return NOON


class Notebook(MemoryNotes):
    """Notes that tell what was kept, one after another."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[str] = []

    async def put(self, name: str, note: str, *, keep_until_ms: int) -> None:
        assert keep_until_ms == NOON + NOTE_KEPT_MS == NOON + 15 * DAY
        assert name.startswith(f"object/{NAME}@etag:")
        self.kept.append(note)
        await super().put(name, note, keep_until_ms=keep_until_ms)


class Watched(MemoryObject):
    """An object that tells how it was read, and fails after some pieces."""

    def __init__(
        self, content: bytes, piece_bytes: int, fault: LedgerockError | None, stuck: asyncio.Event
    ) -> None:
        super().__init__(content, piece_bytes)
        self.fault = fault
        self.pieces_read = 0
        self.pieces_ended = False
        self.closed = False
        self.stuck = stuck

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            async for piece in super().pieces():
                self.pieces_read += 1
                yield piece
                if self.fault is not None and self.pieces_read == 2:
                    self.stuck.set()
                    if isinstance(self.fault, StuckError):
                        await asyncio.get_running_loop().create_future()
                    raise self.fault
        finally:
            self.pieces_ended = True

    async def close(self) -> None:
        assert self.pieces_ended or not self.pieces_read
        self.closed = True


class StuckError(LedgerockError):
    """Stands for a connection that says nothing more."""


class Reader(MemoryObjectReader):
    """A reader that tells what it opened."""

    fault: LedgerockError | None = None
    refusal: LedgerockError | None = None

    def __init__(self, content: bytes | None = CONTENT, piece_bytes: int = 1_000) -> None:
        super().__init__({} if content is None else {NAME: content}, piece_bytes=piece_bytes)
        self.bytes_per_piece = piece_bytes
        self.opened: list[Watched] = []
        self.stuck = asyncio.Event()

    async def open(self, reference: ObjectReference) -> Watched:
        if self.refusal is not None:
            raise self.refusal
        await super().open(reference)
        watched = Watched(self.contents[NAME], self.bytes_per_piece, self.fault, self.stuck)
        self.opened.append(watched)
        return watched


class Worker:
    """A pipeline with objects, and everything in it that tests look at."""

    def __init__(self, reader: Reader, *, limits: Limits = SMALL_BLOCKS, calls: int = 100) -> None:
        self.reader = reader
        self.notes = Notebook()
        self.ledger = MemoryLedger()
        self.quarantine = MemoryQuarantine(Still())
        self.books = ObjectBooks(
            reader=reader, notes=self.notes, clock=Still(), limits=limits, chunk_calls=calls
        )
        self.pipeline = Pipeline(
            ledger=self.ledger,
            quarantine=self.quarantine,
            decoder=Decoder(),
            poster=poster(),
            objects=self.books,
        )

    async def deliver(self, **more: Any) -> Processed:
        [processed] = await self.pipeline.process([naming(KEY, **more)])
        assert all(one.closed for one in self.reader.opened)
        assert_no_threads()
        return processed

    async def calls(self) -> int:
        return len(await entries(self.ledger))

    async def put_aside(self) -> list[Any]:
        return [item.record async for item in self.quarantine.items()]


def assert_no_threads() -> None:
    for thread in threading.enumerate():
        if thread.name.startswith("object"):
            thread.join(10)
            assert not thread.is_alive()


@asynchronous
async def test_an_object_is_booked_once_in_chunks() -> None:
    worker = Worker(Reader(gzip.compress(b"\n".join([*ROWS, line(poison(9)), line(event(1))]))))
    processed = await worker.deliver()
    assert processed.result is DeliveryResult.ACKNOWLEDGED
    assert await worker.calls() == CALLS
    totals = await worker.ledger.totals("principal")
    assert sum(one.calls for one in totals.values()) == CALLS
    assert sum(one.input_tokens for one in totals.values()) == 1_000 * CALLS
    [record] = await worker.put_aside()
    assert record.position.source == NAME
    *counts, last = worker.notes.kept
    assert last == f"{__version__} done"
    assert len(counts) > CALLS // 200
    assert counts[-1] == f"{__version__} {CALLS + 2}"
    await worker.deliver(attempts=2)
    assert [one.pieces_read > 0 for one in worker.reader.opened] == [True, False]
    assert (worker.books.objects_skipped, worker.books.records_skipped) == (1, 0)


@given(st.integers(0, 2**32), st.sampled_from([17, 999, 100_000]))
def test_an_object_interrupted_anywhere_is_booked_once(seed: int, piece_bytes: int) -> None:
    chance = random.Random(seed)

    async def run() -> None:
        worker = Worker(Reader(gzip.compress(b"\n".join(ROWS[:FEW])), piece_bytes), calls=30)
        recorded = duplicates = 0
        while not worker.notes.kept or not worker.notes.kept[-1].endswith("done"):
            before = worker.books.records_skipped
            noted = worker.notes.kept[-1].split()[1] if worker.notes.kept else "0"
            chunks_left = chance.randrange(1, 8)
            digests = worker.books.read(REFERENCE, naming(KEY), poster)
            async with aclosing(digests):
                async for digest in digests:
                    committed = await worker.pipeline.book(digest)
                    recorded += committed.recorded
                    duplicates += committed.duplicates
                    chunks_left -= 1
                    if not chunks_left:
                        break
            assert worker.books.records_skipped - before == int(noted)
            assert worker.reader.opened[-1].closed
        assert recorded == FEW == await worker.calls()
        # Only the chunk that was booked last before an interruption is booked again.
        assert duplicates <= 45 * (len(worker.reader.opened) - 1)

    asyncio.run(run())
    assert_no_threads()


@asynchronous
async def test_notes_of_another_version_of_this_package_count_for_nothing() -> None:
    for text in ("0.0.0 done", "0.0.0 700"):
        worker = Worker(Reader())
        opened = await worker.reader.open(REFERENCE)
        await worker.notes.put(
            f"object/{NAME}@{opened.version}", text, keep_until_ms=NOON + 15 * DAY
        )
        worker.reader.opened.clear()
        await worker.deliver()
        assert await worker.calls() == CALLS
        assert (worker.books.objects_skipped, worker.books.records_skipped) == (0, 0)


@asynchronous
async def test_a_replaced_object_is_read_anew() -> None:
    worker = Worker(Reader(gzip.compress(ROWS[0])))
    await worker.deliver()
    worker.reader.contents[NAME] = gzip.compress(ROWS[1])
    await worker.deliver()
    assert await worker.calls() == 2
    assert worker.books.objects_skipped == 0


@asynchronous
async def test_objects_that_hold_no_records_are_not_opened() -> None:
    worker = Worker(Reader())
    key = "logs/us-east-1/amazon-bedrock-logs-permission-check"
    [processed] = await worker.pipeline.process([naming(key)])
    assert processed.result is DeliveryResult.ACKNOWLEDGED
    assert worker.reader.opened == []
    assert worker.notes.kept == []


@pytest.mark.parametrize(
    "attempts, age_ms, deferred",
    [
        pytest.param(1, 0, True, id="first"),
        pytest.param(2, 299_999, True, id="second"),
        pytest.param(3, 10_000, False, id="third"),
        pytest.param(1, 300_000, False, id="old"),
        pytest.param(2, None, True, id="of-unknown-age"),
        pytest.param(3, None, False, id="third-of-unknown-age"),
    ],
)
@asynchronous
async def test_a_missing_object_is_deferred_then_put_aside(
    attempts: int, age_ms: int | None, deferred: bool
) -> None:
    worker = Worker(Reader(None))
    sent_at_ms = 0 if age_ms is None else NOON - age_ms
    processed = await worker.deliver(attempts=attempts, sent_at_ms=sent_at_ms)
    records = await worker.put_aside()
    if deferred:
        assert processed.result is DeliveryResult.DEFERRED
        assert processed.reason == f"{NAME}: there is no such object, or not yet"
        assert records == []
        return
    assert processed.result is DeliveryResult.ACKNOWLEDGED
    [record] = records
    assert record.reason == "$: expected a readable object, found nothing: there is no such object"
    assert record.position.source == NAME
    # A redrive of what was put aside finds the object, should it be there by then.
    worker.reader.contents[NAME] = CONTENT
    outcomes = list(Decoder().decode(record.body))
    assert [type(one) for one in outcomes] == [ObjectReference]


@asynchronous
async def test_an_object_that_may_not_be_read_is_put_aside_after_a_while() -> None:
    worker = Worker(Reader())
    worker.reader.refusal = ConfigurationError("AWS denies s3:GetObject")
    for attempts in range(1, DENIED_ATTEMPTS):
        processed = await worker.deliver(attempts=attempts)
        assert processed.result is DeliveryResult.DEFERRED
        assert processed.reason == "AWS denies s3:GetObject"
    assert (await worker.deliver(attempts=DENIED_ATTEMPTS)).result is DeliveryResult.ACKNOWLEDGED
    [record] = await worker.put_aside()
    assert record.found == "one that may not be read: AWS denies s3:GetObject"


@asynchronous
async def test_an_archived_object_is_put_aside_at_once() -> None:
    worker = Worker(Reader())
    worker.reader.refusal = UnreadableObjectError(NAME, "an archived one")
    assert (await worker.deliver()).result is DeliveryResult.ACKNOWLEDGED
    [record] = await worker.put_aside()
    assert (record.found, record.body) == ("an archived one", naming(KEY).body)


@asynchronous
async def test_a_fault_within_an_object_loses_nothing() -> None:
    worker = Worker(Reader(PLAIN, piece_bytes=len(PLAIN) // 3))
    worker.reader.fault = TransientError("connection lost")
    processed = await worker.deliver()
    assert (processed.result, processed.reason) == (DeliveryResult.DEFERRED, "connection lost")
    booked = await worker.calls()
    assert 0 < booked < CALLS
    assert worker.notes.kept[-1] == f"{__version__} {booked}"
    worker.reader.fault = None
    assert (await worker.deliver(attempts=2)).result is DeliveryResult.ACKNOWLEDGED
    assert await worker.calls() == CALLS
    assert worker.books.records_skipped == booked


@asynchronous
async def test_an_object_replaced_while_it_is_read_keeps_what_was_read() -> None:
    worker = Worker(Reader(PLAIN, piece_bytes=len(PLAIN) // 3))
    worker.reader.fault = UnreadableObjectError(NAME, "another version")
    assert (await worker.deliver()).result is DeliveryResult.ACKNOWLEDGED
    assert 0 < await worker.calls() < CALLS
    [record] = await worker.put_aside()
    assert record.found == "another version"
    # A redrive takes up where it broke off.
    assert not worker.notes.kept[-1].endswith("done")


@asynchronous
async def test_a_bomb_is_refused_and_not_read_on() -> None:
    limits = Limits(compression_ratio_from_bytes=65_536, block_bytes=4_096)
    bomb = gzip.compress(b"\n".join(ROWS[:10]) + b"\n") + 30 * gzip.compress(b"\n" * 10_000_000)
    worker = Worker(Reader(bomb, piece_bytes=100), limits=limits)
    assert (await worker.deliver()).result is DeliveryResult.ACKNOWLEDGED
    assert await worker.calls() == 10
    [record] = await worker.put_aside()
    assert record.found.endswith("the rest was not read")
    [opened] = worker.reader.opened
    assert opened.pieces_read < len(bomb) // 200


@asynchronous
async def test_a_deadline_stops_the_thread_and_keeps_what_was_booked() -> None:
    worker = Worker(Reader(PLAIN, piece_bytes=len(PLAIN) // 3))
    worker.reader.fault = StuckError("nothing comes any more")
    loop = asyncio.get_running_loop()
    figures: list[Figures] = []
    processed: list[Processed] = []
    async with asyncio.timeout(30):
        async for step in worker.pipeline.steps([naming(KEY)], deadline=loop.time() + 0.2):
            figures.append(step.figures)
            processed += step.processed
    [ended] = processed
    assert ended.result is DeliveryResult.DEFERRED
    assert "out of time" in ended.reason
    booked = sum(one.recorded for one in figures)
    assert await worker.calls() >= booked
    [opened] = worker.reader.opened
    assert opened.closed
    assert opened.pieces_ended
    assert_no_threads()


@asynchronous
async def test_cancelling_stops_the_thread() -> None:
    worker = Worker(Reader(PLAIN, piece_bytes=len(PLAIN) // 3), calls=CALLS)
    worker.reader.fault = StuckError("nothing comes any more")
    working = asyncio.create_task(worker.pipeline.process([naming(KEY)]))
    async with asyncio.timeout(30):
        await worker.reader.stuck.wait()
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert worker.reader.opened[0].closed
    assert_no_threads()
    assert len(asyncio.all_tasks()) == 1


class Lazy(Decoder):
    """A decoder whose thread waits in the middle until the event loop lets it go on."""

    begun = threading.Event()
    let_go = threading.Event()

    def decode_stream(self, chunks: Iterable[bytes], *, source: str) -> Iterator[Block]:
        for block in super().decode_stream(chunks, source=source):
            self.begun.set()
            assert self.let_go.wait(30)
            yield block


@asynchronous
async def test_the_event_loop_is_free_while_an_object_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(objects_module, "Decoder", Lazy)
    worker = Worker(Reader())
    Lazy.let_go.clear()
    working = asyncio.create_task(worker.pipeline.process([naming(KEY)]))
    assert await asyncio.to_thread(Lazy.begun.wait, 30)
    assert not working.done()
    Lazy.let_go.set()
    assert (await working)[0].result is DeliveryResult.ACKNOWLEDGED
    assert await worker.calls() == CALLS


@asynchronous
async def test_every_chunk_is_posted_by_the_poster_of_its_time() -> None:
    worker = Worker(Reader())
    posters = [poster()]
    asked: list[int] = []

    def current() -> Any:
        asked.append(len(posters))
        return posters[-1]

    async with aclosing(worker.books.read(REFERENCE, naming(KEY), current)) as digests:
        async for digest in digests:
            await worker.pipeline.book(digest)
            posters.append(poster())
    assert asked == list(range(1, len(posters)))


class Broken(MemoryNotes):
    async def get(self, name: str) -> str | None:
        raise ConfigurationError(f"there is no table for {name}")


@asynchronous
async def test_notes_that_cannot_be_kept_are_no_fault_of_the_object() -> None:
    reader = Reader()
    books = ObjectBooks(reader=reader, notes=Broken(), clock=Still())
    with pytest.raises(ConfigurationError, match="no table"):
        [one async for one in books.read(REFERENCE, naming(KEY, attempts=9), poster)]
    assert reader.opened[0].closed


@asynchronous
async def test_what_a_decoder_fails_on_is_put_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Decoder):
        def decode_stream(self, chunks: Iterable[bytes], *, source: str) -> Iterator[Block]:
            for number, block in enumerate(super().decode_stream(chunks, source=source)):
                if number == 3:
                    raise KeyError("no such thing")
                yield block

    monkeypatch.setattr(objects_module, "Decoder", Failing)
    worker = Worker(Reader())
    assert (await worker.deliver()).result is DeliveryResult.ACKNOWLEDGED
    assert 0 < await worker.calls() < CALLS
    [record] = await worker.put_aside()
    assert "no such thing" in record.found


@asynchronous
async def test_several_objects_of_one_notification_end_together() -> None:
    worker = Worker(Reader())
    keys: Sequence[str] = [KEY, "not/there.json.gz"]
    [processed] = await worker.pipeline.process([naming(*keys)])
    assert processed.result is DeliveryResult.DEFERRED
    assert await worker.calls() == CALLS
    [processed] = await worker.pipeline.process([naming(*keys, attempts=3)])
    assert processed.result is DeliveryResult.ACKNOWLEDGED
    assert worker.books.objects_skipped == 1
    assert len(await worker.put_aside()) == 1
