"""The templates against CloudFormation's own schemas and rules, by cfn-lint.

Linting takes seconds a template, and most of one is in many of them: here are shapes that have
every property between them; `make drill` lints them all.
"""

import json

import pytest

from tests.infra.conftest import Shaped
from tests.infra.linting import linted, linted_stack, properties
from tests.infra.shapes import SHAPES

TELLING = (
    ("functions-everything", "Ledger"),
    ("functions-everything", "Source-444455556666-us-east-1"),
    ("functions-everything", "Receiver-eu-west-1"),
    ("functions-subscription", "Ledger"),
    ("container-everything", "Ledger"),
    ("container-private", "Ledger"),
    ("container-nothing", "Ledger"),
)
"""Shapes, and stacks of theirs."""


@pytest.mark.parametrize("shape, stack", TELLING)
def test_stack(shaped: Shaped, shape: str, stack: str) -> None:
    assert linted_stack(shaped(shape), stack) == []


def test_these_stacks_have_every_property_that_any_has(shaped: Shaped) -> None:
    here = set().union(*(properties(shaped(shape).templates[stack]) for shape, stack in TELLING))
    every = [one for shape in SHAPES for one in shaped(shape).templates.values()]
    assert set().union(*map(properties, every)) == here


def test_a_mistake_is_found() -> None:
    """The linter does look: with the settings above, at text that it is given."""
    queue = {"Type": "AWS::SQS::Queue", "Properties": {"Dead": "letters"}}
    [one] = linted(json.dumps({"Resources": {"A": queue}}), "us-east-1")
    assert one.startswith("E3002 ")
