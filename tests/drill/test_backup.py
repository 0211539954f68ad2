"""The commands of the backup guide, run as they stand there on an emulator of AWS.

moto has backups and restores, which neither DynamoDB Local nor LocalStack has. Its restore to a
point in time takes what a table holds by then, so that is asked for while the table holds it.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import boto3
import pytest

from tests.aws_command import Terminal
from tests.calls import ACCOUNT, REGION
from tests.dynamodb import ENVIRONMENT, ROOT
from tests.guides import script
from tests.records import line, log
from tests.workers import wait_for
from worker.adapters.dynamodb_items import table_definitions
from worker.adapters.dynamodb_state import state_table_definition
from worker.settings.deployment import PARAMETER, Deployment, encode_deployment

pytestmark = pytest.mark.timeout(300)

GUIDE: Final = Path("docs/deploy/backup.md")
NAME: Final = "ledgerock-dev"
BUCKET: Final = "ledgerock-dev-logs"
GROUP: Final = "/ledgerock/dev/invocations"
FUNCTION: Final = "ledgerock-dev-queue"
BOOKS: Final = ("entries", "balances")
BEFORE: Final = [log(number, user=f"user{number % 3}") for number in range(12)]
NOW: Final = int(time.time()) * 1_000
"""When what came after the restore point was called: `--since` of the guide's commands is later
than the rest."""
AFTER: Final = [log(number, user=f"user{number % 4}", at_ms=NOW) for number in range(12, 20)]
DIMENSIONS: Final = ("principal", "day")


class Account:
    """An emulated account, and a shell in which `aws` and `ledgerock` work on it."""

    def __init__(self, endpoint: str, folder: Path) -> None:
        self._folder = folder
        self._variables = folder / "variables"
        self._variables.touch()
        programs = folder / "bin"
        programs.mkdir()
        ledgerock = programs / "ledgerock"
        ledgerock.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m worker "$@"\n')
        ledgerock.chmod(0o755)
        self.terminal = Terminal(programs, self.client)
        kept = {name: text for name, text in os.environ.items() if "LEDGEROCK" not in name}
        self._environment = {
            **kept,
            **ENVIRONMENT,
            "AWS_ENDPOINT_URL": endpoint,
            "PATH": f"{programs}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        self._keys = {
            "endpoint_url": endpoint,
            "region_name": ENVIRONMENT["AWS_REGION"],
            "aws_access_key_id": "local",
            "aws_secret_access_key": "local",
        }
        self.dynamodb = self.client("dynamodb")

    def client(self, service: str) -> Any:
        return boto3.client(service, **self._keys)

    def shell(self, text: str, expected: int = 0) -> str:
        """Run a script; variables that it sets are there in the next one."""
        kept = f'source "{self._variables}"\ntrap \'declare -p | grep "^declare --" '
        kept += f'| grep -v " BASH" > "{self._variables}"\' EXIT\n'
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", kept + text],
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == expected, f"{text}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def guide(self, *headings: str) -> str:
        """Run what the guide has below some headings."""
        text = script(GUIDE, *headings)
        assert text, headings
        return self.shell(text)

    def book(self, name: str, records: list[dict[str, Any]], ledger: str = NAME) -> None:
        content = b"".join(line(record) + b"\n" for record in records)
        (self._folder / name).write_bytes(content)
        self.shell(f"ledgerock replay {name} --ledger dynamodb:{ledger} --jobs 1")

    def log(self, records: list[dict[str, Any]]) -> None:
        """Put records into the log group, as Bedrock does."""
        events = [{"timestamp": NOW, "message": line(record).decode()} for record in records]
        self.client("logs").put_log_events(
            logGroupName=GROUP, logStreamName="aws/bedrock/modelinvocations", logEvents=events
        )

    def archive(self, records: list[dict[str, Any]]) -> None:
        """Put records into the bucket, as Bedrock does."""
        at = datetime.fromtimestamp(NOW / 1_000, UTC)
        folder = f"AWSLogs/{ACCOUNT}/BedrockModelInvocationLogs/{REGION}/{at:%Y/%m/%d/%H}"
        body = gzip.compress(b"".join(line(record) + b"\n" for record in records))
        key = f"{folder}/{at:%Y%m%dT%H%M%S}000Z_0a1b2c3d.json.gz"
        self.client("s3").put_object(Bucket=BUCKET, Key=key, Body=body)

    def reports(self, ledger: str = NAME) -> list[dict[str, Any]]:
        """Return what the books say, by everything."""
        return [
            json.loads(
                self.shell(f"ledgerock report --ledger dynamodb:{ledger} --by {by} --format json")
            )
            for by in DIMENSIONS
        ]

    def verified(self, ledger: str = NAME) -> int:
        """Return the number of entries, after `verify` found the books sound."""
        found = json.loads(self.shell(f"ledgerock verify --ledger dynamodb:{ledger} --json"))
        assert (found["sound"], found["differences"]) == (True, [])
        return int(found["entries"])

    def delete_entry(self, ledger: str) -> None:
        """Take an entry away, and leave what it added: as a restore in mid-transaction would."""
        found = self.dynamodb.scan(TableName=f"{ledger}-entries", Limit=1)["Items"][0]
        key = {name: found[name] for name in ("r", "o")}
        self.dynamodb.delete_item(TableName=f"{ledger}-entries", Key=key)

    def settings(self, table: str) -> dict[str, Any]:
        """Return what `ledgerock doctor` looks at, and a restore does not carry."""
        dynamodb = self.dynamodb
        described = dynamodb.describe_table(TableName=table)["Table"]
        live = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
        backups = dynamodb.describe_continuous_backups(TableName=table)
        recovery = backups["ContinuousBackupsDescription"]["PointInTimeRecoveryDescription"]
        tags = dynamodb.list_tags_of_resource(ResourceArn=described["TableArn"])["Tags"]
        return {
            "live": (live["TimeToLiveStatus"], live.get("AttributeName")),
            "recovery": recovery["PointInTimeRecoveryStatus"],
            "protected": described["DeletionProtectionEnabled"],
            "stream": described.get("StreamSpecification"),
            "tags": {tag["Key"]: tag["Value"] for tag in tags},
            "keys": (described["KeySchema"], described["AttributeDefinitions"]),
            "indexes": [one["IndexName"] for one in described.get("GlobalSecondaryIndexes", ())],
        }


TAGS: Final = [
    {"Key": "ledgerock:stage", "Value": "dev"},
    {"Key": "ledgerock:name", "Value": NAME},
]


def deploy(account: Account) -> None:
    """Make what the guide's commands speak of, with the settings that a stage gives it."""
    dynamodb = account.dynamodb
    for definition in [*table_definitions(NAME), state_table_definition(NAME)]:
        table = definition["TableName"]
        dynamodb.create_table(**definition, Tags=TAGS, DeletionProtectionEnabled=True)
        dynamodb.update_time_to_live(
            TableName=table, TimeToLiveSpecification={"Enabled": True, "AttributeName": "x"}
        )
        dynamodb.update_continuous_backups(
            TableName=table,
            PointInTimeRecoverySpecification={
                "PointInTimeRecoveryEnabled": True,
                "RecoveryPeriodInDays": 35,
            },
        )
    account.client("s3").create_bucket(Bucket=BUCKET)
    logs = account.client("logs")
    logs.create_log_group(logGroupName=GROUP)
    logs.create_log_stream(logGroupName=GROUP, logStreamName="aws/bedrock/modelinvocations")
    trust = {"Version": "2012-10-17", "Statement": []}
    role = account.client("iam").create_role(
        RoleName="worker", AssumeRolePolicyDocument=json.dumps(trust)
    )["Role"]["Arn"]
    account.client("lambda").create_function(
        FunctionName=FUNCTION, Role=role, PackageType="Image", Code={"ImageUri": "worker:1"}
    )
    queue = account.client("sqs").create_queue(QueueName=f"{NAME}-events")["QueueUrl"]
    account.client("lambda").create_event_source_mapping(
        FunctionName=FUNCTION,
        EventSourceArn=f"arn:aws:sqs:{REGION}:123456789012:{queue.rpartition('/')[2]}",
    )
    deployment = Deployment(
        name=NAME,
        account="123456789012",
        region=ENVIRONMENT["AWS_REGION"],
        shape="functions",
        log_group=GROUP,
        log_bucket=BUCKET,
        functions={"queue": FUNCTION},
    )
    account.client("ssm").put_parameter(
        Name=f"/ledgerock/dev/{PARAMETER}", Value=encode_deployment(deployment), Type="String"
    )


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """A process of its own, and so an account of its own."""
    with (tmp_path / "moto.log").open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
            stdout=output,
            stderr=output,
        )
    try:
        made = Account(_endpoint(tmp_path / "moto.log"), tmp_path)
        with made.terminal:
            deploy(made)
            yield made
    finally:
        server.kill()
        server.wait()


