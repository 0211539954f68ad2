"""What the README tells a reader to type exists."""

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from tests.tidy.sources import ROOT, read_text

README = Path("README.md")
FENCE = re.compile(r"^```[^\n]*\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
SHELL_FENCE = re.compile(
    r"^```(?:sh|bash|shell|console|text)?[ \t]*\n(.*?)^```", flags=re.MULTILINE | re.DOTALL
)
INLINE = re.compile(r"`([^`\n]+)`")
OPERATORS = {"|", "||", "&", "&&", ";", ">", ">>", "<", "2>"}


def code_lines() -> Iterator[str]:
    """Yield the lines of the README's shell blocks, then its inline code."""
    if not (ROOT / README).exists():
        pytest.fail("there is no README.md: write it, with the commands that a reader needs")
    text = read_text(README)
    for block in SHELL_FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.strip().removeprefix("$ ")
    yield from INLINE.findall(FENCE.sub("", text))


def words_of(line: str) -> list[str]:
    """Split a line as a shell would; usage brackets and quotes left open are no obstacle."""
    lexer = shlex.shlex(re.sub(r"[\[\]]", " ", line), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return line.split()


def commands(program: str) -> list[list[str]]:
    """List the distinct invocations of a program in the README, as its arguments."""
    found: dict[tuple[str, ...], None] = {}
    for line in code_lines():
        arguments: list[str] | None = None
        for word in [*words_of(line), ";"]:
            if word in OPERATORS:
                if arguments:
                    found[tuple(arguments)] = None
                arguments = None
            elif arguments is not None:
                arguments.append(word)
            elif Path(word).name == program:
                arguments = []
            elif not re.fullmatch(r"[A-Z_]+=.*", word):
                break  # another program's line, or prose
    return [list(arguments) for arguments in found]


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Run `ledgerock WORDS --help` in this process: its exit code and what it printed."""
    main = import_module("worker.cli.main").main
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["ledgerock", *words, "--help"])
        patch.setenv("COLUMNS", "240")
        patch.setenv("TERM", "dumb")
        patch.setenv("NO_COLOR", "1")
        patch.delenv("FORCE_COLOR", raising=False)
        patch.delenv("GITHUB_ACTIONS", raising=False)
        try:
            code = main()
        except SystemExit as stop:
            code = stop.code
    printed = capsys.readouterr()
    return int(code or 0), printed.out + printed.err


def test_every_command_in_the_readme_exists(capsys: pytest.CaptureFixture[str]) -> None:
    named = commands("ledgerock")
    assert named, "README.md shows no `ledgerock` command"
    problems = []
    for arguments in named:
        words = []
        for word in arguments:
            if word.startswith("-"):
                break
            words.append(word)
        code, text = help_of(words, capsys)
        shown = " ".join(["ledgerock", *arguments])
        if code != 0:
            problems.append(f"`{shown}`: {text.strip()}")
        options = {word.split("=")[0] for word in arguments if word.startswith("--")}
        problems.extend(
            f"`{shown}`: the help names no {option}"
            for option in sorted(options)
            if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)
        )
    assert not problems, "\n".join(problems)


def test_every_make_target_in_the_readme_exists() -> None:
    named = {
        word
        for arguments in commands("make")
        for word in arguments
        if re.fullmatch(r"[a-z][a-z-]*", word)
    }
    targets = set(re.findall(r"^([a-z][a-z-]*):.*## ", read_text(Path("Makefile")), re.MULTILINE))
    assert named, "README.md shows no make target"
    assert named <= targets, f"README.md names targets that do not exist: {named - targets}"


def test_every_file_linked_in_the_readme_exists() -> None:
    if not (ROOT / README).exists():
        pytest.fail("there is no README.md")
    targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", FENCE.sub("", read_text(README)))
    missing = [
        target
        for target in targets
        if "://" not in target and not target.startswith("mailto:") and not (ROOT / target).exists()
    ]
    assert not missing, f"README.md links to files that do not exist: {missing}"
