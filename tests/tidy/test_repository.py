"""Rules of the repository as a whole: versions agree, requirements are pinned, nothing is left."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import worker
from tests.tidy.sources import ROOT, read_text, tracked_files

# Written in two halves, so that this file does not name them itself. Where packages come from is
# the business of the machine that installs them (a mirror, a proxy), never of this repository.
REGISTRY_HOSTS = [
    "py" + "pi.org",
    "python" + "hosted.org",
    "npm" + "js.org",
    "npm" + "js.com",
    "yarn" + "pkg.com",
    "deb." + "debian.org",
    "archive." + "ubuntu.com",
    "crates" + ".io",
    "proxy." + "golang.org",
]
LEFTOVERS = re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")
TEXT_SUFFIXES = {"", ".cfg", ".in", ".md", ".py", ".sh", ".toml", ".yaml", ".yml"}


def project() -> dict[str, Any]:
    """Read pyproject.toml."""
    return tomllib.loads(read_text(Path("pyproject.toml")))


def test_nothing_names_a_package_registry() -> None:
    offenders = [
        f"{path} names {host}"
        for path in tracked_files()
        for host in REGISTRY_HOSTS
        if host in read_text(path)
    ]
    assert not offenders, "\n".join(offenders)


def test_nothing_is_left_for_later_in_the_text() -> None:
    offenders = [
        f"{path}:{number}: {line.strip()}"
        for path in tracked_files()
        if path.suffix in TEXT_SUFFIXES
        for number, line in enumerate(read_text(path).splitlines(), start=1)
        if LEFTOVERS.search(line)
    ]
    assert not offenders, "\n".join(["do it, or file it as an issue:", *offenders])


def test_the_versions_agree_and_the_changelog_tells_of_it() -> None:
    version = project()["project"]["version"]
    assert worker.__version__ == version
    headings = re.findall(r"^## \[(.+?)\]", read_text(Path("CHANGELOG.md")), flags=re.MULTILINE)
    assert version in headings, f"CHANGELOG.md has no section '## [{version}]': {headings}"


def pins(name: str) -> dict[str, str]:
    """Read one lock file: distribution to exact version."""
    text = read_text(Path(f"requirements/{name}.txt"))
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;\\]+)", text, flags=re.MULTILINE))


@pytest.mark.parametrize("name", ["build", "runtime", "dev"])
def test_every_requirement_is_pinned_by_hash_and_by_nothing_else(name: str) -> None:
    text = read_text(Path(f"requirements/{name}.txt"))
    requirements = re.split(r"^(?=\S)", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for requirement in filter(None, requirements):
        assert "==" in requirement
        assert "--hash=sha256:" in requirement, requirement
    assert "://" not in text
    assert not re.search(r"^--", text, flags=re.MULTILINE), "an option stands in the lock file"


def test_tests_run_against_the_versions_that_users_get() -> None:
    development = pins("dev")
    for name in ("build", "runtime"):
        locked = pins(name)
        assert locked
        assert {key: development.get(key) for key in locked} == locked


def test_what_the_package_declares_is_what_is_locked() -> None:
    names = {
        match.group(0)
        for requirement in project()["project"]["dependencies"]
        if (match := re.match(r"[a-z0-9-]+", requirement))
    }
    asked = {
        match.group(0)
        for line in read_text(Path("requirements/runtime.in")).splitlines()
        if (match := re.match(r"[a-z0-9-]+", line))
    }
    assert names == asked
    assert names <= set(pins("runtime"))


def test_scripts_can_be_run() -> None:
    scripts = [path for path in tracked_files() if read_text(path).startswith("#!")]
    assert Path(".ci/run") in scripts
    offenders = [str(path) for path in scripts if not (ROOT / path).stat().st_mode & 0o100]
    assert not offenders, f"chmod +x {' '.join(offenders)}"
