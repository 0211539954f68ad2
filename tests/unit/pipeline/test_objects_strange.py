"""Objects that are no logs, that are the ledger's own, or that cannot be read for long."""

import asyncio
import gzip
from collections.abc import Sequence

import pytest

from handlers.booking import MS_PER_ATTEMPT
from tests.calls import NOON, asynchronous, entries, poster
from tests.notifications import BUCKET, notification
from tests.records import line, log, poison
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.memory_objects import MemoryObject, MemoryObjectReader
from worker.adapters.memory_state import MemoryNotes
from worker.adapters.quarantine_memory import MemoryQuarantine
from worker.adapters.quarantine_records import encode_record
from worker.core.decoders import Decoder, Limits
from worker.core.errors import ConfigurationError, LedgerockError, TransientError
from worker.core.results import DeliveryResult, Malformed, ObjectReference
from worker.pipeline import Pipeline
from worker.pipeline.objects import (
    CHUNK_MALFORMED_BYTES,
    OBJECTS_READ_AT_ONCE,
    PASSING_ATTEMPTS,
    PASSING_ATTEMPTS_UNDATED,
    PASSING_MS,
    STRANGE_RECORDS,
    ObjectBooks,
)
from worker.ports import Delivery, Processed, QuarantinedRecord

PLACE = f"s3://{BUCKET}/logs/aside"
MINUTE_MS = 60_000


class Still:
    def now_ms(self) -> int:
        return NOON


class Reader(MemoryObjectReader):
    """A reader that tells what it opened, and may refuse to."""

    refusal: LedgerockError | None = None

    def __init__(self) -> None:
        super().__init__({})
        self.opened: list[str] = []

    async def open(self, reference: ObjectReference) -> MemoryObject:
        self.opened.append(reference.key)
        if self.refusal is not None:
            raise self.refusal
        return await super().open(reference)


class World:
    """A pipeline, and the bucket whose notifications it gets."""

    def __init__(self, *, place: str | None = None) -> None:
        self.reader = Reader()
        self.notes = MemoryNotes()
        self.ledger = MemoryLedger()
        self.quarantine = MemoryQuarantine(Still())
        self.pipeline = Pipeline(
            ledger=self.ledger,
            quarantine=self.quarantine,
            decoder=Decoder(),
            poster=poster(),
            objects=ObjectBooks(
                reader=self.reader, notes=self.notes, clock=Still(), quarantine_place=place
            ),
        )

    def put(self, key: str, content: bytes) -> None:
        self.reader.contents = {**self.reader.contents, f"s3://{BUCKET}/{key}": content}

    async def deliver(self, key: str, *, attempts: int = 1, age_ms: int | None = 0) -> Processed:
        sent_at_ms = 0 if age_ms is None else NOON - age_ms
        delivery = Delivery(notification(key), "r", attempts=attempts, sent_at_ms=sent_at_ms)
        [processed] = await self.pipeline.process([delivery])
        return processed

    async def put_aside(self) -> list[QuarantinedRecord]:
        return [item async for item in self.quarantine.items()]


def of_the_quarantine(item: QuarantinedRecord, folder: str) -> tuple[str, bytes]:
    """Key and content of what a quarantine in S3 writes for an item."""
    key = f"{folder}/{item.id[:2]}/{item.id}.json"
    return key, encode_record(item.id, item.record, item.quarantined_at_ms)


@asynchronous
async def test_a_quarantined_record_in_the_bucket_of_the_logs_is_not_quarantined_again() -> None:
    world = World()
    world.put("logs/1", b"garbage")
    await world.deliver("logs/1")
    [item] = await world.put_aside()
    key, content = of_the_quarantine(item, "anywhere")
    for stored in (content, gzip.compress(content)):
        world.put(key, stored)
        assert (await world.deliver(key)).result is DeliveryResult.ACKNOWLEDGED
    assert await world.put_aside() == [item]


@asynchronous
async def test_the_place_of_the_quarantine_is_left_alone_but_for_logs_in_it() -> None:
    world = World(place=PLACE)
    world.put("logs/1", b"garbage")
    await world.deliver("logs/1")
    [item] = await world.put_aside()
    key, content = of_the_quarantine(item, "logs/aside")
    world.put(key, content)
    await world.deliver(key)
    assert world.reader.opened == ["logs/1"]
    elsewhere = ("logs/aside/12/call.json", key.replace("aside", "aside2"))
    for number, other in enumerate(elsewhere):
        world.put(other, line(log(number)))
        await world.deliver(other)
    assert world.reader.opened == ["logs/1", *elsewhere]
    assert len(await entries(world.ledger)) == len(elsewhere)


