"""Tiers from a TOML file; read again when it has changed.

    on = ["credential", "tag", "policy", "agent"]

    [defaults]
    user = "standard"
    agent = "standard"
    unprovisioned_key = "small"

    [tiers.standard.budgets.monthly]
    limit = "50.00"
    grace_seconds = 900

    [tiers.small.budgets.daily]
    limit = 5
    period = "daily"

    [cap.monthly]
    limit = 10000

`docs/tiers.md` says what every key means.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Final

from worker.core.errors import ConfigurationError
from worker.core.tiers import NO_TIERS, Tiers
from worker.core.tiers_text import read_tiers

FILE_BYTES_MAX: Final = 1024 * 1024


class FixedTiers:
    """A `worker.ports.TierSource` of tiers that never change: none at all, and for tests."""

    def __init__(self, tiers: Tiers = NO_TIERS) -> None:
        """Keep them."""
        self._tiers = tiers

    async def tiers(self) -> Tiers:
        """Return them."""
        return self._tiers


class FileTiers:
    """A `worker.ports.TierSource` in a file.

    Args:
        path: The TOML file.
    """

    def __init__(self, path: Path) -> None:
        """Read nothing yet."""
        self._path = path
        self._content: bytes | None = None
        self._tiers = NO_TIERS

    async def tiers(self) -> Tiers:
        """Return the tiers as the file has them now.

        Raises:
            ConfigurationError: It cannot be read, is no TOML, or a key is wrong.
        """
        try:
            with self._path.open("rb") as file:
                content = file.read(FILE_BYTES_MAX + 1)
        except OSError as error:
            message = f"tiers {self._path}: cannot be read ({error.strerror}); check the path"
            raise ConfigurationError(message) from error
        if content != self._content:
            self._tiers = parse_tiers(content, str(self._path))
            self._content = content
        return self._tiers


def parse_tiers(content: bytes, path: str) -> Tiers:
    """Read tiers from the content of a TOML file; `path` names it in errors.

    Raises:
        ConfigurationError: The content is no TOML, or a key is wrong.
    """
    if len(content) > FILE_BYTES_MAX:
        message = f"tiers {path}: expected at most {FILE_BYTES_MAX} bytes, found more"
        raise ConfigurationError(message)
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        message = f"tiers {path}: is not valid TOML: not UTF-8 text at byte {error.start}"
        raise ConfigurationError(message) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigurationError(f"tiers {path}: is not valid TOML: {error}") from error
    return read_tiers(document, lambda keys: f"tiers {path}: {'.'.join(keys) or 'the file'}")
