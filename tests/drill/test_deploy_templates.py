"""Every combination of flags, the linter over every shape, and what LocalStack lacks of them."""

import os
from pathlib import Path

import pytest

from tests.drill import stages
from tests.drill.stacks import LACKING, create_alone, for_emulator
from tests.infra.invariants import wrong
from tests.infra.linting import linted_stack
from tests.infra.shapes import (
    SHAPES,
    Combination,
    Json,
    combinations,
    configured,
    covering,
    of_combination,
    synthesise,
)

pytestmark = pytest.mark.timeout(1800)
ALL = os.environ.get("LEDGEROCK_ALL_COMBINATIONS") == "1"
"""Every combination of flags takes a quarter of an hour; else, all that any four of them can have
together, which takes a minute."""
CHOSEN = combinations() if ALL else covering(combinations(), 4)
GROUPS = sorted({(shape, via, by) for shape, via, _, _, _, by, *_ in CHOSEN})
"""Shape, source of logs, and who suspends: of each, combinations of what is left."""


@pytest.mark.parametrize("shape, via, by", GROUPS)
def test_all_combinations(tmp_path: Path, shape: str, via: str, by: str) -> None:
    found: dict[Combination, list[str]] = {}
    group = [one for one in CHOSEN if (one[0], one[1], one[5]) == (shape, via, by)]
    for number, combination in enumerate(group):
        if said := wrong(synthesise(of_combination(combination), tmp_path / str(number))):
            found[combination] = said
    assert found == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_linter_has_nothing_to_say(tmp_path: Path, shape: str) -> None:
    made = synthesise(configured(SHAPES[shape]), tmp_path)
    said = {stack: linted_stack(made, stack) for stack in made.stacks}
    assert {stack: found for stack, found in said.items() if found} == {}


# --- What LocalStack lacks --------------------------------------------------------------------


@pytest.fixture(scope="module")
def lacking(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """What is left out of the templates of all shapes: one resource of each type."""
    found: dict[str, Json] = {}
    for shape, document in SHAPES.items():
        made = synthesise(configured(document), tmp_path_factory.mktemp("lacking"))
        for template in made.templates.values():
            _, dropped = for_emulator(template, shape)
            for resource in template["Resources"].values():
                if resource["Type"] in dropped:
                    found.setdefault(resource["Type"], resource)
    return found


def test_what_is_left_out_is_what_localstack_lacks(lacking: dict[str, Json]) -> None:
    assert lacking.keys() == LACKING


@pytest.mark.integration
def test_localstack_does_lack_it(lacking: dict[str, Json]) -> None:
    """Once it has one of these, that is created and driven too."""
    with stages.emulator() as (emulator, _):
        created = {kind for kind, one in lacking.items() if create_alone(emulator, one)}
    assert created == set()
