"""cdk-nag's rules of AWS's own solutions over every shape, and what is so on purpose."""

import pytest

from infra.suppressions import SUPPRESSIONS, Suppression
from tests.infra.conftest import Shaped
from tests.infra.shapes import SHAPES

Finding = tuple[str, str]
"""Rule and path."""


@pytest.fixture(scope="module")
def findings(shaped: Shaped) -> dict[str, list[Finding]]:
    """Everything that the pack says, by shape."""
    return {shape: list(shaped(shape).findings()) for shape in SHAPES}


def test_every_finding_is_meant_to_be(findings: dict[str, list[Finding]]) -> None:
    unexplained = {
        f"{rule} {path} ({shape})"
        for shape, listed in findings.items()
        for rule, path in listed
        if not any(one.matches(rule, path) for one in SUPPRESSIONS)
    }
    assert sorted(unexplained) == []


@pytest.mark.parametrize("suppression", SUPPRESSIONS, ids=lambda one: f"{one.rule} {one.resource}")
def test_every_suppression_is_of_use(
    findings: dict[str, list[Finding]], suppression: Suppression
) -> None:
    every = {finding for listed in findings.values() for finding in listed}
    mine = {finding for finding in every if suppression.matches(*finding)}
    others = [one for one in SUPPRESSIONS if one is not suppression]
    # None repeats what the others say already.
    assert any(not any(one.matches(*finding) for one in others) for finding in mine)
    assert len(suppression.reason.split()) > 5, "say why"


def test_the_pack_does_look(findings: dict[str, list[Finding]]) -> None:
    assert all(findings.values())