def _endpoint(output: Path) -> str:
    """Wait until the server says where it is, and answers."""

    def said() -> str:
        return output.read_text(encoding="utf-8").rpartition("Running on http://")[2]

    wait_for(lambda: "\n" in said(), "moto's address")
    address = f"http://{said().split()[0]}"
    urllib.request.urlopen(f"{address}/moto-api/", timeout=30).close()
    return address


def is_booking(account: Account) -> bool:
    """Whether anything is fetched and invoked; all of it or nothing."""
    functions = account.client("lambda")
    reserved = functions.get_function_concurrency(FunctionName=FUNCTION)
    [mapping] = functions.list_event_source_mappings(FunctionName=FUNCTION)["EventSourceMappings"]
    is_fetched = mapping["State"] == "Enabled"
    assert is_fetched == ("ReservedConcurrentExecutions" not in reserved)
    assert is_fetched or reserved["ReservedConcurrentExecutions"] == 0
    return bool(is_fetched)


@pytest.fixture(autouse=True)
def shell() -> None:
    for program in ("bash", "python3"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no `{program}` on the PATH")


def test_damaged_books_are_restored_in_place_and_what_came_since_is_booked_again(
    account: Account,
) -> None:
    was = {table: account.settings(f"{NAME}-{table}") for table in BOOKS}
    account.log(BEFORE)
    account.book("before.ndjson", BEFORE)
    account.shell(script(GUIDE, "Back up and restore"))
    account.guide("Stop booking")
    assert not is_booking(account)
    account.guide("Make a restore point", "Start booking again")
    assert is_booking(account)
    account.guide("Restore beside the stage")
    assert account.verified(f"{NAME}-restored") == 12

    account.log(AFTER[:5])
    account.archive(AFTER[3:])
    account.book("after.ndjson", AFTER)
    whole = account.reports()
    account.delete_entry(NAME)
    account.shell(f"ledgerock verify --ledger dynamodb:{NAME}", expected=1)

    account.guide("Stop booking", "Put the restored books in the place of the stage's")
    restored = {table: account.settings(f"{NAME}-{table}") for table in BOOKS}
    for table in BOOKS:
        # Why the next section is there.
        assert restored[table]["live"][0] == "DISABLED"
        assert restored[table]["recovery"] == "DISABLED"
        assert not restored[table]["protected"]
        assert restored[table]["tags"] == {}
    account.guide("What a restore does not bring back")
    assert {table: account.settings(f"{NAME}-{table}") for table in BOOKS} == was
    assert account.verified() == 12

    # The log group has what was booked before as well: duplicates change nothing.
    account.guide("Book what came after that second")
    assert account.verified() == 17
    account.guide("From a bucket")
    account.guide("Start booking again", "Delete what was restored beside it")
    assert account.verified() == 20
    assert account.reports() == whole
    # 1,000 input tokens at 0.8 and 500 output tokens at 3.2 USD a million: 0.0024 a call.
    assert [report["total"]["cost_usd"] for report in whole] == ["0.048"] * len(DIMENSIONS)
    assert sorted(account.dynamodb.list_tables()["TableNames"]) == [
        f"{NAME}-{table}" for table in ("balances", "entries", "state")
    ]
    names = [one["BackupName"] for one in account.dynamodb.list_backups()["BackupSummaries"]]
    kept = [f"{NAME}-{table}-damaged" for table in BOOKS]
    assert set(kept) <= set(names)


def test_a_backup_on_demand_holds_the_books_of_its_time(account: Account) -> None:
    account.book("before.ndjson", BEFORE)
    then = account.reports()
    account.shell(script(GUIDE, "Back up and restore"))
    account.guide("Stop booking", "Make a restore point", "Start booking again")
    account.book("after.ndjson", AFTER)
    account.guide("Restore a backup beside the stage")
    assert account.verified(f"{NAME}-restored") == 12
    assert account.reports(f"{NAME}-restored") == then
    assert account.verified() == 20


def test_a_cut_transaction_is_found_not_mended_by_replaying_and_mended_from_all_logs(
    account: Account, tmp_path: Path
) -> None:
    account.book("before.ndjson", BEFORE)
    whole = account.reports()
    account.delete_entry(NAME)
    account.shell(f"ledgerock verify --ledger dynamodb:{NAME}", expected=1)
    # As the guide says: what its balance has already is added again.
    account.book("before.ndjson", BEFORE)
    account.shell(f"ledgerock verify --ledger dynamodb:{NAME}", expected=1)
    (tmp_path / "logs").mkdir()
    (tmp_path / "before.ndjson").rename(tmp_path / "logs" / "before.ndjson")
    account.shell(script(GUIDE, "Back up and restore"))
    account.guide("If verify finds differences")
    assert account.verified(f"{NAME}-rebuilt") == 12
    assert account.reports(f"{NAME}-rebuilt") == whole


def test_the_state_is_restored_with_the_books_and_has_its_settings_again(
    account: Account,
) -> None:
    tables = (*BOOKS, "state")
    was = {table: account.settings(f"{NAME}-{table}") for table in tables}
    account.book("before.ndjson", BEFORE)
    scope = "principal/user/111122223333/user0"
    account.shell(f"ledgerock budgets set ours --scope {scope} --limit 5 --ledger dynamodb:{NAME}")
    listing = f"ledgerock budgets list --ledger dynamodb:{NAME} --json"
    budgets = account.shell(listing)
    account.shell(script(GUIDE, "Back up and restore"))
    account.shell('tables="entries balances state"')
    account.guide("Stop booking", "Make a restore point", "Restore beside the stage")
    account.shell(f"ledgerock budgets remove ours --ledger dynamodb:{NAME}")
    account.guide(
        "Put the restored books in the place of the stage's",
        "What a restore does not bring back",
    )
    assert account.settings(f"{NAME}-state")["stream"] is None
    account.guide("If the state table is lost too")
    assert {table: account.settings(f"{NAME}-{table}") for table in tables} == was
    assert was["state"]["stream"] == {"StreamEnabled": True, "StreamViewType": "KEYS_ONLY"}
    assert account.shell(listing) == budgets
    assert json.loads(budgets)["budgets"][0]["name"] == "ours"
    assert account.verified() == 12
