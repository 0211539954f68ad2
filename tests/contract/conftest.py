"""Empty ledgers of every kind, for the contract that all of them keep."""

import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.dynamodb import ledger_at, local_endpoint, localstack_endpoint
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.ports import Ledger

Open = Callable[[], AbstractAsyncContextManager[Ledger]]


@asynccontextmanager
async def _memory(_folder: Path) -> AsyncIterator[Ledger]:
    async with aclosing_ledger(MemoryLedger()) as ledger:
        yield ledger


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Ledger]:
    async with aclosing_ledger(SqliteLedger(folder / f"{uuid.uuid4().hex}.db")) as ledger:
        yield ledger


@asynccontextmanager
async def aclosing_ledger(ledger: Ledger) -> AsyncIterator[Ledger]:
    try:
        yield ledger
    finally:
        await ledger.close()


@asynccontextmanager
async def _localstack(_folder: Path) -> AsyncIterator[Ledger]:
    async with ledger_at(localstack_endpoint()) as ledger:
        yield ledger


@asynccontextmanager
async def _dynamodb(_folder: Path) -> AsyncIterator[Ledger]:
    async with ledger_at(local_endpoint()) as ledger:
        yield ledger


KINDS = [
    pytest.param(_memory, id="memory"),
    pytest.param(_sqlite, id="sqlite"),
    pytest.param(_dynamodb, id="dynamodb"),
    pytest.param(_localstack, id="localstack", marks=pytest.mark.integration),
]


ORDERS = list(itertools.permutations(range(4)))


@pytest.fixture
def orders(request: pytest.FixtureRequest) -> list[tuple[int, ...]]:
    """Orders of four records to try: all, but a few where each takes two new tables."""
    slow = request.node.callspec.params["open_ledger"] not in {_memory, _sqlite}
    return ORDERS[::5] if slow else ORDERS


@pytest.fixture(params=KINDS)
def open_ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Make empty ledgers of one kind; another adapter is another parameter."""
    return lambda: request.param(tmp_path)
