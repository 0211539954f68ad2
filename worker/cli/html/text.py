"""Names and amounts as the page writes them."""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote

from worker.cli.money import show_usd
from worker.core.money import PICO_PER_USD

MINUS: Final = "\N{MINUS SIGN}"

KINDS: Final = {
    "agent": "agent",
    "app": "application",
    "federated": "federated",
    "role": "role",
    "root": "root of account",
    "service": "service",
    "session": "session",
    "unknown": "unknown caller",
    "user": "user",
}
"""Words for the first segment of an identity or principal."""

NO_NAME: Final = {
    "agent": "no agent",
    "application": "no application",
    "pool": "no pool",
    "team": "no team",
}


_PERMISSION_SET: Final = re.compile(r"AWSReservedSSO_(.+)_[0-9a-f]{16}", re.ASCII)
"""Roles that Identity Center makes for a permission set (AWS documentation: "Referencing
permission sets in resource policies"); the full name is in the title."""


class Name(NamedTuple):
    """A key as people read it.

    Attributes:
        short: What tells it from others at a glance.
        detail: The rest, in small print; empty if there is none.
        full: The key itself.
    """

    short: str
    detail: str
    full: str


def printable_text(text: str) -> str:
    """Return text with what cannot be seen (or turns the direction of writing) written out."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


def name_of(by: str, key: str) -> Name:
    """Split a key into what is read first and what is read second."""
    full = printable_text(key)
    if not key:
        return Name(NO_NAME.get(by, "none"), "", "")
    if by == "model":
        provider, dot, rest = full.partition(".")
        plain = dot and "/" not in provider
        return Name(rest, provider, full) if plain and rest else Name(full, "", full)
    kind, *parts = key.split("/")
    if kind not in KINDS or not parts or by in {"team", "pool", "account"}:
        return Name(full, "", full)
    words = [printable_text(unquote(part)) for part in parts]
    if len(words) == 1:
        return Name(words[0], KINDS[kind], full)
    # The role of a session matters less than the person; accounts and Regions come last.
    places = [_PERMISSION_SET.sub(r"\1", word) for word in reversed(words[:-1])]
    detail = " · ".join([KINDS[kind], *places])
    return Name(words[-1] or full, detail, full)


def exact_usd(pico_usd: int) -> str:
    """Return an amount with every digit it has: `$0.0105`."""
    return show_usd(pico_usd).replace("-", MINUS)


def short_usd(pico_usd: int) -> str:
    """Return an amount to the cent; one that would read as zero says that it is less than one."""
    sign, size = (MINUS if pico_usd < 0 else ""), abs(pico_usd)
    cents, rest = divmod(size, PICO_PER_USD // 100)
    half = PICO_PER_USD // 200
    if rest > half or (rest == half and cents & 1):
        cents += 1
    if size and not cents:
        return f"{sign}<$0.01"
    return f"{sign}${cents // 100:,}.{cents % 100:02d}"


def change_percent(now: int, before: int) -> str:
    """Return a change in per cent: `+12.3 %`; words where there is nothing to divide by."""
    if before == now:
        return "unchanged"
    if before <= 0:
        return "new"
    if now <= 0:
        return "gone"
    per_mille = (2000 * abs(now - before) + before) // (2 * before)
    sign = "+" if now > before else MINUS
    if per_mille >= 10_000:  # noqa: PLR2004 - beyond ten times, per cent say nothing
        return f"\N{MULTIPLICATION SIGN}{now // before}"
    return f"{sign}{per_mille // 10}.{per_mille % 10} %"
