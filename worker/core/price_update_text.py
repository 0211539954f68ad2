"""The operator's file of rates with a plan applied: every line that does not change stays as it is.

Two things are done to the text: rows that end get an `effective_to`, and new rows are appended. A
file whose header lacks columns that new rows need gets them; only then is every line rewritten.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from worker.core.catalogue_text import RATE_COLUMNS
from worker.core.errors import ConfigurationError
from worker.core.money import format_atto_usd
from worker.core.price_update import DAY_MS, Change

TOKENS_PER_PRICE: Final = 1_000_000

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def apply_changes(text: str, origin: str, changes: Sequence[Change]) -> str:
    """Return the file with the changes.

    Args:
        text: The file as it is; empty for a new one.
        origin: Its name, as in the origins of its rows (`FILE:LINE`).
        changes: Of a plan that was made with this file.

    Raises:
        ConfigurationError: a line is not one row of CSV.
    """
    if not changes:
        return text
    lines = text.splitlines(keepends=True) or [_line(RATE_COLUMNS, "\n")]
    newline = "\r\n" if lines[0].endswith("\r\n") else "\n"
    if not lines[-1].endswith(("\n", "\r")):
        lines[-1] += newline
    header = [name.strip() for name in _fields(lines[0].removeprefix("\ufeff"), f"{origin}:1")]
    missing = [name for name in RATE_COLUMNS if name not in header]
    if missing:
        lines = [_widened(line, missing, header, origin, n) for n, line in enumerate(lines, 1)]
        header += missing
    ended = {
        change.before.origin: change.effective_from_ms
        for change in changes
        if change.ends and change.before is not None
    }
    column = header.index("effective_to")
    for number, line in enumerate(lines, start=1):
        until_ms = ended.pop(f"{origin}:{number}", None)
        if until_ms is not None:
            fields = _fields(line, f"{origin}:{number}")
            fields[column] = instant_text(until_ms)
            lines[number - 1] = _line(fields, newline)
    if ended:
        raise ConfigurationError(f"{', '.join(ended)}: not found; was the file changed meanwhile?")
    for change in changes:
        row = row_fields(change)
        lines.append(_line([row[name] for name in header], newline))
    return "".join(lines)


def row_fields(change: Change) -> Mapping[str, str]:
    """Return a new row by column, as the catalogue's files have it."""
    quote = change.quote
    per = TOKENS_PER_PRICE if quote.unit.endswith("_tokens") else 1
    until = change.effective_to_ms
    return {
        "model": quote.model,
        "routing": quote.routing,
        "region": quote.region,
        "tier": quote.tier,
        "unit": quote.unit,
        "above_input_tokens": str(quote.above_input_tokens),
        "usd": format_atto_usd(quote.rate_atto * per),
        "per": str(per),
        "effective_from": instant_text(change.effective_from_ms),
        "effective_to": "" if until is None else instant_text(until),
        "confidence": change.confidence,
        "sources": change.sources,
        "note": quote.note,
    }


def instant_text(at_ms: int) -> str:
    """Write an instant as the catalogue's files do: a date where it is midnight in UTC."""
    instant = _EPOCH + timedelta(milliseconds=at_ms)
    if at_ms % DAY_MS == 0:
        return instant.date().isoformat()
    return instant.isoformat().replace("+00:00", "Z")


def _widened(line: str, missing: Sequence[str], header: Sequence[str], origin: str, n: int) -> str:
    body = line.rstrip("\r\n")
    end = line[len(body) :]
    if n == 1:
        return f"{body},{','.join(missing)}{end}"
    if not body or body.startswith("#"):
        return line
    found = len(_fields(line, f"{origin}:{n}"))
    if found != len(header):
        raise ConfigurationError(f"{origin}:{n}: found {found} fields, expected {len(header)}")
    return f"{body}{',' * len(missing)}{end}"


def _fields(line: str, place: str) -> list[str]:
    try:
        return next(csv.reader([line.rstrip("\r\n")], strict=True), [])
    except csv.Error as error:
        raise ConfigurationError(f"{place}: not one row of CSV ({error})") from error


def _line(fields: Sequence[str], newline: str) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator=newline).writerow(fields)
    return out.getvalue()
