"""Reading single settings from their texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from worker.core.errors import ConfigurationError


def flag(environment: Mapping[str, str], name: str) -> bool:
    """Read a flag: 1 or 0; off where it is not set."""
    text = environment.get(name, "").strip().lower()
    if text in {"", "0", "false", "no"}:
        return False
    if text in {"1", "true", "yes"}:
        return True
    message = f"{name}={text}: give 1 or 0"
    raise ConfigurationError(message)


def number(environment: Mapping[str, str], name: str) -> int | None:
    """Read a whole number of at least 1; None where it is not set."""
    text = environment.get(name, "").strip()
    return whole(text, name, 1) if text else None


def whole(text: str, name: str, least: int) -> int:
    """Read a whole number.

    Raises:
        ConfigurationError: It is none, or too small.
    """
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        message = f"{name}={text}: give a whole number of at least {least}"
        raise ConfigurationError(message)
    return int(text)


def defaults(cls: type) -> dict[str, object]:
    """Return the defaults of a dataclass of settings, by name."""
    return {one.name: one.default for one in fields(cls)}
