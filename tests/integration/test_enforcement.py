"""A user over budget, from the log of the call to the deny policy and back, all of it real."""

import asyncio
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.calls import asynchronous
from tests.dynamodb import ENVIRONMENT, ROOT, localstack_endpoint, new_prefix
from tests.events import checked_event
from tests.records import line, log
from tests.workers import WAIT_SECONDS, WorkerProcess, aws, new_queue, send

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ACCOUNT = "000000000000"


class Company:
    """One account of LocalStack, one ledger, and the command line beside the worker."""

    def __init__(self, folder: Path, iam: Any) -> None:
        self.folder, self.iam = folder, iam
        self.prefix = new_prefix()
        self.settings = {
            "LEDGEROCK_BUS": f"file:{folder}/events.jsonl",
            "LEDGEROCK_ENFORCEMENT": "worker",
            "LEDGEROCK_ACCOUNT": ACCOUNT,
            "LEDGEROCK_MONITOR_SECONDS": "1",
            "LEDGEROCK_LEDGER": f"dynamodb:{self.prefix}",
            "LEDGEROCK_CREATE_TABLES": "1",
        }

    def ledgerock(self, *arguments: str) -> Any:
        """Run a command; return the JSON document that it prints."""
        environment = {name: text for name, text in os.environ.items() if "LEDGEROCK" not in name}
        environment |= {**ENVIRONMENT, "AWS_ENDPOINT_URL": localstack_endpoint(), **self.settings}
        done = subprocess.run(
            [sys.executable, "-m", "worker", *arguments, "--json"],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def events(self, detail_type: str) -> list[dict[str, Any]]:
        """Return the details that were announced, each checked against its schema."""
        file = self.folder / "events.jsonl"
        if not file.exists():
            return []
        found = [json.loads(text) for text in file.read_text(encoding="utf-8").splitlines()]
        for one in found:
            checked_event(one)
        return [one["detail"] for one in found if one["detail-type"] == detail_type]

    async def policies(self, user: str) -> dict[str, str]:
        """Return a user's inline policies, and the ARNs of those that are attached."""
        names = (await self.iam.list_user_policies(UserName=user))["PolicyNames"]
        attached = await self.iam.list_attached_user_policies(UserName=user)
        found = {one["PolicyArn"]: "" for one in attached["AttachedPolicies"]}
        for name in names:
            try:
                policy = await self.iam.get_user_policy(UserName=user, PolicyName=name)
            except self.iam.exceptions.NoSuchEntityException:
                continue  # taken away since it was listed
            found[name] = json.dumps(policy["PolicyDocument"], sort_keys=True)
        return found


def calls_of(user: str, count: int) -> list[str]:
    """Return calls of this moment: 1,000 tokens in, 500 out, 0.0024 USD each."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    mine: dict[str, Any] = {
        "timestamp": now,
        "accountId": ACCOUNT,
        "identity": {"arn": f"arn:aws:iam::{ACCOUNT}:user/{user}"},
    }
    return [line(log(0, **mine, requestId=str(uuid.uuid4()))).decode() for _ in range(count)]


async def until(condition: Callable[[], Awaitable[object]], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"waited in vain: {what}"
        await asyncio.sleep(0.2)


@asynchronous
async def test_a_key_at_500_per_cent_is_suspended_once_and_restored_when_its_limit_is_raised(
    tmp_path: Path,
) -> None:
    user = f"bob-{uuid.uuid4().hex[:12]}"
    async with aws("sqs") as sqs, aws("iam") as iam:
        company = Company(tmp_path, iam)
        document = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "bedrock:*", "Resource": "*"}],
        }
        await iam.create_user(UserName=user, Path="/people/")
        await iam.put_user_policy(
            UserName=user, PolicyName="mine", PolicyDocument=json.dumps(document)
        )
        await iam.attach_user_policy(
            UserName=user, PolicyArn="arn:aws:iam::aws:policy/AmazonBedrockLimitedAccess"
        )
        before = await company.policies(user)
        principal = f"user/{ACCOUNT}/{user}"
        queue = await new_queue(sqs)
        limits = ("--scope", f"principal/{principal}", "--limit", "0.012")
        company.ledgerock("budgets", "set", "bob", *limits, "--action", "suspend", "--grace", "1s")
        workers = [
            WorkerProcess(tmp_path / f"log{one}", company.settings | {"LEDGEROCK_QUEUES": queue})
            for one in (1, 2)
        ]
        try:
            await send(sqs, queue, calls_of(user, 25))  # 0.06 USD: five times the limit

            async def is_denied() -> bool:
                return len(await company.policies(user)) > len(before)

            async def is_told(detail_type: str) -> bool:
                return bool(company.events(detail_type))

            await until(is_denied, f"a deny policy; {workers[0].log_text()[-3000:]}")
            await until(lambda: is_told("Principal Suspended"), "the event")
            during = await company.policies(user)
            assert before.items() < during.items()
            [added] = during.keys() - before.keys()
            assert added.startswith("ledgerock-deny-")
            assert '"Effect": "Deny"' in during[added]
            [grace] = {one["event_id"] for one in company.events("Budget Grace Period Started")}
            assert grace
            shown = company.ledgerock("budgets", "show", "bob")
            assert shown["state"] == "suspended"
            # One more call while it is suspended: IAM may take a while, and nothing is done twice.
            await send(sqs, queue, calls_of(user, 1))
            company.ledgerock("budgets", "set", "bob", "--limit", "100")

            async def is_restored() -> bool:
                return await company.policies(user) == before

            await until(is_restored, f"the policies as before; {workers[0].log_text()[-3000:]}")
            await until(lambda: is_told("Principal Restored"), "the event")
            for detail_type in ("Principal Suspended", "Principal Restored"):
                [once] = {one["event_id"] for one in company.events(detail_type)}
                assert once
            assert not company.events("Suspension Failed")
            for worker in workers:
                assert await asyncio.to_thread(worker.terminate) == 0
        finally:
            for worker in workers:
                worker.kill()
        assert company.ledgerock("verify", "--audit")["problems"] == []
        assert company.ledgerock("verify")["differences"] == []
