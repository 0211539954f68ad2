"""The stage that the suite runs on."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.app import CONFIG_VARIABLE, STAGE_VARIABLE
from infra.config import CONFIG_DEFAULT, load
from tests.e2e.stage import Stage


@pytest.fixture(scope="session")
def stage() -> Iterator[Stage]:
    """The stage that LEDGEROCK_STAGE names, as the configuration has it."""
    name = os.environ.get(STAGE_VARIABLE, "")
    if not name:
        pytest.fail(f"{STAGE_VARIABLE} names no stage: make e2e STAGE=dev")
    made = Stage(load(name, Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_DEFAULT)))
    try:
        yield made
    finally:
        made.remove_budgets_of_run()
        made.clean_up()
