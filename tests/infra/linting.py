"""cfn-lint over templates, and what there is in them to lint."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cfnlint.api import lint
from cfnlint.config import ManualArgs

from tests.infra.shapes import Json, Synthesised

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


def linted_stack(made: Synthesised, stack: str) -> list[str]:
    """Return what the linter says of a stack of a stage."""
    artifact = made.stacks[stack]
    text = (made.folder / artifact["properties"]["templateFile"]).read_text(encoding="utf-8")
    return linted(text, artifact["environment"].rpartition("/")[2])


def properties(template: Json) -> set[tuple[str, ...]]:
    """Return each property of each type of resource that a template has."""
    return {
        (resource["Type"], *path)
        for resource in template["Resources"].values()
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
