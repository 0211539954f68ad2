"""Functions in this process: each test has a process of its own, as far as handlers can tell."""

from collections.abc import Callable, Iterator

import pytest

from handlers import runtime
from handlers.runtime import Opener, Process

Start = Callable[[Opener], Process]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start a process whose functions open what they are told to; ends the one before."""
    started: list[Process] = []

    def begin(opener: Opener) -> Process:
        process = Process(opener)
        started.append(process)
        monkeypatch.setattr(runtime, "PROCESS", process)
        return process

    yield begin
    for process in started:
        process.close()
