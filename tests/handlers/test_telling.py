"""People are told by functions as by the container, and each channel's faults are its own."""

import json
from typing import Any

import pytest

from handlers.measures import EmbeddedMeter
from handlers.runtime import METER
from handlers.telling import announce, tell_people
from tests.calls import asynchronous
from tests.unit.test_telling import World, notice
from worker.announcer import Teller
from worker.core.errors import ConfigurationError, TransientError


def printed(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, ...], Any]:
    """Return the metrics by name and channel."""
    METER.flush()
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {
        (metric["Name"], row.get("channel", "")): row[metric["Name"]]
        for row in rows
        if "_aws" in row
        for metric in row["_aws"]["CloudWatchMetrics"][0]["Metrics"]
    }


@asynchronous
async def test_a_missing_topic_and_a_dead_webhook_hold_up_nothing(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    METER.flush()
    capsys.readouterr()
    world = World()
    await world.outbox.put([notice(1), notice(2)])
    assert (await announce(world.announcer())).announced == 2
    tellers: dict[str, Teller] = {name: world.teller(name) for name in world.channels}
    world.channels["sns"].always = ConfigurationError("there is no such topic")
    assert not await tell_people(tellers)
    world.channels["webhook"].always = TransientError("webhook at example.com: it answered 503")
    assert not await tell_people(tellers)
    assert world.channels["webhook"].told == ["event-001", "event-002"]
    found = printed(capsys)
    assert found["notices_announced", ""] == [2]
    assert found["people_told", "webhook"] == [2]
    logged = {(vars(one)["channel"], vars(one)["reason"]) for one in caplog.records}
    assert logged == {("sns", "there is no such topic")}, "to the webhook nothing was left to tell"
    world.channels["sns"].always = None
    assert not await tell_people(tellers)
    assert world.channels["sns"].told == ["event-001", "event-002"]
    assert isinstance(METER, EmbeddedMeter)
