"""Working on many things at a time, but not on all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

AT_ONCE: Final = 16

_Item = TypeVar("_Item")


async def side_by_side(items: Iterable[_Item], work: Callable[[_Item], Awaitable[object]]) -> None:
    """Work on some items at a time; what fails holds up no other.

    Raises:
        BaseException: The first failure, once all are done.
    """
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(item: _Item) -> None:
        async with gate:
            await work(item)

    for failure in await asyncio.gather(*(one(item) for item in items), return_exceptions=True):
        if failure is not None:
            raise failure
