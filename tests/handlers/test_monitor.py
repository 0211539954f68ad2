"""The monitor's function: no part of it holds up another, and what it sees is measured."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handlers import monitor
from handlers.opening import open_function
from tests.cloudwatch import seen, series_of
from tests.handlers.conftest import Start
from tests.handlers.lambdas import context, scheduled_event
from worker.core.budget_terms import Budget, Scope
from worker.core.errors import ConfigurationError, TransientError
from worker.enforcer import Enforced
from worker.monitor import Monitored
from worker.telemetry.metrics import BUDGET_STATES

PARTS = ["directory", "budgets", "suspensions", "tiers", "census", "announcing", "telling"]


@pytest.mark.parametrize("broken", PARTS)
@pytest.mark.parametrize(
    "error", [ConfigurationError("wrong"), TransientError("down"), ZeroDivisionError()], ids=str
)
def test_whatever_fails_everything_else_is_done(
    broken: str, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def part(name: str, answer: Any) -> Any:
        async def work(*_: Any) -> Any:
            ran.append(name)
            if name == broken:
                raise error
            return answer

        return work

    monkeypatch.setattr(monitor, "announce", part("announcing", None))
    monkeypatch.setattr(monitor, "tell_people", part("telling", False))
    booking: Any = SimpleNamespace(
        pipeline=SimpleNamespace(
            keep_up=part("directory", None),
            directory=SimpleNamespace(do_due=part("tiers", False), faults=[]),
        ),
        census=SimpleNamespace(count_due=part("census", None)),
        monitor=SimpleNamespace(run_due=part("budgets", Monitored())),
        enforcing=SimpleNamespace(
            enforcer=SimpleNamespace(run_due=part("suspensions", Enforced()))
        ),
        announcer=object(),
        tellers={},
    )
    with pytest.raises(type(error)):
        asyncio.run(monitor._round(booking))
    assert ran == PARTS


def test_it_measures_the_states_of_budgets_every_few_minutes(
    start: Start, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    environment = {
        "LEDGEROCK_LEDGER": f"sqlite:{tmp_path}/ledger.db",
        "LEDGEROCK_RESOLVE_PROFILES": "0",
    }

    async def make() -> None:
        async with open_function(environment) as booking:
            budget = Budget("a", Scope("everything"), 10**12)
            assert await booking.state.budgets.put(budget)

    asyncio.run(make())
    start(lambda: open_function(environment))
    counts = []
    for _ in range(2):
        capsys.readouterr()
        monitor.handler(scheduled_event(), context())
        series = series_of(capsys.readouterr().out.splitlines())
        counts.append({state: seen(series, "budgets", state=state) for state in BUDGET_STATES})
        assert seen(series, "monitor_lag_seconds") is not None
    none = {state: [0] for state in BUDGET_STATES}
    assert counts == [{**none, "active": [1]}, dict.fromkeys(BUDGET_STATES)]
