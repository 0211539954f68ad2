"""The demo replayed: the program's books against the sums that its generator added up itself."""

import asyncio
from pathlib import Path

import pytest

from worker.core.ledger import AMOUNT_FIELDS, Amounts
from worker.replay import ReplayFigures, replay
from worker.settings import Settings
from worker.traffic import Traffic, TrafficSums, demo_profile
from worker.traffic.sums import Total, usd


def both(folder: Path, seed: int, calls: int) -> tuple[ReplayFigures, TrafficSums]:
    """What the replay booked into memory, and what the generator says that it should."""
    sums = Traffic(demo_profile(seed, calls)).write(folder)
    settings = Settings(ledger="memory", registry=folder / "registry.toml")
    return asyncio.run(replay(settings, [str(folder / "logs")], jobs=1)), sums


def plain(amounts: Amounts | Total) -> dict[str, int]:
    """Every figure by its name, which is the same in the books and in the sums."""
    return {name: getattr(amounts, name) for name in AMOUNT_FIELDS}


@pytest.mark.parametrize("seed", [7, 8])
def test_a_replay_of_the_demo_books_what_the_generator_added_up(seed: int, tmp_path: Path) -> None:
    figures, sums = both(tmp_path, seed, calls=900)
    assert plain(figures.totals) == plain(sums.total)
    for booked, expected in (
        (figures.by_principal, sums.by_principal),
        (figures.by_model, sums.by_model),
    ):
        assert {key: plain(group) for key, group in booked.items()} == {
            key: plain(group) for key, group in expected.items()
        }
    assert figures.deliveries == sums.files
    assert figures.calls == figures.recorded == sums.calls
    assert figures.upgraded + figures.duplicates == sums.duplicates + sums.companions
    assert figures.ignored == sums.ignored_records + sums.ignored_files
    assert figures.quarantined == sums.poison_lines + sums.corrupt_files
    assert figures.records == sums.records + figures.ignored + figures.quarantined
    # Nothing above says much unless every kind of call is there, images among them.
    assert all(
        getattr(sums.total, name)
        for name in ("estimated_calls", "unpriced_calls", "unmetered_calls", "failed_calls")
    )
    assert sums.by_model["amazon.nova-canvas-v1:0"].cost_pico_usd


def test_the_demo_costs_what_it_is_said_to(tmp_path: Path) -> None:
    figures, sums = both(tmp_path, seed=7, calls=3_000)
    assert usd(figures.totals.cost_pico_usd) == usd(sums.cost_pico_usd) == "36.02883695"
