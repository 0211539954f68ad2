"""What is deployed: one YAML file, typed and checked before anything is synthesised."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeGuard

import msgspec
import yaml
from msgspec import Meta

CONFIG_DEFAULT: Final = Path(__file__).with_name("ledgerock.yaml")

Text = Annotated[str, Meta(max_length=1024)]
Account = Annotated[str, Meta(pattern="^([0-9]{12})?$")]
Region = Annotated[str, Meta(pattern="^[a-z]{2}(-[a-z]+)+-[0-9]$")]
Days = Annotated[int, Meta(ge=1, le=3653)]
IamPath = Annotated[str, Meta(pattern="^/([!-~]+/)?$")]

LOG_DAYS: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922),
    *(3288, 3653),
)
"""Retentions that CloudWatch Logs has (AWS documentation: "PutRetentionPolicy")."""
TASK_SIZES: Final = {
    256: (512, 1024, 2048),
    512: tuple(range(1024, 4097, 1024)),
    1024: tuple(range(2048, 8193, 1024)),
    2048: tuple(range(4096, 16385, 1024)),
    4096: tuple(range(8192, 30721, 1024)),
}
"""Memory in MiB by CPU units, as Fargate has them (AWS documentation: "Amazon ECS task definition
differences for Fargate")."""
IAM_REGION: Final = "us-east-1"
"""Where IAM's control plane is, and its endpoint for private networks (AWS documentation: "Create a
VPC endpoint for IAM")."""
ZONES_MIN: Final = 2
SUSPENDED_KINDS: Final = ("user", "role", "session", "agent")
"""What ids of principals begin with that can be suspended."""
_STAGE: Final = re.compile(r"[a-z][a-z0-9-]{0,15}", re.ASCII)
_NAME_LENGTH_MAX: Final = 32
"""Of prefix and stage together: the longest name that begins with them stays below 64 letters."""


class ConfigError(ValueError):
    """The configuration is wrong; says where, why, and what would be right."""


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A map of the file; keys that are left out have defaults, others are refused."""


class Image(_Part, frozen=True, kw_only=True):
    """Where images come from; see the file for each key of this and of the following maps."""

    source: Literal["build", "repository"] = "build"
    repository: Annotated[str, Meta(pattern="^([a-z0-9][a-z0-9._/-]{1,255})?$")] = ""
    version: Annotated[str, Meta(pattern="^[A-Za-z0-9_.-]{0,110}$")] = ""


class Logs(_Part, frozen=True, kw_only=True):
    """How model invocation logs come."""

    via: Literal["kinesis", "subscription", "s3", "none"] = "kinesis"
    switch_on: bool = True
    bodies: bool = False
    replace_existing: bool = False
    retention_days: Days = 30
    shards: Annotated[int, Meta(ge=0, le=500)] = 0


class Enforcement(_Part, frozen=True, kw_only=True):
    """Who is suspended, how, and who never."""

    by: Literal["off", "worker", "workflows"] = "off"
    mode: Literal["deny", "detach"] = "deny"
    user_paths: tuple[IamPath, ...] = ("/",)
    role_paths: tuple[IamPath, ...] = ("/",)
    tag: Annotated[str, Meta(pattern="^([^=,]+=[^=,]*)?$")] = ""
    boundary: Annotated[str, Meta(pattern="^(arn:.+)?$")] = ""
    protected: tuple[Text, ...] = ()


class People(_Part, frozen=True, kw_only=True):
    """Who hears of budgets."""

    emails: tuple[Annotated[str, Meta(pattern="^[^@ ]+@[^@ ]+$")], ...] = ()
    webhook: bool = False


class Data(_Part, frozen=True, kw_only=True):
    """What is kept, and how."""

    keep: bool = True
    recovery_days: Annotated[int, Meta(ge=1, le=35)] = 35
    customer_key: bool = False
    quarantine_days: Days = 365


class Network(_Part, frozen=True, kw_only=True):
    """How the container reaches AWS."""

    private: bool = False
    zones: tuple[Annotated[str, Meta(pattern="^[a-z]{2}(-[a-z]+)+-[0-9][a-z]$")], ...] = ()


class Capacity(_Part, frozen=True, kw_only=True):
    """How much runs."""

    tasks_min: Annotated[int, Meta(ge=1, le=100)] = 1
    tasks_max: Annotated[int, Meta(ge=1, le=100)] = 4
    cpu: int = 512
    memory_mb: int = 1024
    function_mb: Annotated[int, Meta(ge=256, le=10240)] = 1024
    concurrency: Annotated[int, Meta(ge=0, le=10_000)] = 0


class Watching(_Part, frozen=True, kw_only=True):
    """Alarms, dashboard, logs and traces of Ledgerock itself."""

    enabled: bool = True
    page: tuple[Annotated[str, Meta(pattern="^[^@ ]+@[^@ ]+$")], ...] = ()
    ticket: tuple[Annotated[str, Meta(pattern="^[^@ ]+@[^@ ]+$")], ...] = ()
    tracing: bool = True
    log_days: Days = 90


class Source(_Part, frozen=True, kw_only=True):
    """An account whose calls are booked in this ledger, and its Regions."""

    account: Annotated[str, Meta(pattern="^[0-9]{12}$")]
    regions: Annotated[tuple[Region, ...], Meta(min_length=1)]


class StageConfig(_Part, frozen=True, kw_only=True):
    """All that a stage is deployed from.

    Attributes:
        stage: Its name.
    """

    stage: str
    prefix: Annotated[str, Meta(pattern="^[a-z][a-z0-9-]{0,15}$")] = "ledgerock"
    account: Account = ""
    region: Region = "us-east-1"
    shape: Literal["functions", "container"] = "functions"
    image: Image = Image()
    logs: Logs = Logs()
    cross_check: bool = False
    batch_buckets: tuple[Annotated[str, Meta(pattern="^arn:[a-z-]+:s3:::[^/*]+$")], ...] = ()
    agents: bool = True
    keys: bool = True
    tiers: Literal["", "ssm"] = ""
    enforcement: Enforcement = Enforcement()
    people: People = People()
    data: Data = Data()
    network: Network = Network()
    capacity: Capacity = Capacity()
    watching: Watching = Watching()
    sources: tuple[Source, ...] = ()
    tags: dict[str, Text] = {}

    @property
    def name(self) -> str:
        """What every name begins with: prefix and stage."""
        return f"{self.prefix}-{self.stage}"

    @property
    def path(self) -> str:
        """The path of roles and policies, and of parameters: `/PREFIX/STAGE/`."""
        return f"/{self.prefix}/{self.stage}/"

    @property
    def regions(self) -> tuple[str, ...]:
        """Regions of the ledger's own account whose calls are booked: its own one first."""
        own = [
            one
            for source in self.sources
            if source.account == self.account
            for one in source.regions
        ]
        return tuple(dict.fromkeys((self.region, *own)))

    @property
    def members(self) -> tuple[Source, ...]:
        """Other accounts."""
        return tuple(one for one in self.sources if one.account != self.account)


def load(stage: str, file: Path = CONFIG_DEFAULT) -> StageConfig:
    """Read the configuration of a stage.

    Raises:
        ConfigError: The file, the stage or a value is wrong; every rule that ties two values
            together is checked before this says so.
    """
    try:
        document = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: no YAML: {error}") from error
    return parse(stage, document, str(file))


def parse(stage: str, document: object, file: str = "the configuration") -> StageConfig:
    """Make a stage's configuration of a document as `ledgerock.yaml` is one; see `load`."""
    if not isinstance(document, dict) or not document.keys() <= {"defaults", "stages"}:
        raise ConfigError(f"{file}: give the maps `defaults` and `stages`, and nothing else")
    stages = document.get("stages")
    if not isinstance(stages, dict) or stage not in stages:
        known = ", ".join(map(str, stages)) if isinstance(stages, dict) else ""
        raise ConfigError(f"{file}: there is no stage {stage!r} in it; there is: {known or 'none'}")
    if not _STAGE.fullmatch(stage):
        message = (
            f"{file}: a stage is named by at most 16 lower-case letters, digits and hyphens, "
            f"a letter first: {stage!r}"
        )
        raise ConfigError(message)
    merged = _merged(document.get("defaults") or {}, stages[stage] or {}, file, f"stages.{stage}")
    try:
        config = msgspec.convert({**merged, "stage": stage}, StageConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{file}, stage {stage}: {_located(error)}") from error
    wrong = list(_contradictions(config))
    if wrong:
        raise ConfigError(f"{file}, stage {stage}: " + "; ".join(wrong))
    return config


def _merged(below: object, above: object, file: str, where: str) -> dict[str, Any]:
    """Lay one map over another, key by key."""
    if not (_is_map(below) and _is_map(above)):
        raise ConfigError(f"{file}: {where} is to be a map with texts for keys")
    merged = dict(below)
    for key, value in above.items():
        before = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        merged[key] = _merged(before, value, file, f"{where}.{key}") if both else value
    return merged


def _is_map(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping) and all(isinstance(key, str) for key in value)


def _located(error: msgspec.ValidationError) -> str:
    """Return what is wrong, with the path as it stands in the file."""
    what, _, path = str(error).partition(" - at `$")
    where = path.rstrip("`").lstrip(".")
    hint = ""
    if "got `int`" in what and "`str`" in what:
        hint = "; put the value into quotes"
    if "got `bool`" in what and "`str`" in what:
        hint = '; YAML takes on, off, yes and no for true and false: put it into quotes, "off"'
    return f"{where}: {what}{hint}" if where else f"{what}{hint}"


def _contradictions(config: StageConfig) -> Iterator[str]:
    """Yield what no single value is to blame for."""
    if len(config.name) > _NAME_LENGTH_MAX:
        yield f"prefix and stage together: {len(config.name)} letters; {_NAME_LENGTH_MAX} at most"
    if config.image.source == "repository" and not (
        config.image.repository and config.image.version
    ):
        yield "image: source `repository` needs `repository` and `version`"
    if config.enforcement.by == "off" and config.enforcement.mode == "detach":
        yield "enforcement: mode `detach` without anybody who suspends; set `by`"
    for pattern in config.enforcement.protected:
        kind = pattern.partition("/")[0]
        if kind not in SUSPENDED_KINDS and "*" not in kind:
            yield (
                f"enforcement.protected: {pattern!r} is nobody's id; give user/ACCOUNT/NAME, "
                'role/ACCOUNT/NAME, or a pattern as "role/*/break-glass*"'
            )
    accounts = [one.account for one in config.sources]
    if len(accounts) != len(set(accounts)):
        yield "sources: an account stands there twice; give all of its Regions in one entry"
    if config.sources and not config.account:
        yield "sources: with these, `account` must say which is the ledger's own"
    yield from _wrong_logs(config)
    yield from _wrong_shape(config)


def _wrong_logs(config: StageConfig) -> Iterator[str]:
    via = config.logs.via
    if config.shape == "container" and via == "subscription":
        yield (
            "logs.via: a subscription filter cannot call a container; "
            "give `kinesis` or `s3`, or shape `functions`"
        )
    if via == "subscription" and len(config.regions) + len(config.members) > 1:
        yield (
            "logs.via: a subscription filter calls functions of its own Region and account alone; "
            "with sources elsewhere give `kinesis` or `s3`"
        )
    if via == "none" and config.logs.switch_on:
        yield "logs: there is nothing to switch on with via `none`; set switch_on to false"
    for where, days in (
        ("logs.retention_days", config.logs.retention_days),
        ("watching.log_days", config.watching.log_days),
    ):
        if days not in LOG_DAYS:
            yield f"{where}: CloudWatch Logs has no {days}; give one of {_listed(LOG_DAYS)}"


def _wrong_shape(config: StageConfig) -> Iterator[str]:
    capacity = config.capacity
    if config.shape == "functions" and config.network.private:
        yield (
            "network.private is about the container; functions are in no network of yours. "
            "Give shape `container`, or leave it out"
        )
    if capacity.concurrency == 1:
        yield "capacity.concurrency: a queue has two pollers at least; give 2 or more, or 0"
    yield from _wrong_network(config)
    if capacity.tasks_max < capacity.tasks_min:
        yield f"capacity: tasks_max {capacity.tasks_max} is below tasks_min {capacity.tasks_min}"
    if capacity.cpu not in TASK_SIZES:
        yield f"capacity.cpu: Fargate has no {capacity.cpu}; give one of {_listed(TASK_SIZES)}"
    elif capacity.memory_mb not in TASK_SIZES[capacity.cpu]:
        yield (
            f"capacity.memory_mb: Fargate has no {capacity.memory_mb} with cpu {capacity.cpu}; "
            f"give one of {_listed(TASK_SIZES[capacity.cpu])}"
        )


def _wrong_network(config: StageConfig) -> Iterator[str]:
    """Yield what is wrong with zones, and what cannot be reached from a private network."""
    zones = config.network.zones
    if zones and (len(set(zones)) < ZONES_MIN or any(one[:-1] != config.region for one in zones)):
        yield f"network.zones: give {ZONES_MIN} different zones of {config.region} or more, or none"
    if not config.network.private:
        return
    if config.people.webhook:
        yield (
            "network.private: there is no way to the webhook from it; let something else post what "
            "comes on the bus, or leave out people.webhook"
        )
    if config.logs.via == "s3" and config.sources:
        yield (
            "network.private: buckets of other Regions cannot be reached from it; give logs.via "
            "`kinesis`, or no private network"
        )
    by = config.enforcement.by
    asks_iam = by == "worker" or (by == "workflows" and config.keys)
    if asks_iam and config.region != IAM_REGION:
        yield (
            f"network.private: IAM has an endpoint in {IAM_REGION} alone, and the container asks "
            "IAM: to suspend with enforcement.by `worker`, to mend tags with `keys`. Give `by: "
            "workflows` and `keys: false`, or no private network"
        )


def _listed(values: Iterable[int]) -> str:
    return ", ".join(map(str, values))
