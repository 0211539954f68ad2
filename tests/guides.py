"""The commands of guides: what stands after `$ ` in their blocks of shell."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.tidy.sources import ROOT

BLOCK: Final = re.compile(r"^ *```console\n(.*?)^ *```", flags=re.MULTILINE | re.DOTALL)
HEADING: Final = re.compile(r"^#+ (.+)$", flags=re.MULTILINE)
OPERATORS: Final = re.compile(r"[()<>|&;]+")
PREFIXES: Final = {"do", "then", "else", "if", "while", "time", "!"}
"""Words of the shell that a command may stand behind."""


def sections(path: Path) -> dict[str, str]:
    """Return the text below each heading of a page, up to the next one."""
    text = _without_comments((ROOT / path).read_text(encoding="utf-8"))
    parts = HEADING.split(text)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _without_comments(text: str) -> str:
    """Leave out lines of code that begin as headings do."""
    inside, lines = False, []
    for line in text.splitlines(keepends=True):
        inside ^= line.lstrip().startswith("```")
        lines.append(line if not (inside and line.startswith("#")) else "\n")
    return "".join(lines)


def commands(text: str) -> list[str]:
    """Return the commands of a text's blocks, each as one line of shell."""
    return [
        line.strip().removeprefix("$ ")
        for block in BLOCK.findall(text)
        for line in block.replace("\\\n", " ").splitlines()
        if line.lstrip().startswith("$ ")
    ]


def script(path: Path, *headings: str) -> str:
    """Return the commands below some headings of a page, in that order, as a script."""
    parts = sections(path)
    return "\n".join(line for heading in headings for line in commands(parts[heading]))


def invocations(text: str, program: str) -> Iterator[list[str]]:
    """Yield the arguments of every call of a program within a text's commands."""
    for line in commands(text):
        arguments: list[str] | None = None
        is_first = True
        for word in [*_words(line), ";"]:
            if OPERATORS.fullmatch(word):
                if arguments is not None:
                    yield arguments
                arguments, is_first = None, True
            elif arguments is not None:
                arguments.append(word)
            elif is_first and Path(word).name == program:
                arguments = []
            elif word not in PREFIXES and not re.fullmatch(r"\w+=.*", word):
                is_first = False


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = "#"
    return list(lexer)
