"""Settings: read once at the start from options and environment, frozen from then on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from worker.core.errors import ConfigurationError
from worker.settings.enforcement import SECRETS, EnforcementSettings
from worker.settings.values import flag, number
from worker.settings.worker import WorkerSettings

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

SSM_PATH_VARIABLE: Final = "LEDGEROCK_SSM_PATH"
"""Names the path of parameters that stand for environment variables; functions alone look."""


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
        enforcement: Who is given budgets, who is suspended, and how people hear of it.
    """

    ledger: str = LEDGER_DEFAULT
    prices: Path | None = None
    registry: Path | None = None
    quarantine: Path | str | None = None
    table_prefix: str = TABLE_PREFIX_DEFAULT
    create_tables: bool = False
    entries_per_second: int | None = None
    worker: WorkerSettings = field(default_factory=WorkerSettings)
    enforcement: EnforcementSettings = field(default_factory=EnforcementSettings)

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
            create_tables=flag(environment, ENVIRONMENT["create_tables"]),
            entries_per_second=number(environment, ENVIRONMENT["entries_per_second"]),
            worker=WorkerSettings.read(environment),
            enforcement=EnforcementSettings.read(environment),
        )

    def shown(self) -> dict[str, Any]:
        """Return the settings as logs may show them: without secrets."""
        shown = asdict(self)
        for name in SECRETS:
            if shown["enforcement"][name]:
                shown["enforcement"][name] = "(set)"
        return shown

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
