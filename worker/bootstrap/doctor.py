"""What `ledgerock doctor` examines, put together from a deployment or from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Final

from worker.adapters.clock import SystemClock
from worker.bootstrap.books import open_ledger, open_quarantine
from worker.bootstrap.state import open_state
from worker.core.doctor import CannotReadError
from worker.core.errors import ConfigurationError, LedgerockError
from worker.doctor import Books, Patient
from worker.ports import Clock
from worker.ports.account import Account, TableState
from worker.settings import LEDGER_DEFAULT, Settings
from worker.settings.deployment import PARAMETER, Deployment, decode_deployment

FILE: Final = "file:"
_NAMES: Final = 2
"""Names in the path of a stage: prefix and stage."""


@asynccontextmanager
async def open_patient(
    settings: Settings,
    environment: Mapping[str, str],
    *,
    stage_path: str = "",
    account: Account | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[Patient]:
    """Open what is examined; nothing is made that is missing.

    Args:
        settings: Of the environment; with a stage, its ledger stands for the default one.
        environment: Says the Region.
        stage_path: `/PREFIX/STAGE`; empty for what the settings name.
        account: Reads AWS; by default AWS itself, wherever anything there is named.
        clock: Ledger time; the machine's by default.

    Raises:
        ConfigurationError: There is no such stage, it cannot be read, or a setting is wrong.
    """
    settings = replace(settings, create_tables=False)
    async with AsyncExitStack() as stack:
        if stage_path:
            path = _checked(stage_path)
            account = account or _open_account(stack)
            deployment = await _deployment(account, path)
            settings = _of_stage(settings, deployment)
        else:
            path = ""
            deployment = deployment_of(settings, environment)
            is_aws = settings.ledger_tables is not None or _names_aws(deployment)
            account = (account or _open_account(stack)) if is_aws else None
        books, problem = await _books(settings, stack)
        yield Patient(
            account=account,
            deployment=deployment,
            settings=settings,
            clock=clock or SystemClock(),
            books=books,
            books_problem=problem,
            tables=_tables(settings),
            stage_path=path,
        )


def deployment_of(settings: Settings, environment: Mapping[str, str]) -> Deployment:
    """Return what the settings name, as if it had been deployed."""
    worker, enforcement = settings.worker, settings.enforcement
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION") or ""
    topic = enforcement.sns_topic
    return Deployment(
        name=settings.ledger_tables or "",
        account=enforcement.account,
        region=region,
        shape="",
        regions=(region,) if region else (),
        queues=worker.queues,
        streams=worker.streams,
        bus="" if worker.bus.startswith(FILE) else worker.bus,
        quarantine=settings.quarantine_place or "",
        topics={"people": topic} if topic else {},
        enforcement=enforcement.acts,
        agents=enforcement.agents,
        keys=enforcement.keys,
    )


def _names_aws(deployment: Deployment) -> bool:
    return bool(
        deployment.queues
        or deployment.streams
        or deployment.bus
        or deployment.topics
        or deployment.quarantine
    )


def _checked(path: str) -> str:
    checked = "/" + path.strip("/")
    if not path.startswith("/") or checked.count("/") < _NAMES:
        message = (
            f"--stage-path {path}: give the path of a stage's parameters, prefix and stage, such "
            "as /ledgerock/dev"
        )
        raise ConfigurationError(message)
    return checked


async def _deployment(account: Account, path: str) -> Deployment:
    name = f"{path}/{PARAMETER}"
    try:
        text = await account.parameter(name)
    except CannotReadError as error:
        raise ConfigurationError(f"--stage-path {path}: {error}") from error
    if text is None:
        message = (
            f"--stage-path {path}: there is no parameter {name}; check the path, AWS_REGION and "
            "AWS_PROFILE, or deploy the stage: make deploy STAGE=" + path.rpartition("/")[2]
        )
        raise ConfigurationError(message)
    return decode_deployment(text, f"parameter {name}")


def _of_stage(settings: Settings, deployment: Deployment) -> Settings:
    """Return settings that name the stage's ledger and quarantine, unless others are named."""
    ledger, quarantine = settings.ledger, settings.quarantine
    if ledger == LEDGER_DEFAULT:
        ledger = f"dynamodb:{deployment.name}"
    return replace(settings, ledger=ledger, quarantine=quarantine or deployment.quarantine or None)


def _open_account(stack: AsyncExitStack) -> Account:
    from worker.adapters.account_aws import AwsAccount  # noqa: PLC0415 - half a second

    account = AwsAccount()
    stack.push_async_callback(account.close)
    return account


def _tables(settings: Settings) -> tuple[TableState, ...]:
    prefix = settings.ledger_tables
    if prefix is None:
        return ()
    from worker.adapters.account_tables import wanted_tables  # noqa: PLC0415 - half a second

    return wanted_tables(prefix)


async def _books(settings: Settings, stack: AsyncExitStack) -> tuple[Books | None, str]:
    """Open the ledger; where that is not possible, say why.

    Raises:
        ConfigurationError: There is no such kind of ledger.
    """
    file = settings.ledger_file
    if file is not None and not file.exists():
        return None, f"{file}: there is no such file: nothing was booked yet"
    try:
        ledger = open_ledger(settings, must_exist=True)
        stack.push_async_callback(ledger.close)
        state = open_state(settings, must_exist=True)
        stack.push_async_callback(state.close)
    except LedgerockError as error:
        return None, str(error)
    quarantine = open_quarantine(settings) if settings.keeps_quarantine else None
    if quarantine is not None:
        stack.push_async_callback(quarantine.close)
    books = Books(
        ledger=ledger,
        budgets=state.budgets,
        outbox=state.outbox,
        records=state.records,
        quarantine=quarantine,
    )
    return books, ""
