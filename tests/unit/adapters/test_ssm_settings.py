"""Settings from the Parameter Store."""

import logging
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.calls import asynchronous
from worker.adapters import ssm_settings
from worker.adapters.ssm_settings import variable_of, with_parameters
from worker.core.errors import ConfigurationError, TransientError
from worker.settings import (
    ENFORCEMENT_ENVIRONMENT,
    ENVIRONMENT,
    WORKER_ENVIRONMENT,
    Settings,
)

PATH = "/ledgerock/prod"


class ParameterStore:
    """Answers page by page, as the service does; some pages are empty."""

    def __init__(self, parameters: dict[str, str], size: int = 2) -> None:
        self._pages: list[list[tuple[str, str]]] = []
        pairs = list(parameters.items())
        for start in range(0, len(pairs), size):
            self._pages += [[], pairs[start : start + size]]
        self.requests: list[dict[str, Any]] = []
        self.error: Exception | None = None

    async def get_parameters_by_path(self, **asked: Any) -> dict[str, Any]:
        self.requests.append(asked)
        if self.error is not None:
            raise self.error
        at = int(asked.get("NextToken", 0))
        page = self._pages[at] if self._pages else []
        answer: dict[str, Any] = {
            "Parameters": [{"Name": name, "Value": text} for name, text in page]
        }
        if at + 1 < len(self._pages):
            answer["NextToken"] = str(at + 1)
        return answer


def failed(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "GetParametersByPath")


@asynchronous
async def test_secrets_of_the_webhook_may_stand_there() -> None:
    store = ParameterStore(
        {f"{PATH}/webhook-url": "https://hooks.example/1", f"{PATH}/webhook-secret": "s3cret"}
    )
    settings = Settings.read(await with_parameters({"LEDGEROCK_SSM_PATH": PATH}, store))
    assert settings.enforcement.webhook_url == "https://hooks.example/1"
    assert settings.enforcement.webhook_secret == "s3cret"
    assert all(one["WithDecryption"] for one in store.requests)


@asynchronous
async def test_parameters_complete_the_environment_which_wins() -> None:
    store = ParameterStore(
        {
            f"{PATH}/ledger": "dynamodb:prod",
            f"{PATH}/bus": "prod-bus",
            f"{PATH}/resolve-profiles": "0",
            f"{PATH}/linger_ms": "7",
            f"{PATH}/worker/unheard-of": "x",
            f"{PATH}/queues": "https://sqs.example/1/a,https://sqs.example/1/b",
        }
    )
    environment = {
        "LEDGEROCK_SSM_PATH": f"{PATH}/",
        "LEDGEROCK_BUS": "canary-bus",
        "LEDGEROCK_LINGER_MS": " ",
        "PATH": "/bin",
    }
    found = await with_parameters(environment, store)
    settings = Settings.read(found)
    assert settings.ledger == "dynamodb:prod"
    assert settings.worker.bus == "canary-bus"
    assert settings.worker.linger_ms == 7
    assert settings.worker.resolve_profiles is False
    assert settings.worker.queues == ("https://sqs.example/1/a", "https://sqs.example/1/b")
    assert found["PATH"] == "/bin"
    assert len(store.requests) == 6
    for asked in store.requests:
        assert asked["Path"] == PATH
        assert asked["Recursive"] is asked["WithDecryption"] is True
        assert asked["MaxResults"] <= 10


@asynchronous
async def test_what_is_no_setting_is_said_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    store = ParameterStore({f"{PATH}/beds": "secret", f"{PATH}/bus": "b"})
    with caplog.at_level(logging.WARNING, logger="ledgerock.settings"):
        found = await with_parameters({"LEDGEROCK_SSM_PATH": PATH}, store)
    assert found == {"LEDGEROCK_SSM_PATH": PATH, "LEDGEROCK_BUS": "b"}
    assert [one.getMessage() for one in caplog.records] == [f"parameter {PATH}/beds is no setting"]


@pytest.mark.parametrize("environment", [{}, {"LEDGEROCK_SSM_PATH": " "}])
@asynchronous
async def test_nothing_is_asked_without_a_path(environment: dict[str, str]) -> None:
    store = ParameterStore({f"{PATH}/bus": "b"})
    assert await with_parameters(environment, store) == environment
    assert store.requests == []


def test_every_setting_has_a_parameter() -> None:
    settings = {**ENVIRONMENT, **WORKER_ENVIRONMENT, **ENFORCEMENT_ENVIRONMENT}
    for variable in settings.values():
        prefix, _, rest = variable.partition("_")
        name = rest.lower()
        if prefix == "POWERTOOLS":
            continue  # the library's own, which it reads from the environment by itself
        assert variable_of(name) == variable
        assert variable_of(name.replace("_", "-")) == variable
        assert variable_of(f"/{name.replace('_', '/')}") == variable


@pytest.mark.parametrize(
    "error, expected, text",
    [
        (failed("AccessDeniedException"), ConfigurationError, "ssm:GetParametersByPath.*kms:Dec"),
        (failed("ThrottlingException"), TransientError, "not possible now"),
        (failed("InternalServerError"), TransientError, "not possible now"),
        (EndpointConnectionError(endpoint_url="https://ssm.example"), TransientError, "reached"),
    ],
)
@asynchronous
async def test_faults_are_explained(error: Exception, expected: type[Exception], text: str) -> None:
    store = ParameterStore({})
    store.error = error
    with pytest.raises(expected, match=text) as found:
        await with_parameters({"LEDGEROCK_SSM_PATH": PATH}, store)
    assert f"LEDGEROCK_SSM_PATH={PATH}" in str(found.value)


@asynchronous
async def test_a_path_must_be_one() -> None:
    with pytest.raises(ConfigurationError, match="begins with a slash"):
        await with_parameters({"LEDGEROCK_SSM_PATH": "ledgerock"}, ParameterStore({}))


@asynchronous
async def test_pages_that_never_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssm_settings, "PAGES_MAX", 3)
    store = ParameterStore({f"{PATH}/{number}": "x" for number in range(20)})
    with pytest.raises(ConfigurationError, match="more than 3 pages"):
        await with_parameters({"LEDGEROCK_SSM_PATH": PATH}, store)
    assert len(store.requests) == 3
