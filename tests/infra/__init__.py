"""Tests of what is deployed. Node is named before any of them imports the CDK, which starts it."""

from infra.node import use_packaged_node

use_packaged_node()
