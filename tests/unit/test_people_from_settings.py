"""From the settings to a message: a webhook and no bus, and who acts says what is told."""

import json
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from tests.calls import asynchronous
from tests.unit.adapters.webhooks import receiving
from tests.unit.core.people_events import EVENTS
from worker.adapters.clock import SystemClock
from worker.adapters.memory_bus import MemoryBus
from worker.bootstrap import make_announcer, open_booking, open_state
from worker.core.budget_events import grace_day_of
from worker.core.enforcement import BudgetStatus
from worker.core.enforcement_names import day_name, status_partition
from worker.core.errors import ConfigurationError
from worker.core.events import BUDGET_GRACE_STARTED
from worker.pipeline.notices import notice_of
from worker.ports import Notice, Record
from worker.settings import EnforcementSettings, Settings, WorkerSettings

TOPIC = "arn:aws:sns:us-east-1:111122223333:ledgerock"
SETTINGS = Settings(ledger="memory", worker=WorkerSettings(resolve_profiles=False))


def with_people(**values: str) -> Settings:
    return replace(SETTINGS, enforcement=EnforcementSettings(**values))  # type: ignore[arg-type]


def in_grace(notice: Notice) -> Record:
    """Return what says that the grace period of a notice has not ended meanwhile."""
    budget, day = notice.subject.removeprefix("budget/"), grace_day_of(bytes(notice.detail))
    status = BudgetStatus(budget, 1, day, 2**53, "grace_period", grace_id=notice.id)
    body = msgspec.json.encode(status)
    return Record(status_partition(budget), day_name(day), body, version=1)


@pytest.mark.parametrize("acts", ["off", "worker"])
@asynchronous
async def test_without_a_bus_people_hear_of_what_they_are_to_do(acts: str) -> None:
    async with receiving() as receiver:
        settings = with_people(acts=acts, webhook_url=receiver.url, webhook_secret="secret")
        async with open_booking(settings) as booking:
            assert set(booking.tellers) == {"webhook"}
            assert booking.announcer is not None
            notices = [notice_of(one, one.occurred_at_ms) for one in EVENTS]
            await booking.state.outbox.put(notices)
            [grace] = [one for one in notices if one.detail_type == BUDGET_GRACE_STARTED]
            assert await booking.state.records.write([in_grace(grace)])
            assert (await booking.announcer.announce_due()).announced == len(EVENTS)
            done = await booking.tellers["webhook"].announce_due()
            assert done.faults == []
    told = [json.loads(one.body)["detail_type"] for one in receiver.posts]
    expected = {
        "Budget Threshold Crossed",
        "Budget Grace Period Started",
        "Budget Limit Forecast",
        "Principal Suspended",
        "Suspension Failed",
        "Principal Restored",
        "Unprovisioned Key Detected",
        "Principal Tags Changed",
    }
    if acts == "off":
        expected |= {"Principal Suspension Required", "Principal Restoration Required"}
    assert sorted(told) == sorted(expected)


@asynchronous
async def test_what_a_command_announces_people_hear_of_from_the_worker(tmp_path: Path) -> None:
    async with receiving() as receiver:
        settings = replace(
            with_people(acts="worker", webhook_url=receiver.url),
            ledger=f"sqlite:{tmp_path / 'ledger.db'}",
        )
        state = open_state(settings)
        [event] = [one for one in EVENTS if one.detail_type == "Principal Suspended"]
        notices = await state.outbox.put([notice_of(event, event.occurred_at_ms)])
        announcer = make_announcer(
            settings.enforcement, outbox=state.outbox, bus=MemoryBus(), clock=SystemClock()
        )
        assert (await announcer.announce(notices)).announced == 1
        await state.close()
        async with open_booking(settings) as booking:
            assert (await booking.tellers["webhook"].announce_due()).announced == 1
        assert json.loads(receiver.posts[0].body)["event"]["event_id"] == event.id


@asynchronous
async def test_each_channel_that_is_set_has_a_teller() -> None:
    settings = with_people(sns_topic=TOPIC, webhook_url="https://example.com/hook")
    async with open_booking(settings) as booking:
        assert set(booking.tellers) == {"sns", "webhook"}
    async with open_booking(SETTINGS) as booking:
        assert booking.tellers == {}
        assert booking.announcer is None


@asynchronous
async def test_a_topic_that_is_none_is_said_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match="LEDGEROCK_SNS_TOPIC=ledgerock: give the ARN"):
        async with open_booking(with_people(sns_topic="ledgerock")):
            pass


def test_secrets_are_in_no_representation() -> None:
    settings = with_people(webhook_url="https://hooks.slack.com/services/s3cr3t")
    assert "correct horse" not in repr(with_people(webhook_secret="correct horse"))
    assert "s3cr3t" not in repr(settings)
