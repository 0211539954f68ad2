"""A browser, and the demo's books."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import Browser
from worker.replay import replay
from worker.settings import Settings
from worker.traffic import Traffic, demo_profile


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as started:
        yield started


@pytest.fixture
def demo(tmp_path: Path) -> Settings:
    """The ledger that `make demo` books."""
    folder = tmp_path / "demo"
    Traffic(demo_profile(7, 3_000)).write(folder)
    settings = Settings(
        ledger=f"sqlite:{tmp_path / 'ledger.db'}", registry=folder / "registry.toml"
    )
    asyncio.run(replay(settings, [str(folder / "logs")], jobs=1))
    return settings
