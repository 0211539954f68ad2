"""Configurations by name, and what the application makes of them.

All that is asked of every shape (`test_shapes`, `test_snapshots`, `test_nag`, `test_cfn_lint`)
is asked of these, and the invariants of `tests.infra.invariants` of every combination of flags.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from infra.app import build_app
from infra.config import ConfigError, StageConfig, parse

Json = dict[str, Any]

STAGE: Final = "try"
ACCOUNT: Final = "111122223333"
MEMBER: Final = "444455556666"
REPOSITORY: Final[Json] = {"source": "repository", "repository": "ours", "version": "1.2.3"}
"""Images that are there: what is not about images need not look for a source tree's files."""

_ALARMED: Final[Json] = {"page": ["page@example.com"], "ticket": ["ticket@example.com"]}
_OFF: Final[Json] = {
    "logs": {"via": "none", "switch_on": False},
    "agents": False,
    "keys": False,
    "watching": {"enabled": False, "tracing": False},
    "data": {"keep": False},
}
_ON: Final[Json] = {
    "cross_check": True,
    "batch_buckets": ["arn:aws:s3:::results"],
    "tiers": "ssm",
    "enforcement": {
        "by": "workflows",
        "mode": "detach",
        "user_paths": ["/people/"],
        "role_paths": ["/agents/", "/apps/"],
        "tag": "ledgerock=yes",
        "boundary": f"arn:aws:iam::{ACCOUNT}:policy/boundary",
        "protected": ["user/*/admin"],
    },
    "people": {"emails": ["people@example.com"], "webhook": True},
    "data": {"customer_key": True, "keep": True},
    "watching": _ALARMED,
    "account": ACCOUNT,
    "sources": [
        {"account": ACCOUNT, "regions": ["eu-west-1"]},
        {"account": MEMBER, "regions": ["us-east-1", "ap-southeast-2"]},
    ],
    "tags": {"cost-centre": "42"},
}
SHAPES: Final[Mapping[str, Json]] = {
    "functions-kinesis": {"image": {"source": "build"}},
    "functions-subscription": {"logs": {"via": "subscription"}},
    "functions-s3": {"logs": {"via": "s3", "bodies": True}, "data": {"keep": False}},
    "functions-none": {"logs": {"via": "none", "switch_on": False}},
    "functions-workflows": {"enforcement": {"by": "workflows"}, "cross_check": True},
    "functions-enforcement": {
        "enforcement": {"by": "worker", "mode": "detach", "tag": "ledgerock=yes"},
        "people": {"emails": ["people@example.com"], "webhook": True},
    },
    "functions-customer-key": {"data": {"customer_key": True}, "watching": _ALARMED},
    "functions-everything": {**_ON, "capacity": {"concurrency": 20}, "logs": {"shards": 4}},
    "functions-nothing": _OFF,
    "container-public": {"shape": "container", "image": {"source": "build"}},
    "container-private": {
        "shape": "container",
        "logs": {"via": "s3"},
        "network": {"private": True},
        "data": {"keep": False, "customer_key": True},
    },
    "container-workflows": {
        "shape": "container",
        "enforcement": {"by": "workflows"},
        "cross_check": True,
        "data": {"keep": False},
    },
    "container-enforcement": {"shape": "container", "enforcement": {"by": "worker"}},
    "container-everything": {
        **_ON,
        "shape": "container",
        "logs": {"bodies": True},
        "network": {"private": True},
        "people": {"emails": ["people@example.com"]},
    },
    "container-nothing": {**_OFF, "shape": "container"},
    "elsewhere": {"account": ACCOUNT, "region": "eu-central-1"},
    "sources-regions": {
        "account": ACCOUNT,
        "region": "eu-central-1",
        "sources": [{"account": ACCOUNT, "regions": ["us-east-1", "us-west-2"]}],
    },
    "sources-accounts": {
        "account": ACCOUNT,
        "logs": {"via": "s3", "bodies": True},
        "enforcement": {"by": "workflows"},
        "data": {"customer_key": True},
        "sources": [{"account": MEMBER, "regions": ["us-east-1", "eu-west-1"]}],
    },
}
"""What stands in the file under a stage's name, for each shape that is looked at one by one."""

FLAGS: Final[Mapping[str, Mapping[Any, Json]]] = {
    "shape": {one: {"shape": one} for one in ("functions", "container")},
    "via": {
        one: {"logs": {"via": one, "switch_on": one != "none"}}
        for one in ("kinesis", "subscription", "s3", "none")
    },
    "cross_check": {one: {"cross_check": one} for one in (False, True)},
    "agents": {one: {"agents": one} for one in (False, True)},
    "keys": {one: {"keys": one} for one in (False, True)},
    "by": {one: {"enforcement": {"by": one}} for one in ("off", "worker", "workflows")},
    "private": {one: {"network": {"private": one}} for one in (False, True)},
    "customer_key": {one: {"data": {"customer_key": one}} for one in (False, True)},
    "keep": {one: {"data": {"keep": one}} for one in (False, True)},
    "watching": {one: {"watching": {"enabled": one}} for one in (False, True)},
}
"""The flags that meet each other in the application, and what each value means in the file."""


