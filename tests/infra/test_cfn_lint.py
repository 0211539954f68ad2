"""The templates of every shape against CloudFormation's own schemas and rules, by cfn-lint."""

import pytest
from cfnlint.api import lint
from cfnlint.config import ManualArgs

from tests.infra.conftest import Shaped
from tests.infra.shapes import SHAPES

IGNORED: dict[str, str] = {}
"""Rules that are not asked, and why."""


@pytest.mark.parametrize("shape", SHAPES)
def test_shape(shaped: Shaped, shape: str) -> None:
    made = shaped(shape)
    found = []
    for stack, artifact in made.stacks.items():
        text = (made.folder / artifact["properties"]["templateFile"]).read_text(encoding="utf-8")
        region = artifact["environment"].rpartition("/")[2]
        settings = ManualArgs(regions=[region], ignore_checks=list(IGNORED))
        found += [
            f"{stack}: {one.rule.id} {one.message} at {'/'.join(map(str, one.path or []))}"
            for one in lint(text, config=settings)
        ]
    assert found == []


def test_a_mistake_is_found() -> None:
    """The linter does look: with the settings above, at text that it is given."""
    template = (
        '{"Resources": {"A": {"Type": "AWS::SQS::Queue", "Properties": {"Dead": "letters"}}}}'
    )
    [one] = lint(template, config=ManualArgs(regions=["us-east-1"], ignore_checks=list(IGNORED)))
    assert one.rule.id == "E3002"
