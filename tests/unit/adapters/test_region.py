"""AWS_REGION names the Region, for whichever client; the SDK by itself knows another variable."""

import asyncio
from typing import Any

import pytest

from worker.adapters.aws_client import AwsClient
from worker.adapters.dynamodb_requests import Dynamo
from worker.adapters.s3_objects import make_client

REGION = "eu-west-3"


@pytest.fixture(autouse=True)
def only_aws_region(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")
    monkeypatch.setenv("AWS_REGION", REGION)


def test_of_tables() -> None:
    async def opened() -> Any:
        dynamo = Dynamo()
        try:
            return (await dynamo.client()).meta.region_name
        finally:
            await dynamo.close()

    assert asyncio.run(opened()) == REGION


def test_of_buckets() -> None:
    client: Any = make_client()
    assert client.meta.region_name == REGION


def test_of_everything_else() -> None:
    async def opened() -> Any:
        client = AwsClient("sqs")
        try:
            return (await client.open()).meta.region_name
        finally:
            await client.close()

    assert asyncio.run(opened()) == REGION
