"""The monitor's function: no part of it holds up another."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from handlers import monitor
from worker.core.errors import ConfigurationError, TransientError
from worker.enforcer import Enforced
from worker.monitor import Monitored

PARTS = ["directory", "budgets", "suspensions", "tiers", "announcing", "telling"]


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