@pytest.mark.parametrize("malformed", [STRANGE_RECORDS, 5_000])
@asynchronous
async def test_an_object_that_begins_as_no_log_does_is_put_aside_as_a_whole(malformed: int) -> None:
    world = World()
    rows = [b"bucket,key,%d" % number for number in range(malformed)]
    world.put("list.csv", b"\n".join([*rows, line(log(1))]))
    for attempts in (1, 2):
        processed = await world.deliver("list.csv", attempts=attempts)
        assert processed.result is DeliveryResult.ACKNOWLEDGED
    [item] = await world.put_aside()
    record = item.record
    assert (record.expected, record.position.source) == ("log records", f"s3://{BUCKET}/list.csv")
    assert "bucket,key,0" in record.found
    assert (record.body, record.truncated) == (b"", True)
    assert await entries(world.ledger) == {}


@asynchronous
async def test_an_interrupted_look_at_what_is_no_log_ends_the_same() -> None:
    world = World()
    world.put("list.csv", b"\n".join(b"bucket,key,%d" % number for number in range(5_000)))

    class Halting(MemoryNotes):
        async def put(self, name: str, note: str, *, keep_until_ms: int) -> None:
            await super().put(name, note, keep_until_ms=keep_until_ms)
            if not note.endswith("done"):
                raise TransientError("lost after the first note")

    notes = Halting()
    books = ObjectBooks(reader=world.reader, notes=notes, clock=Still())
    world.pipeline.objects = books
    assert (await world.deliver("list.csv")).result is DeliveryResult.DEFERRED
    world.pipeline.objects = ObjectBooks(reader=world.reader, notes=notes, clock=Still())
    await world.deliver("list.csv", attempts=2)
    assert len(await world.put_aside()) == 1


def some_bad(count: int, *, good_at: int) -> Sequence[bytes]:
    rows = [line(poison(number)) for number in range(count)]
    return [*rows[:good_at], line(log(9_999)), *rows[good_at:]]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(some_bad(STRANGE_RECORDS - 1, good_at=STRANGE_RECORDS - 1), id="good-in-time"),
        pytest.param(some_bad(STRANGE_RECORDS + 50, good_at=0), id="good-first"),
    ],
)
@asynchronous
async def test_a_log_keeps_its_bad_records_one_by_one(rows: Sequence[bytes]) -> None:
    world = World()
    world.put("log.json", b"\n".join(rows))
    await world.deliver("log.json")
    assert len(await entries(world.ledger)) == 1
    assert len(await world.put_aside()) == len(rows) - 1


