"""Running a command's coroutine so that Ctrl-C ends it at once."""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

Result = TypeVar("Result")


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Run a coroutine to its end.

    An embedded ledger never waits, so the event loop's own way of interrupting (to cancel the
    task when it next waits) would let a long replay or rebooking run to its end. Here the
    interrupt is raised where the work stands; transactions roll back and files are closed on
    the way out.

    Raises:
        KeyboardInterrupt: The person at the terminal had enough.
    """
    if threading.current_thread() is not threading.main_thread():
        return asyncio.run(work)
    previous = signal.signal(signal.SIGINT, _interrupt)
    try:
        return asyncio.run(work)
    finally:
        signal.signal(signal.SIGINT, previous)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
