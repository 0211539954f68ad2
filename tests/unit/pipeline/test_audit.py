"""The audit log in records: it neither forks nor loses an entry, wherever a process dies."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Collection, Sequence

import msgspec
import pytest

from tests.calls import asynchronous
from worker.adapters.memory_records import MemoryRecords
from worker.core.audit import AuditDetails, AuditEntry
from worker.core.enforcement_names import AUDIT, AUDIT_HEAD, audit_name
from worker.core.errors import LedgerCorruptError, TransientError
from worker.pipeline import audit
from worker.pipeline.audit import AuditLog
from worker.ports import Record, Records

NOW = 1_790_856_000_000
ALICE = "user/111122223333/alice"


class Clock:
    """Each look is a millisecond later."""

    def __init__(self) -> None:
        self.at_ms = NOW

    def now_ms(self) -> int:
        self.at_ms += 1
        return self.at_ms


class FaultyRecords:
    """Records that fail now and then: before a write, or once it was made; and count requests."""

    def __init__(self, kept: MemoryRecords, seed: int = 0, share: float = 0.0) -> None:
        self.kept = kept
        self.share = share
        self.faults = 0
        self.requests = 0
        self._dice = random.Random(seed)

    async def _step(self) -> None:
        self.requests += 1
        await asyncio.sleep(0)
        if self._dice.random() < self.share:
            self.faults += 1
            raise TransientError("injected")

    async def get(self, partition: str, name: str) -> Record | None:
        await self._step()
        return await self.kept.get(partition, name)

    async def get_many(self, keys: Collection[tuple[str, str]]) -> dict[tuple[str, str], Record]:
        await self._step()
        return await self.kept.get_many(keys)

    async def partition(
        self, partition: str, beginning: str = "", *, after: str = "", limit: int | None = None
    ) -> list[Record]:
        await self._step()
        return await self.kept.partition(partition, beginning, after=after, limit=limit)

    async def write(self, records: Sequence[Record]) -> bool:
        await self._step()
        written = await self.kept.write(records)
        await self._step()
        return written

    async def remove(self, record: Record) -> bool:
        await self._step()
        return await self.kept.remove(record)

    async def due(
        self, queue: str, until_ms: int, *, from_ms: int = 0
    ) -> AsyncIterator[Sequence[Record]]:
        async for chunk in self.kept.due(queue, until_ms, from_ms=from_ms):
            yield chunk


async def no_pause(_seconds: float) -> None:
    await asyncio.sleep(0)


def log_in(records: Records) -> AuditLog:
    return AuditLog(records, Clock(), pause=no_pause)


async def suspend(log: AuditLog, number: int, subject: str = ALICE, once: str = "") -> AuditEntry:
    return await log.append(
        act="Principal Suspended",
        actor="ledgerock",
        subject=subject,
        why=f"reason {number}",
        before={"phase": "required"},
        after={"phase": "suspended"},
        once=once,
    )


async def listed(log: AuditLog) -> list[AuditEntry]:
    return [entry async for page in log.entries() for entry in page]


@asynchronous
async def test_an_entry_says_who_did_what_to_whom_and_why() -> None:
    log = log_in(MemoryRecords())
    entry = await suspend(log, 1)
    assert (entry.number, entry.at_ms, entry.act) == (1, NOW + 1, "Principal Suspended")
    assert entry.details == AuditDetails(
        "ledgerock", ALICE, "reason 1", '{"phase":"required"}', '{"phase":"suspended"}'
    )
    second = await suspend(log, 2)
    assert second.previous_hash == entry.hash
    assert second.salt != entry.salt
    assert await listed(log) == [entry, second]
    assert [page async for page in log.entries(after=1)] == [[second]]
    found = await log.check()
    assert (found.entries, found.replaced, found.problems) == (2, 0, ())
    assert (found.head.number, found.head.hash) == (2, second.hash)


@asynchronous
async def test_an_empty_log_is_sound() -> None:
    found = await log_in(MemoryRecords()).check()
    assert (found.entries, found.head.number, found.problems) == (0, 0, ())


@asynchronous
async def test_an_append_costs_one_read_and_one_write_however_long_the_log_is() -> None:
    records = FaultyRecords(MemoryRecords())
    log = log_in(records)
    for number in range(30):
        before = records.requests
        await suspend(log, number, once=f"{number}")
        assert records.requests - before == 3, "a read, and a write that counts for two here"


@asynchronous
async def test_a_log_is_read_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ENTRIES_PER_PAGE", 3)
    for length in (2, 3, 4, 6, 7):
        log = log_in(MemoryRecords())
        written = [await suspend(log, number) for number in range(length)]
        assert await listed(log) == written
        pages = [len(page) async for page in log.entries()]
        assert max(pages) <= 3
        found = await log.check()
        assert (found.entries, found.problems) == (length, ())


@asynchronous
async def test_of_many_who_append_at_once_none_is_lost_and_nothing_forks() -> None:
    kept = MemoryRecords()
    seed = random.randrange(10**6)
    processes = [log_in(FaultyRecords(kept, seed + number, 0.1)) for number in range(5)]
    appends = (
        suspend(log, number * 100 + which)
        for number, log in enumerate(processes)
        for which in range(12)
    )
    entries = await asyncio.gather(*appends)
    assert sorted(entry.number for entry in entries) == list(range(1, 61)), seed
    log = log_in(kept)
    assert await listed(log) == sorted(entries, key=lambda entry: entry.number), seed
    assert (await log.check()).problems == (), seed


@asynchronous
async def test_an_append_whose_answer_was_lost_is_there_once() -> None:
    """Also where others have appended by then."""

    class Losing(MemoryRecords):
        lost = False

        async def write(self, records: Sequence[Record]) -> bool:
            written = await super().write(records)
            if not self.lost:
                self.lost = True
                await suspend(log_in(self), 2)
                raise TransientError("the answer was lost")
            return written

    records = Losing()
    log = log_in(records)
    entry = await suspend(log, 1)
    assert (entry.number, entry.details.why) == (1, "reason 1")
    assert [one.details.why for one in await listed(log)] == ["reason 1", "reason 2"]
    assert (await log.check()).problems == ()


@asynchronous
async def test_an_act_that_is_named_is_there_once_however_often_it_is_said() -> None:
    records = MemoryRecords()
    first = await suspend(log_in(records), 1, once="s-1/suspended")
    again = await suspend(log_in(records), 9, once="s-1/suspended")
    other = await suspend(log_in(records), 2, once="s-1/restored")
    assert again == first
    assert await listed(log_in(records)) == [first, other]
    rivals = (suspend(log_in(records), number, once="s-2") for number in range(6))
    won = {entry.number for entry in await asyncio.gather(*rivals)}
    assert won == {3}
    assert (await log_in(records).check()).problems == ()


@asynchronous
async def test_an_outage_ends_in_an_error_and_what_was_said_is_kept() -> None:
    kept = MemoryRecords()
    first = await suspend(log_in(kept), 1)
    with pytest.raises(TransientError, match=r"40 attempts \(injected\).*verify --audit"):
        await suspend(log_in(FaultyRecords(kept, share=1.0)), 2)
    assert await listed(log_in(kept)) == [first]


# --- What was done to it is found ------------------------------------------------------------


async def _edit(records: MemoryRecords, name: str, change: Callable[[bytes], bytes | None]) -> None:
    record = await records.get(AUDIT, name)
    assert record is not None
    body = change(record.body)
    assert await records.remove(record)
    if body is not None:
        assert await records.write([Record(AUDIT, name, body, 1)])


@pytest.mark.parametrize(
    "name, change, expected",
    [
        (audit_name(3), lambda _: None, "3: is missing"),
        (audit_name(6), lambda _: None, "6: is missing"),
        (AUDIT_HEAD, lambda _: None, "0: the log's head names entry 0"),
        (AUDIT_HEAD, lambda _: b'{"number":5}', "0: the log's head names entry 5"),
        (AUDIT_HEAD, lambda _: b"[]", "0: the log's head cannot be read"),
        (audit_name(2), lambda _: b"{}", "2: '000000000002' holds no entry"),
        (
            audit_name(2),
            lambda body: body.replace(b"reason 2", b"reason 7"),
            "2: has details that were changed",
        ),
        (
            audit_name(2),
            lambda body: body.replace(b"alice", b"alicf"),
            "2: has details that were changed",
        ),
        (audit_name(2), lambda body: body.replace(b"Susp", b"Rest"), "2: was changed"),
    ],
)
@asynchronous
async def test_what_is_wrong_is_found(
    name: str, change: Callable[[bytes], bytes | None], expected: str
) -> None:
    records = MemoryRecords()
    log = log_in(records)
    for number in range(1, 7):
        await suspend(log, number)
    await _edit(records, name, change)
    found = (await log.check()).problems
    assert any(f"{one.number}: {one.problem}".startswith(expected) for one in found), found


@asynchronous
async def test_entries_in_each_others_places_are_found() -> None:
    records = MemoryRecords()
    log = log_in(records)
    bodies = [msgspec.json.encode(await suspend(log, number)) for number in range(1, 4)]
    await _edit(records, audit_name(1), lambda _: bodies[1])
    await _edit(records, audit_name(2), lambda _: bodies[0])
    text = " ".join(one.problem for one in (await log.check()).problems)
    assert "is kept as '000000000001', which is not its place" in text
    assert "out of order" in text


@asynchronous
async def test_nothing_is_appended_to_a_log_whose_head_cannot_be_read() -> None:
    records = MemoryRecords()
    await suspend(log_in(records), 1)
    await _edit(records, AUDIT_HEAD, lambda _: b"[]")
    with pytest.raises(LedgerCorruptError, match="head cannot be read"):
        await suspend(log_in(records), 2)


@asynchronous
async def test_a_head_that_was_set_back_lets_nothing_be_overwritten() -> None:
    records = MemoryRecords()
    log = log_in(records)
    written = [await suspend(log, number) for number in range(3)]
    head = msgspec.json.encode({"number": 1, "hash": written[0].hash})
    await _edit(records, AUDIT_HEAD, lambda _: head)
    with pytest.raises(TransientError, match="verify --audit"):
        await suspend(log, 9)
    assert await listed(log) == written
    assert (await log.check()).problems != ()


@asynchronous
async def test_a_check_while_others_append_finds_nothing_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "ENTRIES_PER_PAGE", 3)
    kept = MemoryRecords()
    busy = log_in(FaultyRecords(kept))

    async def append() -> None:
        for number in range(60):
            await suspend(busy, number)

    appending = asyncio.create_task(append())
    checks = 0
    while not appending.done():
        found = await log_in(FaultyRecords(kept)).check()
        assert found.problems == ()
        checks += 1
    await appending
    assert checks > 3
    assert (await busy.check()).entries == 60
