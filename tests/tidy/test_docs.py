"""What the pages under docs say of settings, metrics and functions is there, and complete."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from handlers.events import HANDLERS
from tests.tidy.sources import ROOT, read_text
from worker.core.events import DETAIL_TYPES
from worker.settings import ENVIRONMENT, WORKER_ENVIRONMENT, WorkerSettings
from worker.telemetry import LOG_LEVEL_VARIABLE, METRICS

DOCS = Path("docs")
WORKER = DOCS / "worker.md"
FUNCTIONS = DOCS / "functions.md"
SETTINGS = {*ENVIRONMENT.values(), *WORKER_ENVIRONMENT.values(), LOG_LEVEL_VARIABLE}


def cells(path: Path) -> list[list[str]]:
    """List the rows of a page's tables."""
    lines = read_text(path).splitlines()
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]


def test_every_setting_of_the_worker_is_described() -> None:
    named = {name for row in cells(WORKER) for name in re.findall(r"`(LEDGEROCK_\w+)`", row[0])}
    assert named == SETTINGS


def test_defaults_are_the_ones_that_hold() -> None:
    defaults = {row[0].strip("`"): row[1].strip("`") for row in cells(WORKER) if len(row) == 3}
    made = WorkerSettings()
    for name, variable in WORKER_ENVIRONMENT.items():
        value = getattr(made, name)
        assert defaults[variable] == (str(int(value)) if value else ""), variable


@pytest.mark.parametrize("path", [WORKER, FUNCTIONS], ids=str)
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


@pytest.mark.parametrize("path", sorted((ROOT / DOCS).glob("*.md")), ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)\s#]+)\)", path.read_text(encoding="utf-8"))
    assert [one for one in targets if "://" not in one and not (path.parent / one).exists()] == []
