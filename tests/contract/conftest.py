"""Empty ledgers and states of every kind, for the contracts that all of them keep."""

import itertools
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.dynamodb import client, ledger_at, local_endpoint, localstack_endpoint, new_prefix
from tests.iam_cases import in_moto, open_patient_world, open_world  # noqa: F401 - fixtures
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.memory_ledger import MemoryLedger
from worker.adapters.sqlite_ledger import SqliteLedger
from worker.bootstrap import State
from worker.bootstrap import open_state as open_state_of
from worker.ports import Ledger
from worker.settings import Settings

Open = Callable[[], AbstractAsyncContextManager[Ledger]]

ENGINE_AGAIN = [pytest.mark.integration, pytest.mark.drill]
"""LocalStack's tables are kept by the same DynamoDB Local that the parameter before has alone: what
LocalStack's own gateway does to requests is asked in the drill."""


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
    async with ledger_at(localstack_endpoint(), settle_seconds=0) as ledger:
        yield ledger


@asynccontextmanager
async def _dynamodb(_folder: Path) -> AsyncIterator[Ledger]:
    async with ledger_at(local_endpoint(), settle_seconds=0) as ledger:
        yield ledger


KINDS = [
    pytest.param(_memory, id="memory"),
    pytest.param(_sqlite, id="sqlite"),
    pytest.param(_dynamodb, id="dynamodb"),
    pytest.param(_localstack, id="localstack", marks=ENGINE_AGAIN),
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


# --- What is kept beside the ledger ----------------------------------------------------------

OpenState = Callable[[], AbstractAsyncContextManager[State]]
"""Opens the state of one test; opened twice, it is the same one, unless it is in memory."""


@asynccontextmanager
async def _state(ledger: str, endpoint: str = "") -> AsyncIterator[State]:
    settings = Settings(ledger=ledger, create_tables=True)
    if endpoint:
        async with client(endpoint) as opened:
            yield open_state_of(settings, dynamo=Dynamo(opened))
        return
    state = open_state_of(settings)
    try:
        yield state
    finally:
        await state.close()


def _state_in_memory(_folder: Path) -> OpenState:
    return lambda: _state("memory")


def _state_in_file(folder: Path) -> OpenState:
    return lambda: _state(f"sqlite:{folder / 'ledger.db'}")


def _state_in_tables(_folder: Path) -> OpenState:
    prefix = new_prefix()
    return lambda: _state(f"dynamodb:{prefix}", local_endpoint())


def _state_on_localstack(_folder: Path) -> OpenState:
    prefix = new_prefix()
    return lambda: _state(f"dynamodb:{prefix}", localstack_endpoint())


KEPT_STATES = [
    pytest.param(_state_in_file, id="sqlite"),
    pytest.param(_state_in_tables, id="dynamodb"),
    pytest.param(_state_on_localstack, id="localstack", marks=ENGINE_AGAIN),
]


@pytest.fixture(params=[pytest.param(_state_in_memory, id="memory"), *KEPT_STATES])
def open_state(request: pytest.FixtureRequest, tmp_path: Path) -> OpenState:
    """Open a state of one kind."""
    opens: OpenState = request.param(tmp_path)
    return opens


@pytest.fixture(params=KEPT_STATES)
def open_kept_state(request: pytest.FixtureRequest, tmp_path: Path) -> OpenState:
    """Open a state that outlives the process that made it."""
    opens: OpenState = request.param(tmp_path)
    return opens
