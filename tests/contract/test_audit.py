"""The audit log in every keeper of records: whole, whoever appends at once."""

import asyncio

from tests.calls import asynchronous
from tests.contract.conftest import OpenState
from tests.unit.pipeline.test_audit import Clock, listed, log_in, suspend
from tests.unit.pipeline.test_audit_forgetting import without_alice
from worker.core.enforcement_names import AUDIT, AUDIT_HEAD
from worker.pipeline.audit import AuditLog


@asynchronous
async def test_of_several_who_append_at_once_none_is_lost(open_state: OpenState) -> None:
    async with open_state() as state:
        processes = [AuditLog(state.records, Clock()) for _ in range(3)]
        appends = (
            suspend(log, number, once=f"{which}-{number}" if number % 2 else "")
            for which, log in enumerate(processes)
            for number in range(4)
        )
        entries = await asyncio.gather(*appends)
        assert sorted(entry.number for entry in entries) == list(range(1, 13))
        log = log_in(state.records)
        assert await listed(log) == sorted(entries, key=lambda entry: entry.number)
        assert await suspend(log, 99, once="1-3") in entries
        found = await log.check()
        assert (found.entries, found.problems) == (12, ())


@asynchronous
async def test_a_person_is_forgotten_and_what_is_missing_is_found(open_state: OpenState) -> None:
    async with open_state() as state:
        log = log_in(state.records)
        for number in range(1, 4):
            await suspend(log, number)
        assert await log.forget(without_alice, actor="carol", subject="p-1") == 3
        kept = await state.records.partition(AUDIT)
        assert "alice" not in str(kept)
        assert [record.name for record in kept][-1] == AUDIT_HEAD
        found = await log.check()
        assert (found.entries, found.replaced, found.problems) == (4, 3, ())
        assert await state.records.remove(kept[3])
        assert [one.number for one in (await log.check()).problems] == [1, 2, 3, 4]


@asynchronous
async def test_the_log_outlives_the_process(open_kept_state: OpenState) -> None:
    async with open_kept_state() as state:
        first = await suspend(AuditLog(state.records, Clock()), 1)
    async with open_kept_state() as state:
        second = await suspend(AuditLog(state.records, Clock()), 2)
        assert second.previous_hash == first.hash
        assert (await AuditLog(state.records, Clock()).check()).problems == ()
