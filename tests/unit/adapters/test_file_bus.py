"""Events in a file, whatever a killed process or a full disk left behind."""

import json
import os
from pathlib import Path

import pytest

from tests.calls import NOON, asynchronous
from worker.adapters.eventbridge_bus import EventBridgeBus
from worker.adapters.file_bus import FileBus
from worker.bootstrap import open_bus
from worker.core.errors import ConfigurationError, TransientError
from worker.ports import BusEvent
from worker.settings import Settings, WorkerSettings

EVENT = BusEvent("Usage Unpriced", b'{"a":1}', NOON)


@asynchronous
async def _append(path: Path, *events: BusEvent) -> None:
    assert await FileBus(path).publish(events) == [""] * len(events)


def test_a_line_looks_like_an_event_of_eventbridge(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    _append(path, EVENT, EVENT)
    first, second = map(json.loads, path.read_text("utf-8").splitlines())
    assert first.pop("id") != second.pop("id")
    assert (
        first
        == second
        == {
            "version": "0",
            "detail-type": "Usage Unpriced",
            "source": "ledgerock",
            "time": "2026-10-01T12:00:00.000Z",
            "resources": [],
            "detail": {"a": 1},
        }
    )


def test_a_line_that_was_not_finished_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"version": "0", "id', "utf-8")
    _append(path, EVENT)
    _append(path, EVENT)
    broken, *whole = path.read_text("utf-8").splitlines()
    assert broken == '{"version": "0", "id'
    assert [json.loads(line)["detail"] for line in whole] == [{"a": 1}, {"a": 1}]


def test_nothing_to_say_makes_no_file(tmp_path: Path) -> None:
    _append(tmp_path / "events.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_for_the_operator(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "missing" / "events.jsonl"):
        with pytest.raises(ConfigurationError, match="LEDGEROCK_BUS"):
            _append(path, EVENT)


def test_a_full_disk_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int, _data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(TransientError, match="No space left"):
        _append(tmp_path / "events.jsonl", EVENT)


@asynchronous
async def test_the_settings_name_the_bus(tmp_path: Path) -> None:
    def named(bus: str) -> Settings:
        return Settings(worker=WorkerSettings(bus=bus))

    path = tmp_path / "events.jsonl"
    local = open_bus(named(f"file:{path}"))
    assert local is not None
    await local.publish([EVENT])
    assert path.exists()
    assert open_bus(named("")) is None
    assert isinstance(open_bus(named("spend")), EventBridgeBus)
    arn = "arn:aws:events:us-east-1:111122223333:event-bus/spend"
    assert isinstance(open_bus(named(arn)), EventBridgeBus)
    with pytest.raises(ConfigurationError, match="LEDGEROCK_BUS"):
        open_bus(named("file:"))
