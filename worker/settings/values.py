"""Reading single settings from their texts."""

from __future__ import annotations

from collections.abc import Collection, Mapping
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


def values_of(
    cls: type,
    variables: Mapping[str, str],
    environment: Mapping[str, str],
    *,
    may_be_zero: Collection[str] = (),
) -> dict[str, object]:
    """Read what is set of a dataclass of settings; each value has the type of its default.

    Args:
        cls: The dataclass; its defaults are texts, numbers, flags or tuples of texts.
        variables: The environment variable behind each setting.
        environment: Where they are read from.
        may_be_zero: Numbers that may be 0; all others are at least 1.

    Raises:
        ConfigurationError: A value is not what it must be.
    """
    values: dict[str, object] = {}
    for name, default in defaults(cls).items():
        variable = variables[name]
        text = environment.get(variable, "").strip()
        if not text:
            continue
        if isinstance(default, tuple):
            values[name] = tuple(part.strip() for part in text.split(",") if part.strip())
        elif isinstance(default, bool):
            values[name] = flag(environment, variable)
        elif isinstance(default, int):
            values[name] = whole(text, variable, 0 if name in may_be_zero else 1)
        else:
            values[name] = text
    return values
