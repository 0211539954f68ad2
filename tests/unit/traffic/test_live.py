import asyncio
import gzip
import json
from pathlib import Path

import pytest

from tools.laptop.publishing import subscription_batch
from worker.core.ledger import AMOUNT_FIELDS
from worker.replay import ReplayFigures, replay
from worker.settings import Settings
from worker.traffic.live import LiveCall, LiveTraffic, company, company_registry, visitors
from worker.traffic.sums import TrafficSums

NOON_MS = 1_792_929_600_000
CALLS = 600


def written(folder: Path, calls: list[LiveCall]) -> Path:
    """Files that hold the same records as the deliveries would."""
    logs = folder / "logs"
    logs.mkdir()
    (folder / "registry.toml").write_text(company_registry(), encoding="utf-8")
    lines = [call.log for call in calls for where in call.destinations if where == "s3"]
    (logs / "logs.json.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    for call in calls:
        batch = [call.log for where in call.destinations if where == "logs"]
        if batch:
            data = gzip.decompress(subscription_batch(call.account, batch, "run"))
            (logs / f"{call.request}.json").write_bytes(data)
    events = [json.dumps(event) for call in calls for event in call.events]
    (logs / "events.json").write_text("\n".join(events), encoding="utf-8")
    return folder


def booked(folder: Path) -> ReplayFigures:
    settings = Settings(ledger="memory", registry=folder / "registry.toml")
    return asyncio.run(replay(settings, [str(folder / "logs")], jobs=1))


def figures(groups: object) -> dict[str, dict[str, int]]:
    assert isinstance(groups, dict)
    return {
        key: {name: getattr(amounts, name) for name in AMOUNT_FIELDS}
        for key, amounts in groups.items()
    }


def agree(figured: ReplayFigures, sums: TrafficSums) -> None:
    assert figures({"": figured.totals}) == figures({"": sums.total})
    assert figures(figured.by_principal) == figures(sums.by_principal)
    assert figures(figured.by_model) == figures(sums.by_model)
    assert figured.records == sums.records
    assert figured.upgraded + figured.duplicates == sums.duplicates + sums.companions
    assert (figured.ignored, figured.quarantined) == (0, 0)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_books_agree_with_what_live_traffic_adds_up(seed: int, tmp_path: Path) -> None:
    traffic = LiveTraffic(company(), seed)
    calls = [traffic.call(NOON_MS + 200 * number) for number in range(CALLS)]
    agree(booked(written(tmp_path, calls)), traffic.sums)
    assert traffic.sums.calls == CALLS
    # Every way to tell of a call is there, and callers whom only the registry knows.
    assert {call.destinations for call in calls} >= {(), ("s3",), ("logs",), ("s3", "logs")}
    assert {bool(call.log) for call in calls if call.events} == {True, False}
    assert traffic.sums.total.estimated_calls
    assert {"app/acme/search", "agent/111122223333/us-east-1/SUPPORTBOT"} <= set(
        traffic.sums.by_principal
    )


def test_visitors_have_an_account_and_names_of_their_own(tmp_path: Path) -> None:
    traffic = LiveTraffic(visitors("912345678901"), seed=3)
    calls = [traffic.call(NOON_MS + number) for number in range(CALLS)]
    agree(booked(written(tmp_path, calls)), traffic.sums)
    assert set(traffic.sums.by_account) == {"912345678901"}
    assert not set(traffic.sums.by_principal) & {caller.principal for caller in company()}


def test_equal_seeds_make_equal_calls() -> None:
    first, second = (LiveTraffic(company(), seed=4) for _ in range(2))
    assert [first.call(NOON_MS) for _ in range(50)] == [second.call(NOON_MS) for _ in range(50)]
    assert first.call(NOON_MS) != LiveTraffic(company(), seed=5).call(NOON_MS)