@pytest.mark.parametrize(
    "attempts, age_ms, deferred",
    [
        pytest.param(1, 0, True, id="first"),
        pytest.param(3, 60_000, True, id="third"),
        pytest.param(4, 60_000, False, id="fourth"),
        pytest.param(1, 300_000, True, id="first-of-an-old-one"),
        pytest.param(2, 299_999, True, id="second-of-a-young-one"),
        pytest.param(2, 300_000, False, id="second-of-an-old-one"),
        # Lambda invokes three times: at once, a minute and three minutes later.
        pytest.param(1 + MINUTE_MS // MS_PER_ATTEMPT, MINUTE_MS, True, id="second-invocation"),
        pytest.param(
            1 + 3 * MINUTE_MS // MS_PER_ATTEMPT, 3 * MINUTE_MS, False, id="last-invocation"
        ),
    ],
)
@asynchronous
async def test_a_denied_object_is_put_aside_by_attempts_and_age(
    attempts: int, age_ms: int, deferred: bool
) -> None:
    world = World()
    world.reader.refusal = ConfigurationError("AWS denies s3:GetObject")
    processed = await world.deliver("a.json", attempts=attempts, age_ms=age_ms)
    assert (processed.result is DeliveryResult.DEFERRED) is deferred
    assert len(await world.put_aside()) == (not deferred)


@pytest.mark.parametrize(
    "attempts,age_ms",
    [
        pytest.param(PASSING_ATTEMPTS - 1, 20 * PASSING_MS, id="of-a-backlog"),
        pytest.param(20 * PASSING_ATTEMPTS, PASSING_MS - 1, id="of-an-outage"),
        pytest.param(PASSING_ATTEMPTS_UNDATED - 1, None, id="of-unknown-age"),
    ],
)
@asynchronous
async def test_a_fault_that_may_pass_puts_nothing_aside(attempts: int, age_ms: int | None) -> None:
    world = World()
    world.reader.refusal = TransientError("the connection was lost")
    processed = await world.deliver("a.json", attempts=attempts, age_ms=age_ms)
    assert (processed.result, processed.reason) == (
        DeliveryResult.DEFERRED,
        "the connection was lost",
    )
    assert await world.put_aside() == []


@pytest.mark.parametrize(
    "attempts,age_ms", [(PASSING_ATTEMPTS, PASSING_MS), (PASSING_ATTEMPTS_UNDATED, None)]
)
@asynchronous
async def test_a_fault_that_never_passes_does_not_come_back_for_ever(
    attempts: int, age_ms: int | None
) -> None:
    world = World()
    world.reader.refusal = TransientError("the connection was lost")
    processed = await world.deliver("a.json", attempts=attempts, age_ms=age_ms)
    assert processed.result is DeliveryResult.ACKNOWLEDGED
    [item] = await world.put_aside()
    found = f"one that could not be read {attempts:,} times: the connection was lost"
    assert item.record.found == found
    # A redrive finds the object by what was delivered.
    world.reader.refusal = None
    [reference] = Decoder().decode(item.record.body)
    assert isinstance(reference, ObjectReference)
    assert not isinstance(reference, Malformed)


LARGE_BYTES = 200_000
LARGE = b'{"strange":"' + b"x" * LARGE_BYTES + b'"}'


@asynchronous
async def test_a_chunk_ends_once_its_malformed_records_are_large() -> None:
    world = World()
    good = line(log(1))
    world.put("a.json", b"\n".join([good, *[LARGE] * 90, good]))
    limits = Limits(block_bytes=LARGE_BYTES)
    books = ObjectBooks(reader=world.reader, notes=world.notes, clock=Still(), limits=limits)
    reference = ObjectReference(BUCKET, "a.json")
    sizes = [
        sum(len(one.body) for one in digest.malformed)
        async for digest in books.read(reference, Delivery(b"", "r"), poster)
    ]
    assert len(sizes) == 3
    assert sum(sizes) == 90 * len(LARGE)
    assert max(sizes) < CHUNK_MALFORMED_BYTES + 4 * LARGE_BYTES


@asynchronous
async def test_what_is_no_log_is_found_out_however_large_its_records_are() -> None:
    world = World()
    world.put("a.json", b"\n".join([LARGE] * (STRANGE_RECORDS + 20)))
    assert (await world.deliver("a.json")).result is DeliveryResult.ACKNOWLEDGED
    assert len(await world.put_aside()) == 1


@asynchronous
async def test_a_process_reads_a_few_objects_at_once() -> None:
    world = World()
    keys = [f"{number}.json" for number in range(OBJECTS_READ_AT_ONCE + 1)]
    for number, key in enumerate(keys):
        world.put(key, line(log(number)))
    books = ObjectBooks(reader=world.reader, notes=world.notes, clock=Still())
    delivery = Delivery(b"", "r")
    readings = [books.read(ObjectReference(BUCKET, key), delivery, poster) for key in keys]
    for reading in readings[:-1]:
        assert (await anext(reading)).batch.bodies
    late = asyncio.create_task(anext(readings[-1], None))
    given_up = asyncio.create_task(
        anext(books.read(ObjectReference(BUCKET, keys[0]), delivery, poster), None)
    )
    for _ in range(10):
        await asyncio.sleep(0)
    assert world.reader.opened == keys[:-1]
    given_up.cancel()
    # Closed early: another one may begin.
    await readings[0].aclose()
    async with asyncio.timeout(30):
        assert await late is not None
    assert world.reader.opened == keys
    for reading in readings:
        await reading.aclose()
    assert given_up.cancelled()
    world.pipeline.objects = books
    world.reader.refusal = TransientError("lost")
    async with asyncio.timeout(30):
        for _ in range(2 * OBJECTS_READ_AT_ONCE):  # faults let go as well
            assert (await world.deliver("0.json")).result is DeliveryResult.DEFERRED
