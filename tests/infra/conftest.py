"""Shapes, synthesised once for all processes of a run of the tests."""

import fcntl
import os
from collections.abc import Callable
from functools import cache

import pytest

from tests.infra.shapes import SHAPES, Synthesised, configured, read_synthesised, synthesise

Shaped = Callable[[str], Synthesised]


@pytest.fixture(scope="session")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Shaped:
    """Return what becomes of a shape; each is synthesised, and checked, when first asked for."""
    run = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        run = run.parent
    home = run / "shapes"
    home.mkdir(exist_ok=True)

    @cache
    def made(shape: str) -> Synthesised:
        config, folder = configured(SHAPES[shape]), home / shape
        with (home / f"{shape}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if (folder / "manifest.json").exists():
                return read_synthesised(config, folder)
            return synthesise(config, folder, checked=True)

    return made
