"""Settings: read once at the start from options and environment, frozen from then on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final

from worker.core.errors import ConfigurationError

LEDGER_DEFAULT: Final = "sqlite:ledgerock.db"
TABLE_PREFIX_DEFAULT: Final = "ledgerock"
QUARANTINE_DEFAULT: Final = "ledgerock.quarantine"
"""Where records wait that are not understood, beside no ledger's file."""

ENVIRONMENT: Final = {
    "ledger": "LEDGEROCK_LEDGER",
    "prices": "LEDGEROCK_PRICES",
    "registry": "LEDGEROCK_REGISTRY",
    "quarantine": "LEDGEROCK_QUARANTINE",
    "table_prefix": "LEDGEROCK_TABLE_PREFIX",
    "create_tables": "LEDGEROCK_CREATE_TABLES",
    "entries_per_second": "LEDGEROCK_ENTRIES_PER_SECOND",
}
"""The environment variable behind each setting."""


WORKER_ENVIRONMENT: Final = {
    "queues": "LEDGEROCK_QUEUES",
    "streams": "LEDGEROCK_STREAMS",
    "bus": "LEDGEROCK_BUS",
    "batch_deliveries_max": "LEDGEROCK_BATCH_DELIVERIES_MAX",
    "batch_bytes_max": "LEDGEROCK_BATCH_BYTES_MAX",
    "linger_ms": "LEDGEROCK_LINGER_MS",
    "receivers": "LEDGEROCK_RECEIVERS",
    "batches_in_flight": "LEDGEROCK_BATCHES_IN_FLIGHT",
    "visibility_seconds": "LEDGEROCK_VISIBILITY_SECONDS",
    "lease_seconds": "LEDGEROCK_LEASE_SECONDS",
    "drain_seconds": "LEDGEROCK_DRAIN_SECONDS",
    "http_port": "LEDGEROCK_HTTP_PORT",
    "lag_seconds_max": "LEDGEROCK_LAG_SECONDS_MAX",
    "resolve_profiles": "LEDGEROCK_RESOLVE_PROFILES",
}
"""The environment variable behind each of the worker's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """What only the worker and the functions need to know.

    Attributes:
        queues: URLs of the SQS queues to work on.
        streams: Names or ARNs of the Kinesis streams to work on.
        bus: EventBridge bus (name or ARN) that events are announced on, `file:PATH` for a file
            of JSON lines, or empty: they are written down, and announced by somebody else.
        batch_deliveries_max: Deliveries that are booked together at most.
        batch_bytes_max: Their bodies' bytes together at most.
        linger_ms: How long a delivery waits at most for others to be booked with, for each batch
            that is being worked on; while nothing is, it is booked at once.
        receivers: Receivers that poll each queue at the same time.
        batches_in_flight: Batches that are worked on at the same time.
        visibility_seconds: For how long a queue hides what was received; prolonged while it is
            still being worked on.
        lease_seconds: For how long a worker that is not heard of keeps its shards.
        drain_seconds: How long after SIGTERM the worker may finish what it began.
        http_port: Where `/healthz`, `/readyz` and `/metrics` are served; 0 for nowhere.
        lag_seconds_max: Beyond this age of the oldest unsettled delivery the worker is not ready.
        resolve_profiles: Ask Bedrock about application inference profiles that are not known.
    """

    queues: tuple[str, ...] = ()
    streams: tuple[str, ...] = ()
    bus: str = ""
    batch_deliveries_max: int = 500
    batch_bytes_max: int = 8_000_000
    linger_ms: int = 50
    receivers: int = 4
    batches_in_flight: int = 4
    visibility_seconds: int = 60
    lease_seconds: int = 20
    drain_seconds: int = 25
    http_port: int = 8080
    lag_seconds_max: int = 900
    resolve_profiles: bool = True

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> WorkerSettings:
        """Read the settings from the environment.

        Raises:
            ConfigurationError: A value is not what it must be.
        """
        values: dict[str, object] = {}
        for name, default in _defaults(cls).items():
            variable = WORKER_ENVIRONMENT[name]
            text = environment.get(variable, "").strip()
            if not text:
                continue
            if isinstance(default, tuple):
                values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
            elif isinstance(default, bool):
                values[name] = _flag(environment, variable)
            elif isinstance(default, int):
                allow_zero = name in {"http_port", "linger_ms"}
                values[name] = _whole(text, variable, 0 if allow_zero else 1)
            else:
                values[name] = text
        return cls(**values)  # type: ignore[arg-type]  # each value has its default's type


def _defaults(cls: type) -> dict[str, object]:
    return {one.name: one.default for one in fields(cls)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the parts need to know.

    Attributes:
        ledger: `sqlite:FILE`, `memory`, `dynamodb` or `dynamodb:PREFIX`.
        prices: The operator's own price rows, a CSV file; None for the packaged ones alone.
        registry: The registry, a TOML file; None for an empty one.
        quarantine: Where quarantined records are kept, a directory or `s3://BUCKET/PREFIX`; None
            puts them beside the ledger's file, or where there is none, into the working directory.
        table_prefix: Begins the names of DynamoDB's tables, unless the ledger names another.
        create_tables: Make missing tables; for local use, AWS gets them by deployment.
        entries_per_second: How fast `verify` and `rebook` go through a shared ledger at most.
        worker: What only the worker and the functions need to know.
    """

    ledger: str = LEDGER_DEFAULT
    prices: Path | None = None
    registry: Path | None = None
    quarantine: Path | str | None = None
    table_prefix: str = TABLE_PREFIX_DEFAULT
    create_tables: bool = False
    entries_per_second: int | None = None
    worker: WorkerSettings = field(default_factory=WorkerSettings)

    @classmethod
    def read(
        cls,
        environment: Mapping[str, str],
        *,
        ledger: str | None = None,
        prices: Path | None = None,
        registry: Path | None = None,
        quarantine: str | None = None,
    ) -> Settings:
        """Read the settings: an argument wins over the environment, which wins over defaults."""

        def path(argument: Path | None, name: str) -> Path | None:
            text = environment.get(ENVIRONMENT[name], "")
            return argument or (Path(text) if text else None)

        return cls(
            ledger=ledger or environment.get(ENVIRONMENT["ledger"]) or LEDGER_DEFAULT,
            prices=path(prices, "prices"),
            registry=path(registry, "registry"),
            quarantine=_place(quarantine or environment.get(ENVIRONMENT["quarantine"])),
            table_prefix=environment.get(ENVIRONMENT["table_prefix"]) or TABLE_PREFIX_DEFAULT,
            create_tables=_flag(environment, ENVIRONMENT["create_tables"]),
            entries_per_second=_number(environment, ENVIRONMENT["entries_per_second"]),
            worker=WorkerSettings.read(environment),
        )

    @property
    def ledger_file(self) -> Path | None:
        """The ledger's file, or None if the ledger is not in one.

        Raises:
            ConfigurationError: The ledger is of no known kind.
        """
        if self.ledger == "memory" or self.ledger_tables is not None:
            return None
        kind, _, name = self.ledger.partition(":")
        if kind != "sqlite" or not name:
            message = (
                f"--ledger {self.ledger}: no such ledger; give sqlite:FILE "
                "(the default is sqlite:ledgerock.db), dynamodb, dynamodb:PREFIX or memory"
            )
            raise ConfigurationError(message)
        return Path(name)

    @property
    def ledger_tables(self) -> str | None:
        """What the names of the ledger's tables begin with, or None if it is not in DynamoDB.

        Raises:
            ConfigurationError: Tables cannot be named so.
        """
        kind, _, name = self.ledger.partition(":")
        if kind != "dynamodb":
            return None
        prefix = name or self.table_prefix
        if not _TABLE_PREFIX.fullmatch(prefix):
            message = (
                f"the table prefix {prefix!r} will not do: letters, digits, `_`, `-` and `.`, "
                "at most 200 (--ledger dynamodb:PREFIX, LEDGEROCK_TABLE_PREFIX)"
            )
            raise ConfigurationError(message)
        return prefix

    @property
    def is_kept(self) -> bool:
        """Whether the ledger is still there for the next command."""
        return self.ledger != "memory"

    @property
    def quarantine_place(self) -> str | None:
        """Where in S3 quarantined records are kept, `s3://BUCKET/PREFIX`, or None for elsewhere."""
        return self.quarantine if isinstance(self.quarantine, str) else None

    @property
    def keeps_quarantine(self) -> bool:
        """Whether quarantined records are still there for the next command."""
        return self.quarantine_place is not None or self.quarantine_directory is not None

    @property
    def quarantine_directory(self) -> Path | None:
        """Where quarantined records are kept, or None for in memory or S3."""
        if self.quarantine is not None:
            return self.quarantine if isinstance(self.quarantine, Path) else None
        file = self.ledger_file
        if file is None:
            return Path(QUARANTINE_DEFAULT) if self.is_kept else None
        return file.with_name(f"{file.name}.quarantine")


def _place(text: str | None) -> Path | str | None:
    """Return a place in S3 as it is written, any other as a directory."""
    return text if text and text.startswith("s3://") else Path(text) if text else None


# AWS documentation: "Supported data types and naming rules in Amazon DynamoDB".
_TABLE_PREFIX: Final = re.compile(r"[A-Za-z0-9_.-]{1,200}")


def _flag(environment: Mapping[str, str], name: str) -> bool:
    text = environment.get(name, "").strip().lower()
    if text in {"", "0", "false", "no"}:
        return False
    if text in {"1", "true", "yes"}:
        return True
    message = f"{name}={text}: give 1 or 0"
    raise ConfigurationError(message)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "").strip()
    return _whole(text, name, 1) if text else None


def _whole(text: str, name: str, least: int) -> int:
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        message = f"{name}={text}: give a whole number of at least {least}"
        raise ConfigurationError(message)
    return int(text)
