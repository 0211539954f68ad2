"""The CDK application: `cdk` runs it as cdk.json says, and tests build it themselves.

LEDGEROCK_STAGE names the stage, LEDGEROCK_CONFIG a file other than `infra/ledgerock.yaml`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from infra.config import CONFIG_DEFAULT, ConfigError, StageConfig, load
from infra.node import use_packaged_node

if TYPE_CHECKING:
    import aws_cdk as cdk

STAGE_VARIABLE = "LEDGEROCK_STAGE"
CONFIG_VARIABLE = "LEDGEROCK_CONFIG"


def build_app(config: StageConfig, outdir: Path | None = None) -> cdk.App:
    """Return the application of one stage, not yet synthesised.

    Args:
        config: What to deploy.
        outdir: Where templates are written; where the CDK's own program says, if None.
    """
    use_packaged_node()
    import aws_cdk as cdk  # noqa: PLC0415 - starts Node, which has to be named first

    from infra.stage import add_stage  # noqa: PLC0415 - as above

    app = cdk.App(outdir=None if outdir is None else str(outdir), analytics_reporting=False)
    add_stage(app, config)
    return app


def main() -> int:
    """Synthesise the stage that the environment names; return the exit code."""
    stage = os.environ.get(STAGE_VARIABLE, "")
    if not stage:
        sys.stderr.write(f"{STAGE_VARIABLE} is to name a stage of {CONFIG_DEFAULT.name}\n")
        return 2
    try:
        config = load(stage, Path(os.environ.get(CONFIG_VARIABLE) or CONFIG_DEFAULT))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    build_app(config).synth()
    return 0


if __name__ == "__main__":
    sys.exit(main())
