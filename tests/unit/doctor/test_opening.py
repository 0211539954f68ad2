"""From a stage's parameter, or from the settings, to what is examined."""

from pathlib import Path

import pytest

from tests.calls import asynchronous
from tests.unit.doctor.world import ACCOUNT, DEPLOYMENT, HOME, NAME, QUEUE
from worker.adapters.memory_account import MemoryAccount
from worker.bootstrap.doctor import deployment_of, open_patient
from worker.core.errors import ConfigurationError
from worker.settings import EnforcementSettings, Settings, WorkerSettings
from worker.settings.deployment import encode_deployment

STAGE = "/ledgerock/dev"
ENVIRONMENT = {"AWS_REGION": HOME}


def account_with(text: str = encode_deployment(DEPLOYMENT)) -> MemoryAccount:
    return MemoryAccount(parameters={f"{STAGE}/deployment": text})


@asynchronous
async def test_a_stage_is_examined_as_it_was_deployed() -> None:
    account = account_with()
    settings = Settings(create_tables=True)
    async with open_patient(
        settings, ENVIRONMENT, stage_path=f"{STAGE}/", account=account
    ) as patient:
        assert patient.deployment == DEPLOYMENT
        assert patient.stage_path == STAGE
        assert patient.settings.ledger == f"dynamodb:{NAME}"
        assert patient.settings.quarantine == DEPLOYMENT.quarantine
        assert not patient.settings.create_tables
        assert [table.name for table in patient.tables] == [
            f"{NAME}-entries",
            f"{NAME}-balances",
            f"{NAME}-state",
        ]
        assert patient.books is not None
        assert patient.books.quarantine is not None


@asynchronous
async def test_a_ledger_that_is_named_stands_for_the_stages() -> None:
    settings = Settings(ledger="dynamodb:restored", quarantine="s3://elsewhere")
    async with open_patient(
        settings, ENVIRONMENT, stage_path=STAGE, account=account_with()
    ) as patient:
        assert patient.settings == settings
        assert patient.tables[0].name == "restored-entries"


@pytest.mark.parametrize(
    "path, account, says",
    [
        ("ledgerock/dev", account_with(), "give the path of a stage's parameters"),
        ("/dev", account_with(), "such as /ledgerock/dev"),
        ("/ledgerock/prod", account_with(), "make deploy STAGE=prod"),
        (STAGE, account_with("{}"), "parameter /ledgerock/dev/deployment does not say what"),
        (STAGE, MemoryAccount(denied={"ssm:GetParameter"}), "AWS denies ssm:GetParameter"),
    ],
)
@asynchronous
async def test_a_stage_that_cannot_be_read_is_a_wrong_argument(
    path: str, account: MemoryAccount, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        async with open_patient(Settings(), ENVIRONMENT, stage_path=path, account=account):
            pytest.fail("it opened")


def test_settings_say_what_there_is_to_be() -> None:
    settings = Settings(
        ledger=f"dynamodb:{NAME}",
        quarantine="s3://kept/records",
        worker=WorkerSettings(queues=(QUEUE,), streams=("logs",), bus="events"),
        enforcement=EnforcementSettings(acts="worker", account=ACCOUNT, sns_topic="arn:t"),
    )
    found = deployment_of(settings, ENVIRONMENT)
    assert (found.name, found.account, found.region) == (NAME, ACCOUNT, HOME)
    assert (found.queues, found.streams, found.bus) == ((QUEUE,), ("logs",), "events")
    assert (found.quarantine, found.topics) == ("s3://kept/records", {"people": "arn:t"})
    assert found.enforcement == "worker"
    bare = deployment_of(Settings(worker=WorkerSettings(bus="file:events.jsonl")), {})
    assert (bare.name, bare.regions, bare.bus, bare.topics) == ("", (), "", {})


@asynchronous
async def test_nothing_of_aws_is_asked_where_nothing_is_named(tmp_path: Path) -> None:
    settings = Settings(ledger=f"sqlite:{tmp_path / 'ledger.db'}")
    async with open_patient(settings, ENVIRONMENT, account=MemoryAccount()) as patient:
        assert patient.account is None
        assert patient.books is None
        assert "there is no such file" in patient.books_problem
    assert not (tmp_path / "ledger.db").exists()
    worker = WorkerSettings(queues=(QUEUE,))
    async with open_patient(
        Settings(ledger=settings.ledger, worker=worker), ENVIRONMENT, account=MemoryAccount()
    ) as patient:
        assert patient.account is not None
