"""Settings: read once at the start from options and environment, frozen from then on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.core.errors import ConfigurationError

LEDGER_DEFAULT: Final = "sqlite:ledgerock.db"

ENVIRONMENT: Final = {
    "ledger": "LEDGEROCK_LEDGER",
    "prices": "LEDGEROCK_PRICES",
    "registry": "LEDGEROCK_REGISTRY",
    "quarantine": "LEDGEROCK_QUARANTINE",
}
"""The environment variable behind each setting."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the parts need to know.

    Attributes:
        ledger: `sqlite:FILE` or `memory`.
        prices: The operator's own price rows, a CSV file; None for the packaged ones alone.
        registry: The registry, a TOML file; None for an empty one.
        quarantine: Directory of quarantined records; None puts it beside the ledger's file.
    """

    ledger: str = LEDGER_DEFAULT
    prices: Path | None = None
    registry: Path | None = None
    quarantine: Path | None = None

    @classmethod
    def read(
        cls,
        environment: Mapping[str, str],
        *,
        ledger: str | None = None,
        prices: Path | None = None,
        registry: Path | None = None,
        quarantine: Path | None = None,
    ) -> Settings:
        """Read the settings: an argument wins over the environment, which wins over defaults."""

        def path(argument: Path | None, name: str) -> Path | None:
            text = environment.get(ENVIRONMENT[name], "")
            return argument or (Path(text) if text else None)

        return cls(
            ledger=ledger or environment.get(ENVIRONMENT["ledger"]) or LEDGER_DEFAULT,
            prices=path(prices, "prices"),
            registry=path(registry, "registry"),
            quarantine=path(quarantine, "quarantine"),
        )

    @property
    def ledger_file(self) -> Path | None:
        """The ledger's file, or None if the ledger is in memory.

        Raises:
            ConfigurationError: The ledger is of no known kind.
        """
        if self.ledger == "memory":
            return None
        kind, _, name = self.ledger.partition(":")
        if kind != "sqlite" or not name:
            message = (
                f"--ledger {self.ledger}: no such ledger; "
                "give sqlite:FILE (the default is sqlite:ledgerock.db) or memory"
            )
            raise ConfigurationError(message)
        return Path(name)

    @property
    def quarantine_directory(self) -> Path | None:
        """Where quarantined records are kept, or None for in memory."""
        if self.quarantine is not None:
            return self.quarantine
        file = self.ledger_file
        return None if file is None else file.with_name(f"{file.name}.quarantine")
