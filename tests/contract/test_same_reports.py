"""Memory, SQLite and DynamoDB say the same, byte for byte, of the same records."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.calls import documents
from tests.dynamodb import environment_of, local_endpoint, new_prefix
from worker.bootstrap import open_ledger, open_pipeline
from worker.core.decoders import Decoder
from worker.pipeline import Window
from worker.ports import Delivery
from worker.replay import ReplayFigures, replay
from worker.settings import Settings
from worker.traffic.profile import demo_profile
from worker.traffic.traffic import Traffic

CALLS = 200
MIDDAY_MS = 1_791_201_600_000 + 12 * 3_600_000
"""2026-10-05T12:00:00Z: in the middle of the demo's days."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    Traffic(demo_profile(seed=3, calls=CALLS)).write(folder)
    return folder


def _settings(demo: Path, ledger: str, quarantine: Path) -> Settings:
    names = {"LEDGEROCK_CREATE_TABLES": "1"}
    return Settings.read(
        names, ledger=ledger, registry=demo / "registry.toml", quarantine=str(quarantine)
    )


async def _reports(settings: Settings) -> tuple[str, str]:
    ledger = open_ledger(settings)
    try:
        verification = await ledger.verify()
        assert (verification.differences, verification.unsettled) == ((), ())
        return await documents(ledger), await documents(ledger, Window(MIDDAY_MS, None))
    finally:
        await ledger.close()


def _figures(done: ReplayFigures) -> tuple[object, ...]:
    # Which record of a call improves it depends on how two processes share the files out.
    return (
        *(done.records, done.calls, done.recorded, done.upgraded + done.duplicates),
        *(done.ignored, done.quarantined, done.totals, done.by_principal, done.by_model),
    )


def test_the_demo_reads_the_same_from_every_ledger(
    demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment_of(local_endpoint()).items():
        monkeypatch.setenv(name, value)
    assert "AWS_ENDPOINT_URL_DYNAMODB" in os.environ
    shared = _settings(demo, f"dynamodb:{new_prefix()}", tmp_path / "1")
    embedded = _settings(demo, f"sqlite:{tmp_path / 'ledger.db'}", tmp_path / "2")
    logs = [str(demo / "logs")]

    async def book() -> None:
        dry = await replay(shared, logs, dry_run=True, jobs=1)
        first = await replay(shared, logs, jobs=2)
        other = await replay(embedded, logs, jobs=1)
        assert _figures(dry) == _figures(first) == _figures(other)
        again = await replay(shared, logs, jobs=1)
        assert (again.recorded, again.upgraded, again.totals.calls) == (0, 0, 0)
        reports = await _reports(shared)
        assert reports == await _reports(embedded)
        assert reports == await _in_memory(demo, tmp_path / "3")

    asyncio.run(book())


async def _in_memory(demo: Path, quarantine: Path) -> tuple[str, str]:
    async with open_pipeline(_settings(demo, "memory", quarantine)) as pipeline:
        pipeline.decoder = Decoder()
        for path in sorted((demo / "logs").rglob("*")):
            if path.is_file():
                await pipeline.process([Delivery(path.read_bytes(), str(path))])
        return (
            await documents(pipeline.ledger),
            await documents(pipeline.ledger, Window(MIDDAY_MS, None)),
        )
