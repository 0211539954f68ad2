"""The templates of every shape are those that were reviewed."""

import pytest

from tests.infra.conftest import Shaped
from tests.infra.shapes import SHAPES
from tests.infra.snapshots import FOLDER, UPDATE, rendered, snapshots


@pytest.mark.parametrize("shape", SHAPES)
def test_shape(shaped: Shaped, shape: str) -> None:
    expected = dict(snapshots(shape, shaped(shape)))
    kept = {path: path.read_text(encoding="utf-8") for path in (FOLDER / shape).glob("*.json")}
    assert kept.keys() == expected.keys(), f"`{UPDATE}` writes them"
    for path, text in expected.items():
        assert kept[path] == text, f"if that is meant to be, `{UPDATE}` and review the difference"


def test_there_is_no_snapshot_of_a_shape_that_is_gone() -> None:
    assert {path.name for path in FOLDER.iterdir()} == SHAPES.keys()


def test_a_snapshot_has_no_hash_of_the_source_tree() -> None:
    assert rendered({"B": "x" + "0f" * 32 + ".json", "A": [2, 1]}) == (
        '{\n "A": [\n  2,\n  1\n ],\n "B": "xHASH.json"\n}\n'
    )
