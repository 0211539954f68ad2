"""The templates against CloudFormation's own schemas and rules, by cfn-lint.

Linting takes seconds a template, and most of one is in many of them: here are shapes that have
every property between them; `make drill` lints them all.
"""

import json

import pytest

from tests.infra.conftest import Shaped
from tests.infra.linting import linted, linted_stacks, properties
from tests.infra.shapes import SHAPES

TELLING = (
    "functions-everything",
    "functions-subscription",
    "container-everything",
    "container-nothing",
)


@pytest.mark.parametrize("shape", TELLING)
def test_shape(shaped: Shaped, shape: str) -> None:
    assert linted_stacks(shaped(shape)) == []


def test_these_shapes_have_every_property_that_any_has(shaped: Shaped) -> None:
    linted_here = set().union(*(properties(shaped(shape)) for shape in TELLING))
    assert set().union(*(properties(shaped(shape)) for shape in SHAPES)) == linted_here


def test_a_mistake_is_found() -> None:
    """The linter does look: with the settings above, at text that it is given."""
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"Dead": "letters"}}
    [one] = linted(json.dumps({"Resources": {"A": queue}}), "us-east-1")
    assert one.startswith("E3002 ")
