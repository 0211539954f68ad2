"""Tasks that live as long as the worker: the end of any of them is the end of the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any

from worker.core.errors import LedgerockError


class TaskEndedError(LedgerockError):
    """A task that should have gone on for ever ended, without saying why."""


def first_cause(error: BaseException) -> BaseException:
    """Return what a group of errors began with."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


class Crew:
    """Some tasks, by name."""

    def __init__(self) -> None:
        """Begin with none."""
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start a task."""
        self._tasks[name] = asyncio.get_running_loop().create_task(work, name=name)

    def names(self, beginnings: tuple[str, ...]) -> list[str]:
        """Return the names that begin so."""
        return [name for name in self._tasks if name.startswith(beginnings)]

    async def until(self, *events: asyncio.Event, may_end: str = "") -> None:
        """Wait for any of some events, or for the end of the task `may_end`.

        Raises:
            BaseException: What any task raised meanwhile.
            TaskEndedError: Another task ended.
        """
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait([*waits, *self._tasks.values()], return_when="FIRST_COMPLETED")
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        for name, task in self._tasks.items():
            if not task.done():
                continue
            if task.cancelled() or (task.exception() is None and name != may_end):
                message = f"the task {name} ended"
                raise TaskEndedError(message)
            error = task.exception()
            if error is not None:
                raise first_cause(error)

    async def dismiss(self, names: Iterable[str] | None = None) -> None:
        """Cancel some tasks, or all, and wait for their ends."""
        wanted = list(self._tasks if names is None else names)
        tasks = [task for name in wanted if (task := self._tasks.pop(name, None)) is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
