import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.unit.cli.conftest import Run
from worker.settings import WORKER_ENVIRONMENT


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*WORKER_ENVIRONMENT.values(), "LEDGEROCK_LOG_LEVEL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _logs_as_they_were() -> Iterator[None]:
    """The command sets up the logs of its process, which here is that of the tests."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_without_anything_to_work_on_it_says_what_to_set(run: Run) -> None:
    run("worker", code=2, error="there is nothing to work on: name queues (LEDGEROCK_QUEUES")


@pytest.mark.parametrize(
    "name,value,error",
    [
        ("LEDGEROCK_QUEUES", "calls", "'calls' is no URL of an SQS queue"),
        ("LEDGEROCK_QUEUES", "http://h/1/q,http://h/2/q", "sqs:q is named twice"),
        ("LEDGEROCK_HTTP_PORT", "http", "LEDGEROCK_HTTP_PORT=http: give a whole number"),
        ("LEDGEROCK_METRICS", "statsd", "LEDGEROCK_METRICS=statsd: give prometheus, emf, both"),
        ("LEDGEROCK_LOG_LEVEL", "loud", "LEDGEROCK_LOG_LEVEL=loud: give one of debug"),
    ],
)
def test_settings_that_will_not_do_are_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, value: str, error: str
) -> None:
    monkeypatch.setenv("LEDGEROCK_QUEUES", "http://127.0.0.1:1/1/q")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv(name, value)
    run("worker", "--ledger", "sqlite:books.db", code=2, error=error)


def test_a_ledger_that_is_lost_with_the_process_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEDGEROCK_QUEUES", "http://127.0.0.1:1/1/q")
    run("worker", "--ledger", "memory", code=2, error="deliveries would be deleted though")