@dataclass(frozen=True, slots=True)
class Synthesised:
    """What became of a configuration.

    Attributes:
        config: The configuration.
        folder: Where everything was written.
        templates: By the name of their stack's construct.
        stacks: Their stacks, as the manifest describes them.
    """

    config: StageConfig
    folder: Path
    templates: Mapping[str, Json]
    stacks: Mapping[str, Json]

    @property
    def ledger(self) -> Json:
        """The template of the ledger's own stack."""
        return self.templates["Ledger"]

    def findings(self) -> Iterator[tuple[str, str]]:
        """Yield what cdk-nag says: rule, and path of the construct."""
        report = json.loads((self.folder / "validation-report.json").read_bytes())
        [pack] = report["pluginReports"]
        for violation in pack["violations"]:
            for construct in violation["violatingConstructs"]:
                yield violation["ruleName"], construct["constructPath"]

    def resources(self) -> Iterator[tuple[str, str, Json]]:
        """Yield stack, logical id and resource of all."""
        for stack, template in self.templates.items():
            for name, resource in template["Resources"].items():
                yield stack, name, resource


def configured(document: Json, stage: str = STAGE) -> StageConfig:
    """Return the configuration of a stage of which this stands in the file."""
    return parse(stage, {"defaults": {"image": REPOSITORY}, "stages": {stage: document}})


def synthesise(config: StageConfig, folder: Path, *, checked: bool = False) -> Synthesised:
    """Synthesise a stage into a folder.

    Args:
        config: Of the stage.
        folder: Where everything is written.
        checked: Have cdk-nag's rules for AWS's own solutions looked at it too.
    """
    app = build_app(config, folder)
    if checked:
        import aws_cdk as cdk  # noqa: PLC0415 - `build_app` names the Node that it starts
        from cdk_nag import AwsSolutionsChecks  # noqa: PLC0415 - as above

        cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    try:
        app.synth()
    except RuntimeError as error:
        # Templates are written all the same, and what the rules say is in the report.
        if not (checked and str(error).startswith("ValidationFailed")):
            raise
    return read_synthesised(config, folder)


def read_synthesised(config: StageConfig, folder: Path) -> Synthesised:
    """Return what `synthesise` wrote."""
    manifest = json.loads((folder / "manifest.json").read_bytes())
    stacks = {
        name: artifact
        for name, artifact in manifest["artifacts"].items()
        if artifact["type"] == "aws:cloudformation:stack"
    }
    templates = {
        name: json.loads((folder / stack["properties"]["templateFile"]).read_bytes())
        for name, stack in stacks.items()
    }
    return Synthesised(config, folder, templates, stacks)


# --- Combinations of flags --------------------------------------------------------------------

Combination = tuple[Any, ...]


def merged(*documents: Json) -> Json:
    """Lay maps over each other, key by key."""
    found: Json = {}
    for document in documents:
        for key, value in document.items():
            both = isinstance(value, dict) and isinstance(found.get(key), dict)
            found[key] = merged(found[key], value) if both else value
    return found


def of_combination(combination: Combination, stage: str = STAGE) -> StageConfig:
    """Return the configuration of one value for each of `FLAGS`.

    Raises:
        ConfigError: They contradict each other.
    """
    chosen = zip(FLAGS.values(), combination, strict=True)
    return configured(merged(*(values[value] for values, value in chosen)), stage)


@cache
def combinations() -> tuple[Combination, ...]:
    """Return every combination that is not refused."""
    found = []
    for combination in itertools.product(*FLAGS.values()):
        try:
            of_combination(combination)
        except ConfigError:
            continue
        found.append(combination)
    return tuple(found)


def covering(candidates: Sequence[Combination], strength: int) -> list[Combination]:
    """Choose combinations so that all values that any so many flags can have together occur.

    Each one chosen is the first of those that bring most that is new; always the same ones.
    """
    columns = list(itertools.combinations(range(len(candidates[0])), strength))

    def parts(combination: Combination) -> set[tuple[tuple[int, ...], Combination]]:
        return {(some, tuple(combination[one] for one in some)) for some in columns}

    waiting = {candidate: parts(candidate) for candidate in candidates}
    missing = set().union(*waiting.values())
    chosen = []
    while missing:
        best = max(waiting, key=lambda candidate: len(waiting[candidate] & missing))
        missing -= waiting.pop(best)
        chosen.append(best)
    return chosen
