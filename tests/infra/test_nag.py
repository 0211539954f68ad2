"""cdk-nag's rules of AWS's own solutions over every shape, and what is so on purpose."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.app import build_app
from infra.config import StageConfig
from infra.suppressions import SUPPRESSIONS, Suppression
from tests.infra.shapes import SHAPES, configured

Finding = tuple[str, str]
"""Rule and path."""


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Finding]]:
    """Everything that the pack says, by shape."""
    return {
        shape: list(found(configured(document), tmp_path_factory.mktemp("nag")))
        for shape, document in SHAPES.items()
    }


def found(config: StageConfig, folder: Path) -> Iterator[Finding]:
    """Yield what the pack says of a stage."""
    app = build_app(config, folder)
    import aws_cdk as cdk  # noqa: PLC0415 - `build_app` names the Node that it starts
    from cdk_nag import AwsSolutionsChecks  # noqa: PLC0415 - as above

    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    try:
        app.synth()
    except RuntimeError as error:
        if not str(error).startswith("ValidationFailed"):
            raise
    report = json.loads((folder / "validation-report.json").read_bytes())
    [pack] = report["pluginReports"]
    assert pack["pluginName"] == "AwsSolutions"
    for violation in pack["violations"]:
        for construct in violation["violatingConstructs"]:
            yield violation["ruleName"], construct["constructPath"]


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
