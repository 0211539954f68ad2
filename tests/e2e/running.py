"""Runs the suite as `make e2e` does, for tests that have made a stage in an emulator."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from infra.app import CONFIG_VARIABLE, STAGE_VARIABLE
from tests.dynamodb import ROOT

ASK_AWS: Final = "LEDGEROCK_AWS_INTEGRATION"
TIMEOUT_SECONDS: Final = 900


def run_suite(
    stage: str, config: Path, environment: Mapping[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run the suite on a stage.

    Args:
        stage: Its name in the configuration.
        config: The configuration that it was deployed from.
        environment: Region, credentials and endpoint.
        arguments: Further ones of pytest, such as `-k "not doctor"`.

    Returns:
        Exit code and output.
    """
    kept = {name: text for name, text in os.environ.items() if not name.startswith("LEDGEROCK")}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "tests/e2e", "-n", "0", "-p", "no:randomly", *arguments],
        cwd=ROOT,
        env={
            **kept,
            **environment,
            ASK_AWS: "1",
            STAGE_VARIABLE: stage,
            CONFIG_VARIABLE: str(config),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
