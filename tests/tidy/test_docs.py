"""What the pages under docs say of settings, metrics and functions is there, and complete."""

import json
import re
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from handlers.events import HANDLERS
from tests.tidy.sources import read_text
from worker.adapters.webhook_channel import signature
from worker.core.events import DETAIL_TYPES
from worker.core.people import is_told_by_hand
from worker.settings import (
    ENFORCEMENT_ENVIRONMENT,
    ENVIRONMENT,
    WORKER_ENVIRONMENT,
    EnforcementSettings,
    WorkerSettings,
)
from worker.telemetry import LOG_LEVEL_VARIABLE, METRICS

DOCS = Path("docs")
WORKER = DOCS / "worker.md"
FUNCTIONS = DOCS / "functions.md"
ENFORCEMENT = DOCS / "enforcement.md"
WORKERS = {*ENVIRONMENT.values(), *WORKER_ENVIRONMENT.values(), LOG_LEVEL_VARIABLE}
SETTINGS = {*WORKERS, *ENFORCEMENT_ENVIRONMENT.values()}


def cells(path: Path) -> list[list[str]]:
    """List the rows of a page's tables."""
    lines = read_text(path).splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]


def settings_in(path: Path) -> dict[str, str]:
    """Return the settings that a page's tables describe, each with its default, if it has one."""
    return {
        name: row[1].strip("`")
        for row in cells(path)
        if len(row) == 3
        for name in re.findall(r"`((?:LEDGEROCK|POWERTOOLS)_\w+)`", row[0])
    }


@pytest.mark.parametrize(
    "path, settings",
    [(WORKER, WORKERS), (ENFORCEMENT, set(ENFORCEMENT_ENVIRONMENT.values()))],
    ids=["worker", "enforcement"],
)
def test_every_setting_is_described_on_its_page(path: Path, settings: set[str]) -> None:
    assert set(settings_in(path)) == settings


@pytest.mark.parametrize(
    "path, variables, made",
    [
        (WORKER, WORKER_ENVIRONMENT, WorkerSettings()),
        (ENFORCEMENT, ENFORCEMENT_ENVIRONMENT, EnforcementSettings()),
    ],
    ids=["worker", "enforcement"],
)
def test_defaults_are_the_ones_that_hold(
    path: Path, variables: Mapping[str, str], made: object
) -> None:
    defaults = settings_in(path)
    for name, variable in variables.items():
        value = getattr(made, name)
        written = str(int(value)) if isinstance(value, int) else str(value or "")
        assert defaults[variable] == written, variable


@pytest.mark.parametrize("path", [WORKER, FUNCTIONS, ENFORCEMENT], ids=str)
def test_no_setting_is_named_that_there_is_not(path: Path) -> None:
    named = set(re.findall(r"LEDGEROCK_\w+", read_text(path)))
    assert named <= SETTINGS | {"LEDGEROCK_SSM_PATH"}


def test_every_metric_is_described_as_what_it_is() -> None:
    described = {
        name: row[1]
        for row in cells(WORKER)
        if len(row) == 3 and row[1] in {"counter", "gauge", "histogram"}
        for name in re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", row[0]))
    }
    assert described == {name: metric.kind for name, metric in METRICS.items()}


def test_every_kind_of_event_is_named() -> None:
    text = " ".join(read_text(WORKER).split())
    assert [name for name in DETAIL_TYPES if f"`{name}`" not in text] == []


def test_every_function_that_is_named_exists() -> None:
    named = set(re.findall(r"handlers\.(\w+)\.handler", read_text(FUNCTIONS)))
    assert {name.split(".")[1] for name in HANDLERS.values()} <= named
    for name in named:
        assert callable(import_module(f"handlers.{name}").handler)


def test_events_that_people_hear_of_are_listed() -> None:
    heading, *rest = read_text(ENFORCEMENT).split("## How people hear of it")[1].split("\nEvery")
    listed = set(re.findall(r"`([A-Z]\w+ [A-Z][\w ]+)`", heading))
    assert rest
    assert listed == {one for one in DETAIL_TYPES if is_told_by_hand(one, b"{}")}


def test_a_receiver_of_webhooks_that_does_as_the_page_says_knows_what_is_ours() -> None:
    [code] = re.findall(r"```python\n(.*?)```", read_text(ENFORCEMENT), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # it is our own
    is_ours: Callable[[str, bytes, str], bool] = names["is_ours"]
    now = int(time.time())
    header = signature(b"secret", b'{"text": "x"}', now)
    assert is_ours(header, b'{"text": "x"}', "secret")
    assert not is_ours(header, b'{"text": "y"}', "secret")
    assert not is_ours(header, b'{"text": "x"}', "another")
    assert not is_ours(signature(b"secret", b"{}", now - 900), b"{}", "secret")


def test_the_policy_on_the_page_is_one_and_allows_what_enforcement_asks_for() -> None:
    [text] = re.findall(r"```json\n(.*?)```", read_text(ENFORCEMENT), re.DOTALL)
    policy = json.loads(text)
    allowed = {action for one in policy["Statement"] for action in one["Action"]}
    source = read_text(Path("worker/adapters/iam_requests.py"))
    asked: set[str] = set()
    for operation in re.findall(r'f?"([a-z]+_[a-z_{}.]+)"', source):
        if operation.split("_")[0] in {
            "get",
            "list",
            "put",
            "delete",
            "attach",
            "detach",
            "create",
        }:
            kinds = ("user", "role")
            asked |= {re.sub(r"\{[\w.]+\}", kind, operation) for kind in kinds}
    needed = {f"iam:{one.replace('_', ' ').title().replace(' ', '')}" for one in asked}
    assert len(needed) > 20
    assert needed == allowed
