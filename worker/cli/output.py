"""Printing results: JSON for scripts, tables for people.

Keys, reasons and bodies hold text that callers chose. It reaches a terminal only through
`printable` (or JSON in ASCII), so that no one else's escape sequences run there.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.measure import Measurement
    from rich.table import Table
    from rich.text import Text

WIDTH_UNKNOWN: Final = 1_000
"""Columns of output that goes to a file or a pipe; nothing is folded at an imagined edge."""

KEY_WIDTH_MIN: Final = 24
"""Columns that a key keeps, however narrow the terminal."""

_ACCOUNT: Final = re.compile(r"(?<=/)[0-9]{8}([0-9]{4})(?=/)", re.ASCII)
_BAR_CELLS: Final = 10
_BAR_EIGHTHS: Final = " ▏▎▍▌▋▊▉"
_SPARKS: Final = " ▁▂▃▄▅▆▇█"
_SPARKLINE_VALUES_MIN: Final = 3


def print_json(document: object) -> None:
    """Print one JSON document: the same bytes for the same document, whatever the terminal."""
    print(_dumps(document, indent=2))


def print_json_line(document: object) -> None:
    """Print a JSON document on one line."""
    print(_dumps(document))


def _dumps(document: object, indent: int | None = None) -> str:
    text = json.dumps(document, indent=indent)
    # Names of files need not be Unicode; halves of characters are no text to a strict reader.
    return json.dumps(_unicode(document), indent=indent) if "\\ud" in text else text


def _unicode(value: Any) -> Any:  # noqa: ANN401 - any JSON document
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_unicode(key): _unicode(item) for key, item in value.items()}
        case list() | tuple():
            return [_unicode(item) for item in value]
        case _:
            return value


def console() -> Console:
    """Return a console on stdout: colours on terminals only, none where NO_COLOR is set."""
    return _console(stderr=False)


def error_console() -> Console:
    """Return a console on stderr, for progress."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class OurConsole(Console):
        def on_broken_pipe(self) -> None:
            # Its own way is to exit with 1; all commands exit as those that print JSON do.
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else WIDTH_UNKNOWN
    return OurConsole(
        stderr=stderr, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False
    )


def table(columns: Sequence[str], *, right: Sequence[str] = (), key: str = "") -> Table:
    """Return an empty table: ruled on a terminal, plain elsewhere.

    Args:
        columns: Headings.
        right: Headings of the columns that are aligned right and never folded.
        key: Heading of the column of `KeyCell`, which keeps the width that it asks for.
    """
    from rich import box
    from rich.table import Table

    on_terminal = sys.stdout.isatty() and _speaks_unicode()
    result = Table(
        header_style="bold" if on_terminal else "",
        box=box.SIMPLE_HEAD if on_terminal else None,
        pad_edge=False,
        padding=(0, 1) if on_terminal else (0, 2, 0, 0),
    )
    for name in columns:
        if name in right:
            result.add_column(name, justify="right", no_wrap=True)
        else:
            result.add_column(name, overflow="fold", no_wrap=name == key)
    return result


def cells(*values: str) -> list[RenderableType]:
    """Return a row's cells, made printable."""
    from rich.text import Text

    return [Text(printable(value)) for value in values]


class KeyCell:
    """A key of a row, cut in the middle where a terminal has no room for it."""

    def __init__(self, key: str) -> None:
        """Take a key, such as a principal."""
        self._text = printable(key)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Ask for the width of the key; on a terminal, for two fifths of it at most."""
        from rich.measure import Measurement

        width = len(self._text)
        if console.is_terminal:
            width = min(width, max(console.width * 2 // 5, KEY_WIDTH_MIN))
        return Measurement(width, width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Show as much as there is room for."""
        from rich.text import Text

        yield Text(shorten(self._text, options.max_width), overflow="ellipsis", no_wrap=True)


def shorten(key: str, width: int) -> str:
    """Return a key in at most `width` characters; its account goes first, else its middle."""
    if len(key) <= width:
        return key
    mark = "…" if _speaks_unicode() else "~"
    shorter = _ACCOUNT.sub(rf"{mark}\1", key, count=1)
    if len(shorter) <= width:
        return shorter
    head = min(key.find("/") + 1, width // 2)
    return f"{key[:head]}{mark}{key[len(key) - (width - 1 - head) :]}"


def printable(text: str) -> str:
    """Return text with everything escaped that a terminal might obey or that cannot be shown."""
    if text.isascii() and text.isprintable():
        return text
    encoding = sys.stdout.encoding or "ascii"
    shown = "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
    return shown.encode(encoding, "backslashreplace").decode(encoding)


def bar(part: int, whole: int) -> str:
    """Return a bar of ten cells that is filled to `part` of `whole`."""
    if whole <= 0 or part <= 0:
        return ""
    eighths = min(part * _BAR_CELLS * 8 // whole, _BAR_CELLS * 8)
    if not _speaks_unicode():
        return "#" * max(eighths // 8, 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_BAR_EIGHTHS[rest] if rest else "" if full else "▏")


def sparkline(values: Sequence[int]) -> str:
    """Return a series as columns of one character each; empty where it would say nothing.

    Zero is blank, and nothing else is: the least amount still shows.
    """
    highest = max(values, default=0)
    if len(values) < _SPARKLINE_VALUES_MIN or highest <= 0 or not _speaks_unicode():
        return ""
    top = len(_SPARKS) - 1
    return "".join(_SPARKS[max(-(-value * top // highest), 0)] for value in values)


def share(part: int, whole: int) -> str:
    """Return a share in per cent, with one decimal; a share above zero never reads as zero."""
    if whole <= 0 or part < 0:
        return ""
    per_mille = (2000 * part + whole) // (2 * whole)
    if part and not per_mille:
        return "<0.1%"
    return f"{per_mille // 10}.{per_mille % 10}%"


def count(number: int) -> str:
    """Return a number of things with separators between thousands."""
    return f"{number:,}"


def short_count(number: int) -> str:
    """Return a large number of tokens as people say it: `999`, `12.3k`, `4.56M`."""
    for unit, name in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if abs(number) >= unit:
            hundredths = number * 100 // unit
            text = f"{hundredths // 100}.{hundredths % 100:02d}"
            return f"{text[:4].rstrip('.') if hundredths < 10**5 else hundredths // 100}{name}"
    return str(number)


def quantity(number: int, one: str, many: str | None = None) -> str:
    """Return `1 call`, `2 calls`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _speaks_unicode() -> bool:
    try:
        "█▏".encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
