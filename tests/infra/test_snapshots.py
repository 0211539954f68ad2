"""The templates of the main shapes are those that were reviewed."""

import pytest

from tests.infra.conftest import Shaped
from tests.infra.snapshots import FOLDER, KEPT, UPDATE, rendered, snapshots


@pytest.mark.parametrize("shape", KEPT)
def test_shape(shaped: Shaped, shape: str) -> None:
    expected = dict(snapshots(shape, shaped(shape)))
    kept = {path: path.read_text(encoding="utf-8") for path in (FOLDER / shape).glob("*.json")}
    assert kept.keys() == expected.keys(), f"`{UPDATE}` writes them"
    for path, text in expected.items():
        assert kept[path] == text, f"if that is meant to be, `{UPDATE}` and review the difference"


def test_there_is_no_snapshot_of_any_other_shape() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*KEPT}


def test_what_a_snapshot_looks_like() -> None:
    joined = {"Fn::Join": ["", ["arn:", {"Ref": "AWS::Partition"}, {"Fn::GetAtt": ["B", "Arn"]}]]}
    template = {
        "Resources": {
            "B": {"Type": "T", "Properties": {"Image": "x" + "0f" * 32, "Of": [{"b": 2, "a": 1}]}},
            "A": {"Type": "T", "Properties": {"Arn": joined, "Text": "t" * 120, "Tags": [1]}},
        }
    }
    assert rendered(template).splitlines() == [
        "{",
        ' "Resources": {',
        '  "A": {',
        '   "Properties": {',
        '    "Arn": {"Fn::Join": "arn:${AWS::Partition}${B.Arn}"},',
        f'    "Text": "{"t" * 120}"',
        "   },",
        '   "Type": "T"',
        "  },",
        '  "B": {"Properties": {"Image": "xHASH", "Of": [{"a": 1, "b": 2}]}, "Type": "T"}',
        " }",
        "}",
    ]
