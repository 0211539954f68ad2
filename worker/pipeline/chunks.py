"""Taking chunks out of a port, and closing what yields them however far they were taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

_Chunk = TypeVar("_Chunk")


@asynccontextmanager
async def taken(chunks: AsyncIterator[_Chunk]) -> AsyncIterator[AsyncIterator[_Chunk]]:
    """Close the iterator at the end, if it can be closed: ports promise no more than to iterate."""
    try:
        yield chunks
    finally:
        close = getattr(chunks, "aclose", None)
        if close is not None:
            await close()
