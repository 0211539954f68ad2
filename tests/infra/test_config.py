"""The configuration file: its defaults, how it is merged, and what each mistake is told."""

import copy
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from infra.config import (
    CONFIG_DEFAULT,
    LOG_DAYS,
    TASK_SIZES,
    ConfigError,
    StageConfig,
    load,
    parse,
)
from tests.infra.shapes import merged

Json = dict[str, Any]

OWN = {"account": "111122223333"}


def written() -> Json:
    """Return what the annotated file holds."""
    document: Json = yaml.safe_load(CONFIG_DEFAULT.read_text(encoding="utf-8"))
    return document


def refused(document: Json, stage: str = "dev") -> str:
    """Return what is said of a stage of which this stands in the file."""
    with pytest.raises(ConfigError) as caught:
        parse(stage, {"stages": {stage: document}}, "ours.yaml")
    return str(caught.value)


# --- The annotated file -----------------------------------------------------------------------


def test_the_file_has_every_key_with_the_default_that_it_has_in_code() -> None:
    """A key that is left out means what the file shows, and the file hides none."""
    in_code = msgspec.to_builtins(StageConfig(stage="dev"))
    del in_code["stage"]
    in_file = written()["defaults"]
    # Lists are tuples in code; `to_builtins` keeps them.
    as_lists = msgspec.json.decode(msgspec.json.encode(in_code))
    assert in_file == as_lists


@pytest.mark.parametrize("stage", written()["stages"])
def test_the_stages_of_the_file_are_valid(stage: str) -> None:
    config = load(stage)
    assert config.stage == stage
    assert config.name == f"ledgerock-{stage}"
    assert config.path == f"/ledgerock/{stage}/"


def test_what_is_left_out_has_its_default() -> None:
    assert parse("dev", {"stages": {"dev": None}}) == StageConfig(stage="dev")
    assert parse("dev", {"defaults": None, "stages": {"dev": {}}}) == StageConfig(stage="dev")


# --- Merging ----------------------------------------------------------------------------------


def test_a_stage_is_laid_over_the_defaults_key_by_key() -> None:
    document = {
        "defaults": {
            "region": "eu-west-1",
            "logs": {"via": "s3", "retention_days": 7},
            "people": {"emails": ["all@example.com"]},
            "tags": {"team": "platform", "cost": "1"},
        },
        "stages": {
            "dev": {
                "logs": {"retention_days": 14},
                "people": {"emails": ["dev@example.com"]},
                "tags": {"cost": "2"},
            },
            "prod": {"region": "us-west-2"},
        },
    }
    before = copy.deepcopy(document)
    dev, prod = parse("dev", document), parse("prod", document)
    assert (dev.logs.via, dev.logs.retention_days) == ("s3", 14)
    assert dev.people.emails == ("dev@example.com",), "lists are replaced"
    assert dev.tags == {"team": "platform", "cost": "2"}
    assert (dev.region, prod.region) == ("eu-west-1", "us-west-2")
    assert prod.logs.retention_days == 7
    assert prod.people.emails == ("all@example.com",)
    assert document == before


def test_regions_and_members() -> None:
    sources = [
        {"account": "111122223333", "regions": ["eu-west-1", "us-east-1"]},
        {"account": "444455556666", "regions": ["us-east-1"]},
    ]
    config = parse("dev", {"stages": {"dev": {**OWN, "sources": sources}}})
    assert config.regions == ("us-east-1", "eu-west-1")
    assert [(one.account, one.regions) for one in config.members] == [
        ("444455556666", ("us-east-1",))
    ]
    assert parse("dev", {"stages": {"dev": {}}}).regions == ("us-east-1",)


# --- Mistakes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("document", [None, [], "text", 3, {"stage": {}}, {"stages": {}, "x": 1}])
def test_a_file_of_another_shape(document: object) -> None:
    with pytest.raises(ConfigError) as caught:
        parse("dev", document, "ours.yaml")
    assert str(caught.value) == (
        "ours.yaml: give the maps `defaults` and `stages`, and nothing else"
    )


