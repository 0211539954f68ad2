import asyncio
import signal
import threading

import pytest

from worker.cli.running import run


def test_ctrl_c_ends_work_that_never_waits_and_lets_it_clean_up() -> None:
    done = []

    async def work() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
            done.append("went on")
        finally:
            await asyncio.sleep(0)
            done.append("cleaned up")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert done == ["cleaned up"]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_ends_work_that_waits() -> None:
    async def work() -> None:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
        await asyncio.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        run(work())


def test_other_threads_run_without_signals() -> None:
    async def work() -> int:
        return 7

    results: list[int] = []
    thread = threading.Thread(target=lambda: results.append(run(work())))
    thread.start()
    thread.join()
    assert results == [7]
