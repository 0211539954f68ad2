"""Shapes, synthesised once in each process of the tests."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.infra.shapes import SHAPES, STAGE, Synthesised, configured, synthesise

Shaped = Callable[[str], Synthesised]


@pytest.fixture(scope="session")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Shaped:
    """Return what becomes of a shape; each is synthesised when it is first asked for."""

    @cache
    def made(shape: str) -> Synthesised:
        folder: Path = tmp_path_factory.mktemp("shape")
        return synthesise(configured(SHAPES[shape], STAGE), folder)

    return made
