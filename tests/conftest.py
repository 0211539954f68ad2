"""Hypothesis profiles, the rules for tests that need an engine or an account, and durations kept.

Property tests take their number of examples from the profile: `dev` by default, `ci` where
HYPOTHESIS_PROFILE or CI says so, a thousand in `explore`. One that needs more scales the profile's
number instead of naming its own: `@settings(max_examples=5 * settings().max_examples)` is 100 in
`dev` and 1,000 in `ci`.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import botocore.session
import pytest
from hypothesis import HealthCheck, settings

ENGINE_SECONDS = 300
"""How long a test may take whose emulator has to be started first."""

# Examples differ in size and machines are shared: a deadline would only make tests flaky.
settings.register_profile("dev", max_examples=20, deadline=None)
# What must pass before anything lands asks the same examples each time: a change is refused for
# what it did, not for what chance found. `make explore` and every `make test` look further.
settings.register_profile("repeat", max_examples=20, deadline=None, derandomize=True)
settings.register_profile(
    "ci",
    max_examples=200,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "explore",
    max_examples=1_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") == "true" else "dev")
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--durations-file`, which keeps what `--durations` only prints the top of."""
    parser.addoption(
        "--durations-file",
        metavar="PATH",
        default=None,
        help="write the duration of every test phase, slowest first, to this file",
    )


@pytest.fixture(scope="session", autouse=True)
def descriptions_read_once() -> Iterator[None]:
    """Keep what the SDK reads of services: reading takes most of the time that a client takes.

    Everything else of a session is its own, as it is in production.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(botocore.session.create_loader))
        yield


@cache
def container_engine_problem() -> str | None:
    """Say why containers cannot be started here, or None if they can."""
    docker = shutil.which("docker")
    if docker is None:
        return "there is no `docker` command on the PATH"
    try:
        answer = subprocess.run(
            [docker, "info", "--format", "{{.ServerVersion}}"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "`docker info` did not answer within 20 seconds"
    if answer.returncode != 0:
        return f"`docker info` failed: {answer.stderr.strip() or answer.stdout.strip()}"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests with a container the time that it may take to start on a busy machine."""
    for item in items:
        if item.get_closest_marker("integration") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(ENGINE_SECONDS))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what cannot run here and say why; with LEDGEROCK_REQUIRE_DOCKER=1 fail instead."""
    if item.get_closest_marker("aws_integration") and not os.environ.get(
        "LEDGEROCK_AWS_INTEGRATION"
    ):
        pytest.skip("uses a real AWS account: set LEDGEROCK_AWS_INTEGRATION=1 to run it")
    if item.get_closest_marker("integration") is None:
        return
    problem = container_engine_problem()
    if problem is None:
        return
    if os.environ.get("LEDGEROCK_REQUIRE_DOCKER") == "1":
        pytest.fail(f"LEDGEROCK_REQUIRE_DOCKER=1, but {problem}", pytrace=False)
    pytest.skip(f"needs a container engine: {problem}")


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Write the durations that `--durations-file` asked for."""
    target = config.getoption("--durations-file")
    if target is None or hasattr(config, "workerinput"):
        return
    reports = [
        report
        for group in terminalreporter.stats.values()
        for report in group
        if isinstance(report, pytest.TestReport)
    ]
    reports.sort(key=lambda report: report.duration, reverse=True)
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "".join(f"{r.duration:10.4f} s  {r.when:8}  {r.nodeid}\n" for r in reports),
        encoding="utf-8",
    )
