"""The end-to-end suite itself, on stages that CloudFormation made in LocalStack.

What `make e2e` asks of a real stage is asked of a container's here, through every way in that one
may have, and it has to leave nothing there. Where the worker has wrong prices, it has to fail.
"""

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from infra.config import load
from tests.drill.stacks import ACCOUNT, REGION, Emulator, create, delete
from tests.drill.stages import Stage, emulator
from tests.dynamodb import ENVIRONMENT, START_SECONDS
from tests.e2e.running import TIMEOUT_SECONDS, run_suite
from tests.infra.shapes import synthesise
from worker.settings import ENVIRONMENT as VARIABLES

pytestmark = [
    pytest.mark.integration,
    pytest.mark.timeout(START_SECONDS + 2 * TIMEOUT_SECONDS),
]

ACTS: Final = {"enforcement": {"by": "worker", "user_paths": ["/people/"]}}
WRONG_PRICES: Final = (
    "model,unit,usd,effective_from\namazon.nova-micro-v1:0,input_tokens,1,2026-01-01\n"
)


@pytest.fixture(scope="module")
def emulated() -> Iterator[Emulator]:
    with emulator() as (made, _container):
        yield made


def inventory(emulated: Emulator, stage: Stage) -> dict[str, Any]:
    """Return everything that the suite could have left, but what is booked."""
    found: dict[str, Any] = {
        "queues": emulated.client("sqs").list_queues()["QueueUrls"],
        "users": emulated.client("iam").list_users()["Users"],
    }
    for bus in ("default", stage.name):
        rules = emulated.client("events").list_rules(EventBusName=bus)["Rules"]
        found[f"rules of {bus}"] = [rule["Name"] for rule in rules]
    for name, kind in stage.stack.types.items():
        its = stage.stack.resources[name]
        if kind == "AWS::Logs::LogGroup":
            streams = emulated.client("logs").describe_log_streams(logGroupName=its)
            found[its] = [one["logStreamName"] for one in streams["logStreams"]]
        elif kind == "AWS::S3::Bucket":
            objects = emulated.client("s3").list_objects_v2(Bucket=its).get("Contents", [])
            found[its] = [one["Key"] for one in objects]
    return found


@pytest.mark.parametrize(
    "via, outcome", [("kinesis", "7 passed, 1 skipped"), ("s3", "6 passed, 2 skipped")]
)
def test_it_passes_on_a_stage_that_works_and_nowhere_else_and_leaves_nothing(
    emulated: Emulator, tmp_path: Path, via: str, outcome: str
) -> None:
    name, config = f"e2e-{via}", tmp_path / "stages.yaml"
    here = {"account": ACCOUNT, "region": REGION, "shape": "container", "logs": {"via": via}}
    config.write_text(yaml.safe_dump({"defaults": here, "stages": {name: ACTS}}))
    synthesised = synthesise(load(name, config), tmp_path / "synth")
    stage = Stage(emulated, create(emulated, synthesised), tmp_path)

    def suite(which: str) -> subprocess.CompletedProcess[str]:
        environment = {**ENVIRONMENT, "AWS_ENDPOINT_URL": emulated.endpoint}
        return run_suite(name, config, environment, "-k", which)

    try:
        before = inventory(emulated, stage)
        with stage.worker():
            # LocalStack has no Bedrock, which the doctor would miss.
            ran = suite("not doctor")
        assert ran.returncode == 0, f"{ran.stdout}\n{ran.stderr}"
        assert re.search(rf"\b{outcome}, 1 deselected\b", ran.stdout), ran.stdout
        assert inventory(emulated, stage) == before

        prices = tmp_path / "wrong.csv"
        prices.write_text(WRONG_PRICES)
        wrong = {**stage.stack.environment, VARIABLES["prices"]: str(prices)}
        stage.stack = replace(stage.stack, environment=wrong)
        with stage.worker():
            ran = suite("queue")
        assert ran.returncode == 1, f"{ran.stdout}\n{ran.stderr}"
        assert re.search(r"\b1 failed\b", ran.stdout), ran.stdout
        assert inventory(emulated, stage) == before
    finally:
        stage.end()
        delete(emulated, stage.name)
