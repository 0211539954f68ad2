from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.calls import asynchronous
from worker.adapters import dynamodb_requests
from worker.adapters.dynamodb_requests import Dynamo
from worker.core.errors import ConfigurationError, TransientError


def answer(status: int, code: str = "") -> ClientError:
    """A refusal; one of a proxy has no code of DynamoDB's but its status as text."""
    return ClientError(
        {
            "Error": {"Code": code or str(status), "Message": "no"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        },
        "Any",
    )


class Client:
    """Raises or returns what it was given, in order."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.tokens: list[str] = []

    def __getattr__(self, operation: str) -> Any:
        async def request(**arguments: Any) -> Any:
            self.tokens.append(arguments.get("ClientRequestToken", operation))
            found = self.answers.pop(0)
            if isinstance(found, Exception):
                raise found
            return found

        return request


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dynamodb_requests, "BACKOFF_LAST_SECONDS", 0.0)


@asynchronous
async def test_a_busy_servers_answer_passes_whatever_it_says() -> None:
    client = Client(answer(503), answer(500, "Odd"), answer(429), {"Items": []})
    assert await Dynamo(client).call("query") == {"Items": []}


@asynchronous
async def test_a_transaction_is_sent_again_under_its_token_past_a_busy_proxy() -> None:
    client = Client(answer(502), answer(504), {})
    assert await Dynamo(client).transact([{"Put": {}}]) == ()
    assert len(set(client.tokens)) == 1
    assert len(client.tokens) == 3


@asynchronous
async def test_a_server_that_stays_busy_is_a_passing_fault() -> None:
    client = Client(*[answer(503)] * dynamodb_requests.ATTEMPTS_MAX)
    with pytest.raises(TransientError, match="failed 10 times"):
        await Dynamo(client).call("query")


@asynchronous
async def test_a_table_is_waited_for_until_it_can_be_used() -> None:
    client = Client(
        {},
        answer(400, "ResourceNotFoundException"),
        {"Table": {"TableStatus": "CREATING"}},
        answer(503),
        {"Table": {"TableStatus": "ACTIVE"}},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("worker.adapters.dynamodb_requests.asyncio.sleep", _no_sleep)
        await Dynamo(client).create_table({"TableName": "t"})
    assert client.answers == []


@asynchronous
async def test_a_missing_table_is_not_waited_for() -> None:
    client = Client(answer(400, "ResourceNotFoundException"))
    with pytest.raises(ConfigurationError, match="there is no table t"):
        await Dynamo(client).call("query", TableName="t")


async def _no_sleep(_seconds: float) -> None:
    pass
