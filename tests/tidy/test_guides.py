"""What the pages link to is there, and what they tell a reader to type exists.

What the README says is looked at in `test_readme` as well; commands of `aws` are checked against
the descriptions of the services that botocore has.
"""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.aws_command import CommandError, parse
from tests.guides import commands, invocations, sections
from tests.tidy.sources import ROOT, read_text, tracked_files
from tests.tidy.test_readme import FENCE, INLINE, help_of, words_of

PAGES = [
    path
    for path in tracked_files()
    if path.suffix == ".md" and (path == Path("README.md") or path.parts[0] == "docs")
]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
GUIDES = [path for path in PAGES if path.parts[:2] == ("docs", "deploy")]


def prose(path: Path) -> str:
    """Return a page without its blocks of code."""
    return FENCE.sub("", read_text(path))


@cache
def anchors(path: Path) -> frozenset[str]:
    """Return the anchors that a page's headings have where pages are shown."""
    found: set[str] = set()
    for line in prose(path).splitlines():
        if match := re.fullmatch(r"#+ (.+)", line):
            text = LINK.sub("", match[1]).replace("`", "").strip().lower()
            base = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
            taken = sum(one == base or one.startswith(f"{base}-") for one in found)
            found.add(f"{base}-{taken}" if base in found else base)
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_and_anchor_leads_somewhere(page: Path) -> None:
    problems = []
    for target in LINK.findall(prose(page)):
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, anchor = target.partition("#")
        path = page.parent / name if name else page
        resolved = (ROOT / path).resolve().relative_to(ROOT)
        if not (ROOT / resolved).exists():
            problems.append(f"{target}: no such file")
        elif anchor and anchor not in anchors(resolved):
            problems.append(f"{target}: no such heading")
    assert not problems, "\n".join(problems)


def called(page: Path, program: str) -> Iterator[list[str]]:
    """Yield the arguments of a program, in blocks and in the text."""
    yield from invocations(read_text(page), program)
    for code in INLINE.findall(prose(page)):
        first, *arguments = words_of(code) or [""]
        if first == program and arguments:
            yield arguments


@cache
def targets() -> frozenset[str]:
    return frozenset(
        re.findall(r"^([a-z][a-z-]*):.*## ", read_text(Path("Makefile")), re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_make_target_exists(page: Path) -> None:
    named = {
        word
        for arguments in called(page, "make")
        for word in arguments
        if re.fullmatch(r"[a-z][a-z-]*", word)
    }
    assert named <= targets()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_ledgerock_command_exists(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    problems = []
    for arguments in called(page, "ledgerock"):
        words = []
        for word in arguments:
            if word.startswith("-"):
                break
            words.append(word)
        if words and "|" in words[-1]:
            continue  # several commands at once, in prose
        code, text = help_of(words, capsys)
        shown = " ".join(["ledgerock", *arguments])
        if code != 0:
            problems.append(f"`{shown}`: {text.strip()}")
            continue
        options = {word.split("=")[0] for word in arguments if re.match(r"--[a-z]", word)}
        problems.extend(
            f"`{shown}`: the help names no {option}"
            for option in sorted(options)
            if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text)
        )
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_aws_command_is_one(page: Path) -> None:
    problems = []
    for arguments in called(page, "aws"):
        try:
            parse(arguments)
        except CommandError as error:
            problems.append(f"aws {' '.join(arguments)}: {error}")
    assert not problems, "\n".join(problems)


def test_the_guides_have_commands_of_all_kinds() -> None:
    found = dict.fromkeys(("aws", "ledgerock", "make"), 0)
    for page in GUIDES:
        for program in found:
            found[program] += sum(1 for _ in invocations(read_text(page), program))
    assert min(found.values()) > 5, found


@pytest.mark.parametrize(
    "command, problem",
    [
        ("dynamodb restore-table --target-table-name t", "no 'restore-table'"),
        ("dynamodb restore-table-from-backup --target-table-name t", "needs BackupArn"),
        ("dynamodb wait table-there --table-name t", "wait has no"),
        ("dynamodb delete-table --table t", "no option --table"),
        ("dynamodb update-table --table-name t --billing-mode CHEAP", "none of"),
        ("kinesis create-stream --stream-name s --shard-count many", "no number"),
        (
            "dynamodb update-time-to-live --table-name t --time-to-live-specification On=true",
            "has no On",
        ),
        ("sns subscribe --topic-arn t --protocol email --endpoint e", "no option --endpoint"),
        ("dinamodb list-tables", "no service"),
        ("dynamodb", "a service and an operation"),
    ],
)
def test_commands_that_the_program_would_refuse_are_refused(command: str, problem: str) -> None:
    with pytest.raises(CommandError, match=re.escape(problem)):
        parse(command.split())


def test_what_stands_in_the_shell_of_a_guide_is_found() -> None:
    text = """
## One

```console
$ name=x path=/y
$ for table in a b; do \\
    arn=$(aws dynamodb describe-table --table-name $name-$table); \\
    A=1 aws s3 ls "s3://x; y"; \\
  done | sort
what was printed
```

## Two

1. In a list:

   ```console
   $ aws iam list-users
   ```

```toml
# no heading
```
"""
    assert len(commands(text)) == 3
    assert list(invocations(text, "aws")) == [
        ["dynamodb", "describe-table", "--table-name", "$name-$table"],
        ["s3", "ls", "s3://x; y"],
        ["iam", "list-users"],
    ]
    assert "Put the restored books in the place of the stage's" in sections(
        Path("docs/deploy/backup.md")
    )