@pytest.mark.parametrize(
    "stages, known", [({"prod": {}, "test": {}}, "prod, test"), ({}, "none"), (None, "none")]
)
def test_a_stage_that_is_not_there(stages: object, known: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse("dev", {"stages": stages}, "ours.yaml")
    assert str(caught.value) == (f"ours.yaml: there is no stage 'dev' in it; there is: {known}")


@pytest.mark.parametrize("stage", ["Dev", "1st", "a_b", "", "a" * 17, "dév", "-dev"])
def test_a_name_that_no_stage_can_have(stage: str) -> None:
    assert refused({}, stage) == (
        "ours.yaml: a stage is named by at most 16 lower-case letters, digits and hyphens, "
        f"a letter first: {stage!r}"
    )


@pytest.mark.parametrize(
    "defaults, above, where",
    [
        (["x"], {}, "stages.dev"),
        ({}, "text", "stages.dev"),
        ({}, {1: 2}, "stages.dev"),
        ({"logs": {}}, {"logs": {1: 2}}, "stages.dev.logs"),
    ],
)
def test_what_is_to_be_a_map(defaults: object, above: object, where: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse("dev", {"defaults": defaults, "stages": {"dev": above}}, "ours.yaml")
    assert str(caught.value) == f"ours.yaml: {where} is to be a map with texts for keys"


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    with pytest.raises(ConfigError) as caught:
        load("dev", missing)
    assert str(caught.value) == f"{missing}: No such file or directory"


@pytest.mark.parametrize("content", [b"stages: [", b"a: b: c", b"\xff\xfe\xfa"])
def test_a_file_that_is_no_yaml(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ours.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(file))}: no YAML: "):
        load("dev", file)


@pytest.mark.parametrize(
    "document, message",
    [
        ({"shapes": "functions"}, "Object contains unknown field `shapes`"),
        ({"logs": {"by": "s3"}}, "logs: Object contains unknown field `by`"),
        ({"shape": "lambda"}, "shape: Invalid enum value 'lambda'"),
        ({"logs": {"via": "sqs"}}, "logs.via: Invalid enum value 'sqs'"),
        ({"tiers": "dynamodb"}, "tiers: Invalid enum value 'dynamodb'"),
        ({"enforcement": {"mode": "kill"}}, "enforcement.mode: Invalid enum value 'kill'"),
        ({"prefix": "Ours"}, "prefix: Expected `str` matching regex '^[a-z][a-z0-9-]{0,15}$'"),
        ({"region": "us"}, "region: Expected `str` matching regex "),
        ({"account": "1234"}, "account: Expected `str` matching regex '^([0-9]{12})?$'"),
        (
            {"account": 111122223333},
            "account: Expected `str`, got `int`; put the value into quotes",
        ),
        (
            {"enforcement": {"by": False}},
            (
                "enforcement.by: Expected `str`, got `bool`; "
                'YAML takes on, off, yes and no for true and false: put it into quotes, "off"'
            ),
        ),
        ({"agents": "yes"}, "agents: Expected `bool`, got `str`"),
        ({"capacity": {"tasks_max": 0}}, "capacity.tasks_max: Expected `int` >= 1"),
        ({"capacity": {"function_mb": 128}}, "capacity.function_mb: Expected `int` >= 256"),
        ({"capacity": {"concurrency": -1}}, "capacity.concurrency: Expected `int` >= 0"),
        ({"logs": {"shards": 501}}, "logs.shards: Expected `int` <= 500"),
        ({"data": {"recovery_days": 36}}, "data.recovery_days: Expected `int` <= 35"),
        ({"data": {"quarantine_days": 0}}, "data.quarantine_days: Expected `int` >= 1"),
        ({"people": {"emails": ["nobody"]}}, "people.emails[0]: Expected `str` matching regex"),
        ({"watching": {"page": ["a b@c"]}}, "watching.page[0]: Expected `str` matching regex"),
        (
            {"enforcement": {"user_paths": ["people"]}},
            "enforcement.user_paths[0]: Expected `str` matching regex",
        ),
        ({"enforcement": {"tag": "team"}}, "enforcement.tag: Expected `str` matching regex"),
        (
            {"enforcement": {"boundary": "policy/b"}},
            "enforcement.boundary: Expected `str` matching regex",
        ),
        ({"batch_buckets": ["results"]}, "batch_buckets[0]: Expected `str` matching regex"),
        (
            {**OWN, "sources": [{"account": "1", "regions": ["us-east-1"]}]},
            "sources[0].account: Expected `str` matching regex '^[0-9]{12}$'",
        ),
        (
            {**OWN, "sources": [{"account": "444455556666", "regions": []}]},
            "sources[0].regions: Expected `array` of length >= 1",
        ),
        (
            {**OWN, "sources": [{"account": "444455556666"}]},
            "sources[0]: Object missing required field `regions`",
        ),
        ({"tags": {"cost": 42}}, "tags[...]: Expected `str`, got `int`; put the value into quotes"),
        ({"image": {"version": "1 2"}}, "image.version: Expected `str` matching regex"),
        ({"image": {"repository": "Ours"}}, "image.repository: Expected `str` matching regex"),
    ],
)
def test_a_value_that_cannot_be(document: Json, message: str) -> None:
    assert refused(document).startswith(f"ours.yaml, stage dev: {message}")


CONTRADICTIONS: list[tuple[Json, str]] = [
    (
        {"image": {"source": "repository", "repository": "ours"}},
        "image: source `repository` needs `repository` and `version`",
    ),
    (
        {"image": {"source": "repository", "version": "1"}},
        "image: source `repository` needs `repository` and `version`",
    ),
    (
        {"enforcement": {"mode": "detach"}},
        "enforcement: mode `detach` without anybody who suspends; set `by`",
    ),
    (
        {**OWN, "sources": [{"account": "444455556666", "regions": ["us-east-1"]}] * 2},
        "sources: an account stands there twice; give all of its Regions in one entry",
    ),
    (
        {"sources": [{"account": "444455556666", "regions": ["us-east-1"]}]},
        "sources: with these, `account` must say which is the ledger's own",
    ),
    (
        {"shape": "container", "logs": {"via": "subscription"}},
        (
            "logs.via: a subscription filter cannot call a container; "
            "give `kinesis` or `s3`, or shape `functions`"
        ),
    ),
    (
        {"logs": {"via": "none"}},
        "logs: there is nothing to switch on with via `none`; set switch_on to false",
    ),
    (
        {"logs": {"retention_days": 31}},
        (
            "logs.retention_days: CloudWatch Logs has no 31; give one of 1, 3, 5, 7, 14, 30, 60, "
            "90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653"
        ),
    ),
    (
        {"watching": {"log_days": 100}},
        (
            "watching.log_days: CloudWatch Logs has no 100; give one of 1, 3, 5, 7, 14, 30, 60, "
            "90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653"
        ),
    ),
    (
        {"network": {"private": True}},
        (
            "network.private is about the container; functions are in no network of yours. "
            "Give shape `container`, or leave it out"
        ),
    ),
    (
        {
            **OWN,
            "logs": {"via": "subscription"},
            "sources": [{"account": "444455556666", "regions": ["us-east-1"]}],
        },
        (
            "logs.via: a subscription filter calls functions of its own Region and account alone; "
            "with sources elsewhere give `kinesis` or `s3`"
        ),
    ),
    (
        {"shape": "container", "network": {"private": True}, "people": {"webhook": True}},
        (
            "network.private: there is no way to the webhook from it; let something else post what "
            "comes on the bus, or leave out people.webhook"
        ),
    ),
    (
        {
            "shape": "container",
            "network": {"private": True},
            "logs": {"via": "s3"},
            "account": "111122223333",
            "sources": [{"account": "444455556666", "regions": ["us-east-1"]}],
        },
        (
            "network.private: buckets of other Regions cannot be reached from it; give logs.via "
            "`kinesis`, or no private network"
        ),
    ),
    *[
        (
            {"shape": "container", "network": {"zones": zones}},
            "network.zones: give 2 different zones of us-east-1 or more, or none",
        )
        for zones in (["us-east-1a"], ["us-east-1a"] * 2, ["us-east-1a", "eu-west-1b"])
    ],
    (
        {"enforcement": {"by": "worker", "protected": ["role/*/admin", "*", "alice"]}},
        (
            "enforcement.protected: 'alice' is nobody's id; give user/ACCOUNT/NAME, "
            'role/ACCOUNT/NAME, or a pattern as "role/*/break-glass*"'
        ),
    ),
    *[
        (
            {
                "shape": "container",
                "network": {"private": True},
                "region": "eu-central-1",
                "enforcement": {"by": by},
            },
            (
                "network.private: IAM has an endpoint in us-east-1 alone, and the container asks "
                "IAM: to suspend with enforcement.by `worker`, to mend tags with `keys`. Give `by: "
                "workflows` and `keys: false`, or no private network"
            ),
        )
        for by in ("worker", "workflows")
    ],
    (
        {"capacity": {"concurrency": 1}},
        "capacity.concurrency: a queue has two pollers at least; give 2 or more, or 0",
    ),
    (
        {"capacity": {"tasks_min": 5}},
        "capacity: tasks_max 4 is below tasks_min 5",
    ),
    (
        {"capacity": {"cpu": 300}},
        "capacity.cpu: Fargate has no 300; give one of 256, 512, 1024, 2048, 4096",
    ),
    (
        {"capacity": {"cpu": 256, "memory_mb": 4096}},
        "capacity.memory_mb: Fargate has no 4096 with cpu 256; give one of 512, 1024, 2048",
    ),
]


@pytest.mark.parametrize("document, message", CONTRADICTIONS)
def test_values_that_contradict_each_other(document: Json, message: str) -> None:
    assert refused(document) == f"ours.yaml, stage dev: {message}"


def test_names_that_would_be_too_long() -> None:
    document = {"prefix": "p" * 16}
    assert refused(document, "s" * 16) == (
        f"ours.yaml, stage {'s' * 16}: prefix and stage together: 33 letters; 32 at most"
    )
    assert parse("s" * 15, {"stages": {"s" * 15: document}}).name == f"{'p' * 16}-{'s' * 15}"


def test_all_contradictions_are_told_at_once() -> None:
    together = merged(*(document for document, _ in CONTRADICTIONS[-4:-2]))
    told = refused(together)
    for _, message in CONTRADICTIONS[-4:-2]:
        assert message in told


def test_a_private_network_elsewhere_may_have_workflows_that_suspend() -> None:
    document = {
        "shape": "container",
        "network": {"private": True},
        "region": "eu-central-1",
        "enforcement": {"by": "workflows"},
        "keys": False,
    }
    assert parse("dev", {"stages": {"dev": document}}).network.private


def test_every_retention_and_size_that_aws_has_is_taken() -> None:
    for days in LOG_DAYS:
        document = {"logs": {"retention_days": days}, "watching": {"log_days": days}}
        assert parse("dev", {"stages": {"dev": document}}).logs.retention_days == days
    for cpu, sizes in TASK_SIZES.items():
        for size in sizes:
            document = {"capacity": {"cpu": cpu, "memory_mb": size}}
            assert parse("dev", {"stages": {"dev": document}}).capacity.memory_mb == size
