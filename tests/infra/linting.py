"""cfn-lint over templates, and what there is in them to lint."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cfnlint.api import lint
from cfnlint.config import ManualArgs

from tests.infra.shapes import Synthesised

IGNORED: Final[Mapping[str, str]] = {
    "W3005": "the CDK has a resource wait for a role's policy, and names the role with it",
}
"""Rules that are not asked, and why."""


FREE: Final = {"Condition", "EventPattern", "PolicyDocument", "Ref", "Tags", "Variables"}
"""Properties whose content no schema knows, and references."""


def linted(text: str, region: str) -> list[str]:
    """Return what the linter says of a template that is deployed to a Region."""
    settings = ManualArgs(regions=[region], ignore_checks=list(IGNORED))
    return [
        f"{one.rule.id} {one.message} at {'/'.join(map(str, one.path or []))}"
        for one in lint(text, config=settings)
    ]


def linted_stacks(made: Synthesised) -> list[str]:
    """Return what the linter says of all stacks of a stage."""
    found = []
    for stack, artifact in made.stacks.items():
        text = (made.folder / artifact["properties"]["templateFile"]).read_text(encoding="utf-8")
        region = artifact["environment"].rpartition("/")[2]
        found += [f"{stack}: {one}" for one in linted(text, region)]
    return found


def properties(made: Synthesised) -> set[tuple[str, ...]]:
    """Return each property of each type of resource that a stage has."""
    return {
        (resource["Type"], *path)
        for _stack, _name, resource in made.resources()
        for path in [(), *_paths(resource.get("Properties", {}))]
    }


def _paths(value: Any) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in FREE or key.startswith("Fn::"):
                continue
            yield (key,)
            yield from ((key, *path) for path in _paths(inner))
    elif isinstance(value, list):
        for one in value:
            yield from _paths(one)
