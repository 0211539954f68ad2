"""A person is forgotten in the audit log, and its chain holds."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from tests.calls import asynchronous
from tests.unit.pipeline.test_audit import ALICE, FaultyRecords, listed, log_in, suspend
from worker.adapters.memory_records import MemoryRecords
from worker.core.audit import AuditDetails, AuditEntry
from worker.core.enforcement_names import AUDIT, audit_name
from worker.core.errors import TransientError
from worker.pipeline import audit
from worker.pipeline.audit import AuditLog
from worker.ports import Record


def without_alice(details: AuditDetails) -> AuditDetails:
    texts = (text.replace("alice", "p-1") for text in msgspec.structs.astuple(details))
    return AuditDetails(*texts)


async def _about_two(log: AuditLog) -> list[AuditEntry]:
    return [
        await suspend(log, number, ALICE if number % 3 else "user/111122223333/bob")
        for number in range(1, 8)
    ]


@asynchronous
async def test_a_person_is_forgotten_and_the_chain_holds() -> None:
    records = MemoryRecords()
    log = log_in(records)
    before = await _about_two(log)
    forgot = await log.forget(without_alice, actor="alice", subject="p-1", why="alice asked")
    assert forgot == 5
    entries = await listed(log)
    assert "alice" not in str(await records.partition(AUDIT))
    assert [entry.hash for entry in entries[:7]] == [entry.hash for entry in before]
    assert [entry.number for entry in entries if entry == before[entry.number % 7 - 1]] == [3, 6]
    assert entries[7].details == AuditDetails("p-1", "p-1", "p-1 asked")
    assert [one.number for one in entries[7].replaced] == [1, 2, 4, 5, 7]
    assert entries[0].details.subject == "user/111122223333/p-1"
    assert not {entry.salt for entry in before if entry.number % 3} & {e.salt for e in entries}
    found = await log.check()
    assert (found.entries, found.replaced, found.problems) == (8, 5, ())
    assert await log.forget(without_alice, actor="x", subject="p-1") == 0
    assert len(await listed(log)) == 8, "there was nothing to say"


@asynchronous
async def test_what_a_crash_left_of_forgetting_is_told_and_completed() -> None:
    seed = random.randrange(10**6)
    kept = MemoryRecords()
    await _about_two(log_in(kept))

    class Dying(FaultyRecords):
        async def write(self, records: Sequence[Record]) -> bool:
            if self.requests > 6:
                raise KeyboardInterrupt
            return await super().write(records)

    with pytest.raises(KeyboardInterrupt):
        await log_in(Dying(kept)).forget(without_alice, actor="carol", subject="p-1")
    found = await log_in(kept).check()
    assert found.replaced in range(1, 5)
    assert len(found.problems) == 5 - found.replaced
    assert all("principals forget" in one.problem for one in found.problems)
    log = log_in(FaultyRecords(kept, seed, share=0.05))
    for _ in range(30):
        try:
            await log.forget(without_alice, actor="carol", subject="p-1")
            break
        except TransientError:
            continue
    assert "alice" not in str(await kept.partition(AUDIT)), seed
    found = await log_in(kept).check()
    assert (found.replaced, found.problems) == (5, ()), seed


@asynchronous
async def test_two_are_forgotten_at_once_while_others_append() -> None:
    kept = MemoryRecords()
    log = log_in(kept)
    for number in range(5):
        await log.append(act="x", actor="alice", subject="bob", why=f"{number}")

    def without_bob(details: AuditDetails) -> AuditDetails:
        return msgspec.structs.replace(details, subject=details.subject.replace("bob", "p-2"))

    await asyncio.gather(
        log_in(FaultyRecords(kept)).forget(without_alice, actor="c", subject="p-1"),
        log_in(FaultyRecords(kept)).forget(without_bob, actor="c", subject="p-2"),
        suspend(log_in(FaultyRecords(kept)), 1, "user/111122223333/dora"),
    )
    text = str(await kept.partition(AUDIT))
    assert "alice" not in text
    assert "bob" not in text
    found = await log.check()
    assert (found.replaced, found.problems) == (5, ())


class Slow:
    """Records in which details are replaced no sooner than they may; whoever did so dies."""

    def __init__(self, kept: MemoryRecords) -> None:
        self._kept = kept
        self.waits, self.goes_on = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kept, name)

    async def write(self, records: Sequence[Record]) -> bool:
        if len(records) == 1:
            self.waits.set()
            await self.goes_on.wait()
            await self._kept.write(records)
            raise TransientError("killed")
        return await self._kept.write(records)


async def _forgotten_twice_at_once(kept: MemoryRecords, second: audit.Rewrite, alias: str) -> None:
    """Let the one say last what details are, and the other be the one who replaced them."""
    first_in, second_in = Slow(kept), Slow(kept)
    first = asyncio.create_task(
        log_in(first_in).forget(without_alice, actor="carol", subject="p-1")
    )
    await first_in.waits.wait()
    last = asyncio.create_task(log_in(second_in).forget(second, actor="carol", subject=alias))
    await second_in.waits.wait()
    first_in.goes_on.set()
    with pytest.raises(TransientError, match="killed"):
        await first
    last.cancel()  # killed before it could replace anything


@asynchronous
async def test_one_person_forgotten_twice_at_once_is_completed_by_another_time() -> None:
    kept = MemoryRecords()
    log = log_in(kept)
    await suspend(log, 1)
    await _forgotten_twice_at_once(kept, without_alice, "p-1")
    [problem] = (await log.check()).problems
    assert "by entry 3" in problem.problem
    assert await log.forget(without_alice, actor="carol", subject="p-1") == 0
    assert ((await log.check()).replaced, (await log.check()).problems) == (1, ())
    assert len(await listed(log)) == 4
    assert await log.forget(without_alice, actor="carol", subject="p-1") == 0
    assert len(await listed(log)) == 4


@asynchronous
async def test_forgetting_one_person_does_not_say_that_another_was_forgotten() -> None:
    def without_reason(details: AuditDetails) -> AuditDetails:
        return msgspec.structs.replace(details, why=details.why.replace("reason", "p-2"))

    kept = MemoryRecords()
    log = log_in(kept)
    await suspend(log, 1)
    await _forgotten_twice_at_once(kept, without_reason, "p-2")
    assert await log.forget(without_alice, actor="carol", subject="p-1") == 0
    assert len((await log.check()).problems) == 1
    assert await log.forget(without_reason, actor="carol", subject="p-2") == 1
    assert (await log.check()).problems == ()


@asynchronous
async def test_details_that_were_tampered_with_are_not_replaced_as_they_are() -> None:
    kept = MemoryRecords()
    log = log_in(kept)
    await suspend(log, 1)
    await _forgotten_twice_at_once(kept, without_alice, "p-1")
    name = audit_name(1)
    record = await kept.get(AUDIT, name)
    assert record is not None
    body = record.body.replace(b"reason 1", b"reason 2")
    assert await kept.write([Record(AUDIT, name, body, record.version + 1)])
    assert await log.forget(without_alice, actor="carol", subject="p-1") == 0
    [problem] = (await log.check()).problems
    assert "were changed" in problem.problem


@asynchronous
async def test_many_entries_are_replaced_a_thousand_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "REPLACED_PER_ENTRY", 2)
    log = log_in(MemoryRecords())
    await _about_two(log)
    assert await log.forget(without_alice, actor="carol", subject="p-1") == 5
    entries = await listed(log)
    assert [len(entry.replaced) for entry in entries] == [0] * 7 + [2, 2, 1]
    assert (await log.check()).problems == ()
