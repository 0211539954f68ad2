"""Every shape and combination of flags synthesises, and what must hold holds in each of them."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest

from infra.config import ConfigError
from tests.infra.conftest import Shaped
from tests.infra.invariants import FEATURES, names_of, wrong
from tests.infra.shapes import (
    FLAGS,
    SHAPES,
    Json,
    Synthesised,
    combinations,
    configured,
    covering,
    merged,
    of_combination,
    synthesise,
)

EACH = pytest.mark.parametrize("shape", SHAPES)
PAIRS = covering(combinations(), 2)
"""Every two values of any two flags occur together; `make drill` takes all combinations."""


@EACH
def test_shape(shaped: Shaped, shape: str) -> None:
    assert wrong(shaped(shape)) == []


@pytest.mark.parametrize("combination", PAIRS, ids=lambda one: "-".join(map(str, one)))
def test_combination_of_flags(tmp_path: Path, combination: tuple[object, ...]) -> None:
    assert wrong(synthesise(of_combination(combination), tmp_path)) == []


def test_only_what_cannot_work_is_refused() -> None:
    product = 1
    for values in FLAGS.values():
        product *= len(values)
    # A container has no subscription (a quarter of its half), functions have no network (half
    # of theirs): of 8 pairs of shape and source twice private or not, 10 of 16 remain.
    assert len(combinations()) == product * 10 // 16


@pytest.mark.parametrize("feature", FEATURES)
def test_each_feature_is_seen_where_it_is_on(shaped: Shaped, feature: str) -> None:
    """Otherwise nothing would be said by its not being seen where it is off."""
    is_on, is_its = FEATURES[feature]
    seen = [
        shape
        for shape in SHAPES
        if is_on(shaped(shape).config)
        and any(is_its(name, resource) for _, name, resource in shaped(shape).resources())
    ]
    assert seen


@pytest.mark.parametrize(
    "shape", ["functions-everything", "container-everything", "sources-accounts"]
)
def test_two_stages_have_no_name_in_common(shaped: Shaped, tmp_path: Path, shape: str) -> None:
    one, other = shaped(shape), synthesise(configured(SHAPES[shape], "other"), tmp_path)
    assert names_of(one)
    assert not names_of(one) & names_of(other)


def test_the_same_stage_under_another_prefix_has_no_name_in_common(
    shaped: Shaped, tmp_path: Path
) -> None:
    shape = "functions-everything"
    other = synthesise(configured({**SHAPES[shape], "prefix": "books"}), tmp_path)
    assert not names_of(shaped(shape)) & names_of(other)


def test_synthesising_again_changes_nothing(shaped: Shaped, tmp_path: Path) -> None:
    """What is deployed depends on nothing but the configuration and the source tree."""
    shape = "functions-everything"
    assert synthesise(configured(SHAPES[shape]), tmp_path).templates == shaped(shape).templates


def test_a_contradiction_is_refused_before_anything_is_built() -> None:
    with pytest.raises(ConfigError):
        configured({"shape": "container", "logs": {"via": "subscription"}})


def changed(made: Synthesised, resource: str, change: Json) -> list[str]:
    """Return what is wrong once a resource is laid over with something; None removes a key."""
    template = copy.deepcopy(made.ledger)
    name = next(name for name in template["Resources"] if name.startswith(resource))
    template["Resources"][name] = {
        key: value
        for key, value in merged(template["Resources"][name], change).items()
        if value is not None
    }
    return wrong(replace(made, templates={**made.templates, "Ledger": template}))


@pytest.mark.parametrize(
    "resource, change, said",
    [
        ("TablesState", {"Properties": {"Tags": []}}, "lacks tags"),
        ("TablesState", {"Properties": {"TableName": "ours-state"}}, "does not begin with"),
        ("TablesState", {"DeletionPolicy": "Delete"}, "data.keep says Retain"),
        ("TablesState", {"Properties": {"DeletionProtectionEnabled": False}}, "protection is"),
        ("IngestQuarantine", {"Properties": {"BucketName": "ledgerock-try-a"}}, "the fixed name"),
        ("IngestEvents", {"Properties": {"Of": {"Ref": "Gone"}}}, "refers to Gone"),
        ("IngestEvents", {"Properties": {"Of": {"Fn::Sub": "a${Gone.Arn}"}}}, "refers to Gone"),
        ("IngestEvents", {"DependsOn": ["Gone"]}, "depends on Gone"),
        ("IngestEvents", {"Properties": {"Of": "${Token[TOKEN.1]}"}}, "nothing resolved"),
        ("IngestEvents", {"Type": "AWS::KMS::Key"}, "is there without the key"),
        ("IngestEvents", {"Type": "AWS::StepFunctions::Activity"}, "NAMES, NAMELESS"),
        ("IngestEvents", {"Type": "Custom::AWS"}, "is a custom resource of the CDK"),
        (
            "IngestSubscriptionRole",
            {"Properties": {"A": {"Effect": "Allow", "Action": ["kinesis:Put*"]}}},
            "allows kinesis:Put*",
        ),
    ],
)
def test_what_must_not_be_is_seen(shaped: Shaped, resource: str, change: Json, said: str) -> None:
    assert any(said in one for one in changed(shaped("functions-kinesis"), resource, change))
